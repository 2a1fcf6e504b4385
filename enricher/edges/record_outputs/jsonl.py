"""JSON Lines: one object a line, with the columns that its row has. `.gz` and `.zst` are compressed.

The same rows are the same bytes whenever they are written. Must never: hold more than some rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from enricher.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.edges.record_outputs.packed import PackedFile


class JsonlOutput:
    """`RecordOutput` as lines of JSON."""

    def __init__(self, file: PackedFile) -> None:
        self.name = file.name
        self._file = file
        self._encoder = msgspec.json.Encoder()

    def begin(self, columns: Sequence[str]) -> None:  # noqa: ARG002  # as of the port
        """Open the file; a line names its columns itself."""
        self._file.open()

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """A line for each row."""
        try:
            data = self._encoder.encode_lines(rows)
        except (UnicodeEncodeError, TypeError, ValueError) as error:
            raise OutputError(f"{self.name}: a row cannot be written as JSON: {error}") from error
        self._file.write(data)

    def seal(self) -> str:
        """Make the file durable."""
        return self._file.seal()

    def finish(self) -> None:
        """Put the file in its place."""
        self._file.settle()

    def abandon(self) -> None:
        """Remove it."""
        self._file.abandon()
