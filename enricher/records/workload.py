"""The workload of records: the lines of their batches are made from the rows, their answers are judged and kept.

Invariants: a line is a function of the row, the task and the number of its sending; each item of a batch that has ended
gets exactly one result; an answer is believed when it fits the task's schema and passes its checks. Never here: calling
the provider.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from enricher.core import job, pricing
from enricher.core.answer import Usage
from enricher.core.collecting import Collected, Ending, booked_surplus, why_unanswered
from enricher.core.ledger import RequestState
from enricher.core.records.checks import first_fault
from enricher.core.records.chunking import texts_of
from enricher.core.records.item import custom_ids
from enricher.core.records.ledger import REDUCE, ItemResult
from enricher.core.records.response import ResultReader, Said, Strange
from enricher.core.records.task import TEXT_FIELD
from enricher.core.records.validator import validator_of
from enricher.core.redact import clean
from enricher.core.tokens import estimate_tokens
from enricher.records.planning import reduction_texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from enricher.core.ledger import LedgerBatch, Purpose
    from enricher.core.pricing import Prices
    from enricher.core.records.item import Asking
    from enricher.core.records.ledger import Chunk
    from enricher.ports import Clock, RecordStore

_CONTEXT_CODES: Final = frozenset({"context_length_exceeded"})
_MAX_REASON: Final = 300


@dataclass(slots=True)
class _Sums:
    """What a batch used, in all."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0

    def add(self, said: Said) -> None:
        self.input_tokens += said.input_tokens
        self.cached_tokens += said.cached_tokens
        self.cache_write_tokens += said.cache_write_tokens
        self.output_tokens += said.output_tokens

    @property
    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            output_tokens=self.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """The result files of a batch: the line that counts for each request, by its place in the batch."""

    said: Mapping[int, Said]
    odd: tuple[tuple[str, int], ...]


class RecordBatches:
    """Implements `ports.Workload` for the runs of one task and model."""

    purpose: Final[Purpose] = "records"

    def __init__(
        self,
        *,
        store: RecordStore,
        clock: Clock,
        asking: Asking,
        reducing: Asking | None,
        prices: Prices | None,
        ended: Callable[[LedgerBatch, int | None, Counter[str], set[int]], None],
    ) -> None:
        """`ended` is told of each batch that is done: its run, items by status, and its chunks where some are open."""
        self._store = store
        self._clock = clock
        self._asking = asking
        self._reducing = reducing
        self._prices = prices
        self._ended = ended
        self._judge = Judge(asking)

    def takes(self, batch: LedgerBatch) -> bool:
        """Those of this task and model: an answer means nothing to another."""
        return (batch.task, batch.model) == (self._asking.task.hash, self._asking.model)

    # -- lines

    async def lines(self, batch: LedgerBatch) -> AsyncIterator[bytes]:
        """One for each item, made from its row again, for the endpoint that it was planned for."""
        asking = self._asking.at(batch.endpoint)
        reducing = None if self._reducing is None else self._reducing.at(batch.endpoint)
        run, refs = await self._store.batch_items(batch.id)
        for number, group in _by_chunk(refs):
            chunk = await self._store.chunk(run, number)
            if reducing is not None and bool((refs["passage"][group] == REDUCE).any()):
                texts = await reduction_texts(self._store, chunk.index)
            else:
                texts = {}
            yield await asyncio.to_thread(_block, asking, reducing, chunk, refs[group], texts)

    # -- answers

    async def collect(
        self, batch: LedgerBatch, ending: Ending, chunks: Iterable[bytes]
    ) -> tuple[LedgerBatch, Collected]:
        """Read the files, judge what is said of each item, and commit."""
        if batch.is_surplus:
            done = await asyncio.to_thread(booked_surplus, batch, chunks, self._prices)
            await self._store.collect(done, [], self._clock.now())
            self._ended(done, None, Counter(), set())
            return done, Collected(outcomes={})
        run, refs = await self._store.batch_items(batch.id)
        reader = ResultReader(kind=self._asking.task.kind, endpoint=batch.endpoint)
        read = await asyncio.to_thread(_read, reader, refs, chunks)
        results: list[ItemResult] = []
        sums = _Sums()
        for number, group in _by_chunk(refs):
            rows = (await self._store.chunk(run, number)).values if self._asking.task.checks else None
            results += await asyncio.to_thread(self._decide, refs, group, read, ending, rows, sums)
        odd = (*read.odd, ("missing_line", len(refs) - len(read.said) if ending.status == "completed" else 0))
        failures = (one.failure for one in read.said.values() if one.failure is not None)
        no_credit = next((one.message or one.code for one in failures if one.code in job.CREDIT_CODES), "")
        return await self._commit(batch, run, refs, results, sums, odd, no_credit)

    async def lose(self, batch: LedgerBatch) -> tuple[LedgerBatch, Collected]:
        """Have every item asked again that may be."""
        run, refs = await self._store.batch_items(batch.id)
        results = [
            _unanswered(item, attempt, tries, again=True, counts=False, reason=batch.error or "")
            for item, _, _, _, attempt, tries in refs.tolist()
        ]
        return await self._commit(batch, run, refs, results, _Sums(), ())

    def _decide(
        self,
        refs: NDArray[np.void],
        group: slice,
        read: _Read,
        ending: Ending,
        rows: Sequence[Mapping[str, object]] | None,
        sums: _Sums,
    ) -> list[ItemResult]:
        refused_lines = {line for _, _, line in ending.errors if line} if ending.status == "failed" else set()
        results = []
        judge = self._judge.judge
        for at, (item, _, row, passage, attempt, tries) in enumerate(refs[group].tolist(), group.start):
            said = read.said.get(at)
            if said is None or said.failure is not None:
                failure = None if said is None else said.failure
                again, counts, reason = why_unanswered(failure, ending, refused=at + 1 in refused_lines)
                result = _unanswered(item, attempt, tries, again=again, counts=counts, reason=reason)
                if failure is not None and failure.code in _CONTEXT_CODES:
                    result.status = "too_long"
                results.append(result)
                continue
            sums.add(said)
            reason = judge(said, None if rows is None or passage == REDUCE else rows[row])
            if not reason:
                body = said.body if isinstance(said.body, bytes) else said.body.encode("utf-8", "surrogatepass")
                results.append(ItemResult(item, "ok", attempt, tries, body))
                continue
            results.append(_answered_badly(item, attempt, tries, said, reason))
        return results

    async def _commit(
        self,
        batch: LedgerBatch,
        run: int,
        refs: NDArray[np.void],
        results: list[ItemResult],
        sums: _Sums,
        odd: tuple[tuple[str, int], ...],
        no_credit: str = "",
    ) -> tuple[LedgerBatch, Collected]:
        usage = sums.usage
        done = replace(
            batch,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=pricing.cost(usage, self._prices, batch=True) if self._prices else 0.0,
        )
        statuses = Counter(map(_STATUS, results))
        open_chunks: set[int] = set()
        if statuses["again"]:
            is_open = [one.status == "again" for one in results]
            open_chunks |= set(refs["chunk"][is_open].tolist())
        if self._reducing is not None:
            open_chunks |= set(refs["chunk"][refs["passage"] != REDUCE].tolist())
        await self._store.collect(done, results, self._clock.now())
        self._ended(done, run, statuses, open_chunks)
        outcomes = Counter({_STATES.get(status, RequestState.FAILED).value: 0 for status in statuses})
        for status, count in statuses.items():
            outcomes[_STATES.get(status, RequestState.FAILED).value] += count
        return done, Collected(outcomes=outcomes, odd=odd, no_credit=no_credit)


def _block(
    asking: Asking, reducing: Asking | None, chunk: Chunk, refs: NDArray[np.void], reductions: Mapping[int, str | None]
) -> bytes:
    """The lines of some items of a chunk."""
    lines = []
    row_at = -1
    texts: Sequence[str] = ()
    line = asking.line
    for item, _, row, passage, attempt, _ in refs.tolist():
        if passage == REDUCE:
            assert reducing is not None
            lines.append(reducing.line(item, attempt, reductions.get(row) or ""))
            continue
        if row != row_at:
            row_at, texts = row, texts_of(asking.task, chunk.values[row], estimate_tokens)
        lines.append(line(item, attempt, texts[passage]))
    return b"".join(lines)


def _read(reader: ResultReader, refs: NDArray[np.void], chunks: Iterable[bytes]) -> _Read:
    """The first success wins over every other line of an item, as in `core.batch.reconcile`."""
    places = {name: at for at, name in enumerate(custom_ids(refs["item"], refs["attempt"].tolist()))}
    said_of: dict[int, Said] = {}
    strange = Strange()
    unknown = repeated = 0
    for said in reader.read(chunks, strange):
        at = places.get(said.custom_id)
        if at is None:
            unknown += 1
            continue
        before = said_of.setdefault(at, said)
        if before is not said:
            repeated += 1
            if before.failure is not None and said.failure is None:
                said_of[at] = said
    odd = (
        ("unknown_custom_id", unknown),
        ("repeated_custom_id", repeated),
        ("malformed_line", strange.malformed),
    )
    return _Read(said=said_of, odd=odd)


class Judge:
    """Says what is wrong with what was said of an item."""

    def __init__(self, asking: Asking) -> None:
        task = asking.task
        self._kind = task.kind
        self._checks = task.checks
        self._validator = None if task.schema is None else validator_of(task.schema)
        self._decode = msgspec.json.Decoder().decode

    def judge(self, said: Said, row: Mapping[str, object] | None) -> str:
        """Return the reason for which an answer is not believed, "" for one that is.

        A text that no schema was asked for becomes the JSON of `TEXT_FIELD`. `row` is what checks compare with.
        """
        if said.status != "ok":
            return said.reason or said.status
        if self._kind != "answer":
            return ""
        if self._validator is None:
            answer: Any = {TEXT_FIELD: said.body}
            said.body = msgspec.json.encode(answer)
        else:
            try:
                answer = self._decode(said.body)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                return "the text is no JSON"
            if not self._validator.is_valid(answer):
                return _misfit(self._validator, answer)
        if self._checks and row is not None:
            return first_fault(self._checks, answer, row) or ""
        return ""


def _misfit(validator: Any, answer: object) -> str:  # noqa: ANN401 - untyped there
    error = next(iter(validator.iter_errors(answer)), None)
    if error is None:
        return "it does not fit the schema"
    place = ".".join(map(str, error.instance_path)) or "the answer"
    return clean(f"{place}: {error.message}")[:_MAX_REASON]


def _unanswered(item: int, attempt: int, tries: int, *, again: bool, counts: bool, reason: str) -> ItemResult:
    fate = job.fate_of_unanswered(packed=False, again=again, counts=counts, tries=tries, attempt=attempt)
    status = "again" if fate.state is RequestState.AGAIN else fate.status or "error"
    return ItemResult(item, status, attempt, tries + fate.counts, _told(reason))


def _answered_badly(item: int, attempt: int, tries: int, said: Said, reason: str) -> ItemResult:
    status = said.status if said.status != "ok" else "invalid"
    fate = job.fate_of_answered([status], tries=tries)
    status = "again" if fate.state is RequestState.AGAIN else fate.status or "invalid"
    return ItemResult(item, status, attempt, tries + fate.counts, _told(reason))


def _told(reason: str) -> bytes:
    return clean(reason)[:_MAX_REASON].encode("utf-8", "replace")


def _by_chunk(refs: NDArray[np.void]) -> list[tuple[int, slice]]:
    """Cut the places of a batch, in which chunks come one after the other, by their chunk."""
    chunks = refs["chunk"]
    firsts = np.flatnonzero(np.diff(chunks, prepend=-1))
    bounds = [*firsts.tolist(), len(refs)]
    spans = map(slice, bounds, bounds[1:])
    return list(zip(chunks[firsts].tolist(), spans, strict=False))


_STATUS: Final = attrgetter("status")
_STATES: Final = {"ok": RequestState.ANSWERED, "again": RequestState.AGAIN}
