"""Events of several lines whose last lines are written after a rotation: each is one event, of the file it began in."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.block import CONTINUES
from enricher.errors import StoreError
from tests.fakes_ingest import BlockStore
from tests.stages.reading import (
    ALERT,
    DETAILS,
    FORWARD,
    GO_PANIC,
    PYTHON,
    SLOW_QUERY,
    TRACE,
    World,
    at,
    sqlite,
    window,
)

CALM = b"".join(at(f"08:00:{second:02}", "calm") for second in range(25))
BROKEN = at("10:59:58", "ERROR broken") + TRACE
AFTER = at("11:00:01", "after")
WAYS = ("rename", "copytruncate", "delete")


def rotate(w, way):
    """What logrotate does, under the names that it gives."""
    log, old = w.directory / "a.log", w.directory / "a.log.1"
    for number in range(8, 0, -1):
        if (older := w.directory / f"a.log.{number}").exists():
            older.rename(w.directory / f"a.log.{number + 1}")
    if way == "rename":
        log.rename(old)
    elif way == "delete":
        log.unlink()
    else:
        shutil.copy2(log, old)
        os.truncate(log, 0)
        os.utime(log, (w.clock.time, w.clock.time))


async def settle(w):
    """Read all that is there, and wait as long as anything is waited for."""
    for _ in range(4):
        await w.drain()
    await w.step(60.0)


async def texts(w):
    return [text for _, _, text in sorted(await w.events())]


def ended(*events):
    return [event.removesuffix(b"\n") for event in events]


def cuts(event):
    """Behind each line but the last."""
    return [place for place, byte in enumerate(event[:-1], 1) if byte == ord("\n")]


# ---------------------------------------------------------------- one event


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("restart", ["never", "before", "after"])
async def test_an_event_that_goes_on_in_the_new_file_is_one_event_of_the_old_file(world, way, restart):
    w = await world()
    cut = cuts(BROKEN)[1]
    w.append("a.log", CALM + BROKEN[:cut])
    await w.step()
    if restart == "before":
        await w.start()
    rotate(w, way)
    if restart == "after":
        await w.start()
    w.clock.time += 1.0
    w.append("a.log", BROKEN[cut:] + AFTER)
    await settle(w)
    events = await w.events()
    assert ended(BROKEN, AFTER) == [text for _, _, text in events][-2:]
    assert (window(10), len(CALM)) == events[-2][:2]
    assert len(CALM.splitlines()) + 2 == len(events)
    # The next event is at its place in the new file.
    assert (window(11), len(BROKEN) - cut) == events[-1][:2]


@pytest.mark.parametrize("event", [GO_PANIC, PYTHON, SLOW_QUERY, FORWARD, ALERT, DETAILS])
async def test_an_event_may_go_on_behind_any_of_its_lines(world, event):
    w = await world()
    end = at("10:00:09", "end")
    for count, cut in enumerate(cuts(event)):
        w.append("a.log", event[:cut])
        await w.step()
        rotate(w, "rename")
        w.clock.time += 1.0
        w.append("a.log", event[cut:] + end)
        await settle(w)
        found = await texts(w)
        assert sorted(ended(event, end) * (count + 1)) == sorted(found), cut


@pytest.mark.parametrize("seconds", [1.0, 10.0])
async def test_all_of_it_holds_for_a_daemon_that_was_down_when_two_rotations_took_place(world, seconds):
    w = await world()
    cut = cuts(BROKEN)[2]
    w.append("a.log", CALM + BROKEN[:cut])
    await w.step()
    await w.source.close()
    rotate(w, "rename")
    w.clock.time += seconds
    second = at("11:30:00", "ERROR broken") + TRACE
    w.append("a.log", BROKEN[cut:] + AFTER + second[:cut])
    rotate(w, "rename")
    w.clock.time += seconds
    w.append("a.log", second[cut:] + AFTER)
    w.include = [f"{w.directory}/a.log*"]
    await w.start()
    await settle(w)
    assert sorted(ended(BROKEN, AFTER, second, AFTER)) == sorted((await texts(w))[25:])


async def test_an_event_may_go_through_three_files(world):
    w = await world()
    first, second, third, *_ = cuts(BROKEN)
    w.append("a.log", CALM + BROKEN[:first])
    await w.step()
    for begin, end in ((first, second), (second, third)):
        rotate(w, "rename")
        w.append("a.log", BROKEN[begin:end])
        await w.step(0.5)
    rotate(w, "rename")
    w.append("a.log", BROKEN[third:] + AFTER)
    await settle(w)
    assert ended(BROKEN, AFTER) == (await texts(w))[25:]


async def test_once_joins_what_rotated_files_hold(world):
    w = await world()
    w.once, w.include = True, [f"{w.directory}/a.log*"]
    await w.start()
    middle = at("10:30:00", "ERROR other") + TRACE
    first, second = cuts(BROKEN)[1], cuts(middle)[3]
    (w.directory / "a.log.2.gz").write_bytes(gzip.compress(CALM + BROKEN[:first]))
    os.utime(w.directory / "a.log.2.gz", (w.clock.time - 20, w.clock.time - 20))
    w.append("a.log.1", BROKEN[first:] + middle[:second])
    os.utime(w.directory / "a.log.1", (w.clock.time - 10, w.clock.time - 10))
    w.append("a.log", middle[second:] + AFTER[:-1])
    for _ in range(20):
        await w.step()
    assert w.source.progress(w.clock.time).exhausted
    assert sorted(ended(BROKEN, middle, AFTER)) == sorted((await texts(w))[25:])


# ---------------------------------------------------------------- what is no part of it


async def test_a_new_file_that_begins_with_an_event_waits_for_nothing(world):
    w = await world()
    w.append("a.log", CALM + BROKEN)
    await w.step()
    rotate(w, "rename")
    w.append("a.log", AFTER + AFTER)
    assert 1 == await w.step()
    assert ended(AFTER) == (await texts(w))[25:]
    assert 0 == await w.step(4.0)
    await w.step(2.0)
    assert ended(BROKEN, AFTER, AFTER) == (await texts(w))[25:]


@pytest.mark.parametrize("way", ["rename", "copytruncate"])
async def test_an_event_waits_no_longer_for_a_new_file_than_for_a_line_of_its_own(world, way):
    w = await world()
    w.append("a.log", CALM + BROKEN)
    await w.step()
    rotate(w, way)
    (w.directory / "a.log").touch()
    assert 0 == await w.step(4.0)
    assert 1 == await w.step(2.0)
    # What comes later still is an event of its own, as it would be in the same file.
    w.append("a.log", b"\tat com.example.Late.line(Late.java:1)\n" + AFTER)
    await settle(w)
    late = b"\tat com.example.Late.line(Late.java:1)\n"
    assert sorted(ended(BROKEN, late, AFTER)) == sorted((await texts(w))[25:])


async def test_lines_that_come_one_by_one_are_waited_for_in_the_new_file_too(world):
    w = await world()
    first, *more = cuts(BROKEN)
    w.append("a.log", CALM + BROKEN[:first])
    await w.step()
    rotate(w, "rename")
    for begin, end in zip([first, *more], [*more, len(BROKEN)], strict=True):
        w.append("a.log", BROKEN[begin:end])
        assert 0 == await w.step(4.0)
    assert 1 == await w.step(6.0)
    assert ended(BROKEN) == (await texts(w))[25:]


async def test_a_line_that_the_old_file_does_not_end_stays_a_line(world):
    w = await world()
    cut = cuts(BROKEN)[2]
    w.append("a.log", CALM + BROKEN[: cut - 9])
    await w.step()
    rotate(w, "rename")
    w.append("a.log", BROKEN[cut - 9 :] + AFTER)
    await settle(w)
    # What is left of the line in the new file continues nothing; the lines behind it continue that.
    rest = BROKEN[cut - 9 :]
    assert ended(BROKEN[: cut - 9], AFTER, rest) == sorted((await texts(w))[25:])


async def test_lines_below_an_unended_line_are_joined_to_it(world):
    w = await world()
    cut = cuts(BROKEN)[1]
    w.append("a.log", CALM + BROKEN[: cut - 1])
    await w.step()
    rotate(w, "rename")
    w.append("a.log", BROKEN[cut:] + AFTER)
    await settle(w)
    assert ended(BROKEN, AFTER) == (await texts(w))[25:]


async def test_what_the_program_still_writes_to_the_old_file_comes_first(world):
    w = await world()
    first, second, *_ = cuts(BROKEN)
    w.append("a.log", CALM + BROKEN[:first])
    await w.step()
    rotate(w, "rename")
    w.append("a.log.1", BROKEN[first:second])
    w.append("a.log", BROKEN[second:] + AFTER)
    await settle(w)
    assert ended(BROKEN, AFTER) == (await texts(w))[25:]


async def test_a_new_file_does_not_wait_for_one_that_others_go_on_writing(world):
    w = await world()
    w.append("a.log", CALM + BROKEN)
    await w.step()
    rotate(w, "rename")
    for second in range(10):
        w.append("a.log.1", at(f"11:00:{second:02}", "elsewhere") + b"\tmore\n")
        w.append("a.log", b"\tat com.example.Late.line(Late.java:1)\n" if not second else AFTER)
        await w.step(1.0)
    assert b"after" in b"".join(await texts(w))


async def test_without_events_of_several_lines_nothing_waits(world):
    w = await world(multiline=("off", None))
    w.append("a.log", CALM + BROKEN)
    await w.drain()
    rotate(w, "rename")
    w.append("a.log", b"\tat com.example.Late.line(Late.java:1)\n")
    assert 1 == await w.step()


async def test_a_dropped_event_takes_its_lines_in_the_new_file_along(world):
    w = await world(drop=("broken",))
    cut = cuts(BROKEN)[1]
    w.append("a.log", CALM + BROKEN[:cut])
    await w.step()
    rotate(w, "rename")
    w.append("a.log", BROKEN[cut:] + AFTER)
    await settle(w)
    assert ended(AFTER) == (await texts(w))[25:]
    name = "enricher_source_discarded_lines_total"
    assert 6.0 == w.telemetry.registry.get_sample_value(name, {"reason": "dropped"})


async def test_a_hole_before_the_rest_of_an_event_is_skipped(world):
    w = await world()
    cut = cuts(BROKEN)[1]
    w.append("a.log", CALM + BROKEN[:cut])
    await w.step()
    rotate(w, "copytruncate")
    # A program that does not append goes on behind its old place.
    with (w.directory / "a.log").open("r+b") as file:
        file.seek(len(CALM) + cut)
        file.write(BROKEN[cut:] + AFTER)
    os.utime(w.directory / "a.log", (w.clock.time, w.clock.time))
    await settle(w)
    assert ended(BROKEN, AFTER) == (await texts(w))[25:]


# ---------------------------------------------------------------- the books


async def test_a_commit_that_fails_leaves_the_event_to_the_next_process(world, monkeypatch):
    w = await world()
    cut = cuts(BROKEN)[1]
    w.append("a.log", CALM + BROKEN[:cut])
    await w.step()
    rotate(w, "rename")
    w.append("a.log", BROKEN[cut:] + AFTER)
    await w.step()
    rows = await w.store.files("logs")

    async def die(block, now):
        raise StoreError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(w.store, "commit_block", die)
        with pytest.raises(StoreError):
            await w.step(6.0)
    assert rows == await w.store.files("logs")
    await w.start()
    await settle(w)
    assert ended(BROKEN, AFTER) == (await texts(w))[25:]
    # Another process finds nothing left.
    await w.start()
    assert 0 == await w.step(60.0)


async def test_books_and_ranges_say_where_each_line_lay(tmp_path):
    store = await sqlite(tmp_path)
    (tmp_path / "log").mkdir()
    w = await World(tmp_path / "log", store).start()
    cut = cuts(BROKEN)[1]
    w.append("a.log", CALM + BROKEN[:cut])
    await w.step()
    rotate(w, "rename")
    w.append("a.log", BROKEN[cut:] + at("10:59:59", "more") + AFTER)
    await settle(w)
    report = await store.window_report(window(10))
    found = {Path(os.fsdecode(one.path)).name: one for one in report.files}
    old, new = found["a.log.1"], found["a.log"]
    assert (len(CALM), len(CALM) + cut) == (old.first_byte, old.last_byte)
    assert (2, 1) == (old.lines, old.events)
    assert (0, (w.directory / "a.log").stat().st_size) == (new.first_byte, new.last_byte)
    assert (5, 1) == (new.lines, new.events)
    summary = await store.summary(w.clock.time)
    assert len((CALM + BROKEN).splitlines()) + 2 == summary.read_lines
    assert 25 + 3 == summary.read_events
    read = w.telemetry.registry.get_sample_value("enricher_source_read_bytes_total", {"source": "logs"})
    assert len(CALM + BROKEN + at("10:59:59", "more") + AFTER) == read
    await w.source.close()
    await store.close()


# ---------------------------------------------------------------- whatever the cuts

STEPS = st.lists(
    st.tuples(
        st.integers(1, 9),  # lines written before it
        st.sampled_from(["rename", "rename", "copytruncate", "restart", "nothing", "compress"]),
        st.sampled_from([0.01, 1.0, 3.0]),
    ),
    min_size=2,
    max_size=8,
)
# Each line tells by itself that it continues something: what a new file of two lines is like is learned of these.
FRAMES = TRACE.partition(b"\n")[2]
TIMED = [AFTER + FRAMES, ALERT, AFTER, AFTER + PYTHON, AFTER + b"  indented\n", AFTER + b"\n"]
NUMBERED = [b"[1] one\n", b"[22] two\n  more\n" + AFTER, b"[3] three\n\n" + TRACE, b"[4]\n" + b"}\n" * 9]


def told_apart(line, number):
    """Files of a few lines that are alike could be taken for each other."""
    return line.replace(b"123456", b"%06d" % number) if b"123456" in line else line.replace(b"\n", b" #%d\n" % number)


async def follow(pieces, steps, **rule):
    """The events of a log that is written piece by piece, and rotated in between."""
    with tempfile.TemporaryDirectory() as directory:
        w = await World(Path(directory), BlockStore(), **rule).start()
        for piece, (_, what, seconds) in zip(pieces, steps, strict=False):
            w.append("a.log", piece)
            await w.step(seconds)
            if what == "restart":
                await w.start()
            elif what in ("rename", "copytruncate"):
                rotate(w, what)
            elif what == "compress" and (old := w.directory / "a.log.1").exists():
                (w.directory / "a.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
                os.utime(w.directory / "a.log.1.gz", (old.stat().st_atime, old.stat().st_mtime))
                old.unlink()
        w.append("a.log", b"".join(pieces[len(steps) :]))
        await settle(w)
        await w.source.close()
    assert all(segment.shapes[0] != CONTINUES for segment in await w.segments())
    return sorted(text for _, _, text in await w.events())


@pytest.mark.parametrize(
    ("first", "choice", "rule"),
    [(CALM, TIMED, {}), (b"[0] begin\n", NUMBERED, {"multiline": ("start", r"^\[\d+\]")})],
)
@given(data=st.data(), steps=STEPS)
@settings(max_examples=25, derandomize=True, deadline=None)
def test_events_do_not_depend_on_rotations(first, choice, rule, data, steps):
    content = b"".join(data.draw(st.lists(st.sampled_from(choice), min_size=3, max_size=12))) + choice[0]
    lines = [told_apart(line, number) for number, line in enumerate(content.splitlines(keepends=True))]
    pieces = [first]
    for count, _, _ in steps[1:]:
        pieces.append(b"".join(lines[:count]))
        del lines[:count]
    pieces.append(b"".join(lines))
    expected = asyncio.run(follow([b"".join(pieces)], [], **rule))
    assert expected == asyncio.run(follow(pieces, steps, **rule))
