"""What answers teach ingest and plan: a split is asked by value, what fits a matcher is never asked."""

from __future__ import annotations

import json

import pytest

from enricher.core.catalogue import Reuse
from enricher.core.skeleton import SPLIT_FORMAT
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite import SqliteStore
from enricher.stages.plan import PlanSettings, askable, draft
from tests.edges.test_store_catalogue import answered
from tests.edges.test_store_contract import MODEL, TASK
from tests.stages.bench import PRICES
from tests.stages.bench import TASK as LOGS
from tests.stages.test_ingest import World

W = 1_795_352_400  # 2026-11-22T13:00:00Z
LINE = b"2026-11-22T13:%02d:00Z h app: volume %b grew to %d on node\n"


@pytest.fixture
async def world(tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    store = await SqliteStore.open(tmp_path / "state")
    yield await World(directory, store).start()
    await store.close()


async def kinds(world):
    return await world.store.kinds([(W, 0)], TASK, MODEL, world.clock.time, reuse=Reuse())


async def answer_all(world, **changes):
    facts = {"severity": "info", "category": "storage", "summary": "it grew", "slots": ("size",)}
    for kind in await kinds(world):
        body = Answer(**facts | changes).to_json()
        await answered(world.store, kind.signature, template=kind.template, body=body, now=world.clock.time)


def settings(**changes):
    facts = {
        "length_seconds": 3600, "allowed_lateness_seconds": 300, "task": LOGS, "model": MODEL,
        "endpoint": "/v1/responses", "reasoning_effort": "none", "prices": PRICES, "privacy": "redacted",
        "signatures_per_request": 10, "max_requests": 100, "max_bytes": 1_000_000, "max_tokens": 1_000_000,
    }  # fmt: skip
    return PlanSettings(**facts | changes)


async def test_what_fits_a_matcher_joins_unasked_and_what_does_not_is_asked(world):
    world.append("a.log", LINE % (1, b"alpha", 12))
    await world.drain()
    await answer_all(world, matches="volume <*> grew to <*> on node")
    world.append("a.log", LINE % (2, b"beta", 13) + LINE % (3, b"failed", 14))
    await world.drain()
    assert ["volume failed grew to <*> on node"] == [kind.template for kind in await kinds(world)]
    alpha, beta, failed = await world.store.shapes()
    assert (alpha.id, alpha.id, failed.id) == (alpha.root, beta.root, failed.root)
    # A process that starts anew knows it, too.
    await world.start()
    world.append("a.log", LINE % (4, b"gamma", 15))
    await world.drain()
    assert alpha.id == (await world.store.shapes())[-1].root


async def test_events_read_after_a_split_are_asked_by_value_with_their_own_examples(world):
    world.append("a.log", LINE % (1, b"alpha", 12))
    await world.drain()
    await answer_all(world, splits_on="size")
    assert [] == await kinds(world)
    world.append("a.log", b"".join(LINE % (2, b"alpha", size) for size in (0, 5, 7, 0)))
    await world.drain()
    asked = askable(await kinds(world), settings())
    assert {("split", "<1> is 0"), ("split", "<1> is 1 to 9")} == {(kind.reason, kind.where) for kind in asked}
    drafted = await draft(world.store, settings(), asked, [(W, 0)])
    told = json.loads(json.loads(drafted.requests[0].body)["input"][-1]["content"])
    by_where = {one["where"]: one for one in told.values()}
    assert {"volume alpha grew to <1> on node"} == {one["template"] for one in told.values()}
    assert ["volume alpha grew to 0 on node"] == by_where["<1> is 0"]["examples"]
    assert {"volume alpha grew to 5 on node", "volume alpha grew to 7 on node"} == set(
        by_where["<1> is 1 to 9"]["examples"]
    )
    assert 2 == sum(row.shape.format == SPLIT_FORMAT for row in await world.store.shapes())


async def test_where_templates_alone_leave_no_value_is_told_of(world):
    world.append("a.log", LINE % (1, b"alpha", 12))
    await world.drain()
    await answer_all(world, splits_on="size")
    world.append("a.log", LINE % (2, b"alpha", 0) + b"2026-11-22T13:03:00Z h app: request done status=503\n")
    await world.drain()
    asked = askable(await kinds(world), settings(privacy="templates"))
    assert [("new", "http status 5xx")] == [(kind.reason, kind.where) for kind in asked]
    drafted = await draft(world.store, settings(privacy="templates"), asked, [(W, 0)])
    assert b"503" not in b"".join(request.body for request in drafted.requests)
