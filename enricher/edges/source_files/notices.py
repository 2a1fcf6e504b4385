"""What is not read, told once: a file that is skipped each second is still one piece of news.

Invariant: the same path and reason are told once, until the file is read or gone. Must never: decide that a file is
skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from enricher.ports import SkippedFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

_MIN_FORGET: Final = 1000


class Notices:
    """Files that are skipped, and which of them have news."""

    def __init__(self) -> None:
        self.unreadable: set[bytes] = set()
        """Files and directories that could not be read at the last look and of which nothing is known."""
        self._told: set[tuple[bytes, str]] = set()
        self._news: list[SkippedFile] = []
        self._ignored: dict[tuple[int, int], tuple[int, float, bytes]] = {}
        self._worth_forgetting = _MIN_FORGET

    def tell(self, path: bytes, reason: str, detail: str, hint: str) -> None:
        """A file is not read."""
        if (path, reason) not in self._told:
            self._told.add((path, reason))
            self._news.append(SkippedFile(path=path, reason=reason, detail=detail, hint=hint))

    def cannot_read(self, path: bytes, error: OSError) -> None:
        """A file cannot be read now."""
        detail = (error.strerror or type(error).__name__).lower()
        self.tell(path, "unreadable", detail, "let the daemon's user read it (group adm on Debian), or exclude it")

    def ignore(self, path: bytes, stat: os.stat_result, reason: str, detail: str, hint: str) -> None:
        """A file is not read, and not looked at again until it changes."""
        self._ignored[stat.st_dev, stat.st_ino] = (stat.st_size, stat.st_mtime, path)
        self.tell(path, reason, detail, hint)

    def is_ignored(self, stat: os.stat_result) -> bool:
        """Whether a file is as it was when it was ignored."""
        return self._ignored.get((stat.st_dev, stat.st_ino), ())[:2] == (stat.st_size, stat.st_mtime)

    def reads(self, path: bytes) -> None:
        """A file is read: if that fails again, it is news again."""
        self.unreadable.discard(path)
        self._told.discard((path, "unreadable"))

    def take(self) -> list[SkippedFile]:
        """What was not told before."""
        news, self._news = self._news, []
        return news

    def forget(self, *, is_there: Callable[[bytes], bool]) -> None:
        """Let go of what is gone; costs a look at each file, and is done when there are twice as many as last time."""
        if len(self._told) + len(self._ignored) < self._worth_forgetting:
            return
        self._told = {(path, reason) for path, reason in self._told if is_there(path)}
        self._ignored = {inode: seen for inode, seen in self._ignored.items() if is_there(seen[2])}
        self._worth_forgetting = max(_MIN_FORGET, 2 * (len(self._told) + len(self._ignored)))
