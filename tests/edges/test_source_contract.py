"""The port `Source`, on real files: what is read, once and only once, whatever becomes of the files."""

# ruff: noqa: PTH116, PTH119 - paths are bytes, which pathlib does not take

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from enricher.edges.source_files import tracking as tracking_module
from enricher.edges.source_files import turns
from tests.edges.following import World, lines, numbers

KIB = 1024


# ---------------------------------------------------------------- reading


async def test_appended_lines_are_read_once(world):
    w = await world()
    w.append("a.log", b"one\n")
    assert await w.step() == [b"one"]
    assert await w.step() == []
    w.append("a.log", b"two\nthree\n")
    assert await w.step() == [b"two", b"three"]


async def test_what_was_read_and_not_committed_is_read_again(world):
    w = await world()
    w.append("a.log", b"one\ntwo\n")
    first = await w.step(commit=False)
    again = await w.step(commit=False)
    assert [chunk.data for chunk in first] == [chunk.data for chunk in again] == [b"one\ntwo\n"]
    assert await w.step() == [b"one", b"two"]


async def test_held_bytes_come_back_before_the_new_ones(world):
    w = await world()
    w.append("a.log", b"one\ntwo\n")
    assert await w.step(hold=4) == [b"one"]
    w.append("a.log", b"three\n")
    assert await w.step() == [b"two", b"three"]
    assert w.chunks[-1].file.position == 4


async def test_held_bytes_outlive_a_restart_and_the_file(world):
    w = await world()
    w.append("a.log", b"one\ntwo\nhalf")
    await w.step(hold=4)
    w.path("a.log").unlink()
    await w.start()
    assert await w.step() == [b"two", b"half"]
    assert await w.step() == []


async def test_held_lines_are_final_after_five_seconds_of_quiet(world):
    w = await world()
    w.append("a.log", b"one\n")
    os.utime(w.path("a.log"), (w.now, w.now))
    assert await w.step(hold=4) == []
    assert await w.step(4.0, hold=4) == []
    assert await w.step(2.0, hold=4) == [b"one"]
    assert w.chunks[-1].final


async def test_unended_line_waits_until_it_is_ended(world):
    w = await world()
    w.append("a.log", b"one\ntw")
    assert await w.step() == [b"one"]
    assert await w.step(100.0) == []
    assert w.progress().read_through == w.now
    w.append("a.log", b"o\n")
    assert await w.step() == [b"two"]


async def test_small_reads_wait_in_their_file_for_some_seconds(world):
    w = await world()
    w.append("a.log", b"one\n")
    assert await w.step(flush=False) == []
    assert await w.step(1.5, flush=False) == []
    assert await w.step(0.5, flush=False) == [b"one"]
    w.append("a.log", b"x" * 300 * KIB + b"\n")
    w.append("a.log", b"y\n")
    assert len(await w.step(flush=False)) == 1


async def test_busy_file_does_not_starve_the_others(world, monkeypatch):
    monkeypatch.setattr(turns, "MAX_BLOCK_BYTES", 1024 * KIB)
    w = await world()
    for name in "abcdefgh":
        w.append(f"slow-{name}.log", name.encode() * 20 + b"\n")
    for _ in range(3):
        w.append("busy.log", b"x" * 99 * KIB + b"\n" + b"y" * 3000 * KIB + b"\n")
    first = await w.step()
    assert {line[:1] for line in first if len(line) == 20} == set(map(bytes, zip(b"abcdefgh")))
    await w.step()
    w.append("slow-a.log", b"late\n")
    assert b"late" in await w.step()


async def test_block_is_bounded_and_shared_fairly(world):
    w = await world()
    for name in "abc":
        w.append(f"{name}.log", b"%b\n" % (name.encode() * 1000) * 4000)
    await w.step()
    sizes = {os.path.basename(chunk.file.path): len(chunk.data) for chunk in w.chunks}
    assert set(sizes) == {b"a.log", b"b.log", b"c.log"}
    assert sum(sizes.values()) <= 4 * KIB * KIB
    assert max(sizes.values()) - min(sizes.values()) < 600 * KIB


async def test_more_files_than_a_block_has_room_for_take_turns(world):
    w = await world()
    for at in range(40):
        w.append(f"{at}.log", b"x" * 100 * KIB + b"\n" + b"y" * 200 * KIB + b"\n")
    read = 0
    for _ in range(6):
        read += len(await w.step())
    assert read == 80


async def test_line_of_three_megabytes_is_cut_and_counted(world):
    w = await world(max_line_bytes=10 * KIB)
    w.append("a.log", b"before\n" + b"x" * 3_000_000 + b"\nafter\n")
    read = await w.step() + await w.step()
    assert read == [b"before", b"x" * 10 * KIB, b"after"]
    assert w.chunks[0].lost_bytes == 3_000_000 - 10 * KIB
    assert sum(chunk.length for chunk in w.chunks) == w.path("a.log").stat().st_size


async def test_identity_is_that_of_the_first_line_wherever_reading_begins(world, tmp_path):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    from_start = next(iter(w.rows.values())).identity
    other = await World(tmp_path, start="end").start()
    await other.step()
    other.append("a.log", b"40 new\n")
    assert await other.step() == [b"40 new"]
    assert {row.identity for row in other.rows.values()} == {from_start}
    await other.source.close()


# ---------------------------------------------------------------- where to start


async def test_start_end_skips_what_is_there_at_the_first_run_only(world):
    w = await world(start="end")
    w.append("a.log", b"old\nha")
    w.append("b.log.1.gz", gzip.compress(b"old\n"))
    assert await w.step() == []
    w.append("a.log", b"lf\n")
    w.append("new.log", b"new\n")
    assert sorted(await w.step()) == [b"half", b"new"]
    await w.start()
    w.append("c.log", b"see\n")
    assert await w.step() == [b"see"]


async def test_start_since_skips_files_that_did_not_change_since(world):
    w = await world(start="since:24h")
    w.append("old.log", b"old\n")
    w.append("new.log", b"new\n")
    os.utime(w.path("old.log"), (w.now - 90_000, w.now - 90_000))
    os.utime(w.path("new.log"), (w.now - 80_000, w.now - 80_000))
    assert await w.step() == [b"new"]


async def test_unknown_start_is_refused(tmp_path):
    world = World(tmp_path, start="yesterday")
    with pytest.raises(ValueError, match="since"):
        await world.start()


# ---------------------------------------------------------------- rotation


async def test_renamed_file_is_drained_under_its_new_name(world):
    w = await world()
    w.append("a.log", b"one\n")
    await w.step()
    w.path("a.log").rename(w.path("a.log.1"))
    w.append("a.log.1", b"two\n")
    w.append("a.log", b"three\n")
    assert sorted(await w.step()) == [b"three", b"two"]
    identities = {row.path: row.identity for row in w.rows.values()}
    assert len(set(identities.values())) == 2
    assert os.fsencode(w.path("a.log.1")) in identities


async def test_renamed_file_is_followed_to_a_name_that_no_pattern_matches(world):
    w = await world()
    w.options["include"] = [f"{w.directory}/*.log"]
    await w.start()
    w.append("a.log", b"one\n")
    await w.step()
    w.path("a.log").rename(w.path("old-a"))
    w.append("old-a", b"two\nlast")
    assert await w.step() == [b"two"]
    assert await w.step(6.0) == [b"last"]
    await w.step(61.0)
    await w.step()
    assert [row.gone_at is not None for row in w.rows.values()] == [True]
    assert w.progress().files == 0


async def test_rename_while_stopped_is_recognised(world):
    w = await world()
    w.append("a.log", b"one\n")
    await w.step()
    w.path("a.log").rename(w.path("a.log.1"))
    w.append("a.log.1", b"two\n")
    w.append("a.log", b"three\n")
    await w.start()
    assert sorted(await w.step()) == [b"three", b"two"]


async def test_deleted_file_is_read_to_its_end(world):
    w = await world()
    w.append("a.log", b"one\n")
    await w.step()
    with w.path("a.log").open("ab") as writer:
        w.path("a.log").unlink()
        writer.write(b"two\nthr")
        writer.flush()
        assert await w.step() == [b"two"]
        writer.write(b"ee")
    assert await w.step() == []
    assert w.progress().deleted_bytes == len(b"one\ntwo\nthree")
    assert await w.step(6.0) == [b"three"]
    await w.step(6.0)
    await w.step()
    assert w.progress().deleted_bytes == 0
    assert [row.gone_at is not None for row in w.rows.values()] == [True]
    assert len(w.source._descriptors) == 0


async def test_copytruncate_drains_the_copy_and_begins_again(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    w.append("a.log", lines(40, 3))
    shutil.copy(w.path("a.log"), w.path("a.log.1"))
    w.path("a.log").write_bytes(b"100 new\n")
    await w.step()
    await w.step()
    assert sorted(numbers(w.read)) == [*range(43), 100]
    generations = {(row.identity, row.generation) for row in w.rows.values()}
    assert len(generations) == 2


async def test_copy_outside_the_patterns_is_drained_too(world):
    w = await world()
    w.options["include"] = [f"{w.directory}/*.log"]
    await w.start()
    w.append("a.log", lines(0))
    await w.step()
    w.append("a.log", lines(40, 3))
    (w.directory / "a.log.1.gz").write_bytes(gzip.compress(w.path("a.log").read_bytes()))
    w.path("a.log").write_bytes(b"")
    await w.step()
    assert numbers(w.read) == [*range(43)]


async def test_compressed_twin_of_a_read_file_is_not_read_again(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    data = w.path("a.log").read_bytes() + lines(40, 2)
    w.path("a.log").unlink()
    w.path("a.log.1.gz").write_bytes(gzip.compress(data))
    w.source._descriptors.close_all()
    await w.step()
    await w.step()
    assert numbers(w.read) == [*range(42)]
    assert len(w.rows) == 1


async def test_truncated_file_is_a_new_generation_from_its_start(world):
    w = await world()
    w.append("a.log", b"same\nold\n")
    await w.step()
    w.path("a.log").write_bytes(b"same\n")
    assert await w.step() == [b"same"]
    assert [0, 1] == sorted(row.generation for row in w.rows.values())
    assert len({row.identity for row in w.rows.values()}) == 2


async def test_rewrite_that_outgrows_the_old_position_is_noticed(world):
    w = await world()
    w.append("a.log", b"same head\n" * 10)
    await w.step()
    w.path("a.log").write_bytes(b"same head\n" * 8 + b"other tail\n" * 10)
    assert len(await w.step()) == 18


async def test_hole_left_by_a_truncation_is_skipped_and_counted(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    size = w.path("a.log").stat().st_size
    os.truncate(w.path("a.log"), 0)
    with w.path("a.log").open("r+b") as writer:
        writer.seek(size)
        writer.write(b"99 after\n")
    await w.step()
    await w.step()
    assert numbers(w.read) == [*range(40), 99]
    assert sum(chunk.lost_bytes for chunk in w.chunks) == size


async def test_bytes_known_to_be_lost_are_counted(world):
    w = await world()
    w.append("a.log", b"one\n")
    await w.step()
    w.append("a.log", b"never read\n")
    await w.source.scan(w.now)
    w.path("a.log").write_bytes(b"")
    await w.step()
    assert sum(chunk.lost_bytes for chunk in w.chunks) == len(b"never read\n")


async def test_two_live_files_with_the_same_content_are_both_read(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    w.append("b.log", lines(0))
    assert len(await w.step()) == 40
    w.append("c.log", lines(0))
    w.append("d.log", lines(0))
    assert len(await w.step()) == 80


async def test_inode_number_used_again_is_a_new_file(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    w.path("a.log").unlink()
    w.source._descriptors.close_all()
    w.append("b.log", lines(100))
    await w.step()
    assert numbers(w.read) == [*range(40), *range(100, 140)]


async def test_vanished_directory_that_comes_back_is_not_read_again(world):
    w = await world()
    w.append("sub/a.log", lines(0))
    await w.step()
    w.path("sub").rename(w.directory.parent / "away")
    w.source._descriptors.close_all()
    await w.step()
    await w.start()
    await w.step()
    assert [row.gone_at is not None for row in w.rows.values()] == [True]
    (w.directory.parent / "away").rename(w.path("sub"))
    w.append("sub/a.log", lines(40, 1))
    await w.step()
    assert numbers(w.read) == [*range(41)]


async def test_descriptors_are_bounded(world):
    w = await world(max_descriptors=3)
    for at in range(10):
        w.append(f"{at}.log", b"one\n")
    await w.step()
    for at in range(10):
        w.append(f"{at}.log", b"two\n")
    assert len(await w.step()) == 10
    assert len(w.source._descriptors) <= 3


# ---------------------------------------------------------------- compressed files


# ---------------------------------------------------------------- events that go on in the next file


def odd_lines(file, held, following, *, whole):
    """A rule by which lines with an odd number continue the event before them."""
    taken = 0
    for line in following.splitlines(keepends=True):
        if int(line.split()[0]) % 2 == 0:
            return taken
        taken += len(line)
    return taken if whole else None


async def joining(world, **changes):
    w = await world(**changes)
    w.joined = odd_lines
    return await w.start()


def touched(w, *names):
    for name in names:
        os.utime(w.path(name), (w.now, w.now))


async def test_first_lines_of_the_new_file_end_the_event_of_the_old_one(world):
    w = await joining(world)
    w.append("a.log", b"0 zero\n2 two\n")
    await w.step(hold=6)
    w.path("a.log").rename(w.path("a.log.1"))
    w.append("a.log", b"3 three\n5 five\n6 six\n")
    touched(w, "a.log", "a.log.1")
    assert [] == await w.step()
    assert [b"2 two", b"3 three", b"5 five"] == await w.step(6.0)
    new, old = w.chunks[-2:]
    assert (b"2 two\n3 three\n5 five\n", len(b"2 two\n"), 7) == (old.data, old.length, old.file.position)
    (tail,) = old.tails
    assert (os.fsencode(w.path("a.log")), 0, 15, 2) == (tail.path, tail.offset, tail.size_bytes, tail.lines)
    assert (b"", 15) == (new.data, new.length)
    assert [b"6 six"] == await w.step()
    assert {13, 21} == {row.position for row in w.rows.values()}


async def test_after_hours_in_which_nothing_was_read_little_is_held_and_all_is_read_once(world):
    """Each file's event may go on in all those after it: held at once, that grows with the square of their number."""
    w = await world()
    w.joined = odd_lines
    files, each = 120, 100
    for number in range(files, 0, -1):
        lines = (b"%d %s\n" % (2 * (number * each + line), b"x" * 990) for line in range(each))
        w.append(f"a.log.{number}", b"".join(lines))
        os.utime(w.path(f"a.log.{number}"), (w.now - number, w.now - number))
    await w.start()
    tracemalloc.start()
    try:
        await w.step()
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    for _ in range(200):
        if len(w.read) >= files * each:
            break
        await w.step(1.0)
    assert files * each == len(w.read) == len(set(w.read))


async def test_positions_of_both_files_move_together_or_not_at_all(world):
    w = await joining(world)
    w.append("a.log", b"2 two\n")
    await w.step(hold=6)
    w.path("a.log").rename(w.path("a.log.1"))
    w.append("a.log", b"3 three\n6 six\n")
    touched(w, "a.log", "a.log.1")
    await w.step()
    first = await w.step(6.0, commit=False)
    again = await w.step(commit=False)
    assert [chunk.data for chunk in first] == [chunk.data for chunk in again] == [b"", b"2 two\n3 three\n"]
    await w.start()
    assert [] == await w.step()
    assert [b"2 two", b"3 three"] == await w.step(6.0)
    assert [b"6 six"] == await w.step()


async def test_a_file_that_waits_is_found_again_under_another_name_after_a_restart(world):
    w = await joining(world, include=[f"{world.directory}/*.log"])
    w.append("a.log", b"2 two\n")
    await w.step(hold=6)
    w.path("a.log").rename(w.path("a.log.1"))
    w.append("a.log", b"3 three\n6 six\n")
    touched(w, "a.log", "a.log.1")
    await w.step()
    w.path("a.log.1").rename(w.path("a.log.2"))
    w.path("a.log").rename(w.path("a.log.1"))
    await w.start()
    for _ in range(3):
        await w.step(6.0)
    assert [b"2 two", b"3 three", b"6 six"] == w.read


async def test_a_copy_is_known_of_a_file_of_which_nothing_was_read(world):
    w = await joining(world, include=[f"{world.directory}/*.log"])
    w.append("a.log", b"2 two\n")
    await w.step(hold=6)
    w.path("a.log").rename(w.path("a.log.2"))
    w.append("a.log", b"3 three\n")
    touched(w, "a.log", "a.log.2")
    await w.step()
    shutil.copy2(w.path("a.log"), w.path("a.log.1"))
    w.path("a.log").write_bytes(b"5 five\n6 six\n")
    w.now += 1.0
    touched(w, "a.log")
    for _ in range(4):
        await w.step(6.0)
    assert [b"2 two", b"3 three", b"5 five", b"6 six"] == w.read


async def test_a_new_file_waits_for_none_that_cannot_be_read(world, monkeypatch):
    w = await joining(world)
    w.append("a.log", b"2 two\n")
    await w.step(hold=6)
    w.path("a.log").rename(w.path("a.log.1"))
    w.append("a.log", b"3 three\n")
    touched(w, "a.log", "a.log.1")
    await w.step()
    old = next(file for file in w.source._known if file.path.endswith(b".1"))
    old.degraded_since = w.now
    monkeypatch.setattr(w.source._scanner, "scan", lambda now: None)
    assert [b"3 three"] == await w.step()


async def test_compressed_file_is_read_to_its_end_once(world):
    w = await world()
    w.append("a.log.1.gz", gzip.compress(b"one\ntwo"))
    assert await w.step() == [b"one"]
    assert await w.step(6.0) == [b"two"]
    assert await w.step() == []
    await w.start()
    assert await w.step() == []
    assert w.progress().files == 1


async def test_compressed_file_goes_on_in_the_decompressed_stream_after_a_restart(world, monkeypatch):
    monkeypatch.setattr(turns, "MAX_BLOCK_BYTES", 300 * KIB)
    w = await world()
    w.append("a.log.1.gz", gzip.compress(lines(0, 30_000)))
    await w.step(10.0)
    assert 0 < len(w.read) < 30_000
    for _ in range(6):
        await w.start()
        await w.step()
    await w.step(6.0)
    assert numbers(w.read) == [*range(30_000)]
    assert w.progress().unread_bytes == 0


async def test_compressed_file_that_is_still_written_is_waited_for(world):
    w = await world()
    whole = gzip.compress(lines(0, 5000))
    w.append("a.log.1.gz", whole[:5000])
    os.utime(w.path("a.log.1.gz"), (w.now, w.now))
    await w.step(1.0)
    w.append("a.log.1.gz", whole[5000:])
    await w.step(1.0)
    await w.step(100.0)
    assert numbers(w.read) == [*range(5000)]


async def test_damaged_compression_gives_what_was_before_and_says_so(world):
    w = await world()
    whole = bytearray(gzip.compress(lines(0, 50_000)))
    whole[len(whole) // 2 : len(whole) // 2 + 1000] = b"\xff" * 1000
    w.append("a.log.1.gz", bytes(whole))
    for _ in range(4):
        await w.step(10.0)
    assert 1000 < len(w.read) < 50_000
    assert w.reasons() == {"a.log.1.gz": "unreadable"}


async def test_unknown_compression_is_skipped(world):
    w = await world()
    w.append("a.log.zip", b"PK\x03\x04rest of it")
    await w.step()
    assert w.reasons() == {"a.log.zip": "compressed_unknown"}


# ---------------------------------------------------------------- bad input


async def test_missing_directory_is_named_and_read_once_it_is_there(world):
    w = await world()
    w.options["include"] = [f"{w.directory}/later/*.log"]
    await w.start()
    await w.step()
    await w.step()
    assert [(one.reason, one.path) for one in w.skipped] == [("vanished", os.fsencode(w.path("later")))]
    assert w.skipped[0].hint
    w.append("later/a.log", b"one\n")
    assert await w.step() == [b"one"]


async def test_unreadable_file_is_named_once_and_read_when_it_can_be(world, monkeypatch):
    w = await world()
    w.append("a.log", b"one\n")
    w.append("b.log", b"two\n")
    closed = os.fsencode(w.path("a.log"))
    real = os.open

    def refuse(path, *arguments, **options):
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert await w.step() == [b"two"]
        await w.step()
        assert [(one.reason, one.detail) for one in w.skipped] == [("unreadable", "permission denied")]
        assert w.progress().degraded == 1
        assert w.progress().left_out == (closed,)
        assert w.progress().read_through == w.now
    assert await w.step() == [b"one"]
    assert w.progress().degraded == 0


async def test_file_that_becomes_unreadable_holds_windows_for_a_quarter_of_an_hour(world, monkeypatch):
    w = await world()
    w.append("a.log", b"one\n")
    await w.step()
    through = w.now
    w.append("a.log", b"two\n")

    def refuse(*_arguments):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse)
        await w.step(10.0)
        await w.step(800.0)
        assert w.progress().read_through == through
        assert w.progress().degraded == 1
        await w.step(200.0)
        assert w.progress().read_through == w.now
        assert w.progress().left_out == (os.fsencode(w.path("a.log")),)
    assert await w.step() == [b"two"]
    assert w.progress().left_out == ()


async def test_unreadable_directory_gives_up_no_file(world, monkeypatch):
    w = await world()
    w.append("sub/a.log", lines(0))
    await w.step()

    def refusing(real):
        def refuse(path, *rest, **named):
            if not isinstance(path, int) and os.fsencode(path).endswith(b"sub"):
                raise PermissionError(13, "Permission denied")
            return real(path, *rest, **named)

        return refuse

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing(os.open))
        patch.setattr(os, "scandir", refusing(os.scandir))
        await w.step()
        assert w.progress().degraded == 2
    w.append("sub/a.log", lines(40, 1))
    await w.step()
    assert numbers(w.read) == [*range(41)]


async def test_binary_and_utf16_files_are_skipped_once_with_a_hint(world):
    w = await world()
    w.append("wtmp.log", b"\x02\x00\x00\x00abc\x00" * 100)
    w.append("wide.log", "text\n".encode("utf-16"))
    w.append("nuls.log", bytes(5000))
    assert await w.step() == []
    await w.step()
    assert w.reasons() == {"wtmp.log": "binary", "wide.log": "binary", "nuls.log": "binary"}
    assert len(w.skipped) == 3
    assert "UTF-16" in next(one.detail for one in w.skipped if one.path.endswith(b"wide.log"))
    assert all(one.hint for one in w.skipped)


async def test_odd_bytes_in_text_are_kept(world):
    w = await world()
    text = b"start\ninvalid \xff\xfe utf-8\n" + b"ok " * 400 + b"\nnul \x00 inside\n"
    w.append("a.log", text)
    assert await w.step() == text.split(b"\n")[:-1]


async def test_byte_order_mark_is_not_part_of_the_first_line(world):
    w = await world()
    w.append("a.log", b"\xef\xbb\xbfone\ntwo\n")
    assert await w.step() == [b"one", b"two"]
    assert w.chunks[0].file.position == 3


async def test_empty_and_vanishing_files_are_no_news(world, monkeypatch):
    w = await world()
    w.append("empty.log", b"")
    w.append("gone.log", b"one\n")
    real = os.open

    def vanish(path, *arguments, **options):
        if path == os.fsencode(w.path("gone.log")):
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", vanish)
    assert await w.step() == []
    assert w.reasons() == {"gone.log": "vanished"}
    assert w.progress().degraded == 0


async def test_directory_named_like_a_log_is_skipped(world):
    w = await world()
    w.path("x.log").mkdir()
    w.append("x.log/y.log", b"in it\n")
    assert await w.step() == [b"in it"]
    assert w.reasons() == {"x.log": "directory"}


# ---------------------------------------------------------------- once


async def test_once_reads_to_the_last_byte_and_is_exhausted(world):
    w = await world(once=True)
    w.append("a.log", b"one\ntwo")
    w.append("b.log.1.gz", gzip.compress(b"three"))
    w.append("c.log", b"")
    assert not w.progress().exhausted
    while not w.progress().exhausted:
        await w.step()
    assert sorted(w.read) == [b"one", b"three", b"two"]
    assert all(chunk.final for chunk in w.chunks if chunk.data)
    assert w.chunks[0].fallback == pytest.approx(w.path("a.log").stat().st_mtime)
    await w.start()
    while not w.progress().exhausted:
        assert await w.step() == []


async def test_once_ends_though_a_file_keeps_growing(world):
    w = await world(once=True)
    w.append("a.log", b"one\n")
    for _ in range(5):
        await w.step()
        w.append("a.log", b"more\n")
        if w.progress().exhausted:
            break
    assert w.progress().exhausted
    assert w.read == [b"one"]
    await w.start()
    await w.step()
    assert set(w.read[1:]) == {b"more"}


async def test_once_does_not_wait_for_what_it_cannot_read(world, monkeypatch):
    w = await world(once=True)
    w.append("a.log", b"one\n")

    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    await w.step()
    assert w.progress().exhausted
    assert w.progress().degraded == 1


# ---------------------------------------------------------------- how far


async def test_read_through_is_the_last_time_at_which_all_was_read(world, monkeypatch):
    monkeypatch.setattr(turns, "MAX_BLOCK_BYTES", 256 * KIB)
    w = await world()
    assert w.progress().read_through is None
    w.append("a.log", b"%b\n" % (b"x" * 100) * 10_000)
    await w.step()
    assert w.progress().read_through is None
    begun = w.now
    assert w.progress().oldest_unread_at == begun
    w.append("a.log", b"one\n")
    while w.progress().unread_bytes:
        await w.step(1.0)
    assert w.progress().read_through == w.now
    assert w.progress().oldest_unread_at is None


async def test_goals_are_thinned_not_lost(monkeypatch):
    monkeypatch.setattr(tracking_module, "_MAX_GOALS", 4)
    row = tracking_module.new_row("s", b"/a", os.stat("/"), "", "plain")
    file = tracking_module.Tracked(row=row, path=b"/a", present=True)
    for at in range(20):
        file.size = at + 1
        file.aim(float(at), before=None)
    assert len(file.goals) <= 5
    file.row = replace(row, position=20)
    file.reached(None)
    assert file.through == 19.0


# ---------------------------------------------------------------- anything that may happen


class Rotations(RuleBasedStateMachine):
    """Files are written, rotated and read in any order, with restarts in between; every line is read once.

    Loss is possible by design only where unread lines were truncated away; the machine reads before it truncates.
    """

    def __init__(self) -> None:
        super().__init__()
        import asyncio
        import tempfile

        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.w = World(Path(self.directory.name))
        self.loop.run_until_complete(self.w.start())
        self.written = 0
        self.rotated = 0
        self.unended = False

    def teardown(self):
        try:
            if self.unended:
                self.w.append("a.log", b"\n")
            for _ in range(3):
                self.loop.run_until_complete(self.w.step(10.0))
            assert sorted(numbers(self.w.read)) == list(range(self.written))
        finally:
            self.loop.run_until_complete(self.w.source.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self.directory.cleanup()

    def line(self) -> bytes:
        self.written += 1
        return b"%06d %b" % (self.written - 1, b"x" * 300)

    @rule(count=st.integers(1, 5), ended=st.booleans())
    def append(self, count, ended):
        data = b"\n".join(self.line() for _ in range(count))
        self.w.append("a.log", (b"\n" if self.unended else b"") + data + (b"\n" if ended else b""))
        self.unended = not ended

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0]), hold=st.sampled_from([0, 308]))
    def step(self, seconds, hold):
        self.loop.run_until_complete(self.w.step(seconds, hold=hold))

    @rule()
    def restart(self):
        self.loop.run_until_complete(self.w.start())

    @rule(compress=st.booleans())
    def rotate(self, compress):
        if not self.w.path("a.log").exists():
            return
        if self.unended:
            self.w.append("a.log", b"\n")
            self.unended = False
        self.rotated += 1
        self.w.path("a.log").rename(self.w.path(f"a.log.{self.rotated}"))
        if compress:
            self.loop.run_until_complete(self.w.step(1.0))
            path = self.w.path(f"a.log.{self.rotated}")
            self.w.path(f"a.log.{self.rotated}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()

    @rule()
    def copytruncate(self):
        if not self.w.path("a.log").exists() or self.unended:
            return
        self.loop.run_until_complete(self.w.step(1.0))
        self.rotated += 1
        shutil.copy(self.w.path("a.log"), self.w.path(f"a.log.{self.rotated}"))
        os.truncate(self.w.path("a.log"), 0)
        self.loop.run_until_complete(self.w.step(1.0))

    @invariant()
    def nothing_is_read_twice(self):
        read = numbers(self.w.read)
        assert len(read) == len(set(read))


CONTENTS = st.lists(st.lists(st.sampled_from([1, 3, 5, 2, 4, 6, 7000, 7001]), max_size=5), min_size=2, max_size=4)


@given(
    contents=CONTENTS, ends=st.lists(st.booleans(), min_size=4, max_size=4), compress=st.booleans(), once=st.booleans()
)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_rotated_files_of_any_content_are_read_to_their_end(contents, ends, compress, once):
    # Numbers from 7000 on make lines that are too long; an odd number continues an event.
    async def read(directory):
        w = World(Path(directory), once=once, max_line_bytes=2000, exclude=[])
        w.joined = odd_lines
        expected = []
        for age, (numbers_in, newline) in enumerate(zip(contents, ends, strict=False)):
            name = f"a.log.{age}" if age else "a.log"
            ended = newline or (age > 0 and not (once or compress))
            data = b"\n".join(b"%d %d %b" % (one, age, b"x" * one) for one in numbers_in) + (b"\n" if ended else b"")
            if not data.strip():
                continue
            old = age and compress
            w.path(name + ".gz" if old else name).write_bytes(gzip.compress(data) if old else data)
            os.utime(w.path(name + ".gz" if old else name), (w.now - age - 60, w.now - age - 60))
            # Of a live file an unended line waits for its end.
            expected += numbers_in if ended or once or old else numbers_in[:-1]
        await w.start()
        for _ in range(25):
            await w.step(6.0, hold=None)
        assert once <= w.progress().exhausted
        assert 0 == w.progress().unread_bytes
        await w.source.close()
        return expected, numbers([line for line in w.read if line])

    with tempfile.TemporaryDirectory() as directory:
        expected, found = asyncio.run(read(directory))
    assert sorted(expected) == sorted(found)


class JoinedRotations(Rotations):
    """The same where every other line continues an event, if it comes first in a file."""

    def __init__(self) -> None:
        super().__init__()
        self.w.joined = odd_lines
        self.loop.run_until_complete(self.w.start())


TestRotations = Rotations.TestCase
TestJoinedRotations = JoinedRotations.TestCase
for case in (TestRotations, TestJoinedRotations):
    case.settings = settings(max_examples=12, stateful_step_count=12, derandomize=True, deadline=None)
