"""The engine of batch mode over records: one store, one client and one directory of files, for any number of jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from enricher import config as configuration
from enricher import provider as providers
from enricher.core.task import CHAT
from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.edges.clock_system import SystemClock
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import ConfigError, LockedError
from enricher.records.job import Job, JobSettings
from enricher.telemetry import Telemetry, log_within_a_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from enricher.config import Config
    from enricher.core.records.task import RecordTask
    from enricher.ports import BatchClient, BatchFiles, RecordInput, RecordOutput
    from enricher.provider import Provider
    from enricher.records.progress import JobProgress


_LOOK_AGAIN_SECONDS: Final = 0.2
SENDING_AT_ONCE: Final = 8
"""Jobs that upload at once: of 64 cells of an evaluation each waits for the provider most of the time."""


def find_configuration(config: Config | Path | None) -> tuple[Config, Path | None]:
    """A configuration and where it was read, if it was. Raises ConfigError."""
    if isinstance(config, configuration.Config):
        return config, None
    return configuration.load_or_here(config), config


def choose_provider(settings: Config, config_path: Path | None, *, wait: bool) -> Provider:
    """Choose who is asked, by this process's environment. Raises ConfigError.

    Without `wait` other processes come for the answers: UsageError where the provider does not outlast this one.
    """
    now = SystemClock().now()
    provider = providers.choose(settings, environment=os.environ, config_path=config_path, now=now)
    if not wait:
        providers.check_lasting(provider)
    return provider


def job_settings(
    config: Config,
    provider: Provider,
    task: RecordTask,
    now: float,
    *,
    model: str | None = None,
    **settings: Any,  # noqa: ANN401 - other fields of JobSettings
) -> JobSettings:
    """Say whom a task asks, where and at what price; `model` goes before the task's and the provider's.

    Raises ConfigError for an endpoint that the embedded model does not answer at.
    """
    model = model or task.model or provider.model
    prices = provider.prices
    if provider.kind == "local":
        model, endpoint = provider.model, task.endpoint or CHAT
        if endpoint != CHAT:
            raise ConfigError(
                [f"the task {task.name!r} asks {endpoint}, and the embedded model answers {CHAT} only"],
                hint="name a provider in [provider], or one of yours: enricher serve-batches --upstream URL",
            )
    else:
        endpoint = task.endpoint or config.provider.endpoint
        if model != provider.model:
            prices = providers.find_prices(config, now, model=model)
    return JobSettings(
        model=model,
        endpoint=endpoint,
        reasoning_effort=provider.reasoning_effort,
        prices=prices,
        poll_interval_seconds=provider.poll_interval_seconds,
        **settings,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What jobs share. The state directory is its alone while it is open."""

    config: Config
    provider: Provider
    store: SqliteStore
    client: BatchClient
    files: BatchFiles
    clock: SystemClock
    telemetry: Telemetry
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    sending: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SENDING_AT_ONCE))

    def settings(self, task: RecordTask, **settings: Any) -> JobSettings:  # noqa: ANN401 - as for `job_settings`
        """Give the settings of a job for a task."""
        return job_settings(self.config, self.provider, task, self.clock.now(), **settings)

    def job(
        self,
        task: RecordTask,
        given: RecordInput,
        output: RecordOutput,
        settings: JobSettings,
        tell: Callable[[JobProgress], None],
    ) -> Job:
        """Give a job; those that ask at once must differ in what they ask, or in the model that they ask."""
        return Job(
            config=self.config,
            store=self.store,
            records=self.store.records,
            client=self.client,
            files=self.files,
            clock=self.clock,
            telemetry=self.telemetry,
            task=task,
            given=given,
            output=output,
            settings=settings,
            tell=tell,
            turn=self.turn,
            sending=self.sending,
        )


@contextlib.asynccontextmanager
async def open_engine(config: Config, provider: Provider, *, patience_seconds: float = 0.0) -> AsyncIterator[Engine]:
    """Open all of it. Waits `patience_seconds` for another process to let go of the state directory.

    Raises ConfigError, LockedError, StoreError, ModelError.
    """
    clock, telemetry = SystemClock(), Telemetry(log=log_within_a_program())
    async with contextlib.AsyncExitStack() as stack:
        store = await _open_store(config, patience_seconds)
        stack.push_async_callback(store.close)
        client = providers.connect(
            provider,
            base_url=await _base_url(provider, config, clock, stack),
            timeout_seconds=config.provider.request_timeout_seconds,
            telemetry=telemetry,
        )
        stack.push_async_callback(client.close)
        yield Engine(
            config=config,
            provider=provider,
            store=store,
            client=client,
            files=DirectoryBatchFiles(config.state_dir / "batches"),
            clock=clock,
            telemetry=telemetry,
        )


async def _open_store(config: Config, patience_seconds: float) -> SqliteStore:
    until = time.monotonic() + patience_seconds
    while True:
        try:
            return await SqliteStore.open(config.state_dir, reserve_bytes=config.store.reserve_bytes)
        except LockedError:
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _base_url(provider: Provider, config: Config, clock: SystemClock, stack: contextlib.AsyncExitStack) -> str:
    if provider.kind != "local":
        return provider.base_url
    server = providers.embedded_server(provider, state_dir=config.state_dir / "batchserver", clock=clock)
    base_url = await server.start()
    stack.push_async_callback(server.close)
    return base_url
