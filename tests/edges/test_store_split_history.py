"""A digest does not take a split for something that happened: what was split off is not new, its parent not gone."""

from __future__ import annotations

import pytest

from enricher.core.skeleton import Shape
from enricher.core.split import NO_SPLITS, child_shape
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite import SqliteStore
from tests.edges.test_store_catalogue import answered
from tests.edges.test_store_contract import MODEL, NOW, TASK, W0, W1, a_file, plan, spool

PARENT = Shape(format="text", level="ERROR", program="app", skeleton="call ended with code \x01")
OTHER = Shape(format="text", level="ERROR", program="app", skeleton="another kind")


@pytest.fixture
async def store(tmp_path):
    opened = await SqliteStore.open(tmp_path / "state")
    yield opened
    await opened.close()


async def test_what_was_split_off_counts_as_usual_and_its_parent_has_not_vanished(store):
    parent, other = await store.intern_shapes([PARENT, OTHER], NOW)
    await spool(store, [parent, parent, other])
    body = Answer(severity="info", category="other", summary="x", slots=("code",), splits_on="code").to_json()
    await answered(store, PARENT.id, body=body)
    (kind,) = (await store.split_table(NO_SPLITS.revision)).kinds
    shape = child_shape(kind.split, "0")
    (child,) = await store.intern_shapes([shape], NOW)
    await spool(store, [child] * 3, file=a_file(path=b"/b.log", identity="2" * 16), windows=(W1,))
    await plan(store, closed=[(W0, 0), (W1, 0)], name="close", now=NOW + 1)
    found = await store.window_kinds(W1, windows=24, task=TASK, model=MODEL)
    assert {shape.id: 3} == {one.signature: one.events for one in found.counts}
    assert ({PARENT.id: 2, OTHER.id: 1, shape.id: 3},) == tuple(map(dict, found.history))
    assert {OTHER.id} == set(found.gone)
