"""What an input's address means: which vendor reads it.

Never here: how something is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from enricher.core.records.address import TABLE_FORMATS, asked_format, format_of_name, is_postgres, sqlite_address
from enricher.edges.record_inputs.refusals import cannot_read
from enricher.errors import UsageError

if TYPE_CHECKING:
    from enricher.core.records.address import SqliteAddress, TableFormat
    from enricher.edges.record_inputs.table import Reader
    from enricher.ports.records import RecordInput


def open_input(
    spec: str,
    *,
    query: str | None = None,
    file_format: TableFormat | None = None,
    key: str | None = None,
    encoding: str = "utf-8",
) -> RecordInput:
    """The input at an address, its first rows looked at already.

    `spec` is a directory of documents, a pattern of them (`docs/**/*.md`) or a single one, a table by its path, `-` for
    standard input (JSON lines unless `file_format` says otherwise), a SQLite database (`FILE.db`, `FILE.db#TABLE`,
    `sqlite:FILE`) or `postgresql://`; the two are asked a `query`. `key` names the key column, else it is `id` where
    every row has one, else rows are counted. `encoding` is that of text without a byte order mark. Raises UsageError
    for what is asked for, InputError for what is found.
    """
    from enricher.edges.record_inputs.table import TableInput

    file_format = asked_format(spec, file_format)
    if is_postgres(spec):
        return TableInput(_postgres_reader(spec, query), key)
    if database := sqlite_address(spec):
        return TableInput(_sqlite_reader(database, query), key)
    if query is not None:
        raise UsageError(f"{spec} is no database: a query is asked of one only", hint="leave the query out")
    if file_format is None and _is_of_documents(spec):
        from enricher.edges.record_inputs.documents import DocumentsInput

        return DocumentsInput(spec, key=key, encoding=encoding)
    return TableInput(_file_reader(spec, file_format, encoding), key)


def _is_of_documents(spec: str) -> bool:
    from enricher.edges.record_inputs.documents.document import SUFFIXES
    from enricher.edges.record_inputs.documents.tree import is_pattern

    path = Path(spec)
    return path.is_dir() or is_pattern(spec) or (path.suffix.lower() in SUFFIXES and path.is_file())


def _postgres_reader(spec: str, query: str | None) -> Reader:
    if query is None:
        raise UsageError(
            "a query is needed for PostgreSQL", hint="give one: SELECT id, text FROM documents ORDER BY id"
        )
    from enricher.edges.record_inputs.postgres import PostgresReader

    return PostgresReader(spec, query)


def _sqlite_reader(database: SqliteAddress, query: str | None) -> Reader:
    from enricher.edges.record_inputs.sqlite import SqliteReader

    name = f"{database.path}#{database.table}" if database.table else database.path
    return SqliteReader(Path(database.path), name, table=database.table, query=query)


def _file_reader(spec: str, file_format: TableFormat | None, encoding: str) -> Reader:
    from enricher.edges.record_inputs.content import Content
    from enricher.edges.record_inputs.delimited import DelimitedReader
    from enricher.edges.record_inputs.jsonl import JsonlReader

    is_stdin = spec == "-"
    kind = file_format or ("jsonl" if is_stdin else _format_of(spec))
    if kind == "parquet":
        return _parquet_reader(spec)
    name = "standard input" if is_stdin else spec
    content = Content(None if is_stdin else Path(spec), name, encoding=encoding)
    match kind:
        case "jsonl":
            return JsonlReader(content)
        case "csv":
            return DelimitedReader(content)
        case "tsv":
            return DelimitedReader(content, "\t")
        case _:
            assert_never(kind)


def _parquet_reader(spec: str) -> Reader:
    path = Path(spec)
    if spec == "-" or path.is_fifo():
        raise UsageError("Parquet is not read from a stream: its end is read first", hint="write it into a file")
    if not path.is_file():
        raise cannot_read(spec, FileNotFoundError()) if not path.exists() else cannot_read(spec, IsADirectoryError())
    from enricher.edges.record_inputs.parquet import ParquetReader

    return ParquetReader(path, spec)


def _format_of(spec: str) -> TableFormat:
    found = format_of_name(spec)
    if found is None:
        if not Path(spec).exists():
            raise cannot_read(spec, FileNotFoundError())
        raise UsageError(
            f"what {spec} holds is not told by its name", hint=f"name the format: one of {', '.join(TABLE_FORMATS)}"
        )
    return found
