"""Rows of a query as pieces: as many at a time as their size allows.

Never here: how a database is asked.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from enricher.edges.record_inputs.json_values import NotTextError, not_utf8, to_json_value
from enricher.edges.record_inputs.table import Piece
from enricher.errors import UsageError
from enricher.ports.records import MAX_BATCH_BYTES, MAX_BATCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_FETCHED_ROWS: Final = 512
_OF_JSON: Final = frozenset((str, int, bool, type(None)))


def checked_columns(name: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of a query, each of which needs a name of its own. UsageError."""
    for column in columns:
        if columns.count(column) > 1:
            raise UsageError(f"the query of {name} has two columns named {column}", hint="name one of them by AS")
    return tuple(columns)


def to_pieces(fetch: Callable[[int], Sequence[Sequence[object]]], columns: Sequence[str]) -> Iterator[Piece]:
    """Every row that `fetch`, told how many, gives."""
    number, wanted = 1, _FETCHED_ROWS
    rows: list[Sequence[object]] = []
    size = 0
    while fetched := fetch(wanted):
        more = sum(map(_size, chain.from_iterable(fetched)))
        if rows and (size + more > MAX_BATCH_BYTES or len(rows) + len(fetched) > MAX_BATCH_ROWS):
            yield _to_piece(rows, columns, number)
            number += len(rows)
            rows, size = [], 0
        rows += fetched
        size += more
        # Rows are about as long as those before them.
        wanted = max(1, min(_FETCHED_ROWS, MAX_BATCH_BYTES // (more // len(fetched) + 1)))
    if rows:
        yield _to_piece(rows, columns, number)


def _size(value: object) -> int:
    return len(value) if isinstance(value, str | bytes) else 8


def _to_piece(fetched: Sequence[Sequence[object]], columns: Sequence[str], number: int) -> Piece:
    rows: list[Mapping[str, object]] = [dict(zip(columns, row)) for row in fetched]  # noqa: B905  # as many
    faults: dict[int, str] = {}
    if not _OF_JSON.issuperset(map(type, chain.from_iterable(fetched))):
        for place, row in enumerate(rows):
            rows[place] = _converted(row, place, faults)
    return Piece(rows=rows, places=range(number, number + len(rows)), faults=faults)


def _converted(row: Mapping[str, object], place: int, faults: dict[int, str]) -> Mapping[str, object]:
    values: dict[str, object] = {}
    for column, value in row.items():
        try:
            values[column] = to_json_value(value)
        except NotTextError as error:
            faults[place] = not_utf8(column, error)
            return {}
    return values
