"""Rows of a table: which column their keys are taken from, and in which batches they are given.

A vendor's reader yields pieces; here they become the rows of the port. Invariants: what was looked at to learn the
columns is not read twice; a row without a usable key is a fault of that row; a table none of whose rows can be read is
refused as a whole, since it is another format. Must never: open a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from enricher.errors import InputError, UsageError
from enricher.ports.records import MAX_BATCH_ROWS, Rows

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

MAX_ROW_BYTES: Final = 64 << 20
"""A row that is longer is no row of text for a model."""

UNREADABLE: Final = "unreadable"
_DEFAULT_KEY: Final = "id"
# Some megabytes, none of which is a row: it is no table of this format.
_MAX_PIECES_LOOKED_AT: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some rows as a reader finds them."""

    rows: Sequence[Mapping[str, object]]
    """Empty for one that could not be read."""
    places: Sequence[int]
    """Number of each row, or of the line that it begins in, from 1."""
    faults: Mapping[int, str]
    """Why a row could not be read, by its place in `rows`."""


class Reader(Protocol):
    """A vendor's table."""

    name: str
    noun: str
    """What `Piece.places` counts: "line" or "row"."""
    hint: str
    """What to do about a table none of whose rows can be read."""
    columns: Sequence[str] | None
    """Where the table itself names its columns, after the first piece; None: its rows do."""

    def pieces(self) -> Generator[Piece, None, None]:
        """Every row from the first. InputError where nothing after it can be read, or at the second time of a pipe."""

    def fingerprint(self) -> str:
        """As of the port."""

    def close(self) -> None:
        """As of the port."""


class TableInput:
    """`RecordInput` over a reader. Looks at the first rows at once. InputError, UsageError."""

    text_column: str | None = None

    def __init__(self, reader: Reader, key: str | None = None) -> None:
        self.name = reader.name
        self.skipped: Mapping[str, int] = {}
        self._reader = reader
        self._key = key
        self._is_closed = False
        self._pieces = reader.pieces()
        try:
            self._first: list[Piece] | None = self._look(self._pieces)
            readable = [row for piece in self._first or () for row in piece.rows if row]
            found = tuple(dict.fromkeys(chain.from_iterable(readable)))
            self._columns = found if reader.columns is None else tuple(reader.columns) if readable else ()
            self.key_column = self._key_column(readable)
        except BaseException:
            self.close()
            raise

    def _look(self, pieces: Iterator[Piece]) -> list[Piece]:
        """Pieces up to the first that has a row which can be read."""
        looked: list[Piece] = []
        for piece in pieces:
            looked.append(piece)
            if len(piece.faults) < len(piece.rows):
                return looked
            if len(looked) == _MAX_PIECES_LOOKED_AT:
                break
        for piece in looked:
            if piece.faults:
                place, reason = min(piece.faults.items())
                noun = self._reader.noun
                said = f"{self.name}: no {noun} can be read; {noun} {piece.places[place]}: {reason}"
                raise InputError(said, hint=self._reader.hint)
        return looked

    def _key_column(self, readable: Sequence[Mapping[str, object]]) -> str:
        if self._key is not None:
            if self._key and readable and self._key not in self._columns:
                raise UsageError(
                    f"{self.name} has no column {self._key}", hint=f"its columns are {', '.join(self._columns)}"
                )
            return self._key
        is_default = readable and all(_to_key(row.get(_DEFAULT_KEY)) for row in readable)
        return _DEFAULT_KEY if is_default else ""

    def columns(self) -> Sequence[str]:
        """As its header or schema names them, else those of the first rows in the order in which they come."""
        return self._columns

    def fingerprint(self) -> str:
        """Of the file; "" for a pipe or a query."""
        return self._reader.fingerprint()

    def rows(self) -> Iterator[Rows]:
        """The rows that were looked at, and those after them; from the first again when called again."""
        first, self._first = self._first, None
        if first is None:
            self._pieces.close()
            self._pieces = self._reader.pieces()
        counted = 0
        for piece in chain(first or (), self._pieces):
            for start in range(0, len(piece.rows), MAX_BATCH_ROWS):
                batch = _slice(piece, start, start + MAX_BATCH_ROWS)
                yield self._keyed(batch, counted)
                counted += len(batch.rows)
        if self._is_closed:
            raise InputError(f"{self.name} was closed before its end")  # which must not be taken for its end

    def _keyed(self, piece: Piece, counted: int) -> Rows:
        rows, key = piece.rows, self.key_column
        faults = {
            place: (UNREADABLE, f"{self._reader.noun} {piece.places[place]}: {reason}")
            for place, reason in piece.faults.items()
        }
        if not key:
            return Rows(keys=[str(n) for n in range(counted + 1, counted + len(rows) + 1)], values=rows, faults=faults)
        found = [row.get(key) for row in rows]
        if set(map(type, found)) == {str} and "" not in found:
            return Rows(keys=found, values=rows, faults=faults)  # type: ignore[arg-type]  # they were just looked at
        keys = list(map(_to_key, found))
        for place, one in enumerate(keys):
            if not one:
                # Named by its place, so that it is found, and no two have the same.
                keys[place] = f"{self._reader.noun} {piece.places[place]}"
                faults.setdefault(place, (UNREADABLE, f"{keys[place]}: {_key_fault(key, found[place])}"))
        return Rows(keys=keys, values=rows, faults=faults)

    def close(self) -> None:
        """Close what the reader holds."""
        self._is_closed = True
        self._pieces.close()
        self._reader.close()


def _slice(piece: Piece, start: int, end: int) -> Piece:
    if not start and end >= len(piece.rows):
        return piece
    faults = {place - start: reason for place, reason in piece.faults.items() if start <= place < end}
    return Piece(rows=piece.rows[start:end], places=piece.places[start:end], faults=faults)


def _to_key(value: object) -> str:
    """A value as a key: text as it is, a number or a boolean as JSON writes it; "" for what is no key."""
    match value:
        case str():
            return value
        case bool() | int() | float():
            return msgspec.json.encode(value).decode()
        case _:
            return ""


def _key_fault(column: str, value: object) -> str:
    if value is None or value == "":
        return f"its key column {column} is empty"
    return f"its key column {column} holds a {'list' if isinstance(value, list) else 'mapping'}"
