"""A store in which much time passes: what it lets go of, and what it keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enricher.edges.store_sqlite import SqliteStore, aging
from tests.edges.test_store_sqlite import W0, a_block, a_file, a_shape, close_pane, deliver, in_database

HOUR, DAY = 3600, 86400.0


@pytest.fixture
async def store(tmp_path):
    store = await SqliteStore.open(tmp_path)
    await store.intern_shapes([a_shape("a"), a_shape("b")], 0.0)
    yield store
    await store.close()


async def write_window(store, start, now, *, offset=0, number=0):
    """Two lines of two kinds in a window, written and done."""
    block = a_block(b"one\ntwo\n", [1, 2], offset=offset, windows=(start,))
    await store.commit_block(block, now)
    await close_pane(store, (start, number))
    for part in await store.decide((start, number), await store.undecided((start, number)), events_per_part=10):
        await deliver(store, part)
    await store.finish_pane((start, number), now)


async def test_rows_of_files_are_let_go_and_their_identities_kept_for_a_season(store, tmp_path):
    for at in range(3):
        block = a_block(b"one\n", [1], offset=0)
        state = a_file(identity=str(at) * 16, path=b"/log%d" % at, position=4, gone_at=DAY if at < 2 else None)
        segment = replace(block.segments[0], identity=state.identity, path=state.path)
        await store.commit_block(replace(block, files=(state,), segments=(segment,)), 0.0)
    gone = [row.id for row in await store.files("s") if row.gone_at is not None]
    await store.forget_files(gone, 8 * DAY)
    assert ["2" * 16] == [row.identity for row in await store.files("s")]
    assert {"0" * 16, "1" * 16} == await store.past_identities("s")
    assert set() == await store.past_identities("another")
    assert 3 == len([one async for one in store.segments((W0, 0))])
    await store.forget_files([], 80 * DAY)
    assert 2 == len(await store.past_identities("s"))
    await store.forget_files([], 92 * DAY)
    assert set() == await store.past_identities("s")


async def test_an_old_window_keeps_its_sums_and_lets_its_details_go(store, tmp_path, monkeypatch):
    monkeypatch.setattr(aging, "_KEEP_WINDOWS", 2)
    for at in range(6):
        await write_window(store, W0 + at * HOUR, at * HOUR, offset=8 * at)
    before = [await store.window_report(W0 + at * HOUR) for at in range(6)]
    await write_window(store, W0 + 6 * HOUR, 36 * DAY, offset=48)
    after = [await store.window_report(W0 + at * HOUR) for at in range(6)]

    for old, new in zip(before[:4], after[:4], strict=True):
        assert [b""] == [file.path for file in new.files]
        assert [(2, 2)] == [(file.lines, file.events) for file in new.files]
        assert replace(old, files=()) == replace(new, files=())
    assert before[4:] == after[4:]
    kept = "SELECT count(*) FROM window_signatures WHERE length(signatures) > 0"
    assert [(3,)] == in_database(tmp_path, kept)


async def test_an_old_window_with_a_late_pane_is_let_go_when_that_is_old(store, monkeypatch):
    monkeypatch.setattr(aging, "_KEEP_WINDOWS", 1)
    for at in range(3):
        await write_window(store, W0 + at * HOUR, 0.0, offset=8 * at)
    await write_window(store, W0 + 3 * HOUR, 36 * DAY, offset=24)
    await write_window(store, W0, 40 * DAY, offset=32, number=1)
    late = await store.window_report(W0)
    assert [b"", b"/log"] == [file.path for file in late.files]
    assert (4, 2) == (sum(file.lines for file in late.files), late.signatures)
    await write_window(store, W0 + 4 * HOUR, 70 * DAY, offset=40)
    assert late == await store.window_report(W0)
    await write_window(store, W0 + 5 * HOUR, 80 * DAY, offset=48)
    old = await store.window_report(W0)
    assert [(b"", 4, 4)] == [(file.path, file.lines, file.events) for file in old.files]
    assert 2 == old.signatures


async def test_a_window_that_is_not_done_lets_nothing_go(store, monkeypatch):
    monkeypatch.setattr(aging, "_KEEP_WINDOWS", 0)
    await store.commit_block(a_block(b"one\n", [1]), 0.0)
    await write_window(store, W0 + HOUR, 90 * DAY, offset=4)
    assert [b"/log"] == [file.path for file in (await store.window_report(W0)).files]
