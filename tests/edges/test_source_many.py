"""Many files: what an idle look costs, where a look goes, how many descriptors are open, and whose turn it is.

Nothing here is timed: what is counted are calls to the system, sweeps, and bytes.
"""

# ruff: noqa: PTH119, PTH208 - paths are bytes, which pathlib does not take; descriptors are as the kernel lists them

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from enricher.edges.source_files import beside, looking, scanning, strangers, turns
from enricher.edges.source_files import discovery as discovery_module
from enricher.edges.source_files import tracking as tracking_module
from enricher.edges.source_files.discovery import Discovery
from enricher.edges.source_files.notices import Notices
from enricher.edges.source_files.watching import Hints, Watcher
from tests.edges.following import lines, numbers

KIB = 1024
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
QUEUED_EVENTS = int(QUEUE.read_text()) if QUEUE.exists() else 0


@pytest.fixture(autouse=True)
def sweeps_are_dear(monkeypatch):
    """A sweep each minute, glances in between."""
    monkeypatch.setattr(looking, "FREE_SECONDS", -1.0)
    monkeypatch.setattr(looking, "_SWEEP_SHARE", 1e9)
    monkeypatch.setattr(looking, "_URGENT_SHARE", 1e9)
    monkeypatch.setattr(looking, "_POLL_SHARE", 0.0)


@pytest.fixture
def calls(monkeypatch):
    """Counts of the source's calls that look at the file system, by name and by path: its paths are bytes."""
    counted = Counter()
    for name in ("stat", "open", "scandir"):
        real = getattr(os, name)

        def count(path, *rest, _name=name, _real=real, **named):
            if not isinstance(path, str):
                counted[_name] += 1
                counted[_name, os.path.basename(path) if isinstance(path, bytes) else path] += 1
            return _real(path, *rest, **named)

        monkeypatch.setattr(os, name, count)
    return counted


async def settled(world, files, **changes):
    """A source that has read so many files and is done with them."""
    w = await world(**changes)
    for at in range(files):
        w.append(f"d{at % 3}/f{at}.log", b"%d first\n" % at)
    while await w.step(1.0):
        pass
    await w.step(10.0)
    w.read.clear()
    return w


async def test_an_idle_look_makes_no_call_however_many_files_there_are(world, calls):
    w = await settled(world, 300)
    calls.clear()
    for _ in range(20):
        assert await w.step(1.0) == []
    assert calls == {}
    assert w.progress().files == 300


async def test_a_line_in_one_file_costs_a_look_at_that_file_alone(world, calls):
    w = await settled(world, 300)
    w.append("d1/f7.log", b"more\n")
    calls.clear()
    assert await w.step(1.0) == [b"more"]
    assert calls["stat"] == calls["stat", b"f7.log"] == 1
    assert calls["scandir"] == 0


async def test_a_new_file_costs_a_listing_of_its_directory_alone(world, calls):
    w = await settled(world, 30)
    w.append("d1/new.log", b"new\n")
    w.append("d1/other.txt", b"not ours\n")
    calls.clear()
    assert await w.step(1.0) == [b"new"]
    assert calls["scandir"] == 1
    w.append("d1/other.txt", b"not ours\n")
    calls.clear()
    assert await w.step(1.0) == []
    assert calls == {}


async def test_directories_that_come_and_go_are_seen_without_a_sweep(world):
    w = await settled(world, 3)
    swept = w.progress().read_through
    w.append("d1/deep/er/new.log", b"new\n")
    assert await w.step(1.0) == [b"new"]
    w.append("d1/deep/er/new.log", b"more\n")
    assert await w.step(1.0) == [b"more"]
    for path in (w.path("d1/deep/er/new.log"), w.path("d2/f2.log")):
        path.unlink()
    for directory in ("d1/deep/er", "d1/deep", "d2"):
        w.path(directory).rmdir()
    for _ in range(3):
        await w.step(10.0)
    assert w.progress().files == 2
    assert w.progress().read_through == swept


async def test_a_rotation_is_followed_without_a_sweep(world):
    w = await settled(world, 3)
    w.append("d0/f0.log", b"last of the old\n")
    w.path("d0/f0.log").rename(w.path("d0/f0.log.1"))
    w.append("d0/f0.log", b"first of the new\n")
    w.path("d1/f1.log").rename(w.path("d2/away.log"))
    w.append("d2/away.log", b"after the move\n")
    assert {b"last of the old", b"first of the new", b"after the move"} == set(await w.step(1.0))
    assert await w.step(10.0) == []
    assert w.progress().files == 4


@pytest.mark.skipif(not 0 < QUEUED_EVENTS <= 100_000, reason="the kernel's queue is too long to be filled here")
async def test_all_is_looked_at_after_an_overflow_of_the_kernels_queue(world):
    w = await settled(world, 3)
    with w.path("d0/f0.log").open("ab", buffering=0) as one, w.path("d1/f1.log").open("ab", buffering=0) as other:
        for _ in range(QUEUED_EVENTS // 2 + 1):
            one.write(b"\n")
            other.write(b"\n")
    w.append("d2/f2.log", b"nobody told of it\n")
    w.append("d2/new.log", b"nor of this\n")
    lines = await w.step(61.0)
    assert {b"nobody told of it", b"nor of this"} <= set(lines)
    assert w.telemetry.registry.get_sample_value("enricher_source_watch_overflows_total", {"source": "s"}) == 1


async def test_an_overflow_brings_the_next_sweep_forward(world, monkeypatch):
    monkeypatch.setattr(looking, "_URGENT_SHARE", 0.0)
    w = await settled(world, 3)
    monkeypatch.setattr(Watcher, "take", lambda self: Hints(overflowed=True))  # the kernel's part
    w.append("d2/new.log", b"nobody told of it\n")
    assert await w.step(1.0) == [b"nobody told of it"]


async def test_what_was_written_lately_is_polled_until_the_sweep_that_an_overflow_asks_for(world, monkeypatch):
    w = await settled(world, 3)
    monkeypatch.setattr(Watcher, "take", lambda self: Hints(overflowed=True))  # the kernel's part
    w.append("d2/f2.log", b"nobody told of it\n")
    assert await w.step(1.0) == [b"nobody told of it"]


async def test_a_change_that_the_kernel_does_not_tell_of_is_found_by_a_sweep_and_then_polled_for(world, monkeypatch):
    w = await settled(world, 3)
    monkeypatch.setattr(Watcher, "take", lambda self: Hints())  # another host writes to a shared disk
    w.append("d0/f0.log", b"one\n")
    assert await w.step(1.0) == []
    assert await w.step(60.0) == [b"one"]
    w.append("d0/f0.log", b"two\n")
    assert await w.step(1.0) == [b"two"]


async def test_a_polled_file_is_left_alone_when_it_is_quiet(world, monkeypatch, calls):
    w = await settled(world, 3)
    monkeypatch.setattr(Watcher, "take", lambda self: Hints())  # another host writes to a shared disk
    w.append("d0/f0.log", b"one\n")
    assert await w.step(60.0) == [b"one"]
    calls.clear()
    await w.step(30.0)
    assert calls["stat", b"f0.log"] == 1
    await w.step(600.0)  # a sweep
    await w.step(1.0)
    calls.clear()
    await w.step(1.0)
    assert calls == {}


async def test_without_a_watch_to_be_had_every_sweep_finds_what_has_changed(world, monkeypatch):
    monkeypatch.setattr(Watcher, "watch", lambda self, directory: False)  # none left to give
    w = await settled(world, 3)
    w.append("d0/f0.log", b"one\n")
    w.append("d9/new.log", b"two\n")
    assert set(await w.step(60.0)) == {b"one", b"two"}


async def test_windows_wait_for_the_sweep_and_not_for_a_hint(world):
    w = await settled(world, 3)
    swept = w.progress().read_through
    await w.step(1.0)
    assert w.progress().read_through == swept
    await w.step(60.0)
    assert w.progress().read_through == w.now


# ---------------------------------------------------------------- what a walk remembers


def test_a_directory_that_has_not_changed_is_not_listed_again(tmp_path, calls):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.log").write_bytes(b"x\n")
        os.utime(tmp_path / name, (1e9, 1e9))
    os.utime(tmp_path, (1e9, 1e9))
    discovery = Discovery(["**/*.log"], [], [], tmp_path)
    assert len(discovery.walk().files) == 2
    assert calls["scandir"] == 3
    assert len(discovery.walk().files) == 2
    assert calls["scandir"] == 3
    (tmp_path / "a" / "y.log").write_bytes(b"y\n")
    assert len(discovery.walk().files) == 3
    assert calls["scandir"] == 4


def test_a_directory_that_changed_just_now_may_change_again_in_the_same_tick(tmp_path, calls):
    (tmp_path / "x.log").write_bytes(b"x\n")
    discovery = Discovery(["*.log"], [], [], tmp_path)
    before = tmp_path.stat()
    discovery.walk()
    (tmp_path / "y.log").write_bytes(b"y\n")
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(discovery.walk().files) == 2
    assert calls["scandir"] == 2


def test_a_file_that_became_a_link_since_its_directory_was_listed_is_judged_anew(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x.log").write_bytes(b"x\n")
    (tmp_path / "target.txt").write_bytes(b"y\n")
    os.utime(tmp_path / "logs", (1e9, 1e9))
    discovery = Discovery(["logs/*.log"], [], [], tmp_path)
    discovery.walk()
    (tmp_path / "logs" / "x.log").unlink()
    (tmp_path / "logs" / "x.log").symlink_to(tmp_path / "target.txt")
    os.utime(tmp_path / "logs", (1e9, 1e9))
    assert discovery.walk().files == {}
    assert [(tmp_path / "target.txt").stat().st_ino] == [one.st_ino for one in discovery.walk().files.values()]


# ---------------------------------------------------------------- descriptors, turns, heads


async def test_descriptors_stay_below_their_bound_with_ten_thousand_files(world, monkeypatch):
    files, bound = 10_000, 64
    w = await world(start="end", max_descriptors=bound)
    for directory in range(10):
        w.path(f"d{directory}").mkdir()
    for at in range(files):
        w.path(f"d{at % 10}/f{at}.log").write_bytes(b"%d first\n" % at)
    before, most = len(os.listdir("/proc/self/fd")), 0
    real = tracking_module.open_file

    def opened(path):
        nonlocal most
        descriptor = real(path)
        most = max(most, len(os.listdir("/proc/self/fd")))
        return descriptor

    monkeypatch.setattr(tracking_module, "open_file", opened)
    await w.step(1.0)
    assert w.progress().files == files
    assert len(w.source._descriptors) == bound
    for at in range(500):
        w.append(f"d{at % 10}/f{at}.log", b"more\n")
    while w.read.count(b"more") < 500:
        await w.step(1.0)
    assert bound <= most - before <= bound + 8


async def test_a_busy_file_has_its_turn_each_time_and_leaves_each_slow_one_its_own(world, monkeypatch):
    block, slow, turn = 1024 * KIB, 400, 100
    monkeypatch.setattr(turns, "MAX_BLOCK_BYTES", block)
    monkeypatch.setattr(turns, "_MAX_BESIDE_BUSY", turn)
    w = await world()
    w.append("busy.log", b"%b\n" % (b"x" * 999) * 8 * KIB)
    for at in range(slow):
        w.append(f"slow{at}.log", b"%d line\n" % at)
    for _ in range(slow // turn):
        await w.step()
        # The rows of the others are told, though nothing of them is read.
        sizes = {chunk.file.path.rpartition(b"/")[2]: len(chunk.data) for chunk in w.chunks if chunk.data}
        w.chunks.clear()
        assert len(sizes) == turn + 1
        assert block // 2 <= sizes.pop(b"busy.log") <= block
        assert max(sizes.values()) < 20
    assert {b"%d line" % at for at in range(slow)} <= set(w.read)


async def test_of_many_files_that_start_alike_only_the_latest_are_compared_with_a_new_one(world):
    head = b"the same first lines in every file of this kind\n" * 30
    w = await world()
    for at in range(300):
        w.append(f"f{at}.log", head)
    await w.step()
    assert len(list(w.source._known.alike(os.fsencode(w.path("new.log")), head[:1024]))) == 64
    assert os.fsencode(w.path("f7.log")) in {
        file.path for file in w.source._known.alike(os.fsencode(w.path("f7.log.1")), head[:1024])
    }


# ---------------------------------------------------------------- very many files at once


@pytest.fixture
def three_at_once(monkeypatch):
    """Of files that nobody knows three are met in a turn."""
    monkeypatch.setattr(strangers, "MAX_AT_ONCE", 3)
    monkeypatch.setattr(strangers, "_MIN_AT_ONCE", 3)


async def test_no_more_files_are_met_at_once_than_can_be_read_and_each_is_read_once(world, three_at_once):
    w = await world()
    for at in range(10):
        w.append(f"d{at % 3}/f{at}.log", b"%d line\n" % at)
    for met in (3, 6, 9, 10):
        await w.step()
        progress = w.progress()
        assert len(w.source._known) == met
        assert progress.files == 10
        assert progress.unread_bytes == (10 - met) * len(b"0 line\n")
        # What waits has not been read: no window may close on it.
        assert (progress.read_through is None) == (progress.oldest_unread_at is not None) == (met < 10)
    await w.step(10.0)
    assert sorted(w.read) == [b"%d line" % at for at in range(10)]
    assert w.progress().read_through is not None


async def test_the_files_of_one_log_are_met_together(world, three_at_once):
    w = await world()
    for name in ("a.log", "a.log-b.log", "a.log-c.log", "a.log.1", "a.log.2"):
        w.append(name, b"%b has a line\n" % name.encode())
    await w.step()
    assert {line.split()[0] for line in w.read} == {b"a.log", b"a.log.1", b"a.log.2"}


async def test_a_rotation_of_a_log_that_is_known_waits_for_no_stranger(world, three_at_once):
    w = await world()
    w.append("z.log", b"old\n")
    await w.step(10.0)
    for at in range(30):
        w.append(f"f{at}.log", b"%d line\n" % at)
    w.path("z.log").rename(w.path("z.log.1"))
    w.append("z.log", b"new\n")
    assert b"new" in await w.step(1.0)
    w.append("z.log.1", b"late\n")
    assert b"late" in await w.step(1.0)
    assert w.progress().unread_bytes


async def test_what_is_written_to_a_file_that_waits_is_no_part_of_what_was_there_at_the_start(world, three_at_once):
    w = await world(start="end")
    for at in range(9):
        w.append(f"f{at}.log", b"%d old\n" % at)
    await w.step()
    w.append("f8.log", b"8 new\n")
    w.replace("f7.log", b"7 a\n7 b\n")
    w.append("fresh.log", b"fresh\n")
    for _ in range(4):
        await w.step(1.0)
    assert sorted(w.read) == [b"7 a", b"7 b", b"8 new", b"fresh"]


async def test_once_is_not_done_before_all_were_met(world, three_at_once):
    w = await world(once=True)
    for at in range(7):
        w.append(f"f{at}.log", b"%d line\n" % at)
    steps = 0
    while not w.progress().exhausted:
        await w.step()
        steps += 1
    assert sorted(w.read) == [b"%d line" % at for at in range(7)]
    assert steps >= 3


async def test_a_path_that_became_a_lure_while_it_waited_is_not_followed(world, three_at_once, monkeypatch):
    w = await world()
    for at in range(6):
        w.append(f"f{at}.log", b"%d line\n" % at)
    await w.step()
    w.append("secret", b"not for us\n")
    w.path("f5.log").unlink()
    w.path("f5.log").symlink_to(w.path("secret"))
    w.path("f4.log").unlink()
    w.path("f4.log").mkdir()
    monkeypatch.setattr(discovery_module, "may_lead", lambda link, target: False)  # to chown it takes root
    for _ in range(3):
        await w.step(1.0)
    assert sorted(w.read) == [b"0 line", b"1 line", b"2 line", b"3 line"]


async def test_a_sweep_over_files_that_have_not_changed_keeps_nothing_of_them(world, monkeypatch):
    w = await settled(world, 30)
    kept = []
    real = Discovery.walk

    def walk(self, sift):
        findings = real(self, sift)
        kept.append(len(findings.files))
        return findings

    monkeypatch.setattr(Discovery, "walk", walk)
    w.append("d0/new.log", b"new\n")
    w.path("d1/f1.log").rename(w.path("d1/moved.log"))
    assert await w.step(61.0) == [b"new"]
    assert kept == [1]
    assert w.progress().files == 31


async def test_files_that_cannot_be_met_keep_nobody_waiting(world, three_at_once, monkeypatch):
    real = scanning.open_file

    def refused(path):
        if b"no" in os.path.basename(path):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(scanning, "open_file", refused)
    w = await world()
    for at in range(5):
        w.append(f"no{at}.log", b"%d hidden\n" % at)
        w.append(f"yes{at}.log", b"%d seen\n" % at)
    for _ in range(6):
        await w.step(61.0)
    assert sorted(w.read) == [b"%d seen" % at for at in range(5)]
    assert w.progress().degraded == 5
    for _ in range(15):
        await w.step(61.0)  # until those that cannot be read are left out
    assert w.progress().read_through is not None
    monkeypatch.setattr(scanning, "open_file", real)
    await w.step(61.0)
    assert {b"%d hidden" % at for at in range(5)} <= set(w.read)


def test_what_was_told_of_files_that_are_gone_is_let_go():
    notices = Notices()
    gone = set()
    for at in range(5000):
        path = b"/log/%d" % at
        seen = os.stat_result((0o100644, at, 1, 1, 0, 0, 1, 0, 0, 0))
        notices.ignore(path, seen, "binary", "it is not text", "exclude it")
        gone.add(path)
        if at % 100 == 99:
            gone.discard(b"/log/7")
            notices.forget(is_there=lambda path: path not in gone)
    assert len(notices.take()) == 5000
    assert len(notices._told) + len(notices._ignored) < 1200
    seven = os.stat_result((0o100644, 7, 1, 1, 0, 0, 1, 0, 0, 0))
    assert notices.is_ignored(seven)
    notices.ignore(b"/log/7", seen, "binary", "it is not text", "exclude it")
    assert notices.take() == []
    notices.ignore(b"/log/8", seen, "binary", "it is not text", "exclude it")
    assert [b"/log/8"] == [one.path for one in notices.take()]


async def test_logs_of_one_directory_that_are_rotated_at_once_are_looked_for_in_few_listings(world, monkeypatch):
    """Their new names are none that the patterns match; each was listed for each, which took minutes."""
    w = await world()
    w.options["include"] = [f"{w.directory}/*.log"]
    await w.start()
    for at in range(100):
        w.append(f"{at}.log", b"%d is the first line of a file\n" % at)
    for _ in range(3):
        await w.step(6.0)
    for at in range(100):
        w.append(f"{at}.log", b"%d is the last\n" % (100 + at))
        w.path(f"{at}.log").rename(w.path(f"{at}.log.1"))
        w.append(f"{at}.log", b"%d is new\n" % (200 + at))
    listed = []
    real = os.scandir
    monkeypatch.setattr(beside.os, "scandir", lambda path: listed.append(path) or real(path))
    await w.step(1.0)
    # The directory may have changed in the same tick in which it was listed.
    assert len(listed) < 20
    monkeypatch.undo()
    for _ in range(3):
        await w.step(6.0)
    assert [*range(300)] == sorted(numbers(w.read))


@pytest.mark.parametrize(("first", "then"), [("a.log.1", "a.log.2"), ("kept", "kept-longer")])
async def test_a_log_that_is_renamed_again_while_it_is_looked_for_is_found(world, monkeypatch, first, then):
    w = await world()
    w.options["include"] = [f"{w.directory}/*.log"]
    await w.start()
    w.append("a.log", lines(0))
    await w.step(6.0)
    w.append("a.log", lines(40, 3))
    w.source._descriptors.close_all()
    w.path("a.log").rename(w.path(first))
    real, listed = beside._listed, []

    def renamed(directory):
        listing = real(directory)
        if not listed:
            w.path(first).rename(w.path(then))
        listed.append(directory)
        return listing

    monkeypatch.setattr(beside, "_listed", renamed)
    for _ in range(3):
        await w.step(6.0)
    assert [*range(43)] == numbers(w.read)
    assert len(listed) > 1
