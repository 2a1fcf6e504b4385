"""The daemon: every stage in a task of its own, the admin address beside them, until it is stopped.

It may be killed at any instruction. Once a store fails it ends, since nothing is known of what was committed. Must
never: decide what a stage decides, or let a wedged store pass for a live process.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from enricher import __version__
from enricher.compose import admin_for
from enricher.errors import EnricherError, StoreError
from enricher.pacing import TICK_SECONDS, Pacing, wait
from enricher.ports import CLOCK_STEP_SECONDS
from enricher.status import HELD, reason, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from enricher.access import Access
    from enricher.app import Enricher
    from enricher.core.books import StoreSummary
    from enricher.edges.systemd import Notifier

DRAIN_SECONDS: Final = 5.0
"""How long stages may take to finish their step after a stop; below the 10 s that a stop may take in all."""

REPORT_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 900.0
"""How long a provider may fail in ways that pass by themselves before the daemon calls itself not ready."""

_LAG_PROBE_SECONDS: Final = 0.25


class Daemon:
    """The run over an `Enricher` that is open."""

    def __init__(self, app: Enricher) -> None:
        self._app = app
        self._failure: str | None = None
        self._summary: StoreSummary | None = None
        """What the store said last."""
        self._started = False
        self._store_answered = time.monotonic()

    async def run(self, stop: asyncio.Event, notifier: Notifier, access: Access) -> None:
        """Serve until `stop`; returns within 10 s of it. Raises what ended a stage."""
        app = self._app
        pacing = Pacing(tick_seconds=min(TICK_SECONDS, app.provider.poll_interval_seconds))
        app.store.on_change(pacing.changed)

        def wake(batch_id: str) -> None:
            app.track.look_at(batch_id)
            pacing.changed()

        admin = admin_for(
            app.config.admin,
            access,
            app.telemetry,
            status=self.status,
            unready=self._unready,
            refresh=self._refreshed,
            wake=wake,
        )
        address = await admin.start()
        try:
            await self._serve(stop, notifier, pacing, address)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            await admin.close()
        app.telemetry.daemon_stopped(reason="stop requested")

    async def _serve(self, stop: asyncio.Event, notifier: Notifier, pacing: Pacing, address: str) -> None:
        app = self._app
        steps = [app.plan.step, app.submit.step, app.track.step, *([app.nightly.step] if app.nightly else [])]
        loops = [
            *(self._guarded(stop, pacing.repeat(step)) for step in steps),
            # Files say nothing to the store: they are looked at every time.
            self._guarded(stop, pacing.repeat(self._ingest_step, polls=True)),
            self._guarded(stop, app.write.run(stop)),
            self._guarded(stop, self._report(stop, notifier)),
            self._probe(stop, notifier),
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in loops]
            self._started = True
            app.telemetry.daemon_started(
                version=__version__,
                state_dir=str(app.config.state_dir),
                provider=app.provider.kind,
                model=app.provider.model,
                admin=address,
            )
            notifier.ready()
            await stop.wait()
            pacing.end()
            notifier.stopping()
            # A step that does not end in time is cancelled: the store finishes its transaction either way.
            _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()

    async def _ingest_step(self) -> bool:
        # Small reads wait for more in their file, but not where a window waits for them to close.
        now = self._app.clock.now()
        over = now - self._app.config.window.length_seconds - self._app.config.window.allowed_lateness_seconds
        is_waiting = any(one.unread_bytes for one in self._app.source_progress(now))
        flush = is_waiting and any(pane.start <= over for pane in await self._app.store.open_panes())
        return await self._app.ingest.step(flush=flush) > 0

    async def _guarded(self, stop: asyncio.Event, stage: Awaitable[None]) -> None:
        """Run a stage; a store that fails ends the process, since nothing is known of what was committed."""
        try:
            await stage
        except (StoreError, BaseExceptionGroup) as error:
            # A stage with tasks of its own ends with a group of what ended them.
            fault = _first(error) if isinstance(error, BaseExceptionGroup) else error
            if isinstance(fault, StoreError):
                self._failure = str(fault)
                self._app.telemetry.store_failed(error=str(fault), hint=fault.hint)
                stop.set()
            raise fault from None

    async def _report(self, stop: asyncio.Event, notifier: Notifier) -> None:
        """Keep gauges and the status line up to date, and watch the clock."""
        offset = self._app.clock.now() - self._app.clock.monotonic()
        while not stop.is_set():
            summary = await self._refresh()
            self._store_answered = time.monotonic()
            unread = sum(one.unread_bytes for one in self._app.source_progress(self._app.clock.now()))
            notifier.status(
                f"{summary.read_events:,} events read, {unread:,} bytes unread, "
                f"{len(summary.open_batches)} batches open, ${summary.cost_usd:.4f} spent"
            )
            drift = self._app.clock.now() - self._app.clock.monotonic() - offset
            if abs(drift) > CLOCK_STEP_SECONDS:
                offset += drift
                self._app.telemetry.clock_stepped(seconds=drift)
                self._app.submit.look_again()
                self._app.track.look_again()
            await wait(stop, REPORT_SECONDS)

    async def _probe(self, stop: asyncio.Event, notifier: Notifier) -> None:
        """Measure how late the event loop is, and feed the watchdog from it as long as the store answers, too."""
        worst, told = 0.0, time.monotonic()
        patience = max(notifier.watchdog_seconds or 0.0, 3 * REPORT_SECONDS)
        every = min(REPORT_SECONDS, (notifier.watchdog_seconds or 2 * REPORT_SECONDS) / 2)
        while not stop.is_set():
            before = time.monotonic()
            await asyncio.sleep(_LAG_PROBE_SECONDS)
            worst = max(worst, time.monotonic() - before - _LAG_PROBE_SECONDS)
            if time.monotonic() - told >= every:
                self._app.telemetry.loop_lagged(seconds=max(0.0, worst))
                if time.monotonic() - self._store_answered < patience:
                    notifier.alive()
                worst, told = 0.0, time.monotonic()

    async def _refresh(self) -> StoreSummary:
        now = self._app.clock.now()
        summary = self._summary = await self._app.store.summary(now)
        self._app.telemetry.summarised(summary=summary)
        self._app.telemetry.dead_letters_counted(dead_letters=summary.dead_letters)
        for source in self._app.sources:
            self._app.telemetry.source_progressed(source=source.id, progress=source.progress(now), now=now)
        self._app.telemetry.readiness_changed(ready=not self._unready())
        return summary

    async def _refreshed(self) -> None:
        await self._refresh()

    def _unready(self) -> list[str]:
        reasons = []
        if not self._started:
            reasons.append("starting")
        if self._failure:
            reasons.append(f"store: {self._failure}")
        now = self._app.clock.now()
        blocked = [stage.blocked for stage in (self._app.submit, self._app.track) if stage.blocked is not None]
        reasons += [f"{error.about}: {reason(str(error), error.hint)}" for error in blocked]
        named = {str(error) for error in blocked}
        troubles = () if self._summary is None else self._summary.batch_troubles
        for one in troubles:
            # What passes by itself is no news before it has not done so for a while.
            if one.error not in named and now - one.since >= PATIENCE_SECONDS:
                reasons.append(f"batches: {reason(one.error, one.hint, since=one.since)}")
        if self._app.ingest.held_by is not None:
            reasons.append(f"reading: {HELD[self._app.ingest.held_by]}")
        known = {} if self._summary is None else self._summary.sink_troubles
        for sink in self._app.sinks:
            if sink.trouble:
                told = known.get(sink.id)
                is_told = told is not None and told.error == sink.trouble
                reasons.append(reason(told.error, told.hint, since=told.since) if told and is_told else sink.trouble)
        unseen = (source.id for source in self._app.sources if source.progress(now).read_through is None)
        return reasons + [f"source {name}: not scanned yet" for name in unseen]

    async def status(self) -> dict[str, Any]:
        """What `/status` and `enricher status --json` show."""
        now = self._app.clock.now()
        progress = {
            source.id: {
                "files": one.files,
                "degraded": one.degraded,
                "unread_bytes": one.unread_bytes,
                "lag_seconds": 0.0 if one.oldest_unread_at is None else max(0.0, now - one.oldest_unread_at),
            }
            for source, one in zip(self._app.sources, self._app.source_progress(now), strict=True)
        }
        report = await status_of(self._app.store, now, length_seconds=self._app.config.window.length_seconds)
        return {"version": __version__, "unready": self._unready(), "sources": progress, **report}


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a task group: one of ours if there is one."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [errors]
    while stack:
        one = stack.pop()
        stack.extend(one.exceptions) if isinstance(one, BaseExceptionGroup) else flat.append(one)
    return next((one for one in flat if isinstance(one, EnricherError)), flat[0])
