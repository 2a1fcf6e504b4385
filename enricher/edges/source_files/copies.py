"""Copies of files that are there still: which they are, and how long each waits.

What copytruncate copies lies in two files until the log is truncated, what gzip compresses until it is done, and what
`copy` copies for ever. One of the two is read: the original, as long as it is there. Its copy waits until the original
goes, and then goes on in its place; or until the original was read as far as the copy reaches, and is then done with.

Invariants: a file is taken for a copy on the word of its content and its name together, and never while it is still
written. Must never: move the position of an original, or keep a file waiting that holds what no other file does.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.identity import MARKER_BYTES, has_head, is_rotation_of, logical_path
from enricher.edges.source_files.streams import PLAIN
from enricher.edges.source_files.tracking import QUIET_SECONDS, Descriptors, ReplacedError, Tracked

if TYPE_CHECKING:
    import os
    from collections.abc import Container

    from enricher.core.block import FileState
    from enricher.edges.source_files.comparing import Comparing
    from enricher.edges.source_files.known import Key, Known
    from enricher.edges.source_files.moving import Stranger
    from enricher.edges.source_files.streams import Stream
    from enricher.ports import Chunk

_COMPARED_BYTES: Final = 1024 * 1024
_END_BYTES: Final = 4096
_MAX_ENDS: Final = 256
"""Of so many files the last bytes are kept, a megabyte in all."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    original: Tracked
    inode: int
    """Of the original, then: since it may have gone on in a copy of its own."""
    size: int
    mtime: float
    goal: int
    """How far the original must be read before the copy is worth another look. So far they are the same."""

    def is_all_of(self, original: Tracked, stranger: Stranger) -> bool:
        """Whether a stranger, all that it holds, was seen to be in a file."""
        return original is self.original and self.goal >= self.size == stranger.stat.st_size


class Copies:
    """The copies that wait. `once`: a file holds what it holds when it is first seen, however new that is."""

    def __init__(self, *, known: Known, descriptors: Descriptors, comparing: Comparing, once: bool) -> None:
        self._known = known
        self._descriptors = descriptors
        self.comparing = comparing
        self._once = once
        self._waiting: dict[Key, _Waiting] = {}
        self._ends: OrderedDict[Tracked, tuple[int, bytes]] = OrderedDict()
        """Of the files that were read last: (where that ended, the bytes before)."""

    def __len__(self) -> int:
        return len(self._waiting)

    def is_waiting(self, stat: os.stat_result, now: float) -> bool:
        """Whether a file is a copy of which there is nothing new to say."""
        copy = self._waiting.get((stat.st_dev, stat.st_ino))
        if copy is None:
            return False
        is_as_it_was = (stat.st_size, stat.st_mtime) == (copy.size, copy.mtime)
        is_early = not copy.original.is_read_to(copy.goal) or not self._is_whole(stat.st_mtime, now)
        is_there = copy.original.present and copy.original.row.inode == copy.inode
        return is_as_it_was and is_there and is_early

    def holds_up(self) -> bool:
        """Whether a copy waits for an original that is read still."""
        return any(copy.original.present and copy.original.degraded_since is None for copy in self._waiting.values())

    def forget(self, seen: os.stat_result) -> None:
        """A file waits no longer."""
        self._waiting.pop((seen.st_dev, seen.st_ino), None)

    def read_within(self, stranger: Stranger, given_up: Tracked | None, now: float) -> Tracked | None:
        """The file to follow for a copy that holds nothing that was not read of its log, truncated since.

        What a program wrote after the copy was made and before the truncation may have been read. It waits no longer.
        """
        copy = self._waiting.pop((stranger.stat.st_dev, stranger.stat.st_ino), None)
        for original in self._known.of_log(logical_path(stranger.path)):
            is_there = original.present and original is not given_up
            if is_there or original.row.codec != PLAIN or not is_rotation_of(stranger.path, original.path):
                continue
            if (held := _held_to(stranger, original)) is not None:
                return _over(stranger, original, held, now)
            if stranger.codec != PLAIN or stranger.stat.st_size >= original.read_end:
                continue
            if (copy is not None and copy.is_all_of(original, stranger)) or self._ends_in(stranger, original):
                return _over(stranger, original, stranger.stat.st_size, now)
        return None

    def was_read(self, file: Tracked, state: FileState, chunk: Chunk, tail: bytes) -> None:
        """Remember the last bytes of what was read of a file, of which a row holds few, when `state` is committed."""
        row, (end, before) = file.row, self._ends.pop(file, (0, b""))
        content = chunk.data[: chunk.length]
        if row.codec != PLAIN or chunk.lost_bytes or len(content) < chunk.length:
            return
        if end == file.read_end and len(before) > len(row.partial):
            before = before[: len(before) - len(row.partial)]
        else:
            before = row.marker
        end = row.position + len(content) + len(tail)
        if end == state.position + len(state.partial):
            self._ends[file] = end, (before + content[-_END_BYTES:] + tail)[-_END_BYTES:]
        while len(self._ends) > _MAX_ENDS:
            self._ends.popitem(last=False)

    def _ends_in(self, stranger: Stranger, original: Tracked) -> bool:
        """Whether a file ends as its original did at that place, and begins as that did."""
        size = stranger.stat.st_size
        end, last = self._ends.get(original, (0, b""))
        last = last[: max(0, len(last) - (end - size))]
        if end != original.read_end or len(last) < min(size, MARKER_BYTES):
            return False
        begins_alike = stranger.head.startswith(original.head[: len(stranger.head)])
        return begins_alike and stranger.stream.pread(len(last), size - len(last)) == last

    def keep(self, found: Container[Key]) -> None:
        """Let go of the copies that are not among these any more: compressed since, or deleted."""
        self._waiting = {key: copy for key, copy in self._waiting.items() if key in found}

    def judge(self, stranger: Stranger, original: Tracked, now: float) -> Tracked | bool:
        """What a stranger is to a file that is there still: no copy (False), one that waits (True), one that is over.

        Of the last it returns the file to follow, which goes on behind the end of the copy.
        """
        if not is_rotation_of(stranger.path, original.path):
            return False
        is_whole = self._is_whole(stranger.stat.st_mtime, now)
        shared = self._shared(stranger, original, thorough=is_whole)
        goal = 0
        if shared is not None:
            # What goes on where a log ends that was not truncated is no copy of it: it only begins alike.
            is_beyond = shared.is_longer and original.row.codec == PLAIN and shared.length >= original.size
            if shared.differs or is_beyond or (is_whole and not shared.is_all):
                return False
            if is_whole and original.is_read_to(shared.length):
                self.forget(stranger.stat)
                return _over(stranger, original, shared.length, now)
            goal = shared.length
        key = (stranger.stat.st_dev, stranger.stat.st_ino)
        self._waiting[key] = _Waiting(original, original.row.inode, stranger.stat.st_size, stranger.stat.st_mtime, goal)
        return True

    def _is_whole(self, mtime: float, now: float) -> bool:
        """Whether nobody writes to it any more."""
        return self._once or self._known.quiet_seconds(mtime, now) >= QUIET_SECONDS

    def _shared(self, stranger: Stranger, original: Tracked, *, thorough: bool) -> _Shared | None:
        """None: the original cannot be read now, or is being truncated; the next scan tells."""
        try:
            stream = self._descriptors.stream(original)
            begun = self._descriptors.stat(original)
            assert begun is not None
            if original.row.codec == PLAIN == stranger.codec:
                shared = _compare_ends(stranger, stream, begun.st_size)
            else:
                shared = _compare(stranger.stream, stream, limit=None if thorough else _COMPARED_BYTES)
            ended = self._descriptors.stat(original)
        except (ReplacedError, OSError):
            return None
        return shared if ended is not None and ended.st_size >= begun.st_size else None


@dataclass(frozen=True, slots=True)
class _Shared:
    length: int
    """So many first bytes are the same."""
    is_all: bool
    """That is the whole copy."""
    is_longer: bool = False
    """That is the whole original, and the copy goes on."""
    differs: bool = False


def _compare_ends(stranger: Stranger, original: Stream, size: int) -> _Shared:
    """Two plain files by the last bytes that both have; that they begin alike is known."""
    length = min(stranger.stat.st_size, size)
    begin = max(0, length - _COMPARED_BYTES)
    differs = stranger.stream.pread(length - begin, begin) != original.pread(length - begin, begin)
    is_longer = stranger.stat.st_size > size
    return _Shared(length, is_all=not is_longer, is_longer=is_longer, differs=differs)


def _compare(copy: Stream, original: Stream, *, limit: int | None) -> _Shared:
    """Two contents from their start on, since the end of a compressed one is known only there."""
    at = 0
    while limit is None or at < limit:
        mine = copy.pread(_COMPARED_BYTES, at)
        other = original.pread(len(mine), at)
        at += len(other)
        if mine[: len(other)] != other:
            return _Shared(0, is_all=False, differs=True)
        if len(other) < len(mine):
            return _Shared(at, is_all=False, is_longer=True)
        if len(mine) < _COMPARED_BYTES:
            return _Shared(at, is_all=True)
    return _Shared(at, is_all=False)


def _held_to(stranger: Stranger, original: Tracked) -> int | None:
    """Where content ends that ends within what the row of its original holds back; None if it does not."""
    row, head, stream = original.row, stranger.head, stranger.stream
    is_known = len(head) >= row.head_bytes or bool(original.head)
    if not row.partial or not is_known or not (has_head(row, head) or head == original.head[: len(head)]):
        return None
    if stream.pread(len(row.marker), row.position - len(row.marker)) != row.marker:
        return None
    rest = stream.pread(len(row.partial), row.position)
    return row.position + len(rest) if len(rest) < len(row.partial) and row.partial.startswith(rest) else None


def _over(stranger: Stranger, original: Tracked, length: int, now: float) -> Tracked:
    """A copy of what was read: it is followed from its end on, should it grow."""
    row = replace(
        original.row,
        id=0,
        path=stranger.path,
        device=stranger.stat.st_dev,
        inode=stranger.stat.st_ino,
        birth=stranger.birth,
        codec=stranger.codec,
        head_bytes=len(stranger.head),
        head_hash=sha256(stranger.head).digest(),
        position=length,
        marker=stranger.stream.pread(min(MARKER_BYTES, length), max(0, length - MARKER_BYTES)),
        partial=b"",
    )
    file = Tracked(row=row, path=row.path, dirty=True, renamed=True, looked_to=length)
    if row.codec != PLAIN:
        file.done, file.gone_at = True, now
    return file
