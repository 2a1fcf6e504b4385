r"""Regular expressions of the user's, checked before they meet a log line: none may take the daemon's time away.

A pattern is read as the tree that Python's own parser makes of it. What can try the same text in exponentially many
ways is refused: a repeated group that itself varies in length, or whose alternatives can begin alike. What is left
takes time by a power of the text's length, the *degree*: patterns above `_MAX_DEGREE` are refused, the others see so
much of a line as keeps their worst case in bounds (`reach_bytes`).

Python has no public name for that parser, and no other reading of a pattern is sure to be the one that `re` matches by.
So the private one is used, and nothing is taken on trust: a part that this module does not know is refused, and
`tests/core/test_pattern.py` names what a new Python has changed.

Invariant: what `compile_pattern` gives back costs bounded time per line, whatever the line holds, as long as it is
used through `LinePattern`. Must never: change what a pattern means within its reach.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import accumulate
from re import _constants as op  # type: ignore[attr-defined]  # see the docstring of the module
from re import _parser  # type: ignore[attr-defined]  # as above
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_DEGREE: Final = 3
# Worst cases of about the same cost: 64 Ki steps, 4 Ki squared, 512 cubed by six.
_REACH_BYTES: Final = {0: 256 * 1024, 1: 64 * 1024, 2: 4 * 1024, 3: 512}
# A repetition of a few times is a factor, not a power.
_FEW: Final = 8
_FEW_WIDTH: Final = 16
_MAX_CHOICE_BITS: Final = 12.0
_ANY: Final = frozenset(range(256))
_WAY_OUT: Final = r"write the inner repetition possessively (`\d++` for `\d+`) or the group as an atomic one, `(?>...)`"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePattern:
    """A checked pattern, and how many bytes of a line it looks at."""

    regex: re.Pattern[bytes]
    reach_bytes: int
    block: re.Pattern[bytes] | None
    """The same to search for in whole blocks, where nothing in it repeats without bound or looks around."""

    def is_in(self, line: bytes) -> bool:
        """Whether it is found in the line, within its reach."""
        return self.regex.search(line, 0, self.reach_bytes) is not None

    def lines_in(self, data: bytes) -> list[int]:
        """Where the lines of a block begin that it is found in.

        A plain pattern is searched for in the whole block; a line is cut out only where that hits.
        """
        if self.block is None:
            lines = data.split(b"\n")
            begins = accumulate((len(line) + 1 for line in lines), initial=0)
            return [begin for begin, has in zip(begins, self.flags(lines), strict=False) if has and begin < len(data)]
        found, at = [], 0
        while at < len(data) and (match := self.block.search(data, at)) is not None:
            begin = data.rfind(b"\n", 0, match.start()) + 1
            end = data.find(b"\n", match.start())
            end = len(data) if end < 0 else end
            # What was found may reach over the end of the line: the line alone decides.
            if self.is_in(data[begin:end]):
                found.append(begin)
            at = end + 1
        return found

    def flags(self, lines: Iterable[bytes]) -> list[bool]:
        """`is_in` for many lines."""
        reach, search = self.reach_bytes, self.regex.search
        return [search(line, 0, reach) is not None for line in lines]


def compile_pattern(text: str) -> LinePattern:
    """Check and compile a pattern. Raises ValueError, with what is wrong and the way out, for the operator."""
    try:
        regex = re.compile(text.encode())
        tree = _parser.parse(text.encode())
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    try:
        cost = _sequence(tree)
    except _ExplodesError as error:
        raise ValueError(f"{text!r} could take for ever on some lines: {error}; {_WAY_OUT}") from None
    degree = max(cost.repeats, int(cost.scans)) + int(cost.scans and not _is_anchored(tree))
    if cost.choice_bits > _MAX_CHOICE_BITS:
        raise ValueError(f"{text!r} could take for ever on some lines: too many optional parts; {_WAY_OUT}")
    if degree > _MAX_DEGREE:
        where = "" if _is_anchored(tree) else "begin the pattern with ^, leave out `.*` at its ends, or "
        raise ValueError(f"{text!r} could take for ever on some lines: too many repetitions; {where}{_WAY_OUT}")
    is_plain = not cost.scans and not re.search(r"\\[AZ]|\(\?<?[=!]", text)
    block = re.compile(text.encode(), re.MULTILINE) if is_plain else None
    return LinePattern(regex=regex, reach_bytes=_REACH_BYTES[degree], block=block)


class _ExplodesError(Exception):
    """A part of a pattern whose time grows exponentially, or is not known to stay below; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """What matching a part can cost: how many unbounded repetitions it can backtrack into, and smaller choices."""

    repeats: int = 0
    choice_bits: float = 0.0
    scans: bool = False
    """Something in it, possessive or not, reads on without bound."""

    @property
    def varies(self) -> bool:
        return self.repeats > 0 or self.choice_bits > 0


def _sequence(items: Iterable[tuple[Any, Any]]) -> _Cost:
    parts = list(items)
    costs = [_item(code, argument) for code, argument in parts]
    for at, (code, argument) in enumerate(parts):
        # Of `\d+\.` only one way fits any text: giving a digit back cannot help, since none is a dot.
        if code in (op.MAX_REPEAT, op.MIN_REPEAT) and len(argument[2]) == 1 and not costs[at].choice_bits:
            own = list(argument[2])
            if own[0][0] in (op.LITERAL, op.IN) and not _first(own) & _first(parts[at + 1 :]):
                costs[at] = _closed(costs[at])
    return _Cost(
        repeats=sum(cost.repeats for cost in costs),
        choice_bits=sum(cost.choice_bits for cost in costs),
        scans=any(cost.scans for cost in costs),
    )


def _item(code: Any, argument: Any) -> _Cost:  # noqa: ANN401 - the parser's tree has no types
    if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return _repeat(*argument, is_possessive=code is op.POSSESSIVE_REPEAT)
    if code is op.SUBPATTERN:
        return _sequence(argument[-1])
    if code is op.ATOMIC_GROUP:
        return _closed(_sequence(argument))
    if code in (op.ASSERT, op.ASSERT_NOT):
        return _closed(_sequence(argument[1]))
    if code is op.BRANCH:
        return _branch(argument[1])
    if code is op.GROUPREF_EXISTS:
        return _branch([argument[1], argument[2] or []])
    if code in (op.GROUPREF, op.GROUPREF_IGNORE):
        return _Cost(repeats=1, scans=True)
    if code in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.AT, op.FAILURE):
        return _Cost()
    raise _ExplodesError(f"what {code} costs is not known")


def _repeat(least: int, most: Any, body: Any, *, is_possessive: bool) -> _Cost:  # noqa: ANN401 - as above
    inner = _sequence(body)
    is_unbounded = most is op.MAXREPEAT or most - least > _FEW_WIDTH
    times = _FEW + 1 if most is op.MAXREPEAT else int(most)
    if times > 1 and inner.varies:
        if times > _FEW:
            raise _ExplodesError("a group that varies in length is repeated")
        inner = _Cost(repeats=inner.repeats * times, choice_bits=inner.choice_bits * times, scans=inner.scans)
    own = 0.0 if is_unbounded or most == least else math.log2(most - least + 1)
    cost = _Cost(
        repeats=inner.repeats + int(is_unbounded),
        choice_bits=inner.choice_bits + own,
        scans=inner.scans or is_unbounded or (most is not op.MAXREPEAT and most > 1000),
    )
    return _closed(cost) if is_possessive else cost


def _closed(cost: _Cost) -> _Cost:
    """A part that is matched once and never taken back: what is behind it cannot multiply what it costs."""
    return _Cost(repeats=max(0, cost.repeats - 1), choice_bits=0.0, scans=cost.scans)


def _branch(alternatives: list[Any]) -> _Cost:
    costs = [_sequence(one) for one in alternatives]
    firsts = [_first(list(one)) for one in alternatives]
    overlap = any(a & b for at, a in enumerate(firsts) for b in firsts[:at])
    return _Cost(
        repeats=max(cost.repeats for cost in costs),
        choice_bits=max(cost.choice_bits for cost in costs) + (math.log2(len(costs)) if overlap else 0.0),
        scans=any(cost.scans for cost in costs),
    )


def _first(items: list[tuple[Any, Any]]) -> frozenset[int]:
    """Bytes that a match of the items can begin with, or more; all of them where it may be empty."""
    for code, argument in items:
        if code is op.AT:
            continue
        if code is op.LITERAL:
            # Whether case counts is not in the tree: both cases stand for each other.
            return frozenset(
                chr(argument).lower().encode("latin-1") + chr(argument).upper().encode("latin-1", "ignore")
            )
        if code is op.IN:
            return _set(argument)
        if code is op.SUBPATTERN:
            return _first(list(argument[-1]))
        if code is op.BRANCH:
            return frozenset().union(*(_first(list(one)) for one in argument[1]))
        if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT) and argument[0] > 0:
            return _first(list(argument[2]))
        return _ANY
    return _ANY


def _set(members: list[tuple[Any, Any]]) -> frozenset[int]:
    found: set[int] = set()
    for code, argument in members:
        if code is op.LITERAL:
            found.add(argument)
        elif code is op.RANGE:
            found.update(range(argument[0], argument[1] + 1))
        elif code is op.CATEGORY and argument in _CATEGORIES:
            found |= _CATEGORIES[argument]
        else:
            return _ANY
    letters = bytes(found)
    return frozenset(letters.lower() + letters.upper())


def _matched(pattern: bytes) -> frozenset[int]:
    return frozenset(byte for byte in range(256) if re.match(pattern, bytes((byte,))))


_CATEGORIES: Final = {
    op.CATEGORY_DIGIT: _matched(rb"\d"),
    op.CATEGORY_NOT_DIGIT: _matched(rb"\D"),
    op.CATEGORY_SPACE: _matched(rb"\s"),
    op.CATEGORY_NOT_SPACE: _matched(rb"\S"),
    op.CATEGORY_WORD: _matched(rb"\w"),
    op.CATEGORY_NOT_WORD: _matched(rb"\W"),
}


def _is_anchored(tree: Any) -> bool:  # noqa: ANN401 - as above
    first = next(iter(tree), None)
    return first is not None and first[0] is op.AT and first[1] in (op.AT_BEGINNING, op.AT_BEGINNING_STRING)
