"""The composition root: configuration -> edges -> stages -> one run. Nothing is decided here about any event.

`run` is the daemon: every stage in a task of its own, until the stop event. `once` is the same stages, one after the
other, until nothing is left to do. Both hold the state directory's lock, and both may be killed at any instruction.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import random
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enricher import __version__
from enricher import provider as providers
from enricher.compose import Mode, admin_for, ingest_for, nightly_for, plan_settings, source_for
from enricher.core.ledger import BatchState
from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.edges.clock_system import SettledClock, SystemClock
from enricher.edges.sink_file import FileSink
from enricher.edges.store_sqlite import SqliteStore
from enricher.edges.store_sqlite.reserve import RESERVE_NAME
from enricher.errors import AuthProviderError, EnricherError, StoreError, TryAgainError
from enricher.event_batches import EventBatches
from enricher.pacing import Pacing
from enricher.ports import CLOCK_STEP_SECONDS
from enricher.stages.plan import Plan
from enricher.stages.submit import Submit, SubmitSettings
from enricher.stages.track import Track, TrackSettings
from enricher.stages.write import Write, WriteSettings
from enricher.status import HELD, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from enricher.access import Access
    from enricher.config import Config
    from enricher.core.books import StoreSummary
    from enricher.core.ledger import KindSeen
    from enricher.edges.systemd import Notifier
    from enricher.errors import ProviderError
    from enricher.ports import BatchClient, SourceProgress
    from enricher.provider import Provider
    from enricher.telemetry import Telemetry

DRAIN_SECONDS = 5.0
"""How long stages may take to finish their step after a stop; below the 10 s that a stop may take in all."""

TICK_SECONDS = 0.5
"""How often a stage that found nothing looks again."""

REPORT_SECONDS = 5.0
_OF_A_STORE = ("batches", RESERVE_NAME)
"""What lies beside every store that was in use."""
_LAG_PROBE_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far `once` is, for a progress bar."""

    phase: str
    """reading, asking, writing."""
    events: int
    read_bytes: int = 0
    unread_bytes: int = 0
    requests_done: int = 0
    requests_total: int = 0
    note: str = ""
    """Why it does not go on, if it does not."""
    answered: Sequence[KindSeen] = ()
    """For a demo: the kinds seen so far, with their answers."""


def wall_time() -> float:
    """Epoch seconds, for what is decided before a clock is composed."""
    return time.time()


class Enricher:
    """One run over one state directory."""

    def __init__(self, *, config: Config, provider: Provider, telemetry: Telemetry, mode: Mode) -> None:
        self._config = config
        self._provider = provider
        self._telemetry = telemetry
        self._mode = mode
        self._clock = SystemClock()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._failure: str | None = None
        self._started = False
        self._store_answered = time.monotonic()

    # -- putting it together

    async def open(self) -> None:
        """Take the lock, open the store, connect, build the stages. Raises LockedError, StoreError, ConfigError."""
        config, telemetry = self._config, self._telemetry
        beside = [name for name in _OF_A_STORE if (config.state_dir / name).exists()]
        if self._provider.prices is None:
            telemetry.price_unknown(model=self._provider.model)
        else:
            telemetry.event_usd = providers.event_usd(self._provider.task, self._provider.prices)
        telemetry.initialise(sources=[one.id for one in config.sources], sinks=[one.id for one in config.sinks])
        self.store = await SqliteStore.open(
            config.state_dir,
            sinks=[one.id for one in config.sinks],
            max_spool_bytes=config.store.max_spool_bytes,
            reserve_bytes=config.store.reserve_bytes,
        )
        self._closers.append(self.store.close)
        if self.store.was_made:
            telemetry.store_made(state_dir=str(config.state_dir), beside=beside)
        base_url = await self._start_embedded() if self._provider.kind == "local" else self._provider.base_url
        client = providers.connect(
            self._provider,
            base_url=base_url,
            timeout_seconds=config.provider.request_timeout_seconds,
            telemetry=telemetry,
        )
        self._closers.append(client.close)
        self.sources = [source_for(config, one, telemetry, once=self._mode.once) for one in config.sources]
        self._closers += [source.close for source in self.sources]
        self.sinks = [
            FileSink(
                one.id,
                one.directory,
                compress=one.compress,
                retention_days=one.retention_days,
                min_severity=one.min_severity,
                group_readable=one.group_readable,
            )
            for one in config.sinks
        ]
        self._closers += [sink.close for sink in self.sinks]
        self.asides = {
            one.id: FileSink(
                one.id,
                config.state_dir / "dead-letters" / one.id,
                compress="zstd",
                retention_days=0,
                min_severity=one.min_severity,
            )
            for one in config.sinks
            if one.max_backlog_events
        }
        self._build_stages(client)
        await self.ingest.start()

    def _build_stages(self, client: BatchClient) -> None:
        config, store, clock, telemetry = self._config, self.store, self._clock, self._telemetry
        files = DirectoryBatchFiles(config.state_dir / "batches")
        jitter = random.SystemRandom().random
        poll = self._provider.poll_interval_seconds
        self.ingest = ingest_for(config, store, self.sources, telemetry)
        self.nightly = nightly_for(config, self._provider, store, telemetry) if not self._mode.once else None
        self.plan = Plan(
            store=store,
            progress=self._source_progress,
            clock=clock,
            telemetry=telemetry,
            settings=plan_settings(config, self._provider, self._mode),
            new_id=lambda: uuid.uuid4().hex,
        )
        settled = SettledClock(clock)
        workload = EventBatches(
            store=store,
            clock=settled,
            telemetry=telemetry,
            task=self._provider.task,
            prices=self._provider.prices,
        )
        self.submit = Submit(
            store=store,
            client=client,
            files=files,
            clock=settled,
            telemetry=telemetry,
            settings=SubmitSettings(
                daily_usd=config.budget.daily_usd,
                monthly_usd=config.budget.monthly_usd,
                hold_when_over=config.budget.when_over == "hold",
                poll_interval_seconds=poll,
            ),
            workload=workload,
            jitter=jitter,
        )
        self.track = Track(
            store=store,
            client=client,
            files=files,
            clock=settled,
            telemetry=telemetry,
            settings=TrackSettings(poll_interval_seconds=poll),
            workload=workload,
            jitter=jitter,
        )
        settings = self._write_settings()
        self.write = Write(
            store=store,
            sinks=self.sinks,
            asides=self.asides,
            clock=clock,
            telemetry=telemetry,
            settings=settings,
            jitter=jitter,
        )

    async def _start_embedded(self) -> str:
        server = providers.embedded_server(
            self._provider, state_dir=self._config.state_dir / "batchserver", clock=self._clock
        )
        base_url = await server.start()
        self._closers.append(server.close)
        self._telemetry.demo_model_used(model=self._provider.model)
        return base_url

    def _write_settings(self) -> WriteSettings:
        config, task = self._config, self._provider.task
        return WriteSettings(
            host=platform.node(),
            length_seconds=config.window.length_seconds,
            max_wait_seconds=config.window.max_wait_hours * 3600,
            fields={one.id: one.fields for one in config.sources},
            quality={task.hash: task.quality} if task.quality else {},
            compress={one.id: one.compress for one in config.sinks},
            max_backlog_events={one.id: one.max_backlog_events for one in config.sinks if one.max_backlog_events},
            task=task.hash,
            model=self._provider.model,
            digest=bool(config.window.digest) or self._mode.digest,
        )

    async def close(self) -> None:
        """Close everything that was opened, last first."""
        while self._closers:
            await self._closers.pop()()

    def _source_progress(self, now: float) -> Sequence[SourceProgress]:
        return [source.progress(now) for source in self.sources]

    # -- once

    async def once(self, stop: asyncio.Event, tell: Callable[[Progress], None]) -> StoreSummary:
        """Read to the end, ask, wait, write. Raises TryAgainError when interrupted, or when told not to wait.

        Raises the provider's error where an operator must act first (a refused key, an unknown model), after
        everything that needs no answer was written.
        """
        events = most_unread = 0
        while not stop.is_set():
            events += await self.ingest.step(flush=True)
            progress = self._source_progress(self._clock.now())
            unread = sum(one.unread_bytes for one in progress)
            most_unread = max(most_unread, unread)
            tell(Progress(phase="reading", events=events, read_bytes=most_unread - unread, unread_bytes=unread))
            if all(one.exhausted for one in progress):
                break
            if self.ingest.held_by is not None:
                raise TryAgainError(
                    f"{self._config.state_dir}: {unread:,} bytes are not read yet: {HELD[self.ingest.held_by]}",
                    hint="make room, or raise [store] max_spool_bytes, and run the same command again",
                )
        while not stop.is_set():
            moved = await self.plan.step()
            moved |= await self.submit.step()
            moved |= await self.track.step()
            if self._mode.limit_kinds is not None:
                await self._release_pending()
            moved |= await self.write.step()
            summary = await self.store.summary(self._clock.now())
            answered = await self.kinds_seen() if self._mode.limit_kinds is not None else ()
            tell(self._asking(events, summary, answered))
            if not summary.windows.get("open") and not summary.windows.get("closed"):
                # Everything is written; answers that are only renewed may be under way still.
                unsent = moved and summary.batches.get(BatchState.PLANNED, 0)
                if not unsent and not await self._is_waited_for(summary, moved=moved):
                    return summary
            if not moved:
                await self._raise_if_stuck(summary)
                await _wait(stop, min(TICK_SECONDS, self._provider.poll_interval_seconds))
        raise TryAgainError("interrupted", hint="run the same command again: it goes on where it stopped")

    async def _is_waited_for(self, summary: StoreSummary, *, moved: bool) -> bool:
        """Whether answers are to come or to be written; accounts of windows are waited for only where asked for."""
        if any(self._mode.digest or batch.digests < batch.requests for batch in summary.open_batches):
            return True
        if not self._mode.digest:
            return False
        return moved or any([await self.store.untold_accounts(sink.id) for sink in self.sinks])

    def _asking(self, events: int, summary: StoreSummary, answered: Sequence[KindSeen]) -> Progress:
        done, total = (sum(counts) for counts in zip((0, 0), *self.track.progress.values(), strict=True))
        ended = summary.requests.get("answered", 0) + summary.requests.get("failed", 0)
        live = sum(batch.requests for batch in summary.open_batches)
        return Progress(
            phase="asking",
            events=events,
            requests_done=ended + done,
            requests_total=ended + max(total, live, summary.requests.get("live", 0)),
            note=next((batch.error for batch in summary.open_batches if batch.error), ""),
            answered=answered,
        )

    async def kinds_seen(self) -> list[KindSeen]:
        """Every kind of event that was ever read, with what is known of it."""
        return await self.store.kinds_seen(self._provider.task.hash, self._provider.model)

    async def _release_pending(self) -> None:
        """In a demo, what was not asked is written as pending as soon as all that was asked is answered."""
        summary = await self.store.summary(self._clock.now())
        if not any(summary.requests.get(state) for state in ("live", "again")):
            self.write.release_pending()

    async def _raise_if_stuck(self, summary: StoreSummary) -> None:
        blocked: ProviderError | None = self.submit.blocked or self.track.blocked
        # A refused key blocks what is open as well; anything else lets open batches come to their end.
        if blocked is not None and (isinstance(blocked, AuthProviderError) or not summary.batches.get("open")):
            raise blocked
        if self._mode.wait:
            return
        under_way = summary.batches.get("open", 0) + summary.batches.get("cancelling", 0)
        unsent = await self.store.batches((BatchState.PLANNED, BatchState.UPLOADING, BatchState.CREATING))
        text = f"{under_way} batches are with the provider"
        if unsent:
            reasons = "; ".join(sorted({batch.error for batch in unsent if batch.error}))
            text += f", {len(unsent)} are not sent yet: {reasons or 'they wait'}"
        raise TryAgainError(text, hint="run the same command again later: it goes on from here")

    # -- the daemon

    async def run(self, stop: asyncio.Event, notifier: Notifier, access: Access) -> None:
        """Serve until `stop`; returns within 10 s of it. Raises what ended a stage."""
        pacing = Pacing(tick_seconds=min(TICK_SECONDS, self._provider.poll_interval_seconds))
        self.store.on_change(pacing.changed)

        def wake(batch_id: str) -> None:
            self.track.look_at(batch_id)
            pacing.changed()

        admin = admin_for(
            self._config.admin,
            access,
            self._telemetry,
            status=self.status,
            unready=self._unready,
            refresh=self._refreshed,
            wake=wake,
        )
        address = await admin.start()
        self._closers.append(admin.close)
        loops = [
            *(self._guarded(stop, pacing.repeat(step)) for step in (self.plan.step, self.submit.step, self.track.step)),
            # Files say nothing to the store: they are looked at every time.
            self._guarded(stop, pacing.repeat(self._ingest_step, polls=True)),
            *([self._guarded(stop, pacing.repeat(self.nightly.step))] if self.nightly else []),
            self._guarded(stop, self.write.run(stop)),
            self._guarded(stop, self._report(stop, notifier)),
            self._probe(stop, notifier),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(loop) for loop in loops]
                self._started = True
                self._telemetry.daemon_started(
                    version=__version__,
                    state_dir=str(self._config.state_dir),
                    provider=self._provider.kind,
                    model=self._provider.model,
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
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        self._telemetry.daemon_stopped(reason="stop requested")

    async def _ingest_step(self) -> bool:
        # Small reads wait for more in their file, but not where a window waits for them to close.
        now = self._clock.now()
        over = now - self._config.window.length_seconds - self._config.window.allowed_lateness_seconds
        is_waiting = any(one.unread_bytes for one in self._source_progress(now))
        flush = is_waiting and any(pane.start <= over for pane in await self.store.open_panes())
        return await self.ingest.step(flush=flush) > 0

    async def _guarded(self, stop: asyncio.Event, stage: Awaitable[None]) -> None:
        """Run a stage; a store that fails ends the process, since nothing is known of what was committed."""
        try:
            await stage
        except (StoreError, BaseExceptionGroup) as error:
            # A stage with tasks of its own ends with a group of what ended them.
            fault = _first(error) if isinstance(error, BaseExceptionGroup) else error
            if isinstance(fault, StoreError):
                self._failure = str(fault)
                self._telemetry.store_failed(error=str(fault), hint=fault.hint)
                stop.set()
            raise fault from None

    async def _report(self, stop: asyncio.Event, notifier: Notifier) -> None:
        """Keep gauges and the status line up to date, and watch the clock."""
        offset = self._clock.now() - self._clock.monotonic()
        while not stop.is_set():
            summary = await self._refresh()
            self._store_answered = time.monotonic()
            unread = sum(one.unread_bytes for one in self._source_progress(self._clock.now()))
            notifier.status(
                f"{summary.read_events:,} events read, {unread:,} bytes unread, "
                f"{len(summary.open_batches)} batches open, ${summary.cost_usd:.4f} spent"
            )
            drift = self._clock.now() - self._clock.monotonic() - offset
            if abs(drift) > CLOCK_STEP_SECONDS:
                offset += drift
                self._telemetry.clock_stepped(seconds=drift)
                self.submit.look_again()
                self.track.look_again()
            await _wait(stop, REPORT_SECONDS)

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
                self._telemetry.loop_lagged(seconds=max(0.0, worst))
                if time.monotonic() - self._store_answered < patience:
                    notifier.alive()
                worst, told = 0.0, time.monotonic()

    async def _refresh(self) -> StoreSummary:
        now = self._clock.now()
        summary = await self.store.summary(now)
        self._telemetry.summarised(summary=summary)
        self._telemetry.dead_letters_counted(dead_letters=summary.dead_letters)
        for source in self.sources:
            self._telemetry.source_progressed(source=source.id, progress=source.progress(now), now=now)
        self._telemetry.readiness_changed(ready=not self._unready())
        return summary

    async def _refreshed(self) -> None:
        await self._refresh()

    def _unready(self) -> list[str]:
        reasons = []
        if not self._started:
            reasons.append("starting")
        if self._failure:
            reasons.append(f"store: {self._failure}")
        blocked = (stage.blocked for stage in (self.submit, self.track) if stage.blocked is not None)
        reasons += [f"provider: {error}" + (f" ({error.hint})" if error.hint else "") for error in blocked]
        if self.ingest.held_by is not None:
            reasons.append(f"reading: {HELD[self.ingest.held_by]}")
        reasons += [sink.trouble for sink in self.sinks if sink.trouble]
        now = self._clock.now()
        unseen = (source.id for source in self.sources if source.progress(now).read_through is None)
        return reasons + [f"source {name}: not scanned yet" for name in unseen]

    async def status(self) -> dict[str, Any]:
        """What `/status` and `enricher status --json` show."""
        now = self._clock.now()
        progress = {
            source.id: {
                "files": one.files,
                "degraded": one.degraded,
                "unread_bytes": one.unread_bytes,
                "lag_seconds": 0.0 if one.oldest_unread_at is None else max(0.0, now - one.oldest_unread_at),
            }
            for source, one in zip(self.sources, self._source_progress(now), strict=True)
        }
        report = await status_of(self.store, now, length_seconds=self._config.window.length_seconds)
        return {"version": __version__, "unready": self._unready(), "sources": progress, **report}


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a task group: one of ours if there is one."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [errors]
    while stack:
        one = stack.pop()
        stack.extend(one.exceptions) if isinstance(one, BaseExceptionGroup) else flat.append(one)
    return next((one for one in flat if isinstance(one, EnricherError)), flat[0])
