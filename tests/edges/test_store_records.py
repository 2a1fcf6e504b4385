"""What is kept of records: the answers of batches, whatever batches say, in whatever order, however often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from enricher.core.ledger import BatchState
from enricher.core.records.ledger import ITEM_REF, ItemResult, Run
from enricher.edges.store_sqlite import SqliteStore
from tests.edges.test_store_contract import MODEL, NOW, a_batch

ITEMS = [-(2**63), -5, 0, 3, 2**63 - 1]
STATUSES = ("ok", "again", "invalid", "too_long")


def a_result_of(item, number):
    """One in a batch, with a body that is nobody else's."""
    return st.builds(
        lambda status, attempt, tries: ItemResult(item, status, attempt, tries, f"{item} {number} {status}".encode()),
        st.sampled_from(STATUSES),
        st.integers(1, 3),
        st.integers(0, 2),
    )


@st.composite
def batches_of_results(draw):
    """What each of some batches says of some items, in the order of its file."""
    asked = draw(st.lists(st.lists(st.sampled_from(ITEMS), unique=True, min_size=1), min_size=1, max_size=4))
    return [[draw(a_result_of(item, number)) for item in items] for number, items in enumerate(asked)]


async def planned(store, run, results, number):
    refs = np.zeros(len(results), dtype=ITEM_REF)
    refs["item"] = [one.item for one in results]
    batch = a_batch(f"r{number}", task="t", purpose="records", state=BatchState.PLANNED)
    (kept,) = await store.records.plan_batches(run, [(batch, refs)])
    return replace(kept, outcome="completed")


# Not shrunk: each example is a database.
@pytest.mark.parametrize("is_reopened", [False, True], ids=["remembered", "read again"])
@settings(
    deadline=None,
    max_examples=15,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=batches_of_results())
async def test_the_first_good_answer_to_an_item_stays_and_else_the_last_word_counts(
    tmp_path_factory, is_reopened, batches
):
    directory = tmp_path_factory.mktemp("state")
    store = await SqliteStore.open(directory)
    run = Run(id=0, job="j", task="t", model=MODEL, endpoint="/v1/responses", input="i", output="o", fingerprint="f")
    number = await store.records.begin_run(run)
    wanted = {}
    try:
        for at, results in enumerate(batches):
            batch = await planned(store, number, results, at)
            await store.records.collect(batch, results, NOW)
            await store.records.collect(batch, [replace_body(one) for one in results], NOW)
            for one in results:
                if wanted.get(one.item, ("",))[0] != "ok":
                    wanted[one.item] = (one.status, one.body, one.attempt, one.tries)
            if not is_reopened:
                await store.records.answers(ITEMS)
        if is_reopened:
            await store.close()
            store = await SqliteStore.open(directory)
        answers, known = await store.records.answers(ITEMS), await store.records.known(ITEMS)
    finally:
        await store.close()
    assert [wanted.get(item, (None, None))[:2] for item in ITEMS] == [
        (None, None) if one is None else (one.status, one.body) for one in answers
    ]
    assert {item: (one[0], *one[2:]) for item, one in wanted.items()} == {
        item: (one.status, one.attempt, one.tries) for item, one in known.items()
    }


def replace_body(result):
    """The same again, said by a process that had not heard that it was kept."""
    return ItemResult(result.item, "ok", result.attempt, result.tries, b"said twice")
