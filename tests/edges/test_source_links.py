"""Names: links of both kinds, names that are no text, directories that go and come back, and storms of renames."""

from __future__ import annotations

import os
import subprocess

import pytest

from enricher.edges.source_files import beside, discovery, scanning
from tests.edges.filesystems import Mounts
from tests.edges.following import World, lines, numbers

# ---------------------------------------------------------------- links


async def test_hard_links_are_one_file_and_read_once(world):
    w = await world()
    w.append("a.log", lines(0))
    w.path("b.log").hardlink_to(w.path("a.log"))
    await w.step()
    w.append("b.log", lines(40, 1))
    await w.step()
    w.path("a.log").unlink()
    w.append("b.log", lines(41, 1))
    await w.step()
    await w.start()
    w.append("b.log", lines(42, 1))
    await w.step()
    assert [*range(43)] == numbers(w.read)
    assert [os.fsencode(w.path("b.log"))] == [row.path for row in w.rows.values()]


async def retarget(w, number):
    link = w.path("current.log.new")
    link.symlink_to(w.directory / "files" / f"{number}.txt")
    link.rename(w.path("current.log"))


@pytest.mark.parametrize("restart", [False, True])
async def test_a_link_that_is_pointed_elsewhere_leaves_no_line_behind(world, restart):
    w = await world(include=[f"{world.directory}/*.log"])
    (w.directory / "files").mkdir()
    written = 0
    for number in range(5):
        w.append(f"files/{number}.txt", lines(written, 30))
        await retarget(w, number)
        await w.step()
        # What comes between the last look and the change is in the old file.
        w.append(f"files/{number}.txt", lines(written + 30, 3))
        written += 33
        if restart:
            await w.start()
    await w.step()
    await w.step()
    assert [*range(written)] == sorted(numbers(w.read))


async def test_a_link_that_is_pointed_to_and_fro_reads_nothing_twice(world):
    w = await world(include=[f"{world.directory}/*.log"])
    (w.directory / "files").mkdir()
    for number in range(2):
        w.append(f"files/{number}.txt", lines(100 * number))
    for turn in range(20):
        await retarget(w, turn % 2)
        await w.step(0.02)
    await w.step()
    assert [*range(40), *range(100, 140)] == numbers(w.read)


# ---------------------------------------------------------------- names


async def test_names_that_are_no_text_are_followed_through_rotation_and_restart(world):
    w = await world()
    name = os.fsdecode(b"bad\xff\nname.log")
    for at in range(3):
        w.append(name, lines(at * 50))
        await w.step()
        w.append(name, lines(at * 50 + 40, 10))
        w.path(name).rename(w.path(f"{name}.{3 - at}"))
        await w.start()
    await w.step()
    assert [*range(150)] == sorted(numbers(w.read))
    assert {os.fsencode(w.path(f"{name}.{at}")) for at in (1, 2, 3)} == {row.path for row in w.rows.values()}


@pytest.mark.parametrize("restart", [False, True])
async def test_a_log_that_was_quiet_when_it_was_renamed_is_watched_for_late_writers_like_any_other(world, restart):
    w = await world(include=[f"{world.directory}/*.log"])
    w.append("a.log", lines(0))
    await w.step()
    await w.step(600.0)
    w.path("a.log").rename(w.path("old-a"))
    if restart:
        await w.start()
    await w.step()
    await w.step(50.0)
    w.append("old-a", lines(40, 1))
    await w.step(1.0)
    assert [*range(41)] == numbers(w.read)
    await w.step(59.0)
    assert 1 == w.progress().files
    await w.step(61.0)
    await w.step()
    assert 0 == w.progress().files


# ---------------------------------------------------------------- what goes and comes back


async def test_a_file_that_vanishes_and_comes_back_is_read_on(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    for at in range(3):
        w.path("a.log").rename(w.directory.parent / f"{w.directory.name}.away")
        w.source._descriptors.close_all()
        await w.step(6.0)
        (w.directory.parent / f"{w.directory.name}.away").rename(w.path("a.log"))
        w.append("a.log", lines(40 + at, 1))
        await w.step()
    assert [*range(43)] == numbers(w.read)
    assert 1 == len(w.rows)


@pytest.mark.parametrize("read", [0, 3, 40])
@pytest.mark.parametrize("restart", [False, True])
async def test_what_a_file_held_unread_when_it_vanished_is_read_once_it_is_back(world, read, restart):
    w = await world()
    w.append("a.log", lines(0, read))
    await w.step()
    w.append("a.log", lines(read, 5))
    await w.step(commit=False)
    w.path("a.log").rename(w.directory.parent / f"{w.directory.name}.away")
    w.source._descriptors.close_all()
    await w.step(6.0)
    if restart:
        await w.start()
        await w.step()
    assert len(lines(read, 5)) == sum(chunk.lost_bytes for chunk in w.chunks)
    (w.directory.parent / f"{w.directory.name}.away").rename(w.path("a.log"))
    for _ in range(3):
        await w.step(6.0)
    assert [*range(read + 5)] == numbers(w.read)


async def test_a_mount_that_vanishes_forgets_nothing(tmp_path_factory):
    mounts = Mounts(tmp_path_factory.mktemp("mounts"))
    try:
        image = mounts.directory("xfs")
        w = await World(image).start()
        for count in (3, 40):
            w.append(f"{count}.log", lines(0, count))
        await w.step()
        await w.source.close()
        for at in range(2):
            _run("umount", image)
            await w.start()
            await w.step()
            await w.step(90.0)
            _run("mount", "-o", "loop", f"{image}.img", image)
            for count in (3, 40):
                w.append(f"{count}.log", lines(count + at, 1))
            await w.step()
            await w.step()
            await w.source.close()
        assert sorted([*range(5), *range(42)]) == sorted(numbers(w.read))
    finally:
        mounts.close()


def _run(*command):
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=20)


async def test_a_target_that_is_rotated_behind_its_link_is_drained_after_a_restart(world):
    w = await world(include=[f"{world.directory}/*.log"])
    (w.directory / "files").mkdir()
    w.append("files/0.txt", lines(0))
    w.path("a.log").symlink_to(w.path("files/0.txt"))
    await w.step()
    w.append("files/0.txt", lines(40, 3))
    w.path("files/0.txt").rename(w.path("files/0.txt.20261122-101112"))
    w.append("files/0.txt", lines(100, 3))
    await w.start()
    await w.step()
    await w.step()
    assert [*range(43), *range(100, 103)] == sorted(numbers(w.read))


@pytest.mark.parametrize("restart", [False, True])
async def test_a_known_file_that_takes_the_place_of_a_new_one_is_still_one_file(world, monkeypatch, restart):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    w.append("b.log", lines(100))
    opened = scanning.open_file

    def swap(path):
        if path.endswith(b"/b.log") and w.path("a.log").exists():
            w.path("b.log").rename(w.path("c.log"))
            w.path("a.log").rename(w.path("b.log"))
        return opened(path)

    monkeypatch.setattr(scanning, "open_file", swap)
    await w.step()
    assert 1 == len(w.source._descriptors)
    if restart:
        await w.start()
    w.append("b.log", lines(40, 1))
    for _ in range(3):
        await w.step()
    assert [*range(41), *range(100, 140)] == sorted(numbers(w.read))
    assert 2 == len(w.rows)


async def test_a_link_that_poses_as_a_rotated_log_is_followed_no_further_than_any_other(world, monkeypatch):
    """Who may write where a log lies could else have any file read that the daemon can read, and sent."""
    w = await world(include=[f"{world.directory}/*.log"])
    secret = w.path("elsewhere/secret")
    secret.parent.mkdir()
    secret.write_bytes(b"not for us\n")
    w.append("a.log", b"first\n")
    os.utime(w.path("a.log"), (1, 1))
    await w.step()
    for module in (discovery, beside):
        monkeypatch.setattr(module, "may_lead", lambda link, target: False)  # to give a link away takes root
    w.path("a.log").rename(w.path("a.log.2"))
    w.path("a.log.1").symlink_to(secret)
    w.append("a.log", b"second\n")
    for _ in range(3):
        await w.step(60.0)
    assert [b"first", b"second"] == sorted(w.read)


async def test_a_file_that_a_link_takes_the_place_of_before_it_is_opened_is_not_read(world, monkeypatch):
    w = await world()
    secret = w.path("elsewhere/secret")
    secret.parent.mkdir()
    secret.write_bytes(b"not for us\n")
    w.append("a.log", b"first\n")
    real = scanning.open_file

    def swapped(path):
        w.path("a.log").unlink()
        w.path("a.log").symlink_to(secret)
        monkeypatch.setattr(scanning, "open_file", real)
        monkeypatch.setattr(discovery, "may_lead", lambda link, target: False)
        return real(path)

    monkeypatch.setattr(scanning, "open_file", swapped)
    for _ in range(3):
        await w.step(1.0)
    assert [] == w.read
