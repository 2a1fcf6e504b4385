"""The life of one batch, from validating to its end.

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
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from enricher.batchserver.answers import DISK_RETRY_SECONDS, AnswerLog, to_answer_line, to_trouble, to_unasked_line
from enricher.batchserver.delivery import deliver
from enricher.batchserver.shapes import (
    Batch,
    BatchRecord,
    LineFault,
    LineFaults,
    RequestCounts,
    Status,
    to_error_body,
)
from enricher.batchserver.validation import InputCheck, RequestLine, check_input, read_lines, token_limit_fault
from enricher.errors import EnricherError

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator

    from enricher.batchserver.backend import Backend
    from enricher.batchserver.batches import BatchRegister
    from enricher.batchserver.faults import FaultRule
    from enricher.batchserver.files import FileShelf
    from enricher.batchserver.scripted import ScriptedFaults
    from enricher.batchserver.settings import ServerSettings
    from enricher.batchserver.turns import Turns
    from enricher.ports import Clock

_DEADLINE_CHECK_SECONDS = 1.0
_LINES_PER_READ = 64
# What a scripted full queue names as its limit where the server has none.
_SCRIPTED_TOKEN_LIMIT = 2_000_000
_UNASKED = {
    Status.EXPIRED: ("batch_expired", "This request could not be executed before the completion window expired."),
    Status.CANCELLED: ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What all batches of a server share. `turns` bounds the lines in work; `stopping` is asked from threads too."""

    settings: ServerSettings
    register: BatchRegister
    shelf: FileShelf
    backend: Backend
    faults: ScriptedFaults
    clock: Clock
    turns: Turns
    stopping: threading.Event

    def time(self) -> int:
        """Return the time in whole Unix seconds, as it stands in batches."""
        return int(self.clock.now())


class BatchRun:
    """One batch in work, the earlier of rank the sooner; `ending` is set once it is to end before all is answered."""

    def __init__(self, batch_id: str, place: Workplace, *, rank: int) -> None:
        self.batch_id = batch_id
        self._rank = rank
        self._place = place
        self.ending: Status | None = None
        self._ended = asyncio.Event()
        self._feeding: asyncio.Task[bool] | None = None
        self.log: AnswerLog | None = None
        self.task: asyncio.Task[None] | None = None
        self._trouble: str | None = None
        if self._record.batch.status is Status.CANCELLING:
            self.end(Status.CANCELLED)

    def end(self, ending: Status) -> None:
        """End the batch now, with what is answered; one that is ending already waits for nothing more."""
        self._ended.set()
        if self.ending is None:
            self.ending = ending
            if self._feeding is not None:
                self._feeding.cancel()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written now, if so."""
        return self._trouble or (self.log.trouble if self.log else None)

    def view(self) -> Batch:
        """Return the batch as a client sees it, with the counts of this moment."""
        record = self._record
        if self.log is None or record.is_sealed:
            return record.batch
        counts = self.log.counts(record.batch.request_counts.total)
        return dataclasses.replace(record.batch, request_counts=counts, usage=self.log.usage)

    def answered_lines(self) -> int:
        """Return how many of its lines a backend has answered."""
        return self.log.answered if self.log and not self._record.is_sealed else self._record.answered_lines

    async def supervise(self) -> None:
        """Take the batch to its end, or as far as it comes before the server stops."""
        try:
            while not self._record.batch.status.is_terminal and not self._place.stopping.is_set():
                try:
                    await self._walk()
                except FileNotFoundError as error:
                    await self._fail(LineFault(code="file_not_found", message=f"{error.filename} is gone."))
                except OSError as error:
                    # A full disk: every step can be repeated, and what is answered must not be asked again.
                    self._trouble = to_trouble(error)
                    await self._place.clock.sleep(DISK_RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001 (the supervisor: one broken batch must not stop the others)
            fault = LineFault(code="server_error", message=f"The server failed on this batch: {error!r}")
            with contextlib.suppress(OSError):
                await self._fail(fault)

    async def _walk(self) -> None:
        self._trouble = None
        if not self._record.is_validated and not await self._validate():
            return
        if not self._record.is_sealed and not await self._answer():
            return
        await self._finish()

    @property
    def _record(self) -> BatchRecord:
        return self._place.register.records[self.batch_id]

    def _fault(self, what: str, state: str = "") -> FaultRule | None:
        return next(
            (rule for rule in self._record.faults if rule.what == what and (not state or rule.state == state)),
            None,
        )

    async def change(self, record_changes: dict[str, Any] | None = None, **changes: Any) -> None:  # noqa: ANN401 - fields of two records
        """Change fields of the record and of the batch itself, durable when this returns. Raises `OSError`."""
        record = self._record
        batch = dataclasses.replace(record.batch, **changes)
        await self._place.register.save(dataclasses.replace(record, batch=batch, **(record_changes or {})))

    async def _fail(self, *faults: LineFault) -> None:
        errors = LineFaults(data=faults)
        books = {"enqueued_tokens": 0, "answered_lines": self.log.answered if self.log else 0}
        await self.change(books, status=Status.FAILED, failed_at=self._place.time(), errors=errors)
        await self._place.register.forget_work(self.batch_id)

    # ---------------------------------------------------------------- validating

    async def _validate(self) -> bool:
        """Check the input file; False if the batch ended here."""
        place = self._place
        if self._fault("stuck", "validating"):
            await self._ended.wait()
        path, endpoint = place.register.input_of(self.batch_id), self._record.batch.endpoint
        check = await self._place.register.disk.run(
            check_input, path, endpoint, place.settings, is_stopped=place.stopping.is_set
        )
        if place.stopping.is_set():
            return False
        faults = self._find_faults(check)
        if faults and self.ending is None:
            await self._fail(*faults)
            return False
        if faults:
            # Cancelled before it was found to be bad: there is nothing to write off.
            await self.change({"is_validated": True, "is_sealed": True, "ending": self.ending})
            return True
        changes: dict[str, Any] = {"model": check.model, "request_counts": RequestCounts(total=check.total)}
        if self.ending is None:
            changes |= {"status": Status.IN_PROGRESS, "in_progress_at": place.time()}
        await self.change({"is_validated": True, "enqueued_tokens": check.tokens}, **changes)
        return True

    def _find_faults(self, check: InputCheck) -> tuple[LineFault, ...]:
        limit = self._place.settings.enqueued_token_limit
        scripted = self._fault("fail")
        if scripted:
            default = token_limit_fault(check.model, limit or _SCRIPTED_TOKEN_LIMIT)
            message = scripted.message or scripted.code or default.message
            return (LineFault(code=scripted.code or default.code, message=message),)
        if not check.faults and limit is not None and self._enqueued(check.model) + check.tokens > limit:
            return (token_limit_fault(check.model, limit),)
        return check.faults

    def _enqueued(self, model: str | None) -> int:
        records = self._place.register.records.values()
        return sum(record.enqueued_tokens for record in records if record.batch.model == model)

    # ---------------------------------------------------------------- in progress

    async def _answer(self) -> bool:
        """Ask for every line without an answer and seal the batch; False if the server stops before."""
        register = self._place.register
        log = AnswerLog(register.output_of(self.batch_id), register.errors_of(self.batch_id), register.disk)
        await log.open()
        self.log = log
        try:
            if self.ending is None and not await self._feed_until_ended(log):
                return False
            if self.ending is not None:
                await self._write_off(log, self.ending)
        finally:
            await log.close()
        sealed = {"is_sealed": True, "ending": self.ending, "enqueued_tokens": 0, "answered_lines": log.answered}
        counts = log.counts(self._record.batch.request_counts.total)
        await self.change(sealed, request_counts=counts, usage=log.usage)
        return True

    async def _feed_until_ended(self, log: AnswerLog) -> bool:
        stuck = self._fault("stuck", "in_progress")
        self._feeding = asyncio.create_task(self._feed(log))
        watching = None if stuck else asyncio.create_task(self._expire_at_deadline())
        try:
            is_complete = await self._feeding
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if self.ending is None or (this is not None and this.cancelling()):
                raise
            return True
        finally:
            if watching is not None:
                watching.cancel()
        if is_complete and stuck:
            await self._ended.wait()
        return is_complete

    async def _expire_at_deadline(self) -> None:
        deadline = self._record.deadline
        while (left := deadline - self._place.clock.now()) > 0:
            await self._place.clock.sleep(min(left, _DEADLINE_CHECK_SECONDS))
        self.end(Status.EXPIRED)

    async def _feed(self, log: AnswerLog) -> bool:
        """Ask for the lines; True once all that are to be asked are answered, False if the server stops before."""
        rules = [(self._fault("expire"), Status.EXPIRED), (self._fault("cancel"), Status.CANCELLED)]
        scripted, ending = next(((rule, status) for rule, status in rules if rule), (None, None))
        scripted = scripted or self._fault("stuck", "in_progress")
        limit = scripted.after_lines if scripted else None
        endpoint, asked = self._record.batch.endpoint, len(log.seen)
        async with asyncio.TaskGroup() as group:
            async for request in self._single(log):
                if asked == limit:
                    break
                await self._place.turns.acquire(self._rank)
                if self._place.stopping.is_set():
                    self._place.turns.release()
                    break
                asked += 1
                task = group.create_task(self._answer_line(endpoint, request, log))
                # A callback, since a task that is cancelled before it began never comes to a `finally`.
                task.add_done_callback(lambda _: self._place.turns.release())
        if self._place.stopping.is_set() and len(log.seen) < self._record.batch.request_counts.total:
            return False
        if ending is not None:
            self.ending = ending
        return True

    async def _unanswered(self, log: AnswerLog) -> AsyncIterator[list[RequestLine]]:
        lines = read_lines(self._place.register.input_of(self.batch_id))
        while group := await self._place.register.disk.run(lambda: list(islice(lines, _LINES_PER_READ))):
            yield [line for line in group if line.custom_id not in log.seen]

    async def _single(self, log: AnswerLog) -> AsyncIterator[RequestLine]:
        async for group in self._unanswered(log):
            for line in group:
                yield line

    async def _answer_line(self, endpoint: str, request: RequestLine, log: AnswerLog) -> None:
        scripted = await self._place.faults.strike_line(request.custom_id)
        status, body = scripted or await self._ask(endpoint, request.body)
        await log.put(to_answer_line(self.batch_id, request.custom_id, status, body))

    async def _ask(self, endpoint: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            return await self._place.backend.answer(endpoint, body)
        except (EnricherError, OSError) as error:
            return 500, to_error_body(str(error), status=500, code="backend_failed")

    async def _write_off(self, log: AnswerLog, ending: Status) -> None:
        if ending is Status.CANCELLED:
            if self._record.batch.status is not Status.CANCELLING:
                await self.change(status=Status.CANCELLING, cancelling_at=self._place.time())
            if self._fault("stuck", "cancelling"):
                await asyncio.Event().wait()
        code, message = _UNASKED[ending]
        async for requests in self._unanswered(log):
            await log.put(*(to_unasked_line(self.batch_id, line.custom_id, code, message) for line in requests))

    # ---------------------------------------------------------------- finalizing

    async def _finish(self) -> None:
        record = self._record
        ending = record.ending or Status.COMPLETED
        if ending is Status.COMPLETED and record.batch.status is Status.IN_PROGRESS:
            await self.change(status=Status.FINALIZING, finalizing_at=self._place.time())
        if self._fault("stuck", "finalizing"):
            await self._ended.wait()
        output_id, error_id = await deliver(
            self._record, self._place.register, self._place.shelf, self._place.clock.now()
        )
        if self._record.batch.status is Status.CANCELLING:
            ending = Status.CANCELLED
        changes: dict[str, Any] = {
            "output_file_id": output_id,
            "error_file_id": error_id,
            f"{ending}_at": self._place.time(),
        }
        await self.change(status=ending, **changes)
        await self._place.register.forget_work(self.batch_id)
