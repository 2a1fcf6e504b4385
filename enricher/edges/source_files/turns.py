"""Whose turn it is: which files are worth a read now, and in which order.

Little waits in its file for more, since each file that is read makes a row. Invariants: a busy file never keeps one of
another log waiting; a file that has something comes to its turn, whatever the others have. Must never: read.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

from enricher.core.block import MAX_BLOCK_BYTES
from enricher.edges.source_files.streams import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enricher.edges.source_files.handover import Handover
    from enricher.edges.source_files.known import Known
    from enricher.edges.source_files.tracking import Tracked

WORTH_READING_BYTES: Final = 256 * 1024
"""Less than this waits in its file for more."""
_LINGER_SECONDS: Final = 2.0
_MAX_LINGER_SECONDS: Final = 10.0
_SMALL_READS_PER_SECOND: Final = 500
"""So many files with little to read may make a row each; more of them wait longer."""
_MAX_COMPRESSED: Final = 2
"""Compressed files read at a time: each holds a decompressor, whose dictionary may be large."""
MAX_CHUNKS: Final = 1000
_MAX_BESIDE_BUSY: Final = 250
"""Files with little to read in one turn with a busy one: each costs a millisecond, and the busy one waits meanwhile."""


class Turns:
    """Chooses among the unsettled files. `once` has nobody to keep waiting."""

    def __init__(self, *, known: Known, handover: Handover, once: bool) -> None:
        self._known = known
        self._handover = handover
        self._once = once
        self._linger = _LINGER_SECONDS

    def take(self, now: float, *, flush: bool) -> tuple[list[Tracked], list[Tracked]]:
        """The files whose rows have news of no line, and those to read, in this order."""
        waiting = self._handover.waiting
        unsettled = self._known.unsettled
        self._linger = _linger_seconds(len(unsettled))
        ready = [file for file in unsettled if file not in waiting and self.is_ready(file, now, flush=flush)]
        quiet = [file for file in ready if not self.has_content(file)][:MAX_CHUNKS]
        return quiet, self._next_in_turn([file for file in ready if self.has_content(file)])

    def serve(self, files: Sequence[Tracked], read: Callable[[Tracked, int], int]) -> None:
        """Have files read in this order, each up to its share of a block; `read` says how much of it was taken."""
        left = MAX_BLOCK_BYTES
        for at, file in enumerate(files):
            if left < WORTH_READING_BYTES:
                break
            # What a file leaves of its share goes to those behind it.
            left -= read(file, left if self._once else max(WORTH_READING_BYTES, left // (len(files) - at)))

    def _next_in_turn(self, files: list[Tracked]) -> list[Tracked]:
        """The files to read now: those that waited longest, as many as a block has room for, small ones first.

        `once` has nobody to keep waiting: it reads file after file.
        """
        if self._once:
            files.sort(key=lambda file: file.path)
        else:
            files.sort(key=lambda file: file.last_turn)
        compressed = [file for file in files if file.row.codec != PLAIN][:_MAX_COMPRESSED]
        files = [file for file in files if file.row.codec == PLAIN or file in compressed]
        little = [file for file in files if file.unread < WORTH_READING_BYTES]
        # Those with much to read have their turn every time: nobody waits for the many with little.
        left_out = set(little[MAX_CHUNKS if len(little) == len(files) else _MAX_BESIDE_BUSY :])
        files = [file for file in files if file not in left_out]
        if not self._once:
            sizes = accumulate(min(file.unread, WORTH_READING_BYTES) for file in files)
            files = [file for file, size in zip(files, sizes, strict=True) if size <= MAX_BLOCK_BYTES]
            files.sort(key=lambda file: file.unread)
        return files

    def has_content(self, file: Tracked) -> bool:
        """Whether there may be lines in it."""
        if not file.present or file.done or file in self._handover.waiting:
            return False
        return bool(file.unread or file.row.partial or self.holds_back(file) or self._once)

    def is_ready(self, file: Tracked, now: float, *, flush: bool) -> bool:
        """Whether reading it now is worth a commit."""
        if not file.present:
            words = bool(file.row.partial) and not self._handover.may_go_on(file, now)
            return bool(file.dirty or words or (file.lost_bytes and not file.row.partial))
        if file.degraded_since is not None or file.done:
            return file.dirty
        if self._once:
            return True
        unread = file.unread
        if unread:
            waited = now - (file.unread_since if file.unread_since is not None else now)
            is_old = not file.row.id and file.is_quiet(now)  # nothing is to be waited for that may come with it
            hurried = flush or is_old or file.renamed or file.deleted or file.row.codec != PLAIN
            if hurried or unread >= WORTH_READING_BYTES or waited >= self._linger:
                return True
        return file.is_quiet(now) and self.holds_back(file)

    def holds_back(self, file: Tracked) -> bool:
        """Whether quiet makes an event of what was seen: whole lines; the unended one of a file that was left."""
        return b"\n" in file.row.partial or (
            (file.renamed or file.deleted) and max(file.read_end, file.looked_to) > file.row.position
        )


def _linger_seconds(files: int) -> float:
    """How long little waits for more where so many files have something to read."""
    return min(_MAX_LINGER_SECONDS, max(_LINGER_SECONDS, files / _SMALL_READS_PER_SECOND))
