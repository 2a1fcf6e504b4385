"""Lines of result files that are made to be stumbled over: each is counted or says why it is no answer."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from enricher.core.records.response import ResultReader, Strange
from enricher.core.task import CHAT, RESPONSES
from enricher.records.workload import Judge

DEEP = b"[" * 100_000 + b"]" * 100_000
GOOD = {"choices": [{"finish_reason": "stop", "message": {"content": '{"a": 1}'}}], "usage": {}}


def a_line(body, name="a"):
    return json.dumps({"custom_id": name, "response": {"status_code": 200, "body": body}}).encode() + b"\n"


def read(*lines, kind="answer", endpoint=CHAT):
    strange = Strange()
    return list(ResultReader(kind=kind, endpoint=endpoint).read(lines, strange)), strange.malformed


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"a","junk":' + DEEP + b',"response":{}}\n',
        b'{"custom_id":"a","response":{"status_code":200,"body":{"junk":' + DEEP + b"}}}\n",
        DEEP + b"\n",
    ],
)
def test_a_line_nested_deeper_than_it_can_be_read_costs_no_other(endpoint, line):
    said, malformed = read(line, a_line(GOOD, "b"), endpoint=endpoint)
    assert (["b"], 1) == ([one.custom_id for one in said], malformed)


@pytest.mark.parametrize("text", ["so \ud83d", "\udc00", "\ud83d\ude00 \ud800"])
def test_half_a_character_is_a_mark_in_a_text_and_in_what_is_kept_of_it(text):
    @dataclass
    class Task:
        kind, checks, schema = "answer", (), None

    @dataclass
    class Asking:
        task = Task

    body = {"choices": [{"finish_reason": "stop", "message": {"content": text}}]}
    (said,), _ = read(a_line(body))
    assert "ok" == said.status
    assert "\ufffd" in said.body
    assert ("\ude00" in text) == ("\U0001f600" in said.body)
    assert "" == Judge(Asking).judge(said, None)
    assert b"\xef\xbf\xbd" in said.body


@pytest.mark.parametrize("score", [10**400, -(10**400), float("nan"), float("inf"), True, "0.5", None])
def test_a_score_that_is_no_number_costs_only_itself(score):
    result = {"flagged": True, "categories": {"\ud800": True}, "category_scores": {"a": score, "b\ud800": 0.5}}
    (said,), _ = read(a_line({"results": [result]}), kind="moderation")
    assert {"flagged": True, "categories": ["\ufffd"], "scores": {"b\ufffd": 0.5}} == json.loads(said.body)
