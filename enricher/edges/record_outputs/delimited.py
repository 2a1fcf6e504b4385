"""CSV and TSV: a header, then a row a line; fields are quoted where they must be, quotes are written twice.

Lists and mappings are JSON in their cell, and nothing is an empty cell. A cell that begins with = + - or @ is written
as it is, as all tools that exchange data do: put a sign before it and it is another value, and its key finds no row.
Invariant: the header names all columns, also one that the last row brought. Must never: hold more than some rows.
"""

from __future__ import annotations

import csv
import io
from itertools import islice
from types import NoneType
from typing import TYPE_CHECKING, Final

from enricher.edges.record_outputs.cells import cell_text, late_columns
from enricher.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from enricher.edges.record_outputs.packed import PackedFile

# Not numbers with a fraction: Python writes some of them in another way than JSON does.
_WRITTEN_AS_THEY_ARE: Final = frozenset((str, int, NoneType))
_BATCH_ROWS: Final = 1024


class DelimitedOutput:
    """`RecordOutput` as CSV or TSV."""

    def __init__(self, file: PackedFile, delimiter: str) -> None:
        self.name = file.name
        self._file = file
        self._delimiter = delimiter
        self._columns: list[str] = []
        self._header_columns = 0
        """How many columns the header that was written has."""

    def begin(self, columns: Sequence[str]) -> None:
        """Open the file and write the header."""
        self._file.open()
        self._columns = list(columns)
        self._put_header()

    def _put_header(self) -> None:
        self._put((self._columns,))
        self._header_columns = len(self._columns)

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """A line for each row, or several where a text has some."""
        if late := late_columns(self._columns, rows):
            if self._file.is_stream:
                raise OutputError(
                    f"{self.name}: the header is written, and a row has the column {late[0]} besides",
                    hint="write into a file, or JSON lines",
                )
            self._columns += late
        self._put(zip(*(_cells([row.get(column) for row in rows]) for column in self._columns), strict=True))

    def _put(self, rows: Iterable[Iterable[object]]) -> None:
        lines = _Lines()
        csv.writer(lines, delimiter=self._delimiter).writerows(rows)
        try:
            data = "".join(lines).encode()
        except UnicodeEncodeError as error:
            raise OutputError(f"{self.name}: a text cannot be written: {error}") from error
        self._file.write(data)

    def seal(self) -> str:
        """Make the file durable, written again where columns came after its header."""
        if len(self._columns) > self._header_columns:
            with self._file.again() as written:
                text = io.TextIOWrapper(written, encoding="utf-8", newline="")
                self._widen(csv.reader(text, delimiter=self._delimiter))
                text.detach()
        return self._file.seal()

    def finish(self) -> None:
        """Put the file in its place."""
        self.seal()
        self._file.settle()

    def _widen(self, rows: Iterator[list[str]]) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))
        next(rows)
        self._put_header()
        width = len(self._columns)
        while batch := list(islice(rows, _BATCH_ROWS)):
            self._put(row + [""] * (width - len(row)) for row in batch)

    def abandon(self) -> None:
        """Remove it."""
        self._file.abandon()


def _cells(values: Sequence[object]) -> Sequence[object]:
    """Values as the writer of CSV takes them."""
    return values if _WRITTEN_AS_THEY_ARE.issuperset(map(type, values)) else [cell_text(value) for value in values]


class _Lines(list[str]):
    r"""What a writer of CSV writes to: it ends lines by \r\n, since else it would not quote a \r in a text."""

    def write(self, line: str) -> None:
        self.append(line[:-2] + "\n")
