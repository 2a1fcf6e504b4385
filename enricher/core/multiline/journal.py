r"""Records of the journal as `journalctl -o export` writes them: fields on lines of their own, then a blank line.

A field is ``NAME=text``, or ``NAME``, eight bytes with the length of its value (little-endian) and the value, which may
hold newlines. A record begins with its cursor, which nothing else writes, and which holds the time in hexadecimal
microseconds. Format: https://systemd.io/JOURNAL_EXPORT_FORMATS/.

Must never: trust a length further than the bytes that are there.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.block import MAX_LINE_BYTES
from enricher.core.skeleton import Shape, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enricher.core.multiline.lines import Flags, Lines

CURSOR: Final = b"__CURSOR="
HEADS: Final = frozenset((CURSOR[:4],))
_FIELD = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}=").match
_LONG_FIELD = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}\Z").match
_LENGTH_BYTES: Final = 8
_KEY_FIELDS: Final = ("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "_COMM")


def join_records(lines: Lines, continues: Flags, named: Flags) -> None:
    """Join the fields of each record to its first, the cursor."""
    for at in np.flatnonzero(named).tolist():
        if not lines[at].startswith(CURSOR) or continues[at]:
            continue
        end = at + 1
        while end < len(lines) and not lines[end].startswith(CURSOR):
            if _FIELD(lines[end]):
                end += 1
            elif _LONG_FIELD(lines[end]):
                end = _behind_value(lines, end)
            else:
                break
        continues[at + 1 : end] = True


def _behind_value(lines: Lines, at: int) -> int:
    """The number of the line behind a field whose value has a length, or one past the last line."""
    begin = int(lines.starts[at + 1])
    length = int.from_bytes(lines.data[begin : begin + _LENGTH_BYTES], "little")
    end = begin + _LENGTH_BYTES + length + 1
    if length > MAX_LINE_BYTES:  # not waited for, or a lie that would take all that follows in
        return at + 1
    if end >= len(lines.data):
        return len(lines)
    behind = int(np.searchsorted(lines.starts, end))
    # A length that ends in the middle of a line is none: the value is taken for a line.
    return behind if int(lines.starts[behind]) == end else at + 1


def is_record(event: bytes) -> bool:
    """Whether an event, or the first line of one, is a record of the journal."""
    return event.startswith(CURSOR)


def record_shape(first: bytes, rest: bytes) -> Shape | None:
    """The shape of a record by its first line and those behind it: that of the same event in the journal's JSON."""
    if not is_record(first):
        return None
    fields = {"PRIORITY": ""} | {name: text for name, text in _fields(rest) if name in _KEY_FIELDS}
    return shape_of(json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace"))


def as_object(record: bytes) -> bytes:
    """A record as the journal's JSON has it; a field that is there several times becomes a list."""
    fields: dict[str, str | list[str]] = {}
    for name, text in _fields(record):
        before = fields.get(name)
        if before is None:
            fields[name] = text
        else:
            fields[name] = [*before, text] if isinstance(before, list) else [before, text]
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")


def _fields(lines: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(lines):
        line, _, _ = lines[at:].partition(b"\n")
        name, is_text, value = line.partition(b"=")
        at += len(line) + 1
        if not is_text:
            length = int.from_bytes(lines[at : at + _LENGTH_BYTES], "little")
            value = lines[at + _LENGTH_BYTES : at + _LENGTH_BYTES + length]
            at += _LENGTH_BYTES + length + 1
        yield name.decode("ascii", "replace"), value.decode("utf-8", "replace")
