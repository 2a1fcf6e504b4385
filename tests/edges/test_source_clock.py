"""A wall clock that is set changes nothing of how long a file is waited for: nothing is cut, or read twice."""

from __future__ import annotations

import os

import pytest

from tests.edges.following import World, lines, numbers

HOUR = 3600.0
STEPS = pytest.mark.parametrize("step", [HOUR, -HOUR, 10 * 365 * 86400.0], ids=["ahead", "back", "ten years ahead"])


@pytest.fixture
async def world(tmp_path):
    made = await World(tmp_path, max_line_bytes=4096).start()
    yield made
    await made.source.close()


@STEPS
async def test_a_line_that_is_half_written_when_the_clock_is_set_stays_one(world, step):
    world.append("a.log", lines(0) + b"40 half ")
    await world.step()
    world.set_clock(step)

    await world.step(1.0)
    await world.step(1.0)
    world.append("a.log", b"and half\n")
    await world.step(1.0)

    assert b"40 half and half" == world.read[-1]


@STEPS
async def test_a_line_that_is_half_written_when_the_clock_is_set_while_the_daemon_is_down_stays_one(world, step):
    """The log is rotated too: where that is quiet, what it ends with is a line."""
    world.append("a.log", lines(0) + b"40 half ")
    await world.step()
    await world.source.close()
    world.path("a.log").rename(world.path("a.log.1"))
    world.now += step
    await world.start()

    await world.step(1.0)
    await world.step(1.0)
    world.append("a.log.1", b"and half\n")
    await world.step(1.0)

    assert b"40 half and half" == world.read[-1]


@STEPS
@pytest.mark.parametrize("told", ["copied before", "copied after"])
async def test_a_copy_in_the_making_while_the_clock_is_set_is_not_read_beside_its_log(world, step, told):
    world.append("a.log", lines(0, 100))
    await world.step()
    world.append("a.log", lines(100, 20))
    whole = world.path("a.log").read_bytes()
    world.append("a.log.1", whole[:900])
    if told == "copied before":
        await world.step()
    # What it holds was dated by the clock as it was.
    os.utime(world.path("a.log.1"), (world.now, world.now))
    world.set_clock(step)

    await world.step(1.0)
    await world.step(1.0)
    world.append("a.log.1", whole[900:])
    os.utime(world.path("a.log.1"), (world.now, world.now))
    os.truncate(world.path("a.log"), 0)
    os.utime(world.path("a.log"), (world.now, world.now))
    for _ in range(6):
        await world.step(6.0)

    assert [*range(120)] == sorted(numbers(world.read))


@STEPS
async def test_little_waits_no_longer_for_more_after_the_clock_was_set_than_before(world, step):
    world.append("a.log", lines(0, 3))
    await world.step(flush=False)
    await world.step(0.5, flush=False)
    assert [] == world.read
    world.set_clock(step)

    await world.step(0.5, flush=False)
    assert [] == world.read
    await world.step(3.0, flush=False)

    assert [0, 1, 2] == numbers(world.read)


@STEPS
async def test_how_far_the_files_were_read_moves_with_the_clock(world, step):
    world.append("a.log", lines(0))
    await world.step()
    before = world.progress()

    world.set_clock(step)

    assert before.read_through + step == world.progress().read_through
    world.append("a.log", lines(40))
    await world.step(1.0, commit=False)
    assert world.now == world.progress().oldest_unread_at
    assert before.read_through + step == world.progress().read_through


@STEPS
async def test_a_file_that_cannot_be_read_is_left_out_after_a_quarter_of_an_hour_and_not_when_the_clock_is_set(
    world, step, monkeypatch
):
    world.append("a.log", lines(0))
    await world.step()

    def refuse(*_):
        raise OSError(5, "Input/output error")

    world.append("a.log", lines(40))
    with monkeypatch.context() as patched:
        patched.setattr(type(world.source._descriptors), "stream", refuse)
        await world.step(1.0)
        world.set_clock(step)
        await world.step(1.0)
        assert (1, ()) == (world.progress().degraded, world.progress().left_out)
        await world.step(901.0)
        assert 1 == len(world.progress().left_out)
    await world.step(60.0)
    assert [*range(80)] == numbers(world.read)
