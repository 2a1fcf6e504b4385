"""The task of the embedded model teaches by its examples, so they must be answers that the task itself would allow."""

from __future__ import annotations

import json
from pathlib import Path

from enricher.core.prompt import single_text
from enricher.core.task import CHAT, parse_task
from enricher.core.verdict import CATEGORIES, SEVERITIES

TASK = parse_task(
    Path(__file__).parents[2].joinpath("config", "tasks", "logs-local.toml").read_text(encoding="utf-8"),
    name="logs-local",
)


def test_task_asks_one_line_at_a_time_on_the_endpoint_that_keeps_to_schemas():
    assert (TASK.name, TASK.kind, TASK.endpoint, TASK.quality) == ("logs-local", "single", CHAT, "demo")


def test_closed_lists_are_those_of_every_answer():
    assert TASK.schema is not None
    assert list(SEVERITIES) == TASK.schema["properties"]["severity"]["enum"]
    assert list(CATEGORIES) == TASK.schema["properties"]["category"]["enum"]


def test_every_example_is_an_answer_that_the_schema_allows():
    assert TASK.schema is not None
    for _, text in TASK.examples:
        answer = json.loads(text)
        assert list(TASK.schema["properties"]) == list(answer)
        assert answer["severity"] in SEVERITIES
        assert answer["category"] in CATEGORIES
        assert len(answer["summary"]) <= 200
        assert len(answer["fields"]) <= 4
        assert len(answer["hint"] or "") <= 120


def test_every_example_takes_its_fields_from_its_line():
    for line, text in TASK.examples:
        assert line == single_text(line)
        for value in json.loads(text)["fields"].values():
            assert value in line


def test_examples_are_compact_because_the_model_writes_as_it_reads():
    for _, text in TASK.examples:
        assert json.dumps(json.loads(text), separators=(",", ":")) == text


def test_examples_show_a_different_category_each_and_most_severities():
    answers = [json.loads(text) for _, text in TASK.examples]
    assert len({answer["category"] for answer in answers}) == len(answers) == 8
    assert len({answer["severity"] for answer in answers}) == 7
