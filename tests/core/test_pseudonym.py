"""Lines under pseudonyms, and the way back."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core import prompt
from enricher.core.answer import Asked, Question, read_response
from enricher.core.checksums import has_luhn, is_card, is_iban
from enricher.core.examples import choose
from enricher.core.prompt import request_body
from enricher.core.pseudonym import PSEUDONYM, Pseudonyms, stand_ins, without_pseudonyms
from enricher.core.redact import clean, mask_template
from enricher.core.task import CHAT, RESPONSES, parse_task
from tests.core.planted import HARMLESS, PLANTED

TASK = parse_task('name = "t"\nversion = 1\n[prompt]\nsystem = "s"\n', name="t")


def redacted(*lines):
    return Pseudonyms(lines).redact(lines)


def test_the_corpus_is_as_large_as_it_says():
    assert 200 <= len(PLANTED)
    assert 60 <= len(HARMLESS)


@pytest.mark.parametrize(("line", "values"), PLANTED)
def test_nothing_planted_is_left_in_a_redacted_line(line, values):
    (left,) = redacted(line)
    assert [] == [value for value in values if value in left], left


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless_lines_stay_as_they_are(line):
    assert (line,) == redacted(line)
    assert line == mask_template(line)


def test_one_value_has_one_pseudonym_in_all_lines_so_that_relations_survive():
    lines = redacted(
        "user=mreyes from 10.1.2.3 to 45.83.64.9",
        "/home/mreyes is full",
        "mreyes asked 45.83.64.9, 10.1.2.9 answered",
    )
    assert (
        "user=user-1 from private-ip-1 to public-ip-1",
        "/home/user-1 is full",
        "user-1 asked public-ip-1, private-ip-2 answered",
    ) == lines


def test_a_text_that_looks_like_a_pseudonym_is_not_given_to_a_value():
    assert ("user=user-2 is not worker user-1",) == redacted("user=mreyes is not worker user-1")


def test_a_line_that_is_cut_does_not_show_half_a_secret():
    line = "x" * 3_000 + " " + "y" * 980 + " password=" + "hunter2" * 10
    (left,) = redacted(line)
    assert "hunter2" not in left
    assert len(left) <= 4_010


@given(st.lists(st.text(max_size=60), max_size=4))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_redaction_never_fails_and_gives_clean_lines(lines):
    assert all(line == clean(line) for line in redacted(*lines))
    assert len(lines) == len(redacted(*lines))


@pytest.mark.parametrize(
    "piece",
    ["a", "a ", "user ", "user=", "for a from ", "/home/", "a@", "1", "1-", "10.", "a:", "::", "AB", "\\", "A\\", "Aa1",
     "name=a ", "'a'@'", "by ", "cn=", "mr. ", "=", '"user":{', "key ", "-u ", "su - ", "+1 "],
)  # fmt: skip
def test_redaction_takes_linear_time(piece):
    def seconds(length: int) -> float:
        # Not through `redact`, which cuts.
        text = piece * (length // len(piece))
        start = time.process_time()
        mask_template(text)
        return time.process_time() - start

    seconds(500)
    small, large = min(seconds(2_000) for _ in range(2)), seconds(16_000)
    # Eight times the text; quadratic work would take 64 times as long.
    assert large < 30 * small + 0.05


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (has_luhn, "79927398713", "79927398714"),
        (is_card, "4111 1111 1111 1111", "4111 1111 1111 1112"),
        (is_iban, "DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 01"),
    ],
)
def test_a_number_that_fails_its_check_is_none(check, good, bad):
    assert check(good)
    assert not check(bad)


# ---------------------------------------------------------------- the way back

TEMPLATE = "Failed password for <1> from <2> port <3> ssh2"
EXAMPLES = (
    "Failed password for user-1 from public-ip-1 port 22 ssh2",
    "Failed password for user-2 from private-ip-1 port 2222 ssh2",
)


def test_a_pseudonym_stands_for_the_hole_that_it_fills():
    expected = {"user-1": 1, "public-ip-1": 2, "user-2": 1, "private-ip-1": 2}
    assert expected == stand_ins(TEMPLATE, EXAMPLES)


def test_a_pseudonym_in_a_constant_word_stands_for_no_hole():
    assert {"user-2": 1} == stand_ins("<user> gave way to <1>", ["user-1 gave way to user-2"])
    assert {} == stand_ins("read <1>", ["read /home/user-1/x"])
    assert {} == stand_ins("no holes for user-1", ["no holes for user-1"])


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("user-1 failed to log in from public-ip-1.", "{1} failed to log in from {2}."),
        ("The user USER-2 is unknown", "The user {1} is unknown"),
        ("The user user-9 is unknown", "a user is unknown"),
        ("it came from IP address public-ip-7 again", "it came from a public address again"),
        ("secret-1, email-2 and card-3", "a secret, an e-mail address and a card number"),
        ("grid-1 and ip-10-0-0-1 stay", "grid-1 and ip-10-0-0-1 stay"),
    ],
)
def test_pseudonyms_become_holes_or_kinds(said, written):
    assert written == without_pseudonyms(said, stand_ins(TEMPLATE, EXAMPLES))


def test_a_word_of_the_template_is_no_pseudonym():
    assert "host-1 is down" == without_pseudonyms("host-1 is down", {}, "host-1 is <1>")


@pytest.mark.parametrize("endpoint", [RESPONSES, CHAT])
def test_no_pseudonym_reaches_an_answer(endpoint):
    questions = [
        Question(
            signature=name,
            template=f"{name} denied user=<*> from <*>",
            level="",
            program="gate",
            examples=(f"{name} denied user=mreyes from 45.83.64.9", f"{name} denied user=tvega from 10.0.0.7"),
        )
        for name in ("aa", "bb")
    ]
    body = request_body(TASK, questions, model="m", endpoint=endpoint)
    text = json.dumps(body)
    assert not [value for value in ("mreyes", "tvega", "45.83.64.9", "10.0.0.7") if value in text]
    names = sorted({match.group() for match in PSEUDONYM.finditer(text)})
    assert ["private-ip-1", "public-ip-1", "user-1", "user-2"] == names
    said = {
        "slots": ["user-1", "source.ip"],
        "summary": "The gate refused user-1 at {public-ip-1}, also user-2 and secret-4.",
        "category": "auth",
        "severity": "warning",
        "outcome": "failure",
        "tags": ["user-1", "gate"],
        "root_cause": {"hint": "private-ip-1 is not on the list", "origin": "config"},
        "action": "ask user-2",
        "technique": None,
        "confidence": 1,
    }
    content = json.dumps({"s1": said, "s2": said})
    message = {"type": "message", "content": [{"type": "output_text", "text": content}]}
    response = (
        {"status": "completed", "output": [message]}
        if endpoint == RESPONSES
        else {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    )
    asked = [Asked(signature=one.signature, holes=one.holes) for one in questions]
    reading = read_response(TASK, endpoint, response, asked, sent=json.dumps(body).encode())
    for verdict in reading.verdicts:
        assert verdict.answer is not None
        assert "The gate refused {p1} at {source.ip}, also {p1} and a secret." == verdict.answer.summary
        assert "{source.ip} is not on the list" == verdict.answer.root_cause_hint
        assert ("gate",) == verdict.answer.tags
        assert not PSEUDONYM.search(verdict.answer.to_json())


def test_a_refusal_is_noted_without_pseudonyms():
    body = {"choices": [{"message": {"refusal": "I will not talk about user-1"}}]}
    reading = read_response(TASK, CHAT, body, [Asked(signature="a", holes=0)])
    assert "I will not talk about a user" == reading.verdicts[0].reason


def test_raw_lines_are_sent_as_they_are_but_for_what_no_terminal_should_see():
    question = Question(
        signature="a",
        template="<*> x",
        level="",
        program="",
        examples=("user=mreyes\x1b[31m 10.0.0.1\u202e x",),
        is_raw=True,
    )
    assert ["user=mreyes 10.0.0.1 x"] == prompt.shown_question(question)["examples"]


# ---------------------------------------------------------------- examples


def test_examples_are_those_that_differ_most():
    lines = [b"took 1 ms for a", b"took 1 ms for a", b"took 2 ms for a", b"took 0 ms for none", b"took 3 ms for b"]
    assert (lines[0], lines[3]) == choose("took <*> ms for <*>", lines)


def test_a_third_example_shows_a_new_sort_of_value():
    lines = [b"saw 1", b"saw 0", b"saw word", b"saw 2", b"saw 3"]
    assert {b"saw 1", b"saw 0", b"saw word"} == set(choose("saw <*>", lines))


def test_lines_that_are_the_same_are_shown_once_and_large_ones_are_left_out():
    assert (b"a", b"b") == choose("<*>", [b"a", b"a", b"b"])
    assert (b"a b",) == choose("<*>", [b"a b", b"x" * 5_000])
    assert () == choose("<*>", [])


@given(st.lists(st.binary(max_size=30), max_size=30), st.sampled_from(["<*>", "a <*> b <*>", "", "x"]))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_a_choice_is_a_part_of_the_lines_and_bounded(lines, template):
    chosen = choose(template, lines)
    assert len(chosen) <= 5
    assert set(chosen) <= set(lines)
    assert bool(lines) == bool(chosen)
