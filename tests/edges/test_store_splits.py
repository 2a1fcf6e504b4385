"""What the store does for split signatures: kept from answers, served by the parent, asked, ended, passed on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enricher.core.catalogue import ExportedAnswer, Listing, Reuse, Selection
from enricher.core.merge import Merge
from enricher.core.skeleton import Shape
from enricher.core.split import NO_SPLITS, child_shape
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite import SqliteStore
from tests.edges.test_store_catalogue import answered, kinds_of
from tests.edges.test_store_contract import MODEL, NOW, TASK, W1, a_file, plan, spool, statuses

PARENT = Shape(format="text", level="ERROR", program="app", skeleton="call to \x01 ended with code \x01")


@pytest.fixture
async def store(tmp_path):
    opened = await SqliteStore.open(tmp_path / "state")
    yield opened
    await opened.close()


def said(**changes):
    facts = {"severity": "info", "category": "network", "summary": "a call ended", "slots": ("callee", "code")}
    return Answer(**facts | {"splits_on": "code"} | changes)


async def a_split_parent(store):
    """The parent was read in W0 and answered; gives its row id."""
    (row,) = await store.intern_shapes([PARENT], NOW)
    await spool(store, [row])
    await answered(store, PARENT.id, body=said().to_json())
    return row


async def a_child(store, bucket="not 0", *, windows=(W1,)):
    """A child that was read; gives its shape and row id."""
    (kind,) = (await store.split_table(NO_SPLITS.revision)).kinds
    shape = child_shape(kind.split, bucket)
    (row,) = await store.intern_shapes([shape], NOW)
    await spool(store, [row], file=a_file(path=b"/b.log", identity="2" * 16), windows=windows)
    return shape, row


async def asked(store, pane=(W1, 0)):
    return {one.signature: one for one in await store.kinds([pane], TASK, MODEL, NOW, reuse=Reuse())}


async def test_a_split_is_kept_with_the_template_that_was_asked(store):
    assert await store.split_table(NO_SPLITS.revision) is None
    row = await a_split_parent(store)
    table = await store.split_table(NO_SPLITS.revision)
    (kind,) = table.kinds
    assert (PARENT.id, "code", 2, PARENT.template) == (
        kind.split.signature, kind.split.slot, kind.split.hole, kind.split.template
    )  # fmt: skip
    assert ((row,), {}) == (kind.shapes, kind.children)
    assert await store.split_table(table.revision) is None


async def test_an_answer_without_a_split_or_with_slots_of_another_template_splits_nothing(store):
    (name,) = await kinds_of(store, "a")
    await answered(store, name)
    await store.intern_shapes([PARENT], NOW)
    await answered(store, PARENT.id, body=said(slots=("code",)).to_json(), now=NOW + 1)
    assert await store.split_table(NO_SPLITS.revision) is None


async def test_the_first_split_stands_whatever_a_later_answer_says(store):
    await a_split_parent(store)
    await answered(store, PARENT.id, body=said(splits_on="callee").to_json(), now=NOW + 1)
    await answered(store, PARENT.id, body=said(splits_on=None).to_json(), now=NOW + 2)
    (kind,) = (await store.split_table(NO_SPLITS.revision)).kinds
    assert "code" == kind.split.slot


async def test_a_child_is_asked_and_served_by_the_parents_answer_until_it_has_its_own(store):
    await a_split_parent(store)
    shape, _ = await a_child(store)
    (kind,) = (await asked(store)).values()
    assert (shape.id, "split", "<2> is not 0", PARENT.template) == (
        kind.signature, kind.reason, kind.where, kind.template
    )  # fmt: skip
    await plan(store, closed=[(W1, 0)], name="close", now=NOW + 200)
    (outcome,) = await store.undecided((W1, 0))
    assert (shape.id, "cached", PARENT.id) == (outcome.signature, outcome.status, outcome.answer.signature)

    await answered(store, shape.id, body=said(severity="error", splits_on=None).to_json(), now=NOW + 300)
    (outcome,) = await store.undecided((W1, 0))
    assert (shape.id, shape.id) == (outcome.signature, outcome.answer.signature)
    assert {} == await asked(store)


async def test_a_child_is_listed_by_the_severity_of_the_answer_that_serves_it(store):
    await a_split_parent(store)
    shape, _ = await a_child(store)

    async def listed(**asked):
        return {one.signature for one in await store.entries(Listing(limit=10, **asked), TASK, MODEL)}

    assert {PARENT.id, shape.id} == await listed(severity="info") == await listed(sort="severity")
    await answered(store, shape.id, body=said(severity="error", splits_on=None).to_json(), now=NOW + 300)
    assert ({PARENT.id}, {shape.id}) == (await listed(severity="info"), await listed(severity="error"))


async def test_a_child_that_was_asked_in_vain_is_served_by_the_parent_and_not_asked_again(store):
    await a_split_parent(store)
    shape, _ = await a_child(store)
    await answered(store, shape.id, status="invalid", body="", now=NOW + 300)
    assert {} == await asked(store)
    await plan(store, closed=[(W1, 0)], name="close", now=NOW + 400)
    assert {shape.id: "cached"} == statuses(await store.undecided((W1, 0)))


async def test_a_child_has_no_children(store):
    await a_split_parent(store)
    shape, _ = await a_child(store)
    await answered(store, shape.id, body=said().to_json(), now=NOW + 300)
    (kind,) = (await store.split_table(NO_SPLITS.revision)).kinds
    assert PARENT.id == kind.split.signature


async def test_children_and_what_is_merged_into_the_parent_are_known_by_the_table(store):
    parent = await a_split_parent(store)
    before = await store.split_table(NO_SPLITS.revision)
    shape, child = await a_child(store)
    (other,) = await store.intern_shapes(
        [Shape(format="text", level="ERROR", program="b", skeleton="call to \x01 ended")], NOW
    )
    await store.commit_merges([Merge(members=(parent, other), template=PARENT.template)], NOW)
    (kind,) = (await store.split_table(before.revision)).kinds
    assert ({parent, other}, {"not 0": child}) == (set(kind.shapes), kind.children)
    assert shape.id == (await store.shapes([child]))[0].shape.id


async def test_when_the_answer_is_forgotten_the_signature_is_whole_again(store):
    await a_split_parent(store)
    before = await store.split_table(NO_SPLITS.revision)
    await store.forget(Selection(signatures=(PARENT.id,)))
    assert () == (await store.split_table(before.revision)).kinds
    await answered(store, PARENT.id, body=said(splits_on="callee").to_json(), now=NOW + 1)
    (kind,) = (await store.split_table(before.revision)).kinds
    assert "callee" == kind.split.slot


async def test_a_signature_that_is_split_anew_under_another_template_renews_its_children(store):
    parent = await a_split_parent(store)
    shape, row = await a_child(store)
    await answered(store, shape.id, body=said(splits_on=None).to_json(), now=NOW + 1)
    await store.forget(Selection(signatures=(PARENT.id,)))
    (other,) = await store.intern_shapes([replace(PARENT, program="b")], NOW)
    await store.commit_merges([Merge(members=(parent, other), template="call <*> <*> ended with code <*>")], NOW)
    await answered(store, PARENT.id, body=said(slots=("verb", "callee", "code")).to_json(), now=NOW + 2)
    (kind,) = (await store.split_table(NO_SPLITS.revision)).kinds
    (child,) = await store.shapes([row])
    assert ({"not 0": row}, 3) == (kind.children, kind.split.hole)
    assert (shape.id, "call <*> <*> ended with code <*>") == (child.shape.id, child.template)
    (asked_now,) = (await asked(store)).values()
    assert ("split", "<3> is not 0") == (asked_now.reason, asked_now.where)


async def test_an_imported_answer_splits_too(store):
    await store.intern_shapes([PARENT], NOW)
    given = ExportedAnswer(
        signature=PARENT.id, level="ERROR", program="app", template=PARENT.template, events=1, first_seen_at=NOW,
        last_seen_at=NOW, task=TASK, model=MODEL, served_model=MODEL, batch_id="", answered_at=NOW, origin="asked",
        answer=said(),
    )  # fmt: skip
    await store.import_answers([given], keep=False, now=NOW)
    (kind,) = (await store.split_table(NO_SPLITS.revision)).kinds
    assert PARENT.id == kind.split.signature


async def test_a_split_that_came_with_a_file_holds_from_the_first_time_that_the_kind_is_read(store):
    given = ExportedAnswer(
        signature=PARENT.id, level="ERROR", program="app", template=PARENT.template, events=1, first_seen_at=NOW,
        last_seen_at=NOW, task=TASK, model=MODEL, served_model=MODEL, batch_id="", answered_at=NOW, origin="asked",
        answer=said(),
    )  # fmt: skip
    await store.import_answers([given], keep=False, now=NOW)
    before = await store.split_table(NO_SPLITS.revision)
    assert [()] == [kind.shapes for kind in before.kinds]
    (row,) = await store.intern_shapes([PARENT], NOW)
    (kind,) = (await store.split_table(before.revision)).kinds
    assert (row,) == kind.shapes


async def test_a_parent_shows_its_children_and_a_child_its_parent(store):
    await a_split_parent(store)
    shape, row = await a_child(store)
    shown = await store.detail(PARENT.id, TASK, MODEL)
    (part,), (revision,) = shown.parts, shown.splits
    assert (shape.id, "code", "not 0", row, 1, None) == (
        part.signature, part.slot, part.bucket, part.shape, part.events, part.answer
    )  # fmt: skip
    assert ("code", PARENT.template) == (revision.slot, revision.template)
    assert (PARENT.id, "code", "not 0") == (await store.detail(shape.id, TASK, MODEL)).parent
    await answered(store, shape.id, body=said(severity="error", splits_on=None).to_json(), now=NOW + 300)
    (part,) = (await store.detail(PARENT.id, TASK, MODEL)).parts
    assert shape.id == part.answer.signature


async def test_splits_are_carried_over_to_another_store(store, tmp_path):
    await a_split_parent(store)
    table = await store.split_table(NO_SPLITS.revision)
    other = await SqliteStore.open(tmp_path / "other")
    try:
        await other.save_splits([kind.split for kind in table.kinds], NOW)
        await other.save_splits([kind.split for kind in table.kinds], NOW)
        (row,) = await other.intern_shapes([PARENT], NOW)
        (kind,) = (await other.split_table(NO_SPLITS.revision)).kinds
    finally:
        await other.close()
    assert (table.kinds[0].split, (row,)) == (kind.split, kind.shapes)
