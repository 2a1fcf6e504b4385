"""PostgreSQL: the rows of a query, through a cursor on the server.

Invariants: the transaction reads only, and its cursor sees one state of the database however long it takes; no name,
error or representation has the password in it. Must never: fetch more than some batches at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from enricher.edges.record_inputs.query_rows import checked_columns, to_pieces
from enricher.edges.record_inputs.refusals import needs_extra
from enricher.errors import InputError, UsageError

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ImportError as missing:  # also where the library has no libpq
    raise needs_extra("PostgreSQL", "postgres") from missing

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from enricher.edges.record_inputs.table import Piece

_CONNECT_SECONDS: Final = 15


class PostgresReader:
    """`Reader` over a query."""

    noun = "row"
    hint = "its columns of text need to be UTF-8"

    def __init__(self, address: str, query: str) -> None:
        try:
            parameters = conninfo_to_dict(address)
        except psycopg.ProgrammingError:
            # What it says may quote the password.
            raise UsageError(
                "the address of the PostgreSQL database cannot be understood",
                hint="postgresql://USER@HOST:PORT/DATABASE; write %40 for @ in a password, or put it into ~/.pgpass",
            ) from None
        self.name = _shown(parameters)
        self.columns: Sequence[str] | None = None
        self._query = query
        self._secret = str(parameters.get("password") or "")
        self._connection = self._connect({"connect_timeout": _CONNECT_SECONDS, **parameters})

    def _connect(self, parameters: dict[str, Any]) -> psycopg.Connection[Any]:
        try:
            connection = psycopg.connect(**parameters)
            connection.read_only = True
        except psycopg.Error as error:
            raise InputError(
                f"{self.name} cannot be reached: {self._said(error)}",
                hint="check the address, and that its user may connect from here",
            ) from None
        return connection

    def pieces(self) -> Generator[Piece, None, None]:
        """The rows of the query, asked anew, in a transaction of its own."""
        try:
            self._connection.rollback()
            with self._connection.cursor("enricher_records") as cursor:
                self._execute(cursor)
                self.columns = checked_columns(self.name, [column.name for column in cursor.description or ()])
                yield from to_pieces(cursor.fetchmany, self.columns)
        except psycopg.Error as error:
            raise InputError(
                f"{self.name} cannot be read on: {self._said(error)}", hint="see that the database runs"
            ) from error

    def _execute(self, cursor: psycopg.ServerCursor[Any]) -> None:
        try:
            cursor.execute(self._query.encode())
        except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError, psycopg.InternalError) as error:
            raise UsageError(
                f"the query of {self.name} failed: {self._said(error)}", hint="give one SELECT; try it with psql"
            ) from error

    def _said(self, error: psycopg.Error) -> str:
        said = " ".join(str(error).split())
        return said.replace(self._secret, "***") if self._secret else said

    def fingerprint(self) -> str:
        """Only reading tells."""
        return ""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _shown(parameters: dict[str, Any]) -> str:
    """The address without its password, and without options, which may have another one."""
    user, host, port, database = (str(parameters.get(key) or "") for key in ("user", "host", "port", "dbname"))
    host = quote(host, safe=":,[].")
    return f"postgresql://{user and quote(user) + '@'}{host}{port and ':' + port}/{quote(database)}"
