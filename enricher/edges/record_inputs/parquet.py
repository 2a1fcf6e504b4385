"""Parquet: row group by row group, each in batches whose size follows from what its rows take.

Invariants: nothing larger than some batches and the pages that they lie in is held; a text that is not UTF-8 costs its
row and no other. Must never: be imported where no Parquet file is read, since its library is large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from enricher.edges.record_inputs.fingerprints import fingerprint_of
from enricher.edges.record_inputs.json_values import NotTextError, not_utf8, to_json_value
from enricher.edges.record_inputs.refusals import cannot_read, needs_extra
from enricher.edges.record_inputs.table import Piece
from enricher.errors import InputError
from enricher.ports.records import MAX_BATCH_BYTES, MAX_BATCH_ROWS

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as missing:
    raise needs_extra("Parquet", "parquet") from missing

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

_HINT = "see that it is a whole Parquet file"


class ParquetReader:
    """`Reader` over a Parquet file."""

    noun = "row"
    hint = "its columns of text need to be UTF-8"

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        self._file = self._open()
        names = self._file.schema_arrow.names
        if doubled := [column for column in names if names.count(column) > 1]:
            raise InputError(f"{name} has two columns named {doubled[0]}", hint="give every column a name of its own")
        self.columns: Sequence[str] | None = names

    def _open(self) -> Any:  # noqa: ANN401  # the library has no types
        try:
            # Without the read-ahead, which holds a whole row group.
            return pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 16)
        except pa.ArrowException as error:
            raise InputError(f"{self.name} is no Parquet file: {error}", hint=_HINT) from error
        except OSError as error:
            raise cannot_read(self.name, error) from error

    def pieces(self) -> Generator[Piece, None, None]:
        """The rows of a batch at a time."""
        number = 1
        try:
            for group in range(self._file.metadata.num_row_groups):
                about = self._file.metadata.row_group(group)
                row_bytes = about.total_byte_size // max(1, about.num_rows) + 1
                size = max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES // row_bytes))
                for batch in self._file.iter_batches(size, row_groups=[group]):
                    for part in _parts(batch):
                        piece = _to_piece(part, number)
                        number += len(piece.rows)
                        yield piece
        except pa.ArrowException as error:
            raise InputError(f"{self.name} is damaged after row {number - 1}: {error}", hint=_HINT) from error
        except OSError as error:
            raise cannot_read(self.name, error) from error

    def fingerprint(self) -> str:
        """Of the file."""
        return fingerprint_of((self._path,), self.name)

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)


def _parts(batch: Any) -> Iterator[Any]:  # noqa: ANN401
    """A batch in parts of the size that it should have had: what was packed well takes more than was written of it."""
    count = max(1, -(-batch.nbytes // MAX_BATCH_BYTES))
    size = max(1, -(-batch.num_rows // count))
    for start in range(0, batch.num_rows, size):
        yield batch.slice(start, size)


def _to_piece(batch: Any, number: int) -> Piece:  # noqa: ANN401
    names: list[str] = batch.schema.names
    places = range(number, number + batch.num_rows)
    faults: dict[int, str] = {}
    columns = [_values(name, column, faults) for name, column in zip(names, batch.columns, strict=True)]
    rows: list[Mapping[str, object]] = [dict(zip(names, values)) for values in zip(*columns)]  # noqa: B905
    for place in faults:
        rows[place] = {}
    return Piece(rows=rows, places=places, faults=faults)


def _values(name: str, column: Any, faults: dict[int, str]) -> list[object]:  # noqa: ANN401
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        # Python's times have no nanoseconds.
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(pa.binary()).to_pylist()
        kind = pa.binary()
    if _is_of_json(kind):
        return values
    for place, value in enumerate(values):
        try:
            # A map comes as a list of pairs.
            values[place] = to_json_value(dict(value) if pa.types.is_map(kind) and value is not None else value)  # type: ignore[call-overload]
        except NotTextError as error:
            faults.setdefault(place, not_utf8(name, error))
    return values


def _is_of_json(kind: Any) -> bool:  # noqa: ANN401
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_of_json(kind.value_type)
    is_text = types.is_string(kind) or types.is_large_string(kind)
    return bool(is_text or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind))
