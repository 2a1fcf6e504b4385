"""Matchers: which template of the model's is believed, how an answer is widened, what joins."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.extract import holes
from enricher.core.matcher import MOST_OPEN, Matcher, Matchers, MatcherTable, accepted, opened, widened
from enricher.core.skeleton import GUARDED_WORDS, HOLE, HOLE_TEXT, Shape
from enricher.core.verdict import Answer, Asked, Shown, judge

SHOWN = "volume alpha grew to <1> on node <2>"
WIDER = "volume <*> grew to <*> on node <*>"
LINES = ("volume alpha grew to 12 on node n-1", "volume alpha grew to 9 on node n-7")


def an_answer(**changes):
    facts = {"severity": "info", "category": "storage", "summary": "it grew to {size}", "slots": ("size", "node")}
    return Answer(**facts | changes)


def a_shape(skeleton, **changes):
    facts = {"format": "text", "level": "INFO", "program": "app"}
    return Shape(**facts | changes, skeleton=skeleton.replace(HOLE_TEXT, HOLE))


def a_matcher(template=WIDER, places=(1,)):
    return Matcher(row=7, format="text", level="INFO", program="app", template=template, open=places)


@pytest.mark.parametrize(
    "text", [WIDER, "volume <*> grew to <1> on node <2>", "volume {volume} grew to <1> on node <2>"]
)
def test_a_template_that_opens_a_free_word_is_taken_however_its_holes_are_written(text):
    assert WIDER == accepted(text, SHOWN, LINES)


@pytest.mark.parametrize(
    ("text", "shown", "lines"),
    [
        (SHOWN, SHOWN, LINES),  # opens nothing
        ("volume <*> shrank to <1> on node <2>", SHOWN, LINES),  # another word
        ("<*> <*> <*> <*> <1> <*> <*> <2>", SHOWN, LINES),  # nothing stays
        ("volume <*> grew to <1>", SHOWN, LINES),  # shorter
        ("volume alpha grew to nine on node <2>", SHOWN, LINES),  # a hole is closed
        (WIDER, SHOWN, ("volume beta shrank to 12 on node n-1",)),  # a line that was sent does not fit
        ("backup of <1> <*> on node <2>", "backup of <1> failed on node <2>", ()),  # what happened
        ("backup of <1> is <*> on node <2>", "backup of <1> is STALE on node <2>", ()),  # a state
        ("write to <1> <*> twice now", "write to <1> not-accepted twice now", ()),  # within a word
        ("login with <*> of <1> came twice", "login with <secret> of <1> came twice", ()),
        ("x" * 10_000, SHOWN, LINES),
        ("", SHOWN, LINES),
    ],
)
def test_any_other_template_is_dropped(text, shown, lines):
    assert accepted(text, shown, lines) is None


def test_the_words_that_stay_must_tell():
    assert opened("alpha <*> beta now", "<*> <*> beta now") is None
    words = [f"w{chr(97 + at)}" for at in range(MOST_OPEN + 6)]
    template = " ".join(words)
    assert opened(template, " ".join(["<*>"] * MOST_OPEN + words[MOST_OPEN:])) is not None
    assert opened(template, " ".join(["<*>"] * (MOST_OPEN + 1) + words[MOST_OPEN + 1 :])) is None


def test_an_answer_is_widened_so_that_each_hole_keeps_its_name():
    wider, places = opened(SHOWN.replace("<1>", "<*>").replace("<2>", "<*>"), WIDER)
    answer = widened(an_answer(matches=WIDER), "volume alpha grew to <*> on node <*>", places)
    assert (WIDER, (1,)) == (wider, places)
    assert ("p1", "size", "node") == answer.slots
    taken = widened(an_answer(slots=("p1", "p2")), "volume alpha grew to <*> on node <*>", places)
    assert ("p3", "p1", "p2") == taken.slots


def test_a_shape_with_another_word_in_an_open_place_joins_and_no_other_does():
    matchers = Matchers(MatcherTable(revision=1, matchers=(a_matcher(),)))
    merge = matchers.merge(9, a_shape("volume beta grew to <*> on node <*>"))
    assert ((7, 9), WIDER) == (merge.members, merge.template)
    for other in (
        a_shape("volume failed grew to <*> on node <*>"),
        a_shape("volume beta shrank to <*> on node <*>"),
        a_shape("volume beta grew to twelve on node <*>"),
        a_shape("volume beta grew to <*> on node <*> again"),
        a_shape("volume beta grew to <*> on node <*>", level="ERROR"),
        a_shape("volume beta grew to <*> on node <*>", program="other"),
        a_shape("volume beta grew to <*> on node <*>", format="text#errno 5"),
    ):
        assert matchers.merge(9, other) is None
    assert matchers.merge(7, a_shape("volume beta grew to <*> on node <*>")) is None


@given(st.text(alphabet="ab <>*1{}.-", max_size=40), st.text(alphabet="ab <>*1{}.-", max_size=40))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_no_text_of_a_model_breaks_and_what_is_taken_only_opens_places(text, shown):
    wider = accepted(text, shown, ())
    if wider is not None:
        assert holes(wider) > shown.count("<1>")
        assert opened(shown.replace("<1>", HOLE_TEXT), wider) is not None


@given(st.sampled_from(sorted(GUARDED_WORDS)))
@settings(derandomize=True, max_examples=60)
def test_a_word_that_says_what_happened_is_never_opened(word):
    shown = f"unit <1> was {word} again today"
    assert accepted("unit <1> was <*> again today", shown, ()) is None


def test_the_verdict_has_the_template_only_if_it_holds_for_what_was_shown():
    raw = {"severity": "info", "category": "storage", "summary": "it grew", "slots": ["size", "node"], "matches": WIDER}
    asked = Asked(signature="a" * 16, holes=2)
    verdict = judge(asked, raw, Shown(template=SHOWN, examples=LINES))
    assert (WIDER, ("size", "node")) == (verdict.answer.matches, verdict.answer.slots)
    dropped = judge(asked, raw | {"matches": "volume <*> fell"}, Shown(template=SHOWN, examples=LINES))
    assert ("ok", None, ("matcher_dropped",)) == (dropped.status, dropped.answer.matches, dropped.mended)
    odd = judge(asked, raw | {"matches": ["x"]}, Shown(template=SHOWN, examples=LINES))
    assert ("ok", ("matcher_dropped",)) == (odd.status, odd.mended)
    assert "matches" not in json.loads(dropped.answer.to_json())
