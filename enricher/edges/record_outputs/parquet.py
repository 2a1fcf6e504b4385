"""Parquet: columns of the narrowest kind that holds all their values, packed with zstd.

Rows are written as they come, with the kinds that they have so far. Where a later row needs a wider kind or brings a
column, what was written stays as a segment of its own, and the segments are written once more, in one kind, at the end:
most outputs are written once, and none is refused for what its last row holds. Vectors are lists of 32-bit numbers.
Must never: be imported where no Parquet file is written, since its library is large.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from enricher.edges.record_outputs.cells import cell_text, late_columns
from enricher.edges.record_outputs.column_kinds import NOTHING, TEXT, Kind, kind_of, wider
from enricher.edges.record_outputs.place import mapped
from enricher.errors import OutputError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as missing:
    raise OutputError(
        "Parquet cannot be written: its library is not installed", hint="pip install 'enricher[parquet]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from enricher.edges.record_outputs.place import Place

_GROUP_ROWS: Final = 1 << 16
_GROUP_BYTES: Final = 8 << 20
_STATES: Final = frozenset(("status", "error"))
"""Text, though the first error may come after a million rows."""
_LEAVES: Final = {
    "nothing": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "long": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
}

Kinds = dict[str, Kind]


@dataclass(frozen=True, slots=True)
class _Segment:
    """Rows that were written with narrower kinds."""

    file: BinaryIO
    kinds: Kinds


class ParquetOutput:
    """`RecordOutput` as a Parquet file."""

    def __init__(self, place: Place) -> None:
        if place.is_stream:
            raise OutputError(f"Parquet is not written to a stream such as {place.name}", hint="name a file")
        self.name = place.name
        self._place = place
        self._kinds: Kinds = {}
        self._writer: Any = None
        self._pending: list[Any] = []
        self._segments: list[_Segment] = []
        self._is_whole = False

    def begin(self, columns: Sequence[str]) -> None:
        """Open the file."""
        self._place.open()
        self._kinds = {column: TEXT if column in _STATES else NOTHING for column in columns}

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Rows as they come; they are on disk in groups."""
        if not rows:
            return
        kinds = self._kinds | dict.fromkeys(late_columns(tuple(self._kinds), rows), NOTHING)
        values = {column: [row.get(column) for row in rows] for column in kinds}
        kinds = {column: wider(kind, kind_of(values[column])) for column, kind in kinds.items()}
        with self._mapped():
            if kinds != self._kinds:
                self._widen(kinds)
            self._add(pa.record_batch([_array(values[column], kind) for column, kind in kinds.items()], list(kinds)))

    def _widen(self, kinds: Kinds) -> None:
        narrow, self._kinds = self._kinds, kinds
        if _schema(narrow) == _schema(kinds):
            return
        self._pending = [_recast(batch, narrow, kinds) for batch in self._pending]
        if self._writer is not None:
            self._end_segment(narrow)

    def _end_segment(self, kinds: Kinds) -> None:
        self._close_writer()
        self._segments.append(_Segment(self._place.again(), kinds))

    def _add(self, batch: Any) -> None:  # noqa: ANN401  # the library has no types
        self._pending.append(batch)
        count = sum(one.num_rows for one in self._pending)
        if count >= _GROUP_ROWS or sum(one.nbytes for one in self._pending) >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        schema = _schema(self._kinds)
        if self._writer is None:
            # Hardly two numbers of vectors are the same: to look for those takes time and room.
            repeated = [column for column, kind in self._kinds.items() if not kind.is_vector]
            self._writer = pq.ParquetWriter(self._place.file, schema, compression="zstd", use_dictionary=repeated)
        pending, self._pending = self._pending, []
        if pending:
            self._writer.write_table(pa.Table.from_batches(pending, schema), row_group_size=_GROUP_ROWS)
            pending.clear()
            # Else the library keeps the room of several groups for later.
            pa.default_memory_pool().release_unused()

    def seal(self) -> str:
        """Write what is left, all of it once more where its kinds have become wider, and make the file durable."""
        if not self._is_whole:
            self._write_the_end()
            self._is_whole = True
        return self._place.seal()

    def finish(self) -> None:
        """Put the file in its place."""
        self.seal()
        self._place.settle()

    def _write_the_end(self) -> None:
        with self._mapped():
            self._flush()
            if self._segments:
                self._end_segment(self._kinds)
                for segment in self._segments:
                    for batch in _batches(segment.file):
                        self._add(_recast(batch, segment.kinds, self._kinds))
                self._flush()
            self._close_writer()
        self._close_segments()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _close_segments(self) -> None:
        for segment in self._segments:
            segment.file.close()
        self._segments.clear()

    def abandon(self) -> None:
        """Remove it."""
        self._pending.clear()
        # The library writes a file's end whatever became of it.
        with contextlib.suppress(OSError, ValueError, pa.ArrowException):
            self._close_writer()
        self._close_segments()
        self._place.abandon()

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            with mapped(self.name):
                yield
        except (pa.ArrowException, UnicodeEncodeError) as error:
            raise OutputError(f"{self.name} cannot be written: {error}") from error


def _type(kind: Kind) -> Any:  # noqa: ANN401
    leaf = pa.float32() if kind.is_vector else _LEAVES[kind.leaf]
    return pa.list_(leaf) if kind.is_list else leaf


def _schema(kinds: Kinds) -> Any:  # noqa: ANN401
    return pa.schema([(column, _type(kind)) for column, kind in kinds.items()])


def _array(values: Sequence[object], kind: Kind) -> Any:  # noqa: ANN401
    if kind == TEXT:
        values = [None if value is None else cell_text(value) for value in values]
    return pa.array(values, _type(kind))


def _batches(file: BinaryIO) -> Iterator[Any]:
    source = pq.ParquetFile(file, pre_buffer=False)
    for group in range(source.metadata.num_row_groups):
        yield from source.read_row_group(group).to_batches()


def _recast(batch: Any, narrow: Kinds, kinds: Kinds) -> Any:  # noqa: ANN401
    arrays = []
    for column, kind in kinds.items():
        known = narrow.get(column, NOTHING)
        if _type(known) == _type(kind) and column in narrow:
            arrays.append(batch.column(column))
        elif known == NOTHING:
            arrays.append(pa.nulls(batch.num_rows, _type(kind)))
        elif kind == TEXT:
            arrays.append(_array(batch.column(column).to_pylist(), kind))
        else:
            arrays.append(batch.column(column).cast(_type(kind)))
    return pa.record_batch(arrays, list(kinds))
