"""CSV and TSV: a header, then a row a line, or several lines where a quoted field has some.

Invariants: every row has as many fields as the header, else it is a fault and costs no other; a quote that is not
closed is an error, since it would swallow what comes after it. Values are text. Must never: guess that a file has no
header.
"""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import TYPE_CHECKING

from enricher.edges.record_inputs.table import MAX_ROW_BYTES, Piece
from enricher.errors import InputError

if TYPE_CHECKING:
    from _csv import Reader
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from enricher.edges.record_inputs.content import Content


class DelimitedReader:
    """`Reader` over CSV; with `delimiter` None it is what the header has: commas, else semicolons, else tabs."""

    noun = "line"
    hint = "every row needs as many fields as the header: name the format or the encoding if it is another one"

    def __init__(self, content: Content, delimiter: str | None = None) -> None:
        self.name = content.name
        self.columns: Sequence[str] | None = None
        self._content = content
        self._delimiter = delimiter

    def pieces(self) -> Generator[Piece, None, None]:
        """The rows of a block at a time."""
        # A setting of the whole process: it is only ever raised here.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
        blocks = _Blocks(self._content.blocks(), self.name)
        text = io.TextIOWrapper(blocks, encoding="utf-8", errors="surrogateescape", newline="")
        first = text.readline()
        delimiter = self._delimiter or next((one for one in ",;\t" if one in first), ",")
        rows = csv.reader(chain((first,), text), delimiter=delimiter, strict=True)
        try:
            header = next((fields for fields in rows if fields), None)
        except csv.Error as error:
            raise InputError(f"{self.name}: its header cannot be read: {error}", hint=self.hint) from error
        if header is not None:
            self.columns = self._checked(header)
            yield from self._rows(rows, header, blocks)

    def _rows(self, reader: Reader, header: list[str], blocks: _Blocks) -> Iterator[Piece]:
        width = len(header)
        rows: list[dict[str, str]] = []
        places: list[int] = []
        faults: dict[int, str] = {}
        taken, before = blocks.taken, reader.line_num
        while True:
            try:
                for fields in reader:
                    if len(fields) == width:
                        rows.append(dict(zip(header, fields)))  # noqa: B905  # as many, and a fifth faster
                        places.append(before + 1)
                    elif fields:
                        faults[len(rows)] = f"{len(fields)} fields where the header has {width}"
                        rows.append({})
                        places.append(before + 1)
                    before = reader.line_num
                    if blocks.taken != taken:
                        yield self._checked_piece(rows, places, faults, blocks)
                        rows, places, faults, taken = [], [], {}, blocks.taken
            except csv.Error as error:
                self._raise_if_unclosed(error, before + 1)
                faults[len(rows)] = f"it is no row of CSV: {error}"
                rows.append({})
                places.append(before + 1)
                before = reader.line_num
            else:
                break
        if rows:
            yield self._checked_piece(rows, places, faults, blocks)

    def _raise_if_unclosed(self, error: csv.Error, line: int) -> None:
        if "unexpected end" in str(error) or "field limit" in str(error):
            raise InputError(
                f"{self.name}: line {line}: a quote that opens in this row is not closed",
                hint='close it; a quote in a quoted field is written twice: "say ""so"""',
            ) from error

    def _checked_piece(
        self, rows: list[dict[str, str]], places: list[int], faults: dict[int, str], blocks: _Blocks
    ) -> Piece:
        """Look for what stands for bytes that are no UTF-8, at little cost where there is none."""
        if blocks.is_beyond_ascii and not _is_utf8(rows):
            for place, row in enumerate(rows):
                if not _is_utf8((row,)):
                    rows[place] = {}
                    faults[place] = self._not_utf8(row)
        return Piece(rows=rows, places=places, faults=faults)

    def _not_utf8(self, row: Mapping[str, str]) -> str:
        if self._content.encoding != "utf-8":
            return f"it is not {self._content.encoding}"
        column = next(column for column, value in row.items() if not _is_utf8(({"": value},)))
        byte = next(ord(one) & 0xFF for one in row[column] if "\udc80" <= one <= "\udcff")
        return f"it is not UTF-8: byte 0x{byte:02x} in column {column}"

    def _checked(self, header: list[str]) -> tuple[str, ...]:
        if not _is_utf8(({"": "".join(header)},)):
            raise InputError(f"{self.name}: its header is not UTF-8", hint="name its encoding, such as cp1252")
        for number, column in enumerate(header, 1):
            if not column.strip():
                raise InputError(f"{self.name}: column {number} has no name", hint="name every column in the header")
            if header.index(column) != number - 1:
                raise InputError(
                    f"{self.name}: columns {header.index(column) + 1} and {number} are both named {column}",
                    hint="give every column a name of its own",
                )
        return tuple(header)

    def fingerprint(self) -> str:
        """Of the file."""
        return self._content.fingerprint()

    def close(self) -> None:
        """Close the file."""
        self._content.close()


class _Blocks(io.BufferedIOBase):
    """Blocks as the file that `TextIOWrapper` wants; a line without end is not held."""

    def __init__(self, blocks: Iterator[bytes], name: str) -> None:
        self._blocks = blocks
        self.name = name
        self._unended = 0
        self.taken = 0
        self.is_beyond_ascii = False

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:  # noqa: ARG002  # a block, however many were asked for
        block = next(self._blocks, b"")
        self.taken += len(block)
        self.is_beyond_ascii = self.is_beyond_ascii or not block.isascii()
        end = max(block.rfind(b"\n"), block.rfind(b"\r"))
        self._unended = len(block) - end - 1 if end >= 0 else self._unended + len(block)
        if self._unended > MAX_ROW_BYTES:
            raise InputError(f"{self.name}: a line is longer than {MAX_ROW_BYTES >> 20} MiB", hint="is it a table?")
        return block


def _is_utf8(rows: Iterable[Mapping[str, str]]) -> bool:
    """Whether no text of some rows has a lone surrogate, which stands for a byte that is not."""
    try:
        "".join(chain.from_iterable(row.values() for row in rows)).encode()
    except UnicodeEncodeError:
        return False
    return True
