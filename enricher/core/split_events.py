"""Events of split signatures named after the children that their values make, a segment at a time.

Invariants: the children are found in the order of the events, so that which buckets come before the limit does not
depend on how blocks are cut; an event whose value cannot be read, or has no bucket, keeps its shape. Must never: look
at a line of a kind that is not split.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.extract import ANY_BLANK, ONLY_SPACES
from enricher.core.record_values import Finder
from enricher.core.split import MOST_CHILDREN, Split, SplitTable, bucket_of, child_shape
from enricher.core.structured.reading import reader_for
from enricher.core.timestamp_columns import line_starts

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

    import numpy.typing as npt

    from enricher.core.block import Segment
    from enricher.core.skeleton import Shape

    Intern = Callable[[list[Shape]], list[int]]
    Read = Callable[[bytes], bytes | None]
    Starts = npt.NDArray[np.intp]

_MEMO_VALUES: Final = 4_096
_PROBES: Final = 16


class Splitter:
    """Gives events of split signatures the shapes of the children; made anew for every table."""

    def __init__(self, table: SplitTable) -> None:
        self.revision = table.revision
        self._splits = [kind.split for kind in table.kinds]
        self._children = [dict(kind.children) for kind in table.kinds]
        self._memos: list[dict[bytes, int | None]] = [{} for _ in table.kinds]
        self._split_of = {shape: at for at, kind in enumerate(table.kinds) for shape in kind.shapes}
        self._shapes = np.array(sorted(self._split_of), dtype=np.uint32)

    def apply(self, segment: Segment, intern: Intern) -> Segment:
        """The segment with such events named after their children; itself where it has none.

        `intern` numbers shapes, as for `core.signature`.
        """
        if not self._shapes.size:
            return segment
        rows = np.flatnonzero(np.isin(segment.shapes, self._shapes))
        if not rows.size:
            return segment
        starts = line_starts(segment.data)
        shapes = segment.shapes.copy()
        reads: dict[int, Read] = {}
        firsts, ends, old = starts[rows].tolist(), starts[rows + 1].tolist(), shapes[rows].tolist()
        for row, first, end, shape in zip(rows.tolist(), firsts, ends, old, strict=True):
            line = segment.data[first : end - 1]
            at = self._split_of[shape]
            read = reads.get(shape)
            if read is None:
                read = reads[shape] = _reader(self._splits[at], line, segment, starts, shape)
            value = read(line)
            child = None if value is None else self._child(at, value, intern)
            if child is not None:
                shapes[row] = child
        return replace(segment, shapes=shapes)

    def _child(self, at: int, value: bytes, intern: Intern) -> int | None:
        memo = self._memos[at]
        if value in memo:
            return memo[value]
        if len(memo) >= _MEMO_VALUES:
            memo.clear()
        split, children = self._splits[at], self._children[at]
        bucket = bucket_of(split.slot, value.decode("utf-8", "replace"))
        if bucket is not None and bucket not in children and len(children) < MOST_CHILDREN:
            (children[bucket],) = intern([child_shape(split, bucket)])
        memo[value] = None if bucket is None else children.get(bucket)
        return memo[value]


def _reader(split: Split, first: bytes, segment: Segment, starts: Starts, shape: int) -> Read:
    """How the slot's value is found in the segment's lines of a shape, of which this is the first."""
    groups = (split.hole,)
    blanks = ANY_BLANK if any(byte in segment.data for byte in b"\t\r\f\v") else ONLY_SPACES
    finder = Finder(split.template, groups, blanks=blanks, examples=[first])

    @cache
    def others() -> list[re.Pattern[bytes]]:
        return finder.others(_some(segment, starts, shape))

    def from_text(line: bytes) -> bytes | None:
        match = finder.pattern.match(line) or finder.search(line, others)
        return None if match is None else match[1]

    structured = reader_for(first, split.template, groups, has_level=False, taken=())
    if structured is None:
        return from_text

    def from_fields(line: bytes) -> bytes | None:
        reading = structured.read(line)
        if reading is None:
            return from_text(line)
        return None if reading.values is None else reading.values[0]

    return from_fields


def _some(segment: Segment, starts: Starts, shape: int) -> list[bytes]:
    """A few lines of a shape from all over a segment."""
    rows = np.flatnonzero(segment.shapes == shape)
    return [segment.data[starts[row] : starts[row + 1] - 1] for row in rows[:: -(-len(rows) // _PROBES)].tolist()]
