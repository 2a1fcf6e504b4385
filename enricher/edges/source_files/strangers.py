"""Files that nobody knows yet, each until it is its turn to be met.

Where very many are found at once only as many are met as can be read next, or every turn would go over all that nobody
has read so far, and all of them were held in memory with what is known of a file.

Invariant: the files of one log have their turn together: how one of them ends and the next begins is seen only where
both are known. Must never: look at the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.groups import Groups
from enricher.edges.source_files.identity import logical_path

if TYPE_CHECKING:
    import os

MAX_AT_ONCE: Final = 1000
"""As many as are read in one turn."""
_MIN_AT_ONCE: Final = 250
"""So many have their turn however many files that are known are still to be read."""


class Strangers:
    """Paths in the order in which they were found first, log by log."""

    def __init__(self) -> None:
        self.since: float | None = None
        """When the first of those that wait was found, or an earlier time; None where nobody waits."""
        self.unread_bytes = 0
        self._logs = Groups[bytes]()
        self._sizes: dict[bytes, int] = {}
        self._ends: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, path: bytes) -> bool:
        return path in self._sizes

    def add(self, path: bytes, stat: os.stat_result, now: float, *, is_old: bool) -> None:
        """Let a file wait. Of one that `is_old` what it holds now counts as read when it is met."""
        if path in self._sizes:
            return
        self.since = now if self.since is None else self.since
        self._sizes[path] = stat.st_size
        self.unread_bytes += 0 if is_old else stat.st_size
        self._logs.add(logical_path(path), path)
        if is_old:
            self._ends[path] = stat.st_ino, stat.st_size

    def take(self, unsettled: int) -> dict[bytes, tuple[int, int] | None]:
        """Those whose turn it is, beside so many files that are to be read.

        With each: the inode of which so many first bytes count as read.
        """
        taken = {
            path: self._ends.pop(path, None) for path in self._logs.take(max(_MIN_AT_ONCE, MAX_AT_ONCE - unsettled))
        }
        for path, end in taken.items():
            size = self._sizes.pop(path)
            self.unread_bytes -= size if end is None else 0
        if not self._logs:
            # A dictionary keeps the room that it had.
            self.since, self._logs, self._sizes = None, Groups[bytes](), {}
        return taken

    def clock_set(self, seconds: float) -> None:
        """The wall clock was set: they have waited as long as before."""
        self.since = None if self.since is None else self.since + seconds
