"""JSON Lines: one object a line.

Invariants: a line that is no object costs no other line; a line without end is not held. Blank lines are no rows.
Must never: take two objects on one line, or one over two lines, for rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from enricher.edges.record_inputs.table import MAX_ROW_BYTES, Piece

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from enricher.edges.record_inputs.content import Content

_TOO_LONG: Final = b"\n"
"""Stands for a line that was longer than a row may be: no line has this in it."""


class JsonlReader:
    """`Reader` over lines of JSON."""

    noun = "line"
    hint = "one JSON object a line is read: make that of an array with jq -c '.[]', or name another format: csv, tsv"
    columns: Sequence[str] | None = None

    def __init__(self, content: Content) -> None:
        self.name = content.name
        self._content = content
        self._decode = msgspec.json.Decoder(dict[str, object]).decode

    def pieces(self) -> Generator[Piece, None, None]:
        """The lines of a block at a time."""
        number = 1
        for lines in _lines(self._content.blocks()):
            rows: list[Mapping[str, object]]
            places = range(number, number + len(lines))
            try:
                rows = list(map(self._decode, lines))
            except (msgspec.DecodeError, RecursionError):
                piece = self._each(lines, number)
            else:
                piece = Piece(rows=rows, places=places, faults={})
            number += len(lines)
            if piece.rows:
                yield piece

    def _each(self, lines: list[bytes], number: int) -> Piece:
        rows: list[Mapping[str, object]] = []
        places: list[int] = []
        faults: dict[int, str] = {}
        for place, line in enumerate(lines, number):
            if line is not _TOO_LONG and (not line or line.isspace()):
                continue
            row: Mapping[str, object] = {}
            try:
                row = self._decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                faults[len(rows)] = self._reason(line, error)
            rows.append(row)
            places.append(place)
        return Piece(rows=rows, places=places, faults=faults)

    def _reason(self, line: bytes, error: Exception) -> str:
        if line is _TOO_LONG:
            return f"it is longer than {MAX_ROW_BYTES >> 20} MiB"
        try:
            line.decode()
        except UnicodeDecodeError as wrong:
            if self._content.encoding != "utf-8":
                return f"it is not {self._content.encoding}"
            return f"it is not UTF-8: byte 0x{line[wrong.start]:02x} at byte {wrong.start + 1} of the line"
        if isinstance(error, RecursionError):
            return "it is nested too deeply"
        if isinstance(error, msgspec.ValidationError) and not line.lstrip().startswith(b"{"):
            return "it is no JSON object"
        return f"it is no JSON object: {error}"

    def fingerprint(self) -> str:
        """Of the file."""
        return self._content.fingerprint()

    def close(self) -> None:
        """Close the file."""
        self._content.close()


def _lines(blocks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, without their ends, as they come with each block."""
    rest: list[bytes] = []
    size = 0
    for block in blocks:
        if b"\n" not in block:
            size += len(block)
            rest.append(block)
            if size > MAX_ROW_BYTES:
                rest.clear()
            continue
        lines = block.split(b"\n")
        lines[0] = b"".join((*rest, lines[0])) if size <= MAX_ROW_BYTES else _TOO_LONG
        rest = [lines.pop()]
        size = len(rest[0])
        yield lines
    if size:
        yield [b"".join(rest) if size <= MAX_ROW_BYTES else _TOO_LONG]
