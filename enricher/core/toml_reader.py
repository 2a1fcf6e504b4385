"""Reads the tables of a TOML document key by key, so that its author learns of every fault at once.

What a key means is its caller's. Text that is no TOML is a ValueError; a table never raises for a fault of its own.
Never reads a file.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final

Check = Callable[[Any], str | None]
"""Says what is wrong with a value of the right type, None for nothing."""

Kind = type | tuple[type, ...]


def parse_toml(text: str) -> dict[str, Any]:
    """A TOML document. Raises ValueError, and nothing else, with what is wrong with the text."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    except ValueError:  # Python's own limit of 4,300 digits
        raise ValueError("not TOML: a number of more digits than anything can have") from None
    except RecursionError:
        raise ValueError("not TOML: lists or tables within each other too deep to be read") from None


class TableReader:
    """Takes the keys of one table, notes every fault, and knows at the end which keys nobody asked for.

    Tables within it are readers of their own that share its `faults`; each must be told to `finish`. `prefix` is what
    messages put before a key.
    """

    def __init__(self, table: Mapping[str, Any], faults: list[str] | None = None, prefix: str = "") -> None:
        self._left = dict(table)
        self.prefix = prefix
        self.faults: list[str] = [] if faults is None else faults

    def take(
        self,
        key: str,
        kind: Kind,
        default: Any,  # noqa: ANN401 - of the kind asked for, or None
        check: Check | None = None,
        *,
        required: bool = False,
    ) -> Any:  # noqa: ANN401 - of the kind asked for, or the default
        """Take the value of a key; the default where it is missing or faulty."""
        if key not in self._left:
            if required:
                self.fault(key, "missing")
            return default
        value = self._left.pop(key)
        fault = _kind_fault(value, kind) or (check(value) if check else None)
        if fault:
            self.fault(key, fault)
            return default
        return value

    def take_list(
        self, key: str, kind: Kind, default: tuple[Any, ...] = (), check: Check | None = None, *, required: bool = False
    ) -> tuple[Any, ...]:
        """Take an array of members of one kind, each of which passes the check; an empty array is a fault."""
        members = self.take(key, list, None, required=required)
        if members is None:
            return default
        if not members:
            self.fault(key, "must not be empty")
            return default
        for number, member in enumerate(members, start=1):
            fault = _kind_fault(member, kind) or (check(member) if check else None)
            if fault:
                self.fault(key, f"number {number} {fault}")
                return default
        return tuple(members)

    def table(self, key: str) -> TableReader:
        """Take a table within; an empty one where it is missing or faulty."""
        return TableReader(self.take(key, dict, {}), self.faults, f"{self.prefix}{key}.")

    def tables(self, key: str) -> list[TableReader]:
        """Take an array of tables; messages count them from 1."""
        readers = []
        for number, table in enumerate(self.take(key, list, []), start=1):
            fault = _kind_fault(table, dict)
            if fault:
                self.fault(key, f"number {number} {fault}")
            else:
                readers.append(TableReader(table, self.faults, f"{self.prefix}{key}[{number}]."))
        return readers

    def left(self) -> tuple[str, ...]:
        """Name the keys that nobody took yet, in their order."""
        return tuple(self._left)

    def fault(self, key: str, reason: str) -> None:
        """Note what is wrong with a key."""
        self.faults.append(f"{self.prefix}{key}: {reason}")

    def finish(self) -> None:
        """Note every key that nobody took."""
        self.faults += [f"{self.prefix}{key}: unknown key" for key in sorted(self._left)]


_TOML_NAMES: Final[dict[type, str]] = {
    str: "a string", int: "a whole number", float: "a number", bool: "true or false", dict: "a table", list: "an array",
}  # fmt: skip
NUMBER: Final = (int, float)
"""The kind of a value that may be written with or without a point."""


def _kind_fault(value: object, kind: Kind) -> str | None:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds):
        return None
    wanted = "a number" if kinds == NUMBER else " or ".join(_TOML_NAMES[one] for one in kinds)
    return f"must be {wanted}, not {_TOML_NAMES.get(type(value), 'something else')}"


def not_empty(value: str) -> str | None:
    """Refuse a string of nothing but blanks."""
    return None if value.strip() else "must not be empty"


def one_of(*words: str) -> Check:
    """Take these words only."""
    return lambda value: None if value in words else f"must be one of {', '.join(words)}"


def within(low: float, high: float) -> Check:
    """Take numbers from `low` to `high`, and no NaN."""
    return lambda value: None if low <= value <= high else f"must be from {low} to {high}"


def finite(value: float) -> str | None:
    """Refuse infinity and NaN, which TOML can write and JSON cannot."""
    return None if math.isfinite(value) else "must be a finite number"
