"""What a record says of a structured line: its message, its fields under ``log.fields.``, and the values of its holes.

A kind has one reader per page, made from its first line: that tells which holes of the template are fields and which
are the message's. A line that does not parse, or that has more in it than a record may, keeps its whole text as its
message, so that nothing is lost.

Invariant: a pure function of the line, the template and the kind's first line; every piece given out is the inside of
one valid JSON object, under names that no other key of a record has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from enricher.core.collapse import collapse_line
from enricher.core.extract import compile_extractor, holes
from enricher.core.header import split_header
from enricher.core.multiline.journal import as_object, is_record
from enricher.core.skeleton import message_start
from enricher.core.structured.detect import may_be_structured, parse
from enricher.core.structured.json_lines import LEVEL_OF_NUMBER
from enricher.core.structured.key import MOST_BYTES, Found, find_parts, key_of
from enricher.core.structured.parsed import MAX_FIELDS
from enricher.core.structured.quick_json import Quick, make_quick

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from enricher.core.structured.parsed import Parsed, Value

PREFIX: Final = "log.fields."
MAX_TEXT_CHARACTERS: Final = 8_192
"""A longer field is cut, and the record's message is the whole line."""

MAX_FIELDS_BYTES: Final = 64 * 1024
_MAX_VALUE_CHARACTERS: Final = 1_000
_MAX_INTEGER: Final = 1 << 63
_MOST_WRAPPERS: Final = 3
_SHORT_BYTES: Final = 1_000
_MOST_QUICK: Final = 8
_NOTHING: Final = {b"null": b""}
_UNSAFE_NAME = re.compile(r"[^\w@:/\-$ .]|[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_PROTOTYPES: Final = frozenset({"__proto__", "constructor", "prototype"})
_C1_CONTROL: Final = re.compile(rb"\xc2([\x80-\x9f])")
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`message` and `fields` as bytes of JSON; `values` beside the wanted holes, None where the message does not fit.

    `message` is None where the whole line is the message; `fields` begin with a comma unless there are none.
    """

    message: bytes | None
    fields: bytes
    values: tuple[bytes, ...] | None


class Reader:
    """Reads the lines of one kind. `groups` says which hole each wanted value is, from 1."""

    def __init__(
        self, parts: Found, template: str, groups: tuple[int, ...], *, has_level: bool, taken: Collection[str]
    ) -> None:
        self._has_level = has_level
        self._taken = frozenset(taken)
        self._groups = groups
        tail, names = (parts.parts.tail, parts.parts.holes) if parts.parts else ("", ())
        fits = template.endswith(tail)
        message = template[: len(template) - len(tail)].strip() if fits else ""
        self._names = names if fits else ()
        self._message_holes = holes(message)
        self._is_text = parts.parts is None
        self._is_request = parts.parts is not None and parts.parts.format.startswith("access")
        self._is_fitting = fits and holes(template) == self._message_holes + len(self._names)
        self._quick: dict[Quick, None] = {}
        self._pattern = compile_extractor(message) if message and self._wants_message() else None

    def read(self, line: bytes) -> Reading | None:
        """What a record says of this line; None where the line is text, whatever the first of its kind was.

        `line` is the whole event where it is a record of several lines.
        """
        for quick in self._quick:
            match = quick.match(line)
            found = None if match is None else self._quickly(quick, match.groups())
            if found is not None:
                return found
        return self._in_full(as_object(line) if is_record(line) else line)

    def _quickly(self, quick: Quick, groups: tuple[bytes, ...]) -> Reading | None:
        message: bytes | None = None
        written = groups
        if quick.message >= 0:
            message = groups[quick.message]
            written = groups[: quick.message] + groups[quick.message + 1 :]
            if not message.strip():
                return None
        values: tuple[bytes, ...] | None = None
        if self._groups and self._is_fitting:
            match = None if self._pattern is None else self._pattern.match(message or b"")
            found = match.groups() if match else ()
            if match or self._pattern is None:
                values = tuple(
                    found[group - 1]
                    if group <= self._message_holes
                    else _NOTHING.get(one := groups[quick.wanted[group - 1 - self._message_holes]], one)
                    for group in self._groups
                )
        return Reading(message=message, fields=quick.format % written, values=values)

    def _learn(self, line: bytes, parsed: Parsed) -> None:
        """Make a pattern of a line that was read in full and given whole."""
        if len(self._quick) >= _MOST_QUICK or self._taken:
            return
        by_name = {name: name for name, _ in parsed.fields}
        for name, _ in parsed.fields:
            by_name.setdefault(_folded(name), name)
        keys = [_key(name)[0] for name, _ in parsed.fields]
        quick = make_quick(line, parsed, keys, [by_name.get(name, "") for name in self._names])
        if quick is not None:
            self._quick[quick] = None

    def _in_full(self, line: bytes) -> Reading | None:
        parsed = outer = parse(line, is_collapsed=False, message_at=message_start)
        if parsed is None or outer is None:
            return None
        fields = list(parsed.fields)
        number, is_whole = parsed.level_number, parsed.is_whole
        inner: bytes | None = None
        said = ""  # the line that is wrapped, with its newlines
        for _ in range(_MOST_WRAPPERS):
            if parsed is None or parsed.inner is None:
                break
            said = parsed.inner
            inner = said.replace("\n", " ").encode("utf-8", "replace")
            parsed = parse(inner, is_collapsed=False, message_at=message_start)
            fields += parsed.fields if parsed else ()
            is_whole &= parsed is None or parsed.is_whole
            number = number or (parsed.level_number if parsed else 0)
        text, is_all = _rendered(fields, parsed.message_name if parsed else "", self._taken)
        message = inner
        if parsed is not None:
            message, said = (parsed.message.encode("utf-8", "replace") if parsed.message else None), parsed.message
        if number and not self._has_level:
            text += b',"log.level":"%b","severity_number":%d' % (LEVEL_OF_NUMBER[number].encode(), number)
        if is_whole and is_all and not number and parsed is outer:
            self._learn(line, outer)
        shown = None if message is None or not (is_whole and is_all) or self._is_request else _string(said)
        return Reading(message=shown, fields=text, values=self._values(parsed, message or b"", fields))

    def _wants_message(self) -> bool:
        return any(group <= self._message_holes for group in self._groups)

    def _values(
        self, parsed: Parsed | None, message: bytes, fields: list[tuple[str, Value]]
    ) -> tuple[bytes, ...] | None:
        if not self._groups or not self._is_fitting or (parsed is None) != self._is_text:
            return None
        found: tuple[bytes, ...] = ()
        if self._pattern is not None:
            text = message[message_start(message) :] if parsed is None else message.replace(b"\n", b" ")
            match = self._pattern.match(text)
            if match is None:
                return None
            found = match.groups()
        by_name = _by_folded_name(fields) if self._names else {}
        return tuple(
            _value(found[group - 1].decode("utf-8", "replace"))
            if group <= self._message_holes
            else _value(_text(by_name.get(self._names[group - 1 - self._message_holes])))
            for group in self._groups
        )


def reader_for(
    line: bytes, template: str, groups: tuple[int, ...], *, has_level: bool, taken: Collection[str]
) -> Reader | None:
    """A reader for lines of a kind, from the first of them; None where that is text that nothing wraps.

    `line` is the whole event where it is a record of several lines.
    """
    if not may_be_structured(line):
        return None
    if is_record(line):
        line = as_object(line)
    collapsed = key_of(collapse_line(line, limit_bytes=MOST_BYTES))
    found = (_parts_again if len(collapsed) <= _SHORT_BYTES else _parts)(collapsed)
    if found.parts is None and found.line == collapsed:
        return None
    return Reader(found, template, groups, has_level=has_level, taken=taken)


def _parts(collapsed: bytes) -> Found:
    return find_parts(collapsed, split_header, _no_mask)


_parts_again = lru_cache(maxsize=4096)(_parts)  # the first line of a kind in one page is as that in another


def _no_mask(message: str) -> str:
    return message


# ---------------------------------------------------------------- fields


def _rendered(fields: list[tuple[str, Value]], message_name: str, taken: frozenset[str]) -> tuple[bytes, bool]:
    """The fields as JSON members, each with a comma before it, and whether all of them are there as they were."""
    pieces: list[bytes] = []
    used: set[bytes] = set()
    is_whole = len(fields) < MAX_FIELDS
    size = 0
    for name, value in fields:
        if name == message_name:
            continue
        key, kept = _key(name)
        is_whole &= kept
        if key in used or (taken and key[2:-2].decode() in taken):
            is_whole = False
            continue
        used.add(key)
        text = _json(value)
        is_whole &= not (isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS)
        size += len(key) + len(text)
        if size > MAX_FIELDS_BYTES:
            is_whole = False
            break
        pieces += (key, text)
    return b"".join(pieces), is_whole


@lru_cache(maxsize=8192)
def _key(name: str) -> tuple[bytes, bool]:
    """A field's name as the key of a member, and whether it says all that the name did."""
    segments = [_UNSAFE_NAME.sub("_", segment.strip()) or "_" for segment in name.split(".")]
    safe = ".".join(f"{segment}_" if segment in _PROTOTYPES else segment for segment in segments)
    return b"," + _ENCODER.encode(PREFIX + safe) + b":", "…" not in name


def _json(value: Value) -> bytes:
    if isinstance(value, str):
        return b'"' + _string(value if len(value) <= MAX_TEXT_CHARACTERS else value[:MAX_TEXT_CHARACTERS] + "…") + b'"'
    if isinstance(value, list):
        return b"[" + b",".join([_json(one) for one in value]) + b"]"
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        return b'"%b"' % str(value).encode()
    return _ENCODER.encode(value)


def _string(text: str) -> bytes:
    """The inside of a JSON string, every control character escaped."""
    try:
        encoded = _ENCODER.encode(text)[1:-1]
    except UnicodeEncodeError:  # half of a pair of surrogates
        encoded = _ENCODER.encode(text.encode("utf-8", "replace").decode())[1:-1]
    if b"\x7f" in encoded:
        encoded = encoded.replace(b"\x7f", b"\\u007f")
    return _C1_CONTROL.sub(lambda match: b"\\u%04x" % match[1][0], encoded) if b"\xc2" in encoded else encoded


# ---------------------------------------------------------------- values


def _by_folded_name(fields: list[tuple[str, Value]]) -> Mapping[str, Value]:
    """Fields by their names and by what collapsing makes of these, the first of equal ones."""
    found: dict[str, Value] = {}
    for name, value in fields:
        found.setdefault(name, value)
    for name, value in fields:
        if not name.isalpha():
            found.setdefault(_folded(name), value)
    return found


@lru_cache(maxsize=8192)
def _folded(name: str) -> str:
    return collapse_line(name.encode("utf-8", "replace"), limit_bytes=1_000).decode("utf-8", "replace")


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return ", ".join(map(_text, value)) if isinstance(value, list) else _ENCODER.encode(value).decode()


def _value(text: str) -> bytes:
    return _string(text if len(text) <= _MAX_VALUE_CHARACTERS else text[:_MAX_VALUE_CHARACTERS] + "…")
