"""Plan: the items of a run that nobody has an answer for are put into batches, in the order of the rows.

An item is asked once: not where it was answered, in whichever run, nor where a batch that is not done asks it. What is
planned is in the ledger before the next batch is cut, so that memory holds one batch. Never here: a row's text.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from enricher.core import job, pricing
from enricher.core.answer import Usage
from enricher.core.batch import MAX_REQUEST_TOKENS, file_name
from enricher.core.ledger import BatchState, LedgerBatch
from enricher.core.records.combine import reduce_text
from enricher.core.records.item_set import ItemSet
from enricher.core.records.ledger import FINAL, ITEM_REF, REDUCE
from enricher.core.tokens import estimate_tokens
from enricher.core.window import window_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from enricher.core.pricing import Prices
    from enricher.core.records.item import Asking
    from enricher.core.records.ledger import Index, Known, Run
    from enricher.ports import RecordStore, Store

_HOUR: Final = 3600
# What the answers to passages take in a request about all of them.
_BYTES_PER_TOKEN: Final = 5
_AROUND_AN_ANSWER_BYTES: Final = 40
_MOST_OF_THE_QUEUE: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """Limits of a batch file, and prices."""

    max_requests: int
    max_bytes: int
    max_tokens: int
    prices: Prices | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What asking the open items of a run takes; tokens from above."""

    rows: int
    faults: int
    """Rows that are not asked about."""
    requests: int
    input_tokens: int
    output_tokens: int
    likely_usd: float
    """With answers of the usual length."""
    most_usd: float
    """With answers of full length."""
    on_demand_usd: float
    reasons: Mapping[str, int]
    """Items by why they are asked."""

    def to_json(self) -> dict[str, object]:
        """For a program."""
        return asdict(self) | {"reasons": dict(self.reasons)}


class Planner:
    """Cuts the batches of one run."""

    def __init__(
        self,
        *,
        store: RecordStore,
        ledger: Store,
        asking: Asking,
        reducing: Asking | None,
        settings: PlanSettings,
        new_id: Callable[[], str],
        turn: asyncio.Lock | None = None,
    ) -> None:
        """Those that go at once on one store share `turn`: a number that no file has is looked for, then taken."""
        self._store = store
        self._ledger = ledger
        self._asking = asking
        self._reducing = reducing
        self._settings = settings
        self._new_id = new_id
        self._turn = turn or asyncio.Lock()
        self._constant_tokens = estimate_tokens(asking.constant_text) + 24

    async def plan(self, run: Run, chunks: Iterable[int], now: float) -> int:
        """Plan what is open in these chunks; how many requests that were."""
        taken = await self._under_way()
        limit = await self._ledger.token_limit(run.model, now)
        most_tokens = min(self._settings.max_tokens, int(limit * _MOST_OF_THE_QUEUE) if limit else 10**12)
        waiting: list[NDArray[np.void]] = []
        sizes: list[NDArray[np.int64]] = []
        planned = 0
        for number in sorted(chunks):
            refs, own_sizes = await self.open_items(run, number, taken)
            if not len(refs):
                continue
            taken.add(refs["item"].copy())
            waiting.append(refs)
            sizes.append(own_sizes)
            planned += len(refs)
            while (cut := self._full(run, waiting, sizes, most_tokens)) is not None:
                await self._commit(run, cut, now)
        if waiting:
            await self._commit(run, (np.concatenate(waiting), np.concatenate(sizes)), now)
        return planned

    async def plan_first(
        self, run: Run, chunks: Iterable[int], now: float
    ) -> tuple[LedgerBatch, NDArray[np.void]] | None:
        """Plan the first text that is open in these chunks alone; None where none is. Returns the batch, and its item.

        What is under way already, since a run before was killed, is not paid for a second time.
        """
        taken = await self._under_way()
        for number in sorted(chunks):
            refs, sizes = await self.open_items(run, number, taken)
            places = np.flatnonzero(refs["passage"] != REDUCE)[:1]
            if len(places):
                return await self._commit(run, (refs[places], sizes[places]), now), refs[places]
        return None

    async def _under_way(self) -> ItemSet:
        taken = ItemSet()
        taken.add(await self._store.live_items())
        return taken

    async def estimate(self, run: Run, chunks: Iterable[int]) -> Estimate:
        """Sum up what is open in these chunks, and plan nothing."""
        taken = await self._under_way()
        requests = size = 0
        reasons: dict[str, int] = {}
        for number in sorted(chunks):
            refs, sizes = await self.open_items(run, number, taken)
            taken.add(refs["item"].copy())
            requests += len(refs)
            size += int(sizes.sum()) - len(refs) * self._asking.line_bytes
            ahead, ahead_bytes = await self._reductions_ahead(run, number, refs)
            requests += ahead
            size += ahead_bytes
            failed_before = int((refs["attempt"] > 1).sum())
            for name, count in (("failed", failed_before), ("new", len(refs) + ahead - failed_before)):
                if count:
                    reasons[name] = reasons.get(name, 0) + count
        tokens = self._tokens(run, requests, size)
        task, prices = self._asking.task, self._settings.prices or pricing.FREE
        likely = Usage(input_tokens=tokens, output_tokens=task.answer_tokens * requests)
        return Estimate(
            rows=run.rows,
            faults=run.faults,
            requests=requests,
            input_tokens=tokens,
            output_tokens=likely.output_tokens,
            likely_usd=pricing.cost(likely, prices, batch=True),
            most_usd=pricing.reserve(tokens, task, requests, prices),
            on_demand_usd=pricing.cost(likely, prices, batch=False),
            reasons=reasons,
        )

    async def _reductions_ahead(self, run: Run, number: int, refs: NDArray[np.void]) -> tuple[int, int]:
        """How many rows are asked about as a whole once the passages here are answered, and about how many bytes."""
        long = self._asking.task.long
        if long is None or long.combine.reduce is None:
            return 0, 0
        counts = (await self._store.chunk_index(run.id, number)).counts
        rows = np.unique(refs["row"][refs["passage"] != REDUCE])
        rows = rows[counts[rows] > 1]
        per_answer = self._asking.task.answer_tokens * _BYTES_PER_TOKEN + _AROUND_AN_ANSWER_BYTES
        return len(rows), int(counts[rows].sum()) * per_answer

    def _tokens(self, run: Run, requests: int, text_bytes: int) -> int:
        return int(text_bytes * run.tokens_per_byte) + requests * self._constant_tokens

    async def open_items(self, run: Run, number: int, taken: ItemSet) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        """Items of a chunk that are to be asked, each once, and the bytes of their lines."""
        index = await self._store.chunk_index(run.id, number)
        known = await self._store.known(index.items.tolist())
        refs = np.zeros(len(index.items), dtype=ITEM_REF)
        refs["item"], refs["chunk"] = index.items, number
        refs["row"], refs["passage"], refs["attempt"] = index.rows, index.passages, 1
        is_open = ~taken.has(index.items)
        _, firsts = np.unique(index.items, return_index=True)
        once = np.zeros(len(refs), dtype=np.bool_)
        once[firsts] = True
        is_open &= once
        if known:
            _mark_known(refs, is_open, known, run.id)
        sizes = index.sizes.astype(np.int64) + self._asking.line_bytes
        refs, sizes = refs[is_open], sizes[is_open]
        if self._reducing is not None and bool((index.counts > 1).any()):
            reduced, reduced_sizes = await self._reductions(run, number, index, taken)
            refs, sizes = np.concatenate((refs, reduced)), np.concatenate((sizes, reduced_sizes))
        return refs, sizes

    async def _reductions(
        self, run: Run, number: int, index: Index, taken: ItemSet
    ) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        """Rows whose passages are all answered, and that are to be asked about as a whole."""
        assert self._reducing is not None
        texts = {row: text for row, text in (await reduction_texts(self._store, index)).items() if text is not None}
        items = {self._reducing.item(text): row for row, text in texts.items()}
        known = await self._store.known(list(items))
        refs = np.zeros(len(items), dtype=ITEM_REF)
        refs["item"], refs["row"] = list(items), list(items.values())
        refs["chunk"], refs["passage"], refs["attempt"] = number, REDUCE, 1
        is_open = ~taken.has(refs["item"].copy())
        _mark_known(refs, is_open, known, run.id)
        sizes = np.array(
            [len(self._reducing.encoded(texts[row])) + self._reducing.line_bytes for row in items.values()],
            dtype=np.int64,
        )
        return refs[is_open], sizes[is_open]

    def _full(
        self,
        run: Run,
        waiting: list[NDArray[np.void]],
        sizes: list[NDArray[np.int64]],
        most_tokens: int,
    ) -> tuple[NDArray[np.void], NDArray[np.int64]] | None:
        """Take one full batch off what waits; None while there is none."""
        settings = self._settings
        refs, own = np.concatenate(waiting), np.concatenate(sizes)
        room = np.cumsum(own) <= settings.max_bytes
        texts = np.cumsum(own - self._asking.line_bytes) * run.tokens_per_byte
        room &= texts + np.arange(1, len(own) + 1) * self._constant_tokens <= most_tokens
        room[settings.max_requests :] = False
        # A single item over a limit goes alone: its provider says what it thinks of it.
        cut = max(1, int(room.sum()))
        if cut == len(refs):
            return None
        waiting[:], sizes[:] = [refs[cut:]], [own[cut:]]
        return refs[:cut], own[:cut]

    async def _commit(self, run: Run, cut: tuple[NDArray[np.void], NDArray[np.int64]], now: float) -> LedgerBatch:
        refs, sizes = cut
        async with self._turn:
            return await self._put(run, refs, sizes, now)

    async def _put(self, run: Run, refs: NDArray[np.void], sizes: NDArray[np.int64], now: float) -> LedgerBatch:
        window = int(now) // _HOUR * _HOUR
        part = await self._ledger.next_part(window)
        attempt = int(refs["attempt"].max())
        tokens = self._tokens(run, len(refs), int(sizes.sum()) - len(refs) * self._asking.line_bytes)
        batch = LedgerBatch(
            id=0,
            name=f"records-{file_name(window_id(window, _HOUR), part, attempt)}",
            job=self._new_id(),
            window=window,
            part=part,
            attempt=attempt,
            windows=0,
            task=run.task,
            model=run.model,
            endpoint=self._asking.endpoint,
            state=BatchState.PLANNED,
            requests=len(refs),
            size_bytes=int(sizes.sum()),
            tokens=min(tokens, MAX_REQUEST_TOKENS * len(refs)),
            reserved_usd=pricing.reserve(tokens, self._asking.task, len(refs), self._settings.prices),
            planned_at=now,
            next_at=now + wait if (wait := job.resend_wait_seconds(attempt - 1)) else 0.0,
            purpose="records",
        )
        return (await self._store.plan_batches(run.id, [(batch, refs)]))[0]


def _mark_known(refs: NDArray[np.void], is_open: NDArray[np.bool_], known: Mapping[int, Known], run: int) -> None:
    """Close what has an answer, or none for good in this run; number the next sending of the others."""
    for at, item in enumerate(refs["item"].tolist()):
        one = known.get(item)
        if one is None:
            continue
        if one.status == "ok" or (one.status in FINAL and one.run == run):
            is_open[at] = False
        else:
            refs["attempt"][at] = min(one.attempt + 1, 65_535)
            refs["tries"][at] = one.tries if one.run == run else 0


async def reduction_texts(store: RecordStore, index: Index) -> dict[int, str | None]:
    """What a second request says of each row with several passages; None where one of them has no answer."""
    is_long = index.counts > 1
    answers = iter(await store.answers(index.items[np.repeat(is_long, index.counts)].tolist()))
    texts: dict[int, str | None] = {}
    for row in np.flatnonzero(is_long).tolist():
        found = list(islice(answers, int(index.counts[row])))
        bodies = [msgspec.json.decode(one.body) for one in found if one is not None and one.status == "ok"]
        texts[row] = reduce_text(bodies) if len(bodies) == len(found) else None
    return texts
