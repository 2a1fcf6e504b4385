"""Delivering: the parts of a round out of the spool, rendered anew for each sink, a chunk at a time.

A part is rendered in the thread in which its sink takes it. Invariant: a part is delivered before it is noted as such.
Must never: hold a whole pane in memory, or choose what an event is written with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from enricher.core.record import Page, Renderer
from enricher.core.record_chunks import PartBooks, chunks
from enricher.core.record_kinds import KnownKinds
from enricher.core.record_times import Times
from enricher.core.skeleton import logged_level
from enricher.core.window import window_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from enricher.core.block import SpooledSegment
    from enricher.core.ledger import Outcome, Part
    from enricher.ports import Clock, Sink, Store
    from enricher.stages.write.panes import Key
    from enricher.stages.write.settings import WriteSettings
    from enricher.telemetry import Telemetry

LEVELS_KEPT: Final = 50_000
"""Shapes whose level is remembered."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """What rendering for a sink remembers from one part to the next."""

    times: Times = field(default_factory=Times)
    known: KnownKinds = field(default_factory=KnownKinds)


class Delivering:
    """Brings what is decided to the sinks. `sinks`: their ids, the first one that by which events are counted."""

    def __init__(
        self, *, store: Store, clock: Clock, telemetry: Telemetry, settings: WriteSettings, sinks: Sequence[str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._first = sinks[0] if sinks else None
        self._memories = {sink: _Memory() for sink in sinks}
        self._levels: dict[int, tuple[str, int]] = {}
        self._levels_known: set[int] = set()

    async def undelivered(self, sink: Sink, key: Key) -> list[list[Part]]:
        """Parts that the sink has not got, by round."""
        taken = {delivery.part.number for delivery in await self._store.deliveries(sink.id, key[0])}
        rounds: dict[int, list[Part]] = {}
        for part in sorted(await self._store.parts(key), key=lambda part: part.number):
            if part.number not in taken:
                rounds.setdefault(part.round_number, []).append(part)
        return list(rounds.values())

    async def deliver_round(
        self, sink: Sink, key: Key, parts: Sequence[Part], stop: asyncio.Event | None, aside: Sink | None = None
    ) -> bool:
        """Deliver parts of one round in one pass over the spool; False where another pass is needed for the rest.

        To `aside`, if that is given, in place of the sink.
        """
        outcomes = await self._store.outcomes(key, parts[0].round_number)
        await self._learn_levels(outcomes)
        renderer = await asyncio.to_thread(self._renderer, sink, key, outcomes)
        async with aclosing(Round(self._store.segments(key), renderer)) as events:
            for part in parts:
                if stop is not None and stop.is_set():
                    return False
                if not await self._deliver(sink, part, events, aside):
                    return False
        return True

    async def _deliver(self, sink: Sink, part: Part, events: Round, aside: Sink | None) -> bool:
        """Deliver a part; False if it turned out to be cut otherwise by now."""
        begun = self._clock.monotonic()
        window = window_id(part.start, self._settings.length_seconds)
        books = PartBooks()
        async with aclosing(events.batches(part, books)) as batches:
            taken = await (aside or sink).deliver(window, part, batches)
        if part not in await self._store.parts((part.start, part.pane)):
            # The store met a segment that cannot be read and took it out: this part is written again, and replaced.
            return False
        await self._store.delivered(
            sink.id,
            part,
            sha256=taken.sha256,
            size_bytes=taken.size_bytes,
            events=books.events,
            lines=books.lines,
            filtered=books.filtered,
            now=self._clock.now(),
            is_dead=aside is not None,
        )
        if aside is not None:
            self._telemetry.part_dead_lettered(sink=sink.id, window=window, part=part.number, events=books.events)
            return True
        self._telemetry.part_delivered(
            sink=sink.id,
            window=window,
            part=part.number,
            events=books.events,
            size_bytes=taken.size_bytes,
            filtered=books.filtered,
            seconds=self._clock.monotonic() - begun,
        )
        if sink.id == self._first:  # every event has one status, however many sinks there are
            self._telemetry.events_statused(statuses=books.statuses)
        return True

    def _renderer(self, sink: Sink, key: Key, outcomes: Sequence[Outcome]) -> Renderer:
        return Renderer(
            host=self._settings.host,
            window=window_id(key[0], self._settings.length_seconds),
            start=key[0],
            pane=key[1],
            outcomes=outcomes,
            levels=self._levels,
            fields=self._settings.fields,
            quality=self._settings.quality,
            min_severity=sink.min_severity,
            times=self._memories[sink.id].times,
            known=self._memories[sink.id].known,
        )

    async def _learn_levels(self, outcomes: Sequence[Outcome]) -> None:
        wanted = {outcome.shape for outcome in outcomes} - self._levels_known
        if not wanted:
            return
        if len(self._levels_known) + len(wanted) > LEVELS_KEPT:
            self._levels, self._levels_known = {}, set()
            wanted = {outcome.shape for outcome in outcomes}
        found = ((row.id, logged_level(row.shape)) for row in await self._store.shapes(wanted))
        self._levels |= {shape: level for shape, level in found if level is not None}
        self._levels_known |= wanted


class Round:
    """The events of a round, in order, read from the spool once for all parts that are cut from it."""

    def __init__(self, segments: AsyncIterator[SpooledSegment], renderer: Renderer) -> None:
        self._segments = segments
        self._renderer = renderer
        self._page: Page | None = None
        self._used = 0
        """Events of the page that are behind us."""
        self._position = 0
        """Ordinal of the next event among the round's."""

    async def aclose(self) -> None:
        """Let go of the spool."""
        if isinstance(self._segments, AsyncGenerator):
            await self._segments.aclose()

    async def batches(self, part: Part, books: PartBooks) -> AsyncGenerator[Iterator[bytes], None]:
        """The records of a part, those of a page at a time; `books` adds up what was made of them."""
        end = part.first + part.events
        while self._position < end and (page := await self._current()) is not None:
            left = page.events - self._used
            if self._position < part.first:
                self._advance(min(left, part.first - self._position))
                continue
            first, count = self._used, min(left, end - self._position)
            self._advance(count)
            yield chunks(page, first, first + count, books)

    async def _current(self) -> Page | None:
        """The page with the next event; None behind the last."""
        while self._page is None or self._used == self._page.events:
            spooled = await anext(self._segments, None)
            if spooled is None:
                return None
            self._page = self._renderer.open(spooled)
            self._used = 0
        return self._page

    def _advance(self, events: int) -> None:
        self._used += events
        self._position += events
