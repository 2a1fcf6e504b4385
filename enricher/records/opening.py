"""From an order to a job: configuration, provider, store, input and output are opened, and closed again.

Never here: what the job does with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enricher import config as configuration
from enricher import provider as providers
from enricher.core.task import CHAT
from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.edges.clock_system import SystemClock
from enricher.edges.record_inputs import open_input
from enricher.edges.record_outputs import open_output
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import ConfigError, LockedError
from enricher.records.job import Job, JobSettings
from enricher.records.order import load_record_task
from enricher.telemetry import Telemetry, log_within_a_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from enricher.config import Config
    from enricher.core.records.task import RecordTask
    from enricher.ports import RecordInput
    from enricher.provider import Provider
    from enricher.records.order import Order
    from enricher.records.progress import JobProgress

_LOOK_AGAIN_SECONDS: Final = 0.2


def find_configuration(config: Config | Path | None) -> tuple[Config, Path | None]:
    """A configuration and where it was read, if it was. Raises ConfigError."""
    if isinstance(config, configuration.Config):
        return config, None
    return configuration.load_or_here(config), config


def open_order(order: Order) -> RecordInput:
    """Open the input of an order. Raises InputError, UsageError."""
    return open_input(order.input, query=order.query, file_format=order.input_format, key=order.key)


def choose_provider(settings: Config, config_path: Path | None) -> Provider:
    """Choose who is asked, by this process's environment. Raises ConfigError."""
    now = SystemClock().now()
    return providers.choose(settings, environment=os.environ, config_path=config_path, now=now)


@contextlib.asynccontextmanager
async def open_job(
    order: Order,
    settings: Config,
    provider: Provider,
    tell: Callable[[JobProgress], None],
    *,
    given: RecordInput | None = None,
    patience_seconds: float = 0.0,
) -> AsyncIterator[Job]:
    """Open all that a job needs; `given` instead of the input, where another process has read that.

    Waits `patience_seconds` for another process to let go of the state directory. Raises ConfigError, UsageError,
    InputError, OutputError, LockedError, StoreError.
    """
    task = load_record_task(order)
    clock, telemetry = SystemClock(), Telemetry(log=log_within_a_program())
    async with contextlib.AsyncExitStack() as stack:
        if given is None:
            given = await asyncio.to_thread(open_order, order)
        stack.callback(given.close)
        store = await _open_store(settings, patience_seconds)
        stack.push_async_callback(store.close)
        # What an earlier run has written, and nobody has touched since, may be replaced.
        is_ours = bool(_mark(order.output)) and await store.records.wrote(order.output, _mark(order.output))
        output = open_output(order.output, file_format=order.output_format, overwrite=order.overwrite or is_ours)
        client = providers.connect(
            provider,
            base_url=await _base_url(provider, settings, clock, stack),
            timeout_seconds=settings.provider.request_timeout_seconds,
            telemetry=telemetry,
        )
        stack.push_async_callback(client.close)
        yield Job(
            config=settings,
            store=store,
            records=store.records,
            client=client,
            files=DirectoryBatchFiles(settings.state_dir / "batches"),
            clock=clock,
            telemetry=telemetry,
            task=task,
            given=given,
            output=output,
            settings=job_settings(order, settings, provider, task, clock.now()),
            tell=tell,
        )


async def _open_store(settings: Config, patience_seconds: float) -> SqliteStore:
    until = time.monotonic() + patience_seconds
    while True:
        try:
            return await SqliteStore.open(settings.state_dir, reserve_bytes=settings.store.reserve_bytes)
        except LockedError:
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _mark(output: str) -> str:
    """Say what lies at a path: size and time, or "" for nothing."""
    try:
        state = Path(output).stat()
    except (OSError, ValueError):
        return ""
    return f"{state.st_size}:{state.st_mtime_ns}"


async def _base_url(provider: Provider, settings: Config, clock: SystemClock, stack: contextlib.AsyncExitStack) -> str:
    if provider.kind != "local":
        return provider.base_url
    server = providers.embedded_server(provider, state_dir=settings.state_dir / "batchserver", clock=clock)
    base_url = await server.start()
    stack.push_async_callback(server.close)
    return base_url


def job_settings(order: Order, config: Config, provider: Provider, task: RecordTask, now: float) -> JobSettings:
    """What a job needs of an order, the configuration and the provider."""
    model = order.model or task.model or provider.model
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
        budget_usd=order.budget_usd,
        wait=order.wait,
        mark=lambda: _mark(order.output),
    )
