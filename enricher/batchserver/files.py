"""The file shelf: what was uploaded and what batches gave back, each as one object and its bytes on disk.

An upload is streamed to disk and checked on its way, so its size never counts in memory. A file is on the shelf only
when its object and its bytes are durable, in this order; one without the other is removed at the next start.
"""

from __future__ import annotations

import codecs
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enricher import private
from enricher.batchserver.disk import read_records, remove_temporary, sync_directory, write_atomic
from enricher.batchserver.shapes import FileObject, FileRecord, RefusedError, to_json
from enricher.batchserver.validation import EXPIRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from enricher.batchserver.disk import DiskThreads

MAX_FILE_BYTES = 512 * 1024 * 1024
_WRITE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedFile:
    """An upload on disk that is not on the shelf yet."""

    path: Path
    lines: int
    is_utf8: bool


def write_durable(path: Path) -> None:
    """Push the bytes of a written file to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def discard(path: Path) -> None:
    """Remove an upload that was refused."""
    path.unlink(missing_ok=True)


class FileShelf:
    """All files of one state directory."""

    def __init__(self, directory: Path, disk: DiskThreads) -> None:
        self._directory = directory
        self._disk = disk
        self._records: dict[str, FileRecord] = {}
        self._hidden: dict[str, int] = {}

    def open(self) -> None:
        """Read what is there. Raises `StoreError`, `OSError`."""
        private.make_directory(self._directory)
        remove_temporary(self._directory)
        records = read_records(self._directory, FileRecord, lambda record: record.file.id)
        found = sorted(records, key=lambda record: (record.created, record.file.id))
        self._records = {record.file.id: record for record in found if self.path_of(record.file.id).exists()}
        for path in [*self._directory.glob("*.jsonl"), *self._directory.glob("*.json")]:
            if path.stem not in self._records:
                path.unlink()

    def path_of(self, file_id: str) -> Path:
        """Return where the bytes of a file lie."""
        return self._directory / f"{file_id}.jsonl"

    def list(self, purpose: str | None) -> list[FileRecord]:
        """Return all files, or those of one purpose, oldest first."""
        return [
            record
            for record in self._records.values()
            if purpose in {None, record.file.purpose} and not self._hidden.get(record.file.id)
        ]

    def find(self, file_id: str) -> FileRecord | None:
        """Return a file, None if it is not there; a file hidden by a scripted fault is so for some look-ups."""
        hidden = self._hidden.get(file_id, 0)
        if hidden:
            self._hidden[file_id] = hidden - 1
            return None
        return self._records.get(file_id)

    def hide(self, file_id: str, lookups: int) -> None:
        """Let the next `lookups` finds of this file fail."""
        self._hidden[file_id] = lookups

    async def receive(self, chunks: AsyncIterator[bytes]) -> ReceivedFile:
        """Stream an upload to disk. Raises `RefusedError` if it is too large, `OSError`."""
        handle, name = tempfile.mkstemp(dir=self._directory, suffix=".tmp")
        path, tally = Path(name), _Tally()
        try:
            with os.fdopen(handle, "wb") as stream:
                buffer = bytearray()
                async for chunk in chunks:
                    tally.add(chunk)
                    buffer += chunk
                    if len(buffer) >= _WRITE_BYTES:
                        await self._disk.run(stream.write, bytes(buffer))
                        buffer.clear()
                stream.write(buffer)
        except BaseException:
            discard(path)
            raise
        return tally.result(path)

    async def keep(
        self, received: ReceivedFile, *, filename: str, purpose: str, now: float, expires_after_seconds: int | None
    ) -> FileObject:
        """Put an upload on the shelf and return it; a batch file expires after 30 days unless told otherwise."""
        if expires_after_seconds is None and purpose == "batch":
            expires_after_seconds = EXPIRY_SECONDS[1]
        return await self.adopt(
            received.path,
            file_id=f"file-{secrets.token_hex(12)}",
            filename=filename,
            purpose=purpose,
            now=now,
            expires_after_seconds=expires_after_seconds,
        )

    async def adopt(
        self, path: Path, *, file_id: str, filename: str, purpose: str, now: float, expires_after_seconds: int | None
    ) -> FileObject:
        """Move the bytes at `path` onto the shelf under `file_id`; again with the same id is the same file, once."""
        size = await self._disk.run(lambda: path.stat().st_size)
        record = FileRecord(
            created=now,
            file=FileObject(
                id=file_id,
                bytes=size,
                created_at=int(now),
                expires_at=None if expires_after_seconds is None else int(now) + expires_after_seconds,
                filename=filename,
                purpose=purpose,
            ),
        )
        await self._disk.run(self._place, path, record)
        self._records[file_id] = record
        return record.file

    def _place(self, path: Path, record: FileRecord) -> None:
        write_durable(path)
        write_atomic(self._directory / f"{record.file.id}.json", to_json(record))
        path.replace(self.path_of(record.file.id))
        sync_directory(self._directory)

    async def read(self, file_id: str, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file; it may be deleted meanwhile. Raises `OSError`."""
        stream = await self._disk.run(self.path_of(file_id).open, "rb")
        with stream:
            while chunk := await self._disk.run(stream.read, chunk_bytes):
                yield chunk

    async def delete(self, file_id: str) -> None:
        """Remove a file and its bytes."""
        self._records.pop(file_id, None)
        await self._disk.run(self._remove, file_id)

    def _remove(self, file_id: str) -> None:
        (self._directory / f"{file_id}.json").unlink(missing_ok=True)
        self.path_of(file_id).unlink(missing_ok=True)

    async def drop_expired(self, now: float) -> None:
        """Remove the files whose time is over."""
        for record in list(self._records.values()):
            if record.file.expires_at is not None and record.file.expires_at <= now:
                await self.delete(record.file.id)


class _Tally:
    """Counts and checks an upload on its way."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._bytes = self._newlines = 0
        self._is_utf8 = True
        self._last = b"\n"

    def add(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > MAX_FILE_BYTES:
            raise RefusedError(413, f"The file is larger than {MAX_FILE_BYTES} bytes.", param="file")
        self._newlines += chunk.count(b"\n")
        self._last = chunk[-1:] or self._last
        self._decode(chunk)

    def _decode(self, chunk: bytes, *, is_final: bool = False) -> None:
        try:
            self._decoder.decode(chunk, is_final)
        except UnicodeDecodeError:
            self._is_utf8 = False

    def result(self, path: Path) -> ReceivedFile:
        self._decode(b"", is_final=True)
        lines = self._newlines + (self._last != b"\n")
        return ReceivedFile(path=path, lines=lines, is_utf8=self._is_utf8)
