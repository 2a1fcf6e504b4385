"""What `Ingest` needs of a store, in memory, and lines by the event they belong to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from enricher.core.block import CONTINUES, SKIPPED
from enricher.ports import BlockReceipt, ShapeRow


class ManualClock:
    """A clock that tests move by hand."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class BlockStore:
    """The part of `ports.Store` that ingest calls."""

    def __init__(self) -> None:
        self.rows = {}
        self.shape_ids = {}
        self.merges = []
        self.blocks = []
        self.skipped = set()
        self.kept_breakers = {}

    async def files(self, source):
        return [row for row in self.rows.values() if row.source == source]

    async def past_identities(self, source):
        return set()

    async def forget_files(self, ids, now):
        for one in ids:
            del self.rows[one]

    async def shapes(self, ids=None):
        return [
            ShapeRow(id=row_id, shape=shape, root=row_id, template=shape.template)
            for shape, row_id in self.shape_ids.items()
        ]

    async def recent_shapes(self, limit, *, without):
        rows = [row for row in await self.shapes() if row.shape.format not in without]
        return rows[-limit:]

    async def find_shapes(self, shapes):
        return [self.shape_ids.get(shape) for shape in shapes]

    async def skip_shapes(self, ids):
        self.skipped |= set(ids)

    async def reading_held_by(self):
        return None

    async def breakers(self):
        return self.kept_breakers

    async def save_breaker(self, source, breaker):
        self.kept_breakers[source] = breaker

    async def intern_shapes(self, shapes, now):
        return [self.shape_ids.setdefault(shape, len(self.shape_ids) + 1) for shape in shapes]

    async def split_table(self, known):
        return None

    async def matcher_table(self, known):
        return None

    async def commit_merges(self, merges, now):
        self.merges += merges

    async def commit_block(self, block, now):
        self.blocks.append(block)
        files = []
        for row in block.files:
            kept = replace(row, id=row.id or len(self.rows) + 1)
            self.rows[kept.id] = kept
            files.append(kept)
        self.merges += block.merges
        return BlockReceipt(files=tuple(files), late_events=0, panes_opened=())

    async def close(self):
        pass

    async def segments_read(self):
        return [segment for block in self.blocks for segment in block.segments]


def events_of(segment):
    """(window, offset, all lines) of each event of a segment."""
    lines = segment.data.split(b"\n")[:-1]
    assert len(lines) == len(segment.shapes)
    index = np.zeros(len(lines), dtype=int) if segment.window_index is None else segment.window_index
    events = []
    offset = segment.offset
    for line, shape, window in zip(lines, segment.shapes.tolist(), index.tolist(), strict=True):
        if shape == CONTINUES:
            start, first, event = events[-1]
            assert start == segment.windows[window], "a continuation lies in the window of its event"
            events[-1] = (start, first, event + b"\n" + line)
        elif shape != SKIPPED:
            events.append((segment.windows[window], offset, line))
        offset += len(line) + 1
    return events
