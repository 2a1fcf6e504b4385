"""What a structured line holds, whatever its format: flat fields in the line's order, and a few of them by their role.

Invariant: names and nesting are bounded, so that a hostile document costs no more than a long one. Must never: recurse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FIELDS: Final = 128
MAX_NAME_CHARACTERS: Final = 120
MAX_DEPTH: Final = 8
"""Objects inside objects that are given as fields of their own; what lies deeper is left out."""

Scalar = str | int | float | bool | None
Value = Scalar | list[Scalar]
"""A list holds scalars only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A line taken apart. `fields` are (dotted name, value), no name twice, at most `MAX_FIELDS`.

    `message`, `level` and `program` are "" where the format or its fields give none; `message_name` is the field that
    the message was taken from. `level_number` is OpenTelemetry's, for a level that was written as a number.
    `inner` is the line that a wrapper carries: all other parts are the wrapper's own.
    """

    format: str
    fields: tuple[tuple[str, Value], ...]
    message: str = ""
    message_name: str = ""
    level: str = ""
    level_number: int = 0
    program: str = ""
    inner: str | None = None
    is_whole: bool = True
    """Whether `fields` hold all that the line does."""
    is_open: bool = False
    """Which fields there are says nothing of the kind (an audit event with the objects that it is about)."""


def flatten(document: Mapping[str, object]) -> tuple[list[tuple[str, Value]], bool]:
    """The scalars of a JSON object under dotted names, in the document's order, and whether they are all of it.

    The first of two equal names wins.
    """
    is_whole = True
    found: dict[str, Value] = {}
    stack = [("", iter(document.items()))]
    while stack and len(found) < MAX_FIELDS:
        prefix, items = stack[-1]
        item = next(items, None)
        if item is None:
            stack.pop()
            continue
        name, value = f"{prefix}{item[0]}"[: MAX_NAME_CHARACTERS + 1], item[1]
        if len(name) > MAX_NAME_CHARACTERS:
            name = name[: MAX_NAME_CHARACTERS - 1] + "…"
        if isinstance(value, dict):
            is_whole &= len(stack) < MAX_DEPTH or not value
            if len(stack) < MAX_DEPTH:
                stack.append((f"{name}.", iter(value.items())))
        elif isinstance(value, list):
            is_whole &= len(value) <= MAX_DEPTH or (len(value) <= MAX_FIELDS and not isinstance(value[0], dict | list))
            scalars = [one for one in value[:MAX_FIELDS] if one is None or isinstance(one, str | int | float)]
            if scalars and len(scalars) == len(value[:MAX_FIELDS]):
                found.setdefault(name, scalars)
            elif value:
                is_whole &= len(stack) < MAX_DEPTH
                if len(stack) >= MAX_DEPTH:
                    continue
                stack.append((f"{name}.", iter([(str(at), one) for at, one in enumerate(value[:MAX_DEPTH])])))
        elif value is None or isinstance(value, str | int | float):
            found.setdefault(name, value)
    return list(found.items()), is_whole and not stack
