"""The files that a source knows: those that it follows, and those that are gone and may come back.

Invariants: an inode belongs to one followed file; an identity is given once. Must never: look at the disk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.identity import file_identity, has_head, logical_path
from enricher.edges.source_files.streams import PLAIN
from enricher.edges.source_files.tracking import Tracked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from enricher.core.block import FileState
    from enricher.edges.source_files.tracking import Descriptors
    from enricher.telemetry import Telemetry

_FORGET_SECONDS: Final = 7 * 86400.0

Key = tuple[int, int]


def readable(path: bytes) -> str:
    """A path as text."""
    return path.decode("utf-8", "backslashreplace")


class Known:
    """Tracked files, by inode while they are followed."""

    def __init__(self, *, source: str, host: str, descriptors: Descriptors, telemetry: Telemetry) -> None:
        self.source = source
        self._host = host
        self._descriptors = descriptors
        self._telemetry = telemetry
        self._files: list[Tracked] = []
        self._current: dict[Key, Tracked] = {}
        self._identities: set[str] = set()

    def __iter__(self) -> Iterator[Tracked]:
        return iter(self._files)

    def take(self, rows: Sequence[FileState]) -> None:
        """Start from the registry."""
        for row in sorted(rows, key=lambda row: (row.gone_at is None, row.id)):
            # Written last when it was seen to be, so that what it holds back is waited for as if nothing had happened.
            file = Tracked(
                row=row,
                path=row.path,
                size=row.size_seen,
                mtime=row.mtime_seen,
                changed_at=row.mtime_seen,
                gone_at=row.gone_at,
            )
            file.looked_to = file.read_end
            # A row that was drained as compressed says gone; the file may well be there still.
            file.present = row.gone_at is None or row.codec != PLAIN
            self._files.append(file)
            if file.present:
                self._current[key_of(file)] = file
            self._identities.add(row.identity)
        for file in self._files:
            # An inode of a row that ended may have been used again since.
            file.present &= self.is_current(file)

    def present(self) -> list[Tracked]:
        """The files that are followed."""
        return [file for file in self._files if file.present]

    def displaced(self) -> list[Tracked]:
        """Files of the registry that another one has the inode of, though nothing says that they are gone.

        A process that ended between the two commits leaves them; what they were is to be found out again.
        """
        return [file for file in self._files if not file.present and file.gone_at is None]

    def is_current(self, file: Tracked) -> bool:
        """Whether its inode is its own still."""
        return self._current.get(key_of(file)) is file

    def has(self, key: Key) -> bool:
        """Whether an inode is followed."""
        return key in self._current

    def add(self, file: Tracked) -> None:
        """Follow a new file."""
        self._files.append(file)
        self._current[key_of(file)] = file

    def rename(self, file: Tracked, path: bytes) -> None:
        """A file was met under another name."""
        self._telemetry.file_rotated(source=self.source, path=readable(file.path), new_path=readable(path))
        file.path = path
        file.renamed = file.dirty = True

    def move(self, file: Tracked, row: FileState) -> None:
        """Go on with a file in another inode: its copy, or its compressed twin; or in its own, back again."""
        self._descriptors.close(file)
        if self.is_current(file):
            del self._current[key_of(file)]
        if file.path != row.path:
            self.rename(file, row.path)
        file.row = row
        file.dirty = True
        file.gone_at, file.lost_bytes, file.done = None, 0, False
        file.looked_to = file.read_end
        file.checked = file.degraded_since = None
        self._current[key_of(file)] = file

    def give_up(self, file: Tracked, now: float) -> None:
        """The content is gone; what the row still holds is read from there."""
        file.lost_bytes = max(0, file.size - file.read_end) if file.row.codec == PLAIN and not file.done else 0
        file.present = file.deleted = file.outside = False
        if file.gone_at is None:
            file.gone_at = now
            file.dirty = True
        self._descriptors.close(file)
        if self.is_current(file):
            del self._current[key_of(file)]

    def forget(self, now: float) -> None:
        """Let go of what went a week ago; the registry has it still."""
        self._files = [file for file in self._files if not _is_forgotten(file, now)]

    def alike(self, path: bytes, head: bytes) -> Iterable[Tracked]:
        """Files that start as this one does; first those of the same logical path, of which most was read.

        The more was read, the more is known to be equal where a position fits.
        """
        found = [file for file in self._files if file.row.head_bytes and _starts_alike(file, head)]
        name = logical_path(path)
        return sorted(
            found, key=lambda file: (logical_path(file.path) == name, file.row.position, file.row.id), reverse=True
        )

    def identify(self, file: Tracked, first_line: bytes) -> None:
        """Give a file its identity, once its first line is known: the first generation that nobody else has."""
        generation = 0
        while (identity := file_identity(self._host, file.path, first_line, generation)) in self._identities:
            generation += 1
        self._identities.add(identity)
        file.row = replace(file.row, identity=identity, generation=generation)


def _starts_alike(file: Tracked, head: bytes) -> bool:
    """Whether content with this head starts as a file did, or as far as it goes as one that is followed does."""
    return has_head(file.row, head) or (file.present and file.head.startswith(head))


def key_of(file: Tracked) -> Key:
    """The inode of a file."""
    return file.row.device, file.row.inode


def _is_forgotten(file: Tracked, now: float) -> bool:
    settled = not file.present and not file.dirty and not file.row.partial and not file.lost_bytes
    return settled and file.gone_at is not None and now - file.gone_at > _FORGET_SECONDS
