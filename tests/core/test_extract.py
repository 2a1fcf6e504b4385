"""Values of events: templates as patterns, and where messages begin."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.extract import MessageStarts, compile_extractor, holes
from enricher.core.skeleton import message_start, shape_of


def values(template: str, line: bytes) -> list[str] | None:
    match = compile_extractor(template).match(line)
    return None if match is None else [value.decode() for value in match.groups()]


@pytest.mark.parametrize(
    ("template", "message", "expected"),
    [
        ("took <*>", b"took 31 ms \n", ["31 ms"]),
        ("took <*>", b"took 31 ms\n  at a.b.c", ["31 ms"]),
        ("from <*> port <*> ssh", b"from 10.0.0.9   port 22\tssh", ["10.0.0.9", "22"]),
        ("src: <*> dest: <*>", b"src: /10.0.0.1:5 dest: /10.0.0.2:6", ["/10.0.0.1:5", "/10.0.0.2:6"]),
        (
            "connection from <*> (<*>) at <*>",
            b"connection from 1.2.3.4 () at Sat Jul  9",
            ["1.2.3.4", "", "Sat Jul  9"],
        ),
        ("<*>:Got exception", b"10.0.0.1:80:Got exception", ["10.0.0.1:80"]),
        ("lists <*>, done", b"lists 1, 2, 3, done", ["1, 2, 3"]),
        ("ends with <*> bytes", b"ends with 5 bytes of 6 bytes", ["5 bytes of 6"]),
        ("plain words", b"plain   words", []),
        ("plain words", b"plainwords", None),
        ("a (b) <*>", b"a(b ) 1", ["1"]),
        ("code .-0 x", b"code .-4711 x", []),
        ("größe <*>", "größe 5".encode(), ["5"]),
        ("\ufffd<*>\ufffd set", b"\x1b[1;32m42\x1b[0m set", ["42"]),
        ("<*> <*>", b"1 2 3", ["1", "2 3"]),
        ("x <*>", b"y 1", None),
        ("", b" \n", []),
        ("[<*>] a+b? <*>", b"[7] a+b? 8", ["7", "8"]),
    ],
)
def test_a_template_finds_its_values(template, message, expected):
    assert expected == values(template, message)


def test_groups_are_named_in_order():
    match = compile_extractor("a <*> b <*>").match(b"a 1 b 2")

    assert match is not None
    assert {"p1": b"1", "p2": b"2"} == match.groupdict()
    assert 2 == holes("a <*> b <*>")


NAMES = ["user=root", "10.0.0.7:443", "0xdead1", "failed", "/var/log/a.log", "bob@example.com", "5 ms", "Sat Jul  9"]
SIGNS = ["(x)", "[7]", "a,b;c", "=", "name: 'q'", "é", "--", "1, 2,3", "()", "100%", '{"k":1}']
WORDS = st.sampled_from(NAMES) | st.sampled_from(SIGNS)
HEADERS = st.sampled_from(["", "2026-11-22 10:01:02,123 [main-1] WARN  ", "Nov 22 10:01:02 web-3 sshd[4711]: "])


@settings(derandomize=True, max_examples=200)
@given(HEADERS, st.lists(WORDS, min_size=1, max_size=8), st.sampled_from([" ", "  ", "\t"]))
def test_the_template_of_a_line_matches_its_message(header, words, space):
    line = (header + space.join(words)).encode()
    template = shape_of(line).template
    match = compile_extractor(template).match(line, message_start(line))

    assert match is not None
    assert holes(template) == len(match.groups())


HOSTILE_TAILS = [b"a" * 200_000, b" " * 200_000, b"a " * 100_000, b"a:" * 100_000, b"0" * 200_000, b"\xff" * 200_000]
HOSTILE_TAILS += [
    b"\x1b[0m" * 50_000,
    b"a (" * 60_000,
    b"a b c d " * 25_000,
    b"\xff\xc3\xa9" * 60_000,
    b"aa bb " * 30_000,
]


@pytest.mark.parametrize(
    "template",
    [
        "<*> a <*> b <*> c <*> z",
        "<*>: <*> a: <*> a: z",
        "<*>\ufffd<*>\ufffdz",
        "<*> .-0 <*> .-0 z",
        "<*> (<*>) (<*>) z",
        "<*>" + " a" * 1_000 + " z <*>",
    ],
)
@pytest.mark.parametrize("tail", HOSTILE_TAILS, ids=lambda tail: repr(tail[:8]))
def test_a_message_that_does_not_match_is_refused_in_linear_time(template, tail):
    pattern = compile_extractor(template)
    began = time.process_time()

    assert pattern.match(tail + b"!") is None
    assert time.process_time() - began < 0.5


def test_starts_of_many_messages_are_those_of_each_line_alone():
    lines = [
        *(f"Nov 22 10:0{number}:02 web-{number} sshd[{number}]: Failed {number}".encode() for number in range(5)),
        *(f"Nov 22 10:0{number}:02 deadbee{number} sshd[{number}]: Failed {number}".encode() for number in range(5)),
        b"2026-11-22 10:00:00 Failed 5",
        b"Failed 6",
        b"7 Failed",
        b"",
    ]
    starts = MessageStarts()

    for _ in range(2):
        assert [message_start(line) for line in lines] == [starts.find(line, 1) for line in lines]


def test_a_shape_with_very_many_headers_is_still_answered():
    starts = MessageStarts()
    lines = [f"Nov 22 10:00:02 {chr(97 + n % 26)}{chr(97 + n // 26)}x app[1]: done".encode() for n in range(60)]

    assert {len(b"Nov 22 10:00:02 aax app[1]: ")} == {starts.find(line, 1) for line in lines}
    assert len(starts._headers[1]) < len(lines)
