"""The database file: its lock, its schema, and the one thread that talks to it.

Invariants: every piece of work handed over runs as one transaction, to its end, even where the caller is cancelled
meanwhile; after a transaction that SQLite failed nothing more is written, since what is durable is then unknown: above
all a sync that failed is never tried again as if it had not. One that only found the disk full is rolled back and run
again in the room of the reserve. A file that is there but is no store is an error, never a reason to start from
nothing: a new store is built under another name and renamed when it is whole.

Never here: what is in the tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from enricher.edges.store_sqlite.agreement import disagreement
from enricher.edges.store_sqlite.directory import lock_directory
from enricher.edges.store_sqlite.reserve import Reserve
from enricher.errors import StoreError, StoreFullError, StoreVersionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

P = ParamSpec("P")
T = TypeVar("T")

DATABASE_NAME: Final = "enricher.db"

APPLICATION_ID: Final = 0x656E7263
"""Marks the file as ours (`enrc`), so that another program's database is not taken for an old store."""

MIGRATIONS: tuple[str, ...] = tuple(
    resources.files(__package__).joinpath(name).read_text("utf-8")
    for name in ("schema.sql", *(f"schema_{number}.sql" for number in range(2, 8)))
)
"""Script n brings a store from version n to n + 1. Scripts that were released never change."""

_BUSY_SECONDS: Final = 30.0
_PAGE_BYTES: Final = 16_384
"""Blobs of a megabyte are most of what is written: larger pages take a third less CPU for them than SQLite's 4 KiB."""
_VACUUM_PAGES: Final = 500
"""Pages given back per transaction (8 MB), so that ingest does not wait behind a long one."""

_LEAST_FREE_BYTES: Final = 1 << 20
"""Below this a disk is full: a transaction of one page takes up to a hundred kilobytes."""

_KEPT_PAGES: Final = 64
"""Free pages (1 MB) that stay for what comes next: giving back and taking again for every small pane costs more."""


class Connection:
    """An open store and its thread."""

    def __init__(
        self, db: sqlite3.Connection, directory: Path, lock: int | None, reserve: Reserve, *, was_made: bool = False
    ) -> None:
        self._db = db
        self._directory = directory
        self._lock = lock
        self._reserve = reserve
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._failure: StoreError | None = None
        self._identity = _identity(directory / DATABASE_NAME)
        self._closed = False
        self.read_only = lock is None
        self.was_made = was_made
        """Whether there was no store in the directory before."""
        self.on_change: Callable[[], object] = lambda: None
        """Called after each transaction that may have changed something."""

    @classmethod
    async def open(cls, directory: Path, *, read_only: bool, reserve_bytes: int = 0) -> Connection:
        """Lock the directory and open the store in it, made or migrated if need be; only look where `read_only`.

        Raises LockedError, StoreError, StoreFullError, StoreVersionError.
        """
        call = partial(_open, directory, read_only=read_only, reserve_bytes=reserve_bytes)
        opening = asyncio.get_running_loop().run_in_executor(None, call)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # Nobody has it to close it: the directory would be in use for as long as this process lives.
            opening.add_done_callback(_close_unwanted)
            raise

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def read(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(db, …)` on one snapshot of the store. Raises StoreError."""
        return await self._run(partial(self._transact, "BEGIN", partial(work, self._db, *args, **kwargs)))

    async def write(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(db, …)` as one transaction, durable on return. Raises StoreError."""
        if self.read_only:
            raise StoreError(f"{self._directory}: the store was opened for reading only")
        result = await self._run(partial(self._transact, "BEGIN IMMEDIATE", partial(work, self._db, *args, **kwargs)))
        self.on_change()
        return result

    async def give_back(self) -> None:
        """Return free pages to the file system, a few at a time."""
        while await self._run(self._vacuum):
            pass

    async def has_room(self) -> bool:
        """Whether the reserve was not given up, or is there again. False: nothing more should be read."""
        if self.read_only:
            await asyncio.to_thread(self._reserve.look)
        elif self._reserve.is_given_up:
            await asyncio.to_thread(self._reserve.make)
        return not self._reserve.is_given_up

    async def close(self) -> None:
        """Finish what was handed over, close the file, release the lock. A second call does nothing."""
        if not self._closed:
            self._closed = True
            await asyncio.shield(asyncio.to_thread(self._close))

    def file_bytes(self) -> int:
        """Size of the database and its log."""
        path = self._directory / DATABASE_NAME
        return sum(_size(path.with_name(path.name + suffix)) or 0 for suffix in ("", "-wal"))

    def free_bytes(self) -> int:
        """Room left on the disk of the state directory."""
        return self._reserve.free_bytes()

    async def _run(self, call: Callable[[], T]) -> T:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise StoreError(f"{self._directory}: the store is closed")
        future = asyncio.get_running_loop().run_in_executor(self._thread, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # It goes on; a failure of it is kept in `_failure` and met by the next call.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def _transact(self, begin: str, work: Callable[[], T]) -> T:
        if self._failure is not None:
            raise self._failure
        if begin != "BEGIN" and _identity(self._directory / DATABASE_NAME) != self._identity:
            # SQLite would go on in files that have no name any more, and all of it would be gone at the end.
            self._failure = _lost(self._directory / DATABASE_NAME)
            raise self._failure
        try:
            self._db.execute(begin)
            result = work()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if begin == "BEGIN":
                raise _store_error(self._directory / DATABASE_NAME, error) from error
            self._make_room_or_fail(error)
            return self._transact(begin, work)
        else:
            return result
        finally:
            self._roll_back()

    def _roll_back(self) -> None:
        """End a transaction that did not come to its end."""
        if self._db.in_transaction:
            self._db.rollback()

    def _make_room_or_fail(self, error: sqlite3.Error) -> None:
        """Give up the reserve for a write that found the disk full. StoreError, now and from now on, for any other."""
        failure = _store_error(self._directory / DATABASE_NAME, error)
        if not isinstance(failure, StoreFullError) or not self._reserve.give_up():
            self._failure = failure
            raise failure from error

    def _vacuum(self) -> bool:
        """Give back some pages; whether there are more."""
        if self._failure is not None:
            raise self._failure
        try:
            free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
            if free <= _KEPT_PAGES:
                return False
            # As a script, since `execute` takes one step of it, which is one page in a transaction of its own.
            self._db.executescript(f"PRAGMA incremental_vacuum({min(_VACUUM_PAGES, free - _KEPT_PAGES)})")
            if free - _KEPT_PAGES > _VACUUM_PAGES:
                return True
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # the file itself shrinks only now
        except sqlite3.Error as error:
            self._make_room_or_fail(error)
            return True
        return False

    def _close(self) -> None:
        self._thread.shutdown(wait=True)
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)


def _close_unwanted(opening: asyncio.Future[Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()._close()  # noqa: SLF001 - one of ours


def _open(directory: Path, *, read_only: bool, reserve_bytes: int) -> Connection:
    path = directory / DATABASE_NAME
    reserve = Reserve(directory, reserve_bytes)
    if read_only:
        if _size(path) is None:
            raise StoreError(
                f"{path}: there is no store",
                hint="`enricher once`, `run` or `records run` makes one; name its configuration with -c FILE",
            )
        return Connection(_connect(path, read_only=True), directory, None, reserve)
    lock = lock_directory(directory)
    try:
        is_missing = _size(path) is None
        try:
            db = _made_or_connected(path)
        except StoreError:
            # On a disk without a free page SQLite fails in many ways, and nothing of ours is under way yet.
            if reserve.free_bytes() >= _LEAST_FREE_BYTES or not reserve.give_up():
                raise
            db = _made_or_connected(path)
        reserve.make()
    except BaseException:
        os.close(lock)
        raise
    return Connection(db, directory, lock, reserve, was_made=is_missing)


def _made_or_connected(path: Path) -> sqlite3.Connection:
    if _size(path) is None:
        _create(path)
    elif _size(path.with_name(path.name + "-wal")):
        _check_agreement(path)
    return _connect(path, read_only=False)


def _check_agreement(path: Path) -> None:
    """Raise StoreError where a database and the log that a process left beside it are of two stores; change neither.

    A connection that only reads takes nothing of the log over into the database, not even when it is closed.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            is_ours = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
            is_current = db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
            what = disagreement(db) if is_ours and is_current else None
    except sqlite3.Error as error:
        raise _store_error(path, error) from error
    if what is not None:
        hint = (
            f"was {path.name} put back from a copy? Then move {path.name}-wal and {path.name}-shm away, which are of"
            " the one before; else its disk fails: put a copy back"
        )
        raise StoreError(f"{path}: does not agree with itself and its log ({what})", hint=hint)


def _create(path: Path) -> None:
    """Build an empty store under another name; it gets its own when it is whole."""
    if _size(path.with_name(path.name + "-wal")) is not None:
        raise StoreError(
            f"{path}: is missing, but its write-ahead log is there",
            hint=f"put {path.name} back, or move {path.name}-wal away to start from nothing",
        )
    new = path.with_name(path.name + ".new")
    try:
        for leftover in (new, new.with_name(new.name + "-journal")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(new, isolation_level=None)
        try:
            # Both work only before the first table.
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _migrate(db, new)
        finally:
            db.close()
        new.rename(path)
        _sync_directory(path.parent)
    except sqlite3.Error as error:
        raise _store_error(path, error) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(path) from error
        raise StoreError(f"{path}: cannot be made: {error.strerror}", hint="check its directory") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    mode = "rw"
    if path.exists() and not path.is_file():
        # SQLite would wait for ever for whoever writes into a pipe.
        raise StoreError(f"{path}: is no regular file", hint="restore it, or move it away to start from nothing")
    if read_only:
        # SQLite makes a file beside the database to read it, unless it is told that nobody writes.
        mode = "ro&immutable=1" if _cannot_change(path) else "ro"
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # the one thread that uses it is not the one that opens it
        )
        db.row_factory = sqlite3.Row
        _check(db, path)
        # What SQLite puts aside while it works is little, and nothing of a log may lie outside of the state directory.
        db.execute("PRAGMA temp_store = MEMORY")
        if read_only:
            db.execute("PRAGMA query_only = ON")
        else:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            # Debian's SQLite overwrites what is deleted; freed pages are given back here, a hundred times faster.
            db.execute("PRAGMA secure_delete = OFF")
            # Statements that change many rows keep what was there before until they end: not in a file of its own.
            db.execute("PRAGMA temp_store = MEMORY")
            db.execute("PRAGMA wal_autocheckpoint = 1000")
            db.execute("PRAGMA journal_size_limit = 67108864")
            _migrate(db, path)
        _check_version(db, path)
        if not read_only:
            # A sync of the log may have failed in the process before: what stands in it is put into the database, and
            # that is synced, before anything is built upon it. Beside a reader, as much of it as that one leaves.
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except BaseException as error:
        if db is not None:
            db.close()
        if isinstance(error, sqlite3.Error):
            raise _store_error(path, error) from error
        raise
    return db


def _cannot_change(path: Path) -> bool:
    """Whether the disk of a store is read-only, and the process before has left no log that is to be read with it."""
    try:
        is_fixed = bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False
    return is_fixed and not _size(path.with_name(path.name + "-wal"))


def _check(db: sqlite3.Connection, path: Path) -> None:
    if _size(path) == 0:
        raise _damaged(path, "is empty")
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _damaged(path, "is not a store of enricher's")
    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # a file shorter than it says fails here


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        return
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.rollback()
            raise StoreError(
                f"{path}: cannot be brought to version {number}: {error}",
                hint="the store is as it was; run the version of enricher that wrote it, and report this",
            ) from error


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreVersionError(
            f"{path}: has version {version}, this enricher knows versions up to {len(MIGRATIONS)}",
            hint="install the newer enricher again, or use another state_dir",
        )
    if version < len(MIGRATIONS):  # opened for reading only, so that it was not migrated
        raise StoreError(
            f"{path}: has the older version {version}",
            hint="start `enricher run` or `enricher once` with it: that brings it up to date",
        )


def _damaged(path: Path, what: str) -> StoreError:
    hint = f"restore it, or move {path.name}, {path.name}-wal and {path.name}-shm away to start from nothing"
    return StoreError(f"{path}: {what}", hint=hint)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file this is; None if there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _lost(path: Path) -> StoreError:
    return StoreError(
        f"{path}: was removed or replaced while it was in use",
        hint=f"put {path.parent} back as it was, or all files are read again from the start, and asked about again",
    )


def _full(path: Path) -> StoreFullError:
    return StoreFullError(f"{path}: no room left", hint=f"free space on the disk of {path.parent}, then restart")


def _store_error(path: Path, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(path, f"is damaged: {error}")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            hint = "end the program that holds it open for writing (sqlite3?); only enricher may write to it"
            return StoreError(f"{path}: is locked by another program", hint=hint)
        case sqlite3.SQLITE_FULL:
            return _full(path)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_IOERR:
            return StoreError(f"{path}: {error}", hint=f"check the disk and the permissions of {path.parent}")
        case _:
            return StoreError(f"{path}: {error}")


def _size(path: Path) -> int | None:
    """Bytes of a file; None if there is none."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        hint = "run as the user that enricher runs as"
        raise StoreError(f"{path}: cannot be looked at: {error.strerror}", hint=hint) from error
