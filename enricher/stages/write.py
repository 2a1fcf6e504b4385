"""Write: closed pane -> rounds -> parts -> sinks -> manifest -> done.

A round fixes what a set of shapes is written with; its events go out as parts, rendered anew for each sink from the
spool, a chunk at a time, in the thread in which the sink takes it. Each sink has its own cursor (the deliveries in the
store) and its own backoff, so that one that takes nothing holds up nobody else. A pane is done when everything of it
was decided, delivered to every sink and told in every sink's manifest; only then is its spool freed.

What is kept in memory here saves look-ups and can be forgotten at any time. Never here: a whole pane in memory, a
choice of answers (the store's `undecided`), the form of a record (`core.record`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from enricher.core import digest
from enricher.core.books import SinkTrouble
from enricher.core.manifest import build_manifest, imbalance
from enricher.core.record import Page, Renderer
from enricher.core.record_chunks import PartBooks, chunks
from enricher.core.record_kinds import KnownKinds
from enricher.core.record_times import Times
from enricher.core.skeleton import logged_level
from enricher.core.window import window_id
from enricher.errors import SinkError
from enricher.ports import CLOCK_STEP_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from enricher.core.block import Pane, SpooledSegment
    from enricher.core.ledger import Outcome, Part
    from enricher.core.record_form import Scalar
    from enricher.ports import Clock, Sink, Store
    from enricher.telemetry import Telemetry

Key = tuple[int, int]
"""A pane: (window start, number)."""

EVENTS_PER_PART: Final = 250_000
LEVELS_KEPT: Final = 50_000
"""Shapes whose level is remembered."""

WAITING: Final = frozenset({"pending", "expired"})
"""Statuses of events that may still be answered: an expired batch's requests are sent again."""

MAX_BACKOFF_SECONDS: Final = 300.0
RETAIN_EVERY_SECONDS: Final = 3600.0
_TRUSTED_AFTER_SECONDS: Final = 86_400.0
"""How long a clock must have gone on by itself after it was set until anything is deleted by what it says."""
IDLE_SECONDS: Final = 1.0
IDLE_RATIO: Final = 9.0
"""Looking in vain takes a tenth of the time at most, however many panes wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSettings:
    """What write needs of the configuration and the task."""

    host: str
    length_seconds: int
    max_wait_seconds: float
    fields: Mapping[str, Mapping[str, Scalar]]
    """Static fields by source id."""
    quality: Mapping[str, str]
    """Caution to go out with the answers of a task, by its hash."""
    compress: Mapping[str, str]
    """How a sink packs its parts, by sink id: its manifest names the files."""
    task: str
    """Hash of the task whose answers a digest shows."""
    model: str
    digest: bool
    """Whether windows get a digest."""
    max_backlog_events: Mapping[str, int] = field(default_factory=dict)
    """Events that may wait for a sink that refuses them, by sink id; no limit where there is none."""
    events_per_part: int = EVENTS_PER_PART


@dataclass(slots=True)
class _PaneState:
    """What is remembered of a closed pane."""

    decided: bool = False
    due_at: float | None = None
    """When, by the monotonic clock, it is written whatever the answers: setting the wall clock does not move it."""
    rounds: int = 0
    """How many rounds were fixed since the start of the process."""
    settled: dict[str, int] = field(default_factory=dict)
    """Per sink: `rounds` as it was when nothing of the pane was left to deliver."""
    told: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """Per sink: `rounds` and `decided` as they were when the window's manifest was written."""


@dataclass(slots=True)
class _SinkState:
    """What is remembered of a sink."""

    failures: int = 0
    trouble: SinkTrouble | None = None
    """Why it takes nothing, as the store has it."""
    is_known: bool = False
    """Whether the store was told so by this process."""
    next_at: float = 0.0
    retain_at: float = 0.0
    times: Times = field(default_factory=Times)
    known: KnownKinds = field(default_factory=KnownKinds)


class Write:
    """The stage that writes."""

    def __init__(
        self,
        *,
        store: Store,
        sinks: Sequence[Sink],
        clock: Clock,
        telemetry: Telemetry,
        settings: WriteSettings,
        jitter: Callable[[], float],
        asides: Mapping[str, Sink] | None = None,
    ) -> None:
        """`asides`: by sink id, where the dead letters of a sink go whose backlog is limited."""
        self._asides = asides or {}
        self._store = store
        self._sinks = sinks
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._jitter = jitter
        self._released = False
        self._clock_offset = clock.now() - clock.monotonic()
        self._retain_from = -math.inf
        self._panes: dict[Key, _PaneState] = {}
        self._sink_states = {sink.id: _SinkState() for sink in sinks}
        self._levels: dict[int, tuple[str, int]] = {}
        self._levels_known: set[int] = set()

    def release_pending(self) -> None:
        """Wait for no answers any more: what has none is written as pending now (a demo asks only some kinds)."""
        self._released = True

    async def step(self) -> bool:
        """Decide, deliver and finish what can be; whether anything was done. StoreError ends it."""
        moved = await self._decide()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._serve(sink)) for sink in self._sinks]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        moved |= any(task.result() for task in tasks)
        return await self._finish() or moved

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until `stop`, each sink at its own pace; a part in hand is finished first."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop(stop, self._decide_and_finish))
            for sink in self._sinks:
                group.create_task(self._loop(stop, partial(self._serve, sink, stop)))

    async def _loop(self, stop: asyncio.Event, step: Callable[[], Awaitable[bool]]) -> None:
        while not stop.is_set():
            begun = self._clock.monotonic()
            if await step():
                continue
            idle = max(IDLE_SECONDS, IDLE_RATIO * (self._clock.monotonic() - begun))
            waiting = [asyncio.ensure_future(self._clock.sleep(idle)), asyncio.ensure_future(stop.wait())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waiting:
                    one.cancel()

    # ------------------------------------------------------------ decide and finish

    async def _decide_and_finish(self) -> bool:
        moved = await self._decide()
        return await self._finish() or moved

    async def _decide(self) -> bool:
        moved = False
        panes = await self._store.closed_panes()
        keys = {_key(pane) for pane in panes}
        self._panes = {key: state for key, state in self._panes.items() if key in keys}
        for pane in panes:
            state = self._panes.setdefault(_key(pane), _PaneState())
            if not state.decided:
                moved |= await self._decide_pane(pane, state)
        return moved

    async def _decide_pane(self, pane: Pane, state: _PaneState) -> bool:
        open_outcomes = await self._store.undecided(_key(pane))
        if state.due_at is None:
            now, longest = self._clock.now(), self._settings.max_wait_seconds
            left = longest if pane.closed_at is None else pane.closed_at + longest - now
            state.due_at = self._clock.monotonic() + min(max(0.0, left), longest)
        waited = self._released or self._clock.monotonic() >= state.due_at
        ready = [one for one in open_outcomes if waited or one.status not in WAITING]
        if ready:
            await self._store.decide(_key(pane), ready, events_per_part=self._settings.events_per_part)
            state.rounds += 1
        state.decided = len(ready) == len(open_outcomes)
        return bool(ready)

    async def _finish(self) -> bool:
        moved = False
        for key, state in list(self._panes.items()):
            if any(state.told.get(sink.id) != (state.rounds, True) for sink in self._sinks):
                continue
            await self._store.finish_pane(key, self._clock.now())
            self._telemetry.pane_finished(window=window_id(key[0], self._settings.length_seconds), pane=key[1])
            del self._panes[key]
            moved = True
        return moved

    # ------------------------------------------------------------ deliver

    async def _serve(self, sink: Sink, stop: asyncio.Event | None = None) -> bool:
        """One pass over all panes for one sink, up to its first refusal."""
        state = self._sink_states[sink.id]
        if self._clock.monotonic() < state.next_at:
            return False
        moved = False
        try:
            for key, pane_state in list(self._panes.items()):
                if stop is not None and stop.is_set():
                    break
                moved |= await self._serve_pane(sink, key, pane_state, stop)
            moved |= await self._retell(sink)
            await self._retain(sink, state)
        except SinkError as error:
            await self._refused(sink, state, error)
            return await self._relieve(sink) or moved
        state.failures = 0
        if moved or state.trouble is not None:
            await self._note(sink, state, None)
        return moved

    async def _serve_pane(self, sink: Sink, key: Key, pane: _PaneState, stop: asyncio.Event | None) -> bool:
        # Taken before anything is awaited: a round that is fixed meanwhile makes another pass.
        rounds, decided = pane.rounds, pane.decided
        moved = False
        if pane.settled.get(sink.id) != rounds:
            for parts in await self._undelivered(sink, key):
                moved = True
                if not await self._deliver_round(sink, key, parts, stop):
                    return moved
            pane.settled[sink.id] = rounds
        if (rounds or decided) and pane.told.get(sink.id) != (rounds, decided):
            await self._tell(sink, key[0])
            pane.told[sink.id] = (rounds, decided)
            moved = True
        return moved

    async def _relieve(self, sink: Sink) -> bool:
        """Put the oldest of what a sink refuses among the dead letters, if too much of it waits; whether any was."""
        limit, aside = self._settings.max_backlog_events.get(sink.id), self._asides.get(sink.id)
        if not limit or aside is None:
            return False
        due = [(key, parts) for key in sorted(self._panes) for parts in await self._undelivered(sink, key)]
        backlog = sum(part.events for _, parts in due for part in parts)
        moved = False
        try:
            for key, parts in due:
                if backlog <= limit:
                    break
                moved |= await self._deliver_round(sink, key, parts, None, aside)
                backlog -= sum(part.events for part in parts)
        except SinkError as error:
            self._telemetry.sink_failed(sink=sink.id, error=str(error), hint=error.hint, retry_in_seconds=0.0)
        await self._tell_nobody(sink)
        return moved

    async def _tell_nobody(self, sink: Sink) -> None:
        """A window of which the sink has nothing but dead letters to come ends without its manifest being told."""
        for key, pane in self._panes.items():
            if not pane.decided or await self._undelivered(sink, key):
                continue
            numbers = {part.number for part in await self._store.parts(key)}
            taken = [one for one in await self._store.deliveries(sink.id, key[0]) if one.part.number in numbers]
            if any(one.is_dead for one in taken):
                pane.settled[sink.id], pane.told[sink.id] = pane.rounds, (pane.rounds, True)

    async def _undelivered(self, sink: Sink, key: Key) -> list[list[Part]]:
        """Parts that the sink has not got, by round."""
        taken = {delivery.part.number for delivery in await self._store.deliveries(sink.id, key[0])}
        rounds: dict[int, list[Part]] = {}
        for part in sorted(await self._store.parts(key), key=lambda part: part.number):
            if part.number not in taken:
                rounds.setdefault(part.round_number, []).append(part)
        return list(rounds.values())

    async def _deliver_round(
        self, sink: Sink, key: Key, parts: Sequence[Part], stop: asyncio.Event | None, aside: Sink | None = None
    ) -> bool:
        """Deliver parts of one round in one pass over the spool; False where another pass is needed for the rest.

        To `aside`, if that is given, in place of the sink.
        """
        outcomes = await self._store.outcomes(key, parts[0].round_number)
        await self._learn_levels(outcomes)
        renderer = await asyncio.to_thread(self._renderer, sink, key, outcomes)
        async with aclosing(_Round(self._store.segments(key), renderer)) as events:
            for part in parts:
                if stop is not None and stop.is_set():
                    return False
                if not await self._deliver(sink, part, events, aside):
                    return False
        return True

    async def _deliver(self, sink: Sink, part: Part, events: _Round, aside: Sink | None) -> bool:
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
        if sink is self._sinks[0]:  # every event has one status, however many sinks there are
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
            times=self._sink_states[sink.id].times,
            known=self._sink_states[sink.id].known,
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

    async def _tell(self, sink: Sink, start: int) -> None:
        """Write the window's manifest as the sink sees it now."""
        ended = (await self._store.untold_batches(sink.id)).get(start, [])
        report = await self._store.window_report(start)
        deliveries = await self._store.deliveries(sink.id, start)
        final = all(pane.state == "done" or self._is_settled(sink, _key(pane)) for pane in report.panes)
        window = window_id(start, self._settings.length_seconds)
        if final and (difference := imbalance(report, deliveries)):
            self._telemetry.accounting_imbalanced(window=window, difference=difference)
        compress = self._settings.compress.get(sink.id, "none")
        await sink.manifest(window, build_manifest(report, deliveries, window=window, final=final, compress=compress))
        if ended:
            await self._store.batches_told(sink.id, start, ended)
        self._telemetry.manifest_written(window=window, final=final)
        if final and self._settings.digest:
            await self._sum_up(sink, start, window)

    async def _sum_up(self, sink: Sink, start: int, window: str) -> None:
        """Write the window's digest."""
        task, model = self._settings.task, self._settings.model
        kinds = await self._store.window_kinds(start, windows=digest.HISTORY_WINDOWS, task=task, model=model)
        found = digest.compare(window, kinds)
        account = await self._store.account(start)
        await sink.digest(window, digest.to_json(found, account), digest.to_markdown(found, account))
        if account is not None:
            await self._store.account_told(sink.id, start)

    async def _retell(self, sink: Sink) -> bool:
        """Tell again of windows that are over: where a batch of theirs has ended since, or a model spoken of them."""
        under_way = {start for start, _ in self._panes}
        ended = [start for start in await self._store.untold_batches(sink.id) if start not in under_way]
        for start in ended:
            await self._tell(sink, start)
        starts = await self._store.untold_accounts(sink.id) if self._settings.digest else []
        settled = [
            start for start in starts if all(self._is_settled(sink, key) for key in self._panes if key[0] == start)
        ]
        for start in settled:
            await self._sum_up(sink, start, window_id(start, self._settings.length_seconds))
        return bool(settled or ended)

    def _is_settled(self, sink: Sink, key: Key) -> bool:
        pane = self._panes.get(key)
        return pane is not None and pane.decided and pane.settled.get(sink.id) == pane.rounds

    async def _retain(self, sink: Sink, state: _SinkState) -> None:
        mono = self._clock.monotonic()
        offset = self._clock.now() - mono
        if abs(offset - self._clock_offset) > CLOCK_STEP_SECONDS:
            self._clock_offset, self._retain_from = offset, mono + _TRUSTED_AFTER_SECONDS
        if mono >= max(state.retain_at, self._retain_from):
            await sink.retain(self._clock.now())
            state.retain_at = mono + RETAIN_EVERY_SECONDS

    async def _note(self, sink: Sink, state: _SinkState, trouble: SinkTrouble | None) -> None:
        """Put where a sink stands into the store, for the operator, if that is news."""
        if not state.is_known or trouble != state.trouble:
            await self._store.save_trouble(sink.id, trouble)
            state.trouble, state.is_known = trouble, True

    async def _refused(self, sink: Sink, state: _SinkState, error: SinkError) -> None:
        """Try the sink again after a doubling wait, half of it random: many hosts must not come back at once."""
        wait = min(MAX_BACKOFF_SECONDS, 2.0 ** min(state.failures, 16)) * (0.5 + self._jitter() / 2)
        state.failures += 1
        state.next_at = self._clock.monotonic() + wait
        since = self._clock.now() if state.trouble is None else state.trouble.since
        await self._note(sink, state, SinkTrouble(error=str(error), hint=error.hint, since=since))
        self._telemetry.sink_failed(sink=sink.id, error=str(error), hint=error.hint, retry_in_seconds=wait)


class _Round:
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


def _key(pane: Pane) -> Key:
    return pane.start, pane.number
