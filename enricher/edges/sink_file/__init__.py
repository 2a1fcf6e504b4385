"""The file sink: one directory per window, one file per part, the manifest beside them.

A part is written under a temporary name, synced, renamed over its final name, and the directory is synced: a reader
sees a whole part or none, and a part delivered again replaces itself with the same bytes. Nothing that was not written
here is ever deleted. Never here: what a line says.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
from typing import TYPE_CHECKING, BinaryIO, Final

from enricher.core.manifest import part_name
from enricher.core.window import DAY_SECONDS
from enricher.edges.sink_file.packing import Compression, packer
from enricher.edges.sink_file.windows import Windows
from enricher.errors import SinkError
from enricher.ports import Taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from pathlib import Path

    from enricher.core.ledger import Part
    from enricher.edges.sink_file.windows import Window

MANIFEST: Final = "manifest.json"
DIGEST_JSON: Final = "digest.json"
DIGEST_MARKDOWN: Final = "digest.md"

# A part may be 300 MB: written in one go it would push out what others on the host read often, and be slower.
_SYNC_BYTES: Final = 32 << 20


class FileSink:
    """`Sink` into a directory tree: DIRECTORY/WINDOW/events-PART.jsonl."""

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        compress: Compression,
        retention_days: int,
        min_severity: str,
        group_readable: bool = False,
    ) -> None:
        self.id = name
        self.min_severity = min_severity
        self._directory = directory
        self._windows = Windows(directory, group_readable=group_readable)
        self._compress: Compression = compress
        self._retention_days = retention_days
        self.trouble = ""
        """Why the last part or manifest could not be written; empty after one that could."""

    async def deliver(self, window: str, part: Part, batches: AsyncIterator[Iterable[bytes]]) -> Taken:
        """Write a part whole, or leave what was there before."""
        name = part_name(part.number, self._compress)
        with self._mapped(window):
            place = await asyncio.to_thread(self._windows.enter, window)
            with contextlib.closing(place):
                try:
                    taken = await self._write(place, name, batches)
                    await asyncio.to_thread(place.replace, name)
                except BaseException:
                    place.give_up(name)
                    raise
                await asyncio.to_thread(place.remove_other_compressions, part.number, name)
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
            with contextlib.closing(self._windows.enter(window)) as place:
                for name, data in files.items():
                    try:
                        with place.begin(name) as file:
                            file.write(data)
                            file.flush()
                            os.fsync(file.fileno())
                        place.replace(name)
                    except BaseException:
                        place.give_up(name)
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
            return await asyncio.to_thread(self._windows.remove_before, now - self._retention_days * DAY_SECONDS)

    async def check(self) -> None:
        """Whether a part could be written now; creates nothing."""
        with self._mapped(""):
            await asyncio.to_thread(self._check)

    async def close(self) -> None:
        """Nothing is held between two parts."""

    # ------------------------------------------------------------ in worker threads

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

    async def _write(self, place: Window, name: str, batches: AsyncIterator[Iterable[bytes]]) -> Taken:
        digest = hashlib.sha256()
        size = unsynced = 0
        packed = packer(self._compress)

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
                put(file, packed.add(chunk))

        def finish(file: BinaryIO) -> None:
            put(file, packed.end())
            _let_go(file)

        with await asyncio.to_thread(place.begin, name) as file:
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


def _let_go(file: BinaryIO) -> None:
    """Sync what was written and let its pages go: nobody here reads them, and the host has others to keep."""
    file.flush()
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _hint(error: OSError, where: Path) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"make room on the file system of {where}, or set retention_days; nothing is lost meanwhile"
        case errno.EACCES | errno.EPERM:
            return f"let the service's user write to {where}, or change the sink's directory"
        case errno.EROFS:
            return (
                f"{where} is read-only to this process: see the kernel's log, and mount it for writing; under systemd,"
                " name it in ReadWritePaths=; nothing is lost meanwhile"
            )
        case errno.ENOTDIR | errno.EEXIST | errno.ELOOP:
            return f"{where} is a link or no directory, or lies below a file: move that, or change the sink's directory"
        case errno.ESTALE:
            return f"who else may write in {where.parent}? It is tried again"
        case _:
            return f"see that {where} can be written; it is tried again"
