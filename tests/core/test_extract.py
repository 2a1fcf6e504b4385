"""Values of events: templates as patterns, and where messages begin."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from enricher.core.extract import (
    ANY_BLANK,
    ONLY_SPACES,
    compile_extractor,
    compile_quick,
    header_pattern,
    holes,
    words_of_holes,
)
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


def test_groups_are_the_holes_in_order():
    match = compile_extractor("a <*> b <*>").match(b"a 1 b 2")

    only = compile_extractor("a <*> b <*>", frozenset({2})).match(b"a 1 b 2")

    assert match is not None
    assert only is not None
    assert (b"1", b"2") == match.groups()
    assert (b"2",) == only.groups()
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


@settings(derandomize=True, max_examples=400)
@given(HEADERS, HEADERS, st.lists(WORDS, min_size=1, max_size=8), st.lists(st.sampled_from([" ", " ", "  ", "\t", ""])))
def test_what_the_quick_pattern_finds_is_what_the_exact_one_finds(known, header, words, spaces):
    template = shape_of((header + " ".join(words)).encode()).template
    message = "".join(word + space for word, space in zip(words, spaces + [" "] * len(words), strict=False))
    line = (header + message).encode()
    assume(shape_of(line).template == template == shape_of((known + message).encode()).template)
    blanks = ANY_BLANK if "\t" in message else ONLY_SPACES
    exact = compile_extractor(template).match(line[message_start(line) :])
    for single in (False, True):
        pattern = header_pattern((known + message).encode(), blanks, single=single)
        quick = compile_quick(template, header=pattern, blanks=blanks, single=single).match(line)

        assert quick is None or (exact is not None and quick.groups() == exact.groups())


TOKENS = st.sampled_from(["a", "b", "<*>", "<*>", "c:", "<*>:", "p=<*>", "(<*>)"])
VALUES = st.lists(st.sampled_from(["a", "b", "d", "c:", "p=x"]), min_size=1, max_size=3).map(" ".join)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=6), st.lists(VALUES, min_size=12, max_size=12), st.data())
def test_a_pattern_that_counts_the_words_of_values_finds_what_the_exact_one_finds(tokens, filled, data):
    template = " ".join(["x", *tokens])
    count = holes(template)
    line, known = (
        "".join(
            text for pair in zip(template.split("<*>"), [*values[:count], ""], strict=True) for text in pair
        ).encode()
        for values in (filled[:6], filled[6:])
    )
    guessed = words_of_holes(template, [b"Nov 22 h: " + known])
    words = data.draw(st.just(guessed) | st.tuples(*[st.integers(0, 3)] * count))
    header = header_pattern(b"Nov 22 h: " + line, ONLY_SPACES, single=True)
    pattern = compile_quick(template, header=header, blanks=ONLY_SPACES, single=True, words=words)
    quick, exact = pattern.match(b"Nov 22 h: " + line), compile_extractor(template).match(line)

    assert quick is None or (exact is not None and quick.groups() == exact.groups())


@pytest.mark.parametrize(
    ("template", "lines", "expected"),
    [
        ("took <*> for <*> runs", [b"h 1 took 31 ms for 5 runs"], (2, 1)),
        ("took <*> for <*>", [b"took 31 ms for a b c", b"took 4 ms for a b c"], (2, 3)),
        ("took <*> for <*>", [b"took 31 ms for a b c", b"took 4 ms for a"], (2, 0)),
        ("for user=<*> at <*>: ok", [b"for user=bob at 10.0.0.1: ok"], (1, 1)),
        ("said <*>", [b"said one two three four five"], (0,)),
        ("said <*>", [b"nothing of the kind"], (0,)),
        ("<*> came", [b"bob came"], (0,)),
        ("size 0 of <*> done", [b"size 4711 of x done"], (1,)),
    ],
)
def test_the_words_of_values_are_counted_where_all_lines_have_as_many(template, lines, expected):
    assert expected == words_of_holes(template, lines)


def test_a_line_with_as_many_words_is_matched_and_one_with_more_is_left():
    template, line = "took <*> for <*>", b"Nov 22 h: took 31 ms for x"
    pattern = header_pattern(line, ONLY_SPACES, single=True)
    quick = compile_quick(template, header=pattern, blanks=ONLY_SPACES, single=True, words=(2, 1))

    assert (b"31 ms", b"x") == quick.match(line).groups()
    assert quick.match(b"Nov 22 h: took 31 ms for x y") is None
    assert quick.match(b"Nov 22 h: took 31 for x") is None


@pytest.mark.parametrize(
    ("template", "line", "words"),
    [
        ("x p=<*> <*>", b"x p=d c a d", (2, 2)),  # the first blank ends a value behind which stands another
        ("x <*> a <*>", b"x d a b a e", (3, 1)),  # the first place where all that follows stands ends it
        ("x <*>: a", b"x d: b: a", (1,)),
        ("x = <*>, y", b"x =  1, y", (1,)),
    ],
)
def test_counts_that_would_find_other_values_than_the_exact_pattern_find_none(template, line, words):
    header = header_pattern(line, ONLY_SPACES, single=True)
    quick = compile_quick(template, header=header, blanks=ONLY_SPACES, single=True, words=words).match(line)
    exact = compile_extractor(template).match(line)

    assert exact is not None
    assert quick is None or quick.groups() == exact.groups()


@pytest.mark.parametrize("header", ["", "Nov 22 10:01:02 web-3 sshd[4711]: ", "20171223-22:15:29:606|"])
def test_the_quick_pattern_fits_lines_spelled_as_their_template_is(header):
    other = (header.replace("2", "33") + "took 31 ms for a b").encode()
    pattern = header_pattern(other, ONLY_SPACES)
    match = compile_quick("took <*> for <*>", header=pattern, blanks=ONLY_SPACES, wanted=frozenset({2})).match(
        (header + "took 7 s for some time").encode()
    )

    assert match is not None
    assert (b"some time",) == match.groups()


def test_a_word_of_the_header_is_no_part_of_the_first_value():
    pattern = header_pattern(b"Nov 22 10:01:02 web sshd[1]: bob came", ONLY_SPACES)
    quick = compile_quick("<*> came", header=pattern, blanks=ONLY_SPACES)

    assert quick.match(b"Nov 22 10:01:02 web INFO sshd[1]: bob came") is None
    assert quick.match(b"Nov 22 10:01:02 web sshd[1]: bob came") is not None


@pytest.mark.parametrize(
    "template", ["<*> a <*> b <*> c <*> z", "<*>: <*> a: <*> a: z", "x <*>" + " a" * 1_000 + " z <*>"]
)
@pytest.mark.parametrize("tail", HOSTILE_TAILS, ids=lambda tail: repr(tail[:8]))
@pytest.mark.parametrize("words", [(), (1, 2, 3, 4)])
def test_the_quick_pattern_refuses_a_line_in_linear_time(template, tail, words):
    header = b" *+" + b"[^ ]++ ++" * 5
    pattern = compile_quick(template, header=header, blanks=ONLY_SPACES, single=bool(words), words=words)
    began = time.process_time()

    assert pattern.match(tail + b"!") is None
    assert time.process_time() - began < 0.5
