"""A job in several processes, for schedulers: one submits it, others ask whether it is done, one collects.

    handle = records.submit("label", "reviews.jsonl", "labels.jsonl")     # a task; the handle is JSON
    records.is_done(handle)                                               # a sensor, again and again
    records.collect(handle)                                               # a task; the output is written

What the three have in common lies in the state directory; a handle says which, and what was asked for. Each call may be
repeated: nothing is sent or paid twice. Never here: what a job does (`job`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from enricher.errors import InputError, UsageError
from enricher.records.api import silent
from enricher.records.engine import choose_provider, find_configuration
from enricher.records.opening import open_job
from enricher.records.order import Order, Written, is_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from enricher.config import Config
    from enricher.core.records.ledger import Run
    from enricher.ports import Rows
    from enricher.provider import Provider
    from enricher.records.job import Job
    from enricher.records.progress import JobProgress, Report

_VERSION: Final = 1
_PATIENCE_SECONDS: Final = 60.0
"""Tasks of a scheduler that share a state directory come at the same time; each has it for moments."""


class Handle(TypedDict):
    """A job that was submitted; JSON of some hundred bytes. Only `submit` makes one."""

    version: int
    run: int
    job: str
    order: dict[str, Any]
    key_column: str
    text_column: str | None
    state_dir: str
    config: str | None
    """Where the configuration was read; None: it was given as an object, or there was none."""
    base_url: str


@dataclass(slots=True)
class _InputRead:
    """A `RecordInput` that another process has read into the store."""

    name: str
    key_column: str
    text_column: str | None
    skipped: Mapping[str, int] = field(default_factory=dict)

    def columns(self) -> Sequence[str]:
        raise InputError(f"{self.name} was read when it was submitted")

    def fingerprint(self) -> str:
        raise InputError(f"{self.name} was read when it was submitted")

    def rows(self) -> Iterator[Rows]:
        raise InputError(f"{self.name} was read when it was submitted")

    def close(self) -> None:
        pass


async def submit_async(
    task: str,
    input: str | Path,  # noqa: A002 - what it is called everywhere else
    output: str | Path,
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = silent,
    **keywords: Unpack[Written],
) -> Handle:
    """Read an input, send what is asked about it, and return without waiting for an answer.

    Submitted again while it is under way it sends nothing twice, and returns the same. Raises as `run_async`:
    UsageError also for the embedded model, which works only while a process waits for it, and TryAgainError where
    nothing could be sent yet. LockedError comes after a minute in which another process holds the state directory.
    """
    order = Order(task=task, input=str(input), output=str(output), **keywords)
    _check_deferrable(order)
    settings, config_path = find_configuration(config)
    provider = choose_provider(settings, config_path, wait=False)
    order = _elsewhere(order)
    async with open_job(order, settings, provider, tell, patience_seconds=_PATIENCE_SECONDS) as job:
        run = await job.send()
        return Handle(
            version=_VERSION,
            run=run.id,
            job=job.id,
            order=asdict(order),
            key_column=run.key_column,
            text_column=job.text_column,
            state_dir=_absolute(str(settings.state_dir)),
            config=None if config_path is None else _absolute(str(config_path)),
            base_url=provider.base_url,
        )


async def is_done_async(
    handle: Handle, *, config: Config | Path | None = None, tell: Callable[[JobProgress], None] = silent
) -> bool:
    """Say whether everything is answered, or given up; to be asked again in a minute or more where it is not.

    Polls each open batch once, takes what has ended, and sends what has to be asked again; does not read the input and
    does not wait. `tell` hears how far it is and what it is held up by. Raises UsageError for a handle that is none or
    was replaced, LockedError, StoreError, and the provider's errors where somebody must act.
    """
    async with _taken_up(handle, config, tell) as (job, run):
        return run.state == "done" or await job.is_answered(run)


async def collect_async(
    handle: Handle, *, config: Config | Path | None = None, tell: Callable[[JobProgress], None] = silent
) -> Report:
    """Write the rows with their answers.

    Collected again it writes the same again, for which it reads the input again. Raises TryAgainError while something
    is asked, OutputError, and as `is_done_async`.
    """
    async with _taken_up(handle, config, tell) as (job, run):
        if run.state != "done":
            return await job.collect(run)
    settings, provider, order = _reopened(handle, config)
    async with open_job(order, settings, provider, tell, patience_seconds=_PATIENCE_SECONDS) as job:
        return await job.run(asyncio.Event())


def submit(
    task: str,
    input: str | Path,  # noqa: A002 - as above
    output: str | Path,
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = silent,
    **keywords: Unpack[Written],
) -> Handle:
    """Do as `submit_async`, and block until it is sent.

    >>> import json
    >>> handle = submit("label", "reviews.jsonl", "labels.jsonl")
    >>> handle == json.loads(json.dumps(handle))
    True
    """
    return asyncio.run(submit_async(task, input, output, config=config, tell=tell, **keywords))


def is_done(
    handle: Handle, *, config: Config | Path | None = None, tell: Callable[[JobProgress], None] = silent
) -> bool:
    """Do as `is_done_async`, and block until it is known.

    >>> import time
    >>> handle = submit("label", "reviews.jsonl", "labels.jsonl")
    >>> while not is_done(handle):
    ...     time.sleep(0.1)
    """
    return asyncio.run(is_done_async(handle, config=config, tell=tell))


def collect(
    handle: Handle, *, config: Config | Path | None = None, tell: Callable[[JobProgress], None] = silent
) -> Report:
    """Do as `collect_async`, and block until it is written.

    >>> import time
    >>> handle = submit("label", "reviews.jsonl", "labels.jsonl")
    >>> while not is_done(handle):
    ...     time.sleep(0.1)
    >>> collect(handle).statuses
    {'ok': 3}
    """
    return asyncio.run(collect_async(handle, config=config, tell=tell))


@contextlib.asynccontextmanager
async def _taken_up(
    handle: Handle, config: Config | Path | None, tell: Callable[[JobProgress], None]
) -> AsyncIterator[tuple[Job, Run]]:
    settings, provider, order = _reopened(handle, config)
    given = _InputRead(order.input, handle["key_column"], handle["text_column"])
    async with open_job(order, settings, provider, tell, given=given, patience_seconds=_PATIENCE_SECONDS) as job:
        if job.id != handle["job"]:
            raise UsageError(
                "the task or its model is not what was submitted",
                hint="put it back, or submit again: rows whose question is the same keep their answers",
            )
        yield job, await job.take_up(handle["run"])


def _reopened(handle: Handle, config: Config | Path | None) -> tuple[Config, Provider, Order]:
    """What a handle was submitted with. Raises UsageError where it is none, or would be looked for elsewhere."""
    if (
        not isinstance(handle, dict)
        or handle.get("version") != _VERSION
        or not handle.keys() >= Handle.__annotations__.keys()
    ):
        raise UsageError("this is no handle that this version of enricher has made", hint="submit again")
    if config is None and handle["config"] is not None:
        config = Path(handle["config"])
    settings, config_path = find_configuration(config)
    settings = settings.model_copy(update={"state_dir": Path(handle["state_dir"])})
    provider = choose_provider(settings, config_path, wait=False)
    if provider.base_url != handle["base_url"]:
        raise UsageError(
            f"it was submitted to {handle['base_url']}, and the configuration here names {provider.base_url}",
            hint="give the same configuration:  config=...",
        )
    return settings, provider, Order(**handle["order"])


def _check_deferrable(order: Order) -> None:
    """Raise UsageError for what another process cannot take up."""
    if "-" in (order.input, order.output):
        raise UsageError("standard input and output are those of one process", hint="name a file")
    try:
        json.dumps(asdict(order))
    except (TypeError, ValueError) as error:
        raise UsageError(f"what is asked for cannot be told to another process: {error}") from None


def _elsewhere(order: Order) -> Order:
    """The same for a process with another working directory. The input is read here, and keeps its name."""
    task = _absolute(order.task) if is_path(order.task) else order.task
    prefix = "sqlite:" if order.output.startswith("sqlite:") else ""
    return replace(order, task=task, output=prefix + _absolute(order.output.removeprefix(prefix)))


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
