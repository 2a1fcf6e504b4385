"""A state directory that others can write to is refused before anything in it is believed."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from enricher import checks
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import StoreError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o702])
async def test_a_directory_that_others_may_write_to_is_refused_with_the_way_out(tmp_path, mode):
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    with pytest.raises(StoreError, match=f"may be written by others \\(mode {mode:04o}\\)") as caught:
        await SqliteStore.open(state)
    assert f"take that away: chmod go-w {state}" == caught.value.hint
    assert [] == [*state.iterdir()]
    state.chmod(mode & ~0o022)
    await (await SqliteStore.open(state)).close()


@as_root
async def test_a_directory_of_another_user_is_refused_with_the_way_out(tmp_path):
    state = tmp_path / "the state"
    state.mkdir()
    os.chown(state, 4242, 4242)
    with pytest.raises(StoreError, match="belongs to user 4242, and enricher runs as user 0") as caught:
        await SqliteStore.open(state)
    assert f"chown -R 0 '{state}'" in caught.value.hint
    os.chown(state, 0, 0)
    await (await SqliteStore.open(state)).close()


async def test_a_directory_that_anybody_may_rename_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(StoreError, match=rf"lies in {shared}, in which anybody may rename it \(mode 0777\)"):
        await SqliteStore.open(shared / "enricher")
    shared.chmod(0o1777)  # as /tmp
    await (await SqliteStore.open(shared / "enricher")).close()


async def test_a_link_to_a_directory_is_judged_by_where_it_leads(tmp_path):
    """As systemd makes it for a dynamic user."""
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("private")
    await (await SqliteStore.open(tmp_path / "state")).close()
    (tmp_path / "private").chmod(0o777)
    with pytest.raises(StoreError, match="may be written by others"):
        await SqliteStore.open(tmp_path / "state")


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
async def test_the_umask_opens_nothing_to_others(tmp_path, umask):
    before = os.umask(umask)
    try:
        store = await SqliteStore.open(tmp_path / "state", reserve_bytes=8192)
        await store.close()
    finally:
        os.umask(before)
    made = [tmp_path / "state", *(tmp_path / "state").iterdir()]
    assert len(made) >= 4
    assert all(path.stat().st_mode & 0o077 == 0 for path in made)


@pytest.mark.parametrize("name", ["lock", "enricher.db.new", "reserve.new"])
async def test_a_link_in_the_place_of_a_file_is_never_written_through(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    state = tmp_path / "state"
    state.mkdir()
    (state / name).symlink_to(victim)
    with pytest.raises(StoreError) if name == "lock" else contextlib.nullcontext():
        await (await SqliteStore.open(state, reserve_bytes=8192)).close()
    assert "as it was" == victim.read_text()


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_pipe_in_the_place_of_the_database_is_told_and_not_waited_for(tmp_path, read_only):
    state = tmp_path / "state"
    await (await SqliteStore.open(state)).close()
    (state / "enricher.db").unlink()
    os.mkfifo(state / "enricher.db")
    async with asyncio.timeout(10):
        with pytest.raises(StoreError, match=r"enricher\.db: is no regular file") as caught:
            await SqliteStore.open(state, read_only=read_only)
    assert "move it away" in caught.value.hint


def test_a_pipe_in_the_place_of_the_lock_names_nobody_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "lock")
    assert checks._holder(tmp_path) is None
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").write_text("1\n")
    assert checks._holder(tmp_path) is None  # somebody else's
