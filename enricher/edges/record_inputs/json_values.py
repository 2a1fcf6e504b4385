"""A value of a table or a query as JSON has it.

Times are text as ISO 8601 writes them, decimals and identifiers are text, since a number would lose digits; what is not
finite is nothing. Bytes are text where they are UTF-8. Never here: where a value comes from.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping


class NotTextError(Exception):
    """Bytes that are no UTF-8: the row that has them cannot be read."""


def to_json_value(value: object) -> object:
    """The value in JSON's types. NotTextError."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return _text(bytes(value))
        case Mapping():
            return {str(name): to_json_value(one) for name, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [to_json_value(one) for one in value]
        case _:
            return str(value)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NotTextError(f"byte 0x{data[error.start]:02x} at byte {error.start + 1}") from error


def not_utf8(column: str, error: NotTextError) -> str:
    """The reason to give of a row with such a column."""
    return f"column {column} is not UTF-8: {error}"
