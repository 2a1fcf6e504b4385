"""Agreement with labelled lines, and the labelled lines themselves."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from enricher.core.gold import Case, Given, agreement, read_cases
from enricher.core.redact import looks_like_instructions
from enricher.core.verdict import CATEGORIES, SEVERITIES

TASKS = Path(__file__).parents[2] / "config" / "tasks"
GOLD = TASKS / "logs.gold.jsonl"


def a_case(severity: tuple[str, ...] = ("error",), category: tuple[str, ...] = ("database",)) -> Case:
    return Case(line="it broke", severity=severity, category=category)


def given(severity: str = "error", category: str = "database") -> Given:
    return Given(severity=severity, category=category, summary="It broke.")


def test_the_figures_are_those_of_their_definitions():
    cases = [
        a_case(),
        a_case(("warning", "notice"), ("auth", "security")),
        a_case(("info",)),
        a_case(("critical",)),
        a_case(("fatal",)),
    ]
    answers = [given(), given("notice", "security"), given("warning"), given("info", "other"), None]

    found = agreement(cases, answers)

    assert (5, 0.8, 0.2, 0.4) == (found.cases, found.answered, found.severity_exact, found.severity_accepted)
    assert (0.4, 0.6) == (found.severity_near, found.category_accepted)
    assert (0.2, 0.25) == (found.attention_accuracy, found.attention_recall)
    assert (2, 3, 4) == found.disagreements


def test_a_set_without_anything_that_needs_a_look_has_nothing_to_miss():
    assert agreement([a_case(("info",))], [given("info")]).attention_recall == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no case in it"),
        ("\n \n", "there is no case in it"),
        ("nonsense", "line 1: the line: Invalid JSON"),
        ('{"line": "a"}', "line 1: severity: Field required"),
        ('{"line": "a", "severity": ["bad"], "category": ["auth"]}', "line 1: severity.0: "),
        ('{"line": "a", "severity": [], "category": ["auth"]}', "line 1: severity: "),
        ('{"line": " ", "severity": ["info"], "category": ["auth"]}', "line 1: line: "),
        ('{"line": "a\\nb", "severity": ["info"], "category": ["auth"]}', "line 1: line: "),
        ('{"line": "a", "severity": ["info"], "category": ["auth"], "x": 1}', "line 1: x: "),
    ],
)
def test_what_is_no_case_is_named_with_its_line(text, message):
    with pytest.raises(ValueError) as error:
        read_cases(text)

    assert str(error.value).startswith(message)


def test_the_shipped_set_covers_every_severity_and_category_with_lines_of_its_own():
    cases = read_cases(GOLD.read_text(encoding="utf-8"))

    assert len(cases) >= 150
    assert len({case.line for case in cases}) == len(cases)
    assert {case.severity[0] for case in cases} == set(SEVERITIES)
    assert {case.category[0] for case in cases} == set(CATEGORIES)
    assert not [case.line for case in cases if len(case.severity) != len(set(case.severity))]
    assert sum(looks_like_instructions(case.line) for case in cases) <= 2


def test_no_labelled_line_is_an_example_of_a_shipped_prompt():
    lines = {case.line for case in read_cases(GOLD.read_text(encoding="utf-8"))}
    for file in TASKS.glob("*.toml"):
        prompt = tomllib.loads(file.read_text(encoding="utf-8"))["prompt"]
        examples = {example["line"] for example in prompt.get("examples", [])}

        assert not lines & examples


def test_cases_are_read_as_they_are_written():
    row = {"line": "it broke", "severity": ["error"], "category": ["database"]}

    assert (a_case(),) == read_cases("\n" + json.dumps(row) + "\n")
