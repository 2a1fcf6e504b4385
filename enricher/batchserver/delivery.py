"""From the logs of a sealed batch to its output and error files.

May be cut off anywhere and repeated: ids come from the batch's own, and a log is removed only after its file stands on
the shelf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.batchserver.disk import write_atomic
from enricher.batchserver.mangle import FILE_FAULTS, mangle_output
from enricher.batchserver.shapes import to_id
from enricher.batchserver.validation import EXPIRY_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from enricher.batchserver.batches import BatchRegister
    from enricher.batchserver.disk import DiskThreads
    from enricher.batchserver.faults import FaultRule
    from enricher.batchserver.files import FileShelf
    from enricher.batchserver.shapes import BatchRecord


async def deliver(
    record: BatchRecord, register: BatchRegister, shelf: FileShelf, now: float
) -> tuple[str | None, str | None]:
    """Put both files of a batch on the shelf; return their ids, null where there is no line. Raises `OSError`."""
    batch_id, disk = record.batch.id, register.disk
    rules = [rule for rule in record.faults if rule.what in FILE_FAULTS]
    whats = {rule.what for rule in record.faults}
    none_id = "" if "empty_file_ids" in whats else None
    output_id = await _shelve(record, register.output_of(batch_id), "output", shelf, now, disk, rules=rules)
    error_id = await _shelve(
        record, register.errors_of(batch_id), "error", shelf, now, disk, keep_empty="empty_error_file" in whats
    )
    if "no_output_file" in whats:
        output_id = None
    return output_id or none_id, error_id or none_id


async def _shelve(
    record: BatchRecord,
    log: Path,
    kind: str,
    shelf: FileShelf,
    now: float,
    disk: DiskThreads,
    *,
    rules: list[FaultRule] | None = None,
    keep_empty: bool = False,
) -> str | None:
    file_id = to_id("file-", record.batch.id, kind)
    size = await disk.run(lambda: log.stat().st_size if log.exists() else None)
    if size is None:
        return file_id if shelf.find(file_id) else None
    if size == 0 and not keep_empty:
        return None
    if rules:
        mangled = mangle_output(await disk.run(log.read_bytes), rules)
        log = log.with_suffix(f".{kind}-mangled")
        await disk.run(write_atomic, log, mangled)
    await shelf.adopt(
        log,
        file_id=file_id,
        filename=f"{record.batch.id}_{kind}.jsonl",
        purpose="batch_output",
        now=now,
        expires_after_seconds=record.output_expires_after_seconds or EXPIRY_SECONDS[1],
    )
    return file_id
