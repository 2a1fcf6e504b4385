"""Labelled lines once a day: when they are due, what is asked, and the figures that come of it."""

from __future__ import annotations

import json

import pytest

from enricher.config import shipped
from enricher.core.gold import read_cases
from enricher.core.nightly import GoldDay, case_id, day_start, due_day, gold_requests, score, score_from_json
from enricher.core.task import RESPONSES, parse_task
from enricher.core.verdict import Answer

TASK = parse_task(shipped("tasks/logs.toml"), name="logs")
CASES = read_cases(shipped("tasks/logs.gold.jsonl"))
MIDNIGHT = 1_795_305_600  # 2026-11-22


def the_requests(*, day="2026-11-22", privacy="redacted", per_request=10):
    return gold_requests(
        CASES,
        day=day,
        task=TASK,
        model="m",
        endpoint=RESPONSES,
        reasoning_effort="none",
        prices=None,
        privacy=privacy,
        signatures_per_request=per_request,
    )


def an_answer(severity: str, category: str) -> str:
    return _ANSWER.model_copy(update={"severity": severity, "category": category}).to_json()


_ANSWER = Answer(severity="info", category="auth", outcome="success", summary="It happened.", confidence=0.5)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, None), (3 * 3600 - 1, None), (3 * 3600, "2026-11-22"), (86_399, "2026-11-22"), (86_400, None)],
)
def test_a_day_is_due_from_its_time_on_until_midnight(seconds, expected):
    assert expected == due_day(MIDNIGHT + seconds, 3 * 3600)
    assert day_start("2026-11-22") == MIDNIGHT


def test_each_line_is_asked_once_and_each_day_has_requests_of_its_own():
    requests = the_requests()
    asked = [signature for request in requests for signature in request.signatures]

    assert sorted({f"gold:2026-11-22:{case_id(case.line)}" for case in CASES}) == sorted(asked)
    assert all(request.is_gold and not request.is_digest for request in requests)
    assert [one.id for one in requests] == [one.id for one in the_requests()]
    assert not {one.id for one in requests} & {one.id for one in the_requests(day="2026-11-23")}


def test_lines_are_shown_as_those_of_a_log_would_be():
    shown = {
        mode: b"".join(one.body for one in the_requests(privacy=mode)) for mode in ("templates", "redacted", "raw")
    }

    assert b"192.0.2.44" in shown["raw"]
    assert b"192.0.2.44" not in shown["redacted"]
    assert [False, True, True] == [b'\\"examples\\"' in shown[mode] for mode in ("templates", "redacted", "raw")]


def test_figures_are_shares_of_all_cases_and_survive_the_store():
    best = {case_id(one.line): an_answer(one.severity[0], one.category[0]) for one in CASES}
    half = dict(list(best.items())[: len(best) // 2])
    whole = score(CASES, GoldDay(day="2026-11-22", is_under_way=False, answers=best), task="t", model="m")
    part = score(CASES, GoldDay(day="2026-11-22", is_under_way=False, answers=half), task="t", model="m")

    assert (len(CASES), 1.0, 1.0, 1.0, 1.0) == (
        whole.cases,
        whole.answered,
        whole.severity,
        whole.category,
        whole.attention,
    )
    assert part.answered == part.severity == part.category == pytest.approx(0.5, abs=0.01)
    assert part == score_from_json(json.dumps(part.to_json()))
