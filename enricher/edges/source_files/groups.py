"""Files in groups of which nearly all have one member, by the hundred thousand.

Must never: look at the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Groups(Generic[T]):
    """Files by something that several may share and most do not; whatever stands for a file is no list."""

    def __init__(self) -> None:
        # No list for a file that is alone: of a hundred thousand they would be a good part of all that is held.
        self._groups: dict[bytes, T | list[T]] = {}

    def __iter__(self) -> Iterator[T]:
        for files in self._groups.values():
            if isinstance(files, list):
                yield from files
            else:
                yield files

    def of(self, key: bytes) -> list[T]:
        """The files of a group, in the order in which they were added."""
        files = self._groups.get(key, [])
        return files if isinstance(files, list) else [files]

    def add(self, key: bytes, one: T) -> None:
        """Take in a file."""
        files = self._groups.get(key)
        if isinstance(files, list):
            files.append(one)
        else:
            self._groups[key] = one if files is None else [files, one]

    def remove(self, key: bytes, one: T) -> None:
        """Forget a file."""
        left = [other for other in self.of(key) if other is not one]
        if left:
            self._groups[key] = left if len(left) > 1 else left[0]
        else:
            self._groups.pop(key, None)

    def take(self, number: int) -> list[T]:
        """Take out the groups that were begun first, until they hold so many."""
        taken: list[T] = []
        keys = []
        # One pass: to look for the first one again and again goes over all that were taken before.
        for key in self._groups:
            if len(taken) >= number:
                break
            taken += self.of(key)
            keys.append(key)
        for key in keys:
            del self._groups[key]
        return taken

    def __bool__(self) -> bool:
        return bool(self._groups)
