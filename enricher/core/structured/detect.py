"""What a line is, by its first bytes and a few anchored checks, and what it holds.

Invariant: one answer for a line, alone or in a file of any other format; None is text. Must never: look further into a
line of text than a few searches for single bytes cost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from enricher.core.structured.access_log import parse_access
from enricher.core.structured.csv_like import parse_csv
from enricher.core.structured.json_lines import parse_json
from enricher.core.structured.key_value import HEADER, parse_cef, parse_leef, parse_logfmt
from enricher.core.structured.syslog_5424 import parse_5424
from enricher.core.structured.wrapped import parse_cri

if TYPE_CHECKING:
    from collections.abc import Callable

    from enricher.core.structured.parsed import Parsed

_SIGNS: Final = b'{="<,;\t'
_LONG_SIGNS: Final = (b"CEF:", b"LEEF:", b" stdout ", b" stderr ")
_HEAD_BYTES: Final = 400
_MOST_BYTES: Final = 1 << 20


def may_be_structured(line: bytes) -> bool:
    """Whether a line has any of the signs without which `parse` gives None: most text has none."""
    # A third of the time of one pattern for all: each of these is a loop of C over the line.
    return len(line.translate(None, _SIGNS)) < len(line) or any(sign in line for sign in _LONG_SIGNS)


def parse(line: bytes, *, is_collapsed: bool, message_at: Callable[[bytes], int]) -> Parsed | None:
    """Take a line apart; None where it is text. `message_at` gives where what stands behind a header begins."""
    if len(line) > _MOST_BYTES:
        return None
    if line[:1] == b"{":
        return parse_json(line, is_collapsed=is_collapsed)
    try:
        text = line.decode("utf-8", "replace" if is_collapsed else "strict").rstrip("\r\n")
    except UnicodeDecodeError:
        return None
    return _anchored(line, text) or _behind_header(line, text, is_collapsed=is_collapsed, message_at=message_at)


def _anchored(line: bytes, text: str) -> Parsed | None:
    head = line[:_HEAD_BYTES]
    if b"CEF:" in head and (found := parse_cef(text)):
        return found
    if b"LEEF:" in head and (found := parse_leef(text)):
        return found
    if head[:1] == b"<":
        return parse_5424(text)
    if (b" stdout " in head or b" stderr " in head) and (found := parse_cri(text)):
        return found
    return parse_access(text) if b"HTTP/" in line and b'"' in line else None


def _behind_header(line: bytes, text: str, *, is_collapsed: bool, message_at: Callable[[bytes], int]) -> Parsed | None:
    if b"=" in line or b"{" in line:
        start = message_at(line)
        if line[start : start + 1] == b"{":
            return _behind(line[:start], parse_json(line[start:], is_collapsed=is_collapsed))
        if b"=" in line:
            found = parse_logfmt(text if not start else line[start:].decode("utf-8", "replace").rstrip())
            if found:
                return _behind(line[:start], found)
    return parse_csv(text) if b"," in line or b";" in line or b"\t" in line else None


def _behind(header: bytes, found: Parsed | None) -> Parsed | None:
    """The same with the header as a field: nothing else in a record would say what it says."""
    if found is None or not header.strip():
        return found
    return replace(found, fields=((HEADER, header.decode("utf-8", "replace").strip()), *found.fields))
