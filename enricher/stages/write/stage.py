"""The stage that writes: decides, serves each sink at its own pace, and finishes what all of them have.

Each sink has its own cursor (the deliveries in the store) and its own backoff, so that one that takes nothing holds up
nobody else. What is kept in memory here saves look-ups and can be forgotten at any time. Never here: a choice of
answers (the store's `undecided`), the form of a record (`core.record`).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from enricher.core.books import SinkTrouble
from enricher.core.window import window_id
from enricher.errors import SinkError
from enricher.ports import CLOCK_STEP_SECONDS
from enricher.stages.write.delivering import Delivering
from enricher.stages.write.panes import PaneState, key_of
from enricher.stages.write.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from enricher.core.block import Pane
    from enricher.ports import Clock, Sink, Store
    from enricher.stages.write.panes import Key
    from enricher.stages.write.settings import WriteSettings
    from enricher.telemetry import Telemetry

WAITING: Final = frozenset({"pending", "expired"})
"""Statuses of events that may still be answered: an expired batch's requests are sent again."""

MAX_BACKOFF_SECONDS: Final = 300.0
RETAIN_EVERY_SECONDS: Final = 3600.0
_TRUSTED_AFTER_SECONDS: Final = 86_400.0
"""How long a clock must have gone on by itself after it was set until anything is deleted by what it says."""
IDLE_SECONDS: Final = 1.0
IDLE_RATIO: Final = 9.0
"""Looking in vain takes a tenth of the time at most, however many panes wait."""


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
        self._panes: dict[Key, PaneState] = {}
        self._sink_states = {sink.id: _SinkState() for sink in sinks}
        self._delivering = Delivering(
            store=store, clock=clock, telemetry=telemetry, settings=settings, sinks=[sink.id for sink in sinks]
        )
        self._telling = Telling(store=store, telemetry=telemetry, settings=settings)

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
        keys = {key_of(pane) for pane in panes}
        self._panes = {key: state for key, state in self._panes.items() if key in keys}
        for pane in panes:
            state = self._panes.setdefault(key_of(pane), PaneState())
            if not state.decided:
                moved |= await self._decide_pane(pane, state)
        return moved

    async def _decide_pane(self, pane: Pane, state: PaneState) -> bool:
        open_outcomes = await self._store.undecided(key_of(pane))
        if state.due_at is None:
            now, longest = self._clock.now(), self._settings.max_wait_seconds
            left = longest if pane.closed_at is None else pane.closed_at + longest - now
            state.due_at = self._clock.monotonic() + min(max(0.0, left), longest)
        waited = self._released or self._clock.monotonic() >= state.due_at
        ready = [one for one in open_outcomes if waited or one.status not in WAITING]
        if ready:
            await self._store.decide(key_of(pane), ready, events_per_part=self._settings.events_per_part)
            state.rounds += 1
        state.decided = len(ready) == len(open_outcomes)
        return bool(ready)

    async def _finish(self) -> bool:
        moved = False
        for key, state in list(self._panes.items()):
            if not all(state.is_over(sink.id) for sink in self._sinks):
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
            moved |= await self._telling.retell(sink, self._panes)
            await self._retain(sink, state)
        except SinkError as error:
            await self._refused(sink, state, error)
            return await self._relieve(sink) or moved
        state.failures = 0
        if moved or state.trouble is not None:
            await self._note(sink, state, None)
        return moved

    async def _serve_pane(self, sink: Sink, key: Key, pane: PaneState, stop: asyncio.Event | None) -> bool:
        # Taken before anything is awaited: a round that is fixed meanwhile makes another pass.
        rounds, decided = pane.rounds, pane.decided
        moved = False
        if pane.settled.get(sink.id) != rounds:
            for parts in await self._delivering.undelivered(sink, key):
                moved = True
                if not await self._delivering.deliver_round(sink, key, parts, stop):
                    return moved
            pane.settled[sink.id] = rounds
        if (rounds or decided) and pane.told.get(sink.id) != (rounds, decided):
            await self._telling.tell(sink, key[0], self._panes)
            pane.told[sink.id] = (rounds, decided)
            moved = True
        return moved

    async def _relieve(self, sink: Sink) -> bool:
        """Put the oldest of what a sink refuses among the dead letters, if too much of it waits; whether any was."""
        limit, aside = self._settings.max_backlog_events.get(sink.id), self._asides.get(sink.id)
        if not limit or aside is None:
            return False
        due = [(key, parts) for key in sorted(self._panes) for parts in await self._delivering.undelivered(sink, key)]
        backlog = sum(part.events for _, parts in due for part in parts)
        moved = False
        try:
            for key, parts in due:
                if backlog <= limit:
                    break
                moved |= await self._delivering.deliver_round(sink, key, parts, None, aside)
                backlog -= sum(part.events for part in parts)
        except SinkError as error:
            self._telemetry.sink_failed(sink=sink.id, error=str(error), hint=error.hint, retry_in_seconds=0.0)
        await self._tell_nobody(sink)
        return moved

    async def _tell_nobody(self, sink: Sink) -> None:
        """A window of which the sink has nothing but dead letters to come ends without its manifest being told."""
        for key, pane in list(self._panes.items()):  # others are finished meanwhile
            if not pane.decided or await self._delivering.undelivered(sink, key):
                continue
            numbers = {part.number for part in await self._store.parts(key)}
            taken = [one for one in await self._store.deliveries(sink.id, key[0]) if one.part.number in numbers]
            if any(one.is_dead for one in taken):
                pane.settled[sink.id], pane.told[sink.id] = pane.rounds, (pane.rounds, True)

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
