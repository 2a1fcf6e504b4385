"""The digest of a window: what changed by counting, what a model may say of it, and what is written."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.account import Account
from enricher.core.digest import (
    HISTORY_WINDOWS,
    Digest,
    KindCount,
    WindowKinds,
    compare,
    to_json,
    to_markdown,
)
from enricher.core.redact import clean

WINDOW = "2026-11-22T10Z"


def a_kind(signature: str = "a" * 16, events: int = 100, **changes) -> KindCount:
    return KindCount(
        **{"signature": signature, "template": "took <*>", "level": "INFO", "program": "app", "events": events}
        | changes
    )


def compared(counts, history, gone) -> Digest:
    return compare(WINDOW, WindowKinds(counts=tuple(counts), history=tuple(history), gone=gone))


def change_of(events: int, series: list[int]) -> str | None:
    """What becomes of one kind; nothing where it did not occur and is not missed."""
    kind = a_kind(events=events)
    history = [{kind.signature: count} if count else {} for count in series]
    gone = {} if events else {kind.signature: kind}
    digest = compared([kind] if events else [], history, gone)
    return digest.changes[0].change if digest.changes else None


@pytest.mark.parametrize(
    ("events", "series", "expected"),
    [
        (1, [], "new"),
        (1, [0] * 24, "new"),
        (100, [100] * 24, None),
        (150, [100] * 24, None),
        (200, [100] * 24, "rising"),
        (200, [100, 100], None),
        (9, [1] * 24, None),
        (12, [1] * 24, "rising"),
        (40, [100] * 24, "falling"),
        (60, [100] * 24, None),
        (1, [2] * 24, None),
        (300, [0, 400, 0, 0, 390, 0, 0, 410], None),
        (0, [100] * 24, "vanished"),
        (0, [3] * 24, None),
        (0, [100, 0, 0, 0, 100, 0], None),
        (0, [100, 100], None),
    ],
)
def test_a_count_is_called_unusual_only_when_it_is(events, series, expected):
    assert expected == change_of(events, series)


def test_only_the_latest_windows_say_what_is_usual():
    assert change_of(100, [100] * 3 + [0] * HISTORY_WINDOWS) == "new"


def test_steady_random_traffic_alarms_nobody():
    dice = random.Random(1)
    series = [sum(dice.random() < 0.05 for _ in range(1000)) for _ in range(400)]
    alarms = [change_of(series[at], series[at - HISTORY_WINDOWS : at]) for at in range(HISTORY_WINDOWS, len(series))]

    assert [None] * len(alarms) == alarms


def a_digest():
    kinds = [
        a_kind("1" * 16, 500, severity="error", category="database", summary="Query took {event.duration}."),
        a_kind("2" * 16, 5, template="password=hunter2hunter2 for <*>"),
        a_kind("3" * 16, 100, severity="critical", category="storage", summary="Disk is full."),
    ]
    history = [{"1" * 16: 100, "3" * 16: 100, "4" * 16: 50}] * 24
    return compared(kinds, history, {"4" * 16: a_kind("4" * 16, 0, severity="info")})


def test_the_gravest_change_comes_first_and_what_is_grave_is_named_though_it_did_not_change():
    digest = a_digest()

    assert ["1" * 16, "4" * 16, "2" * 16] == [one.kind.signature for one in digest.changes]
    assert ["rising", "vanished", "new"] == [one.change for one in digest.changes]
    assert ["3" * 16, "1" * 16] == [kind.signature for kind in digest.gravest]
    assert (605, 3, 24) == (digest.events, digest.kinds, digest.history_windows)
    assert digest.is_worth_asking


def an_account(**changes) -> Account:
    whole = {"headline": "h", "what_happened": "w", "likely_cause": None, "action": None, "cites": ()}
    return Account(**whole | changes)


def test_the_files_say_the_same_with_and_without_a_model():
    digest = a_digest()
    account = an_account(headline="All *bad*", cites=("1" * 16,), model="m")

    plain, told = json.loads(to_json(digest, None)), json.loads(to_json(digest, account))
    assert plain["account"] is None
    assert ("All *bad*", "m") == (told["account"]["headline"], told["account"]["model"])
    assert plain | {"account": None} == told | {"account": None}
    assert ["1" * 16] == [one["signature"] for one in plain["rising"]]
    text = to_markdown(digest, account)
    assert "# 2026-11-22T10Z: 605 events of 3 kinds" in text
    assert "**All \\*bad\\***" in text
    assert "## Rising (1)" in text
    assert "## Falling" not in text


@settings(max_examples=50, derandomize=True)
@given(st.text(max_size=60))
def test_no_text_of_a_log_or_a_model_forms_markup_or_breaks_a_table(text):
    digest = compared([a_kind(template=text)], [], {})
    rows = [line for line in to_markdown(digest, None).splitlines() if line.startswith("| 100")]

    assert 1 == len(rows)
    assert 5 == rows[0].count("|") - rows[0].count("\\|")
    assert clean(rows[0]) == rows[0]


_HOSTILE = st.text(alphabet="ab1 *_`[](){}<>!|\\&;:/.@-=+#~\n\r\x1b\u202e\u200bw", max_size=40) | st.sampled_from(
    [
        "[x](javascript:alert(1))",
        "<img src=x onerror=alert(1)>",
        "see https://evil.example/a and www.evil.example",
        "![x](http://evil.example/p.png)",
        "<https://evil.example>",
        "mail root@evil.example",
        "&lt;b&gt; &#60;b&#62;",
        "- a list",
        "1. a list",
        "--- | --- |",
        "# a heading",
        "``` code ```",
    ]
)


@settings(max_examples=150, derandomize=True)
@given(_HOSTILE, _HOSTILE, _HOSTILE)
def test_no_word_of_an_account_is_active_in_markdown(headline, what_happened, cause):
    account = an_account(headline=headline or "-", what_happened=what_happened or "-", likely_cause=cause, action=cause)
    lines = to_markdown(a_digest(), account).splitlines()
    plain = to_markdown(a_digest()).splitlines()
    told = lines[1 : len(lines) - len(plain) + 1]

    for line in told:
        bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", line.removeprefix("**").removesuffix("**"))
        assert not re.search(r"[`*_{}\[\]<>()#+!|~&@\\]|://|www\.", bare, re.IGNORECASE), line
        assert not re.match(r"[-=]|[0-9]+\.", line)
        assert clean(line) == line
