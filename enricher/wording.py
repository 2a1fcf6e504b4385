"""How a fault of the configuration file is told: in the words of TOML, with the place and what was expected there.

Pure: what is wrong is found by `config`; nothing is read or decided here.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_SHOWN: Final = 100
_MAX_BITS: Final = 128
_MAX_MESSAGE: Final = 500

# pydantic speaks of Python's types; the reader wrote TOML.
_EXPECTED: Final = {
    "tuple_type": "is a list",
    "is_instance_of": "is a path in quotes",
    "dict_type": "is a table",
    "model_type": "is a table",
    "string_type": "is text in quotes",
    "int_type": "is a whole number",
    "float_type": "is a number",
    "bool_type": "is true or false",
}


def told(item: Any, options: Callable[[tuple[str | int, ...]], Iterable[str]]) -> str:  # noqa: ANN401 - pydantic's error dictionary, read here and nowhere else
    """One of pydantic's errors as "PLACE: what is wrong"; `options` gives the names that a table at a place has."""
    where = ""
    for step in item["loc"]:
        name = _cut(str(step), _MAX_SHOWN)
        where += f"[{step}]" if isinstance(step, int) else f".{name}" if where else name
    kind = item["type"]
    if kind == "extra_forbidden":
        *table, name = item["loc"]
        close = difflib.get_close_matches(str(name), options(tuple(table)), n=1)
        return f"{where}: there is no such option" + (f"; did you mean {close[0]}?" if close else "")
    if kind == "missing":
        return f"{where}: is missing"
    message = _cut(item["msg"].removeprefix("Value error, "), _MAX_MESSAGE)
    if kind == "value_error" or not where:
        return f"{where}: {message}" if where else message
    expected = _EXPECTED.get(kind) or message.replace("Input should be", "is")
    return f"{where}: {expected}, not {shown(item['input'])}"


def shown(value: object) -> str:
    """A value as it is written in TOML, or what it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:  # Python writes out no more than 4,300 digits
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (str, int, float)):
        return _cut(repr(value), _MAX_SHOWN)
    return {"list": "a list", "dict": "a table"}.get(type(value).__name__, f"a {type(value).__name__}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"
