"""Takes each batch from validating to its end: the state machine of a batch, and the only caller of the backend.

    validating ─► in_progress ─► finalizing ─► completed
        └► failed      ├► expired
                       └► cancelling ─► cancelled

Every step begins with what lies on disk, so a restart goes on where the last durable answer was; a line that has a
durable answer is never asked again. A batch is sealed before its files move, and is never answered after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import threading
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from enricher.batchserver.answers import DISK_RETRY_SECONDS, AnswerLog, to_answer_line, to_trouble, to_unasked_line
from enricher.batchserver.delivery import deliver
from enricher.batchserver.shapes import (
    Batch,
    BatchRecord,
    LineFault,
    LineFaults,
    RefusedError,
    RequestCounts,
    Status,
    to_error_body,
)
from enricher.batchserver.validation import CreateRequest, RequestLine, check_input, read_lines, token_limit_fault
from enricher.errors import EnricherError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from enricher.batchserver.backend import Backend
    from enricher.batchserver.batches import BatchRegister
    from enricher.batchserver.faults import FaultRule
    from enricher.batchserver.files import FileShelf
    from enricher.batchserver.scripted import ScriptedFaults
    from enricher.batchserver.settings import ServerSettings
    from enricher.ports import Clock

# How long requests in the backend may still end when the server stops; what is longer is asked again after a restart.
GRACE_SECONDS = 0.7
_DEADLINE_CHECK_SECONDS = 1.0
_LINES_PER_READ = 64
_UNASKED = {
    Status.EXPIRED: ("batch_expired", "This request could not be executed before the completion window expired."),
    Status.CANCELLED: ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}


@dataclass(slots=True, kw_only=True)
class _Run:
    """A batch in work. `ending` is set once it is to end before all its lines are answered."""

    batch_id: str
    ending: Status | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    feeding: asyncio.Task[bool] | None = None
    log: AnswerLog | None = None
    task: asyncio.Task[None] | None = None
    trouble: str | None = None

    def end(self, ending: Status) -> None:
        """End the batch now, with what is answered."""
        if self.ending is None:
            self.ending = ending
            self.ended.set()
            if self.feeding is not None:
                self.feeding.cancel()


class BatchRunner:
    """Runs all batches of a register, `concurrency` lines at once over all of them."""

    def __init__(
        self,
        settings: ServerSettings,
        register: BatchRegister,
        shelf: FileShelf,
        backend: Backend,
        faults: ScriptedFaults,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._register = register
        self._shelf = shelf
        self._backend = backend
        self._faults = faults
        self._clock = clock
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._runs: dict[str, _Run] = {}
        self._is_stopping = threading.Event()

    # ---------------------------------------------------------------- from outside

    def start(self) -> None:
        """Go on with every batch that has not ended."""
        for record in self._register.records.values():
            if not record.batch.status.is_terminal:
                self._launch(record)

    async def close(self) -> None:
        """Stop, so that a next start can go on; requests in the backend have `GRACE_SECONDS` to end."""
        self._is_stopping.set()
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
        source, own = self._shelf.path_of(found.file.id), self._register.input_of(record.batch.id)
        await asyncio.to_thread(own.hardlink_to, source)
        books = self._register.books
        created = books.batches_created + 1
        await self._register.write_books(
            dataclasses.replace(books, batches_created=created, fault_counts=self._faults.counts)
        )
        await self._register.save(record)
        self._launch(record)
        return record.batch

    async def cancel(self, batch_id: str) -> Batch:
        """End a batch with what is answered. Raises `RefusedError` if it has ended already."""
        record = self._register.records[batch_id]
        run = self._runs.get(batch_id)
        if record.batch.status.is_terminal or run is None:
            raise RefusedError(409, f"Cannot cancel a batch with status '{record.batch.status}'.")
        if record.batch.status is not Status.CANCELLING:
            await self._change(run, status=Status.CANCELLING, cancelling_at=self._time())
            run.end(Status.CANCELLED)
        return self.view(batch_id)

    def view(self, batch_id: str) -> Batch:
        """Return a batch as a client sees it, with the counts of this moment."""
        record = self._register.records[batch_id]
        run = self._runs.get(batch_id)
        if run is None or run.log is None or record.is_sealed:
            return record.batch
        counts = run.log.counts(record.batch.request_counts.total)
        return dataclasses.replace(record.batch, request_counts=counts, usage=run.log.usage)

    def answered_lines(self) -> int:
        """Return how many lines a backend has answered since the state directory began."""
        running = {id_: run.log.answered for id_, run in self._runs.items() if run.log is not None}
        return sum(
            record.answered_lines if record.is_sealed else running.get(id_, record.answered_lines)
            for id_, record in self._register.records.items()
        )

    def trouble(self) -> str | None:
        """Return why answers cannot be written now, if so."""
        troubles = (run.trouble or (run.log and run.log.trouble) for run in self._runs.values())
        return next((trouble for trouble in troubles if trouble), None)

    # ---------------------------------------------------------------- one batch

    def _launch(self, record: BatchRecord) -> None:
        run = _Run(batch_id=record.batch.id)
        if record.batch.status is Status.CANCELLING:
            run.end(Status.CANCELLED)
        self._runs[run.batch_id] = run
        run.task = asyncio.create_task(self._supervise(run), name=run.batch_id)

    async def _supervise(self, run: _Run) -> None:
        try:
            while not self._record(run).batch.status.is_terminal and not self._is_stopping.is_set():
                try:
                    await self._walk(run)
                except FileNotFoundError as error:
                    await self._fail(run, LineFault(code="file_not_found", message=f"{error.filename} is gone."))
                except OSError as error:
                    # A full disk: every step can be repeated, and what is answered must not be asked again.
                    run.trouble = to_trouble(error)
                    await self._clock.sleep(DISK_RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001 (the supervisor: one broken batch must not stop the others)
            fault = LineFault(code="server_error", message=f"The server failed on this batch: {error!r}")
            with contextlib.suppress(OSError):
                await self._fail(run, fault)
        finally:
            if self._record(run).batch.status.is_terminal:
                self._runs.pop(run.batch_id, None)

    async def _walk(self, run: _Run) -> None:
        run.trouble = None
        if not self._record(run).is_validated and not await self._validate(run):
            return
        if not self._record(run).is_sealed and not await self._answer(run):
            return
        await self._finish(run)

    def _record(self, run: _Run) -> BatchRecord:
        return self._register.records[run.batch_id]

    def _time(self) -> int:
        return int(self._clock.now())

    def _fault(self, run: _Run, what: str, state: str = "") -> FaultRule | None:
        return next(
            (rule for rule in self._record(run).faults if rule.what == what and (not state or rule.state == state)),
            None,
        )

    async def _change(self, run: _Run, record_changes: dict[str, Any] | None = None, **changes: Any) -> None:  # noqa: ANN401
        record = self._record(run)
        batch = dataclasses.replace(record.batch, **changes)
        await self._register.save(dataclasses.replace(record, batch=batch, **(record_changes or {})))

    async def _fail(self, run: _Run, *faults: LineFault) -> None:
        errors = LineFaults(data=faults)
        books = {"enqueued_tokens": 0, "answered_lines": run.log.answered if run.log else 0}
        await self._change(run, books, status=Status.FAILED, failed_at=self._time(), errors=errors)
        await self._register.forget_work(run.batch_id)

    # ---------------------------------------------------------------- validating

    async def _validate(self, run: _Run) -> bool:
        """Check the input file; False if the batch ended here."""
        record = self._record(run)
        if self._fault(run, "stuck", "validating"):
            await run.ended.wait()
        path = self._register.input_of(run.batch_id)
        check = await asyncio.to_thread(
            check_input, path, record.batch.endpoint, self._settings, is_stopped=self._is_stopping.is_set
        )
        if self._is_stopping.is_set():
            return False
        faults = list(check.faults)
        scripted = self._fault(run, "fail")
        limit = self._settings.enqueued_token_limit
        if scripted:
            default = token_limit_fault(check.model, limit or 2_000_000)
            code = scripted.code or default.code
            faults = [
                LineFault(code=code, message=scripted.message or (default.message if not scripted.code else code))
            ]
        elif not faults and limit is not None and self._enqueued(check.model) + check.tokens > limit:
            faults = [token_limit_fault(check.model, limit)]
        if faults and run.ending is None:
            await self._fail(run, *faults)
            return False
        changes: dict[str, Any] = {"model": check.model, "request_counts": RequestCounts(total=check.total)}
        if run.ending is None:
            changes |= {"status": Status.IN_PROGRESS, "in_progress_at": self._time()}
        await self._change(run, {"is_validated": True, "enqueued_tokens": check.tokens}, **changes)
        return True

    def _enqueued(self, model: str | None) -> int:
        records = self._register.records.values()
        return sum(record.enqueued_tokens for record in records if record.batch.model == model)

    # ---------------------------------------------------------------- in progress

    async def _answer(self, run: _Run) -> bool:
        """Ask for every line without an answer and seal the batch; False if the server stops before."""
        register = self._register
        log = AnswerLog(register.output_of(run.batch_id), register.errors_of(run.batch_id))
        await log.open()
        run.log = log
        try:
            if run.ending is None and not await self._feed_until_ended(run, log):
                return False
            if run.ending is not None:
                await self._write_off(run, log, run.ending)
        finally:
            await log.close()
        sealed = {"is_sealed": True, "ending": run.ending, "enqueued_tokens": 0, "answered_lines": log.answered}
        counts = log.counts(self._record(run).batch.request_counts.total)
        await self._change(run, sealed, request_counts=counts, usage=log.usage)
        return True

    async def _feed_until_ended(self, run: _Run, log: AnswerLog) -> bool:
        stuck = self._fault(run, "stuck", "in_progress")
        run.feeding = asyncio.create_task(self._feed(run, log))
        watching = None if stuck else asyncio.create_task(self._expire_at_deadline(run))
        try:
            is_complete = await run.feeding
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if run.ending is None or (this is not None and this.cancelling()):
                raise
            return True
        finally:
            if watching is not None:
                watching.cancel()
        if is_complete and stuck:
            await run.ended.wait()
        return is_complete

    async def _expire_at_deadline(self, run: _Run) -> None:
        deadline = self._record(run).deadline
        while (left := deadline - self._clock.now()) > 0:
            await self._clock.sleep(min(left, _DEADLINE_CHECK_SECONDS))
        run.end(Status.EXPIRED)

    async def _feed(self, run: _Run, log: AnswerLog) -> bool:
        """Ask for the lines; True once all that are to be asked are answered, False if the server stops before."""
        rules = [(self._fault(run, "expire"), Status.EXPIRED), (self._fault(run, "cancel"), Status.CANCELLED)]
        scripted, ending = next(((rule, status) for rule, status in rules if rule), (None, None))
        scripted = scripted or self._fault(run, "stuck", "in_progress")
        limit = scripted.after_lines if scripted else None
        endpoint, asked = self._record(run).batch.endpoint, len(log.seen)
        async with asyncio.TaskGroup() as group:
            async for request in self._single(run, log):
                if asked == limit:
                    break
                await self._slots.acquire()
                if self._is_stopping.is_set():
                    self._slots.release()
                    break
                asked += 1
                task = group.create_task(self._answer_line(run.batch_id, endpoint, request, log))
                # A callback, since a task that is cancelled before it began never comes to a `finally`.
                task.add_done_callback(lambda _: self._slots.release())
        if self._is_stopping.is_set() and len(log.seen) < self._record(run).batch.request_counts.total:
            return False
        if ending is not None:
            run.ending = ending
        return True

    async def _unanswered(self, run: _Run, log: AnswerLog) -> AsyncIterator[list[RequestLine]]:
        lines = read_lines(self._register.input_of(run.batch_id))
        while group := await asyncio.to_thread(lambda: list(islice(lines, _LINES_PER_READ))):
            yield [line for line in group if line.custom_id not in log.seen]

    async def _single(self, run: _Run, log: AnswerLog) -> AsyncIterator[RequestLine]:
        async for group in self._unanswered(run, log):
            for line in group:
                yield line

    async def _answer_line(self, batch_id: str, endpoint: str, request: RequestLine, log: AnswerLog) -> None:
        scripted = await self._faults.strike_line(request.custom_id)
        status, body = scripted or await self._ask(endpoint, request.body)
        await log.put(to_answer_line(batch_id, request.custom_id, status, body))

    async def _ask(self, endpoint: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            return await self._backend.answer(endpoint, body)
        except (EnricherError, OSError) as error:
            return 500, to_error_body(str(error), status=500, code="backend_failed")

    async def _write_off(self, run: _Run, log: AnswerLog, ending: Status) -> None:
        if ending is Status.CANCELLED:
            if self._record(run).batch.status is not Status.CANCELLING:
                await self._change(run, status=Status.CANCELLING, cancelling_at=self._time())
            if self._fault(run, "stuck", "cancelling"):
                await asyncio.Event().wait()
        code, message = _UNASKED[ending]
        async for requests in self._unanswered(run, log):
            await log.put(*(to_unasked_line(run.batch_id, line.custom_id, code, message) for line in requests))

    # ---------------------------------------------------------------- finalizing

    async def _finish(self, run: _Run) -> None:
        record = self._record(run)
        ending = record.ending or Status.COMPLETED
        if ending is Status.COMPLETED and record.batch.status is Status.IN_PROGRESS:
            await self._change(run, status=Status.FINALIZING, finalizing_at=self._time())
        if self._fault(run, "stuck", "finalizing"):
            await run.ended.wait()
        output_id, error_id = await deliver(self._record(run), self._register, self._shelf, self._clock.now())
        if self._record(run).batch.status is Status.CANCELLING:
            ending = Status.CANCELLED
        changes: dict[str, Any] = {"output_file_id": output_id, "error_file_id": error_id, f"{ending}_at": self._time()}
        await self._change(run, status=ending, **changes)
        await self._register.forget_work(run.batch_id)
