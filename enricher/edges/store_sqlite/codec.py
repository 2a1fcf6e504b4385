"""Segments as they lie in the spool: compressed, checksummed, and counted by window and shape.

Everything here is CPU work on values, made to run in worker threads: zstd and numpy let go of the interpreter lock. The
checksum is zstd's own (xxh64 of the content), beside the lengths that the row states.

Never here: the database.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import zstandard

from enricher.core.block import CONTINUES, SKIPPED, Segment
from enricher.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

LEVEL: Final = 1
HASH_LOG: Final = 12
"""A smaller table of places than the level's own: it stays in the cache, a sixth faster for one part in a hundred."""


REMEMBERED_BYTES: Final = 16 * 1024 * 1024
"""Decoded segments that are kept: panes are written one after the other, and a slow file's segment is in many."""


class CorruptSegmentError(StoreError):
    """A spooled segment is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowKinds:
    """Events and lines of a segment in one window."""

    start: int
    events: int
    lines: int
    kinds: npt.NDArray[np.uint32]
    """Rows (shape, events, lines), by shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSegment:
    """A segment ready for its row; without windows there is nothing in it to write, and it gets none."""

    segment: Segment
    data: bytes
    shapes: bytes
    window_index: bytes | None
    index_bytes: int
    """Bytes per line of the window index; 0 for none."""
    windows: tuple[WindowKinds, ...]

    @property
    def spooled_bytes(self) -> int:
        """What its blobs take."""
        return len(self.data) + len(self.shapes) + len(self.window_index or b"")


class _Threads(threading.local):
    """Compressors are costly to make and belong to one thread at a time."""

    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, hash_log=HASH_LOG, write_checksum=True)
        self.compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self.decompressor = zstandard.ZstdDecompressor()


_threads = _Threads()


def encode(segments: Sequence[Segment]) -> list[EncodedSegment]:
    """Compress and count segments."""
    return [_encode(segment) for segment in segments]


def _encode(segment: Segment) -> EncodedSegment:
    windows = count_kinds(segment)
    if not windows:
        return EncodedSegment(segment=segment, data=b"", shapes=b"", window_index=None, index_bytes=0, windows=())
    compress = _threads.compressor.compress
    index = segment.window_index
    return EncodedSegment(
        segment=segment,
        data=compress(segment.data),
        shapes=compress(np.ascontiguousarray(segment.shapes, dtype="<u4").data),
        window_index=None if index is None else compress(np.ascontiguousarray(index, dtype=f"<u{index.itemsize}").data),
        index_bytes=0 if index is None else index.itemsize,
        windows=windows,
    )


def count_kinds(segment: Segment) -> tuple[WindowKinds, ...]:
    """Events and lines per window and shape; a continuation counts to the event that it continues."""
    shapes = segment.shapes
    starts = np.flatnonzero((shapes != SKIPPED) & (shapes != CONTINUES))
    if not starts.size:
        return ()
    keys = shapes[starts].astype(np.int64)
    behind = int(keys.max()) + 1
    if segment.window_index is not None:
        keys += segment.window_index[starts] * np.int64(behind)
    found, events = _count(keys)
    lines = events
    continued = np.flatnonzero(shapes == CONTINUES)
    if continued.size:
        owners = np.searchsorted(starts, continued, side="right") - 1
        of = np.searchsorted(found, keys[owners[owners >= 0]])
        lines = events + np.bincount(of, minlength=found.size)
    numbers, kinds = np.divmod(found, behind)
    table = np.stack((kinds, events, lines), axis=1).astype("<u4")
    edges = np.flatnonzero(np.diff(numbers)) + 1
    return tuple(
        WindowKinds(
            start=segment.windows[int(number)],
            events=int(rows[:, 1].sum()),
            lines=int(rows[:, 2].sum()),
            kinds=rows,
        )
        for number, rows in zip(numbers[np.concatenate(([0], edges))].tolist(), np.split(table, edges), strict=True)
    )


def _count(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct numbers in their order, and how often each is there."""
    if keys.max() > 4 * keys.size:
        return np.unique(keys, return_counts=True)
    # Small ones are counted in a table, which costs a fifth of sorting them.
    table = np.bincount(keys)
    found = np.flatnonzero(table)
    return found, table[found]


def kinds_from(blob: bytes) -> npt.NDArray[np.uint32]:
    """The rows (shape, events, lines) of a `segment_panes` row."""
    return np.frombuffer(blob, dtype="<u4").reshape(-1, 3)


def decompress(blob: bytes, size_bytes: int) -> bytes:
    """What was compressed. Raises CorruptSegmentError unless it is `size_bytes` long and its checksum holds."""
    try:
        # Looked at first: a damaged header may ask for any amount of memory.
        if zstandard.frame_content_size(blob) != size_bytes:
            raise CorruptSegmentError("the length is wrong")
        return _threads.decompressor.decompress(blob)
    except zstandard.ZstdError as error:
        raise CorruptSegmentError(str(error)) from error


def decode_shapes(blob: bytes, lines: int) -> npt.NDArray[np.uint32]:
    """The shape of each line. Raises CorruptSegmentError."""
    return np.frombuffer(decompress(blob, 4 * lines), dtype="<u4")


def decode_index(
    blob: bytes | None, lines: int, index_bytes: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None:
    """The window of each line. Raises CorruptSegmentError."""
    if blob is None:
        return None
    return np.frombuffer(decompress(blob, index_bytes * lines), dtype=f"<u{index_bytes}")


class DecodedSegments:
    """The segments that were used last, by row id, up to `REMEMBERED_BYTES`."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Segment] = OrderedDict()

    def get(self, number: int) -> Segment | None:
        """A segment that is kept, and used now; None for any other."""
        segment = self._kept.get(number)
        if segment is not None:
            self._kept.move_to_end(number)
        return segment

    def keep(self, number: int, segment: Segment) -> None:
        """Keep it, and let go of the oldest where that is too much."""
        self._kept[number] = segment
        size_bytes = sum(len(one.data) + one.shapes.nbytes for one in self._kept.values())
        while size_bytes > REMEMBERED_BYTES:
            _, oldest = self._kept.popitem(last=False)
            size_bytes -= len(oldest.data) + oldest.shapes.nbytes

    def forget(self, numbers: Iterable[int]) -> None:
        """Let go of segments that are no more: until the next pane is written nothing else would."""
        for number in numbers:
            self._kept.pop(number, None)
