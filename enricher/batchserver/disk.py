"""How state reaches the disk: whole objects by rename, and one holder per directory.

After `write_atomic` returns, a reader sees the old object or the new one, also after a power cut; never a part.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import msgspec

from enricher import private
from enricher.errors import LockedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Record = TypeVar("Record")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def write_atomic(path: Path, content: bytes) -> None:
    """Write a whole file, durable when this returns. Raises `OSError`."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_records(directory: Path, kind: type[Record], id_of: Callable[[Record], str]) -> Iterator[Record]:
    """Read every object of a directory. Raises `StoreError` for one that is not of its kind, or not of its name.

    The name is looked at since the id leads to further files.
    """
    for path in sorted(directory.glob("*.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{path}: is not the state of a batch server: {error}", hint="move the file away"
            ) from error
        if id_of(record) != path.stem:
            raise StoreError(f"{path}: is the state of something else: {id_of(record)[:100]!r}", hint="move it away")
        yield record


def remove_temporary(directory: Path) -> None:
    """Remove what an interrupted write left behind."""
    for path in directory.glob("*.tmp"):
        path.unlink(missing_ok=True)


class DiskThreads:
    """Runs what touches the state directory, off the event loop.

    Its own threads rather than the loop's: a cancelled task leaves its write running, and `close` waits for that, so
    that nothing is written any more once the directory belongs to somebody else.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="batchserver-disk")

    async def run(self, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Call `work` in a thread and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))

    async def close(self) -> None:
        """Wait for what has begun; nothing runs afterwards."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)


class DirectoryLock:
    """Holds a state directory for one server; the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._handle: int | None = None

    def take(self) -> None:
        """Take the lock. Raises `LockedError` if another server holds it, `StoreError` if others may write there."""
        opened = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            private.check_owner(self._directory, os.fstat(opened))
        finally:
            os.close(opened)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self._directory / "lock", flags, private.FILE_MODE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise LockedError(
                f"{self._directory}: another batch server uses this state directory",
                hint="stop it, or give another directory",
            ) from error
        self._handle = handle

    def release(self) -> None:
        """Let go of the directory; may be called twice."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = None
