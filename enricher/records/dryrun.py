"""What a task over an input would ask, why, and what that costs: nothing is sent and no state is changed.

The rows go into a store that is thrown away; what is known already is read beside whoever works on the real one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from enricher.core.records.chunking import texts_of
from enricher.core.records.item import Asking, item_under, seed_of
from enricher.core.records.item_set import ItemSet
from enricher.core.records.ledger import REDUCE, Run
from enricher.edges.store_sqlite import SqliteStore
from enricher.records.job import plan_settings
from enricher.records.planning import Estimate, Planner
from enricher.records.progress import JobProgress
from enricher.records.reading import check_columns, read_input

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from enricher.config import Config
    from enricher.core.records.ledger import Known
    from enricher.core.records.task import RecordTask
    from enricher.ports import RecordInput
    from enricher.records.job import JobSettings

_EARLIER_KEYS: Final = 4


async def plan(
    config: Config, task: RecordTask, given: RecordInput, settings: JobSettings, tell: Callable[[JobProgress], None]
) -> Estimate:
    """Read the input and say what asking about it would take. Raises InputError, UsageError, StoreError."""
    await asyncio.to_thread(check_columns, task, given)
    asking = Asking(task, model=settings.model, endpoint=settings.endpoint, reasoning_effort=settings.reasoning_effort)
    is_there = (config.state_dir / SqliteStore.FILE_NAME).exists()
    known = await SqliteStore.open(config.state_dir, read_only=True) if is_there else None
    try:
        with TemporaryDirectory(prefix="enricher-plan-") as scratch:
            rows = await SqliteStore.open(Path(scratch))
            try:
                return await _plan(rows, known, task, given, asking, config, settings, tell)
            finally:
                await rows.close()
    finally:
        if known is not None:
            await known.close()


async def _plan(
    rows: SqliteStore,
    known: SqliteStore | None,
    task: RecordTask,
    given: RecordInput,
    asking: Asking,
    config: Config,
    settings: JobSettings,
    tell: Callable[[JobProgress], None],
) -> Estimate:
    run = Run(
        id=0,
        job="plan",
        task=task.hash,
        model=settings.model,
        endpoint=settings.endpoint,
        input=given.name,
        output="",
        fingerprint="",
    )
    run = replace(run, id=await rows.records.begin_run(run))
    run = await read_input(
        rows.records, run, given, asking, lambda count: tell(JobProgress(phase="reading", rows=count))
    )
    beside = _Beside(rows, known)
    planner = Planner(
        store=beside,  # type: ignore[arg-type]  # the part of the port that planning reads
        ledger=known or rows,
        asking=asking,
        reducing=None,
        settings=plan_settings(config, settings.prices, task),
        new_id=str,
    )
    chunks = await rows.records.chunk_numbers(run.id)
    estimate = await planner.estimate(run, chunks)
    if known is None or not estimate.requests:
        return estimate
    return replace(estimate, reasons=await _reasons(beside, known, planner, run, task, settings.model, chunks))


class _Beside:
    """Rows from a store of one's own, answers from the one that others may be writing to."""

    def __init__(self, rows: SqliteStore, known: SqliteStore | None) -> None:
        self.chunk = rows.records.chunk
        self.chunk_index = rows.records.chunk_index
        self._answers = (known or rows).records
        self.answers = self._answers.answers
        self.live_items = self._answers.live_items

    async def known(self, items: Collection[int]) -> Mapping[int, Known]:
        # No run of the other store is this one: what failed there would be asked again.
        found = await self._answers.known(items)
        return {item: one._replace(run=-1) for item, one in found.items()}


async def _reasons(
    beside: _Beside,
    known: SqliteStore,
    planner: Planner,
    run: Run,
    task: RecordTask,
    model: str,
    chunks: Collection[int],
) -> dict[str, int]:
    """Why each item is asked: it is new, it failed before, or it was answered by an older task or another model.

    Another version of the task is recognised where the prompt's user part makes the same text of a row.
    """
    keys = [
        (hashed, named) for hashed, named in await known.records.earlier_keys(task.name, _EARLIER_KEYS)
        if (hashed, named) != (task.hash, model)
    ]  # fmt: skip
    taken = ItemSet()
    taken.add(await beside.live_items())
    reasons: Counter[str] = Counter()
    for number in sorted(chunks):
        refs, _ = await planner.open_items(run, number, taken)
        taken.add(refs["item"].copy())
        reasons["failed"] += int((refs["attempt"] > 1).sum())
        fresh = refs[refs["attempt"] == 1]
        if len(fresh):
            reasons.update(await _changed(beside, run, number, fresh, task, keys))
    return {reason: count for reason, count in reasons.items() if count}


async def _changed(
    beside: _Beside,
    run: Run,
    number: int,
    refs: NDArray[np.void],
    task: RecordTask,
    keys: list[tuple[str, str]],
) -> Counter[str]:
    chunk = await beside.chunk(run.id, number)
    texts = [
        texts_of(task, chunk.values[row])[passage] for _, _, row, passage, _, _ in refs.tolist() if passage != REDUCE
    ]
    left = list(range(len(texts)))
    found: Counter[str] = Counter()
    for hashed, model in keys:
        seed = seed_of(hashed, model)
        items = {at: item_under(seed, texts[at]) for at in left}
        answered = await beside.known(list(items.values()))
        was = [at for at, item in items.items() if item in answered and answered[item].status == "ok"]
        found["task_changed" if hashed != task.hash else "model_changed"] += len(was)
        gone = set(was)
        left = [at for at in left if at not in gone]
    found["new"] += len(left)
    return found
