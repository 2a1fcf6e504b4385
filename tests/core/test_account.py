"""What a model is asked about a window, and what of its answer is believed."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.config import shipped
from enricher.core.account import (
    Account,
    account_request,
    account_schema,
    parse_account,
    question,
    read_account,
    shown_ids,
)
from enricher.core.digest import KindCount, WindowKinds, compare
from enricher.core.pricing import Prices
from enricher.core.redact import clean
from enricher.core.skeleton import shape_of
from enricher.core.task import CHAT, RESPONSES, parse_task
from tests.core.hostile import DEFUSED, ORDERS
from tests.core.planted import PLANTED

TASK = parse_task(shipped("tasks/digest.toml"), name="digest")
PRICES = Prices(
    input_usd=2.0,
    cached_usd=0.2,
    output_usd=8.0,
    batch_input_usd=1.0,
    batch_cached_usd=0.1,
    batch_output_usd=4.0,
    as_of="2026-11-22",
)
START = 1_795_341_600


def a_kind(signature: str = "a" * 16, events: int = 100, **changes) -> KindCount:
    return KindCount(
        **{"signature": signature, "template": "took <*>", "level": "INFO", "program": "app", "events": events}
        | changes
    )


def a_digest(*counts: KindCount):
    counts = counts or (
        a_kind("1" * 16, 500, severity="error", category="database", summary="Query took {event.duration}."),
        a_kind("2" * 16, 5, template="password=hunter2hunter2 for <*>"),
        a_kind("3" * 16, 100, severity="critical", category="storage", summary="Disk is full."),
    )
    history = ({"1" * 16: 100, "3" * 16: 100, "4" * 16: 50},) * 24
    gone = {"4" * 16: a_kind("4" * 16, 0, severity="info")}
    return compare("2026-11-22T10Z", WindowKinds(counts=tuple(counts), history=history, gone=gone))


def a_request(digest=None, *, endpoint=RESPONSES, task=TASK):
    return account_request(
        task, digest or a_digest(), start=START, model="m", endpoint=endpoint, reasoning_effort="low", prices=PRICES
    )


def answered(text: str, endpoint: str = RESPONSES) -> dict:
    if endpoint == CHAT:
        return {"model": "m-1", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    content = [{"type": "output_text", "text": text}]
    return {"model": "m-1", "status": "completed", "output": [{"type": "message", "content": content}]}


def said(**changes) -> str:
    whole = {"headline": "h", "what_happened": "w", "likely_cause": None, "action": None, "cites": []}
    return json.dumps(whole | changes)


def test_a_model_is_shown_counts_and_masked_templates_and_can_cite_nothing_else():
    text = question(a_digest())
    shown = json.loads(text)

    assert "hunter2" not in text
    assert ["1" * 16, "4" * 16, "2" * 16] == [one["id"] for one in shown["changed"]]
    assert ["3" * 16] == [one["id"] for one in shown["gravest"]]
    assert [one * 16 for one in "1234"] == sorted(shown_ids(text))
    schema = account_schema(TASK, shown_ids(text))
    assert sorted("1234") == [one[0] for one in schema["properties"]["cites"]["items"]["enum"]]


def test_the_schema_of_the_task_is_that_of_what_is_read():
    schema = account_schema(TASK, ())

    assert set(schema["required"]) == set(schema["properties"]) == set(Account.model_fields) - {"model"}
    assert schema["additionalProperties"] is False
    assert {"type": "string"} == schema["properties"]["cites"]["items"]


@pytest.mark.parametrize("endpoint", [RESPONSES, CHAT])
def test_a_request_is_one_of_the_ledger_with_an_id_made_of_what_is_asked(endpoint):
    request = a_request(endpoint=endpoint)
    body = json.loads(request.body)

    assert request.is_digest
    assert (("digest:2026-11-22T10Z",), ("",), START) == (request.signatures, request.templates, request.window)
    assert request.id == a_request(endpoint=endpoint).id != a_request(task=replace(TASK, version="2")).id
    assert TASK.max_output_tokens == body.get("max_output_tokens", body.get("max_completion_tokens"))
    assert TASK.system == body.get("instructions") or TASK.system == body["messages"][0]["content"]
    assert request.tokens > len(request.body) / 6
    assert (request.tokens * 1.0 + TASK.max_output_tokens * 4.0) / 1e6 == pytest.approx(request.reserved_usd)


def test_what_is_shown_is_bounded_however_many_kinds_change():
    kinds = [a_kind(f"{number:016x}", template="x" * 5000, program="y" * 500) for number in range(3000)]
    text = question(a_digest(*kinds))

    assert 40 == len(shown_ids(text))
    assert len(text) < 40 * 600


@pytest.mark.parametrize("place", ["template", "program", "summary"])
def test_a_kind_that_gives_orders_is_shown_by_its_counts_alone(place):
    orders = [line for line in ORDERS if "zz" in line]
    kinds = [a_kind(f"{number:016x}", **{place: line}) for number, line in enumerate(orders[:40])]
    shown = [one for one in json.loads(question(a_digest(*kinds)))["changed"] if one["change"] == "new"]

    assert shown
    assert {"(withheld: its text reads like instructions)"} == {one["template"] for one in shown}
    assert not [one for one in shown if "program" in one or "summary" in one]
    assert all(one["events"] == 100 for one in shown)


def test_no_order_is_shown_as_the_template_of_its_line():
    shapes = [shape_of(f"2026-11-20T08:00:00Z web01 {line}".encode("utf-8", "surrogatepass")) for line in ORDERS]
    shown = [question(a_digest(a_kind(template=shape.template, program=shape.program))) for shape in shapes]

    assert set(DEFUSED) == {word for text in shown for word in re.findall(r"\bzz[a-z]{3}\b", text)}


def test_nothing_planted_in_a_template_a_program_or_a_summary_is_shown():
    left = []
    for line, values in PLANTED:
        body = a_request(a_digest(a_kind(template=line, summary=line))).body.decode()
        left += [value for value in values if len(value) > 5 and value in body]
    assert [] == left


@pytest.mark.parametrize("endpoint", [RESPONSES, CHAT])
def test_an_account_is_checked_cleaned_and_cut(endpoint):
    request = a_request(endpoint=endpoint)
    text = said(
        headline="\x1b[2Jdisk\u202e full\n\nnow",
        what_happened="x" * 1_000_000,
        likely_cause=" ",
        action=f"see {'9' * 16} and {'3' * 16}",
        cites=["3" * 16, "9" * 16, "3" * 16],
    )
    reading = read_account(endpoint, answered(text, endpoint), sent=request.body)

    assert ("ok", "m-1", "") == (reading.status, reading.model, reading.reason)
    account = reading.account
    assert ("disk full now", 600, None, ("3" * 16,)) == (
        account.headline,
        len(account.what_happened),
        account.likely_cause,
        account.cites,
    )
    assert f"see another kind and {'3' * 16}" == account.action
    assert account == Account.from_json(account.to_json())


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "nonsense", '{"headline":"x"}', "[" * 50_000,
        said(headline=1), said(extra=1), said(cites="1" * 16), said(cites=[1]), said(headline="\u200b"),
        said(action=[]),
    ],
)  # fmt: skip
def test_what_is_no_account_is_invalid_with_a_reason(text):
    reading = read_account(RESPONSES, answered(text), sent=a_request().body)

    assert ("invalid", None) == (reading.status, reading.account)
    assert reading.reason
    assert "\n" not in reading.reason


def test_a_refusal_and_an_answer_that_was_cut_off_are_told_apart():
    refusal = {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}],
    }
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}

    assert ["refused", "incomplete"] == [
        read_account(RESPONSES, body, sent=a_request().body).status for body in (refusal, cut)
    ]


@settings(max_examples=60, derandomize=True)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["headline", "cites"]), inner),
        max_leaves=12,
    )
)
def test_reading_never_raises_whatever_the_body_is(body):
    assert "ok" != read_account(RESPONSES, body, sent=b"").status
    assert "ok" != read_account(RESPONSES, answered(json.dumps(body)), sent=b"").status


@settings(max_examples=60, derandomize=True)
@given(st.text(min_size=1), st.text())
def test_what_is_kept_holds_nothing_that_a_terminal_acts_on(headline, action):
    try:
        account = parse_account(said(headline=headline, action=action), ())
    except ValueError:
        assert "" == clean(headline).strip()
        return
    for text in (account.headline, account.action or ""):
        assert text == clean(text).strip()
        assert len(text) <= 600
