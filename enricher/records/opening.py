"""From an order to a job: the engine, input and output are opened, and closed again.

Never here: what the job does with them.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from enricher.edges.record_inputs import open_input
from enricher.edges.record_outputs import look, open_output
from enricher.errors import UsageError
from enricher.records.engine import open_engine
from enricher.records.order import load_record_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from enricher.config import Config
    from enricher.ports import RecordInput
    from enricher.provider import Provider
    from enricher.records.job import Job
    from enricher.records.order import Order
    from enricher.records.progress import JobProgress


def open_order(order: Order) -> RecordInput:
    """Open the input of an order. Raises InputError, UsageError."""
    return open_input(order.input, query=order.query, file_format=order.input_format, key=order.key)


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
    _refuse_input_as_output(order.input, order.output)
    task = load_record_task(order)
    async with contextlib.AsyncExitStack() as stack:
        if given is None:
            given = await asyncio.to_thread(open_order, order)
        stack.callback(given.close)
        engine = await stack.enter_async_context(open_engine(settings, provider, patience_seconds=patience_seconds))
        # What an earlier run has written, and nobody has touched since, may be replaced.
        found = look(order.output)
        is_ours = await engine.store.records.wrote(found.name, found.marks)
        output = open_output(order.output, file_format=order.output_format, overwrite=order.overwrite or is_ours)
        asked = engine.settings(
            task,
            model=order.model,
            budget_usd=order.budget_usd,
            wait=order.wait,
            marks=lambda: look(order.output).marks,
        )
        yield engine.job(task, given, output, asked, tell)


def _refuse_input_as_output(given: str, output: str) -> None:
    """Refuse to replace an input: what could not be read of it would be lost."""
    with contextlib.suppress(OSError, ValueError):
        if given != "-" and output != "-" and Path(given).samefile(output):
            raise UsageError(f"{output} is the input", hint="give the output another name")
