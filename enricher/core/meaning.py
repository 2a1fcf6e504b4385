"""Numbers that carry meaning, made words of a shape (level L0 of a signature): what collapsing digits would hide.

A number is taken for one where the text around it says so, whatever wrote the line: the status of a request, an exit
or return code, ``errno``, a count of failures, the level number of JSON loggers. Each has few words: the class of a
status that reports an error, "not 0", the number itself for ``errno``. What is normal (2xx, 0) has none, so that such
lines keep the shape that they have without this.

Which rules hold for a shape is found once, on its collapsed line; only lines of such shapes are looked at again, as
they are. Invariants: what comes out is a function of the line alone; a shape that is told apart differs in format or
level only, so that its template serves as before. Must never: contain a rule for one product.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from operator import sub
from typing import TYPE_CHECKING, Final

from enricher.core.collapse import collapse_line
from enricher.core.skeleton import TOLD, Shape, shape_of
from enricher.core.structured.key import MOST_BYTES, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LINE_BYTES: Final = 8_192
"""A number behind these bytes of a line tells nothing."""

_LEVEL: Final = "level"
_NOT_ZERO: Final = "not 0"
_LEVEL_WORDS: Final = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
_MOST_ERRNO: Final = 255
_MOST_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """A number that carries meaning. `pattern` finds it, as its group, in a raw line and in a collapsed one."""

    name: str
    pattern: re.Pattern[bytes]
    word: Callable[[bytes], str]
    hints: tuple[bytes, ...]
    """One of these stands in lower case in every line that the pattern can match: searching for them is far cheaper."""
    behind: bytes
    """A pattern of what must follow the number."""


Rules = tuple[Rule, ...]
Words = tuple[str, ...]
"""What the numbers of one line say, beside its rules; "" for what is normal or not there."""


def _word(say: Callable[[int], str]) -> Callable[[bytes], str]:
    """What digits say; no digits, and more than a number has, say nothing."""

    @lru_cache(maxsize=4096)
    def word(digits: bytes) -> str:
        return say(int(digits)) if 0 < len(digits) <= _MOST_DIGITS else ""

    return word


@_word
def _class_of_status(number: int) -> str:
    return f"{number // 100}xx" if 400 <= number < 600 else ""


@_word
def _whether_zero(number: int) -> str:
    return _NOT_ZERO if number else ""


@_word
def _whether_negative(number: int) -> str:
    return "below 0" if number < 0 else ""


@_word
def _errno(number: int) -> str:
    return str(number) if 0 < number <= _MOST_ERRNO else ""


@_word
def _level(number: int) -> str:
    return _LEVEL_WORDS.get(number, "")


# Between a key and its number, in text, pairs and JSON, which a wrapper may have escaped.
_TO = rb"\\?[\"']?(?:\s?[=:]\s?|\s)\\?[\"']?"
_END = rb"(?![\w.%]|\.[0-9])"
_STATUS: Final = Rule(
    "http status",
    re.compile(rb"(?:[Ss]tatus|(?<![A-Za-z])(?:[Rr]esponse|[Hh]ttp|HTTP)[_ ]?[Cc]ode)(?:[_ ]?[Cc]ode)?" + _TO
               + rb"([0-9]+)" + _END),
    _class_of_status, (b"status", b"code"), _END,
)  # fmt: skip
_ACCESS: Final = Rule(
    "http status",
    re.compile(
        rb"\" ([0-9]+) (?:[0-9]|-)|[0-9]/[-+/0-9]* (-?[0-9]+) [0-9+]"
        rb"|(?: -?[0-9.]+){3} ([0-9]+) (?:[0-9]+|-) [0-9]+ [0-9]+ \""
    ),
    _class_of_status, (), rb"(?= [0-9+\-])",
)  # fmt: skip
_RULES: Final = (
    _STATUS,
    Rule(
        "exit code",
        re.compile(rb"[Ee]xit(?:ed)?(?: with)?[_ ]?(?:[Cc]ode|[Ss]tatus|[Vv]alue)?" + _TO + rb"(-?[0-9]+)" + _END),
        _whether_zero, (b"exit",), _END,
    ),
    Rule(
        "return code",
        re.compile(
            rb"(?:[Rr]eturn[_ ]?(?:[Cc]ode|[Ss]tatus|[Vv]alue)|(?<![A-Za-z])(?:retcode|(?:rc|ret)(?=[=:])))" + _TO
            + rb"(-?[0-9]+)" + _END
        ),
        _whether_zero, (b"return", b"retcode", b"rc=", b"rc:", b"ret=", b"ret:"), _END,
    ),
    Rule(
        "returned", re.compile(rb"[Rr]eturn(?:ed|s)" + _TO + rb"(-?[0-9]+)" + _END),
        _whether_negative, (b"return",), _END,
    ),
    Rule("errno", re.compile(rb"[Ee]rrno" + _TO + rb"([0-9]+)" + _END), _errno, (b"errno",), _END),
    Rule(
        "failures",
        re.compile(rb"(?<![A-Za-z])(?:errors|failures|failed|error_count|failed_count)\"?\s?[=:]\s?([0-9]+)" + _END),
        _whether_zero, (b"errors", b"fail", b"error_count"), _END,
    ),
)  # fmt: skip
_JSON_LEVEL: Final = Rule(_LEVEL, re.compile(rb'"level":\s?([0-9]+)\s?[,}]'), _level, (b'"level"',), rb"(?=\s?[,}])")


def rules_for(shape: Shape, collapsed: bytes) -> Rules:
    """The rules for lines of a shape, of which this is one, collapsed; none for nearly every shape."""
    head = collapsed[:LINE_BYTES]
    lowered = head.lower()
    candidates = [rule for rule in _RULES if any(hint in lowered for hint in rule.hints)]
    if shape.format.startswith("access"):
        candidates = [_ACCESS]
    if shape.format.startswith("json") and not shape.level and b'"level"' in lowered:
        candidates.append(_JSON_LEVEL)
    found = [(rule, match) for rule in candidates if (match := rule.pattern.search(head))]
    return tuple([_fitted(rule, _before(head, match)) for rule, match in found])


def _before(line: bytes, match: re.Match[bytes]) -> bytes:
    """What stands before the number, from the beginning of a word on."""
    start = match.start()
    if line[start : start + 1].isalpha():
        while start and line[start - 1 : start].isalpha():
            start -= 1
    return line[start : match.start(match.lastindex or 0)]


@lru_cache(maxsize=1024)
def _fitted(rule: Rule, before: bytes) -> Rule:
    """The rule for lines that spell it so: a search for a literal costs a tenth of one for all its spellings."""
    if b"0" in before:
        return rule
    literal = re.escape(before)
    # Behind the literal, since a pattern is searched for by the literal that it begins with.
    begins = b"(?<![A-Za-z]%b)" % literal if before[:1].isalpha() else b""
    return replace(rule, pattern=re.compile(b"%b%b(-?[0-9]+)%b" % (literal, begins, rule.behind)))


def words_of(rules: Rules, data: bytes, starts: Sequence[int], ends: Sequence[int]) -> list[Words]:
    """What the numbers of the raw lines of `data` that begin and end there say."""
    if ends and max(map(sub, ends, starts)) > LINE_BYTES:
        ends = [min(start + LINE_BYTES, end) for start, end in zip(starts, ends, strict=True)]
    columns = []
    for rule in rules:
        matches = map(rule.pattern.search, repeat(data), starts, ends)
        columns.append(list(map(rule.word, [match[match.lastindex or 0] if match else b"" for match in matches])))
    return list(zip(*columns, strict=True))


def told_apart(shape: Shape, rules: Rules, words: Words) -> Shape:
    """The shape of lines whose numbers say this; the same shape where they say nothing."""
    for rule, word in zip(rules, words, strict=True):
        if not word:
            continue
        shape = (
            replace(shape, level=word)
            if rule.name == _LEVEL
            else replace(shape, format=f"{shape.format}{TOLD}{rule.name} {word}")
        )
    return shape


def sharp_shape_of(line: bytes) -> Shape:
    """The shape of one raw line with what its numbers say."""
    shape = shape_of(line)
    rules = rules_for(shape, key_of(collapse_line(line, limit_bytes=MOST_BYTES)))
    return told_apart(shape, rules, *words_of(rules, line, [0], [len(line.rstrip(b"\n"))])) if rules else shape


def where(format_name: str) -> str:
    """What the numbers in all lines of a shape of this format say, for a reader; "" for nothing."""
    return ", ".join(format_name.split(TOLD)[1:])
