"""JSON lines of one spelling read by one pattern: the same fields in the same order, as one program writes them.

A pattern is made of a line that was read in full. It fits only lines whose text stands in a record as it is: strings of
plain ASCII without an escape, numbers that would be written the same again. Every other line is read in full.

Invariant: what a pattern gives for a line is, byte for byte, what reading it in full gives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.structured import names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enricher.core.structured.parsed import Parsed

_STRING: Final = rb'"([ !#-\[\]-~]{0,900}+)"'
_NUMBER: Final = (
    rb"(-?+(?!0\.000)(?:0|[12][0-9]{9}|[1-9][0-9]{0,8})\.[0-9]{0,5}[1-9]|0|-?+[1-9][0-9]{0,17})(?![0-9.eE])"
)
"""Fractions that a double tells apart: written out again, they are the same text."""

_WORD: Final = rb"(true|false|null)"
_TOKEN = re.compile(rb'"(?>(?:[^"\\]++|\\.)*)"|[{}\[\]:,]|[^\s"{}\[\]:,]++|\s++', re.DOTALL)
_MOST_FIELDS: Final = 60
_ROLES: Final = frozenset((*names.MESSAGES, *names.EVENT_NAMES, *names.LEVELS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """`match` gives a group for each field; `message` is the group of the message, from 0, or -1.

    `format` takes all the groups but the message's; `wanted` are the groups of the holes that are fields, in order.
    """

    match: Callable[[bytes], re.Match[bytes] | None]
    message: int
    format: bytes
    wanted: tuple[int, ...]


def make_quick(line: bytes, parsed: Parsed, keys: Sequence[bytes], holes: Sequence[str]) -> Quick | None:
    """A pattern for lines spelled like this one; None where they are better read in full.

    `keys` are the members that the fields become, in order, with comma, name and colon; `holes` the fields that are
    values.
    """
    fields = parsed.fields
    if parsed.format != "json" or len(fields) > _MOST_FIELDS or len(keys) != len(fields) or line[:1] != b"{":
        return None
    at = {name: place for place, (name, _) in enumerate(fields)}
    kinds = [_kind(value) for _, value in fields]
    if None in kinds or any(hole not in at for hole in holes) or not _roles_are_plain(parsed):
        return None
    source = _source(line, len(fields))
    match = None if source is None else re.compile(source).fullmatch
    if match is None or match(line) is None:
        return None
    message = at.get(parsed.message_name, -1)
    pieces = [
        key.replace(b"%", b"%%") + (b'"%b"' if kind == "string" else b"%b")
        for place, (key, kind) in enumerate(zip(keys, kinds, strict=True))
        if place != message
    ]
    return Quick(
        match=match,
        message=message,
        format=b"".join(pieces),
        wanted=tuple(at[hole] for hole in holes),
    )


def _kind(value: object) -> str | None:
    if isinstance(value, str):
        return "string"
    return None if isinstance(value, list) else "other"


def _roles_are_plain(parsed: Parsed) -> bool:
    """Whether which field is the message, and that the level is a word, is a matter of names alone."""
    for name, value in parsed.fields:
        plain = names.plain(name)
        if plain in names.LEVELS and not isinstance(value, str):
            return False
        if plain in _ROLES and plain not in names.LEVELS and name != parsed.message_name:
            return False
    return not parsed.message_name or names.plain(parsed.message_name) in names.MESSAGES


def _source(line: bytes, number: int) -> bytes | None:
    """The pattern: what is no value stands as it is."""
    pieces: list[bytes] = []
    groups = 0
    tokens = _TOKEN.findall(line)
    for place, token in enumerate(tokens):
        head = token[:1]
        following = next((one for one in tokens[place + 1 : place + 3] if not one.isspace()), b"")
        if head == b"[":
            return None
        if head in b"{}:," or token.isspace() or (head == b'"' and following == b":"):
            pieces.append(re.escape(token))
            continue
        pieces.append(_STRING if head == b'"' else _WORD if token in (b"true", b"false", b"null") else _NUMBER)
        groups += 1
    return b"".join(pieces) if groups == number else None
