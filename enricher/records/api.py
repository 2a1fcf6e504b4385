"""The calls of batch mode over records: configuration, task, input and output in, a report out. Composes a `Job`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enricher import config as configuration
from enricher import provider as providers
from enricher.core.records.task import parse_record_task
from enricher.core.task import CHAT
from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.edges.clock_system import SystemClock
from enricher.edges.record_inputs import open_input
from enricher.edges.record_outputs import open_output
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import ConfigError, UsageError
from enricher.records import dryrun
from enricher.records.job import Job, JobProgress, JobSettings, Report
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from enricher.config import Config
    from enricher.core.records.address import TableFormat
    from enricher.core.records.task import RecordTask
    from enricher.ports import RecordInput
    from enricher.provider import Provider
    from enricher.records.planning import Estimate

_INTO = "/"


def _silent(progress: JobProgress) -> None:
    del progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for: as on the command line."""

    task: str
    """A shipped task by name, or a path of a TOML file."""
    input: str
    output: str
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Under which of the input's columns lies what the task's prompt calls otherwise."""
    key: str | None = None
    query: str | None = None
    input_format: TableFormat | None = None
    output_format: TableFormat | None = None
    budget_usd: float | None = None
    overwrite: bool = False
    wait: bool = True


async def run_async(
    task: str,
    input: str | Path,  # noqa: A002 - what it is called everywhere else
    output: str | Path,
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = _silent,
    stop: asyncio.Event | None = None,
    **options: Any,  # noqa: ANN401 - the fields of `Order`
) -> Report:
    """Ask a task about every row of an input, and write them with their answers.

    Raises ConfigError (BudgetError among them), UsageError, InputError, OutputError, LockedError, StoreError, the
    provider's errors, and TryAgainError when `stop` was set, or while the provider works if `wait` is False.
    """
    order = Order(task=task, input=str(input), output=str(output), **options)
    async with _job(order, config, tell) as job:
        return await job.run(stop or asyncio.Event())


def run(task: str, input: str | Path, output: str | Path, **options: Any) -> Report:  # noqa: A002, ANN401 - as above
    """Do as `run_async`, and block until it is done."""
    return asyncio.run(run_async(task, input, output, **options))


async def plan_async(
    task: str,
    input: str | Path,  # noqa: A002 - as above
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = _silent,
    **options: Any,  # noqa: ANN401 - as above
) -> Estimate:
    """Say what asking would take; reads the whole input and sends nothing. Raises as `run_async`."""
    order = Order(task=task, input=str(input), output="-", **options)
    settings, config_path = _configuration(config)
    now = SystemClock().now()
    provider = providers.describe(settings, environment=os.environ, config_path=config_path, now=now)
    record_task = load_record_task(order)
    given = await asyncio.to_thread(_opened, order)
    try:
        job_settings = _job_settings(order, settings, provider, record_task, now)
        return await dryrun.plan(settings, record_task, given, job_settings, tell)
    finally:
        given.close()


def plan(task: str, input: str | Path, **options: Any) -> Estimate:  # noqa: A002, ANN401 - as above
    """Do as `plan_async`, and block until it is done."""
    return asyncio.run(plan_async(task, input, **options))


async def status(config: Path | None, limit: int = 20) -> list[dict[str, object]]:
    """Runs, newest first, for a person or a program; reads beside a process that works on them. Raises StoreError."""
    settings = configuration.load_or_here(config)
    store = await SqliteStore.open(settings.state_dir, read_only=True)
    try:
        return [one.to_json() for one in await store.records.overview(limit)]
    finally:
        await store.close()


def load_record_task(order: Order) -> RecordTask:
    """Read the task of an order. Raises ConfigError with every fault."""
    text = _task_text(order.task)
    return parse_record_task(text, name=order.task, options=order.options, schema=order.schema, columns=order.columns)


def _task_text(name: str) -> str:
    if _INTO not in name and not name.endswith(".toml"):
        with contextlib.suppress(FileNotFoundError):
            return configuration.shipped(f"tasks/{name}.toml")
        raise ConfigError([f"no task named {name!r} is shipped"], hint="name one of them, or a path that ends in .toml")
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from None


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` pairs: a value is TOML, a list with commas, or text as it is. Raises UsageError."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {pair}: is no NAME=VALUE")
        options[name.strip()] = _value(value)
    return options


def _value(text: str) -> Any:  # noqa: ANN401 - a value of TOML
    with contextlib.suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"value = {text}")["value"]
    return text


def read_schema(path: Path) -> Mapping[str, Any]:
    """Read a JSON Schema. Raises UsageError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: is no JSON Schema that can be read: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: is no JSON Schema: it is no object")
    return found


def _configuration(config: Config | Path | None) -> tuple[Config, Path | None]:
    if isinstance(config, configuration.Config):
        return config, None
    return configuration.load_or_here(config), config


def _opened(order: Order) -> RecordInput:
    return open_input(order.input, query=order.query, file_format=order.input_format, key=order.key)


@contextlib.asynccontextmanager
async def _job(order: Order, config: Config | Path | None, tell: Callable[[JobProgress], None]) -> AsyncIterator[Job]:
    settings, config_path = _configuration(config)
    task = load_record_task(order)
    clock, telemetry = SystemClock(), Telemetry()
    provider = providers.choose(settings, environment=os.environ, config_path=config_path, now=clock.now())
    async with contextlib.AsyncExitStack() as stack:
        given = await asyncio.to_thread(_opened, order)
        stack.callback(given.close)
        store = await SqliteStore.open(settings.state_dir, reserve_bytes=settings.store.reserve_bytes)
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
            settings=_job_settings(order, settings, provider, task, clock.now()),
            tell=tell,
        )


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


def _job_settings(order: Order, config: Config, provider: Provider, task: RecordTask, now: float) -> JobSettings:
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
