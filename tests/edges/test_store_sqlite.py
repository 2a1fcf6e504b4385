"""The store as a file: its lock, its versions, what survives a crash, damage, and what it costs."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard

from enricher.core.block import Block, BlockCounts, FileState, Segment
from enricher.core.skeleton import Shape
from enricher.edges.store_sqlite import SqliteStore, codec, connection
from enricher.errors import LockedError, StoreError, StoreVersionError

W0 = 1_794_996_000
VERSION_1 = Path(__file__).with_name("store_version_1.sql")


def a_shape(word: str) -> Shape:
    return Shape(format="text", level="", program="", skeleton=word)


def a_file(**changes) -> FileState:
    state = FileState(
        id=0,
        source="s",
        path=b"/log",
        device=1,
        inode=2,
        birth="",
        head_bytes=0,
        head_hash=b"",
        marker=b"",
        codec="plain",
        generation=0,
        identity="1" * 16,
        position=0,
        partial=b"",
        anchor=None,
        learned=None,
        size_seen=0,
        mtime_seen=0.0,
        gone_at=None,
    )
    return replace(state, **changes)


def a_block(data: bytes, shapes, *, offset=0, windows=(W0,), index=None) -> Block:
    segment = Segment(
        source="s",
        file_id=0,
        path=b"/log",
        identity="1" * 16,
        generation=0,
        offset=offset,
        data=data,
        lost_bytes=0,
        shapes=np.asarray(shapes, dtype=np.uint32),
        windows=windows,
        window_index=index,
        read_at=0.0,
        anchor=None,
        fallback=0.0,
        time_rule="{}",
    )
    number = len(shapes)
    counts = BlockCounts(lines=number, events=number, blank=0, dropped=0, lost_bytes=0)
    return Block(segments=(segment,), files=(a_file(position=offset + len(data)),), merges=(), counts=counts)


def three_lines(number: int) -> Block:
    """The n-th block of a file: shapes 1, 2, 1."""
    return a_block(b"one %d\ntwo %d\nsix %d\n" % (number, number, number), [1, 2, 1], offset=18 * number)


async def close_pane(store, pane=(W0, 0)):
    await store.commit_plan(closed={pane: "complete"}, requests=[], batches=[], task="t", model="m", now=1.0)


async def deliver(store, part, sink="files"):
    await store.delivered(
        sink, part, sha256="", size_bytes=0, events=part.events, lines=part.events, filtered=0, now=2.0
    )


def in_database(directory: Path, sql: str, *parameters):
    """Run SQL behind the store's back."""
    db = sqlite3.connect(directory / connection.DATABASE_NAME, isolation_level=None)
    try:
        return db.execute(sql, parameters).fetchall()
    finally:
        db.close()


# ---------------------------------------------------------------- the directory and its lock


async def test_what_is_made_is_for_its_owner_alone(tmp_path):
    directory = tmp_path / "var" / "state"
    store = await SqliteStore.open(directory)
    await store.intern_shapes([a_shape("a")], 0.0)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.iterdir())}
    await store.close()
    assert {
        "state": 0o700,
        "lock": 0o600,
        "enricher.db": 0o600,
        "enricher.db-wal": 0o600,
        "enricher.db-shm": 0o600,
    } == modes


async def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path):
    store = await SqliteStore.open(tmp_path)
    with pytest.raises(LockedError, match=f"process {os.getpid()}"):
        await SqliteStore.open(tmp_path)
    await store.close()
    again = await SqliteStore.open(tmp_path)
    await again.close()


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_an_open_that_is_cancelled_lets_go_of_the_directory(tmp_path, turns):
    opening = asyncio.create_task(SqliteStore.open(tmp_path))
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with asyncio.timeout(10):
        while True:
            try:
                store = await SqliteStore.open(tmp_path)
            except LockedError:
                continue
            break
    await store.close()


async def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/state"):
        await SqliteStore.open(tmp_path / "file" / "state")


async def test_writes_are_durable_when_they_return(tmp_path):
    store = await SqliteStore.open(tmp_path)
    pragmas = await store._db.read(
        lambda db: {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "auto_vacuum", "foreign_keys", "user_version")
        }
    )
    await store.close()
    full, incremental = 2, 2
    assert {
        "journal_mode": "wal",
        "synchronous": full,
        "auto_vacuum": incremental,
        "foreign_keys": 1,
        "user_version": len(connection.MIGRATIONS),
    } == pragmas


async def test_what_is_put_aside_while_a_statement_runs_never_lies_outside_of_the_state_directory(tmp_path):
    in_memory = 2
    for read_only in (False, True):
        store = await SqliteStore.open(tmp_path, read_only=read_only)
        assert in_memory == await store._db.read(lambda db: db.execute("PRAGMA temp_store").fetchone()[0])
        await store.close()


# ---------------------------------------------------------------- versions


async def test_a_store_of_version_1_is_read_by_this_version(tmp_path):
    """The script is a frozen copy: what was released must open for ever."""
    path = tmp_path / connection.DATABASE_NAME
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA application_id = 1701737059")
    db.executescript(VERSION_1.read_text())
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO shapes VALUES (7, 'k', 'text', 'INFO', 'shop', 'a', 7, 'a', 0.0, NULL, 3, 0)")
    old_schema = db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    db.close()
    store = await SqliteStore.open(tmp_path)
    assert [7] == [row.id for row in await store.shapes()]
    await store.close()
    assert [(len(connection.MIGRATIONS),)] == in_database(tmp_path, "PRAGMA user_version")
    if len(connection.MIGRATIONS) == 1:
        fresh = await SqliteStore.open(tmp_path / "new")
        await fresh.close()
        assert old_schema == in_database(tmp_path / "new", "SELECT name, sql FROM sqlite_schema ORDER BY name")


async def test_migrations_are_run_in_order_and_once(tmp_path, monkeypatch):
    await (await SqliteStore.open(tmp_path)).close()
    second, third = (
        "ALTER TABLE books ADD COLUMN extra INTEGER NOT NULL DEFAULT 1;",
        "UPDATE books SET extra = extra + 1;",
    )
    monkeypatch.setattr(connection, "MIGRATIONS", (*connection.MIGRATIONS, second, third))
    for _ in range(2):
        store = await SqliteStore.open(tmp_path)
        await store.close()
    assert [(2,)] == in_database(tmp_path, "SELECT extra FROM books")
    assert [(len(connection.MIGRATIONS),)] == in_database(tmp_path, "PRAGMA user_version")


async def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    await (await SqliteStore.open(tmp_path)).close()
    broken = "CREATE TABLE half (id INTEGER); INSERT INTO nowhere VALUES (1);"
    with monkeypatch.context() as patch:
        patch.setattr(connection, "MIGRATIONS", (*connection.MIGRATIONS, broken))
        with pytest.raises(StoreError, match=f"version {len(connection.MIGRATIONS)}"):
            await SqliteStore.open(tmp_path)
    assert [] == in_database(tmp_path, "SELECT name FROM sqlite_schema WHERE name = 'half'")
    await (await SqliteStore.open(tmp_path)).close()


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_newer_store_is_refused_untouched(tmp_path, read_only):
    await (await SqliteStore.open(tmp_path)).close()
    in_database(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match="version 99") as caught:
        await SqliteStore.open(tmp_path, read_only=read_only)
    assert "newer" in caught.value.hint
    assert [(99,)] == in_database(tmp_path, "PRAGMA user_version")


async def test_a_reader_does_not_migrate_an_older_store(tmp_path, monkeypatch):
    await (await SqliteStore.open(tmp_path)).close()
    known = len(connection.MIGRATIONS)
    monkeypatch.setattr(connection, "MIGRATIONS", (*connection.MIGRATIONS, "CREATE TABLE more (id INTEGER);"))
    with pytest.raises(StoreError, match=f"older version {known}"):
        await SqliteStore.open(tmp_path, read_only=True)
    assert [(known,)] == in_database(tmp_path, "PRAGMA user_version")


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"no database at all\n" * 400, "is damaged"), (None, "not a store")]
)
async def test_a_file_that_is_no_store_is_an_error_and_stays(tmp_path, content, said):
    path = tmp_path / connection.DATABASE_NAME
    if content is None:
        in_database(tmp_path, "CREATE TABLE of_another_program (id INTEGER)")
        content = path.read_bytes()
    path.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(StoreError, match=said) as caught:
            await SqliteStore.open(tmp_path, read_only=read_only)
        assert "move enricher.db" in caught.value.hint
    assert content == path.read_bytes()


async def test_a_torn_store_is_an_error(tmp_path):
    await (await SqliteStore.open(tmp_path)).close()
    path = tmp_path / connection.DATABASE_NAME
    path.write_bytes(path.read_bytes()[: -2 * connection._PAGE_BYTES])
    with pytest.raises(StoreError, match="is damaged"):
        await SqliteStore.open(tmp_path)


async def test_a_store_whose_file_is_gone_but_not_its_log_is_not_started_from_nothing(tmp_path):
    (tmp_path / "enricher.db-wal").write_bytes(b"frames")
    with pytest.raises(StoreError, match="write-ahead log"):
        await SqliteStore.open(tmp_path)
    assert not (tmp_path / connection.DATABASE_NAME).exists()


async def test_a_store_half_made_by_a_crash_is_made_anew(tmp_path):
    (tmp_path / "enricher.db.new").write_bytes(b"half")
    store = await SqliteStore.open(tmp_path)
    await store.close()
    assert ["enricher.db", "lock"] == sorted(path.name for path in tmp_path.iterdir())


#   part 0 (3 events)   part 1 (3 events)   part 2
#   a a a               b B B               B c c      <- B: the events of the block that is damaged
async def test_a_damaged_segment_is_buried_and_every_other_event_stays_where_it_was(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    for number in range(3):
        await store.commit_block(three_lines(number), 0.0)
    await close_pane(store)
    first, second = await store.undecided((W0, 0))
    await store.decide((W0, 0), [first], events_per_part=2)  # a: 0 0 | 1 1 | 2 2
    await store.decide((W0, 0), [second], events_per_part=2)  # b: 0 1 | 2
    await store.close()
    data = in_database(tmp_path, "SELECT data FROM spool WHERE segment = 2")[0][0]
    in_database(tmp_path, "UPDATE spool SET data = ? WHERE segment = 2", data[:-1] + bytes([data[-1] ^ 1]))

    store = await SqliteStore.open(tmp_path)
    found = [one.segment.offset async for one in store.segments((W0, 0))]
    again = [one.segment.offset async for one in store.segments((W0, 0))]
    parts = [(part.round_number, part.first, part.events) for part in await store.parts((W0, 0))]
    report, summary = await store.window_report(W0), await store.summary(0.0)
    for part in await store.parts((W0, 0)):
        await deliver(store, part)
    await store.finish_pane((W0, 0), 3.0)
    final = await store.summary(0.0)
    await store.close()

    assert ([0, 36], [0, 36]) == (found, again)
    assert [(0, 0, 2), (0, 2, 0), (0, 2, 2), (1, 0, 1), (1, 1, 1)] == parts
    assert ({"corrupt": 3}, {"pending": 6}) == (report.dead_letters, report.statuses)
    assert (9, 3, 6) == (summary.read_events, summary.dead_events, summary.pending_events)
    assert (6, 3, 0, 0) == (final.written_events, final.dead_events, final.pending_events, final.spool_bytes)
    assert [("corrupt", 18, 3, 3)] == in_database(tmp_path, "SELECT reason, offset, events, lines FROM dead_letters")


@pytest.mark.parametrize("column", ["data", "shapes", "window_index"])
@pytest.mark.parametrize("damage", [b"", b"\x28\xb5\x2f\xfd", b"x" * 40, zstandard.compress(b"another length")])
async def test_damage_anywhere_in_a_segment_is_seen(tmp_path, column, damage):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a")], 0.0)
    index = np.zeros(2, dtype=np.uint8)
    await store.commit_block(a_block(b"1\n2\n", [1, 1], index=index), 0.0)
    await store.close()
    in_database(tmp_path, f"UPDATE spool SET {column} = ?", damage)
    store = await SqliteStore.open(tmp_path)
    assert [] == [one async for one in store.segments((W0, 0))]
    assert (2, 0) == ((await store.summary(0.0)).dead_events, (await store.summary(0.0)).spool_bytes)
    await store.close()


async def test_what_a_sink_has_of_a_damaged_segment_is_not_dead(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    await store.commit_block(three_lines(0), 0.0)
    await close_pane(store)
    first, _ = await store.undecided((W0, 0))
    (part,) = await store.decide((W0, 0), [first], events_per_part=10)
    await deliver(store, part)
    await store._db.write(lambda db: db.execute("UPDATE spool SET data = x'00'"))
    assert [] == [one async for one in store.segments((W0, 0))]
    assert 1 == (await store.summary(0.0)).dead_events
    await store.finish_pane((W0, 0), 3.0)
    summary = await store.summary(0.0)
    assert (2, 1, 0) == (summary.written_events, summary.dead_events, summary.pending_events)
    await store.close()


async def test_after_a_write_that_the_disk_refused_nothing_more_is_written(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store._db.read(lambda db: db.execute("PRAGMA max_page_count = 1"))
    noise = np.random.default_rng(1).bytes(400_000).replace(b"\n", b" ") + b"\n"
    await store.intern_shapes([a_shape("a")], 0.0)
    with pytest.raises(StoreError, match="no room left") as caught:
        await store.commit_block(a_block(noise, [1]), 0.0)
    assert "free space" in caught.value.hint
    with pytest.raises(StoreError, match="no room left"):
        await store.learn_token_limit("m", 1, 0.0)
    await store.close()
    store = await SqliteStore.open(tmp_path)
    assert [] == await store.files("s")
    assert [] == await store.open_panes()
    await store.close()


# ---------------------------------------------------------------- crashes

_CRASHING = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import importlib.util
spec = importlib.util.spec_from_file_location("world", sys.argv[2])
world = importlib.util.module_from_spec(spec)
spec.loader.exec_module(world)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Dying:
    # The database, until the n-th statement of a block.
    def __init__(self, db, statements):
        self.db, self.left = db, statements
    def __getattr__(self, name):
        return getattr(self.db, name)
    def _count(self):
        self.left -= 1
        if self.left == 0:
            die()
    def execute(self, *args):
        self._count()
        return self.db.execute(*args)
    def executemany(self, *args):
        self._count()
        return self.db.executemany(*args)

async def main():
    store = await world.SqliteStore.open(Path(sys.argv[3]))
    await store.intern_shapes([world.a_shape("a"), world.a_shape("b")], 0.0)
    await store.commit_block(world.three_lines(0), 0.0)
    statements = int(sys.argv[4])
    if statements:
        store._db._db = Dying(store._db._db, statements)
    await store.commit_block(world.three_lines(1), 0.0)
    die()

asyncio.run(main())
"""


def crash(directory: Path, statements: int) -> None:
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_CRASHING), root, __file__, directory, str(statements)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert (-9, b"") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize(("statements", "blocks"), [(5, 1), (11, 1), (0, 2)])
async def test_a_block_that_a_kill_interrupts_is_there_whole_or_not_at_all(tmp_path, statements, blocks):
    """Killed before the n-th statement of the second block; 0: after its commit."""
    await asyncio.to_thread(crash, tmp_path, statements)
    store = await SqliteStore.open(tmp_path)
    (file,) = await store.files("s")
    (pane,) = await store.open_panes()
    offsets = [one.segment.offset async for one in store.segments((W0, 0))]
    summary = await store.summary(0.0)
    assert (18 * blocks, 3 * blocks, 3 * blocks) == (file.position, pane.events, summary.read_events)
    assert [18 * number for number in range(blocks)] == offsets
    await store.commit_block(three_lines(1), 0.0)
    assert [6] == [pane.events for pane in await store.open_panes()]
    await store.close()


# ---------------------------------------------------------------- reading beside a writer


async def test_a_reader_sees_what_is_committed_beside_a_writer_and_cannot_write(tmp_path):
    writer = await SqliteStore.open(tmp_path)
    reader = await SqliteStore.open(tmp_path, read_only=True)
    await writer.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    await writer.commit_block(three_lines(0), 0.0)
    assert 3 == (await reader.summary(0.0)).read_events
    assert [0] == [one.segment.offset async for one in reader.segments((W0, 0))]
    with pytest.raises(StoreError, match="reading only"):
        await reader.learn_token_limit("m", 1, 0.0)
    with pytest.raises(StoreError, match="readonly database"):
        await reader._db.read(lambda db: db.execute("DELETE FROM shapes"))
    await reader.close()
    await writer.close()


async def test_reading_what_was_never_made_says_what_makes_it(tmp_path):
    with pytest.raises(StoreError, match="there is no store") as caught:
        await SqliteStore.open(tmp_path / "state", read_only=True)
    assert "enricher once" in caught.value.hint
    assert [] == list(tmp_path.iterdir())


# ---------------------------------------------------------------- space, memory, time


async def test_space_is_given_back_when_a_pane_is_done(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a")], 0.0)
    noise = np.random.default_rng(1)
    for number in range(8):
        data = noise.bytes(1_000_000).replace(b"\n", b" ") + b"\n"
        await store.commit_block(a_block(data, [1], offset=number * 1_000_001), 0.0)
    full = (await store.summary(0.0)).spool_bytes
    await close_pane(store)
    for part in await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=10):
        await deliver(store, part)
    await store.finish_pane((W0, 0), 3.0)
    after = await store.summary(0.0)
    size_bytes = (tmp_path / connection.DATABASE_NAME).stat().st_size
    await store.close()
    assert full > 8_000_000
    assert after.spool_bytes == 0
    assert size_bytes < 2_500_000  # what stays free for the next pane, and a page for each table and index


async def test_only_the_segments_decoded_last_are_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "REMEMBERED_BYTES", 70)
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    for number in range(4):
        await store.commit_block(three_lines(number), 0.0)  # 30 bytes with its shapes
    for _ in range(2):
        assert [0, 18, 36, 54] == [one.segment.offset async for one in store.segments((W0, 0))]
    assert [3, 4] == list(store._decoded._kept)
    await store.close()


async def test_nothing_of_a_pane_that_is_done_is_kept_in_memory(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    await store.commit_block(three_lines(0), 0.0)
    await close_pane(store)
    for part in await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=10):
        assert [0] == [one.segment.offset async for one in store.segments((W0, 0))]
        await deliver(store, part)
    assert [1] == list(store._decoded._kept)
    await store.finish_pane((W0, 0), 3.0)
    assert [] == list(store._decoded._kept)
    await store.close()


def a_large_block(lines: int = 35_000, shapes: int = 40) -> Block:
    random = np.random.default_rng(7)
    data = b"".join(
        b"2026-11-22T10:%02d:%02d host app[%d]: request %d done in %d ms, all well with the world\n"
        % (n // 600 % 60, n // 10 % 60, n % 7, n, n * 7919 % 997)
        for n in range(lines)
    )
    return a_block(data, random.integers(1, shapes + 1, lines))


@pytest.mark.parametrize("largest", [9, 0x7FFFFFFF])
def test_counting_a_large_segment_agrees_with_counting_line_by_line(largest):
    random = np.random.default_rng(3)
    block = a_large_block(2_000, 12)
    shapes = random.choice(np.array([0, 0xFFFFFFFF, 1, 2, 3, largest], dtype=np.uint32), 2_000)
    shapes[0] = 1
    segment = replace(
        block.segments[0],
        shapes=shapes,
        windows=(10, 20, 30),
        window_index=random.integers(0, 2, 2_000).astype(np.uint8),
    )
    slow: dict[tuple[int, int], list[int]] = {}
    for shape, window in zip(shapes.tolist(), segment.window_index.tolist(), strict=True):
        if shape == 0:
            continue
        if shape != 0xFFFFFFFF:
            owner = slow.setdefault((segment.windows[window], shape), [0, 0])
            owner[0] += 1
        owner[1] += 1
    fast = {
        (window.start, shape): [events, lines]
        for window in codec.count_kinds(segment)
        for shape, events, lines in window.kinds.tolist()
    }
    assert slow == fast


async def test_a_large_block_costs_less_than_10_ms_of_cpu_beside_compression(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape(str(number)) for number in range(40)], 0.0)
    block = a_large_block()
    costs = []
    for number in range(5):
        segment = replace(block.segments[0], offset=number * len(block.segments[0].data))
        moved = replace(block, segments=(segment,), files=(a_file(position=segment.offset + len(segment.data)),))
        start = time.process_time()
        await store.commit_block(moved, 0.0)
        whole = time.process_time() - start
        start = time.process_time()
        codec._threads.compressor.compress(segment.data)
        codec._threads.compressor.compress(segment.shapes.tobytes())
        costs.append(whole - (time.process_time() - start))
    await store.close()
    print("ms beside zstd:", [round(1000 * cost, 2) for cost in costs])
    assert min(costs) < 0.010


async def test_compressing_a_large_block_does_not_hold_up_the_loop(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape(str(number)) for number in range(40)], 0.0)
    running = asyncio.ensure_future(store.commit_block(a_large_block(), 0.0))
    turns = 0
    while not running.done():
        turns += 1
        await asyncio.sleep(0)
    await running
    await store.close()
    assert turns > 3
