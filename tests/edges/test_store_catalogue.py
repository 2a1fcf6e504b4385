"""What the store does for the catalogue: renewing, pinning, skipping, listing, passing on, on a file on disk."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enricher.core.breaker import COARSE_FORMAT, Breaker
from enricher.core.catalogue import ExportedAnswer, Listing, Reuse, Selection, exported
from enricher.core.merge import Merge
from enricher.core.skeleton import Shape
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite import SqliteStore, catalogue, merges
from tests.edges.test_store_contract import (
    MODEL,
    NOW,
    TASK,
    W0,
    W1,
    a_request,
    a_result,
    a_shape,
    an_answer,
    plan,
    spool,
    statuses,
)

DAY = 86_400.0


@pytest.fixture
async def store(tmp_path):
    opened = await SqliteStore.open(tmp_path / "state")
    yield opened
    await opened.close()


def body(severity="info", category="network", **more) -> str:
    return Answer(severity=severity, category=category, summary="something happened", **more).to_json()


async def answered(store, signature, *, name=None, now=NOW, **changes):
    """Ask about a signature and collect the answer."""
    request = a_request(signature, task=changes.get("task", TASK))
    batch = await plan(store, request, name=name or f"{signature}-{now}", now=now)
    facts = {"answered_at": now, "body": body(), **changes}
    await store.collect(batch, [a_result(request, an_answer(signature, **facts))], now)


async def kinds_of(store, *words):
    """Shapes that were read in the window W0; their ids."""
    shapes = [a_shape(word) for word in words]
    rows = await store.intern_shapes(shapes, NOW)
    await spool(store, rows)
    return [shape.id for shape in shapes]


async def reasons(store, *, task=TASK, model=MODEL, now=NOW, window=W0, **reuse):
    kinds = await store.kinds([(window, 0)], task, model, now, reuse=Reuse(**reuse))
    assert {kind.signature: kind.reason for kind in kinds} == await store.reasons(
        [kind.signature for kind in kinds], task, model, now, reuse=Reuse(**reuse)
    )
    return {kind.signature: kind.reason for kind in kinds}


# ---------------------------------------------------------------- renewing


async def test_an_answer_that_is_too_old_is_asked_again_and_serves_meanwhile(store):
    (name,) = await kinds_of(store, "a")
    await answered(store, name)
    month = {"expire_seconds": 30 * DAY}
    assert {} == await reasons(store, now=NOW + 29 * DAY, **month)
    assert {name: "expired"} == await reasons(store, now=NOW + 31 * DAY, **month)
    assert {} == await reasons(store, now=NOW + 31 * DAY)
    await plan(store, closed=[(W0, 0)], name="none", now=NOW + 31 * DAY)
    assert {name: "cached"} == statuses(await store.undecided((W0, 0)))


async def test_a_changed_task_asks_anew_only_where_it_is_told_to(store):
    (name,) = await kinds_of(store, "a")
    await answered(store, name)
    assert {} == await reasons(store, task="newer")
    assert {name: "task_changed"} == await reasons(store, task="newer", on_change="reask")
    await answered(store, name, task="newer", now=NOW + 1)
    assert {} == await reasons(store, task="newer", on_change="reask")


async def test_a_renewal_in_vain_leaves_the_old_answer_and_is_not_paid_again(store):
    (name,) = await kinds_of(store, "a")
    await answered(store, name)
    await store.refresh(Selection(signatures=(name,)))
    assert {name: "refresh"} == await reasons(store)
    await answered(store, name, task="newer", status="invalid", body="", now=NOW + 31 * DAY)
    after = {"now": NOW + 32 * DAY, "expire_seconds": 30 * DAY}
    assert {} == await reasons(store, **after)
    assert {} == await reasons(store, task="newer", on_change="reask", **after)
    await plan(store, closed=[(W0, 0)], name="none", now=NOW + 32 * DAY)
    (outcome,) = await store.undecided((W0, 0))
    assert ("cached", TASK) == (outcome.status, outcome.answer.task)


async def test_a_renewal_under_way_is_not_asked_twice(store):
    (name,) = await kinds_of(store, "a")
    await answered(store, name)
    await store.refresh(Selection(signatures=(name,)))
    await plan(store, a_request(name), name="second")
    assert {} == await reasons(store)


async def test_what_is_forgotten_is_asked_as_new_and_rounds_that_had_it_keep_it(store):
    (name,) = await kinds_of(store, "a")
    await plan(store, closed=[(W0, 0)], name="none")
    await answered(store, name)
    await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=10)
    assert 1 == await store.forget(Selection(signatures=(name,)))
    assert {name: "new"} == await store.reasons([name], TASK, MODEL, NOW, reuse=Reuse())
    assert [name] == [one.answer.signature for one in await store.outcomes((W0, 0), 0)]
    assert 0 == await store.forget(Selection(signatures=(name,)))


async def test_a_failure_that_is_refreshed_is_asked_as_new(store):
    (name,) = await kinds_of(store, "a")
    await answered(store, name, status="invalid", body="")
    assert {} == await reasons(store)
    assert 1 == await store.refresh(Selection(signatures=(name,)))
    assert {name: "new"} == await reasons(store)


async def test_all_answers_of_a_task_or_of_an_age_are_selected(store):
    old, young = await kinds_of(store, "a", "b")
    await answered(store, old, task="older")
    await answered(store, young, now=NOW + 40 * DAY)
    assert 1 == await store.refresh(Selection(answered_before=NOW + DAY))
    assert {old: "refresh"} == await reasons(store)
    assert 1 == await store.forget(Selection(task="older"))
    assert {old: "new"} == await reasons(store)


# ---------------------------------------------------------------- merging what is answered


async def test_answers_that_disagree_pin_the_hole_shut_for_what_comes_later_too(store):
    good, bad, other, late = await kinds_of(store, "state good", "state bad", "state odd", "state late")
    await answered(store, good)
    await answered(store, bad, body=body("error"))
    await store.commit_merges([Merge(members=(1, 2, 3), template="state <*>")], NOW)
    await store.commit_merges([Merge(members=(1, 4), template="state <*>")], NOW + 1)
    assert [1, 2, 3, 4] == [row.root for row in await store.shapes()]
    found = await store.detail(good, TASK, MODEL)
    assert [(2, (good, late)), (1, (good, bad, other))] == [(one.number, one.members) for one in found.revisions]
    assert "severity is info or error" == found.revisions[1].refused
    assert 4 == (await store.summary(NOW)).signatures


async def test_answers_that_agree_are_merged_into_the_older_one_with_a_revision(store):
    first, second, third = await kinds_of(store, "user a", "user b", "user c")
    await answered(store, second)
    await answered(store, third)
    await store.commit_merges([Merge(members=(1, 2, 3), template="user <*>")], NOW)
    assert [2, 2, 2] == [row.root for row in await store.shapes()]
    found = await store.detail(first, TASK, MODEL)
    assert (second, 3, 3) == (found.entry.signature, found.entry.events, found.entry.shapes)
    assert [(1, second, "")] == [(one.number, one.root, one.refused) for one in found.revisions]
    assert {first, second, third} == {one.signature for one in found.members}
    assert 1 == (await store.summary(NOW)).signatures


async def test_a_pinned_hole_that_values_never_end_to_fall_into_gets_one_kind_for_the_rest(store):
    words = [f"user {number}" for number in range(merges.PIN_LIMIT + 6)]
    names = await kinds_of(store, *words)
    await answered(store, names[0])
    await answered(store, names[1], body=body(category="auth"))
    await store.commit_merges([Merge(members=(1, 2), template="user <*>")], NOW)
    for row in range(3, len(words) + 1):
        await store.commit_merges([Merge(members=(1, row), template="user <*>")], NOW)
    roots = [row.root for row in await store.shapes()]
    apart, rest = roots[: merges.PIN_LIMIT + 2], roots[merges.PIN_LIMIT + 2 :]
    assert list(range(1, merges.PIN_LIMIT + 3)) == apart
    assert [merges.PIN_LIMIT + 3] * 4 == rest


async def test_merges_found_again_after_answers_have_changed_change_nothing(store):
    one, two, three = await kinds_of(store, "x a", "x b", "y c")
    merged, refused = Merge(members=(1, 3), template="<*> <*>"), Merge(members=(1, 2), template="x <*>")
    await store.commit_merges([merged], NOW)
    await answered(store, one)
    await answered(store, two, body=body("fatal"))
    await store.commit_merges([refused], NOW)
    before = [(row.root, row.template) for row in await store.shapes()]
    await answered(store, two, now=NOW + 5)
    await answered(store, three, body=body("debug"), now=NOW + 5)
    await store.commit_merges([merged, refused], NOW + 9)
    assert before == [(row.root, row.template) for row in await store.shapes()]
    assert 2 == len((await store.detail(one, TASK, MODEL)).revisions)


@given(
    severities=st.lists(st.sampled_from([None, "info", "error"]), min_size=8, max_size=8),
    pairs=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=8),
)
@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_replaying_the_alias_table_gives_the_roots_and_no_class_disagrees(tmp_path_factory, severities, pairs):
    store = await SqliteStore.open(tmp_path_factory.mktemp("state"))
    try:
        names = await kinds_of(store, *"abcdefgh")
        for name, severity in zip(names, severities, strict=True):
            if severity:
                await answered(store, name, body=body(severity))
        await store.commit_merges([Merge(members=pair, template=f"<*> {max(pair)}") for pair in pairs], NOW)
        rows = await store.shapes()
        aliases = await store._db.read(
            lambda db: db.execute("SELECT joined, root, template FROM aliases ORDER BY revision").fetchall()
        )
        signatures = (await store.summary(NOW)).signatures
    finally:
        await store.close()
    replayed = {row.id: (row.id, row.shape.template) for row in rows}
    for joined, root, template in map(tuple, aliases):
        gone = {replayed[one][0] for one in json.loads(joined)}
        replayed |= {one: (root, template) for one, (old, _) in replayed.items() if old in gone}
    assert replayed == {row.id: (row.root, row.template) for row in rows}
    assert len({row.root for row in rows}) == signatures
    for root in {row.root for row in rows}:
        assert 1 >= len({severities[row.id - 1] for row in rows if row.root == root} - {None})


_SUMS = """
SELECT root, sum(events), count(*), min(created_at), max(last_seen_at) FROM shapes GROUP BY root ORDER BY root
"""
_COUNTS = """
SELECT 'answers', status, count(*) FROM answers WHERE is_current GROUP BY 2
UNION SELECT 'requests', state, count(*) FROM requests GROUP BY 2
"""


@given(
    steps=st.lists(
        st.one_of(
            st.lists(st.integers(1, 6), min_size=1, max_size=5),
            st.tuples(st.integers(1, 6), st.integers(1, 6)),
            st.sampled_from(["info", "error", "forget"]),
        ),
        max_size=10,
    )
)
@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_summed_up_ahead_is_what_the_rows_say_whatever_happens_to_them(tmp_path_factory, steps):
    store = await SqliteStore.open(tmp_path_factory.mktemp("state"))
    try:
        names = [shape.id for shape in map(a_shape, "abcdef")]
        for at, word in enumerate("abcdef"):
            await store.intern_shapes([a_shape(word)], NOW + at % 4)
        file = None
        for at, step in enumerate(steps):
            if isinstance(step, list):
                file = await spool(store, step, file=file)
            elif isinstance(step, tuple):
                await store.commit_merges([Merge(members=step, template=f"<*> {at}")], NOW)
            elif step == "forget":
                await store.forget(Selection())
            else:
                await answered(store, names[at % 6], name=str(at), body=body(step), now=NOW + at)
        classes, sums, tallies, counts = [
            sorted(map(tuple, await store._db.read(lambda db, sql=sql: db.execute(sql).fetchall())))
            for sql in (
                "SELECT root, events, shapes, first_seen_at, last_seen_at FROM classes",
                _SUMS,
                "SELECT * FROM tallies WHERE number != 0",
                _COUNTS,
            )
        ]
    finally:
        await store.close()
    assert sums == classes
    assert counts == tallies


# ---------------------------------------------------------------- the breaker


async def test_kinds_that_are_skipped_are_not_asked_and_go_out_as_such(store):
    name, other = await kinds_of(store, "a", "b")
    await store.skip_shapes([1])
    assert {other: "new"} == await reasons(store)
    await plan(store, closed=[(W0, 0)], name="none")
    assert {name: "skipped_policy", other: "pending"} == statuses(await store.undecided((W0, 0)))
    await store.refresh(Selection(signatures=(name,)))
    assert {name: "new", other: "new"} == await reasons(store)


async def test_a_skipped_kind_met_elsewhere_is_a_kind_again_but_a_coarse_one_never_is(store):
    coarse = Shape(format=COARSE_FORMAT, level="", program="", skeleton="\x01\x004")
    for _ in range(2):
        await store.intern_shapes([a_shape("a"), coarse], NOW)
        await store.skip_shapes([1])
    await store.intern_shapes([a_shape("a"), coarse], NOW)
    await spool(store, [1, 2])
    assert {a_shape("a").id: "new"} == await reasons(store)
    assert [1, 2, None] == await store.find_shapes([a_shape("a"), coarse, a_shape("c")])


async def test_breakers_are_kept(store):
    await store.save_breaker("shop", Breaker(is_open=True, changed_at=NOW, trips=1))
    await store.save_breaker("bank", Breaker(is_open=False, changed_at=NOW, trips=3))
    found = await store.breakers()
    assert {"shop": (True, 1), "bank": (False, 3)} == {name: (one.is_open, one.trips) for name, one in found.items()}
    assert {"shop": NOW} == (await store.summary(NOW)).open_breakers


# ---------------------------------------------------------------- looked at and passed on


async def test_signatures_are_listed_as_asked_for(store):
    shapes = [a_shape(word) for word in "abc"]
    await store.intern_shapes(shapes[:2], NOW)
    await store.intern_shapes(shapes[2:], NOW + 1)
    await spool(store, [1, 1, 1, 2, 2, 3])
    a, b, c = (shape.id for shape in shapes)
    await answered(store, b, body=body("fatal"))
    await answered(store, c, body=body("debug"))

    async def listed(**asked):
        return [one.signature for one in await store.entries(Listing(limit=10, **asked), TASK, MODEL)]

    assert [a, b, c] == await listed()
    assert [c, b, a] == await listed(sort="new")
    assert [b, c, a] == await listed(sort="severity")
    assert [b] == await listed(severity="fatal")
    assert [a] == await listed(is_unanswered=True)
    (first,) = await store.entries(Listing(limit=1), TASK, MODEL)
    assert (3, NOW, NOW, 1, None) == (
        first.events, first.first_seen_at, first.last_seen_at, first.shapes, first.answer,
    )  # fmt: skip


@pytest.mark.parametrize("rare", [0, 1, 100])
async def test_a_list_by_severity_is_the_same_whether_the_severity_is_rare_or_not(store, monkeypatch, rare):
    monkeypatch.setattr(catalogue, "_RARE", rare)
    names = await kinds_of(store, *"abcde")
    for name, severity in zip(names, ["info", "fatal", "info", "fatal", "error"], strict=True):
        await answered(store, name, body=body(severity))
    await answered(store, names[4], status="invalid", body="", now=NOW + 9, task="newer")

    async def listed(**asked):
        found = await store.entries(Listing(**{"limit": 10} | asked), TASK, MODEL)
        return "".join("abcde"[names.index(one.signature)] for one in found)

    assert "bdeac" == await listed(sort="severity")
    assert "bde" == await listed(sort="severity", limit=3)
    assert ("bd", "db") == (await listed(severity="fatal"), await listed(severity="fatal", sort="new"))
    assert "" == await listed(severity="fatal", is_unanswered=True)


@pytest.mark.parametrize("sort", ["count", "new"])
async def test_a_list_reads_no_more_signatures_than_it_shows(store, sort):
    sql = catalogue._BY_ORDER[sort][catalogue._ANY]
    given = {"task": TASK, "model": MODEL, "limit": 5}
    explained = await store._db.read(lambda db: db.execute(f"EXPLAIN QUERY PLAN {sql}", given).fetchall())
    # What looks for the answer of one signature sorts a handful; the list itself comes out of the index in order.
    steps = [row["detail"] for row in explained if not row["parent"]]
    assert "USING INDEX classes_by_" in steps[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


async def test_a_signature_is_found_by_the_beginning_of_its_id_and_says_where_it_was_read(store):
    name, other = await kinds_of(store, "a", "b")
    assert [name] == await store.resolve(name[:8], 5)
    assert sorted([name, other]) == await store.resolve("", 5)
    assert {name, other} >= set(await store.neighbours("8" * 16)) != set()
    found = await store.detail(name, TASK, MODEL)
    assert (("varlog",), (1,)) == (found.sources, found.shapes)
    assert None is await store.detail("f" * 16, TASK, MODEL)


def a_line(signature, **changes) -> ExportedAnswer:
    facts = {
        "signature": signature, "level": "INFO", "program": "shop", "template": "a", "events": 3, "first_seen_at": NOW,
        "last_seen_at": NOW, "task": TASK, "model": MODEL, "served_model": "m", "batch_id": "b", "answered_at": NOW,
        "origin": "asked", "answer": Answer.from_json(body()),
    }  # fmt: skip
    return ExportedAnswer(**facts | changes)


async def test_an_imported_answer_serves_a_kind_that_is_read_later_under_whichever_task_and_model(store):
    await store.import_answers([a_line(a_shape("a").id)], keep=False, now=NOW)
    found = await store.detail(a_shape("a").id, TASK, MODEL)
    assert ("imported", 0) == (found.entry.answer.origin, found.entry.events)
    await kinds_of(store, "a")
    assert {} == await reasons(store)
    assert {} == await reasons(store, task="newer", model="other", on_change="reask")
    await plan(store, closed=[(W0, 0)], name="none")
    (outcome,) = await store.undecided((W0, 0))
    assert ("cached", "imported") == (outcome.status, outcome.answer.origin)


async def test_an_imported_answer_makes_its_shape_the_one_that_its_class_is_known_by(store):
    _, name = await kinds_of(store, "a", "b")
    await store.commit_merges([Merge(members=(1, 2), template="<*>")], NOW)
    await store.import_answers([a_line(name)], keep=False, now=NOW)
    assert [2, 2] == [row.root for row in await store.shapes()]


@pytest.mark.parametrize(
    ("age", "keep", "expected"),
    [(-1, False, (0, 0, 1)), (0, False, (0, 0, 1)), (1, False, (1, 1, 0)), (1, True, (0, 0, 1))],
)
async def test_of_two_answers_the_newer_stays_or_the_one_that_is_there(store, age, keep, expected):
    (name,) = await kinds_of(store, "a")
    await answered(store, name)
    given = a_line(name, answered_at=NOW + age, answer=Answer.from_json(body("fatal")))
    done = await store.import_answers([given], keep=keep, now=NOW + 9)
    assert expected == (done.taken, done.replaced, done.kept)
    (entry,) = await store.entries(Listing(limit=1), TASK, MODEL)
    assert ("fatal" if done.taken else "info") == Answer.from_json(entry.answer.body).severity


async def test_what_was_exported_is_imported_into_an_empty_store_as_it_was(store, tmp_path):
    names = await kinds_of(store, *"abcde")
    for name in names[:4]:
        await answered(store, name, body=body("error", action="look"))
    await answered(store, names[4], status="refused", body="")
    pages = [await store.answered_page("", 3, TASK, MODEL)]
    pages.append(await store.answered_page(pages[0][-1].signature, 3, TASK, MODEL))
    lines = [exported(entry) for page in pages for entry in page]
    assert sorted(names[:4]) == [line.signature for line in lines]
    assert 4 == await store.count_answered()
    other = await SqliteStore.open(tmp_path / "other")
    done = await other.import_answers(lines, keep=False, now=NOW)
    again = await other.import_answers(lines, keep=False, now=NOW)
    passed_on = [exported(entry) for entry in await other.answered_page("", 9, TASK, MODEL)]
    await other.close()
    assert (4, 0) == (done.taken, again.taken)
    assert [line.answer for line in lines] == [line.answer for line in passed_on]
    assert {"imported"} == {line.origin for line in passed_on}


async def test_a_window_later_asks_again_where_there_was_no_money_for_a_renewal(store):
    (name,) = await kinds_of(store, "a")
    await answered(store, name)
    await store.refresh(Selection(signatures=(name,)))
    batch = await plan(store, a_request(name), name="over")
    await store.skip_batch(batch, "over budget", NOW)
    assert [] == await store.kinds([(W0, 0)], TASK, MODEL, NOW)
    await spool(store, [1], file=(await store.files("varlog"))[0], windows=(W1,))
    assert {name: "refresh"} == await reasons(store, window=W1)
