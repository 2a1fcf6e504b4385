"""The calls of batch mode over records: configuration, task, input and output in, a report out. Composes a `Job`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Unpack

from enricher import config as configuration
from enricher import provider as providers
from enricher.edges.clock_system import SystemClock
from enricher.edges.store_sqlite import SqliteStore
from enricher.records import dryrun
from enricher.records.engine import choose_provider, find_configuration, job_settings
from enricher.records.opening import open_job, open_order
from enricher.records.order import Asked, Order, Written, load_record_task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from enricher.config import Config
    from enricher.records.planning import Estimate
    from enricher.records.progress import JobProgress, Report


def silent(progress: JobProgress) -> None:
    """Tell nobody."""
    del progress


async def run_async(
    task: str,
    input: str | Path,  # noqa: A002 - what it is called everywhere else
    output: str | Path,
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = silent,
    stop: asyncio.Event | None = None,
    wait: bool = True,
    **keywords: Unpack[Written],
) -> Report:
    """Ask a task about every row of an input, and write them with their answers.

        report = await records.run_async("label", "reviews.jsonl", "labels.csv", budget_usd=5)

    `task` is a shipped one by name or the path of a TOML file, `config` a configuration or its path; None takes
    /etc/enricher/enricher.toml, or without one the working directory. `tell` hears how far it is, often, on the event
    loop. `stop`, once set, ends it at the next step, as cancelling does at once; neither loses anything, and the same
    call goes on. The output appears whole or not at all.

    Raises ConfigError (BudgetError among them), UsageError, InputError, OutputError, LockedError, StoreError, the
    provider's errors, and TryAgainError when `stop` was set. If `wait` is False: TryAgainError while the provider
    works, and UsageError for the embedded model, which works only while a process waits for it.
    """
    order = Order(task=task, input=str(input), output=str(output), wait=wait, **keywords)
    settings, config_path = find_configuration(config)
    async with open_job(order, settings, choose_provider(settings, config_path, wait=wait), tell) as job:
        return await job.run(stop or asyncio.Event())


def run(
    task: str,
    input: str | Path,  # noqa: A002 - as above
    output: str | Path,
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = silent,
    wait: bool = True,
    **keywords: Unpack[Written],
) -> Report:
    """Do as `run_async`, and block until it is done.

    >>> report = run("label", "reviews.jsonl", "labels.jsonl")
    >>> report.rows, report.statuses
    (3, {'ok': 3})
    """
    return asyncio.run(run_async(task, input, output, config=config, tell=tell, wait=wait, **keywords))


async def plan_async(
    task: str,
    input: str | Path,  # noqa: A002 - as above
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = silent,
    **keywords: Unpack[Asked],
) -> Estimate:
    """Say what asking would take; reads the whole input and sends nothing. Raises as `run_async`."""
    order = Order(task=task, input=str(input), output="-", **keywords)
    settings, config_path = find_configuration(config)
    now = SystemClock().now()
    provider = providers.describe(settings, environment=os.environ, config_path=config_path, now=now)
    record_task = load_record_task(order)
    given = await asyncio.to_thread(open_order, order)
    try:
        asked = job_settings(settings, provider, record_task, now, model=order.model)
        return await dryrun.plan(settings, record_task, given, asked, tell)
    finally:
        given.close()


def plan(
    task: str,
    input: str | Path,  # noqa: A002 - as above
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = silent,
    **keywords: Unpack[Asked],
) -> Estimate:
    """Do as `plan_async`, and block until it is done.

    >>> estimate = plan("label", "reviews.jsonl")
    >>> estimate.requests, estimate.reasons
    (3, {'new': 3})
    """
    return asyncio.run(plan_async(task, input, config=config, tell=tell, **keywords))


async def status(config: Path | None, limit: int = 20) -> list[dict[str, object]]:
    """Runs, newest first, for a person or a program; reads beside a process that works on them. Raises StoreError."""
    settings = configuration.load_or_here(config)
    store = await SqliteStore.open(settings.state_dir, read_only=True)
    try:
        return [one.to_json() for one in await store.records.overview(limit)]
    finally:
        await store.close()
