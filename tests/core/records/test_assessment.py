from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.records.assessment import case_of, task_in
from enricher.core.records.scorers import score_case
from enricher.core.records.task import parse_record_task
from enricher.errors import ConfigError

TASKS = Path(__file__).parents[3] / "config" / "tasks"
TASK = """
version = 1
[prompt]
system = "Label it."
user = "{{text}}"
[parameters]
temperature = 0.5
seed = 1
[schema]
type = "object"
properties = { label = { type = "string" }, tags = { type = "array", items = { type = "string" } } }
required = ["label", "tags"]
additionalProperties = false
"""
EVALUATED = (
    TASK
    + """
[[scorers]]
kind = "exact"
field = "label"
[[scorers]]
kind = "set_f1"
field = "tags"
[matrix]
models = ["small", "large"]
[[matrix.prompts]]
name = "own"
[[matrix.prompts]]
name = "terse"
system = " One word. "
user = "Text: {{text}}"
[[matrix.parameters]]
temperature = 0.0
[gate]
min_score = 0.8
"""
)


def test_a_task_says_how_it_is_evaluated_and_need_not():
    assert parse_record_task(TASK, name="mine").assessment is None
    found = parse_record_task(EVALUATED, name="mine").assessment
    assert (4, 2, 0.8) == (len(found.matrix.cells), len(found.scorers), found.gate.min_score)


def test_being_evaluated_changes_nothing_of_what_a_task_asks():
    # Its hash is part of the key under which answers are kept.
    assert parse_record_task(TASK, name="mine").hash == parse_record_task(EVALUATED, name="mine").hash


def test_a_cell_asks_with_its_own_prompt_model_and_parameters():
    task = parse_record_task(EVALUATED, name="mine", columns={"text": "body"})
    own, terse = (task_in(task, task.assessment.matrix.cells[at]) for at in (0, 3))
    assert ("Label it.", "{{body}}", "small") == (own.system, own.user.source, own.model)
    assert ("One word.", "Text: {{body}}", "large") == (terse.system, terse.user.source, terse.model)
    assert {"temperature": 0.0, "seed": 1} == dict(own.parameters)
    assert len({task.hash, own.hash, terse.hash}) == 3


def test_every_fault_of_an_evaluation_is_reported_with_those_of_its_task():
    text = EVALUATED.replace("0.8", "80").replace('"Text: {{text}}"', '"Text"').replace('"set_f1"', '"f1"')
    with pytest.raises(ConfigError) as caught:
        parse_record_task(text.replace("version = 1", ""), name="mine")
    assert caught.value.faults == [
        "task mine: version: missing",
        "task mine: matrix.prompts[2].user: names no column of a row: write {{text}} where it belongs",
        "task mine: scorers[2].kind: must be one of exact, fields, set_f1, regex, numeric, embedding, judge",
        "task mine: gate.min_score: must be from 0 to 1",
    ]
    with pytest.raises(ConfigError, match="scorers: an evaluation needs one at least"):
        parse_record_task(TASK + "[matrix]\nrepeats = 2", name="mine")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"id": "1", "text": "t", "label": "a", "tags": ["x"]}, {"label": "a", "tags": ["x"]}),
        ({"id": "1", "text": "t", "label": "a", "tags": '["x"]'}, {"label": "a", "tags": ["x"]}),
        ({"id": "1", "text": "t", "note": "n", "expected": {"label": "a"}}, {"label": "a"}),
        ({"id": "1", "text": "t", "expected": '{"label": "a"}'}, {"label": "a"}),
        ({"id": "1", "text": "t", "expected": "a"}, {"expected": "a"}),
        ({"id": "1", "text": "t", "label": "[a"}, {"label": "[a"}),
    ],
)
def test_what_is_expected_stands_in_the_row(values, expected):
    case = case_of("1", values, not_expected=("id", "text"))
    assert (case.key, case.expected) == ("1", expected)
    assert set(case.values) == set(values) - {"expected"}


def test_a_row_of_a_table_without_types_is_scored_as_one_with():
    task = parse_record_task(EVALUATED, name="mine")
    case = case_of("1", {"id": "1", "text": "t", "label": "a", "tags": '["x", "y"]'}, not_expected=("id", "text"))
    assert score_case(task.assessment.scorers, case.expected, {"label": "a", "tags": ["y", "x"]}).value == 1


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "text", "label", "expected"]), st.text('[]{}":,a1 ')))
def test_any_row_is_a_case(values):
    assert isinstance(case_of("1", values, not_expected=("id", "text")).expected, dict)


def test_the_shipped_evaluation_is_one_of_the_shipped_task_that_labels():
    evaluated, labels = (
        parse_record_task((TASKS / f"{name}.toml").read_text(encoding="utf-8"), name=name)
        for name in ("evaluate", "label")
    )
    explained, terse = (task_in(evaluated, cell) for cell in evaluated.assessment.matrix.cells)
    # What has the same hash has the same answers.
    assert labels.hash == explained.hash != terse.hash
    assert labels.answer_tokens == explained.answer_tokens


def test_the_shipped_task_scores_its_shipped_cases():
    task = parse_record_task((TASKS / "evaluate.toml").read_text(encoding="utf-8"), name="evaluate")
    lines = (TASKS / "evaluate.gold.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [case_of(row["id"], row, not_expected=("id", *task.columns)) for row in map(json.loads, lines)]
    assert ["explained", "terse"] == [cell.name for cell in task.assessment.matrix.cells]
    assert len({case.key for case in cases}) == len(cases) == 24
    for case in cases:
        for name, value in case.expected.items():
            assert value in task.schema["properties"][name]["enum"], case.key
        assert score_case(task.assessment.scorers, case.expected, case.expected).passed
        # Every field that is scored is expected of every case.
        assert set(case.expected) == set(task.fields)
    # Every label is there, so that a confusion of all of them can be seen.
    for name in task.fields:
        assert {case.expected[name] for case in cases} == set(task.schema["properties"][name]["enum"])
