"""A value as the text of a cell, and which columns the rows of an output have.

Text is itself, nothing is the empty text, all else is as JSON writes it. Never here: what a cell is written to.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def cell_text(value: object) -> str:
    """The text of a value."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def late_columns(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Columns of some rows that are not among those known, in the order in which they come."""
    known = frozenset(columns)
    if known.issuperset(chain.from_iterable(rows)):
        return []
    return [column for column in dict.fromkeys(chain.from_iterable(rows)) if column not in known]
