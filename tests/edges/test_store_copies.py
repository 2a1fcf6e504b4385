"""Copies of a state directory taken at a bad moment, and files of two stores put together: recovered, or refused.

Never is a store started from nothing where there was one, and never is what was refused changed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from enricher.edges.store_sqlite import SqliteStore, connection
from enricher.edges.store_sqlite.agreement import disagreement
from enricher.edges.store_sqlite.connection import DATABASE_NAME
from enricher.errors import StoreError
from tests.edges.test_store_sqlite import W0, a_shape, close_pane, in_database, three_lines

LOG_NAME = f"{DATABASE_NAME}-wal"

_WRITER = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.edges.test_store_copies import SqliteStore, a_shape, three_lines

async def main():
    store = await SqliteStore.open(Path(sys.argv[2]))
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    for number in range(int(sys.argv[3])):
        await store.commit_block(three_lines(number), 0.0)
        print(number, flush=True)
        if number + 1 == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def written_by(state, blocks, *, stop_after=0):
    """The command of a process that writes so many blocks, saying the number of each, and kills itself."""
    here = str(connection.__file__).rpartition("/enricher/")[0]
    return [sys.executable, "-c", _WRITER, here, state, str(blocks), str(stop_after)]


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Copies of a state directory with a process stopped in the middle of writing to it; what it had said before each.

    Stopped, for a copy made file by file beside a running writer is of two moments: where a checkpoint falls between
    them, no program can tell that lines are missing.
    """
    root = tmp_path_factory.mktemp("copies")
    writer = subprocess.Popen(written_by(root / "state", 100_000), stdout=subprocess.PIPE)
    made = []
    try:
        for number in range(6):
            for _ in range(1 + 25 * number):
                committed = int(writer.stdout.readline())
            writer.send_signal(signal.SIGSTOP)
            os.waitpid(writer.pid, os.WUNTRACED)
            copy = root / f"copy{number}"
            copy.mkdir()
            for name in (DATABASE_NAME, LOG_NAME, f"{DATABASE_NAME}-shm"):
                shutil.copy(root / "state" / name, copy / name)
            made.append((copy, committed + 1))
            writer.send_signal(signal.SIGCONT)
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    return made


async def is_whole(directory):
    """Whether the store in a directory agrees with itself; how many blocks it has. StoreError where it is refused."""
    store = await SqliteStore.open(directory)
    try:
        files = await store.files("s")
        blocks = files[0].position // 18 if files else 0
        offsets = [one.segment.offset async for one in store.segments((W0, 0))]
        summary = await store.summary(0.0)
        verdict = await store._db.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        await store.close()
    assert "ok" == verdict
    assert [18 * number for number in range(blocks)] == offsets
    assert (3 * blocks, 0) == (summary.read_events, summary.dead_events)
    return blocks


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A state directory whose process was killed before it took anything over from the log into the database.

    SQLite puts nothing into the database that is not synced in the log: only what is behind can be torn.
    """
    state = tmp_path_factory.mktemp("killed") / "state"
    subprocess.run(written_by(state, 25), stdout=subprocess.DEVNULL, check=False)
    return state


@pytest.fixture
async def torn(tmp_path, killed):
    """A copy of that for a test to damage, and its blocks."""
    shutil.copytree(killed, tmp_path / "whole")
    shutil.copytree(killed, tmp_path / "state")
    return tmp_path / "state", await is_whole(tmp_path / "whole")


async def test_a_copy_taken_in_the_middle_of_writing_holds_all_that_was_committed(tmp_path, copies):
    recovered = []
    for copy, committed in copies:
        shutil.copytree(copy, tmp_path / copy.name)
        recovered.append((await is_whole(tmp_path / copy.name), committed))
    assert [] == [(blocks, committed) for blocks, committed in recovered if blocks < committed]


@pytest.mark.parametrize("cut", [0.0, 0.001, 0.3, 0.5, 0.77, 0.9999])
async def test_a_torn_log_is_read_up_to_its_tear(torn, cut):
    directory, blocks = torn
    log = directory / LOG_NAME
    os.truncate(log, int(cut * log.stat().st_size))
    left = await is_whole(directory)
    assert cut * blocks - 3 <= left < blocks


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
async def test_a_log_with_a_bit_turned_is_read_up_to_it(torn, at):
    directory, blocks = torn
    log = bytearray((directory / LOG_NAME).read_bytes())
    log[int(at * len(log))] ^= 0x40
    (directory / LOG_NAME).write_bytes(log)
    left = await is_whole(directory)
    assert at * blocks - 3 <= left < blocks


@pytest.mark.parametrize(("missing", "is_less"), [("-wal", True), ("-shm", False)])
async def test_a_copy_without_a_file_beside_the_database_is_whole(torn, missing, is_less):
    directory, blocks = torn
    (directory / f"{DATABASE_NAME}{missing}").unlink()
    assert is_less == (await is_whole(directory) < blocks)


async def test_a_database_cut_short_anywhere_is_refused_and_left_as_it_is(tmp_path, copies):
    copy, _ = copies[0]
    for pages in (0, 1, 2, 5, 20):
        state = tmp_path / str(pages)
        shutil.copytree(copy, state)
        os.truncate(state / DATABASE_NAME, pages * 16_384 + pages * 100)
        before = (state / DATABASE_NAME).read_bytes()
        with pytest.raises(StoreError, match=r"damaged|empty|not a store") as caught:
            await SqliteStore.open(state)
        assert "move enricher.db" in caught.value.hint
        assert before == (state / DATABASE_NAME).read_bytes()


# ---------------------------------------------------------------- files of two stores


def backed_up(state, before, after):
    """A state directory whose process was killed, and a copy of its database made `after` blocks before that."""
    copy = state.with_name(f"{state.name}.db")
    writer = subprocess.Popen(written_by(state, before + after, stop_after=before), stdout=subprocess.DEVNULL)
    os.waitpid(writer.pid, os.WUNTRACED)
    source, target = sqlite3.connect(f"file:{state / DATABASE_NAME}?mode=ro", uri=True), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    writer.send_signal(signal.SIGCONT)
    writer.wait()
    return copy


def contents(directory):
    return {name: (directory / name).read_bytes() for name in (DATABASE_NAME, LOG_NAME)}


async def assert_refused_until_the_log_is_moved_away(state, blocks):
    before = contents(state)
    with pytest.raises(StoreError, match=r"does not agree with itself and its log|is damaged") as caught:
        await SqliteStore.open(state)
    assert f"{LOG_NAME} and {DATABASE_NAME}-shm away" in caught.value.hint
    assert before == contents(state)
    (state / LOG_NAME).unlink()
    (state / f"{DATABASE_NAME}-shm").unlink(missing_ok=True)
    assert blocks == await is_whole(state)


@pytest.mark.parametrize(("before", "after"), [(300, 400), (500, 700), (1000, 300)])
async def test_a_database_put_back_beside_the_log_of_the_later_one_is_refused(tmp_path, before, after):
    copy = backed_up(tmp_path / "state", before, after)
    shutil.copyfile(copy, tmp_path / "state" / DATABASE_NAME)
    await assert_refused_until_the_log_is_moved_away(tmp_path / "state", before)


async def test_the_database_of_another_store_beside_a_log_is_refused(tmp_path):
    copy = backed_up(tmp_path / "other", 300, 0)
    backed_up(tmp_path / "state", 500, 200)
    shutil.copyfile(copy, tmp_path / "state" / DATABASE_NAME)
    await assert_refused_until_the_log_is_moved_away(tmp_path / "state", 300)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("DELETE FROM spool WHERE segment = 2", "segments without what they hold"),
        ("DELETE FROM segments WHERE id = 2", "belong to none of segments"),
        ("DELETE FROM segment_panes WHERE segment = 2", "than their segments have"),
        ("DELETE FROM pane_kinds WHERE shape = 1", "than their kinds have"),
        ("UPDATE panes SET events = events + 1", "than their kinds have"),
    ],
)
async def test_rows_that_do_not_fit_together_are_named(tmp_path, damage, what):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    for number in range(3):
        await store.commit_block(three_lines(number), 0.0)
    assert None is await store._db.read(disagreement)
    await store.close()
    in_database(tmp_path, damage)
    store = await SqliteStore.open(tmp_path)
    assert what in await store._db.read(disagreement)
    await store.close()


async def test_a_store_with_a_buried_segment_in_a_closed_window_agrees_with_itself(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    for number in range(3):
        await store.commit_block(three_lines(number), 0.0)
    await close_pane(store)
    await store.decide((W0, 0), (await store.undecided((W0, 0)))[:1], events_per_part=2)
    await store._db.write(lambda db: db.execute("UPDATE spool SET data = x'00' WHERE segment = 2"))
    assert 2 == len([one async for one in store.segments((W0, 0))])
    assert None is await store._db.read(disagreement)
    await store.close()
