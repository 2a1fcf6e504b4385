"""The resume table, row by row, on each file system that the machine has: what a file is to what was read before.

A row is tried on a source that goes on and on one that begins again. The three anchors are the inode with its birth,
the head, and the bytes before the position.
"""

from __future__ import annotations

import gzip
import os
import shutil
from dataclasses import replace

import pytest

from enricher.edges.source_files.identity import birth_of
from tests.edges.filesystems import KINDS, Mounts
from tests.edges.following import World, lines, numbers

HEADER = b"".join(b"# a header that every file of this program has, line %04d\n" % at for at in range(40))
"""Longer than the head that is kept."""


@pytest.fixture(scope="module")
def mounts(tmp_path_factory):
    mounts = Mounts(tmp_path_factory.mktemp("mounts"))
    yield mounts
    mounts.close()


@pytest.fixture(params=KINDS)
def place(request, mounts):
    directory = mounts.directory(request.param) / "case"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=["live", "restart"])
async def w(request, place):
    """A world whose `again` is the next look of the same process, or the first one of another."""
    world = await World(place).start()

    async def again(*, steps=3):
        if request.param == "restart":
            await world.start()
        read = []
        for _ in range(steps):
            read += await world.step(6.0)
        return read

    world.again = again
    world.is_live = request.param == "live"
    yield world
    await world.source.close()


def generations(w):
    return sorted(row.generation for row in w.rows.values())


# ---------------------------------------------------------------- the same inode


async def test_same_inode_head_and_marker_continue(w):
    w.append("a.log", lines(0))
    await w.step()
    w.append("a.log", lines(40, 2))
    assert [40, 41] == numbers(await w.again())
    assert 1 == len(w.rows)
    assert 0 == w.counted("truncations")


@pytest.mark.parametrize("left", [0, 10, 39])
async def test_same_inode_and_head_but_shorter_is_truncated(w, left):
    w.append("a.log", lines(0))
    await w.step()
    os.truncate(w.path("a.log"), len(lines(0, left)))
    read = await w.again()
    w.append("a.log", lines(100, 2))
    read += await w.again()
    assert [*range(left), 100, 101] == numbers(read)
    assert 1 == w.counted("truncations")


async def test_same_inode_and_head_but_another_marker_is_truncated_and_regrown(w):
    w.append("a.log", HEADER + lines(0))
    await w.step()
    with w.path("a.log").open("r+b") as file:
        file.truncate(0)
        file.write(HEADER + lines(100, 90))
    read = await w.again()
    assert [*range(100, 190)] == numbers(line for line in read if not line.startswith(b"#"))
    assert [0, 1] == generations(w)
    assert 1 == w.counted("truncations")


@pytest.mark.parametrize("count", [20, 40, 90])
async def test_same_inode_but_another_head_is_rewritten(w, count):
    w.append("a.log", lines(0))
    await w.step()
    with w.path("a.log").open("r+b") as file:
        file.truncate(0)
        file.write(lines(50, count))
    assert [*range(50, 50 + count)] == numbers(await w.again())
    assert 1 == w.counted("truncations")


async def test_rewriting_in_place_with_the_same_size_and_time_of_change_is_noticed(w):
    w.append("a.log", lines(100, 30))
    await w.step()
    before = w.path("a.log").stat()
    with w.path("a.log").open("r+b") as file:
        file.write(lines(200, 30))
    os.utime(w.path("a.log"), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert before.st_size == w.path("a.log").stat().st_size
    assert [*range(200, 230)] == numbers(await w.again())


async def test_a_truncation_is_told_and_read_once_not_at_every_start(w):
    w.append("a.log", lines(0))
    await w.step()
    w.path("a.log").write_bytes(lines(0, 5))
    assert [*range(5)] == numbers(await w.again())
    for _ in range(3):
        await w.start()
        assert [] == await w.step(6.0)
    assert 1 == w.counted("truncations")


# ---------------------------------------------------------------- another inode


@pytest.mark.parametrize("count", [3, 40])
async def test_another_inode_with_the_same_head_and_marker_is_the_file_moved(w, count):
    w.append("a.log", lines(0, count))
    await w.step()
    shutil.copy(w.path("a.log"), w.path("a.log.1"))
    w.path("a.log").unlink()
    w.source._descriptors.close_all()
    await w.again()
    w.append("a.log.1", lines(count, 2))
    await w.again()
    assert [*range(count + 2)] == numbers(w.read)
    assert 1 == len(w.rows)


async def test_a_decompressed_twin_goes_on_for_its_file(w):
    w.append("a.log.1.gz", gzip.compress(lines(0)))
    await w.again()
    w.append("a.log.1", lines(0, 43))
    w.path("a.log.1.gz").unlink()
    w.source._descriptors.close_all()
    await w.again()
    assert [*range(43)] == numbers(w.read)


async def test_an_editors_copy_in_the_place_of_a_file_goes_on_for_it(w):
    w.append("a.log", lines(0))
    await w.step()
    w.replace("a.log", lines(0, 42))
    w.source._descriptors.close_all()
    await w.again()
    assert [*range(42)] == numbers(w.read)


async def test_another_inode_with_the_same_head_but_another_marker_is_another_file(w):
    w.append("a.log", HEADER + lines(0))
    await w.step()
    w.replace("a.log", HEADER + lines(100, 60))
    read = await w.again()
    assert [*range(100, 160)] == numbers(line for line in read if not line.startswith(b"#"))
    assert 2 == len({row.identity for row in w.rows.values()})


async def test_another_inode_and_another_head_is_a_new_file_whatever_start_says(w):
    w.options["start"] = "end"
    await w.start()
    w.append("a.log", lines(0))
    assert [] == await w.step()
    w.replace("a.log", lines(100, 5))
    assert [*range(100, 105)] == numbers(await w.again())


@pytest.mark.parametrize("count", [20, 40, 60])
async def test_an_inode_number_that_is_used_again_is_another_file(w, count):
    w.append("a.log", lines(0))
    await w.step()
    await w.source.close()  # an open file keeps its number
    w.path("a.log").unlink()
    w.append("a.log", lines(100, count))
    assert [*range(100, 100 + count)] == numbers(await w.again())


async def test_birth_is_known_or_the_inode_is_not_trusted(place):
    births = []
    for at in range(5):
        path = place / f"{at}.log"
        path.write_bytes(b"one\n")
        with path.open("rb") as file:
            births.append(birth_of(file.fileno()))
        path.unlink()
    assert {""} == set(births) or 5 == len(set(births))


async def test_two_live_files_with_one_head_are_both_read(w):
    w.append("messages.log", HEADER + lines(0))
    await w.step()
    w.append("syslog.log", HEADER + lines(0))
    w.append("other.log", HEADER + lines(100))
    await w.again()
    assert sorted([*range(40), *range(40), *range(100, 140)]) == sorted(
        numbers(line for line in w.read if not line.startswith(b"#"))
    )


# ---------------------------------------------------------------- too little known


async def test_a_beginning_without_a_line_is_held_until_its_line_or_five_seconds(w):
    w.append("a.log", b"ab")
    w.append("b.log", b"cd")
    for name in ("a.log", "b.log"):
        os.utime(w.path(name), (w.now, w.now))
    await w.step(1.0)
    assert 0 == w.progress().files
    w.append("a.log", b"c\n")
    assert [b"abc"] == await w.step(1.0)
    await w.again()
    assert 2 == w.progress().files
    w.append("b.log", b"e\n")
    assert [b"cde"] == await w.again()


async def test_a_file_that_grows_byte_by_byte_is_one_file_through_every_restart(w):
    text = lines(0, 60)
    for end in (1, 5, 9, 10, 11, 40, 63, 64, 65, 200, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, len(text)):
        size = w.path("a.log").stat().st_size if w.path("a.log").exists() else 0
        w.append("a.log", text[size:end])
        await w.again(steps=1)
    assert [*range(60)] == numbers(w.read)
    assert 1 == len(w.rows)
    assert 0 == w.counted("truncations")


# ---------------------------------------------------------------- a file system that goes and comes back


async def test_a_device_number_that_changes_with_a_mount_changes_no_file(mounts, tmp_path):
    directory = mounts.directory("ext4")
    w = await World(directory / "moving").start()
    for count in (2, 40):
        w.append(f"{count}.log", lines(0, count))
    await w.step()
    w.rows = {key: replace(row, device=row.device + 7) for key, row in w.rows.items()}
    for count in (2, 40):
        w.append(f"{count}.log", lines(count, 2))
    await w.start()
    await w.step()
    await w.step()
    assert sorted([*range(4), *range(42)]) == sorted(numbers(w.read))
    await w.source.close()
