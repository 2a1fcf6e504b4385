"""Ingest: lines are read, windowed and named, and made durable together with the file positions.

Finds what each source has that is new, keys it in a worker thread (`core.keying`), and commits one block per read: the
lines, the positions behind them, and the merges that new shapes caused. Only then does the source move on.

Invariant: a position never moves without its lines. Must never: look at a line itself, or call another stage.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from enricher.core.block import Block, BlockCounts
from enricher.core.breaker import COARSE_FORMAT, Breaker, Gate
from enricher.core.keying import EVENT_FORMAT, Keyed, Keying, KeyingRule, Reading, key_lines, sum_counts, sum_origins
from enricher.core.matcher import NO_MATCHERS, Matchers
from enricher.core.merge import Merger
from enricher.core.signature import ShapeIndex
from enricher.core.skeleton import SPLIT_FORMAT
from enricher.core.split import NO_SPLITS
from enricher.core.split_events import Splitter
from enricher.core.timestamp_columns import line_starts
from enricher.ports import CLOCK_STEP_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from enricher.core.books import HeldBy
    from enricher.core.merge import Merge
    from enricher.core.skeleton import Shape
    from enricher.ports import Chunk, Clock, ShapeRow, Source, Store
    from enricher.telemetry import Telemetry


_T = TypeVar("_T")

UNMERGED_FORMATS: Final = (EVENT_FORMAT, COARSE_FORMAT, SPLIT_FORMAT)
MERGER_SHAPES: Final = 30_000
"""Shapes that merges are looked for among: 70 MB. Beyond, all but `KEPT_SHAPES` are forgotten, not their merges."""
KEPT_SHAPES: Final = 10_000
"""Shapes that the first read takes up: some seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSource:
    """A source and how its lines are looked at."""

    source: Source
    rule: KeyingRule


@dataclass(slots=True)
class _Feed:
    source: Source
    keying: Keying
    index: ShapeIndex
    gate: Gate


class Ingest:
    """The first stage. `start` once, then `step` as long as there is something to read."""

    def __init__(self, *, store: Store, sources: Sequence[IngestSource], clock: Clock, telemetry: Telemetry) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._feeds = [
            _Feed(source=one.source, keying=Keying(one.rule), index=ShapeIndex(), gate=Gate(Breaker()))
            for one in sources
        ]
        self._shapes = _Shapes()
        self._splitter = Splitter(NO_SPLITS)
        self._matchers = Matchers(NO_MATCHERS)
        self._is_replayed = False
        self._clock_offset = clock.now() - clock.monotonic()
        self.held_by: HeldBy | None = None
        """Why nothing is read now, though there may be something."""

    async def start(self) -> None:
        """Take up the registry and the breakers where the last process left them. Raises StoreError."""
        breakers = await self._store.breakers()
        for feed in self._feeds:
            feed.gate = Gate(breakers.get(feed.source.id, Breaker()))
            self._telemetry.breaker_known(source=feed.source.id, is_open=feed.gate.breaker.is_open)
            joined = feed.keying.joined if feed.keying.joins else None
            past = await self._store.past_identities(feed.source.id)
            await feed.source.start(await self._store.files(feed.source.id), joined, past)

    async def _replay(self) -> None:
        """Take up the shapes and their merges; before the first lines, not in the way of a start.

        A process that died between numbering shapes and committing their block has left merges out: replaying the
        shapes finds them again. Of more than `KEPT_SHAPES` only so many are taken up; the rest is found in the store
        when it is met again.
        """
        rows = await self._store.recent_shapes(KEPT_SHAPES, without=UNMERGED_FORMATS)
        self._shapes = _Shapes()
        merges = await asyncio.to_thread(self._shapes.replay, rows)
        self._is_replayed = True
        if merges:
            await self._store.commit_merges(merges, self._clock.now())

    async def step(self, *, flush: bool = False) -> int:
        """Scan, read and commit once per source; returns how many events were made durable. Raises StoreError.

        `flush` reads what would otherwise wait in its file for more. Where the store has no room nothing is read: what
        is in the files stays there, and is seen to be unread.
        """
        if not self._is_replayed:
            await self._replay()
        await self._look_for_room()
        events = 0
        for feed in self._feeds:
            now = self._time()
            self._telemetry.files_skipped(source=feed.source.id, skipped=await feed.source.scan(now))
            chunks = () if self.held_by else await feed.source.read(now, flush=flush)
            if chunks:
                events += await self._commit(feed, chunks, now)
            if forgotten := feed.source.forgotten():
                await self._store.forget_files(forgotten, now)
            progress = feed.source.progress(now)
            self._telemetry.source_progressed(source=feed.source.id, progress=progress, now=now)
        return events

    def _time(self) -> float:
        """What the wall clock says, of which the sources know how far it was set."""
        now = self._clock.now()
        offset = now - self._clock.monotonic()
        if abs(offset - self._clock_offset) > CLOCK_STEP_SECONDS:
            for feed in self._feeds:
                feed.source.clock_set(offset - self._clock_offset, now)
            self._clock_offset = offset
        return now

    async def _look_for_room(self) -> None:
        """Take note of whether the store has room for more."""
        before, self.held_by = self.held_by, await self._store.reading_held_by()
        if self.held_by != before:
            self._telemetry.reading_held(reason=self.held_by)

    async def _commit(self, feed: _Feed, chunks: Sequence[Chunk], now: float) -> int:
        await self._learn()
        naming = _Naming(self._store, self._shapes, self._matchers, now)
        was_open = feed.gate.breaker.is_open
        keyed = await asyncio.to_thread(_key_all, feed, chunks, naming, self._splitter)
        files = [
            feed.source.accept(
                chunk, chunk.length - len(one.held), partial=one.held, anchor=one.anchor, learned=one.learned
            )
            for chunk, one in zip(chunks, keyed, strict=True)
        ]
        counts = sum_counts([one.counts for one in keyed])
        block = Block(
            segments=tuple(segment for one in keyed for segment in one.segments),
            files=tuple(files),
            merges=tuple(naming.merges),
            counts=counts,
        )
        receipt = await self._store.commit_block(block, now)
        feed.source.committed(receipt.files)
        self._telemetry.block_committed(
            source=feed.source.id,
            lines=counts.lines,
            events=counts.events,
            size_bytes=sum(chunk.length - len(one.held) for chunk, one in zip(chunks, keyed, strict=True)),
            blank=counts.blank,
            dropped=counts.dropped,
            lost_bytes=counts.lost_bytes,
            origins=sum_origins([one.origins for one in keyed]),
            late_events=receipt.late_events,
            new_shapes=naming.new_shapes,
        )
        await self._tell_breaker(feed, block, was_open=was_open)
        if self._shapes.count > MERGER_SHAPES:
            await self._replay()
        return counts.events

    async def _learn(self) -> None:
        """Take up what answers have brought since the last block: splits and matchers."""
        splits = await self._store.split_table(self._splitter.revision)
        if splits is not None:
            self._splitter = Splitter(splits)
        matchers = await self._store.matcher_table(self._matchers.revision)
        if matchers is not None:
            self._matchers = Matchers(matchers)

    async def _tell_breaker(self, feed: _Feed, block: Block, *, was_open: bool) -> None:
        """What became of the source's breaker: its kinds skipped, its state kept, its coarse lines counted."""
        gate, source = feed.gate, feed.source.id
        if gate.coarse_ids:
            coarse = np.array(sorted(gate.coarse_ids), dtype=np.uint32)
            lines = sum(int(np.count_nonzero(np.isin(segment.shapes, coarse))) for segment in block.segments)
            self._telemetry.lines_coarsened(source=source, lines=lines)
        if gate.skipped:
            skipped, gate.skipped = gate.skipped, []
            await self._store.skip_shapes(skipped)
            self._telemetry.breaker_opened(source=source, skipped=len(skipped))
        if gate.breaker.is_open != was_open:
            await self._store.save_breaker(source, gate.breaker)
        if was_open and not gate.breaker.is_open:
            gate.coarse_ids.clear()
            feed.index.forget()  # it knows lines by their coarse shapes
            self._telemetry.breaker_closed(source=source)


class _Shapes:
    """The shapes met so far, of all sources, and what they merge into."""

    def __init__(self) -> None:
        self._merger = Merger()
        self.newest = 0
        self.count = 0

    def add(self, row_id: int, shape: Shape) -> list[Merge]:
        """Take in a shape; a single event's, a coarse one and what was split off are never merged."""
        if shape.format in UNMERGED_FORMATS:
            self.newest = max(self.newest, row_id)
            return []
        self.count += row_id > self.newest
        self.newest = max(self.newest, row_id)
        return self._merger.add(row_id, shape)

    def replay(self, rows: Sequence[ShapeRow]) -> list[Merge]:
        """Take in stored shapes, in row-id order."""
        return [merge for row in rows for merge in self.add(row.id, row.shape)]


class _Naming:
    """Numbers new shapes from the worker thread, on the loop that made it, and collects the merges they cause."""

    def __init__(self, store: Store, shapes: _Shapes, matchers: Matchers, now: float) -> None:
        self.merges: list[Merge] = []
        self.new_shapes = 0
        self._told = 0
        self._store = store
        self._shapes = shapes
        self._matchers = matchers
        self.now = now
        self._loop = asyncio.get_running_loop()

    def intern(self, shapes: list[Shape]) -> list[int]:
        """Row ids of shapes; blocks the thread. Raises StoreError."""
        row_ids = self._await(self._store.intern_shapes(shapes, self.now))
        newest = self._shapes.newest
        for row_id, shape in sorted(zip(row_ids, shapes, strict=True), key=lambda pair: pair[0]):
            self.merges += self._shapes.add(row_id, shape)
            if (merge := self._matchers.merge(row_id, shape)) is not None:
                self.merges.append(merge)
        self.new_shapes += sum(row_id > newest for row_id in row_ids)
        return row_ids

    def find(self, shapes: list[Shape]) -> list[int | None]:
        """Row ids of shapes that are stored; blocks the thread. Raises StoreError."""
        return self._await(self._store.find_shapes(shapes))

    def through(self, gate: Gate) -> Callable[[list[Shape]], list[int]]:
        """Number shapes as the breaker of their source allows."""
        return lambda shapes: gate.number(
            shapes, find=self.find, intern=self.intern, merged=self._newly_merged, now=self.now
        )

    def _newly_merged(self) -> list[Merge]:
        told, self._told = self._told, len(self.merges)
        return self.merges[told:]

    def _await(self, call: Coroutine[object, object, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


def _key_all(feed: _Feed, chunks: Sequence[Chunk], naming: _Naming, splitter: Splitter) -> list[Keyed]:
    keyed = [_key(feed, chunk, naming) for chunk in chunks]
    return [
        replace(one, segments=tuple(splitter.apply(segment, naming.intern) for segment in one.segments))
        for one in keyed
    ]


def _key(feed: _Feed, chunk: Chunk, naming: _Naming) -> Keyed:
    if not chunk.data:
        # News of a file without lines: it moved, it is gone, or something of it is lost.
        counts = BlockCounts(lines=0, events=0, blank=0, dropped=0, lost_bytes=chunk.lost_bytes)
        state = chunk.file
        return Keyed(segments=(), held=b"", anchor=state.anchor, learned=state.learned, counts=counts, origins={})
    reading = Reading(
        file=chunk.file,
        data=chunk.data,
        lost_bytes=chunk.lost_bytes,
        final=chunk.final,
        fallback=chunk.fallback,
        read_at=chunk.read_at,
        tails=chunk.tails,
    )
    if feed.keying.rule.ask_events:
        return key_lines(reading, feed.keying, feed.index, naming.intern)
    starts = line_starts(chunk.data)
    feed.gate.begin(len(starts) - 1)
    keyed = key_lines(reading, feed.keying, feed.index, naming.through(feed.gate), starts=starts)
    feed.gate.finish(naming.now)
    return keyed
