"""The register of batches, and the server's own books.

A change of a batch is on disk before a client is told of it. What the books count is counted once, whatever happens to
the files and batches later.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from enricher import private
from enricher.batchserver.disk import read_records, remove_temporary, write_atomic
from enricher.batchserver.shapes import BatchRecord, to_json
from enricher.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from enricher.batchserver.disk import DiskThreads


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the server did since its state directory began, and the counts of the fault script's rules."""

    uploads: int = 0
    batches_created: int = 0
    lines_uploaded: int = 0
    fault_counts: list[int] = dataclasses.field(default_factory=list)


class BatchRegister:
    """All batches of one state directory, the newest last."""

    def __init__(self, directory: Path, disk: DiskThreads) -> None:
        self._directory = directory
        self.disk = disk
        self._books_path = directory / "books"
        self._lock = asyncio.Lock()
        self.records: dict[str, BatchRecord] = {}
        self.books = Books()

    def open(self) -> None:
        """Read what is there. Raises `StoreError`, `OSError`."""
        private.make_directory(self._directory)
        remove_temporary(self._directory)
        records = read_records(self._directory, BatchRecord, lambda record: record.batch.id)
        found = sorted(records, key=lambda record: (record.created, record.batch.id))
        self.records = {record.batch.id: record for record in found}
        if self._books_path.exists():
            try:
                self.books = msgspec.json.decode(self._books_path.read_bytes(), type=Books)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise StoreError(f"{self._books_path}: is not readable: {error}", hint="move the file away") from error

    def input_of(self, batch_id: str) -> Path:
        """Return where a batch's own name of its input lies, so that a deleted upload does not stop it."""
        return self._directory / f"{batch_id}.input"

    def output_of(self, batch_id: str) -> Path:
        """Return where a running batch collects its answers."""
        return self._directory / f"{batch_id}.output"

    def errors_of(self, batch_id: str) -> Path:
        """Return where a running batch collects what went wrong."""
        return self._directory / f"{batch_id}.errors"

    async def save(self, record: BatchRecord) -> None:
        """Take over a batch's new state and make it durable. Raises `OSError`."""
        self.records[record.batch.id] = record
        path = self._directory / f"{record.batch.id}.json"
        async with self._lock:
            # The newest state, not the one given: another change may have overtaken this one on its way here.
            await self.disk.run(write_atomic, path, to_json(self.records[record.batch.id]))

    async def write_books(self, books: Books) -> None:
        """Take over the books and make them durable. Raises `OSError`."""
        self.books = books
        async with self._lock:
            await self.disk.run(write_atomic, self._books_path, to_json(self.books))

    async def forget_work(self, batch_id: str) -> None:
        """Remove the working files of a batch that ended."""
        for path in (self.input_of(batch_id), self.output_of(batch_id), self.errors_of(batch_id)):
            await self.disk.run(path.unlink, missing_ok=True)
