"""The file sink: one directory per window, one file per part, the manifest beside them.

A part is written under a temporary name, synced, renamed over its final name, and the directory is synced: a reader
sees a whole part or none, and a part delivered again replaces itself with the same bytes. Nothing that was not written
here is ever deleted. Never here: what a line says.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import hashlib
import io
import os
import re
import shutil
import stat
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Protocol

import zstandard

from enricher.core.manifest import SUFFIXES, part_name
from enricher.core.window import DAY_SECONDS, window_start
from enricher.errors import SinkError
from enricher.ports import Taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from pathlib import Path

    from enricher.core.ledger import Part

Compression = Literal["none", "zstd", "gzip"]

MANIFEST: Final = "manifest.json"
DIGEST_JSON: Final = "digest.json"
DIGEST_MARKDOWN: Final = "digest.md"

_TEMPORARY: Final = ".tmp"
_PART_NAME: Final = re.compile(r"\.?events-\d{3,}\.jsonl(\.zst|\.gz)?(\.tmp)?")
_OUR_NAMES: Final = re.compile(_PART_NAME.pattern + r"|\.?(manifest\.json|digest\.json|digest\.md)(\.tmp)?")

# A part may be 300 MB: written in one go it would push out what others on the host read often, and be slower.
_SYNC_BYTES: Final = 32 << 20

# Events may hold personal data: readable by the group that the service runs as, by nobody else.
_FILE_MODE: Final = 0o640
_DIRECTORY_MODE: Final = 0o750


class FileSink:
    """`Sink` into a directory tree: DIRECTORY/WINDOW/events-PART.jsonl."""

    def __init__(
        self, name: str, directory: Path, *, compress: Compression, retention_days: int, min_severity: str
    ) -> None:
        self.id = name
        self.min_severity = min_severity
        self._directory = directory
        self._compress = compress
        self._retention_days = retention_days
        self._clean = False
        self.trouble = ""
        """Why the last part or manifest could not be written; empty after one that could."""

    async def deliver(self, window: str, part: Part, batches: AsyncIterator[Iterable[bytes]]) -> Taken:
        """Write a part whole, or leave what was there before."""
        with self._mapped(window):
            directory = await asyncio.to_thread(self._prepared, window)
            name = part_name(part.number, self._compress)
            temporary = directory / f".{name}{_TEMPORARY}"
            try:
                taken = await self._write(temporary, batches)
                await asyncio.to_thread(_replace, temporary, directory / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            await asyncio.to_thread(_remove_other_compressions, directory, part.number, name)
        self.trouble = ""
        return taken

    async def manifest(self, window: str, manifest: bytes) -> None:
        """Replace the window's manifest."""
        await self._put(window, {MANIFEST: manifest})

    async def digest(self, window: str, as_json: bytes, as_markdown: str) -> None:
        """Replace the window's digest."""
        await self._put(window, {DIGEST_JSON: as_json, DIGEST_MARKDOWN: as_markdown.encode()})

    async def _put(self, window: str, files: Mapping[str, bytes]) -> None:
        """Replace whole files of a window."""

        def write() -> None:
            directory = self._prepared(window)
            for name, data in files.items():
                temporary = directory / f".{name}{_TEMPORARY}"
                try:
                    with open(temporary, "wb", opener=_private) as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    _replace(temporary, directory / name)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise

        with self._mapped(window):
            await asyncio.to_thread(write)
        self.trouble = ""

    async def retain(self, now: float) -> int:
        """Delete window directories older than the retention, if nothing of somebody else's lies in them.

        A window's age is the smaller of its name's and of its newest file's: an old log that was read today keeps its
        output for the whole retention.
        """
        if self._retention_days == 0:
            return 0
        with self._mapped(""):
            return await asyncio.to_thread(self._retain, now - self._retention_days * DAY_SECONDS)

    async def check(self) -> None:
        """Whether a part could be written now; creates nothing."""
        with self._mapped(""):
            await asyncio.to_thread(self._check)

    async def close(self) -> None:
        """Nothing is held between two parts."""

    # ------------------------------------------------------------ in worker threads

    def _prepared(self, window: str) -> Path:
        if not self._clean:
            self._directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            for directory in self._windows():
                _remove_temporaries(directory)
            self._clean = True
        directory = self._directory / window
        if not directory.is_dir():
            directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            _sync_directory(self._directory)
        return directory

    def _windows(self) -> Iterator[Path]:
        with os.scandir(self._directory) as entries:
            names = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
        return (self._directory / name for name in names if _start_of(name) is not None)

    def _retain(self, limit: float) -> int:
        if not self._directory.is_dir():
            return 0
        old = [directory for directory in self._windows() if _is_older(directory, limit)]
        for directory in old:
            for entry in list(directory.iterdir()):
                entry.unlink()
            directory.rmdir()
        return len(old)

    def _check(self) -> None:
        existing = self._directory
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(existing, os.W_OK | os.X_OK):
            read_only = os.statvfs(existing).f_flag & os.ST_RDONLY
            code = errno.EROFS if read_only else errno.EACCES
            raise OSError(code, os.strerror(code))
        if shutil.disk_usage(existing).free == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def _write(self, path: Path, batches: AsyncIterator[Iterable[bytes]]) -> Taken:
        digest = hashlib.sha256()
        size = unsynced = 0
        packer = _packer(self._compress)

        def put(file: BinaryIO, piece: bytes) -> None:
            nonlocal size, unsynced
            digest.update(piece)
            size += file.write(piece)
            unsynced += len(piece)
            if unsynced >= _SYNC_BYTES:
                _let_go(file)
                unsynced = 0

        # Made, packed, summed and written in one go: each hand-over to a thread costs as much as a hundred events.
        def put_all(file: BinaryIO, batch: Iterable[bytes]) -> None:
            for chunk in batch:
                put(file, packer.add(chunk))

        def finish(file: BinaryIO) -> None:
            put(file, packer.end())
            _let_go(file)

        with await asyncio.to_thread(open, path, "wb", opener=_private) as file:
            async for batch in batches:
                await asyncio.to_thread(put_all, file, batch)
            await asyncio.to_thread(finish, file)
        return Taken(sha256=digest.hexdigest(), size_bytes=size)

    @contextlib.contextmanager
    def _mapped(self, window: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = self._directory / window
            self.trouble = f"sink {self.id}: cannot write to {where}: {error.strerror or error}"
            raise SinkError(self.trouble, hint=_hint(error, where)) from error


class _Packer(Protocol):
    def add(self, chunk: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class _Plain:
    def add(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""


class _Gzip:
    """gzip with no time and no name in its header: the same lines are the same bytes whenever they are written."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._file = gzip.GzipFile(fileobj=self._out, filename="", mode="wb", compresslevel=6, mtime=0)

    def add(self, chunk: bytes) -> bytes:
        self._file.write(chunk)
        return self._drained()

    def end(self) -> bytes:
        self._file.close()
        return self._drained()

    def _drained(self) -> bytes:
        packed = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return packed


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()

    def add(self, chunk: bytes) -> bytes:
        return self._compressor.compress(chunk)

    def end(self) -> bytes:
        return self._compressor.flush()


def _packer(compress: Compression) -> _Packer:
    if compress == "gzip":
        return _Gzip()
    return _Zstd() if compress == "zstd" else _Plain()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, _FILE_MODE)


def _let_go(file: BinaryIO) -> None:
    """Sync what was written and let its pages go: nobody here reads them, and the host has others to keep."""
    file.flush()
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _replace(temporary: Path, final: Path) -> None:
    temporary.replace(final)
    _sync_directory(final.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_other_compressions(directory: Path, number: int, name: str) -> None:
    """A part delivered again after `compress` was changed must not lie there twice."""
    for compress in SUFFIXES:
        other = part_name(number, compress)
        if other != name:
            (directory / other).unlink(missing_ok=True)


def _remove_temporaries(directory: Path) -> None:
    with os.scandir(directory) as entries:
        names = [one.name for one in entries if one.name.endswith(_TEMPORARY)]
    for name in names:
        if _OUR_NAMES.fullmatch(name):
            (directory / name).unlink()


def _start_of(name: str) -> int | None:
    """Start of the window that a directory is named after; None for a directory of somebody else's."""
    try:
        return window_start(name)
    except ValueError:
        return None


def _is_older(directory: Path, limit: float) -> bool:
    """Whether a window and all its files are from before `limit`, and all its files are ours."""
    start = _start_of(directory.name)
    if start is None or start + DAY_SECONDS > limit:
        return False
    for entry in directory.iterdir():
        state = entry.lstat()
        if not _OUR_NAMES.fullmatch(entry.name) or not stat.S_ISREG(state.st_mode) or state.st_mtime > limit:
            return False
    return True


def _hint(error: OSError, where: Path) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"make room on the file system of {where}, or set retention_days; nothing is lost meanwhile"
        case errno.EACCES | errno.EPERM:
            return f"let the service's user write to {where}, or change the sink's directory"
        case errno.EROFS:
            return f"{where} is read-only to this process: under systemd, name it in ReadWritePaths="
        case errno.ENOTDIR | errno.EEXIST:
            return f"a part of the path {where} is no directory: change the sink's directory"
        case _:
            return f"see that {where} can be written; it is tried again"
