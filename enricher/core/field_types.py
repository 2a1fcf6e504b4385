"""The types of the Elastic Common Schema that a named value is written with, and whether a log's text is such a value.

Most values are of their type as they are written, and valid JSON as they stand; one look at all of them together says
so. What is written otherwise (``007``, ``0x1F4``, ``True``, a time with an offset) is converted one by one where it can
only mean one value; the rest is no value of the type, and what to do with it is the caller's choice.

Invariant: a store that indexes the field by its type takes whatever is given out here: an integer is within 64 bits, a
float is finite, an address is one. Must never: guess (a unit, a time zone, a thousands separator).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class FieldType(StrEnum):
    """What the value of a field is; text of any kind is a string."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    IP = "ip"
    TIMESTAMP = "timestamp"

    @property
    def is_quoted(self) -> bool:
        """Whether its values are strings in JSON."""
        return self in {FieldType.STRING, FieldType.IP, FieldType.TIMESTAMP}


_INTEGERS: Final = range(-(1 << 63), 1 << 63)
_MAX_BYTES: Final = 64
"""Nothing that is longer is of any type but text."""

_OCTET: Final = rb"(?:1[0-9]{0,2}|2[0-4][0-9]|25[0-5]|[2-9][0-9]?|0)"

AS_WRITTEN: Final[Mapping[FieldType, bytes]] = {
    FieldType.INTEGER: rb"(?:-?[1-9][0-9]{0,17}|0)",
    FieldType.FLOAT: rb"-?(?:[1-9][0-9]{0,14}|0)(?:\.[0-9]{1,15})?",
    FieldType.BOOLEAN: rb"(?:true|false)",
    FieldType.IP: _OCTET + (rb"\." + _OCTET) * 3,
    # Only days that every month has; the others are looked at one by one.
    FieldType.TIMESTAMP: rb"[1-9][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    rb"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z",
}
"""For each type but text, a pattern for values that are written as JSON writes them: not all, there is no IPv6.

None fits more than 32 bytes, and so each takes bounded time.
"""

ALPHABETS: Final[Mapping[FieldType, bytes]] = {
    FieldType.INTEGER: b"-0123456789",
    FieldType.FLOAT: b"-.0123456789",
    FieldType.BOOLEAN: b"aeflrstu",
    FieldType.IP: b".0123456789",
    FieldType.TIMESTAMP: b"-.0123456789:TZ",
}
"""The bytes in what the patterns of `AS_WRITTEN` fit."""

_COLUMNS: Final = {kind: re.compile(rb"(?>(?:" + value + rb"\n)*)") for kind, value in AS_WRITTEN.items()}

CONVERTIBLE: Final[Mapping[FieldType, bytes]] = {
    FieldType.INTEGER: b"0-9a-fA-FxX+-",
    FieldType.FLOAT: b"0-9eE.+-",
    FieldType.BOOLEAN: b"truefalsTRUEFALS",
    FieldType.IP: rb"0-9a-fA-F.:\[\]",
    FieldType.TIMESTAMP: b"0-9TZUC ,.:+-",
}
"""The bytes in what `converted` takes, as the inside of a character class: text with any other is no such value."""

_STRANGERS: Final = {
    kind: re.compile(rb"(?>(?:[%b]*+[^\n%b][^\n]*+\n)*)" % (taken, taken)) for kind, taken in CONVERTIBLE.items()
}

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_HEXADECIMAL: Final = re.compile(r"0[xX][0-9A-Fa-f]{1,16}")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,]([0-9]{1,9}))?"
    r" ?(?:Z|UTC|([+-])([0-9]{2}):?([0-9]{2}))"
)
_EPOCH: Final = re.compile(r"([0-9]{10})(?:\.([0-9]{1,9})|([0-9]{3}|[0-9]{6}|[0-9]{9}))?")


def all_fit(values: Sequence[bytes], kind: FieldType) -> bool:
    """Whether each of these values is of the type, and is written as JSON writes it; IPv6 is left to `converted`."""
    if kind is FieldType.STRING:
        return True
    text = b"\n".join((*values, b""))
    return _COLUMNS[kind].fullmatch(text) is not None and text.count(b"\n") == len(values)


def none_fits(values: Sequence[bytes], kind: FieldType) -> bool:
    """Whether each of these values holds a byte that no value of the type has, as ``43 ms`` has where one counts.

    False says nothing; True says that `converted` gives None for all of them.
    """
    if kind is FieldType.STRING:
        return False
    text = b"\n".join((*values, b""))
    return _STRANGERS[kind].fullmatch(text) is not None and text.count(b"\n") == len(values)


@lru_cache(maxsize=8192)
def converted(value: bytes, kind: FieldType) -> bytes | None:
    """Give a value as JSON writes it, without the quotes of `is_quoted`; None if it is not of the type.

    A string is given back as it is, whatever it holds.
    """
    if kind is FieldType.STRING:
        return value
    if len(value) > _MAX_BYTES or not value.isascii():
        return None
    text = _CONVERTERS[kind](value.decode("ascii"))
    return None if text is None else text.encode("ascii")


def _integer(text: str) -> str | None:
    if _HEXADECIMAL.fullmatch(text):
        number = int(text, 16)
    elif _INTEGER.fullmatch(text):
        number = int(text)
    else:
        return None
    return str(number) if number in _INTEGERS else None


def _float(text: str) -> str | None:
    if not _FLOAT.fullmatch(text):
        return None
    number = float(text)
    return repr(number) if abs(number) != float("inf") else None


def _boolean(text: str) -> str | None:
    lower = text.lower()
    return lower if lower in {"true", "false"} else None


def _ip(text: str) -> str | None:
    inner = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    if "%" in inner:  # a zone means nothing on another machine, and indexes refuse it
        return None
    try:
        ip_address(inner)
    except ValueError:
        return None
    return inner


def _timestamp(text: str) -> str | None:
    """In UTC, with the digits of the fraction that it has; a time without a zone could mean any of 26 hours."""
    if match := _EPOCH.fullmatch(text):
        fraction = match[2] or match[3] or ""
        at = datetime.fromtimestamp(int(match[1]), UTC)
    elif match := _TIME.fullmatch(text):
        fraction = match[3] or ""
        try:
            at = datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00")
            if match[4]:
                at -= timedelta(hours=int(match[5]), minutes=int(match[6])) * (1 if match[4] == "+" else -1)
        except (ValueError, OverflowError):
            return None
    else:
        return None
    return at.isoformat()[:19] + (f".{fraction}" if fraction else "") + "Z"


_CONVERTERS: Final[Mapping[FieldType, Callable[[str], str | None]]] = {
    FieldType.INTEGER: _integer,
    FieldType.FLOAT: _float,
    FieldType.BOOLEAN: _boolean,
    FieldType.IP: _ip,
    FieldType.TIMESTAMP: _timestamp,
}
