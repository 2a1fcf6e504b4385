"""How the open items of a run become batches, on a real store."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from enricher.core.records.chunking import Chunker
from enricher.core.records.item import Asking
from enricher.core.records.ledger import ItemResult, Run
from enricher.core.records.task import parse_record_task
from enricher.edges.store_sqlite import SqliteStore
from enricher.records.planning import Planner, PlanSettings
from tests.records.desk import LABEL

NOW = 1_795_000_000.0


@pytest.fixture
async def store(tmp_path):
    opened = await SqliteStore.open(tmp_path / "state")
    yield opened
    await opened.close()


class Plans:
    """A run over so many rows, and its planner."""

    def __init__(self, store, **limits):
        self.store = store
        self.asking = Asking(parse_record_task(LABEL, name="mood"), model="m", endpoint="/v1/chat/completions")
        numbers = iter(range(1000))
        settings = {"max_requests": 50_000, "max_bytes": 10**9, "max_tokens": 10**9} | limits
        self.planner = Planner(
            store=store.records,
            ledger=store,
            asking=self.asking,
            reducing=None,
            settings=PlanSettings(prices=None, **settings),
            new_id=lambda: f"job{next(numbers)}",
        )

    async def read(self, rows, *, per_chunk=100):
        run = Run(
            id=0, job="j", task=self.asking.task.hash, model="m", endpoint="/v1/chat/completions", input="in",
            output="out", fingerprint="f",
        )  # fmt: skip
        self.run = replace(run, id=await self.store.records.begin_run(run))
        chunker = Chunker(self.asking)
        for number, first in enumerate(range(0, rows, per_chunk)):
            keys = [str(one) for one in range(first, min(first + per_chunk, rows))]
            values = [{"id": key, "text": f"text {key}"} for key in keys]
            await self.store.records.add_chunks(self.run.id, [chunker.chunk(number, keys, values, {})])
        self.chunks = await self.store.records.chunk_numbers(self.run.id)
        return self

    async def plan(self):
        await self.planner.plan(self.run, self.chunks, NOW)
        return await self.store.batches(("planned",), "records")

    async def end(self, batch, status):
        _, refs = await self.store.records.batch_items(batch.id)
        results = [ItemResult(item, status, attempt, 0, b"{}") for item, _, _, _, attempt, _ in refs.tolist()]
        await self.store.records.collect(batch, results, NOW)


async def test_batches_hold_every_limit_and_every_item_once(store):
    plans = await Plans(store, max_requests=70).read(250)
    batches = await plans.plan()
    assert [70, 70, 70, 40] == [one.requests for one in batches]
    items = [(await store.records.batch_items(one.id))[1]["item"] for one in batches]
    assert 250 == len(np.unique(np.concatenate(items)))
    # What is under way is not planned again.
    assert batches == await plans.plan()


async def test_a_batch_fits_into_the_bytes_and_tokens_that_it_may_have(store):
    plans = await Plans(store, max_bytes=20_000).read(250)
    by_bytes = await plans.plan()
    assert len(by_bytes) > 1
    assert all(one.size_bytes <= 20_000 for one in by_bytes)
    assert 250 == sum(one.requests for one in by_bytes)


async def test_a_batch_fits_into_the_queue_that_the_provider_told_of(store):
    plans = await Plans(store).read(100)
    await store.learn_token_limit("m", 4_000, NOW)
    batches = await plans.plan()
    assert len(batches) > 1
    assert all(one.tokens <= 4_000 for one in batches)


async def test_what_comes_back_without_an_answer_again_and_again_waits_longer_each_time(store):
    plans = await Plans(store).read(5)
    waits = []
    for _ in range(6):
        (batch,) = await plans.plan()
        waits.append(batch.next_at - NOW if batch.next_at else 0.0)
        await plans.end(batch, "again")
    assert [0.0, 0.0, 0.0, 60.0, 120.0, 240.0] == waits
    assert 6 == batch.attempt
    (batch,) = await plans.plan()
    await plans.end(batch, "ok")
    assert [] == await plans.plan()


async def test_the_first_text_alone_is_a_batch_like_any_other_and_the_next_one_while_that_is_under_way(store):
    plans = await Plans(store).read(3, per_chunk=1)
    found = [await plans.planner.plan_first(plans.run, plans.chunks, NOW) for _ in range(4)]
    assert [(0, 1), (1, 1), (2, 1)] == [(ref["chunk"][0], batch.requests) for batch, ref in found[:3]]
    assert found[3] is None
    batches = [batch for batch, _ in found[:3]]
    # As large as its line, so that it may go with the others, under a name of its own.
    assert all(len(plans.asking.line(0, 1, "text 0")) <= one.size_bytes < 1_000 for one in batches)
    assert all(one.tokens > 0 for one in batches)
    assert 3 == len({one.name for one in batches}) == len({one.part for one in batches})
