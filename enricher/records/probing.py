"""Probe: before a large file goes out under a schema that was never answered, one of its requests is asked at once.

A schema that a provider refuses would else cost an upload and hours for as many errors as there are rows. The answer
counts: the item is booked, at the price that asking at once has. Never here: judging answers (`Judge` does).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from enricher.core import job, pricing
from enricher.core.answer import Usage
from enricher.core.ledger import BatchState
from enricher.core.records.chunking import texts_of
from enricher.core.records.ledger import ItemResult
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
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from enricher.core.ledger import LedgerBatch
    from enricher.core.pricing import Prices
    from enricher.core.records.item import Asking
    from enricher.core.records.ledger import Run
    from enricher.ports import BatchClient, Clock, RecordStore, Store
    from enricher.records.planning import Planner

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
        planner: Planner,
    ) -> None:
        """`warn` is told where there is no asking at once, so that nothing was found out."""
        self._store = store
        self._records = records
        self._client = client
        self._clock = clock
        self._asking = asking
        self._prices = prices
        self._warn = warn
        self._planner = planner

    async def probe(self, run: Run) -> Probed | None:
        """Ask, if it is worth it; None if nothing was. Raises PermanentProviderError where the provider refuses it."""
        if run.items <= LEAST_ITEMS or await self._records.has_answers(run.task, run.model):
            return None
        chunks = await self._records.chunk_numbers(run.id)
        planned = await self._planner.plan_first(run, chunks, self._clock.now())
        if planned is None:
            return None
        batch, ref = planned
        row = (await self._records.chunk(run.id, int(ref["chunk"][0]))).values[int(ref["row"][0])]
        text = texts_of(self._asking.task, row)[int(ref["passage"][0])]
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

    async def _book(
        self,
        batch: LedgerBatch,
        ref: NDArray[np.void],
        body: object,
        row: Mapping[str, object],
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
        item, attempt, tries = (int(ref[name][0]) for name in ("item", "attempt", "tries"))
        kept = said.body if isinstance(said.body, bytes) else said.body.encode("utf-8", "surrogatepass")
        result = ItemResult(
            item,
            "again" if reason else "ok",
            attempt,
            tries + bool(reason),
            reason.encode() if reason else kept,
        )
        await self._records.collect(done, [result], self._clock.now())
        return Probed(status=result.status, cost_usd=cost)
