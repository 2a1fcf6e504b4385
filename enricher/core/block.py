"""A block of events: whole lines of one or more files, each line with its window and its shape.

Everything is kept per *line*, so that nothing but two small arrays stands beside the bytes: an event starts at each
line whose shape is neither `SKIPPED` nor `CONTINUES`, and goes on to the next such line. Blocks are what ingest
commits and write reads; a segment is the part of a block that comes from one file.

Never here: reading, parsing, compressing. A segment is a value; its bytes are those of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from enricher.core.merge import Merge

MAX_BLOCK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of log text that are read, named and committed together."""

MAX_LINE_BYTES: Final = 256 * 1024
"""A longer line is cut here, marked, and the rest of it counted as lost."""

SKIPPED: Final = 0
"""Shape of a line that is no event: blank, or dropped by a pattern of the user's."""

CONTINUES: Final = 0xFFFFFFFF
"""Shape of a line that continues the event before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """A file's row in the registry: who it is (three anchors) and how far it was read.

    Positions are bytes of the decompressed stream. `partial` holds bytes seen after `position` that were no whole
    event yet, so that they outlive the file.
    """

    id: int
    """Row id; 0 before the first commit."""
    source: str
    path: bytes
    device: int
    inode: int
    birth: str
    """Inode generation or birth time, as text; empty where the file system tells neither."""
    head_bytes: int
    head_hash: bytes
    """SHA-256 of the first `head_bytes` bytes (at most 1 KiB)."""
    marker: bytes
    """The up to 64 bytes that end at `position`."""
    codec: str
    """plain, gzip, xz, bzip2 or zstd."""
    generation: int
    """How often a file with the same logical path and first line was met before."""
    identity: str
    """16 hex of (host, path without rotation suffixes, first line, generation): the first part of event ids."""
    position: int
    partial: bytes
    anchor: float | None
    """Epoch seconds of the last event, None before the first."""
    learned: bool | None
    """Whether its events start with a time (`core.multiline`); None until lines were seen that do."""
    size_seen: int
    mtime_seen: float
    gone_at: float | None
    """When it was found missing or given up as rotated away and drained; None while it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Lines at the start of a file that end the last event of the file before it, in whose segment they lie."""

    path: bytes
    identity: str
    generation: int
    offset: int
    """First byte, in the decompressed stream of its own file."""
    size_bytes: int
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Contiguous lines of one file, named and windowed."""

    source: str
    file_id: int
    path: bytes
    identity: str
    generation: int
    offset: int
    """First byte, in the decompressed stream."""
    data: bytes
    """Whole lines, each ended by a newline (one is added to the last line of a file that has none)."""
    lost_bytes: int
    """Bytes cut from the end of the last line, which was longer than `MAX_LINE_BYTES`; 0 for none."""
    shapes: npt.NDArray[np.uint32]
    """Per line: row id of its shape, or `SKIPPED`, or `CONTINUES`."""
    windows: tuple[int, ...]
    """Distinct window starts (epoch seconds) of its events."""
    window_index: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None
    """Per line: index into `windows`; None: all in the first."""
    read_at: float
    anchor: float | None
    """Epoch seconds of the last event before it in its file."""
    fallback: float
    time_rule: str
    """How times were read, as `core.timestamp` needs it again: JSON of zone and the user's pattern."""
    tails: tuple[Tail, ...] = ()
    """Where the last lines of `data` come from, if not from the file, for the books of its window. A segment that was
    spooled has none: it is committed, and nothing of an event is written by where its further lines lay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What ingest commits in one transaction: lines, positions, merges and the books."""

    segments: tuple[Segment, ...]
    files: tuple[FileState, ...]
    merges: tuple[Merge, ...]
    counts: BlockCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCounts:
    """The books of a block: `lines` = lines of events + `blank` + `dropped`."""

    lines: int
    events: int
    blank: int
    dropped: int
    lost_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """One instalment of a window: pane 0 on time, panes 1 and on for late events."""

    start: int
    """Window start, epoch seconds."""
    number: int
    state: str
    """open, closed, done."""
    first_event_at: float
    """Wall time at which its first event was spooled."""
    closed_at: float | None
    how: str | None
    """complete or forced, once closed."""
    events: int
    lines: int
    task: str | None
    """Hash of the task that it was closed with."""
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledSegment:
    """A segment as the store gives it back to write, for one pane."""

    id: int
    segment: Segment
    panes: tuple[int | None, ...]
    """Beside `segment.windows`: the pane number that each window's events of this segment went to."""
