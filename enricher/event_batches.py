"""The workload of events: batches that ask about kinds of event, about windows and about labelled lines.

Their lines come from the ledger's requests; what became of them is decided in `core.collecting` and committed here,
with the batch's end, in one transaction. Never here: calling the provider.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from enricher.core import batch as batch_lines
from enricher.core.collecting import Collected, Decider, booked_surplus
from enricher.core.ledger import DIGEST_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from enricher.core.collecting import Decided, Ending
    from enricher.core.ledger import LedgerBatch, LedgerRequest, Purpose
    from enricher.core.pricing import Prices
    from enricher.core.task import Task
    from enricher.ports import Clock, Store
    from enricher.telemetry import Telemetry

_LINES_PER_BLOCK: Final = 200


class EventBatches:
    """Implements `ports.Workload`."""

    purpose: Final[Purpose] = "events"

    def __init__(self, *, store: Store, clock: Clock, telemetry: Telemetry, task: Task, prices: Prices | None) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._task = task
        self._prices = prices

    def takes(self, batch: LedgerBatch) -> bool:
        """All batches about events are."""
        del batch
        return True

    async def lines(self, batch: LedgerBatch) -> AsyncIterator[bytes]:
        """One for each request, in the order in which they were planned."""
        requests = await self._store.batch_requests(batch.id)
        for first in range(0, len(requests), _LINES_PER_BLOCK):
            block = requests[first : first + _LINES_PER_BLOCK]
            yield b"".join(batch_lines.line(request, request.attempt, request.endpoint) for request in block)

    async def collect(
        self, batch: LedgerBatch, ending: Ending, chunks: Iterable[bytes]
    ) -> tuple[LedgerBatch, Collected]:
        """Decide each request in a worker thread, and commit."""
        if batch.is_surplus:
            done = await asyncio.to_thread(booked_surplus, batch, chunks, self._prices)
            await self._store.collect(done, (), self._clock.now())
            return done, Collected(outcomes={})
        requests = await self._store.batch_requests(batch.id)
        decided = await asyncio.to_thread(self._decider().decide, batch, ending, requests, chunks)
        return await self._commit(batch, requests, decided)

    async def lose(self, batch: LedgerBatch) -> tuple[LedgerBatch, Collected]:
        """Have all asked again that may be."""
        requests = await self._store.batch_requests(batch.id)
        return await self._commit(batch, requests, self._decider().lose(batch, requests))

    def _decider(self) -> Decider:
        return Decider(task=self._task, prices=self._prices, now=self._clock.now())

    async def _commit(
        self, batch: LedgerBatch, requests: Sequence[LedgerRequest], decided: Decided
    ) -> tuple[LedgerBatch, Collected]:
        results = decided.results
        done = replace(
            batch,
            input_tokens=sum(result.usage[0] for result in results),
            cached_tokens=sum(result.usage[1] for result in results),
            output_tokens=sum(result.usage[2] for result in results),
            cost_usd=sum(result.cost_usd for result in results),
        )
        await self._store.collect(done, results, self._clock.now())
        ended = {result.id: result for result in results}
        for request in requests:
            if request.is_digest and (result := ended.get(request.id)) is not None:
                window = request.signatures[0].removeprefix(DIGEST_PREFIX)
                self._telemetry.digest_ended(window=window, outcome=result.state.value, error=result.error)
        return done, decided.collected
