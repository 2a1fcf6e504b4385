"""Lines of many separated values without names: firewalls' and appliances' exports.

Nothing names the columns, so a value is one of a few words only where it is written in capitals or is a word that
firewalls and sessions use; the other columns are holes. Fewer than `_COLUMNS` columns, or a column that reads like a
sentence among the first ones, make a line text.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Final

from enricher.core.structured.parsed import MAX_FIELDS, Parsed

if TYPE_CHECKING:
    from enricher.core.structured.parsed import Value

_COLUMNS: Final = 8
_WORDY: Final = 3
_NUMBERS: Final = 3  # tabs alone are blanks of a text
_MAX_CELL: Final = 4_096
_CAPITALS = re.compile(r"[A-Z][A-Z_\-]{2,24}\Z")
_STATES: Final = frozenset(
    """
    allow allowed deny denied drop dropped accept accepted reject rejected pass block blocked reset start end close
    closed open success failure failed error warning info traffic threat system config tcp udp icmp url alert any
    """.split()  # noqa: SIM905 - easier to read
)


def parse_csv(text: str) -> Parsed | None:
    """The columns of a line under the names `c1`, `c2` …; None for what is rather text."""
    for separator in (",", ";", "\t"):
        if text.count(separator) >= _COLUMNS - 1 and text.count(separator + " ") * 4 < text.count(separator):
            break
    else:
        return None
    if len(text) > _MAX_CELL * 8:
        return None
    try:
        cells = next(csv.reader((text.rstrip("\r"),), delimiter=separator, strict=True), [])
    except csv.Error:
        return None
    if separator == "\t" and (not _is_number(cells[0]) or sum(map(_is_number, cells)) < _NUMBERS):
        return None
    if len(cells) < _COLUMNS or sum(cell.count(" ") >= _WORDY for cell in cells) * 4 > len(cells):
        return None
    fields: list[tuple[str, Value]] = [(f"c{at}", cell) for at, cell in enumerate(cells[:MAX_FIELDS], start=1)]
    return Parsed(format="csv", fields=tuple(fields))


def telling_cells(fields: tuple[tuple[str, Value], ...]) -> list[tuple[str, str]]:
    """The columns that tell kinds apart."""
    return [
        (name, value)
        for name, value in fields[:40]
        if isinstance(value, str) and (_CAPITALS.match(value) or value.lower() in _STATES)
    ]


def _is_number(cell: str) -> bool:
    return not any(map(str.isalpha, cell))
