"""Copies of files that are there still: nothing that lies in two files at a time is read from both."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
from dataclasses import replace

import pytest
import zstandard

from enricher.edges.source_files import turns
from tests.edges.following import World, lines, numbers

CODECS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def copy(w, name, to, packed=None):
    data = w.path(name).read_bytes()
    w.path(to).write_bytes(CODECS[packed](data) if packed else data)
    os.utime(w.path(to), (w.now, w.now))


async def settle(w):
    for _ in range(6):
        await w.step(6.0)


@pytest.mark.parametrize("restart", [False, True])
async def test_a_held_event_is_not_repeated_by_a_scan_between_copy_and_truncation(world, restart):
    w = await world()
    w.append("a.log", lines(0))
    await w.step(hold=None)
    copy(w, "a.log", "a.log.1")
    await w.step(hold=None)
    if restart:
        await w.start()
        await w.step(hold=None)
    os.truncate(w.path("a.log"), 0)
    w.append("a.log", b"100 after\n")
    await settle(w)
    assert [*range(40), 100] == sorted(numbers(w.read))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("cut", [3, 500, 3000])
async def test_a_copy_that_is_still_being_written_is_waited_for(world, cut, restart):
    w = await world()
    w.append("a.log", lines(0, 100))
    await w.step()
    w.append("a.log", lines(100, 20))
    whole = w.path("a.log").read_bytes()
    w.append("a.log.1", whole[:cut])
    await w.step()
    if restart:
        await w.start()
        await w.step()
    w.append("a.log.1", whole[cut:])
    os.truncate(w.path("a.log"), 0)
    await settle(w)
    assert [*range(120)] == sorted(numbers(w.read))


@pytest.mark.parametrize("packed", [None, *CODECS])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_copy_of_a_log_that_goes_on_is_not_read(world, packed, restart):
    w = await world()
    to = f"a.log.1.{packed}" if packed else "a.log.1"
    w.append("a.log", lines(0))
    await w.step()
    w.append("a.log", lines(40))
    copy(w, "a.log", to, packed)
    w.append("a.log", lines(80))
    await settle(w)
    if restart:
        await w.start()
    w.append("a.log", lines(120))
    await settle(w)
    assert [*range(160)] == sorted(numbers(w.read))
    # It is followed from its end on, and known again by its inode.
    assert 2 == len(w.rows)


async def test_a_copy_made_while_the_daemon_was_down_is_known_though_the_log_went_on(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    copy(w, "a.log", "a.log.1")
    w.append("a.log", lines(40))
    copy(w, "a.log", "a.log.2.gz", "gz")
    w.append("a.log", lines(80))
    await w.start()
    await settle(w)
    assert [*range(120)] == sorted(numbers(w.read))


@pytest.mark.parametrize("size", [1, 2, 5, 40])
async def test_a_copy_shorter_than_the_head_of_its_log_is_known(world, size):
    w = await world()
    w.append("a.log", lines(0, size))
    copy(w, "a.log", "a.log.1")
    await w.step()
    w.append("a.log", lines(size, 60))
    await settle(w)
    assert [*range(size + 60)] == sorted(numbers(w.read))


async def test_a_rotated_file_with_the_banner_of_its_log_is_no_copy(world):
    banner = b"%b\n" % (b"=" * 1100)
    w = await world()
    w.append("a.log", banner + lines(0))
    await w.step()
    w.append("a.log.1", banner + lines(100))
    w.append("a.log.2.gz", gzip.compress(banner + lines(200)))
    await settle(w)
    assert [*range(40), *range(100, 140), *range(200, 240)] == sorted(numbers(x for x in w.read if x[0] != ord("=")))


async def test_a_rotated_file_that_holds_more_than_its_log_is_no_copy(world):
    w = await world()
    w.append("a.log", lines(0))
    w.append("a.log.1", lines(0) + lines(100))
    await settle(w)
    assert sorted([*range(40), *range(40), *range(100, 140)]) == sorted(numbers(w.read))


async def test_a_rotated_file_that_goes_on_where_its_log_ends_is_not_waited_for(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    w.append("a.log.1", lines(0) + lines(100))
    assert [*range(40), *range(100, 140)] == numbers(await w.step())


async def test_a_copy_goes_on_for_its_log_once_that_is_gone(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    w.append("a.log", lines(40, 5))
    shutil.copy(w.path("a.log"), w.path("a.log.1"))
    await w.source.scan(w.now)
    w.source._descriptors.close_all()
    w.path("a.log").unlink()
    await settle(w)
    assert [*range(45)] == sorted(numbers(w.read))
    assert 1 == len(w.rows)


async def test_once_waits_for_no_copy_and_reads_none(world):
    w = await world(once=True)
    w.append("a.log", lines(0))
    copy(w, "a.log", "a.log.1")
    copy(w, "a.log", "a.log.2.gz", "gz")
    for _ in range(5):
        await w.step()
    assert w.progress().exhausted
    assert [*range(40)] == numbers(w.read)


async def test_a_compressed_twin_waits_until_the_deleted_file_is_drained(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    with w.path("a.log").open("ab") as writer:
        copy(w, "a.log", "a.log.1.gz", "gz")
        w.path("a.log").unlink()
        await w.step()
        # A program that was not told of the rotation.
        writer.write(lines(40, 2))
        writer.flush()
        await w.step()
    await settle(w)
    assert [*range(42)] == numbers(w.read)


@pytest.mark.parametrize("way", ["rename", "copytruncate", "delete"])
@pytest.mark.parametrize("packed", [None, "gz"])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_file_that_came_and_was_rotated_away_between_two_looks_is_read(
    world, monkeypatch, way, packed, restart
):
    w = await world(include=[f"{world.directory}/*.log"])
    w.append("a.log.4", lines(900))  # from before the first run
    os.utime(w.path("a.log.4"), (w.now - 1000, w.now - 1000))
    w.append("a.log", lines(0))
    await w.step()
    w.append("a.log", lines(40, 2))
    for number in (3, 2, 1):
        to = w.path(f"a.log.{number}")
        shutil.copy2(w.path("a.log"), to)
        if packed:
            copy(w, to.name, f"{to.name}.gz", packed)
            os.utime(w.path(f"{to.name}.gz"), ns=(to.stat().st_atime_ns, to.stat().st_mtime_ns))
            to.unlink()
        elif way == "rename":
            w.path("a.log").rename(to)
        if way == "copytruncate":
            os.truncate(w.path("a.log"), 0)
        else:
            w.path("a.log").unlink(missing_ok=True)
        w.append("a.log", lines(100 * (4 - number), 4))
    if way == "delete":
        # The one that was known is the first that is not kept.
        next(w.directory.glob("a.log.3*")).unlink()
    if restart:
        await w.start()
        # What one process met and had no time to read is known to the next one.
        with monkeypatch.context() as patch:
            patch.setattr(turns, "MAX_BLOCK_BYTES", 0)
            await w.step()
        await w.start()
    await settle(w)
    unread = [40, 41] if way == "delete" and (restart or packed) else []
    expected = [*range(42), *range(100, 104), *range(200, 204), *range(300, 304)]
    assert [at for at in expected if at not in unread] == sorted(n for n in numbers(w.read) if n not in unread)


async def test_a_row_of_which_a_new_file_took_the_inode_before_it_was_told_goes_on_in_its_copy(world):
    w = await world(include=[f"{world.directory}/*.log"])
    w.append("a.log", lines(0))
    await w.step()
    (old,) = w.rows.values()
    w.append("a.log", lines(40, 3))
    copy(w, "a.log", "a.log.1.gz", "gz")
    w.path("a.log").unlink()
    w.append("a.log", lines(100))
    await w.source.close()
    new = await World(w.directory, include=w.options["include"]).start()
    await new.step()
    w.rows = {1: replace(old, inode=w.path("a.log").stat().st_ino, birth="b1"), 2: replace(*new.rows.values(), id=2)}
    await new.source.close()
    await w.start()
    await settle(w)
    assert [*range(43)] == numbers(w.read)


async def test_news_of_rows_are_committed_beside_what_is_read(world, monkeypatch):
    monkeypatch.setattr(turns, "_MAX_COMPRESSED", 1)
    w = await world(include=[f"{world.directory}/*.log"])
    for name in "abc":
        w.append(f"{name}.log", lines(0))
    await w.step()
    for name in "abc":
        w.append(f"{name}.log", lines(40, 3))
        copy(w, f"{name}.log", f"{name}.log.1.gz", "gz")
        w.path(f"{name}.log").unlink()
        w.append(f"{name}.log", lines(100))
    await w.start()
    await w.step()
    assert 6 == len({row.inode for row in w.rows.values()})
    await w.start()
    await settle(w)
    assert sorted([*range(43), *range(100, 140)] * 3) == sorted(numbers(w.read))


@pytest.mark.parametrize("packed", [None, "gz"])
async def test_a_file_whose_lines_waited_in_it_is_found_after_a_restart_under_whatever_name(world, packed):
    w = await world(include=[f"{world.directory}/*.log"])
    w.append("a.log", lines(0))
    assert [] == await w.step(flush=False)
    w.append("a.log", lines(40, 2))
    to = w.path("a.log.1")
    w.path("a.log").rename(to)
    if packed:
        copy(w, to.name, f"{to.name}.gz", packed)
        to.unlink()
    await w.start()
    await settle(w)
    assert [*range(42)] == numbers(w.read)


async def test_inode_numbers_that_rotated_files_took_from_each_other_hide_none(world):
    """As ext4 gives them: the number of a file that was compressed is the next new file's at once."""
    w = await world(include=[f"{world.directory}/*.log"])
    for at, name in enumerate("abc"):
        w.append(f"{name}.log", lines(1000 * at))
    await w.step()
    for at, name in enumerate("abc"):
        w.append(f"{name}.log", lines(1000 * at + 40, 3))
        copy(w, f"{name}.log", f"{name}.log.2.gz", "gz")
        w.append(f"{name}.log.1", lines(1000 * at + 100))
        os.utime(w.path(f"{name}.log.1"), (w.now + 1, w.now + 1))
        w.path(f"{name}.log").unlink()
        w.append(f"{name}.log", lines(1000 * at + 200))
    takers = ["b.log.2.gz", "c.log.1", "a.log.1"]
    for row, taker in zip(list(w.rows.values()), takers, strict=True):
        w.rows[row.id] = replace(row, inode=w.path(taker).stat().st_ino, birth="b1")
    await w.start()
    await settle(w)
    expected = [1000 * at + n for at in range(3) for n in (*range(43), *range(100, 140), *range(200, 240))]
    assert expected == sorted(numbers(w.read))


@pytest.mark.parametrize("include", ["*.log*", "*.log"])
@pytest.mark.parametrize("unread", [0, 5])
async def test_a_copy_is_read_though_its_log_was_deleted_after_it_was_truncated(world, include, unread):
    """The log is open still: what it holds now is not what was read of it, and nobody waits for that."""
    w = await world(include=[f"{world.directory}/{include}"])
    w.append("a.log", lines(0))
    await w.step(hold=None)
    w.append("a.log", lines(40, unread))
    copy(w, "a.log", "a.log.1")
    w.path("a.log").write_bytes(lines(100, 1))
    w.path("a.log").unlink()
    await settle(w)
    assert [*range(40 + unread)] == sorted(numbers(w.read))
    assert 0 == w.progress().deleted_bytes


@pytest.mark.parametrize("hold", [0, None])
@pytest.mark.parametrize("cut", [40, 900, None])
async def test_lines_that_were_read_between_copy_and_truncation_have_no_line_of_the_copy_repeated(world, hold, cut):
    w = await world()
    w.append("a.log", lines(0))
    await w.step(hold=hold)
    whole = w.path("a.log").read_bytes()
    w.append("a.log.1", whole[:cut])
    await w.source.scan(w.now)
    w.append("a.log.1", whole[len(whole[:cut]) :])
    w.append("a.log", lines(40, 2))
    await w.step(hold=hold)
    os.truncate(w.path("a.log"), 0)
    w.append("a.log", lines(100, 1))
    await settle(w)
    assert [*range(42), 100] == sorted(numbers(w.read))
    # It is known from its end on, and by the next process.
    await w.start()
    w.append("a.log.1", lines(200, 1))
    await settle(w)
    assert [*range(42), 100, 200] == sorted(numbers(w.read))


@pytest.mark.parametrize("include", ["*.log*", "*.log"])
@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("first", [3, 40])
async def test_that_holds_for_a_copy_that_was_not_looked_at_before_the_truncation_too(world, include, seen, first):
    w = await world(include=[f"{world.directory}/{include}"])
    w.append("a.log", lines(0, first))
    await w.step()
    w.append("a.log", lines(first, 2))
    await w.step(hold=None)
    whole = w.path("a.log").read_bytes()
    if seen:
        copy(w, "a.log", "a.log.1")
    w.append("a.log", lines(first + 2, 2))
    await w.step(hold=None)
    w.path("a.log.1").write_bytes(whole)
    os.truncate(w.path("a.log"), 0)
    w.append("a.log", lines(100, 1))
    await settle(w)
    assert [*range(first + 4), 100] == sorted(numbers(w.read))


@pytest.mark.parametrize("packed", [None, *CODECS])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("gap", [1, 3])
async def test_a_line_of_that_time_that_is_held_back_comes_out_and_keeps_no_copy_waiting(world, packed, restart, gap):
    w = await world()
    w.append("a.log", lines(0, 60))
    await w.step(hold=None)
    copy(w, "a.log", f"a.log.1.{packed}" if packed else "a.log.1", packed)
    twin = w.path(f"a.log.1.{packed}" if packed else "a.log.1").rename(w.directory.parent / f"{w.directory.name}.twin")
    w.append("a.log", lines(60, gap))
    await w.step(hold=len(lines(59, gap + 1)))
    if restart:
        await w.start()
    os.truncate(w.path("a.log"), 0)
    twin.rename(w.path(f"a.log.1.{packed}" if packed else "a.log.1"))
    w.append("a.log", lines(100, 1))
    await settle(w)
    assert [*range(60 + gap), 100] == sorted(numbers(w.read))
    assert 0 == w.progress().unread_bytes


@pytest.mark.parametrize("include", ["*.log*", "*.log"])
async def test_a_shorter_file_of_the_log_that_has_only_its_banner_in_common_is_no_such_copy(world, include):
    banner = b"%b\n" % (b"=" * 300)
    w = await world(include=[f"{world.directory}/{include}"])
    w.append("a.log", banner)
    await w.step()
    w.append("a.log", lines(0, 5))
    await settle(w)
    w.path("a.log.1").write_bytes(banner + lines(100, 2))
    w.path("a.log").write_bytes(banner + lines(200, 1))
    await settle(w)
    assert [*range(5), 100, 101, 200] == sorted(numbers(x for x in w.read if x[0] != ord("=")))


async def test_a_copy_of_what_a_log_held_after_a_truncation_waits_for_no_copy_of_what_it_held_before(world):
    """A descriptor that is open still shows the second content when the log goes on in the copy of the first."""
    banner = b"%b\n" % (b"=" * 1100)
    w = await world()
    w.append("a.log", banner + lines(0))
    await w.step()
    copy(w, "a.log", "a.log.1")
    w.path("a.log").write_bytes(banner + lines(100, 60))
    copy(w, "a.log", "a.log.2")
    w.path("a.log").unlink()
    await settle(w)
    assert [*range(40), *range(100, 160)] == sorted(numbers(x for x in w.read if x[0] != ord("=")))


async def test_an_older_copy_that_is_gone_has_no_say_in_what_a_newer_one_holds(world):
    w = await world()
    w.append("a.log", lines(0))
    copy(w, "a.log", "a.log.1")
    await settle(w)
    w.path("a.log.1").unlink()
    w.append("a.log", lines(40, 3))
    copy(w, "a.log", "a.log.2")
    await settle(w)
    assert [*range(43)] == sorted(numbers(w.read))


async def test_once_does_not_wait_for_a_copy_that_is_gone(world, monkeypatch):
    w = await world(once=True)
    w.append("a.log", lines(0))
    copy(w, "a.log", "a.log.1")
    with monkeypatch.context() as patch:
        patch.setattr(turns, "MAX_BLOCK_BYTES", 0)
        await w.step()
    w.path("a.log.1").unlink()
    await settle(w)
    assert [*range(40)] == numbers(w.read)
    assert w.progress().exhausted


async def test_nothing_is_kept_of_copies_that_waited_and_are_gone(world):
    w = await world()
    w.append("a.log", lines(0))
    await settle(w)
    for at in range(20):
        copy(w, "a.log", f"a.log.{at + 1}")
    await w.step()
    assert 20 == len(w.source._scanner.copies)
    for at in range(20):
        w.path(f"a.log.{at + 1}").unlink()
    await settle(w)
    assert 0 == len(w.source._scanner.copies)
