"""What is known of each file between two scans, and the descriptors that are kept open.

A tracked file is its registry row as committed, plus what was seen on disk since: nothing in here is durable, and all
of it can be found out again.

Invariant: only `FilesSource.committed` moves a row. Must never: decide what a file is (`identity`), or read lines.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from enricher.core.block import FileState
from enricher.edges.source_files.identity import HEAD_BYTES, MARKER_BYTES, birth_of, logical_path
from enricher.edges.source_files.streams import PLAIN, Stream, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET_SECONDS: Final = 5.0
"""After so long without a change a file's last event is taken to be whole."""
ROTATED_SECONDS: Final = 60.0
"""So long a renamed file that no pattern matches is watched for late writers after it was drained."""
_MAX_GOALS: Final = 64


@dataclass(slots=True, eq=False)
class Tracked:
    """One file that is followed."""

    row: FileState
    path: bytes
    """Where it is now; the row has it after the next commit."""
    home: bytes = field(init=False)
    """The path of its log, of which it may be a rotated file: what its path was, without what rotation appends."""
    size: int = 0
    mtime: float = 0.0
    changed_at: float = 0.0
    """Wall time of its last change, as far as it is known."""
    head: bytes = b""
    """How it starts: all that is hashed while that still grows, then no more than tells which files to compare."""
    started_inside: bool = False
    """Reading began behind its first line (`start = "end"`)."""
    looked_to: int = 0
    """How far its content was looked through; behind the read bytes only where no line ended yet."""
    emptied: int = -1
    """Its size on disk when all that it had was read: of a compressed file nothing else tells how much that is."""
    unread_since: float | None = None
    present: bool = False
    outside: bool = False
    """No pattern matches its path: it is followed because it was renamed."""
    left_at: float = 0.0
    """When it was first seen to be outside."""
    renamed: bool = False
    deleted: bool = False
    """No path leads to it any more, but a descriptor does."""
    checked: float | None = None
    """Beside `size` and `mtime`, what stat said of it when it was last looked at."""
    proven: int = field(init=False)
    """Its size when its content was last compared with the row."""
    dirty: bool = False
    """The row has news to commit even if no line is read."""
    done: bool = False
    end: int | None = None
    """`once`: what it held when it was first seen."""
    degraded_since: float | None = None
    last_turn: int = 0
    """The last read that it took part in."""
    gone_at: float | None = None
    lost_bytes: int = 0
    """Bytes known to have been there and not read when it went."""
    through: float | None = None
    goals: tuple[tuple[float, int], ...] = ()
    """(time, size then), for sizes not read to yet."""
    lasts: bool = False
    """It still has the size of the last goal: nothing else was seen of it by the scans since."""
    found_by: bytes = b""
    """The hash of its head when it was entered."""

    def __post_init__(self) -> None:
        self.home = logical_path(self.path)
        self.proven = self.size

    @property
    def read_end(self) -> int:
        """Offset behind the last byte that the row holds."""
        return self.row.position + len(self.row.partial)

    @property
    def before(self) -> bytes:
        """The bytes that must lie before `read_end`."""
        return (self.row.marker + self.row.partial)[-MARKER_BYTES:]

    @property
    def unread(self) -> int:
        """Bytes on disk that were not looked at; for compressed files their whole size until they are done."""
        if self.row.codec != PLAIN:
            return 0 if self.done else self.size
        end = self.size if self.end is None else min(self.size, self.end)
        return max(0, end - max(self.read_end, self.looked_to))

    @property
    def settled(self) -> int:
        """Offset up to which every whole line belongs to a committed event."""
        return self.row.position if b"\n" in self.row.partial else max(self.read_end, self.looked_to)

    def is_quiet(self, now: float) -> bool:
        """Whether nothing was written to it for a while."""
        # A time of change far ahead is that of a wrong clock, and nothing to wait for.
        return abs(now - self.changed_at) >= QUIET_SECONDS

    def starts_with(self, head: bytes) -> None:
        """Its first bytes are these, or were until now."""
        # Of a hundred thousand files a kilobyte each is more than all else that is known of them.
        self.head = head if self.row.head_bytes < HEAD_BYTES else head[:MARKER_BYTES]

    def clock_set(self, seconds: float) -> None:
        """The wall clock was set: what is remembered by it was as long ago as before."""
        self.changed_at += seconds
        self.left_at += seconds
        self.unread_since = None if self.unread_since is None else self.unread_since + seconds
        self.degraded_since = None if self.degraded_since is None else self.degraded_since + seconds
        self.gone_at = None if self.gone_at is None else self.gone_at + seconds
        self.through = None if self.through is None else self.through + seconds
        self.goals = tuple((at + seconds, size) for at, size in self.goals)

    def is_settled(self, *, once: bool) -> bool:
        """Whether nothing is to be done with it until something new is seen of it."""
        if not self.present:
            return not (self.dirty or self.row.partial or self.lost_bytes)
        if self.dirty or self.degraded_since is not None or self.checked is None or self.deleted or self.outside:
            return False
        is_left = self.renamed and max(self.read_end, self.looked_to) > self.row.position
        held = b"\n" in self.row.partial or is_left
        return self.done or not (once or self.unread or held)

    def aim(self, now: float, *, before: float | None) -> None:
        """Remember that it has its size now, to say later that it was read so far.

        `before` is the time of the last scan. Files of which a scan sees nothing new are not gone over by it.
        """
        if self.goals and self.lasts and before is not None:
            self.goals = (*self.goals[:-1], (max(self.goals[-1][0], before), self.goals[-1][1]))
        self.lasts = True
        if self.is_read_to(self.size):
            self.through = now
            self.goals = ()
        elif self.goals and self.goals[-1][1] == self.size:
            self.goals = (*self.goals[:-1], (now, self.size))
        else:
            self.goals = (*self.goals, (now, self.size))
            if len(self.goals) > _MAX_GOALS:  # thinned: what is left out only makes `through` later than it could be
                self.goals = self.goals[::-2][::-1]

    def reached(self, scanned_at: float | None) -> None:
        """Draw the consequences of a commit after the last scan."""
        while self.goals and self.is_read_to(self.goals[0][1]):
            is_last = len(self.goals) == 1 and self.lasts and scanned_at is not None
            self.through = max(self.goals[0][0], scanned_at or 0.0) if is_last else self.goals[0][0]
            self.goals = self.goals[1:]

    def is_read_to(self, size: int) -> bool:
        """Whether it was read to a size that it had."""
        if self.row.codec != PLAIN:
            return self.done or (size <= self.emptied and b"\n" not in self.row.partial)
        return self.done or self.settled >= size

    def is_as_checked(self, stat: os.stat_result) -> bool:
        """Whether stat says nothing else than the last time."""
        return (stat.st_size, stat.st_mtime, self._changed(stat)) == (self.size, self.mtime, self.checked)

    def was_checked(self, stat: os.stat_result) -> None:
        """Its content is that of the row, and stat, which was taken over, said so of it."""
        self.proven = stat.st_size
        self.looked_at(stat)

    def looked_at(self, stat: os.stat_result) -> None:
        """What stat says of it was taken over."""
        self.checked = self._changed(stat)

    def may_wait(self, stat: os.stat_result) -> bool:
        """Whether to compare its content can wait until it is read, though stat says that it has changed.

        It has grown while it waits for its turn.
        """
        is_known = self.checked is not None and self.degraded_since is None and not self.deleted
        is_grown = stat.st_size > self.size and self.row.codec == PLAIN
        return is_known and is_grown and self.unread > 0 and self.row.position > 0

    def _changed(self, stat: os.stat_result) -> float:
        """The time of change that programs cannot set back.

        It tells of renames, too; to compare a compressed file after each of them would cost decompressing it.
        """
        return stat.st_ctime if self.row.codec == PLAIN else 0.0

    def rests(self) -> None:
        """Nothing is to be done with it: all that must be kept of its head is in the row."""
        if len(self.head) > MARKER_BYTES:
            self.head = self.head[:MARKER_BYTES]

    def seen(self, stat: os.stat_result, now: float, *, quiet_seconds: float) -> None:
        """Take over what stat says; `quiet_seconds` is how long ago it was written to by its own word."""
        if (stat.st_size, stat.st_mtime) != (self.size, self.mtime):
            # A file met for the first time was last written when it says so, not when we came.
            self.changed_at = now - quiet_seconds if self.checked is None else now
            self.size, self.mtime = stat.st_size, stat.st_mtime
        self.present = True
        self.deleted = False


def new_row(source: str, path: bytes, stat: os.stat_result, birth: str, codec: str) -> FileState:
    """A registry row for a file never met before."""
    return FileState(
        id=0,
        source=source,
        path=path,
        device=stat.st_dev,
        inode=stat.st_ino,
        birth=birth,
        head_bytes=0,
        head_hash=sha256(b"").digest(),
        marker=b"",
        codec=codec,
        generation=0,
        identity="",
        position=0,
        partial=b"",
        anchor=None,
        learned=None,
        size_seen=0,
        mtime_seen=0.0,
        gone_at=None,
    )


def with_head(row: FileState, head: bytes) -> FileState:
    """The row with a fingerprint of a head that has grown."""
    if len(head) <= row.head_bytes:
        return row
    return replace(row, head_bytes=len(head), head_hash=sha256(head).digest())


_MOST_HELD_BYTES: Final = 256 * 1024 * 1024
"""What all compressed files together may hold while another one is read; each may hold 128 MiB."""


class ReplacedError(Exception):
    """Another file lies at the path than the one that was to be opened."""


class Descriptors:
    """Open files. The least recently used one is closed first, those of deleted files last: they cannot be reopened."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: OrderedDict[Tracked, tuple[int, Stream]] = OrderedDict()
        self._packed: dict[Tracked, Stream] = {}
        """The compressed ones among them."""

    def stream(self, file: Tracked) -> Stream:
        """The content of a file. OSError if it cannot be opened, ReplacedError if its path leads elsewhere."""
        if file in self._open:
            self._open.move_to_end(file)
            self._bound_memory(file)
            return self._open[file][1]
        descriptor = open_file(file.path)
        stat = os.fstat(descriptor)
        if (stat.st_dev, stat.st_ino) != (file.row.device, file.row.inode):
            os.close(descriptor)
            raise ReplacedError
        return self.keep(file, descriptor)

    def keep(self, file: Tracked, descriptor: int) -> Stream:
        """Take over a descriptor that is open already."""
        self.close(file)
        while len(self._open) >= self._limit:
            self.close(next((other for other in self._open if not other.deleted), next(iter(self._open))))
        stream = open_stream(descriptor, file.row.codec)
        self._open[file] = (descriptor, stream)
        if file.row.codec != PLAIN:
            self._packed[file] = stream
        self._bound_memory(file)
        return stream

    def _bound_memory(self, file: Tracked) -> None:
        """Close what is being unpacked beside a file while that holds too much: the least unpacked first.

        They are the cheapest to begin anew, and the others come to their end.
        """
        unpacking = [other for other, stream in self._packed.items() if stream.held_bytes and other is not file]
        held = sum(self._packed[other].held_bytes for other in unpacking)
        for other in sorted(unpacking, key=lambda one: (one.deleted, one.row.position)):
            if held <= _MOST_HELD_BYTES:
                break
            held -= self._packed[other].held_bytes
            self.close(other)

    def goes_on(self, file: Tracked) -> None:
        """A file has changed: begin with it anew if what was read of it is not there any more."""
        if file in self._open and not self._open[file][1].goes_on():
            self.close(file)

    def stat(self, file: Tracked) -> os.stat_result | None:
        """What the open descriptor of a file says; None if there is none."""
        return os.fstat(self._open[file][0]) if file in self._open else None

    def birth(self, file: Tracked) -> str:
        """The birth of an open file."""
        return birth_of(self._open[file][0])

    def close(self, file: Tracked) -> None:
        """Close a file if it is open."""
        if file in self._open:
            self._packed.pop(file, None)
            os.close(self._open.pop(file)[0])

    def close_all(self) -> None:
        """Close every file."""
        for file in list(self._open):
            self.close(file)

    def __iter__(self) -> Iterator[Tracked]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)


def open_file(path: bytes) -> int:
    """Open for reading; never waits, not even for a FIFO that took the place of a file."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
