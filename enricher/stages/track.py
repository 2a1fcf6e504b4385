"""Track: open batches are polled; terminal ones are collected, their answers validated, their money booked once.

`poll` asks where a batch stands; `collect` downloads the output and the error file, in every terminal state, and gives
each request of the batch exactly one fate. The answers and the end of the batch are one commit: collecting again after
a crash finds the same files and books nothing twice.

Never here: sending anything that costs money.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from enricher.core import answer as answers
from enricher.core import batch as batch_lines
from enricher.core import job, pricing
from enricher.core.account import read_account
from enricher.core.extract import holes
from enricher.core.job import Step
from enricher.core.ledger import DIGEST_PREFIX, BatchState, RequestResult, StoredAnswer
from enricher.errors import AuthProviderError, NotFoundProviderError, PermanentProviderError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enricher.core.ledger import LedgerBatch, LedgerRequest
    from enricher.core.pricing import Prices
    from enricher.core.task import Task
    from enricher.ports import BatchClient, BatchFiles, Clock, ProviderBatch, Store
    from enricher.telemetry import Telemetry

_LOST_AFTER_FAILURES = 10
"""Polls in a row that do not find a batch before it counts as lost and its requests are asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSettings:
    """What track needs of the configuration."""

    poll_interval_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Collected:
    results: tuple[RequestResult, ...]
    mended: int
    odd: tuple[tuple[str, int], ...]


class Track:
    """The stage that follows batches to their end."""

    def __init__(
        self,
        *,
        store: Store,
        client: BatchClient,
        files: BatchFiles,
        clock: Clock,
        telemetry: Telemetry,
        settings: TrackSettings,
        tasks: Sequence[Task],
        prices: Prices | None,
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._client = client
        self._files = files
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._tasks = {task.hash: task for task in tasks}
        self._prices = prices
        self._jitter = jitter
        self._looks_again = False
        self._refusal: ProviderError | None = None
        """A batch ended for a reason that an operator must mend (an unknown model)."""
        self._held: dict[int, ProviderError] = {}
        """By batch that is open: what an operator must mend before it goes on (a key, a proxy, a file too large)."""
        self._unknown: Counter[int] = Counter()
        """Polls in a row that did not find a batch. In memory: a restart counts anew rather than ask too early."""
        self.progress: dict[int, tuple[int, int]] = {}
        """Requests done and in all of each open batch, as last polled: for a progress bar."""

    @property
    def blocked(self) -> ProviderError | None:
        """What an operator must mend, of any batch; None if all goes on."""
        return self._refusal or next(iter(self._held.values()), None)

    def look_again(self) -> None:
        """Poll every batch at the next step: the wall clock was set, and waits end at a time of it."""
        self._looks_again = True

    async def step(self) -> bool:
        """Poll what is due and collect what has ended; whether anything ended."""
        moved = False
        at_once, self._looks_again = self._looks_again, False
        for batch in await self._store.batches((BatchState.OPEN, BatchState.CANCELLING)):
            if at_once or job.next_step(batch, self._clock.now()) is Step.POLL:
                moved |= await self._poll(batch)
        return moved

    async def _poll(self, batch: LedgerBatch) -> bool:
        assert batch.batch_id is not None
        collecting = False
        try:
            seen = await self._client.retrieve(batch.batch_id)
            self._held = {key: why for key, why in self._held.items() if not isinstance(why, AuthProviderError)}
            self.progress[batch.id] = (seen.completed + seen.failed, max(seen.total, batch.requests))
            after = job.after_poll(batch, seen.status, self._clock.now())
            collecting = after is Step.COLLECT
            if not collecting:
                # What could not be fetched last time is no nearer for the batch being known.
                self._held.pop(batch.id, None)
                self._unknown.pop(batch.id, None)
            if after is Step.CANCEL:
                await self._client.cancel(batch.batch_id)
                await self._store.save_batch(
                    replace(batch, state=BatchState.CANCELLING, intent_at=self._clock.now(), status=seen.status)
                )
                return False
            if collecting:
                self.progress.pop(batch.id, None)
                return await self._end(batch, seen)
        except NotFoundProviderError as error:
            return await self._not_found(batch, error)
        except ProviderError as error:
            await self._hold(batch, error, collecting=collecting)
            return False
        due = self._clock.now() + self._settings.poll_interval_seconds
        await self._store.save_batch(replace(batch, status=seen.status, next_at=due, failures=0))
        return False

    async def _end(self, batch: LedgerBatch, seen: ProviderBatch) -> bool:
        if seen.status == "failed" and not seen.output_file_id:
            codes = {code for code, _, _ in seen.errors}
            text = "; ".join(f"{code}: {message}" for code, message, _ in seen.errors[:3]) or "failed without a reason"
            if codes & job.TOKEN_LIMIT_CODES:
                return await self._queue_was_full(batch, text)
            if codes & job.CONFIGURATION_CODES:
                return await self._misconfigured(batch, text)
        return await self.collect(batch, seen)

    async def collect(self, batch: LedgerBatch, seen: ProviderBatch) -> bool:
        """Read both files of a batch that has ended, decide each request, commit."""
        names = []
        for suffix, file_id in (("output", seen.output_file_id), ("error", seen.error_file_id)):
            if file_id:
                name = f"{batch.name}.{suffix}"
                await self._client.download(file_id, self._files.path(name))
                names.append(name)
        requests = await self._store.batch_requests(batch.id)
        collected = await asyncio.to_thread(self._decide, batch, seen, requests, names)
        done = replace(
            batch,
            state=BatchState.DONE,
            status=seen.status,
            outcome=_outcome(seen.status),
            input_tokens=sum(result.usage[0] for result in collected.results),
            cached_tokens=sum(result.usage[1] for result in collected.results),
            output_tokens=sum(result.usage[2] for result in collected.results),
            cost_usd=sum(result.cost_usd for result in collected.results),
            error="; ".join(message for _, message, _ in seen.errors[:3]) or None,
        )
        await self._store.collect(done, collected.results, self._clock.now())
        self._refusal = None
        self._forget(batch)
        self._tell(done, collected)
        self._tell_digests(requests, collected.results)
        await self._clean_up(batch, seen, names)
        return True

    def _tell(self, batch: LedgerBatch, collected: _Collected) -> None:
        outcomes = Counter(result.state.value for result in collected.results)
        self._telemetry.batch_ended(batch=batch, outcomes=outcomes, mended=collected.mended)
        for what, number in collected.odd:
            if number:
                self._telemetry.batch_odd(batch=batch, what=what, number=number)

    def _tell_digests(self, requests: Sequence[LedgerRequest], results: Sequence[RequestResult]) -> None:
        ended = {result.id: result for result in results}
        for request in requests:
            if request.is_digest and (result := ended.get(request.id)) is not None:
                window = request.signatures[0].removeprefix(DIGEST_PREFIX)
                self._telemetry.digest_ended(window=window, outcome=result.state.value, error=result.error)

    def _decide(
        self, batch: LedgerBatch, seen: ProviderBatch, requests: Sequence[LedgerRequest], names: Sequence[str]
    ) -> _Collected:
        """Give each request its fate. Runs in a worker thread: files may hold 50,000 lines."""
        by_id = {batch_lines.custom_id(request.id, request.attempt): request for request in requests}
        chunks = (chunk for name in names for chunk in (*self._files.read(name), b"\n"))
        found = batch_lines.reconcile(list(by_id), batch_lines.read_lines(chunks))
        # Errors of a batch that failed in validation name lines of our file, counted from 1.
        refused_lines = {line for _, _, line in seen.errors if line} if seen.status == "failed" else set()
        results: list[RequestResult] = []
        mended = 0
        for number, (custom_id, request) in enumerate(by_id.items(), 1):
            body = found.answered.get(custom_id)
            if body is not None:
                result, mends = self._answered(batch, request, custom_id, body)
                mended += mends
            else:
                failure = found.failed.get(custom_id)
                again, counts, text = _why_unanswered(failure, seen, refused=number in refused_lines)
                result = self._unanswered(batch, request, custom_id, again=again, counts=counts, text=text)
            results.append(result)
        odd = (
            ("unknown_custom_id", found.unknown),
            ("repeated_custom_id", found.duplicates),
            ("malformed_line", found.malformed),
            ("missing_line", len(found.missing) if seen.status == "completed" else 0),
        )
        return _Collected(results=tuple(results), mended=mended, odd=odd)

    def _answered(
        self, batch: LedgerBatch, request: LedgerRequest, custom_id: str, body: object
    ) -> tuple[RequestResult, int]:
        if request.is_digest:
            return self._accounted(batch, request, custom_id, body), 0
        task = self._tasks.get(request.task)
        if task is None:
            # The task was changed while the batch was out and its old text is gone: ask again under the new one.
            result = self._unanswered(batch, request, custom_id, again=False, counts=True, text="the task has changed")
            return result, 0
        questions = [
            answers.Asked(signature=signature, holes=holes(template), template=template)
            for signature, template in zip(request.signatures, request.templates, strict=True)
        ]
        reading = answers.read_response(task, request.endpoint, body, questions, sent=request.body)
        usage = (reading.usage.input_tokens, reading.usage.cached_tokens, reading.usage.output_tokens)
        cost = pricing.cost(reading.usage, self._prices, batch=True) if self._prices else 0.0
        fate = job.fate_of_answered([verdict.status for verdict in reading.verdicts], tries=request.tries)
        stored = [
            replace(
                self._stored(batch, request, verdict.signature, "ok", reading.model, verdict.answer.to_json()),
                template=template,
            )
            for verdict, template in zip(reading.verdicts, request.templates, strict=True)
            if verdict.answer is not None
        ]
        if fate.status is not None:
            bad = (verdict.signature for verdict in reading.verdicts if verdict.answer is None)
            stored += [self._stored(batch, request, signature, fate.status, reading.model, "") for signature in bad]
        reasons = [verdict.reason for verdict in reading.verdicts if verdict.answer is None]
        result = RequestResult(
            id=request.id,
            custom_id=custom_id,
            state=fate.state,
            counts=fate.counts,
            error=reasons[0] if reasons else "",
            usage=usage,
            cost_usd=float(cost),
            answers=tuple(stored),
        )
        return result, sum(len(verdict.mended) for verdict in reading.verdicts)

    def _accounted(self, batch: LedgerBatch, request: LedgerRequest, custom_id: str, body: object) -> RequestResult:
        """What became of a request about a window."""
        reading = read_account(request.endpoint, body, sent=request.body)
        fate = job.fate_of_answered([reading.status], tries=request.tries)
        status, text = fate.status, ""
        if reading.account is not None:
            status, text = "ok", reading.account.to_json()
        return RequestResult(
            id=request.id,
            custom_id=custom_id,
            state=fate.state,
            counts=fate.counts,
            error=reading.reason,
            usage=(reading.usage.input_tokens, reading.usage.cached_tokens, reading.usage.output_tokens),
            cost_usd=pricing.cost(reading.usage, self._prices, batch=True) if self._prices else 0.0,
            answers=()
            if status is None
            else (self._stored(batch, request, request.signatures[0], status, reading.model, text),),
        )

    def _unanswered(
        self, batch: LedgerBatch, request: LedgerRequest, custom_id: str, *, again: bool, counts: bool, text: str
    ) -> RequestResult:
        fate = job.fate_of_unanswered(
            packed=len(request.signatures) > 1,
            again=again,
            counts=counts,
            tries=request.tries,
            attempt=request.attempt,
            max_attempts=job.MAX_DIGEST_ATTEMPTS if request.is_digest or request.is_gold else job.MAX_ATTEMPTS,
        )
        status = fate.status
        stored = (
            ()
            if status is None
            else tuple(self._stored(batch, request, one, status, "", "") for one in request.signatures)
        )
        return RequestResult(
            id=request.id,
            custom_id=custom_id,
            state=fate.state,
            counts=fate.counts,
            error=text,
            usage=(0, 0, 0),
            cost_usd=0.0,
            answers=stored,
        )

    def _stored(
        self, batch: LedgerBatch, request: LedgerRequest, signature: str, status: str, served: str, body: str
    ) -> StoredAnswer:
        return StoredAnswer(
            id=0,
            signature=signature,
            task=request.task,
            model=request.model,
            served_model=served or request.model,
            status=status,
            body=body,
            batch_id=batch.batch_id or "",
            answered_at=self._clock.now(),
        )

    def _forget(self, batch: LedgerBatch) -> None:
        self._held.pop(batch.id, None)
        self._unknown.pop(batch.id, None)

    async def _queue_was_full(self, batch: LedgerBatch, text: str) -> bool:
        self._forget(batch)
        limit = job.token_limit_in(text)
        if limit is not None:
            await self._store.learn_token_limit(batch.model, limit)
        wait = job.backoff_seconds(
            batch.failures, first=2 * self._settings.poll_interval_seconds, jitter=self._jitter()
        )
        await self._store.save_batch(job.queue_was_full(batch, text, until=self._clock.now() + wait))
        self._telemetry.batch_waited(batch=batch, reason="token_limit", seconds=wait, error=text)
        return False

    async def _misconfigured(self, batch: LedgerBatch, text: str) -> bool:
        """Nothing ran and nothing was charged: the same file goes out again once the operator has mended it."""
        hint = "set [provider] model and endpoint to what the provider offers, then restart"
        self._refusal = PermanentProviderError(text, hint=hint, code="model_not_found")
        self._forget(batch)
        wait = job.MAX_BACKOFF_SECONDS
        await self._store.save_batch(job.queue_was_full(batch, text, until=self._clock.now() + wait))
        self._telemetry.batch_waited(batch=batch, reason="auth", seconds=wait, error=text, hint=hint)
        return False

    async def _not_found(self, batch: LedgerBatch, error: ProviderError) -> bool:
        self._unknown[batch.id] += 1
        if self._unknown[batch.id] < _LOST_AFTER_FAILURES:
            await self._hold(batch, error, collecting=False)
            return False
        requests = await self._store.batch_requests(batch.id)
        results = [
            self._unanswered(
                batch,
                request,
                batch_lines.custom_id(request.id, request.attempt),
                again=True,
                counts=False,
                text="the provider no longer knows the batch",
            )
            for request in requests
        ]
        done = replace(batch, state=BatchState.DONE, outcome="failed", error=str(error))
        await self._store.collect(done, results, self._clock.now())
        self._forget(batch)
        self._tell(done, _Collected(results=tuple(results), mended=0, odd=()))
        return True

    async def _hold(self, batch: LedgerBatch, error: ProviderError, *, collecting: bool) -> None:
        """Look at the batch again later; `collecting`: it has ended, and its files could not be fetched."""
        refused = isinstance(error, AuthProviderError | PermanentProviderError)
        if refused:
            self._held[batch.id] = error
        if not isinstance(error, NotFoundProviderError):
            self._unknown.pop(batch.id, None)
        most = job.MAX_BACKOFF_SECONDS
        if collecting and isinstance(error, PermanentProviderError):
            most = job.MAX_COLLECT_BACKOFF_SECONDS
        first = min(self._settings.poll_interval_seconds, 30.0)
        wait = error.retry_after_seconds or job.backoff_seconds(
            batch.failures, first=first, jitter=self._jitter(), most=most
        )
        await self._store.save_batch(job.held_back(batch, str(error), until=self._clock.now() + wait))
        reason = "auth" if refused else "transient"
        self._telemetry.batch_waited(batch=batch, reason=reason, seconds=wait, error=str(error), hint=error.hint)

    async def _clean_up(self, batch: LedgerBatch, seen: ProviderBatch, names: Sequence[str]) -> None:
        """Files are copies by now. One that cannot be deleted expires at the provider; the call is counted."""
        await self._files.remove([batch.name, *names])
        for file_id in (seen.input_file_id, seen.output_file_id, seen.error_file_id):
            if file_id:
                try:
                    await self._client.delete_file(file_id)
                except ProviderError:
                    return


def _why_unanswered(
    failure: batch_lines.Failure | None, seen: ProviderBatch, *, refused: bool
) -> tuple[bool, bool, str]:
    """(again, counts, text) for a request without a usable line."""
    if failure is not None:
        again = failure.kind == "again"
        counts = again and failure.code not in ("batch_expired", "batch_cancelled", "batch_canceled")
        return again, counts, f"{failure.code}: {failure.message}" if failure.code else failure.message
    if seen.status == "failed":
        text = seen.errors[0][1] if seen.errors else "the batch failed"
        blamed_others = bool(any(line for _, _, line in seen.errors)) and not refused
        return not refused, not blamed_others, text
    return True, False, f"no line for it in a batch that ended as {seen.status}"


def _outcome(status: str) -> str:
    """The provider's word among the outcomes that are counted; a batch given up while cancelling is cancelled."""
    return {"completed": "completed", "failed": "failed", "expired": "expired"}.get(status, "cancelled")
