"""The values of one event: a template as a pattern that matches a raw line and captures what is in each hole.

The exact pattern is tolerant where masking was: white space of any length, ``0`` for any number, nothing remembered of
control characters. A hole ends at the first place where all that follows it in the template, up to the next hole,
stands in the line. The quick pattern is for lines spelled as the template is, with blanks where it has them and
nowhere else: it costs half as much, takes a whole line with its header, and what it leaves may still match exactly.

Invariant: matching takes time in proportion to the line, whatever it holds: every repetition is possessive or
inside an atomic step, so nothing is tried twice. A message that does not match has no values, which is an answer, not
an error. Must never: use a quantified group as possessive (``(?:…)*+``), which before Python 3.11.5 leaves a wrong
position behind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from enricher.core.field_types import ALPHABETS, AS_WRITTEN, CONVERTIBLE
from enricher.core.skeleton import HOLE_TEXT, REPLACED, TOKEN, collapsed_header

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from enricher.core.field_types import FieldType

_BLANK = rb" \t\r\f\v"
_DIGIT = rb"0-9"
_HEX_DIGIT = rb"0-9A-Fa-fxX"
_REPLACED = rb"\x00-\x08\x0e-\x1f\x7f-\xff"
# Behind an escape character stands the rest of a colour sequence; more replaced characters may follow it.
_COLOUR_REST = rb"(?>(?:(?<=\x1b)\[[0-9;]{0,16}m[" + _REPLACED + rb"]*+)*)"
_END = rb"[" + _BLANK + rb"]*+(?:\n|\Z)"
_LAST_VALUE = rb"(?>(?:[^\n" + _BLANK + rb"]++(?:[" + _BLANK + rb"]++(?![\n" + _BLANK + rb"]|\Z))?)*)"

_AHEAD = 64  # bytes of a literal that decide where a hole ends; more would let a long literal be tried at every byte

_SPACED_TOKEN = re.compile(rf"(\s?)({TOKEN.pattern})?")
_GAPS = re.compile(rb"\s++")
_PIECE = re.compile(rf"0|{REPLACED}|[^0{REPLACED}]")
_NEVER = re.compile(rb"(?!)")
_NUMERALS = re.compile(rb"[0-9]++")
_HOLE_TOKEN = HOLE_TEXT.encode()
_MOST_WORDS = 4  # what holds more is text, of which the next line has another number

ANY_BLANK = _BLANK
ONLY_SPACES = b" "
"""What counts as white space for `compile_quick`: matching against one character is much the faster."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One unit of a literal: what it can begin with, as the inside of a character class, and what it matches."""

    first: bytes
    pattern: bytes


_GAP = _Step(_BLANK, b"[" + _BLANK + b"]++")
_OPTIONAL_GAP = _Step(b"", b"[" + _BLANK + b"]*+")  # only between two tokens, so that no hole is followed by one
_NUMBER = _Step(_DIGIT, b"[" + _DIGIT + b"]++")
_HEX_NUMBER = _Step(_HEX_DIGIT, b"[" + _HEX_DIGIT + b"]++")
_MARK = _Step(_REPLACED, b"[" + _REPLACED + b"]++" + _COLOUR_REST)


def holes(template: str) -> int:
    """Count the variables in a template."""
    return template.count(HOLE_TEXT)


@lru_cache(maxsize=4096)
def compile_extractor(template: str, wanted: frozenset[int] | None = None) -> re.Pattern[bytes]:
    """Compile a template to a pattern for `match` on the raw message (the line from `message_start` on).

    Its groups are the holes in order, numbered from 1, or those of them that are wanted; a group may be empty.
    Continuation lines behind a newline are not looked at.
    """
    literals = [_steps(literal) for literal in template.split(HOLE_TEXT)]
    parts = [_OPTIONAL_GAP.pattern, *(step.pattern for step in literals[0])]
    for number, literal in enumerate(literals[1:], start=1):
        value = _value(literal, is_last=number == len(literals) - 1)
        parts += (_captured(number, value, wanted), *(step.pattern for step in literal))
    return re.compile(b"".join((*parts, _END)))


@lru_cache(maxsize=4096)
def compile_quick(
    template: str,
    *,
    header: bytes,
    blanks: bytes,
    wanted: frozenset[int] | None = None,
    single: bool = False,
    words: tuple[int, ...] = (),
    types: tuple[tuple[int, FieldType], ...] = (),
    strangers: frozenset[int] = frozenset(),
) -> re.Pattern[bytes]:
    """Compile a template to a pattern for `match` on a whole raw line, with its header and without a newline.

    `header` is what `header_pattern` gave for a line of the kind, with the same `blanks`: `ONLY_SPACES` where the line
    holds no other white space. Where it matches, the groups are those that `compile_extractor` finds. `single`: for
    lines with one blank between two words, which is faster still; `words`, beside the holes: for those of them that
    hold as many words each, in half the time again (0: any number). `types` names holes and types that are no strings:
    then nothing matches but lines whose values there are as `AS_WRITTEN` has them, and for the holes in `strangers`
    such as could not be converted.
    """
    kinds = dict(types)
    if not template.replace(HOLE_TEXT, "").strip():
        return _NEVER  # nothing would tell a word of the header from a value
    space = _Step(blanks, b"[" + blanks + b"]++")
    literals = [_steps(literal, space=space) for literal in template.split(HOLE_TEXT)]
    counts = _word_counts(literals, space, words if single else ())
    parts = [header, *_quick_literal(literals[0], space, single=single, is_exact=counts[0] > 0)]
    for number, literal in enumerate(literals[1:], start=1):
        # A word of the header must not be taken for a part of the first value.
        is_word = number == 1 and not literals[0]
        is_last = number == len(literals) - 1
        value = _quick_value(literal, space, is_last=is_last, is_word=is_word)
        if counts[number - 1]:
            value = _words_value(literal, space, counts[number - 1])
        if number in strangers:
            value = _strange(kinds[number], literal, is_last=is_last) + value
        elif number in kinds:
            value = _typed_value(kinds[number], literal, is_last=is_last)
        parts.append(_captured(number, value, wanted))
        parts += _quick_literal(literal, space, single=single, is_exact=counts[number] > 0)
    return re.compile(b"%b[%b]*+\\Z" % (b"".join(parts), blanks))


def words_of_holes(template: str, lines: Sequence[bytes]) -> tuple[int, ...]:
    """Guess how many words each hole of a template holds in all of these lines, for `compile_quick`; 0: it varies.

    A wrong guess makes a pattern that does not match the lines, and nothing worse.
    """
    counts = [_words_of_holes(template, line) for line in lines]
    return tuple(one[0] if len(set(one)) == 1 else 0 for one in zip(*counts, strict=True))


def _words_of_holes(template: str, line: bytes) -> list[int]:
    tokens = template.encode().split()
    words = _NUMERALS.sub(b"0", line).split()
    # Where the message begins is told by the words that it begins with: to take the header apart is ten times as dear.
    first = next((place for place, token in enumerate(tokens) if _HOLE_TOKEN in token), 0)
    at = next((at for at in range(len(words)) if words[at : at + first] == tokens[:first]), len(words))
    if not first:
        return [0] * template.count(HOLE_TEXT)
    at += first
    counts: list[int] = []
    for place, token in enumerate(tokens[first:], start=first):
        if token != _HOLE_TOKEN:
            counts += [1] * token.count(_HOLE_TOKEN)
            at += 1
            continue
        behind = tokens[place + 1 : place + 2]
        end = at + 1
        if not behind:
            end = len(words)
        elif _HOLE_TOKEN not in behind[0]:
            while end < len(words) and words[end] != behind[0]:
                end += 1
        counts.append(end - at if 0 < end - at <= _MOST_WORDS else 0)
        at = end
    return counts


def header_pattern(line: bytes, blanks: bytes, *, single: bool = False) -> bytes:
    """Give a pattern for the headers of lines like this one: as many words, then as many fields with bars behind them.

    `single`: with as many blanks between the words, too.

    What words and fields hold need not be looked at, since the message that follows must fit its template up to the end
    of the line. A header that ends otherwise has an end that is spelled out, but for its numbers.
    """
    header = collapsed_header(line)
    words = header.split()
    tail = words.pop() if words and not header[-1:].isspace() else b""
    word = b"[^%b]++" % blanks
    if single and words and not header[:1].isspace():
        gaps = _GAPS.findall(header)
        parts = [word + b"[%b]" % blanks * len(gap) for gap in gaps[: len(words)]]
        start = b""
    else:
        parts = [word + b"[%b]++" % blanks] * len(words)
        start = b"[%b]*+" % blanks
    if words:
        # Where a header has fewer words, one of the message must not pass for its last.
        parts[-1] = word + _ending(words[-1]) + parts[-1].removeprefix(word)
    pattern = start + b"".join(parts)
    if tail.endswith(b"|"):
        return pattern + b"[^|%b]*+[|]" % blanks * tail.count(b"|")
    return pattern + b"[0-9A-Fa-fxX]++".join(re.escape(piece) for piece in tail.split(b"0"))


def _ending(word: bytes) -> bytes:
    """Give a pattern that looks back at the last character of a word: of a kind with that of the given one."""
    last = word[-1:]
    return b"(?<=[%b])" % (b"A-Za-z" if last.isalpha() else _HEX_DIGIT if last.isdigit() else re.escape(last))


def _captured(number: int, value: bytes, wanted: Collection[int] | None) -> bytes:
    return value if wanted is not None and number not in wanted else b"(" + value + b")"


def _value(literal: list[_Step], *, is_last: bool) -> bytes:
    """Give a pattern for what stands in a hole: everything up to the first place where `literal` stands."""
    if not literal:
        return _LAST_VALUE if is_last else b""
    ahead = [step.pattern for step in literal[1:_AHEAD]]
    if is_last and len(literal) <= _AHEAD:
        ahead.append(_END)
    other = b"[^\n" + literal[0].first + b"]*+"
    if not ahead:
        return other
    # other (first-not-followed-by-the-rest other)*: each byte is passed once.
    return b"%b(?>(?:%b(?!%b)%b)*)" % (other, literal[0].pattern, b"".join(ahead), other)


def _quick_literal(literal: list[_Step], space: _Step, *, single: bool, is_exact: bool) -> list[bytes]:
    """Give the patterns of a literal's steps; a blank before a hole takes all there are, or one would begin a value.

    `is_exact`: the value behind it begins with no blank anyway.
    """
    one = b"[" + space.first + b"]"
    last = len(literal) - (0 if is_exact else 1)
    return [one if single and step is space and at < last else step.pattern for at, step in enumerate(literal)]


def _quick_value(literal: list[_Step], space: _Step, *, is_last: bool, is_word: bool) -> bytes:
    """Give the same for a line that is spelled as the template is: everything up to where `literal` begins."""
    word = b"[^" + space.first + b"]++"
    if not literal:
        return b"" if not is_last else word if is_word else b"(?>(?:%b(?:%b%b)*)?)" % (word, space.pattern, word)
    first, *others = literal
    if is_word:
        return b"[^" + space.first + first.first + b"]++"
    other = b"[^" + first.first + b"]*+"
    # What the literal goes on with decides, wherever blanks stand in it: the exact pattern would let them.
    ahead = b"[" + space.first + b"]*+" + next((step.pattern for step in others if step is not space), b"")
    if first is space:
        return b"%b(?>(?:(?!%b)%b%b)*)" % (other, ahead, space.pattern, other) if others else other
    return b"%b(?>(?:%b(?!%b)%b)*)" % (other, first.pattern, ahead, other) if others else other


def _word_counts(literals: list[list[_Step]], space: _Step, words: tuple[int, ...]) -> list[int]:
    """Give the numbers of words that are of use: of values that end with a blank or the line; and 0 for all others."""
    last = len(literals) - 1
    useful = [0] * len(literals)
    if not literals[0]:
        return useful  # nothing would tell a word of the header from one of the first value
    for at, (count, literal) in enumerate(zip(words, literals[1:], strict=False)):
        if literal == [space]:
            useful[at] = min(count, 1)  # the first blank ends a value behind which stands another
        elif literal[:1] == [space] or (not literal and at + 1 == last):
            useful[at] = count
    return useful


def _words_value(literal: list[_Step], space: _Step, count: int) -> bytes:
    """Give the same for a value of so many words with one blank between two; `literal` begins with one, if anything."""
    word = b"[^" + space.first + b"]++"
    ahead = next((step.pattern for step in literal if step is not space), b"")
    another = b"[" + space.first + b"]" + (b"(?!%b)" % ahead if ahead else b"") + word
    return word + another * (count - 1)


def _typed_value(kind: FieldType, literal: list[_Step], *, is_last: bool) -> bytes:
    """Give a pattern for a value of a type; one that never matches where what follows could be a part of the value."""
    is_clear = is_last if not literal else not re.search(b"[" + literal[0].first + b"]", ALPHABETS[kind])
    return AS_WRITTEN[kind] if is_clear else _NEVER.pattern


def _strange(kind: FieldType, literal: list[_Step], *, is_last: bool) -> bytes:
    """Give a look ahead at a value in which some byte stands that no value of the type has: ``43 ms`` is no number."""
    ahead = [step.pattern for step in literal[:_AHEAD]]
    if is_last and len(literal) <= _AHEAD:
        ahead.append(_END)
    return b"(?![%b]*+%b)" % (CONVERTIBLE[kind], b"".join(ahead))


def _steps(literal: str, *, space: _Step | None = None) -> list[_Step]:
    """Steps of a literal, with `space` for each blank in it; without, with room for blanks wherever they may stand."""
    steps: list[_Step] = []
    previous = ""
    for blank, token in _SPACED_TOKEN.findall(literal):
        between = previous and token and not (previous[-1].isalnum() and token[0].isalnum())
        if space is not None:
            steps += [space] if blank else []
        elif between:
            steps.append(_OPTIONAL_GAP)
        elif blank:
            steps.append(_GAP)
        steps += _token_steps(token)
        previous = token or previous
    return steps


def _token_steps(token: str) -> list[_Step]:
    steps = []
    for match in _PIECE.finditer(token):
        piece = match.group()
        if piece == REPLACED:
            steps.append(_MARK)
        elif piece == "0":
            around = token[max(match.start() - 1, 0) : match.start()] + token[match.end() : match.end() + 1]
            steps.append(_NUMBER if any(map(str.isalnum, around)) else _HEX_NUMBER)
        else:
            first, *others = (re.escape(bytes((byte,))) for byte in piece.encode())
            steps += [_Step(first, first), *(_Step(other, other) for other in others)]
    return steps
