"""What a year of hourly rotation leaves in the store: rows and bytes table by table, quarter by quarter.

The store is the real one; sources, models and sinks are stood for by what they commit each hour. Nothing is synced, for
a year of syncs is a measure of the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from enricher.core.block import Block, BlockCounts, FileState, Segment
from enricher.core.skeleton import Shape
from enricher.edges.store_sqlite import SqliteStore

HOUR, DAY = 3600, 86_400
START = 1_794_996_000
KEPT_ROTATIONS = 24
FORGET_SECONDS = 7 * DAY
"""As the source does."""
_TOLD = ("files", "past_identities", "window_files", "window_signatures", "panes", "parts", "deliveries")


class Year:
    """So many logs, each with lines of some kinds every hour, rotated every hour, their last day kept."""

    def __init__(self, store: SqliteStore, logs: int, kinds: int) -> None:
        self._store = store
        self._logs = logs
        self._kinds = kinds
        self._rows: list[FileState] = []
        self._lines = b"".join(b"%d a line\n" % at for at in range(kinds))

    async def begin(self) -> None:
        """Name the kinds."""
        shapes = [Shape(format="text", level="", program="", skeleton=f"kind {at}") for at in range(self._kinds)]
        await self._store.intern_shapes(shapes, 0.0)

    async def hour(self, number: int) -> None:
        """A file of each log is written, read, rotated; one is deleted; the window is done."""
        start = START + number * HOUR
        now = float(start + HOUR)
        new = [self._file(log, number) for log in range(self._logs)]
        last = self._rows[-self._logs * KEPT_ROTATIONS :]
        gone = [replace(row, gone_at=now) for row in last[: self._logs]] if len(last) == self._logs * 24 else []
        receipt = await self._store.commit_block(self._block(new, gone, start), now)
        saved = {row.id: row for row in receipt.files}
        kept = [saved.pop(row.id, row) for row in self._rows]
        self._rows = kept + list(saved.values())
        await self._write(start, now)
        old = [row for row in self._rows if row.gone_at is not None and now - row.gone_at > FORGET_SECONDS]
        if old:
            await self._store.forget_files([row.id for row in old], now)
            self._rows = self._rows[len(old) :]

    async def _write(self, start: int, now: float) -> None:
        pane = (start, 0)
        await self._store.commit_plan(closed={pane: "complete"}, requests=[], batches=[], task="t", model="m", now=now)
        outcomes = await self._store.undecided(pane)
        for part in await self._store.decide(pane, outcomes, events_per_part=1_000_000):
            await self._store.delivered(
                "files", part, sha256="0" * 64, size_bytes=1, events=part.events, lines=part.events, filtered=0, now=now
            )
        await self._store.finish_pane(pane, now)

    def _file(self, log: int, number: int) -> FileState:
        mark = sha256(b"%d %d" % (log, number)).digest()
        return FileState(
            id=0,
            source="s",
            path=b"/var/log/app/service-%d.log" % log,
            device=2049,
            inode=number * self._logs + log,
            birth=f"g{number}",
            head_bytes=1024,
            head_hash=mark,
            marker=mark * 2,
            codec="plain",
            generation=0,
            identity=mark.hex()[:16],
            position=len(self._lines),
            partial=b"",
            anchor=0.0,
            learned=True,
            size_seen=len(self._lines),
            mtime_seen=0.0,
            gone_at=None,
        )

    def _block(self, new: list[FileState], gone: list[FileState], start: int) -> Block:
        segments = tuple(
            Segment(
                source="s",
                file_id=0,
                path=row.path,
                identity=row.identity,
                generation=0,
                offset=0,
                data=self._lines,
                lost_bytes=0,
                shapes=np.arange(1, self._kinds + 1, dtype=np.uint32),
                windows=(start,),
                window_index=None,
                read_at=0.0,
                anchor=None,
                fallback=0.0,
                time_rule="{}",
            )
            for row in new
        )
        lines = self._kinds * len(new)
        counts = BlockCounts(lines=lines, events=lines, blank=0, dropped=0, lost_bytes=0)
        return Block(segments=segments, files=(*new, *gone), merges=(), counts=counts)


def _sizes(directory: Path) -> tuple[dict[str, int], int]:
    """Rows of the tables that grow, and the bytes of the whole file."""
    db = sqlite3.connect(f"file:{directory / SqliteStore.FILE_NAME}?mode=ro", uri=True)
    rows = {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in _TOLD}
    pages, free, page_bytes = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    db.close()
    return rows, (pages - free) * page_bytes


async def _run(directory: Path, days: int, logs: int, kinds: int) -> None:
    store = await SqliteStore.open(directory)
    await store._db._run(lambda: store._db._db.execute("PRAGMA synchronous = OFF"))
    year = Year(store, logs, kinds)
    await year.begin()
    print(f"{logs} logs rotated hourly, {kinds} kinds in each window")
    print(f"{'day':>5} {'MB':>8} " + " ".join(f"{name:>17}" for name in _TOLD))
    quarter = max(1, days // 4)
    for number in range(days * 24):
        await year.hour(number)
        if (number + 1) % (quarter * 24) == 0:
            rows, size = _sizes(directory)
            print(f"{(number + 1) // 24:>5} {size / 1e6:>8.1f} " + " ".join(f"{rows[name]:>17,}" for name in _TOLD))
    await store.close()
    begun = time.monotonic()
    store = await SqliteStore.open(directory)
    files, past = await store.files("s"), await store.past_identities("s")
    took = time.monotonic() - begun
    print(f"opened in {1000 * took:.0f} ms, with {len(files):,} rows of files and {len(past):,} identities")
    await store.close()


def main() -> None:
    """Let it pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--logs", type=int, default=20)
    parser.add_argument("--kinds", type=int, default=300)
    asked = parser.parse_args()
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="enricher-year-", dir=place) as directory:
        asyncio.run(_run(Path(directory), asked.days, asked.logs, asked.kinds))


if __name__ == "__main__":
    main()
