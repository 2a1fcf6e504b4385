"""A table of a SQLite database, made in one transaction.

Rows go into a table of another name, which takes its own with the commit: until then readers see what was there, and a
killed run leaves nothing, since SQLite rolls it back. Columns have no type; lists and mappings are JSON. The key is the
primary key unless two rows have the same. No other table is touched; with one that is replaced its indices go.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

from enricher.edges.record_outputs.cells import cell_text, late_columns
from enricher.edges.record_outputs.place import check_directory, is_special, mapped
from enricher.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_MAX_INTEGER: Final = 1 << 63
_AS_THEY_ARE: Final = frozenset((str, float, bool, type(None)))
_HEADER_BYTES: Final = 100
_IN_WAL: Final = 2


class SqliteOutput:
    """`RecordOutput` as a table of a database."""

    def __init__(self, path: Path, table: str, *, overwrite: bool) -> None:
        self.name = f"{path}#{table}"
        self._path = path.resolve()
        self._table = table
        self._overwrite = overwrite
        self._connection: sqlite3.Connection | None = None
        self._is_new = False
        self._part = ""
        self._columns: list[str] = []
        self._commits: int | None = None
        """How many there will have been with this one; None where nobody counts them."""
        self._mark: str | None = None

    def check(self) -> None:
        """OutputError where the table is there and not to be replaced, or nothing can be written."""
        with mapped(self.name):
            if self._path.is_dir() or is_special(self._path):
                raise OutputError(f"{self._path} is no file", hint="name a file in a directory")
            check_directory(self._path)
            if not self._path.exists():
                return
        with self._mapped(), contextlib.closing(sqlite3.connect(self._path)) as connection:
            self._check_table(connection)

    def _check_table(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT type FROM sqlite_master WHERE name = ?", (self._table,)).fetchone()
        if found is not None and not self._overwrite:
            raise OutputError(f"{self.name} exists", hint="give --overwrite to replace it, or another name")
        if found is not None and found[0] != "table":
            raise OutputError(f"{self.name} is a {found[0]} and no table", hint="give another name")

    def begin(self, columns: Sequence[str]) -> None:
        """Begin the transaction, which keeps others from writing to the database."""
        self.check()
        self._columns = list(columns)
        with self._mapped():
            self._is_new = not self._path.exists()
            # Opened by one worker thread and written by another, never by two at a time.
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._connection = connection
            # Else a rename looks into every view, and refuses for one that is broken already.
            connection.execute("PRAGMA legacy_alter_table = ON")
            connection.execute("BEGIN IMMEDIATE")
            # From here on nobody else commits.
            before = _commits_of(self._path)
            self._commits = None if before is None else before + 1
            self._check_table(connection)
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            self._part = next(name for n in range(len(names) + 1) if (name := f"{self._table}__part{n}") not in names)
            self._create(connection, self._part, key=" PRIMARY KEY")

    def _create(self, connection: sqlite3.Connection, table: str, *, key: str) -> None:
        first, *others = map(_quoted, self._columns)
        connection.execute(f"CREATE TABLE {_quoted(table)} ({', '.join((first + key, *others))})")

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """A row for each."""
        connection = self._open()
        with self._mapped():
            for column in late_columns(self._columns, rows):
                connection.execute(f"ALTER TABLE {_quoted(self._part)} ADD COLUMN {_quoted(column)}")
                self._columns.append(column)
            columns = [_values([row.get(column) for row in rows]) for column in self._columns]
            connection.execute("SAVEPOINT rows")
            try:
                self._insert(connection, columns)
            except sqlite3.IntegrityError:
                connection.execute("ROLLBACK TO rows")
                self._drop_key(connection)
                self._insert(connection, columns)
            connection.execute("RELEASE rows")

    def _insert(self, connection: sqlite3.Connection, columns: Sequence[Sequence[object]]) -> None:
        marks = ", ".join("?" * len(columns))
        connection.executemany(
            f"INSERT INTO {_quoted(self._part)} VALUES ({marks})",  # noqa: S608  # the name is quoted
            zip(*columns, strict=True),
        )

    def _drop_key(self, connection: sqlite3.Connection) -> None:
        keyed, plain = _quoted(self._part), _quoted(self._part + "_without_key")
        self._create(connection, self._part + "_without_key", key="")
        connection.execute(f"INSERT INTO {plain} SELECT * FROM {keyed} ORDER BY rowid")  # noqa: S608
        connection.execute(f"DROP TABLE {keyed}")
        connection.execute(f"ALTER TABLE {plain} RENAME TO {keyed}")

    def seal(self) -> str:
        """Give the table its name, for nobody else as yet; returns what the commit will make of the database."""
        if self._mark is None:
            connection = self._open()
            with self._mapped():
                connection.execute(f"DROP TABLE IF EXISTS {_quoted(self._table)}")
                connection.execute(f"ALTER TABLE {_quoted(self._part)} RENAME TO {_quoted(self._table)}")
                self._mark = "" if self._commits is None else _mark(self._path, self._commits)
        return self._mark

    def finish(self) -> None:
        """Commit."""
        self.seal()
        connection = self._open()
        with self._mapped():
            connection.execute("COMMIT")
            self._connection = None
            connection.close()

    def abandon(self) -> None:
        """Roll back; again, it does nothing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # Closing rolls back; where that failed for the reason that writing did, whoever opens it next rolls back.
        connection.close()
        with contextlib.suppress(OSError, sqlite3.Error):
            with contextlib.closing(sqlite3.connect(self._path)) as again:
                again.execute("SELECT 1 FROM sqlite_master")
            if self._is_new and not self._path.stat().st_size:
                self._path.unlink()

    def _open(self) -> sqlite3.Connection:
        assert self._connection is not None, "begin was not called"
        return self._connection

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as error:
            raise OutputError(f"{self.name} cannot be written: {error}", hint=_hint(str(error))) from error


def mark_of_database(path: Path) -> str:
    """Tell a database from what others have made of it, by how often something was committed to it.

    Unlike size and time this is known before a commit; "" for one with a write-ahead log, whose commits nobody counts.
    Raises OSError.
    """
    commits = _commits_of(path)
    return "" if commits is None else _mark(path, commits)


def _mark(path: Path, commits: int) -> str:
    # One that was put in its place has another number.
    return f"{path.stat().st_ino}:{commits}"


def _commits_of(path: Path) -> int | None:
    """Of the header (sqlite.org/fileformat2.html, 1.3): how it is written at byte 18, the change counter at 24."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not header:
        return 0
    return None if header[18] == _IN_WAL else int.from_bytes(header[24:28], "big")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _values(values: list[object]) -> Sequence[object]:
    return values if _AS_THEY_ARE.issuperset(map(type, values)) else list(map(_value, values))


def _value(value: object) -> object:
    if isinstance(value, int):
        return value if abs(value) < _MAX_INTEGER else str(value)
    return value if value is None or isinstance(value, float) else cell_text(value)


def _hint(said: str) -> str:
    if "locked" in said:
        return "wait until the process that writes to the database has ended"
    if "full" in said:
        return "make room on its file system and run the command again: nothing is paid for twice"
    if "not a database" in said:
        return "give another name: what lies there is no SQLite database"
    return "see that the database can be written, and run the command again"
