"""What an output's address means: which vendor writes it.

Never here: how something is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from enricher.core.records.address import TABLE_FORMATS, asked_format, format_of_name, sqlite_address
from enricher.errors import UsageError

if TYPE_CHECKING:
    from enricher.core.records.address import TableFormat
    from enricher.ports.records import RecordOutput

DEFAULT_TABLE: Final = "records"


def open_output(spec: str, *, file_format: TableFormat | None = None, overwrite: bool) -> RecordOutput:
    """The output at an address; nothing is written before its `begin`, but what lies there already is refused at once.

    `spec` is a path, `-` for standard output (JSON lines unless `file_format` says otherwise), which what was written
    cannot be taken back from, or a table of a SQLite database (`FILE.db#TABLE`, `sqlite:FILE`). Raises UsageError for
    what is asked for, OutputError for what is found.
    """
    from enricher.edges.record_outputs.delimited import DelimitedOutput
    from enricher.edges.record_outputs.jsonl import JsonlOutput
    from enricher.edges.record_outputs.packed import PackedFile
    from enricher.edges.record_outputs.place import Place

    file_format = asked_format(spec, file_format)
    if database := sqlite_address(spec):
        from enricher.edges.record_outputs.sqlite import SqliteOutput

        table = SqliteOutput(Path(database.path), database.table or DEFAULT_TABLE, overwrite=overwrite)
        table.check()
        return table
    is_stdout = spec == "-"
    kind = file_format or ("jsonl" if is_stdout else _format_of(spec))
    place = Place(None if is_stdout else Path(spec), "standard output" if is_stdout else spec, overwrite=overwrite)
    place.check()
    match kind:
        case "jsonl":
            return JsonlOutput(PackedFile(place))
        case "csv":
            return DelimitedOutput(PackedFile(place), ",")
        case "tsv":
            return DelimitedOutput(PackedFile(place), "\t")
        case "parquet":
            from enricher.edges.record_outputs.parquet import ParquetOutput

            return ParquetOutput(place)
        case _:
            assert_never(kind)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at an output's address."""

    name: str
    """As `RecordOutput.name`."""
    marks: tuple[str, ...]
    """By any of which what a run has written there is known, until somebody else has touched it; () for nothing."""


def look(spec: str) -> Found:
    """Say what lies at an address."""
    from enricher.edges.record_outputs.place import mark_of

    database = sqlite_address(spec)
    path = Path(database.path if database else spec)
    name = f"{path}#{database.table or DEFAULT_TABLE}" if database else spec
    try:
        marks = [mark_of(path.stat())]
        if database:
            from enricher.edges.record_outputs.sqlite import mark_of_database

            marks.append(mark_of_database(path))
    except (OSError, ValueError):
        marks = []
    return Found(name, tuple(filter(None, marks)))


def _format_of(spec: str) -> TableFormat:
    found = format_of_name(spec)
    if found is None:
        raise UsageError(
            f"the format of {spec} is not told by its name", hint=f"name the format: one of {', '.join(TABLE_FORMATS)}"
        )
    return found
