"""The store on a disk that is small, full, read-only, busy or gone."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from enricher.edges.store_sqlite import SqliteStore, connection
from enricher.edges.store_sqlite.connection import DATABASE_NAME
from enricher.edges.store_sqlite.reserve import RESERVE_NAME, Reserve
from enricher.errors import StoreError, StoreFullError
from tests.disks import fill, remount
from tests.edges.test_store_sqlite import W0, a_block, a_shape, close_pane, deliver, in_database, three_lines

MEGABYTE = 1 << 20


def noise(number, size=MEGABYTE):
    data = np.random.default_rng(number).bytes(size - 1).replace(b"\n", b" ") + b"\n"
    return a_block(data, [1], offset=number * size)


async def read_until_held(store, most=200):
    """Commit megabytes that do not compress, until reading is held back; how many."""
    for number in range(most):
        if (held := await store.reading_held_by()) is not None:
            return number, held
        await store.commit_block(noise(number), 0.0)
    raise AssertionError(most)


async def write_out(store):
    """Close, deliver and finish the only pane."""
    await close_pane(store)
    for part in await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=10):
        await deliver(store, part)
    await store.finish_pane((W0, 0), 3.0)


# ---------------------------------------------------------------- room


async def test_on_a_full_disk_the_reserve_lets_what_was_delivered_be_deleted(small_disk):
    place = small_disk(120)
    store = await SqliteStore.open(place / "state", reserve_bytes=40 * MEGABYTE)
    reserve = place / "state" / RESERVE_NAME
    await store.intern_shapes([a_shape("a")], 0.0)
    await store.commit_block(noise(0), 0.0)
    had = reserve.stat().st_size
    filler = fill(place, leave=20 * MEGABYTE)

    number, held = await read_until_held(store)
    is_there = reserve.stat().st_size > 0
    filler.write_bytes(b"")
    fill(place, leave=30 * MEGABYTE)  # as much as the reserve, less some that others took of it
    spooled = (await store.summary(0.0)).spool_bytes
    await write_out(store)
    after = await store.summary(0.0)
    still_held = await store.reading_held_by()
    filler.unlink()
    again = await store.reading_held_by()
    is_there_again = reserve.stat().st_size
    await store.close()

    assert ("disk", False) == (held, is_there)
    assert 5 < number < 25
    assert number * MEGABYTE < spooled
    assert (0, 0, number + 0) == (after.spool_bytes, after.pending_events, after.written_events)
    assert ("disk", None) == (still_held, again)
    assert (40 * MEGABYTE, 40 * MEGABYTE) == (had, is_there_again)


async def test_without_a_reserve_a_full_disk_ends_it_and_nothing_is_lost(small_disk):
    place = small_disk(40)
    store = await SqliteStore.open(place / "state")
    await store.intern_shapes([a_shape("a")], 0.0)
    with pytest.raises(StoreFullError, match="no room left"):
        await read_until_held(store)
    await store.close()
    with pytest.raises(StoreFullError, match="no room left"):
        await SqliteStore.open(place / "state")
    remount(place, "size=80m")
    store = await SqliteStore.open(place / "state")
    (files,) = await store.files("s")
    assert files.position == (await store.summary(0.0)).read_events * MEGABYTE > 0
    assert not (place / "state" / RESERVE_NAME).exists()
    await store.close()


async def test_a_store_on_a_full_disk_is_opened_in_the_room_of_the_reserve(small_disk):
    place = small_disk(60)
    store = await SqliteStore.open(place / "state", reserve_bytes=10 * MEGABYTE)
    await store.intern_shapes([a_shape("a")], 0.0)
    await store.commit_block(noise(0), 0.0)
    await store.close()
    filler = fill(place)

    store = await SqliteStore.open(place / "state", reserve_bytes=10 * MEGABYTE)
    held = await store.reading_held_by()
    await write_out(store)
    filler.unlink()
    after = await store.reading_held_by()
    summary = await store.summary(0.0)
    await store.close()

    assert ("disk", None) == (held, after)
    assert (1, 0) == (summary.written_events, summary.spool_bytes)


async def test_a_store_cannot_be_made_on_a_full_disk_and_says_so(small_disk):
    place = small_disk(1)
    fill(place)
    with pytest.raises(StoreError, match=r"no room left|No space left") as caught:
        await SqliteStore.open(place / "state", reserve_bytes=MEGABYTE)
    assert caught.value.hint
    assert not (place / "state" / DATABASE_NAME).exists()


def test_a_reserve_is_made_only_where_the_disk_has_room_for_it_twice(small_disk):
    place = small_disk(10)
    file = place / RESERVE_NAME
    large, reserve = Reserve(place, 6 * MEGABYTE), Reserve(place, 4 * MEGABYTE)
    large.make()
    assert (False, False) == (file.exists(), large.is_given_up)  # a small disk is read for all that
    reserve.make()
    assert 4 * MEGABYTE == file.stat().st_size
    assert 6 * MEGABYTE >= reserve.free_bytes()  # really taken
    assert reserve.give_up()
    assert not reserve.give_up()
    assert (0, True) == (file.stat().st_size, reserve.is_given_up)
    for one in (large, reserve):
        one.look()
    assert (True, False) == (large.is_given_up, reserve.is_given_up)
    large.make()
    reserve.make()
    assert (True, False) == (large.is_given_up, reserve.is_given_up)
    Reserve(place, 0).make()
    assert [] == list(place.iterdir())


async def test_a_reserve_that_was_given_up_is_remembered_over_a_restart(small_disk):
    place = small_disk(60)
    store = await SqliteStore.open(place / "state", reserve_bytes=20 * MEGABYTE)
    await store.intern_shapes([a_shape("a")], 0.0)
    filler = fill(place, leave=5 * MEGABYTE)
    await read_until_held(store)
    await store.close()
    store = await SqliteStore.open(place / "state", reserve_bytes=20 * MEGABYTE)
    beside = await SqliteStore.open(place / "state", reserve_bytes=20 * MEGABYTE, read_only=True)
    held = await store.reading_held_by(), await beside.reading_held_by()
    filler.unlink()
    again = await store.reading_held_by(), await beside.reading_held_by()
    await store.close()
    await beside.close()
    assert (("disk", "disk"), (None, None)) == (held, again)


async def test_a_spool_that_holds_as_much_as_it_may_stops_reading_until_a_tenth_is_free(tmp_path):
    store = await SqliteStore.open(tmp_path, max_spool_bytes=4 * MEGABYTE)
    await store.intern_shapes([a_shape("a")], 0.0)
    number, held = await read_until_held(store)
    beside = await SqliteStore.open(tmp_path, read_only=True, max_spool_bytes=4 * MEGABYTE)
    seen = await beside.reading_held_by()
    await beside.close()
    await store._db.write(lambda db: db.execute("UPDATE books SET spool_bytes = ?", (int(3.7 * MEGABYTE),)))
    nearly = await store.reading_held_by()
    await store._db.write(lambda db: db.execute("UPDATE books SET spool_bytes = ?", (int(3.5 * MEGABYTE),)))
    after = await store.reading_held_by()
    await store.close()
    assert (4, "spool", "spool", "spool", None) == (number, held, seen, nearly, after)


# ---------------------------------------------------------------- a disk that fails


async def test_a_store_on_a_disk_that_turns_read_only_says_so_and_goes_on_when_it_is_mended(small_disk):
    place = small_disk(40)
    store = await SqliteStore.open(place / "state")
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    await store.commit_block(three_lines(0), 0.0)
    shutil.copytree(place / "state", place / "killed")
    await store.close()
    remount(place, "ro")
    with pytest.raises(StoreError, match=r"Read-only|readonly|unable to open") as caught:
        await SqliteStore.open(place / "state")
    assert str(place) in str(caught.value)
    # What it holds can be looked at all the same.
    for copy in ("state", "killed"):
        beside = await SqliteStore.open(place / copy, read_only=True)
        assert 3 == (await beside.summary(0.0)).read_events
        await beside.close()
    remount(place, "rw")
    store = await SqliteStore.open(place / "state")
    assert 3 == (await store.summary(0.0)).read_events
    await store.close()


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_store_that_is_lost_while_it_is_in_use_is_not_written_to_any_more(tmp_path, how):
    store = await SqliteStore.open(tmp_path / "state")
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    await store.commit_block(three_lines(0), 0.0)
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    shutil.rmtree(tmp_path / "state")
    if how == "replaced":
        (tmp_path / "copy").rename(tmp_path / "state")
    for _ in range(2):
        with pytest.raises(StoreError, match="was removed or replaced while it was in use") as caught:
            await store.commit_block(three_lines(1), 0.0)
    assert "put" in caught.value.hint
    await store.close()


async def test_a_store_that_another_program_writes_to_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "_BUSY_SECONDS", 0.1)
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="is locked by another program") as caught:
        await store.commit_block(three_lines(0), 0.0)
    other.close()
    await store.close()
    assert "sqlite3" in caught.value.hint
    store = await SqliteStore.open(tmp_path)
    assert 0 == (await store.summary(0.0)).read_events
    await store.commit_block(three_lines(0), 0.0)
    await store.close()


async def test_what_stands_in_the_log_is_in_the_database_before_anything_is_built_upon_it(tmp_path):
    """A sync of the log may have failed in the process before, which is dead."""
    store = await SqliteStore.open(tmp_path / "state")
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    await store.commit_block(three_lines(0), 0.0)
    shutil.copytree(tmp_path / "state", tmp_path / "killed")
    await store.close()

    store = await SqliteStore.open(tmp_path / "killed")
    shutil.copy(tmp_path / "killed" / DATABASE_NAME, tmp_path / DATABASE_NAME)
    await store.close()

    assert [(3,)] == in_database(tmp_path, "SELECT read_events FROM books")


_GOING_ON = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.edges.test_store_disk import SqliteStore, StoreError, a_shape, three_lines

async def main():
    store = await SqliteStore.open(Path(sys.argv[2]))
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    Path(sys.argv[2], "opened").mkdir()
    for number in range(20):
        try:
            await store.commit_block(three_lines(number), 0.0)
        except StoreError as error:
            print(number, error)
    Path(sys.argv[2], "written").mkdir()

asyncio.run(main())
"""


async def make(directory):
    """Make a store: how many calls that takes hangs on its version."""
    await (await SqliteStore.open(directory)).close()


def middle_of_writing(trace, call):
    """Which of the calls of the thread that commits blocks is the middle one of those that commit them.

    strace counts each thread's calls apart, so that no other thread may get as far.
    """
    lines = trace.read_text().splitlines()
    opened, written = (
        next(at for at, line in enumerate(lines) if f'/{mark}"' in line) for mark in ("opened", "written")
    )
    threads = [line.split()[0] if f" {call}(" in line else "" for line in lines]
    (thread,) = {*threads[opened:written]} - {""}
    middle = threads[:opened].count(thread) + threads[opened:written].count(thread) // 2
    assert all(threads.count(other) < middle for other in {*threads} - {"", thread})
    return middle


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_after_a_sync_that_failed_once_nothing_more_is_written(tmp_path, call):
    """Linux tells of it once, and lets the next one succeed without the data (collectors.md 1.2)."""
    here = str(connection.__file__).rpartition("/enricher/")[0]
    strace = ("strace", "-f", "-qq", "-e", f"trace={call},?mkdir,mkdirat", "-o", tmp_path / "trace")
    if subprocess.run([*strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    going_on = (sys.executable, "-c", _GOING_ON, here)
    for directory in ("undisturbed", "state"):
        asyncio.run(make(tmp_path / directory))
    subprocess.run([*strace, *going_on, tmp_path / "undisturbed"], check=True)
    at = middle_of_writing(tmp_path / "trace", call)
    ended = subprocess.run(
        [*strace, "-e", f"inject={call}:error=EIO:when={at}", *going_on, tmp_path / "state"],
        capture_output=True,
        text=True,
        check=True,
    )
    refused = [int(line.split()[0]) for line in ended.stdout.splitlines()]
    assert list(range(refused[0], 20)) == refused
    assert 0 < refused[0] < 19
    assert 20 - refused[0] == ended.stdout.count("disk I/O error")
    # Whether the block itself is there is not known: its lines and the position behind them are, or neither.
    ((position, lines),) = in_database(tmp_path / "state", "SELECT position, read_lines FROM files, books")
    assert position in (18 * refused[0], 18 * refused[0] + 18)
    assert position == 6 * lines
