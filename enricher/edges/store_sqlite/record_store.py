"""The store of records: what `ports.RecordStore` promises, handed to the one thread that owns the database.

Never here: SQL.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.records.ledger import Answered
from enricher.edges.store_sqlite import records, records_codec, spending
from enricher.edges.store_sqlite.records import Decided

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from enricher.core.ledger import LedgerBatch
    from enricher.core.records.ledger import Chunk, Index, ItemResult, Known, Paid, Run, RunOverview
    from enricher.edges.store_sqlite.connection import Connection
    from enricher.edges.store_sqlite.records_codec import Bodies

_FATE: Final = attrgetter("status", "attempt", "tries")
_REMEMBERED_BATCHES: Final = 3
"""Rows are written in the order in which they were asked: few batches are looked at in turn."""


class SqliteRecords:
    """The `RecordStore` port on an open store."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection
        self._bodies: OrderedDict[int, Bodies] = OrderedDict()

    async def begin_run(self, run: Run) -> int:
        """Store a new run, and leave earlier ones of its job."""
        return await self._db.write(records.begin_run, run)

    async def leave_runs(self, job: str) -> None:
        """Give up runs of a job that are not done."""
        await self._db.write(records.leave_runs, job)

    async def save_run(self, run: Run) -> None:
        """Write all fields of a run."""
        await self._db.write(records.save_run, run)

    async def end_run(self, run: Run) -> None:
        """Its output is written: its rows are let go of."""
        await self._db.write(records.end_run, run)
        await self._db.give_back()

    async def latest_run(self, job: str) -> Run | None:
        """The latest run of a job."""
        return await self._db.read(records.latest_run, job)

    async def overview(self, limit: int) -> list[RunOverview]:
        """Runs with what they cost, newest first."""
        return await self._db.read(records.overview, limit)

    async def spent(self, run: int) -> tuple[int, float]:
        """Requests that were sent for a run, and USD paid for them."""
        return await self._db.read(records.spent, run)

    async def wrote(self, output: str, marks: Collection[str]) -> bool:
        """Whether a run has left the output under one of these marks, or was about to."""
        return await self._db.read(records.wrote, output, marks)

    async def name_task(self, task: str, name: str, version: str, now: float) -> None:
        """Keep what a task's hash was called."""
        await self._db.write(records.name_task, task, name, version, now)

    async def task_names(self) -> dict[str, str]:
        """What the tasks that were ever asked are called, by hash."""
        return await self._db.read(spending.task_names)

    async def earlier_keys(self, name: str, limit: int) -> list[tuple[str, str]]:
        """Under which (task hash, model) a task of this name was asked, latest first."""
        return await self._db.read(records.earlier_keys, name, limit)

    async def has_answers(self, task: str, model: str) -> bool:
        """Whether a batch under this task and model was ever answered."""
        return await self._db.read(records.has_answers, task, model)

    async def add_chunks(self, run: int, chunks: Sequence[Chunk]) -> None:
        """Keep chunks of a run."""
        encoded = await asyncio.to_thread(lambda: [records_codec.encode_chunk(one) for one in chunks])
        await self._db.write(records.add_chunks, run, encoded)

    async def chunk_numbers(self, run: int) -> list[int]:
        """The chunks of a run, in order."""
        return await self._db.read(records.chunk_numbers, run)

    async def chunk_index(self, run: int, number: int) -> Index:
        """Which items a chunk has."""
        return records_codec.decode_index(await self._db.read(records.chunk_index, run, number))

    async def chunk(self, run: int, number: int) -> Chunk:
        """A chunk with its rows."""
        encoded = await self._db.read(records.chunk, run, number)
        return await asyncio.to_thread(records_codec.decode_chunk, encoded)

    async def known(self, items: Collection[int]) -> dict[int, Known]:
        """What is known of items, of those of which anything is."""
        return await self._db.read(records.known, items)

    async def answers(self, items: Sequence[int]) -> list[Answered | None]:
        """The answer to each of some items, or why there is none; None where it was never asked."""
        wanted = np.array(items, dtype=np.int64)
        answers = np.empty(len(wanted), dtype=object)
        left = np.arange(len(wanted))
        # An answer that is ok is never replaced: what a batch that is remembered has needs no look into the table.
        for bodies in self._bodies.values():
            is_here, found = bodies.find(wanted[left])
            is_here[is_here] = is_answer = bodies.answered[found]
            answers[left[is_here]] = list(map(Answered, repeat("ok"), bodies.each(found[is_answer])))
            left = left[~is_here]
        if len(left):
            known = await self._db.read(records.asked_last, wanted[left].tolist())
            for batch in {one[1] for one in known.values()}:
                bodies = await self._said(batch)
                own = [at for at in left.tolist() if (one := known.get(items[at])) is not None and one[1] == batch]
                _, found = bodies.find(wanted[own])
                answers[own] = list(map(Answered, (known[items[at]][0] for at in own), bodies.each(found)))
        return answers.tolist()

    async def _said(self, batch: int) -> Bodies:
        bodies = self._bodies.get(batch)
        if bodies is None:
            bodies = records_codec.decode_bodies(await self._db.read(records.bodies, batch))
            self._bodies[batch] = bodies
        self._bodies.move_to_end(batch)
        while len(self._bodies) > _REMEMBERED_BATCHES:
            self._bodies.popitem(last=False)
        return bodies

    async def paid(self, run: Run, items: Collection[int]) -> Paid:
        """What was paid for the items of a run."""
        return await self._db.read(records.paid, run, items)

    async def live_items(self) -> NDArray[np.int64]:
        """Items that batches which are not done ask about, sorted."""
        return await self._db.read(records.live_items)

    async def plan_batches(
        self, run: int, batches: Sequence[tuple[LedgerBatch, NDArray[np.void]]]
    ) -> list[LedgerBatch]:
        """Put planned batches with what they ask in the ledger; returns them with their ids."""
        return await self._db.write(records.plan_batches, run, batches)

    async def batch_items(self, batch: int) -> tuple[int, NDArray[np.void]]:
        """The run that a batch belongs to, and what it asks, in the order of its file."""
        return await self._db.read(records.batch_items, batch)

    async def collect(self, batch: LedgerBatch, results: Sequence[ItemResult], now: float) -> None:
        """Answers, money and a batch's end: once, however often it is repeated."""
        found, said = await asyncio.to_thread(_encoded, results)
        await self._db.write(records.collect, batch, found, said, now)


def _encoded(results: Sequence[ItemResult]) -> tuple[list[Decided], bytes]:
    """What became of the items, by what that is: most of them have the same fate, which is then said once."""
    items = np.array([one.item for one in results], dtype=np.int64)
    fates = list(map(_FATE, results))
    found = []
    for fate in dict.fromkeys(fates):
        # Items are hashes: in their order the tree is walked once, out of it for each of them.
        members = np.sort(items[[one == fate for one in fates]])
        found.append(Decided(*fate, items=members.tolist()))
    return found, records_codec.encode_bodies(results)
