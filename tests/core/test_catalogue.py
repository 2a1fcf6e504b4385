"""The catalogue's values: what is exported is imported as it was, and nothing else is taken in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.catalogue import (
    MAX_FAULTS,
    Entry,
    ExportedAnswer,
    disagreement,
    export_header,
    exported,
    nearest,
    parse_age,
    parse_export,
)
from enricher.core.ledger import StoredAnswer
from enricher.core.verdict import CATEGORIES, SEVERITIES, Answer

NAME = "0123456789abcdef"


def an_answer(**changes) -> Answer:
    facts = {"severity": "error", "category": "storage", "summary": "the disk {disk} is full", "slots": ("disk",)}
    return Answer(**facts | changes)


def a_line(**changes) -> ExportedAnswer:
    facts = {
        "signature": NAME, "level": "ERROR", "program": "disk", "template": "disk <*> full", "events": 3,
        "first_seen_at": 1.5, "last_seen_at": None, "task": "t", "model": "m", "served_model": "m-1", "batch_id": "b",
        "answered_at": 2.5, "origin": "asked", "answer": an_answer(),
    }  # fmt: skip
    return ExportedAnswer(**facts | changes)


def read(*lines: bytes, header: bytes | None = None):
    return parse_export([export_header(len(lines), 1.0) if header is None else header, *lines])


def faults_of(*lines: bytes, header: bytes | None = None) -> list[str]:
    return read(*lines, header=header)[1]


@given(
    lines=st.lists(
        st.builds(
            a_line,
            signature=st.text("0123456789abcdef", min_size=16, max_size=16),
            template=st.text(max_size=50),
            answer=st.builds(
                an_answer,
                severity=st.sampled_from(SEVERITIES),
                category=st.sampled_from(CATEGORIES),
                summary=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=99),
                confidence=st.none() | st.floats(0, 1),
                slots=st.sampled_from([(), ("disk",), ("source.ip", "user.name")]),
            ),
            answered_at=st.floats(0, 1e10),
        ),
        max_size=5,
    )
)
@settings(max_examples=50, derandomize=True)
def test_what_was_written_is_read_as_it_was(lines):
    assert (lines, []) == read(*(line.to_line() for line in lines))


def test_an_entry_is_exported_without_secrets_of_its_template_and_only_with_a_good_answer():
    stored = StoredAnswer(
        id=1, signature=NAME, task="t", model="m", served_model="m-1", status="ok", body=an_answer().to_json(),
        batch_id="b", answered_at=2.5,
    )  # fmt: skip
    entry = Entry(
        signature=NAME, format="text", level="ERROR", program="disk", template="login password=hunter2 of <*>\x1b[2J",
        events=3, shapes=1, first_seen_at=1.5, last_seen_at=2.0, is_skipped=False, answer=stored,
    )  # fmt: skip
    line = exported(entry)
    assert line is not None
    assert b"hunter2" not in line.to_line()
    assert b"u001b" not in line.to_line()
    assert ([line], []) == read(line.to_line())
    assert None is exported(replace(entry, answer=replace(stored, status="refused", body="")))
    assert None is exported(replace(entry, answer=None))


BAD_ANSWERS = {
    "an escape sequence": {"summary": "red \x1b[31m"},
    "a reserved slot": {"slots": ("message",)},
    "a slot that is a key of programs": {"slots": ("__proto__",)},
    "a slot below a key of programs": {"slots": ("user.constructor",)},
    "a slot with a line end": {"slots": ("a\nb",)},
    "a technique that is none": {"category": "security", "technique": ("T9999",)},
}


@pytest.mark.parametrize("what", BAD_ANSWERS)
def test_an_answer_that_no_verdict_could_be_is_refused_with_its_line(what):
    given = json.loads(a_line().to_line())
    given["answer"] |= BAD_ANSWERS[what]
    (fault,) = faults_of(a_line().to_line(), json.dumps(given).encode())
    assert fault.startswith("line 3: answer.")
    assert fault.isprintable()


FAULTY = {
    "not JSON": (b"{", "Invalid JSON"),
    "a key too many": (a_line().to_line()[:-2] + b', "raw": "line"}', "raw"),
    "no answer": (b'{"signature": "0123456789abcdef"}', "missing|required"),
    "an id that is none": (a_line().to_line().replace(NAME.encode(), b"../../../etc/pas"), "signature"),
    "an unknown severity": (a_line().to_line().replace(b'"error"', b'"awful"'), "severity"),
    "not UTF-8": (b"\xff\xfe", "JSON"),
    "a number as text": (a_line().to_line().replace(b'"events":3', b'"events":"3"'), "events"),
}


@pytest.mark.parametrize("what", FAULTY)
def test_a_faulty_line_is_named_with_its_number_and_what_is_wrong(what):
    line, said = FAULTY[what]
    (fault,) = faults_of(a_line().to_line(), line)
    assert fault.startswith("line 3: ")
    assert any(word in fault for word in said.split("|")), fault


HEADERS = {
    "nothing": (b"", "first line of an export"),
    "an export of a later version": (export_header(0, 1.0).replace(b'"version":1', b'"version":2'), "version 2"),
    "another program's file": (b'{"format": "other", "version": 1}', "first line of an export"),
    "a log": (b"Nov 22 10:00:00 host sshd[1]: hello\n", "first line of an export"),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_file_that_is_no_export_of_this_version_is_refused_at_its_first_line(what):
    header, said = HEADERS[what]
    (fault,) = faults_of(a_line().to_line(), header=header)
    assert fault.startswith("line 1: ")
    assert said in fault


def test_a_file_that_ends_early_is_refused():
    assert ["line 2: the file ends after 1 signatures, its first line says 3"] == faults_of(
        a_line().to_line(), header=export_header(3, 1.0)
    )
    assert ["line 1: missing: the file is empty"] == parse_export([])[1]


def test_faults_are_told_all_at_once_up_to_a_number():
    assert 2 == len(faults_of(b"x", a_line().to_line(), b"y"))
    assert MAX_FAULTS + 1 == len(faults_of(*[b"x"] * 100))


def test_answers_disagree_by_severity_and_category_only():
    assert "" == disagreement([("info", "auth"), ("info", "auth")])
    assert "severity is info or fatal" == disagreement([("fatal", "auth"), ("info", "auth")])
    assert "category is auth or network" == disagreement([("info", "network"), ("info", "auth")])
    assert "severity is debug or info; category is auth or cpu" == disagreement([("info", "cpu"), ("debug", "auth")])


def test_lengths_of_time_are_read_with_their_unit():
    assert [90.0, 7_200.0, 2_592_000.0, 604_800.0] == [parse_age(text) for text in ("90s", "2h", "30d", " 1w ")]
    for text in ("30", "d", "-1d", "0d", "1.5h", "1y", "9999999d"):
        with pytest.raises(ValueError, match="no length of time"):
            parse_age(text)


def test_the_nearest_names_share_the_longest_beginning():
    assert ["abcf", "abff", "ffff"] == nearest("abcd", ["ffff", "abff", "abcf", "abcf"])
    assert [] == nearest("abcd", [])
