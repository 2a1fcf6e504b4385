"""Where lines come from: whole lines of files, and how far reading is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from enricher.core.block import FileState, Tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Whole lines of one file that were read but not yet made durable; none, where only its row has news.

    `offset` is in the decompressed stream. `lines` ends with a newline unless `final` and the file does not; the
    source has added one then, which `length` does not count.
    """

    file: FileState
    """The registry row as it was before this chunk (its `partial` already belongs to `data`)."""
    data: bytes
    length: int
    """Bytes of the file that `data` stands for."""
    lost_bytes: int
    final: bool
    """Nothing may be held back: the file ended (rotated away, compressed, `once`) or was quiet for long enough."""
    fallback: float
    """Epoch seconds for events that have no time anywhere before: file mtime in `once`, read time in `run`."""
    read_at: float
    tails: tuple[Tail, ...] = ()
    """Where the last lines of `data` lie that `length` does not count, since they are the first of the files after this
    one. Each of those files has a chunk without lines in the same read, which moves it behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedFile:
    """A file that is not read, and why."""

    path: bytes
    reason: str
    """unreadable, binary, directory, not_regular, vanished, own_output, compressed_unknown: a closed list."""
    detail: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProgress:
    """How far a source is; what closing a window needs to know."""

    files: int
    degraded: int
    """Files that cannot be read now."""
    unread_bytes: int
    deleted_bytes: int
    """Bytes of deleted files that are held open until they are read: their space is not free before."""
    oldest_unread_at: float | None
    read_through: float | None
    """Wall time T such that every live file was read up to the size that it had at T (files unreadable for 15
    minutes left out); None before the first complete pass."""
    left_out: tuple[bytes, ...]
    """Paths left out of `read_through`."""
    exhausted: bool
    """`once` only: every file was read to its end."""


class Joined(Protocol):
    """Which lines at the start of a file belong to the last event of the file before it."""

    def __call__(self, file: FileState, held: bytes, following: bytes, *, whole: bool) -> int | None:
        """How many bytes of `following` do; None: lines to come may tell, which there are none of where it is `whole`.

        `held` is what was held back of `file`; both are whole lines.
        """


class Source(Protocol):
    """Where lines come from: one configured source."""

    id: str

    async def start(
        self, states: Sequence[FileState], joined: Joined | None, past_identities: Collection[str] = ()
    ) -> None:
        """Take the registry rows of this source; called once, before all else.

        `past_identities` were those of files whose rows were let go.
        `joined` says which events go on in the file that a rotation begins; None: no event has several lines.
        """

    def clock_set(self, seconds: float, now: float) -> None:
        """The wall clock was set by so many seconds since the last call, and says `now` since.

        How long something takes, or was left alone, is not told by a clock that is set: no file is given up for it,
        taken for whole or waited for.
        """

    async def scan(self, now: float) -> Sequence[SkippedFile]:
        """Find files, recognise those known under a new name, notice truncation; returns files newly skipped.

        Called each poll. Never raises for what a file or directory does: that is a SkippedFile or a degraded file.
        """

    async def read(self, now: float, *, flush: bool) -> Sequence[Chunk]:
        """Up to 4 MiB of whole lines from one or more files, fairly; empty when nothing is worth a commit yet.

        Reads of less than 256 KiB wait in their file for up to 2 s (10 s where thousands have something to say) unless
        `flush`. At most one chunk per file. A read moves nothing: the next one starts after what was `committed`, or
        again at the same place.
        """

    def accept(
        self, chunk: Chunk, taken: int, *, partial: bytes, anchor: float | None, learned: bool | None
    ) -> FileState:
        """The registry row to commit for a chunk of which the first `taken` bytes of its `length` became events.

        Pure bookkeeping; takes effect only with `committed`.
        """

    def committed(self, files: Sequence[FileState]) -> None:
        """The rows are durable (with their ids): positions move."""

    def forgotten(self) -> Sequence[int]:
        """Row ids of files that went so long ago that nothing is looked for any more; each is told once."""

    def progress(self, now: float) -> SourceProgress:
        """How far it is."""

    async def close(self) -> None:
        """Close every descriptor."""
