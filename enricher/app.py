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
from enricher.config import SourceSettings
from enricher.core.keying import KeyingRule
from enricher.core.window import window_id
from enricher.edges.admin_http import AdminServer
from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.edges.clock_system import SystemClock
from enricher.edges.sink_file import FileSink
from enricher.edges.source_files import FilesSource
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import EnricherError, StoreError, TryAgainError
from enricher.stages.ingest import Ingest, IngestSource
from enricher.stages.plan import Plan, PlanSettings
from enricher.stages.submit import Submit, SubmitSettings
from enricher.stages.track import Track, TrackSettings
from enricher.stages.write import Write, WriteSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from enricher.config import Config
    from enricher.core.books import StoreSummary
    from enricher.core.ledger import KindSeen
    from enricher.edges.systemd import Notifier
    from enricher.errors import ProviderError
    from enricher.ports import SourceProgress
    from enricher.provider import Provider
    from enricher.telemetry import Telemetry

DRAIN_SECONDS = 8.0
"""How long stages may take to finish their step after a stop; below the 10 s that a stop may take in all."""

TICK_SECONDS = 0.5
"""How often a stage that found nothing looks again."""

REPORT_SECONDS = 5.0
_LAG_PROBE_SECONDS = 0.05
_CLOCK_STEP_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What differs between the commands that read, ask and write."""

    once: bool
    wait: bool = True
    limit_kinds: int | None = None
    gravest_first: bool = False
    requests_per_batch: int | None = None
    """Smaller batches than configured, so that answers are seen as they come (the demo)."""


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

    # -- putting it together

    async def open(self) -> None:
        """Take the lock, open the store, connect, build the stages. Raises LockedError, StoreError, ConfigError."""
        config, telemetry, clock = self._config, self._telemetry, self._clock
        telemetry.initialise(sources=[one.id for one in config.sources], sinks=[one.id for one in config.sinks])
        self.store = await SqliteStore.open(config.state_dir, sinks=[one.id for one in config.sinks])
        self._closers.append(self.store.close)
        base_url = await self._start_embedded() if self._provider.kind == "local" else self._provider.base_url
        client = providers.connect(
            self._provider,
            base_url=base_url,
            timeout_seconds=config.provider.request_timeout_seconds,
            telemetry=telemetry,
        )
        self._closers.append(client.close)
        files = DirectoryBatchFiles(config.state_dir / "batches")
        jitter = random.SystemRandom().random
        poll = self._provider.poll_interval_seconds
        self.sources = [source_for(config, one, telemetry, once=self._mode.once) for one in config.sources]
        for source in self.sources:
            self._closers.append(source.close)
        self.sinks = [
            FileSink(
                one.id,
                one.directory,
                compress=one.compress,
                retention_days=one.retention_days,
                min_severity=one.min_severity,
            )
            for one in config.sinks
        ]
        for sink in self.sinks:
            self._closers.append(sink.close)
        self.ingest = ingest_for(config, self.store, self.sources, telemetry)
        self.plan = Plan(
            store=self.store,
            progress=self._source_progress,
            clock=clock,
            telemetry=telemetry,
            settings=plan_settings(config, self._provider, self._mode),
            new_id=lambda: uuid.uuid4().hex,
        )
        self.submit = Submit(
            store=self.store,
            client=client,
            files=files,
            clock=clock,
            telemetry=telemetry,
            settings=SubmitSettings(
                daily_usd=config.budget.daily_usd,
                monthly_usd=config.budget.monthly_usd,
                hold_when_over=config.budget.when_over == "hold",
                poll_interval_seconds=poll,
            ),
            jitter=jitter,
        )
        self.track = Track(
            store=self.store,
            client=client,
            files=files,
            clock=clock,
            telemetry=telemetry,
            settings=TrackSettings(poll_interval_seconds=poll),
            tasks=[self._provider.task],
            prices=self._provider.prices,
            jitter=jitter,
        )
        self.write = Write(
            store=self.store,
            sinks=self.sinks,
            clock=clock,
            telemetry=telemetry,
            settings=self._write_settings(),
            jitter=jitter,
        )
        await self.ingest.start()

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
                return summary
            if not moved:
                self._raise_if_stuck(summary)
                await _wait(stop, min(TICK_SECONDS, self._provider.poll_interval_seconds))
        raise TryAgainError("interrupted", hint="run the same command again: it goes on where it stopped")

    def _asking(self, events: int, summary: StoreSummary, answered: Sequence[KindSeen]) -> Progress:
        done, total = (sum(counts) for counts in zip((0, 0), *self.track.progress.values(), strict=True))
        ended = summary.requests.get("answered", 0) + summary.requests.get("failed", 0)
        live = sum(batch.requests for batch in summary.open_batches)
        return Progress(
            phase="asking",
            events=events,
            requests_done=ended + done,
            requests_total=ended + max(total, live, summary.requests.get("live", 0)),
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

    def _raise_if_stuck(self, summary: StoreSummary) -> None:
        blocked: ProviderError | None = self.submit.blocked or self.track.blocked
        if blocked is not None and not summary.batches.get("open"):
            raise blocked
        under_way = summary.batches.get("open", 0) + summary.batches.get("cancelling", 0)
        sending = sum(summary.batches.get(state, 0) for state in ("planned", "uploading", "creating"))
        if not self._mode.wait and under_way and not sending:
            raise TryAgainError(
                f"{under_way} batches are with the provider", hint="run the same command again later to collect them"
            )

    # -- the daemon

    async def run(self, stop: asyncio.Event, notifier: Notifier) -> None:
        """Serve until `stop`; returns within 10 s of it. Raises what ended a stage."""
        admin = AdminServer(
            host=self._config.admin.host,
            port=self._config.admin.port,
            registry=self._telemetry.registry,
            status=self.status,
            unready=self._unready,
            refresh=self._refreshed,
        )
        address = await admin.start()
        self._closers.append(admin.close)
        loops = [
            *(
                self._guarded(stop, self._repeat(stop, step))
                for step in (self._ingest_step, self.plan.step, self.submit.step, self.track.step)
            ),
            self._guarded(stop, self.write.run(stop)),
            self._report(stop, notifier),
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
                notifier.stopping()
                # A step that does not end in time is cancelled: the store finishes its transaction either way.
                _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
                for task in late:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        self._telemetry.daemon_stopped(reason="stop requested")

    async def _ingest_step(self) -> bool:
        return await self.ingest.step(flush=False) > 0

    async def _repeat(self, stop: asyncio.Event, step: Callable[[], Awaitable[bool]]) -> None:
        """Step until stopped; without pause while there is work."""
        while not stop.is_set():
            if not await step():
                await _wait(stop, min(TICK_SECONDS, self._provider.poll_interval_seconds))

    async def _guarded(self, stop: asyncio.Event, stage: Awaitable[None]) -> None:
        """Run a stage; a store that fails ends the process, since nothing is known of what was committed."""
        try:
            await stage
        except StoreError as error:
            self._failure = str(error)
            self._telemetry.store_failed(error=str(error), hint=error.hint)
            stop.set()
            raise

    async def _report(self, stop: asyncio.Event, notifier: Notifier) -> None:
        """Keep gauges and the status line up to date, and watch the clock."""
        offset = self._clock.now() - self._clock.monotonic()
        while not stop.is_set():
            summary = await self._refresh()
            unread = sum(one.unread_bytes for one in self._source_progress(self._clock.now()))
            notifier.status(
                f"{summary.read_events:,} events read, {unread:,} bytes unread, "
                f"{len(summary.open_batches)} batches open, ${summary.cost_usd:.4f} spent"
            )
            drift = self._clock.now() - self._clock.monotonic() - offset
            if abs(drift) > _CLOCK_STEP_SECONDS:
                offset += drift
                self._telemetry.clock_stepped(seconds=drift)
            await _wait(stop, REPORT_SECONDS)

    async def _probe(self, stop: asyncio.Event, notifier: Notifier) -> None:
        """Measure how late the event loop is, and feed the watchdog from it."""
        worst, told = 0.0, time.monotonic()
        every = min(REPORT_SECONDS, (notifier.watchdog_seconds or 2 * REPORT_SECONDS) / 2)
        while not stop.is_set():
            before = time.monotonic()
            await asyncio.sleep(_LAG_PROBE_SECONDS)
            worst = max(worst, time.monotonic() - before - _LAG_PROBE_SECONDS)
            if time.monotonic() - told >= every:
                self._telemetry.loop_lagged(seconds=max(0.0, worst))
                notifier.alive()
                worst, told = 0.0, time.monotonic()

    async def _refresh(self) -> StoreSummary:
        now = self._clock.now()
        summary = await self.store.summary(now)
        self._telemetry.summarised(summary=summary)
        for source in self.sources:
            self._telemetry.source_progressed(source=source.id, progress=source.progress(now), now=now)
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
        reasons += [f"provider: {error}" for error in blocked]
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
        report = status_of(await self.store.summary(now), length_seconds=self._config.window.length_seconds)
        return {"version": __version__, "unready": self._unready(), "sources": progress, **report}


def status_of(summary: StoreSummary, *, length_seconds: int) -> dict[str, Any]:
    """The store's counts as JSON."""
    oldest = summary.oldest_open_window
    return {
        "events": {
            "read": summary.read_events,
            "written": summary.written_events,
            "pending": summary.pending_events,
            "dead_lettered": summary.dead_events,
        },
        "lines": {
            "read": summary.read_lines,
            "blank": summary.blank_lines,
            "dropped": summary.dropped_lines,
            "lost_bytes": summary.lost_bytes,
        },
        "windows": dict(summary.windows),
        "oldest_open_window": None if oldest is None else window_id(oldest, length_seconds),
        "signatures": summary.signatures,
        "answers": dict(summary.answers),
        "requests": dict(summary.requests),
        "batches": dict(summary.batches),
        "open_batches": [
            {
                "name": batch.name,
                "batch_id": batch.batch_id,
                "state": batch.state.value,
                "status": batch.status,
                "requests": batch.requests,
                "created_at": batch.created_at,
                "error": batch.error,
            }
            for batch in summary.open_batches
        ],
        "tokens": {
            "input": summary.input_tokens,
            "cached": summary.cached_tokens,
            "output": summary.output_tokens,
        },
        "cost_usd": round(summary.cost_usd, 6),
        "store_bytes": summary.store_bytes,
        "spool_bytes": summary.spool_bytes,
        "pending_by_sink": dict(summary.pending_by_sink),
        "files": [
            {
                "path": file.path.decode("utf-8", "backslashreplace"),
                "source": file.source,
                "position": file.position,
                "size": file.size_seen,
                "lag_bytes": max(0, file.size_seen - file.position) if file.codec == "plain" else None,
                "gone": file.gone_at is not None,
            }
            for file in summary.files
        ],
    }


def source_of(paths: Sequence[Path], source_id: str) -> SourceSettings:
    """A source of exactly these files and directories; their names are no patterns."""
    # A bracket of one character stands for that character.
    literal = [str(path.absolute()).translate({ord(char): f"[{char}]" for char in "*?[{"}) for path in paths]
    return SourceSettings(id=source_id, include=tuple(literal))


def source_for(config: Config, settings: SourceSettings, telemetry: Telemetry, *, once: bool) -> FilesSource:
    """Build a source; what the daemon itself writes is never read."""
    own = [config.state_dir, *(sink.directory for sink in config.sinks)]
    return FilesSource(
        settings.id,
        settings.include,
        settings.exclude,
        start=settings.start,
        once=once,
        own_directories=[path.absolute() for path in own],
        host=platform.node(),
        telemetry=telemetry,
    )


def ingest_for(config: Config, store: SqliteStore, sources: Sequence[FilesSource], telemetry: Telemetry) -> Ingest:
    """Build the first stage over sources that stand beside the configuration's."""
    feeds = []
    for settings, source in zip(config.sources, sources, strict=True):
        pattern = settings.time_pattern
        rule = KeyingRule(
            length_seconds=config.window.length_seconds,
            zone=settings.timezone,
            time_pattern=(pattern.regex, pattern.format) if pattern else None,
            drop=settings.drop,
            ask_events=settings.ask == "event",
        )
        feeds.append(IngestSource(source=source, rule=rule))
    return Ingest(store=store, sources=feeds, clock=SystemClock(), telemetry=telemetry)


def plan_settings(config: Config, provider: Provider, mode: Mode) -> PlanSettings:
    """What plan needs, from the configuration, the provider and the command."""
    return PlanSettings(
        length_seconds=config.window.length_seconds,
        allowed_lateness_seconds=config.window.allowed_lateness_seconds,
        task=provider.task,
        model=provider.model,
        endpoint=provider.endpoint,
        reasoning_effort=provider.reasoning_effort,
        prices=provider.prices,
        on_this_host=provider.on_this_host,
        signatures_per_request=min(config.batch.signatures_per_request, provider.task.signatures_per_request)
        if provider.task.kind == "single"
        else config.batch.signatures_per_request,
        max_requests=mode.requests_per_batch or config.batch.max_requests,
        max_bytes=config.batch.max_bytes,
        max_tokens=config.batch.max_tokens,
        limit_kinds=mode.limit_kinds,
        gravest_first=mode.gravest_first,
    )


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
