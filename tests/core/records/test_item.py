"""Questions about rows: their ids, and the names under which batch files ask them."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enricher.core.records.item import Asking, custom_ids
from enricher.core.records.task import parse_record_task

ASKING = Asking(
    parse_record_task('name = "t"\nversion = 1\n[prompt]\nsystem = "s"\nuser = "{{text}}"\n', name="t"),
    model="m",
    endpoint="/v1/chat/completions",
)
SENDINGS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(1, 65_535)), max_size=20)


@given(SENDINGS)
def test_an_answer_is_looked_for_under_the_name_that_its_line_has(sendings):
    items = np.array([item for item, _ in sendings], dtype=np.int64)
    lines = [json.loads(ASKING.line(item, attempt, "text")) for item, attempt in sendings]

    assert [line["custom_id"] for line in lines] == list(custom_ids(items, [attempt for _, attempt in sendings]))


@given(st.lists(st.text(max_size=20), max_size=20, unique=True))
def test_each_text_is_a_question_of_its_own_and_the_same_one_each_time(texts):
    assert len(texts) == len({ASKING.item(text) for text in texts})
    assert [ASKING.item(text) for text in texts] == [ASKING.item(text) for text in texts]
