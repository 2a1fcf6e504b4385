"""Probe: before a large file goes out under a schema that was never answered, one of its requests is asked at once.

A schema that a provider refuses would else cost an upload and hours for as many errors as there are rows. The answer
counts: the item is booked, at the price that asking at once has. Never here: judging answers (`Judge` does).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core import job, pricing
from enricher.core.answer import Usage
from enricher.core.ledger import BatchState, LedgerBatch
from enricher.core.records.chunking import texts_of
from enricher.core.records.ledger import ITEM_REF, ItemResult
from enricher.core.records.response import ResultReader
from enricher.errors import (
    NotFoundProviderError,
    PermanentProviderError,
    ProviderError,
    TransientProviderError,
    UnclearProviderError,
)
from enricher.records.workload import Judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from enricher.core.pricing import Prices
    from enricher.core.records.item import Asking
    from enricher.core.records.ledger import Run
    from enricher.ports import BatchClient, Clock, RecordStore, Store

LEAST_ITEMS: Final = 1_000
"""A run of no more items is its own probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What asking at once came to."""

    status: str
    cost_usd: float


class Probe:
    """Asks the first item of a run at once."""

    def __init__(
        self,
        *,
        store: Store,
        records: RecordStore,
        client: BatchClient,
        clock: Clock,
        asking: Asking,
        prices: Prices | None,
        warn: Callable[[str], None],
        new_id: Callable[[], str],
    ) -> None:
        """`warn` is told where there is no asking at once, so that nothing was found out."""
        self._store = store
        self._records = records
        self._client = client
        self._clock = clock
        self._asking = asking
        self._prices = prices
        self._warn = warn
        self._new_id = new_id

    async def probe(self, run: Run) -> Probed | None:
        """Ask, if it is worth it; None if nothing was. Raises PermanentProviderError where the provider refuses it."""
        if run.items <= LEAST_ITEMS or await self._records.has_answers(run.task, run.model):
            return None
        found = await self._first_open(run)
        if found is None:
            return None
        row, ref, text = found
        batch = await self._begin(run, ref)
        try:
            body = await self._client.ask(self._asking.endpoint, self._asking.body(text, self._asking.reasoning_effort))
        except (NotFoundProviderError, TransientProviderError, UnclearProviderError, PermanentProviderError) as error:
            # A model that nobody knows is a 404, too.
            is_refusal = isinstance(error, PermanentProviderError) or error.code in job.CONFIGURATION_CODES
            if not is_refusal:
                # It stays planned, and goes with the others.
                self._warn(str(error))
                return None
            await self._store.skip_batch(batch, str(error), self._clock.now())
            raise PermanentProviderError(
                f"the provider refuses what the task {self._asking.task.name!r} asks: {error}",
                code=error.code,
                hint="nothing was uploaded; mend the task's schema or parameters, or the model",
            ) from None
        except ProviderError as error:
            await self._store.skip_batch(batch, str(error), self._clock.now())
            raise
        return await self._book(batch, ref, body, row)

    async def _first_open(
        self, run: Run
    ) -> tuple[dict[str, object], np.ndarray[tuple[int], np.dtype[np.void]], str] | None:
        for number in (await self._records.chunk_numbers(run.id))[:1]:
            chunk = await self._records.chunk(run.id, number)
            places = np.flatnonzero(chunk.index.counts)
            first = chunk.index.items[:1]
            # What is under way already, since a run before was killed, is not paid for a second time.
            is_open = len(places) and not np.isin(first, await self._records.live_items())
            if is_open and not await self._records.known(first.tolist()):
                at = int(places[0])
                ref = np.zeros(1, dtype=ITEM_REF)
                ref["item"], ref["chunk"], ref["row"], ref["attempt"] = chunk.index.items[0], number, at, 1
                row = dict(chunk.values[at])
                return row, ref, texts_of(self._asking.task, row)[0]
        return None

    async def _begin(self, run: Run, ref: np.ndarray[tuple[int], np.dtype[np.void]]) -> LedgerBatch:
        now = self._clock.now()
        name = f"records-probe-{run.id}.jsonl"
        batch = LedgerBatch(
            id=0,
            name=name,
            job=self._new_id(),
            window=int(now) // 3600 * 3600,
            part=await self._store.next_part(int(now) // 3600 * 3600),
            attempt=1,
            windows=0,
            task=run.task,
            model=run.model,
            endpoint=run.endpoint,
            state=BatchState.PLANNED,
            requests=1,
            size_bytes=0,
            tokens=0,
            reserved_usd=0.0,
            planned_at=now,
            purpose="records",
        )
        return (await self._records.plan_batches(run.id, [(batch, ref)]))[0]

    async def _book(
        self,
        batch: LedgerBatch,
        ref: np.ndarray[tuple[int], np.dtype[np.void]],
        body: object,
        row: dict[str, object],
    ) -> Probed:
        reader = ResultReader(kind=self._asking.task.kind, endpoint=self._asking.endpoint)
        said = reader.read_body(body)
        reason = Judge(self._asking).judge(said, row)
        usage = Usage(
            input_tokens=said.input_tokens,
            cached_tokens=said.cached_tokens,
            cache_write_tokens=said.cache_write_tokens,
            output_tokens=said.output_tokens,
        )
        cost = pricing.cost(usage, self._prices, batch=False) if self._prices else 0.0
        done = replace(
            batch,
            state=BatchState.DONE,
            outcome="completed",
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=cost,
        )
        item = int(ref["item"][0])
        kept = said.body if isinstance(said.body, bytes) else said.body.encode("utf-8", "surrogatepass")
        result = ItemResult(
            item,
            "again" if reason else "ok",
            1,
            int(bool(reason)),
            reason.encode() if reason else kept,
        )
        await self._records.collect(done, [result], self._clock.now())
        return Probed(status=result.status, cost_usd=cost)
