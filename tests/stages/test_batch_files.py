"""Batch files on a disk that is full, fails or is emptied by somebody: waited for, told, and nothing is paid twice."""

from __future__ import annotations

import pytest

from enricher.errors import BatchFileError
from tests.disks import fill, remount
from tests.stages.bench import a_bench

MEGABYTE = 1 << 20


async def waited(bench):
    """Let the stages step on until batch files are waited for."""
    return await bench.settle(until=lambda _: bench.submit.blocked or bench.track.blocked)


async def ended(bench):
    summary = await bench.settle()
    ledger = await bench.ledger()
    assert bench.submit.blocked is bench.track.blocked is None
    return summary.requests, ledger["batches_created"], ledger["lines_uploaded"]


async def test_an_input_file_for_which_there_is_no_room_is_waited_for_and_takes_none_meanwhile(tmp_path, small_disk):
    disk = small_disk(1)
    async with a_bench(tmp_path, files_directory=disk / "batches") as bench:
        filler = fill(disk, leave=12 * 1024)
        await waited(bench)
        blocked = bench.submit.blocked
        assert isinstance(blocked, BatchFileError)
        assert str(disk / "batches") in str(blocked)
        assert "No space left on device" in str(blocked)
        assert "room" in blocked.hint
        assert [] == list((disk / "batches").iterdir())
        assert 0 == (await bench.ledger())["lines_uploaded"]
        filler.unlink()
        assert ({"answered": 10}, 1, 10) == await ended(bench)


async def test_answers_for_which_there_is_no_room_are_fetched_when_there_is(tmp_path, small_disk):
    disk = small_disk(1)
    async with a_bench(tmp_path, files_directory=disk / "batches") as bench:
        await bench.settle(until=lambda summary: summary.batches.get("open"))
        filler = fill(disk)
        await waited(bench)
        blocked = bench.track.blocked
        assert isinstance(blocked, BatchFileError)
        assert "No space left on device" in str(blocked)
        filler.unlink()
        assert ({"answered": 10}, 1, 10) == await ended(bench)


@pytest.mark.parametrize("state", ["planned", "open"])
async def test_batch_files_on_a_disk_that_is_read_only_for_a_while_are_waited_for(tmp_path, small_disk, state):
    disk = small_disk(1)
    async with a_bench(tmp_path, files_directory=disk / "batches") as bench:
        await bench.plan.step()
        if state == "open":
            await bench.settle(until=lambda summary: summary.batches.get("open"))
        remount(disk, "ro")
        await waited(bench)
        assert "Read-only" in str(bench.submit.blocked or bench.track.blocked)
        remount(disk, "rw")
        assert ({"answered": 10}, 1, 10) == await ended(bench)
        assert [] == list((disk / "batches").iterdir())


async def test_a_disk_that_turns_read_only_when_all_is_collected_holds_nothing_up(tmp_path, small_disk, monkeypatch):
    disk = small_disk(1)
    async with a_bench(tmp_path, files_directory=disk / "batches") as bench:
        collect = bench.track._workload.collect

        async def then_fail(*given):
            done = await collect(*given)
            remount(disk, "ro")
            return done

        monkeypatch.setattr(bench.track._workload, "collect", then_fail)
        assert ({"answered": 10}, 1, 10) == await ended(bench)
    remount(disk, "rw")


async def test_a_directory_of_batch_files_that_somebody_removed_is_told_and_made_again(tmp_path):
    async with a_bench(tmp_path) as bench:
        (tmp_path / "batches").rmdir()
        assert ({"answered": 10}, 1, 10) == await ended(bench)
