"""The values of one event: a template as a pattern that matches the raw message and captures what is in each hole.

The pattern is tolerant where masking was: white space of any length, ``0`` for any number, nothing remembered of
control characters. A hole ends at the first place where all that follows it in the template, up to the next hole,
stands in the line.

Invariant: matching takes time in proportion to the message, whatever it holds: every repetition is possessive or
inside an atomic step, so nothing is tried twice. A message that does not match has no values, which is an answer, not
an error. Must never: use a quantified group as possessive (``(?:…)*+``), which before Python 3.11.5 leaves a wrong
position behind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from enricher.core.skeleton import HOLE_TEXT, REPLACED, TOKEN, message_start

_BLANK = rb" \t\r\f\v"
_DIGIT = rb"0-9"
_HEX_DIGIT = rb"0-9A-Fa-fxX"
_REPLACED = rb"\x00-\x08\x0e-\x1f\x7f-\xff"
# Behind an escape character stands the rest of a colour sequence; more replaced characters may follow it.
_COLOUR_REST = rb"(?>(?:(?<=\x1b)\[[0-9;]{0,16}m[" + _REPLACED + rb"]*+)*)"
_END = rb"[" + _BLANK + rb"]*+(?:\n|\Z)"
_LAST_VALUE = rb"(?>(?:[^\n" + _BLANK + rb"]++(?:[" + _BLANK + rb"]++(?![\n" + _BLANK + rb"]|\Z))?)*)"

_AHEAD = 64  # bytes of a literal that decide where a hole ends; more would let a long literal be tried at every byte

_MAX_HEADERS = 16  # per shape; bounds memory and what a line that matches none costs

_SPACED_TOKEN = re.compile(rf"(\s?)({TOKEN.pattern})?")
_PIECE = re.compile(rf"0|{REPLACED}|[^0{REPLACED}]")


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


def compile_extractor(template: str) -> re.Pattern[bytes]:
    """Compile a template to a pattern for `match` on the raw message (the line from `message_start` on).

    Groups ``p1`` to ``pN`` are the holes in order; a group may be empty. Continuation lines behind a newline are not
    looked at.
    """
    literals = [_steps(literal) for literal in template.split(HOLE_TEXT)]
    parts = [_OPTIONAL_GAP.pattern, *(step.pattern for step in literals[0])]
    for number, literal in enumerate(literals[1:], start=1):
        value = _value(literal, is_last=number == len(literals) - 1)
        parts += (b"(?P<p%d>" % number, value, b")", *(step.pattern for step in literal))
    return re.compile(b"".join((*parts, _END)))


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


def _steps(literal: str) -> list[_Step]:
    steps: list[_Step] = []
    previous = ""
    for space, token in _SPACED_TOKEN.findall(literal):
        if not token:
            # A blank at the end of the literal, before a hole.
            steps += [_GAP] if space else []
            continue
        if previous and not (previous[-1].isalnum() and token[0].isalnum()):
            steps.append(_OPTIONAL_GAP)
        elif space:
            steps.append(_GAP)
        steps += _token_steps(token)
        previous = token
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


class MessageStarts:
    """Where messages begin, for many lines of known shape: `message_start` at the cost of one match per line.

    Lines of one shape mostly have one of a few headers. Each header met is compiled, its numbers left open, and tried
    first. A header that numbers alone do not explain is found the slow way; so are all others once a shape has shown
    `_MAX_HEADERS`.
    """

    def __init__(self) -> None:
        self._headers: dict[int, list[re.Pattern[bytes]]] = {}

    def find(self, line: bytes, shape_id: int) -> int:
        """Give `message_start(line)`; `shape_id` only says where to remember it."""
        headers = self._headers.setdefault(shape_id, [])
        for header in headers:
            match = header.match(line)
            if match is not None:
                return match.end()
        start = message_start(line)
        if len(headers) < _MAX_HEADERS:
            headers.append(_compile_header(line, start))
        return start


def _compile_header(line: bytes, start: int) -> re.Pattern[bytes]:
    """Compile a header with its numbers left open; the first word stands for a line that has none."""
    if start:
        return re.compile(_open_numbers(line[:start]) + rb"(?![ \t\r\f\v])")
    word = re.match(rb"\s*+\S{0,80}+", line)
    return re.compile(rb"(?=" + _open_numbers(word.group() if word else b"") + rb"(?:\s|\Z))")


def _open_numbers(text: bytes) -> bytes:
    return b"[0-9]++".join(re.escape(part) for part in re.split(rb"[0-9]++", text))
