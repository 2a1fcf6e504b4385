"""Patterns of the user's: what is refused, and that what is not refused is quick on any line."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.pattern import compile_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$", r"(a|aa)+$", r"(\w*)*x", r"(?:a?b?)*c", r"(.*)*x", r"(x+x+)+y", r"(?:\d+\.?)+x", r"(?:x|[a-z]y)*z",
        r"(?>(?:a+)+)b", r"(?=(a+)+$)x", r"(a+){10}", r"((a{1,30}){1,30}){1,30}b", "a?" * 30, r"(.)\1+", r"(a*?)*?b",
        r".*a.*b.*c.*d", r"(?i)(?:a|A)+(?:b|B)+(a*)*",
    ],
)  # fmt: skip
def test_a_pattern_that_can_take_for_ever_is_refused_with_the_way_out(pattern):
    with pytest.raises(ValueError, match=r"could take for ever on some lines: .*\(\?>\.\.\.\)"):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(", "[a", "(?P<x>a)(?P<x>b)", r"(?<=a+)b", "a{2,1}", "*a", "(" * 500 + ")" * 500])
def test_what_is_no_pattern_is_told(pattern):
    with pytest.raises(ValueError, match="is no regular expression"):
        compile_pattern(pattern)


def test_every_kind_of_part_that_this_python_parses_is_one_that_is_judged():
    """Fails where a new Python parses patterns into another tree: `enricher.core.pattern` must learn it then."""
    from re import _constants, _parser

    kinds = {}
    for pattern in (
        rb"ab", rb"[^a]", rb".", rb"[a-c\d]", rb"^", rb"(a)", rb"(?:ab|cd)", rb"a*", rb"a*?", rb"a*+",
        rb"(?>a)", rb"(?=a)", rb"(?!a)", rb"(a)\1", rb"(?i:(a)\1)", rb"(a)(?(1)b|c)",
    ):  # fmt: skip
        for code, argument in _parser.parse(pattern):
            kinds.setdefault(str(code), argument)
    assert {
        "LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "SUBPATTERN", "BRANCH", "MAX_REPEAT", "MIN_REPEAT",
        "POSSESSIVE_REPEAT", "ATOMIC_GROUP", "ASSERT", "ASSERT_NOT", "GROUPREF", "GROUPREF_EXISTS",
    } == set(kinds)  # fmt: skip
    assert 4 == len(kinds["SUBPATTERN"])
    assert (0, _constants.MAXREPEAT) == kinds["MAX_REPEAT"][:2]
    assert [(_constants.LITERAL, ord("a"))] == list(kinds["MAX_REPEAT"][2])
    assert [(_constants.RANGE, (97, 99)), (_constants.CATEGORY, _constants.CATEGORY_DIGIT)] == kinds["IN"]


def test_a_part_that_is_not_known_is_refused(monkeypatch):
    from enricher.core import pattern

    monkeypatch.setattr(pattern, "op", _WithoutAny())
    with pytest.raises(ValueError, match=r"what ANY costs is not known"):
        compile_pattern("a.b")


class _WithoutAny:
    """The parser's names as an older Python would have them: one of its parts is not there."""

    ANY = object()

    def __getattr__(self, name):
        from re import _constants

        return getattr(_constants, name)


FINE = [
    r"healthz", r"(?i)^\S+ DEBUG", r"one\s+2026", r"^\S+\s+\S+\s+foo", r"(?:\d+\.)+x", r"(?:\w+ )+x", r"(?:a|b|c)+x",
    r"foo.*bar.*baz", r"^.*a.*b.*c", r"^\[\d+/\w+/\d+:\S+ [^\]]+\] .*error", r"(?:GET|POST) /(?:a|b)", r"(?:a++)+b",
    r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d", r"^(?!\s)", r"a{1,5000}b", r"(?:x{0,3}y){2}", r"(?>a+)b", r"[^\"]*\"z", r".*",
]  # fmt: skip


@pytest.mark.parametrize("pattern", FINE)
def test_a_pattern_that_is_taken_is_quick_on_any_line(pattern):
    made = compile_pattern(pattern)
    for piece in (b"a", b"x", b"foo bar ", b"foobar", b"1.", b"ab", b" ", b'"', b"a b ", b"[1/a/1:a ]", b"\xff"):
        line = piece * (256 * 1024 // len(piece))
        begin = time.process_time()
        made.is_in(line)
        assert time.process_time() - begin < 0.5, piece


@pytest.mark.parametrize("pattern", ["healthz", "^b", r"b\s+c", r"c$", r"\Ab", r"(?<!a)b", "z"])
def test_lines_are_found_one_by_one_whatever_stands_around_them(pattern):
    lines = [b"a healthz", b"b", b"c", b"", b"ab", b"b  c", b"bb"]
    data = b"".join(line + b"\n" for line in lines)
    made = compile_pattern(pattern)
    begins = [sum(len(line) + 1 for line in lines[:at]) for at, line in enumerate(lines) if made.is_in(line)]
    assert begins == made.lines_in(data)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    pattern=st.text(alphabet="ab.*+?|()[]^$\\d{2,}>:", min_size=1, max_size=12),
    line=st.text(alphabet="ab1 ", max_size=40),
)
def test_any_text_is_either_refused_or_means_what_it_says(pattern, line):
    try:
        made = compile_pattern(pattern)
    except ValueError:
        return
    assert (made.regex.search(line.encode()) is not None) == made.is_in(line.encode())
    assert ([0] if made.is_in(line.encode()) else []) == made.lines_in(line.encode() + b"\n")
