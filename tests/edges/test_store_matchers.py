"""What the store does for matchers: a signature and its answer widened together, its like joined, shown, forgotten."""

from __future__ import annotations

import pytest

from enricher.core.catalogue import Selection
from enricher.core.merge import Merge
from enricher.core.skeleton import Shape
from enricher.core.split import NO_SPLITS
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite import SqliteStore
from tests.edges.test_store_catalogue import answered
from tests.edges.test_store_contract import MODEL, NOW, TASK, a_request, a_result, an_answer, plan, spool

WIDER = "volume <*> grew to <*> on node"


def a_shape(word, **changes):
    facts = {"format": "text", "level": "INFO", "program": "app", "skeleton": f"volume {word} grew to \x01 on node"}
    return Shape(**facts | changes)


def said(**changes):
    facts = {"severity": "info", "category": "storage", "summary": "it grew to {size}", "slots": ("size",)}
    return Answer(**facts | {"matches": WIDER} | changes).to_json()


@pytest.fixture
async def store(tmp_path):
    opened = await SqliteStore.open(tmp_path / "state")
    yield opened
    await opened.close()


async def read(store, *shapes):
    rows = await store.intern_shapes(list(shapes), NOW)
    await spool(store, rows)
    return rows


async def test_a_signature_and_its_answer_are_widened_together(store):
    (row,) = await read(store, a_shape("alpha"))
    await answered(store, a_shape("alpha").id, template=a_shape("alpha").template, body=said(splits_on="size"))
    table = await store.matcher_table(0)
    (matcher,) = table.matchers
    assert (row, WIDER, (1,), "INFO", "app") == (
        matcher.row, matcher.template, matcher.open, matcher.level, matcher.program
    )  # fmt: skip
    detail = await store.detail(a_shape("alpha").id, TASK, MODEL)
    assert (WIDER, ("p1", "size")) == (detail.entry.template, Answer.from_json(detail.entry.answer.body).slots)
    assert [WIDER] == [one.template for one in detail.matchers]
    assert [WIDER] == [one.template for one in detail.revisions]
    (kind,) = (await store.split_table(NO_SPLITS.revision)).kinds
    assert (WIDER, 2) == (kind.split.template, kind.split.hole)
    assert await store.matcher_table(table.revision) is None


async def test_a_template_that_the_signature_has_outgrown_is_dropped(store):
    rows = await read(store, a_shape("alpha"), a_shape("beta"))
    await store.commit_merges([Merge(members=tuple(rows), template=WIDER)], NOW)
    await answered(store, a_shape("alpha").id, template=a_shape("alpha").template, body=said(slots=("volume", "size")))
    assert await store.matcher_table(0) is None
    (answer,) = (await store.detail(a_shape("alpha").id, TASK, MODEL)).answers
    assert None is Answer.from_json(answer.body).matches


async def ask_together(store, *bodies):
    shapes = [a_shape(word) for word in ("alpha", "beta")]
    request = a_request(*(shape.id for shape in shapes))
    batch = await plan(store, request, name="together")
    given = zip(shapes, bodies, strict=True)
    answers = [an_answer(shape.id, body=body, template=shape.template) for shape, body in given]
    await store.collect(batch, [a_result(request, *answers)], NOW)


@pytest.mark.parametrize(
    ("second", "roots"),
    [
        (said(), 1),
        (said(severity="error"), 2),  # their answers disagree
        (said(matches=None), 2),  # only one of them was widened
    ],
)
async def test_of_signatures_answered_together_those_of_one_template_that_agree_are_one(store, second, roots):
    rows = await read(store, a_shape("alpha"), a_shape("beta"))
    await ask_together(store, said(), second)
    assert roots == len({one.root for one in await store.shapes(rows)})


async def test_a_matcher_of_a_forgotten_answer_is_of_no_use(store):
    await read(store, a_shape("alpha"))
    await answered(store, a_shape("alpha").id, template=a_shape("alpha").template, body=said())
    await store.forget(Selection(signatures=(a_shape("alpha").id,)))
    assert () == (await store.matcher_table(0)).matchers
