"""The composition root: configuration -> edges -> stages. Nothing is decided here about any event.

What is put together here is run by `daemon`, each stage in a task of its own, or by `once`, one stage after the other.
"""

from __future__ import annotations

import os
import platform
import random
import time
import uuid
from typing import TYPE_CHECKING

from enricher import provider as providers
from enricher.compose import ingest_for, nightly_for, plan_settings, source_for
from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.edges.clock_system import SettledClock, SystemClock
from enricher.edges.sink_file import FileSink
from enricher.edges.store_sqlite import SqliteStore
from enricher.edges.store_sqlite.reserve import RESERVE_NAME
from enricher.event_batches import EventBatches
from enricher.stages.plan import Plan
from enricher.stages.submit import Submit, SubmitSettings
from enricher.stages.track import Track, TrackSettings
from enricher.stages.write import Write, WriteSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from enricher.compose import Mode
    from enricher.config import Config
    from enricher.core.ledger import KindSeen
    from enricher.ports import BatchClient, SourceProgress
    from enricher.provider import Provider
    from enricher.telemetry import Telemetry

_OF_A_STORE = ("batches", RESERVE_NAME)
"""What lies beside every store that was in use."""


def wall_time() -> float:
    """Epoch seconds, for what is decided before a clock is composed."""
    return time.time()


def _left_beside(state_dir: Path) -> list[str]:
    """What lies there of a store. Nothing where that cannot be seen: opening it says why."""
    return [name for name in _OF_A_STORE if os.path.lexists(state_dir / name)]


class Enricher:
    """The edges and the stages over one state directory. `open` first, whose names are there from then on."""

    def __init__(self, *, config: Config, provider: Provider, telemetry: Telemetry, mode: Mode) -> None:
        self.config = config
        self.provider = provider
        self.telemetry = telemetry
        self.mode = mode
        self.clock = SystemClock()
        self._closers: list[Callable[[], Awaitable[None]]] = []

    async def open(self) -> None:
        """Take the lock, open the store, connect, build the stages. Raises LockedError, StoreError, ConfigError."""
        config, telemetry = self.config, self.telemetry
        beside = _left_beside(config.state_dir)
        if self.provider.prices is None:
            telemetry.price_unknown(model=self.provider.model)
        else:
            telemetry.event_usd = providers.event_usd(self.provider.task, self.provider.prices)
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
        base_url = await self._start_embedded() if self.provider.kind == "local" else self.provider.base_url
        client = providers.connect(
            self.provider,
            base_url=base_url,
            timeout_seconds=config.provider.request_timeout_seconds,
            telemetry=telemetry,
        )
        self._closers.append(client.close)
        self.sources = [source_for(config, one, telemetry, once=self.mode.once) for one in config.sources]
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
        config, store, clock, telemetry = self.config, self.store, self.clock, self.telemetry
        files = DirectoryBatchFiles(config.state_dir / "batches")
        jitter = random.SystemRandom().random
        poll = self.provider.poll_interval_seconds
        self.ingest = ingest_for(config, store, self.sources, telemetry)
        self.nightly = nightly_for(config, self.provider, store, telemetry) if not self.mode.once else None
        self.plan = Plan(
            store=store,
            progress=self.source_progress,
            clock=clock,
            telemetry=telemetry,
            settings=plan_settings(config, self.provider, self.mode),
            new_id=lambda: uuid.uuid4().hex,
        )
        settled = SettledClock(clock)
        workload = EventBatches(
            store=store,
            clock=settled,
            telemetry=telemetry,
            task=self.provider.task,
            prices=self.provider.prices,
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
            self.provider, state_dir=self.config.state_dir / "batchserver", clock=self.clock
        )
        base_url = await server.start()
        self._closers.append(server.close)
        self.telemetry.demo_model_used(model=self.provider.model)
        return base_url

    def _write_settings(self) -> WriteSettings:
        config, task = self.config, self.provider.task
        return WriteSettings(
            host=platform.node(),
            length_seconds=config.window.length_seconds,
            max_wait_seconds=config.window.max_wait_hours * 3600,
            fields={one.id: one.fields for one in config.sources},
            quality={task.hash: task.quality} if task.quality else {},
            compress={one.id: one.compress for one in config.sinks},
            max_backlog_events={one.id: one.max_backlog_events for one in config.sinks if one.max_backlog_events},
            task=task.hash,
            model=self.provider.model,
            digest=bool(config.window.digest) or self.mode.digest,
        )

    async def close(self) -> None:
        """Close everything that was opened, last first."""
        while self._closers:
            await self._closers.pop()()

    def source_progress(self, now: float) -> Sequence[SourceProgress]:
        """How far each source is."""
        return [source.progress(now) for source in self.sources]

    async def kinds_seen(self) -> list[KindSeen]:
        """Every kind of event that was ever read, with what is known of it."""
        return await self.store.kinds_seen(self.provider.task.hash, self.provider.model)
