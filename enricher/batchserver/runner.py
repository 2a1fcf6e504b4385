"""All batches of a server: accepts them, launches one run for each, cancels, stops, counts.

What happens within a batch is `run.py`'s; here is only what needs more than one of them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import threading
from itertools import count
from typing import TYPE_CHECKING

from enricher.batchserver.run import BatchRun, Workplace
from enricher.batchserver.shapes import Batch, BatchRecord, RefusedError, Status
from enricher.batchserver.turns import Turns

if TYPE_CHECKING:
    from enricher.batchserver.backend import Backend
    from enricher.batchserver.batches import BatchRegister
    from enricher.batchserver.files import FileShelf
    from enricher.batchserver.scripted import ScriptedFaults
    from enricher.batchserver.settings import ServerSettings
    from enricher.batchserver.validation import CreateRequest
    from enricher.batchserver.webhooks import Webhooks
    from enricher.ports import Clock

# How long requests in the backend may still end when the server stops; what is longer is asked again after a restart.
GRACE_SECONDS = 0.7


class BatchRunner:
    """Runs all batches of a register, the oldest first, `concurrency` lines at once over all of them."""

    def __init__(
        self,
        settings: ServerSettings,
        register: BatchRegister,
        shelf: FileShelf,
        backend: Backend,
        faults: ScriptedFaults,
        clock: Clock,
        webhooks: Webhooks | None = None,
    ) -> None:
        self._webhooks = webhooks
        self._settings = settings
        self._register = register
        self._shelf = shelf
        self._faults = faults
        self._clock = clock
        self._stopping = threading.Event()
        self._place = Workplace(
            settings=settings,
            register=register,
            shelf=shelf,
            backend=backend,
            faults=faults,
            clock=clock,
            turns=Turns(settings.concurrency),
            stopping=self._stopping,
        )
        self._runs: dict[str, BatchRun] = {}
        self._ranks = count()

    def start(self) -> None:
        """Go on with every batch that has not ended, in the order in which they were created."""
        for record in self._register.records.values():
            if not record.batch.status.is_terminal:
                self._launch(record)

    async def close(self) -> None:
        """Stop, so that a next start can go on; requests in the backend have `GRACE_SECONDS` to end."""
        self._stopping.set()
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def create(self, request: CreateRequest) -> Batch:
        """Accept a batch. Raises `RefusedError` if its input file is not there."""
        found = self._shelf.find(request.input_file_id)
        if found is None or found.file.purpose != "batch":
            raise RefusedError(
                400,
                f"Cannot find file {request.input_file_id[:100]} with purpose batch, "
                "or project proj_local does not have access to it.",
                param="input_file_id",
            )
        now = self._clock.now()
        record = BatchRecord(
            created=now,
            deadline=now + self._settings.completion_window_seconds,
            output_expires_after_seconds=request.output_expires_after_seconds,
            faults=self._faults.strike_batch(),
            batch=Batch(
                id=f"batch_{secrets.token_hex(12)}",
                endpoint=request.endpoint,
                input_file_id=found.file.id,
                created_at=int(now),
                expires_at=int(now + self._settings.completion_window_seconds),
                metadata=request.metadata,
            ),
        )
        await self._accept(record)
        return record.batch

    async def _accept(self, record: BatchRecord) -> None:
        """Make a new batch durable, launch it, then count it: a create that fails on the disk leaves none behind."""
        batch = record.batch
        source, own = self._shelf.path_of(batch.input_file_id), self._register.input_of(batch.id)
        await self._register.disk.run(own.hardlink_to, source)
        try:
            await self._register.save(record)
        except OSError:
            del self._register.records[batch.id]
            await self._register.forget_work(batch.id)
            raise
        self._launch(record)
        books = self._register.books
        counted = dataclasses.replace(
            books, batches_created=books.batches_created + 1, fault_counts=self._faults.counts
        )
        await self._register.write_books(counted)

    async def cancel(self, batch_id: str) -> Batch:
        """End a batch with what is answered. Raises `RefusedError` if it has ended already."""
        record = self._register.records[batch_id]
        run = self._runs.get(batch_id)
        if record.batch.status.is_terminal or run is None:
            raise RefusedError(409, f"Cannot cancel a batch with status '{record.batch.status}'.")
        if record.batch.status is not Status.CANCELLING:
            run.end(Status.CANCELLED)
            await run.change(status=Status.CANCELLING, cancelling_at=self._place.time())
        return self.view(batch_id)

    def view(self, batch_id: str) -> Batch:
        """Return a batch as a client sees it, with the counts of this moment."""
        run = self._runs.get(batch_id)
        return run.view() if run else self._register.records[batch_id].batch

    def answered_lines(self) -> int:
        """Return how many lines a backend has answered since the state directory began."""
        return sum(
            self._runs[batch_id].answered_lines() if batch_id in self._runs else record.answered_lines
            for batch_id, record in self._register.records.items()
        )

    def trouble(self) -> str | None:
        """Return why nothing can be written now, if so."""
        return next((run.trouble for run in self._runs.values() if run.trouble), None)

    def _launch(self, record: BatchRecord) -> None:
        run = BatchRun(record.batch.id, self._place, rank=next(self._ranks))
        self._runs[run.batch_id] = run
        run.task = asyncio.create_task(self._carry(run), name=run.batch_id)

    async def _carry(self, run: BatchRun) -> None:
        await run.supervise()
        batch = self._register.records[run.batch_id].batch
        if batch.status.is_terminal:
            del self._runs[run.batch_id]
            if self._webhooks is not None:
                self._webhooks.tell(batch)
