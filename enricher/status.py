"""The operator's view as JSON: what `/status` and `enricher status --json` show of the store's counts."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from enricher.core.digest import CHANGES, HISTORY_WINDOWS, Digest, compare, to_row
from enricher.core.window import window_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.core.block import FileState
    from enricher.core.books import HeldBy, StoreSummary
    from enricher.core.ledger import LedgerBatch
    from enricher.ports import Store

_CHANGES_SHOWN = 20
_FILES_SHOWN = 100
"""Of a hundred thousand files nobody reads more than those that are behind."""

HELD: Final[dict[HeldBy, str]] = {
    "disk": "there is no room left on the disk of the store; lines wait in their files, make room",
    "spool": "the spool holds as much as [store] max_spool_bytes lets it; lines wait in their files",
}
"""What holds reading back, in words."""


def reason(error: str, hint: str, *, since: float | None = None) -> str:
    """Why something does not go on, since when, and what to do, as /readyz says it."""
    beside = [] if since is None else [f"since {datetime.fromtimestamp(since, UTC).isoformat(timespec='seconds')}"]
    beside += [hint] if hint else []
    return f"{error} ({'; '.join(beside)})" if beside else error


async def status_of(store: Store, now: float, *, length_seconds: int) -> dict[str, Any]:
    """The store's counts, and the digest of the latest window that is closed, as JSON."""
    latest = await store.latest_window()
    digest = None
    if latest is not None:
        start, task, model = latest
        kinds = await store.window_kinds(start, windows=HISTORY_WINDOWS, task=task, model=model)
        account = await store.account(start)
        digest = _digest(compare(window_id(start, length_seconds), kinds)) | {
            "account": None if account is None else account.model_dump(mode="json")
        }
    score = await store.gold_score()
    money = await store.money(now)
    return {
        "reading_held_by": await store.reading_held_by(),
        **_counts(await store.summary(now), length_seconds),
        "files": await asyncio.to_thread(_files, await store.lagging_files(_FILES_SHOWN)),
        "money": {
            "today_usd": round(money.today_usd, 6),
            "month_usd": round(money.month_usd, 6),
            "reserved_usd": round(money.reserved_usd, 6),
        },
        "digest": digest,
        "gold": None if score is None else score.to_json(),
    }


def _digest(digest: Digest) -> dict[str, Any]:
    counts: dict[str, int] = {change: sum(one.change == change for one in digest.changes) for change in CHANGES}
    changes = [{"change": one.change, **to_row(one)} for one in digest.changes[:_CHANGES_SHOWN]]
    return {"window": digest.window, "events": digest.events, "kinds": digest.kinds, **counts, "changes": changes}


def _counts(summary: StoreSummary, length_seconds: int) -> dict[str, Any]:
    oldest = summary.oldest_open_window
    return {
        "events": {
            "read": summary.read_events,
            "written": summary.written_events,
            "pending": summary.pending_events,
            "dead_lettered": summary.dead_events,
        },
        "lines": {
            "read": summary.read_lines,
            "blank": summary.blank_lines,
            "dropped": summary.dropped_lines,
            "lost_bytes": summary.lost_bytes,
        },
        "windows": dict(summary.windows),
        "oldest_open_window": None if oldest is None else window_id(oldest, length_seconds),
        "signatures": summary.signatures,
        "open_breakers": sorted(summary.open_breakers),
        "answers": dict(summary.answers),
        "requests": dict(summary.requests),
        "batches": dict(summary.batches),
        "open_batches": [_batch(batch) for batch in summary.open_batches],
        "waiting_batches": [_batch(batch) for batch in summary.waiting_batches],
        "batch_troubles": [asdict(trouble) for trouble in summary.batch_troubles],
        "tokens": {
            "input": summary.input_tokens,
            "cached": summary.cached_tokens,
            "output": summary.output_tokens,
        },
        "cost_usd": round(summary.cost_usd, 6),
        "store_bytes": summary.store_bytes,
        "spool_bytes": summary.spool_bytes,
        "free_bytes": summary.free_bytes,
        "pending_by_sink": dict(summary.pending_by_sink),
        "sink_troubles": {sink: asdict(trouble) for sink, trouble in summary.sink_troubles.items()},
    }


def _batch(batch: LedgerBatch) -> dict[str, Any]:
    return {
        "name": batch.name,
        "batch_id": batch.batch_id,
        "state": batch.state.value,
        "status": batch.status,
        "requests": batch.requests,
        "planned_at": batch.planned_at,
        "created_at": batch.created_at,
        "failing_since": batch.failing_since,
        "error": batch.error,
        "hint": batch.hint,
    }


def _files(files: Sequence[FileState]) -> list[dict[str, Any]]:
    return [_file(file, _size(file)) for file in files]


def _size(file: FileState) -> int:
    """How large a file is now: while nothing is read of it, the store does not hear that it grows."""
    if file.gone_at is not None or file.codec != "plain":
        return file.size_seen
    try:
        found = Path(os.fsdecode(file.path)).stat()
    except OSError:
        return file.size_seen
    return found.st_size if (found.st_dev, found.st_ino) == (file.device, file.inode) else file.size_seen


def _file(file: FileState, size: int) -> dict[str, Any]:
    return {
        "path": file.path.decode("utf-8", "backslashreplace"),
        "source": file.source,
        "position": file.position,
        "size": size,
        "lag_bytes": max(0, size - file.position) if file.codec == "plain" else None,
        "gone": file.gone_at is not None,
    }
