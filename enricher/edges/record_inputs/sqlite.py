"""SQLite: the rows of a query or of a table.

Invariant: the database is opened for reading only, whatever the query says. Must never: wait for ever for a lock.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

from enricher.edges.record_inputs.query_rows import checked_columns, to_pieces
from enricher.edges.record_inputs.refusals import cannot_read
from enricher.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from enricher.edges.record_inputs.table import Piece


class SqliteReader:
    """`Reader` over a query; without one, over the table that is named, or the only one that there is."""

    noun = "row"
    hint = "its columns of text need to be UTF-8"

    def __init__(self, path: Path, name: str, *, table: str = "", query: str | None = None) -> None:
        self.name = name
        self.columns: Sequence[str] | None = None
        if not path.exists():
            raise cannot_read(str(path), FileNotFoundError())
        try:
            # Opened by one worker thread and read by another, never by two at a time.
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be opened: {error}", hint="see that it can be read") from error
        self._connection.text_factory = _to_text
        try:
            self._query = query or f'SELECT * FROM "{self._table(table)}"'  # noqa: S608  # it is one of its tables
        except BaseException:
            self.close()
            raise

    def _table(self, table: str) -> str:
        try:
            found = self._connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_'"
            )
            names = [name for (name,) in found]
        except sqlite3.Error as error:
            raise InputError(f"{self.name} is no SQLite database: {error}", hint="check the path") from error
        if table in names or (not table and len(names) == 1):
            return str(table or names[0]).replace('"', '""')
        listed = f"it has {', '.join(names)}" if names else "it has none"
        if table:
            raise UsageError(f"{self.name}: there is no table {table}", hint=listed)
        raise UsageError(f"{self.name}: which table?", hint=f"name one (FILE#TABLE) or give a query; {listed}")

    def pieces(self) -> Generator[Piece, None, None]:
        """The rows of the query, asked anew."""
        try:
            cursor = self._connection.execute(self._query)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise UsageError(f"the query of {self.name} failed: {error}", hint="try it with sqlite3") from error
        if cursor.description is None:
            raise UsageError(f"the query of {self.name} gives no rows", hint="give a SELECT")
        self.columns = checked_columns(self.name, [column[0] for column in cursor.description])
        try:
            yield from to_pieces(cursor.fetchmany, self.columns)
        except sqlite3.Error as error:
            raise InputError(f"{self.name} cannot be read on: {error}", hint="see that it is whole") from error

    def fingerprint(self) -> str:
        """Only reading tells."""
        return ""

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def _to_text(data: bytes) -> str | bytes:
    """Text, or the bytes as they are, which cost their row and no other."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
