"""What became of each request about kinds of event, windows and labelled lines, once its batch has ended.

Invariants: each request of the batch gets exactly one result, whatever the files hold; only an answer that was read
from a response is booked. Never here: reading a file, committing anything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from enricher.core import answer as answers
from enricher.core import batch as batch_lines
from enricher.core import job, pricing
from enricher.core.account import read_account
from enricher.core.extract import holes
from enricher.core.ledger import RequestResult, StoredAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from enricher.core.ledger import LedgerBatch, LedgerRequest
    from enricher.core.pricing import Prices
    from enricher.core.task import Task

_UNCOUNTED_CODES = job.CREDIT_CODES | {"batch_expired", "batch_cancelled", "batch_canceled"}
"""Of lines that never ran: no fault of what they ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a batch ended, as far as it matters for its requests."""

    status: str
    """The provider's word for it."""
    errors: tuple[tuple[str, str, int | None], ...] = ()
    """(code, message, line of the input file) where the provider refused the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What collecting a batch came to, for the operator."""

    outcomes: Mapping[str, int]
    """Requests by their new state."""
    mended: int = 0
    """Parts of answers that were mended."""
    odd: tuple[tuple[str, int], ...] = ()
    """What was strange about the files, and how often."""
    no_credit: str = ""
    """What a line said that failed for want of money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The result of each request of a batch, in the order of its file."""

    results: tuple[RequestResult, ...]
    mended: int
    odd: tuple[tuple[str, int], ...]
    no_credit: str = ""

    @property
    def collected(self) -> Collected:
        """For the operator."""
        outcomes = Counter(result.state.value for result in self.results)
        return Collected(outcomes=outcomes, mended=self.mended, odd=self.odd, no_credit=self.no_credit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """Reads answers, at a moment.

    A task that was changed while a batch was out is gone. What it was answered is paid for all the same, and read as an
    answer to the task of today: most changes are of the words in which is asked.
    """

    task: Task
    prices: Prices | None
    now: float

    def decide(
        self, batch: LedgerBatch, ending: Ending, requests: Sequence[LedgerRequest], chunks: Iterable[bytes]
    ) -> Decided:
        """Give each request its fate by the bytes of the result files. Files may hold 50,000 lines."""
        by_id = {batch_lines.custom_id(request.id, request.attempt): request for request in requests}

        def read(custom_id: str, body: object) -> tuple[RequestResult, int]:
            return self._answered(batch, by_id[custom_id], custom_id, body)

        found = batch_lines.reconcile(list(by_id), batch_lines.read_lines(chunks), read)
        # Errors of a batch that failed in validation name lines of our file, counted from 1.
        refused_lines = {line for _, _, line in ending.errors if line} if ending.status == "failed" else set()
        results: list[RequestResult] = []
        mended = 0
        for number, (custom_id, request) in enumerate(by_id.items(), 1):
            answered = found.answered.get(custom_id)
            if answered is not None:
                result, mends = answered
                mended += mends
            else:
                failure = found.failed.get(custom_id)
                again, counts, text = why_unanswered(failure, ending, refused=number in refused_lines)
                result = self._unanswered(batch, request, custom_id, again=again, counts=counts, text=text)
            results.append(result)
        odd = (
            ("unknown_custom_id", found.unknown),
            ("repeated_custom_id", found.duplicates),
            ("malformed_line", found.malformed),
            ("missing_line", len(found.missing) if ending.status == "completed" else 0),
        )
        no_credit = (one.message or one.code for one in found.failed.values() if one.code in job.CREDIT_CODES)
        return Decided(results=tuple(results), mended=mended, odd=odd, no_credit=next(no_credit, ""))

    def lose(self, batch: LedgerBatch, requests: Sequence[LedgerRequest]) -> Decided:
        """Give each request its fate where nothing of the batch is to come; its `error` says why."""
        results = [
            self._unanswered(
                batch,
                request,
                batch_lines.custom_id(request.id, request.attempt),
                again=True,
                counts=False,
                text=batch.error or "",
            )
            for request in requests
        ]
        return Decided(results=tuple(results), mended=0, odd=())

    def _answered(
        self, batch: LedgerBatch, request: LedgerRequest, custom_id: str, body: object
    ) -> tuple[RequestResult, int]:
        if request.is_digest:
            return self._accounted(batch, request, custom_id, body), 0
        questions = [
            answers.Asked(signature=signature, holes=holes(template), template=template)
            for signature, template in zip(request.signatures, request.templates, strict=True)
        ]
        reading = answers.read_response(self.task, request.endpoint, body, questions, sent=request.body)
        usage = (reading.usage.input_tokens, reading.usage.cached_tokens, reading.usage.output_tokens)
        cost = pricing.cost(reading.usage, self.prices, batch=True) if self.prices else 0.0
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
            cost_usd=pricing.cost(reading.usage, self.prices, batch=True) if self.prices else 0.0,
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
            answered_at=self.now,
        )


def booked_surplus(batch: LedgerBatch, chunks: Iterable[bytes], prices: Prices | None) -> LedgerBatch:
    """A batch that nobody waits for, with what its result files say that it cost: the first success of each line."""
    usages: dict[str, answers.Usage] = {}
    for line in batch_lines.read_lines(chunks):
        if not line.malformed and batch_lines.failure_of(line) is None:
            usages.setdefault(line.custom_id, answers.read_usage(line.body))
    return replace(
        batch,
        input_tokens=sum(usage.input_tokens for usage in usages.values()),
        cached_tokens=sum(usage.cached_tokens for usage in usages.values()),
        output_tokens=sum(usage.output_tokens for usage in usages.values()),
        cost_usd=sum(pricing.cost(usage, prices, batch=True) for usage in usages.values()) if prices else 0.0,
    )


def why_unanswered(failure: batch_lines.Failure | None, ending: Ending, *, refused: bool) -> tuple[bool, bool, str]:
    """Return (again, counts, text) for a request without a usable line: `core.job.fate_of_unanswered` takes these."""
    if failure is not None:
        again = failure.kind == "again"
        counts = again and failure.code not in _UNCOUNTED_CODES
        return again, counts, f"{failure.code}: {failure.message}" if failure.code else failure.message
    if ending.status == "failed":
        text = ending.errors[0][1] if ending.errors else "the batch failed"
        blamed_others = bool(any(line for _, _, line in ending.errors)) and not refused
        return not refused, not blamed_others, text
    return True, False, f"no line for it in a batch that ended as {ending.status}"
