"""Ingest: from files to blocks whose books balance, however the reading was cut up."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.block import CONTINUES, SKIPPED
from enricher.core.event_id import event_id
from enricher.core.keying import EVENT_FORMAT
from enricher.core.merge import Merger
from enricher.core.skeleton import shape_of
from enricher.edges.source_files import turns
from tests.fakes_ingest import BlockStore, events_of
from tests.stages.reading import (
    ALERT,
    DETAILS,
    FORWARD,
    HOUR,
    NOW,
    SLOW_QUERY,
    TRACE,
    UNTIMED,
    World,
    at,
    window,
)

# ---------------------------------------------------------------- lines to events


async def test_event_lies_in_the_window_of_its_own_time(world):
    w = await world()
    w.append("a.log", at("10:59:59", "one") + at("11:00:00", "two") + at("10:10:00", "three"))
    assert await w.drain() == 3
    assert [(start, text[21:]) for start, _, text in await w.events()] == [
        (window(10), b"one"),
        (window(11), b"two"),
        (window(10), b"three"),
    ]


async def test_line_without_a_time_takes_that_of_the_line_before_across_reads(world):
    w = await world()
    w.append("a.log", at("10:10:00", "one"))
    await w.drain()
    w.append("a.log", b"no time here\n")
    await w.drain()
    assert [window(10)] * 2 == [start for start, _, _ in await w.events()]
    assert [row.anchor for row in await w.store.files("logs")] == [window(10) + 600]


async def test_position_offset_and_bytes_are_those_of_the_file(world):
    w = await world()
    w.append("a.log", at("10:10:00", "one"))
    await w.drain()
    w.append("a.log", at("10:10:01", "two"))
    await w.drain()
    content = (w.directory / "a.log").read_bytes()
    for _, offset, event in await w.events():
        assert content[offset : offset + len(event)] == event
    assert [row.position for row in await w.store.files("logs")] == [len(content)]


async def test_trace_is_one_event_and_makes_no_shapes_of_its_frames(world):
    w = await world()
    calm = b"".join(at(f"10:00:{second:02}", "calm") for second in range(30))
    w.append("a.log", calm + at("10:59:58", "ERROR broken") + TRACE + at("11:00:01", "after"))
    assert await w.drain() == 32
    events = await w.events()
    assert events[30][2].endswith(TRACE.strip(b"\n"))
    assert events[30][0] == window(10)
    shapes = await w.store.shapes()
    # The first line's shape, and that of the event as a whole, which names what failed and where.
    assert [row.shape.skeleton for row in shapes] == [
        "calm",
        "broken",
        (
            "broken\0 java.lang.IllegalStateException, caused by java.io.IOException"
            " at com.example.Shop.sell, com.example.Main.main"
        ),
        "after",
    ]


async def test_trace_is_held_back_until_its_end_was_seen(world):
    w = await world()
    w.append("a.log", b"".join(at(f"10:00:{second:02}", "calm") for second in range(30)))
    w.append("a.log", at("10:59:58", "ERROR broken") + TRACE[:90])
    assert await w.step() == 30
    assert [row.partial for row in await w.store.files("logs")] == [at("10:59:58", "ERROR broken") + TRACE[:90]]
    await w.start()
    w.append("a.log", TRACE[90:])
    assert await w.step() == 0
    assert await w.step(6.0) == 1
    assert (await w.events())[-1][2].endswith(TRACE.strip(b"\n"))


async def test_continuation_of_nothing_is_an_event_of_its_own(world):
    w = await world()
    calm = b"".join(at(f"10:00:{second:02}", "calm") for second in range(30))
    w.append("a.log", b"  indented at once\n" + calm + b"\n  after a blank\n  and more\n" + at("10:01:00", "end"))
    await w.drain()
    events = [text for _, _, text in await w.events()]
    assert events[0] == b"  indented at once"
    assert events[-2] == b"  after a blank\n  and more"


@pytest.mark.parametrize("banner", [1, 5, 300])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_banner_without_a_time_does_not_speak_for_the_lines_behind_it(world, banner, restart):
    w = await world()
    w.append("a.log", b"".join(b"the shop greets number %d\n" % number for number in range(banner)))
    await w.drain()
    if restart:
        await w.start()
    w.append("a.log", at("10:59:58", "ERROR broken") + b"  of two\n  lines\n")
    await w.drain()
    w.append("a.log", at("11:00:01", "after"))
    await w.drain()
    assert [(start, text.count(b"\n")) for start, _, text in await w.events()][-2:] == [
        (window(10), 2),
        (window(11), 0),
    ]


async def test_a_file_of_a_banner_and_one_event_of_several_lines_is_read_as_such_at_once(world):
    w = await world()
    w.once = True
    w.append("a.log", b"the shop greets you\n" + at("10:59:58", "ERROR broken") + b"  of two\n  lines\n")
    await w.start()
    await w.drain()
    assert [0, 2] == [text.count(b"\n") for _, _, text in await w.events()]


async def test_event_of_more_than_a_line_limit_is_not_waited_for(world):
    w = await world()
    calm = b"".join(at(f"10:00:{second:02}", "calm") for second in range(30))
    w.append("a.log", calm + at("10:01:00", "ERROR") + b"\tat com.example.Shop.sell(Shop.java:17)\n" * 8000)
    assert await w.step() >= 31


# ---------------------------------------------------------------- events of several lines


@pytest.mark.parametrize("event", [*UNTIMED, ALERT, DETAILS])
async def test_a_process_that_dies_between_reads_leaves_an_event_whole(world, event):
    w = await world()
    before = event if event in (ALERT, DETAILS) else b"starting\n"
    w.append("a.log", before)
    lines = event.splitlines(keepends=True)
    for count, line in enumerate(lines):
        # Half a line, then the rest of it, each read by another process.
        w.append("a.log", line[: len(line) // 2])
        await w.step()
        await w.start()
        w.append("a.log", line[len(line) // 2 :])
        await w.step()
        held = [row.partial for row in await w.store.files("logs")]
        assert held == [b"".join(lines[: count + 1])]
        await w.start()
    await w.step()
    await w.step(6.0)
    assert [text for _, _, text in await w.events()][-1] == event.strip(b"\n")
    assert len(await w.events()) == 2


@pytest.mark.parametrize("event", [*UNTIMED, ALERT])
@pytest.mark.parametrize("dies", [False, True])
async def test_an_event_half_written_at_a_rotation_goes_on_in_the_old_file(world, event, dies):
    w = await world()
    cut = event.index(b"\n", len(event) // 3) + 1
    old = b"2026-11-22T09:00:00Z old\n" if event is ALERT else b"old\n"
    # Nothing but a record or a time ends these two.
    new = b"2026-11-22T09:30:00Z new\n" if event in (ALERT, SLOW_QUERY) else b"new\n"
    w.append("a.log", old + event[:cut])
    await w.step()
    assert [row.partial for row in await w.store.files("logs")] == [event[:cut]]
    (w.directory / "a.log").rename(w.directory / "a.log.1")
    w.append("a.log", new + event)
    if dies:
        await w.start()
    with (w.directory / "a.log.1").open("ab") as file:
        file.write(event[cut:])
    os.utime(w.directory / "a.log.1", (w.clock.time, w.clock.time))
    await w.drain()
    await w.step(60.0)
    texts = [text for _, _, text in await w.events()]
    assert sorted([old.strip(), new.strip(), event.strip(b"\n"), event.strip(b"\n")]) == sorted(texts)


async def test_a_file_deleted_with_half_an_event_in_it_gives_that_half(world):
    w = await world()
    w.append("a.log", b"starting\n" + FORWARD[:99])
    await w.step()
    (w.directory / "a.log").unlink()
    for _ in range(3):
        await w.step(60.0)
    assert [b"starting", FORWARD[:98]] == [text for _, _, text in await w.events()]


@pytest.mark.parametrize(
    ("multiline", "texts"),
    [
        (("start", r"^\[\d"), [b"[1] one\n  two\nthree", b"[2] one\n> two"]),
        (("continues", r"^(?:> |three)"), [b"[1] one", b"  two\nthree", b"[2] one\n> two"]),
        (("off", None), [b"[1] one", b"  two", b"three", b"[2] one", b"> two"]),
        (("auto", None), [b"[1] one", b"  two", b"three", b"[2] one", b"> two"]),
    ],
)
async def test_lines_are_joined_as_the_user_says(world, multiline, texts):
    w = await world(multiline=multiline)
    for line in (b"[1] one\n", b"  two\n", b"three\n", b"[2] one\n", b"> two\n"):
        w.append("a.log", line)
        await w.step()
    await w.drain()
    assert texts == [text for _, _, text in await w.events()]


async def test_two_exceptions_behind_one_first_line_are_two_kinds(world):
    w = await world()
    calm = b"".join(at(f"10:00:{second:02}", "calm") for second in range(30))
    other = TRACE.replace(b"java.io.IOException", b"java.sql.SQLException")
    deeper = TRACE.replace(b"Shop.java:17", b"Shop.java:99").replace(b"... 2", b"... 9")
    w.append("a.log", calm)
    for trace in (TRACE, other, deeper, TRACE):
        w.append("a.log", at("10:01:00", "ERROR broken") + trace)
    w.append("a.log", at("10:01:00", "ERROR broken"))
    await w.drain()
    shapes = [shape for segment in await w.segments() for shape in segment.shapes.tolist() if shape != CONTINUES]
    first, second, third, fourth, alone = shapes[30:]
    assert first == third == fourth
    assert len({first, second, alone}) == 3
    rows = {row.id: row for row in await w.store.shapes()}
    assert rows[first].template.startswith(
        "broken\0 java.lang.IllegalStateException, caused by java.io.IOException at "
    )
    assert rows[alone].template == "broken"
    # Another process gives the same kinds.
    await w.start()
    w.append("b.log", calm + at("10:02:00", "ERROR broken") + TRACE)
    await w.drain()
    assert (await w.segments())[-1].shapes.tolist()[-6:].count(first) == 1


pieces_of_events = st.lists(
    st.sampled_from([*UNTIMED, ALERT, DETAILS, TRACE, b"word\n", b"\n", b"  indented\n", b"\xff\0\r\n", b"}\n"]),
    min_size=1,
    max_size=6,
).map(b"".join)


@given(content=pieces_of_events, cuts=st.lists(st.integers(1, 300), max_size=5), is_timed=st.booleans())
@settings(max_examples=25, derandomize=True, deadline=None)
def test_size_of_reads_changes_no_event_of_several_lines(content, cuts, is_timed):
    # What a file's events start with is learned of its first lines, which come first here.
    calm = b"".join(at(f"08:00:{second:02}", "calm") if is_timed else b"calm\n" for second in range(25))

    async def read(pieces):
        store = BlockStore()
        with tempfile.TemporaryDirectory() as directory:
            w = await World(Path(directory), store).start()
            w.append("a.log", calm)
            await w.drain()
            for piece in pieces:
                w.append("a.log", piece)
                await w.step()
            await w.drain()
            await w.step(60.0)
            await w.source.close()
        return [text for _, _, text in await World.events(w)]

    pieces, start = [], 0
    for cut in [*cuts, len(content)]:
        pieces.append(content[start : start + cut])
        start += cut
    assert asyncio.run(read(pieces)) == asyncio.run(read([content]))


# ---------------------------------------------------------------- what is no event


async def test_blank_and_dropped_lines_are_counted_apart(world):
    w = await world(drop=(r"healthz", r"(?i)^\S+ DEBUG"))
    w.append("a.log", at("10:00:00", "GET /healthz") + b"\n \n" + at("10:00:01", "debug x") + at("10:00:02", "kept"))
    assert await w.drain() == 1
    assert [text[21:] for _, _, text in await w.events()] == [b"kept"]
    assert [row.shape.skeleton for row in await w.store.shapes()] == ["kept"]
    assert counted(w) == {"blank": 2.0, "dropped": 2.0}


async def test_dropped_event_takes_its_continuations_along(world):
    w = await world(drop=("broken",))
    calm = b"".join(at(f"10:00:{second:02}", "calm") for second in range(30))
    w.append("a.log", calm + at("10:59:58", "ERROR broken") + TRACE + at("11:00:01", "after"))
    assert await w.drain() == 31
    assert counted(w) == {"blank": 0.0, "dropped": 6.0}


async def test_pattern_never_drops_by_what_stands_in_the_next_line(world):
    w = await world(drop=(r"one\s+2026", r"^\s+x"))
    w.append("a.log", at("10:00:00", "one") + at("10:00:01", "two"))
    assert await w.drain() == 2


def counted(w):
    return {
        kind: w.telemetry.registry.get_sample_value("enricher_source_discarded_lines_total", {"reason": kind})
        for kind in ("blank", "dropped")
    }


async def test_hole_and_cut_line_are_counted_as_lost(world):
    w = await world()
    with (w.directory / "a.log").open("wb") as file:
        file.truncate(5000)
    w.append("a.log", at("10:00:00", "x" * 300_000) + at("10:00:01", "end"))
    assert await w.drain() + await w.drain() == 2
    lost = w.telemetry.registry.get_sample_value("enricher_source_lost_bytes_total", {"source": "logs"})
    assert lost == 5000 + len(at("10:00:00", "x" * 300_000)) - 1 - 256 * 1024
    segments = await w.segments()
    assert sum(segment.lost_bytes for segment in segments) == lost - 5000
    content = (w.directory / "a.log").read_bytes()
    assert [content[offset : offset + 20] for _, offset, _ in await w.events()] == [
        at("10:00:00", "")[:20],
        at("10:00:01", "")[:20],
    ]


async def test_skipped_files_are_told_and_cost_no_other_event(world):
    w = await world()
    w.append("bad.log", b"\x02\x00\x00\x00bin" * 100)
    (w.directory / "x.log").mkdir()
    w.append("a.log", at("10:00:00", "one"))
    assert await w.drain() == 1
    for reason in ("binary", "directory"):
        name = "enricher_source_skipped_files_total"
        assert w.telemetry.registry.get_sample_value(name, {"reason": reason}) == 1.0


# ---------------------------------------------------------------- shapes


async def test_lines_of_a_kind_share_a_shape_over_files_and_restarts(world):
    w = await world()
    w.append("a.log", at("10:00:00", "user 1 in") + at("10:00:01", "user 22 in"))
    await w.drain()
    await w.start()
    w.append("b.log", at("10:00:02", "user 333 in"))
    await w.drain()
    assert len(await w.store.shapes()) == 1
    assert {shape for segment in await w.segments() for shape in segment.shapes.tolist()} == {1}


async def test_merges_are_committed_with_the_block_that_caused_them(world):
    w = await world()
    words = ("apple", "pear", "plum", "peach")
    w.append("a.log", b"".join(at("10:00:00", f"the cart holds {word} now") for word in words))
    await w.drain()
    roots = {row.root for row in await w.store.shapes()}
    if isinstance(w.store, BlockStore):
        assert {member for merge in w.store.merges for member in merge.members} == {1, 2, 3, 4}
    else:
        assert roots == {1}


async def test_merges_that_a_crash_left_out_are_found_again_before_the_first_lines(world):
    w = await world()
    shapes = [shape_of(at("10:00:00", f"the cart holds {word} now")) for word in ("apple", "pear", "plum")]
    await w.store.intern_shapes(shapes, NOW)
    await w.start()
    await w.step()
    if isinstance(w.store, BlockStore):
        assert [merge.members for merge in w.store.merges] == [(1, 2, 3)]
    else:
        assert {row.root for row in await w.store.shapes()} == {1}


async def test_every_event_has_a_shape_of_its_own_where_each_is_asked(world):
    w = await world(ask_events=True)
    calm = b"".join(at(f"10:00:{second:02}", "calm") for second in range(25))
    w.append("a.log", calm + at("10:59:58", "ERROR broken") + TRACE + b"\n" + at("11:00:01", "after"))
    assert await w.drain() == 27
    rows = await w.store.shapes()
    assert len({row.shape.id for row in rows}) == 27
    assert {row.shape.format for row in rows} == {EVENT_FORMAT}
    assert all(row.root == row.id for row in rows)
    identity = (await w.store.files("logs"))[0].identity
    names = [event_id(identity, offset, event) for _, offset, event in await w.events()]
    assert names == [row.shape.skeleton.partition("\0")[2] for row in rows]
    merger = Merger()
    await w.start()
    assert merger.resolve(1) == 1


# ---------------------------------------------------------------- the books


def checked(segments, counts):
    """The books of blocks: every line is an event's, blank or dropped, and each event is in one window."""
    lines = events = skipped = 0
    for segment in segments:
        lines += len(segment.shapes)
        skipped += segment.shapes.tolist().count(SKIPPED)
        events += len(events_of(segment))
        assert len(segment.shapes) == segment.data.count(b"\n")
        assert segment.shapes.tolist()[0] != CONTINUES
        assert len(set(segment.windows)) == len(segment.windows)
    assert counts == (lines, events, skipped)


some_lines = st.lists(
    st.one_of(
        st.integers(0, 7 * HOUR).map(lambda s: at(f"{8 + s // HOUR:02}:{s // 60 % 60:02}:{s % 60:02}", "job ran")),
        st.integers(0, 99).map(lambda number: at("10:10:10", f"job {number} of nobody dropped")),
        st.sampled_from([b"\n", b" \n", b"plain text\n", b"\tat a.b.C(D.java:1)\n", b"java.lang.Error: x\n"]),
    ),
    min_size=1,
    max_size=40,
)


@given(lines=some_lines, cuts=st.lists(st.integers(1, 400), min_size=1, max_size=6), block=st.integers(300, 2000))
@settings(max_examples=25, derandomize=True, deadline=None)
def test_size_of_reads_changes_no_event_and_no_window(lines, cuts, block):
    # What a file's events start with is learned of its first lines, which come first here.
    calm = b"".join(at(f"08:00:{second:02}", "calm start") for second in range(25))
    content = b"".join(lines)

    async def read(pieces, block_bytes):
        store = BlockStore()
        with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
            patch.setattr(turns, "MAX_BLOCK_BYTES", block_bytes)
            patch.setattr(turns, "WORTH_READING_BYTES", block_bytes)
            w = await World(Path(directory), store, drop=("dropped",)).start()
            w.source._line_bytes = min(block_bytes, 256)
            w.append("a.log", calm)
            await w.drain()
            for piece in pieces:
                w.append("a.log", piece)
                await w.step()
            await w.drain()
            await w.step(60.0)
            await w.source.close()
        counts = [one.counts for one in store.blocks]
        totals = (
            sum(one.lines for one in counts),
            sum(one.events for one in counts),
            sum(one.blank + one.dropped for one in counts),
        )
        checked(await store.segments_read(), totals)
        assert totals[0] == (calm + content).count(b"\n")
        return await World.events(w)

    pieces, start = [], 0
    for cut in [*cuts, len(content)]:
        pieces.append(content[start : start + cut])
        start += cut
    whole = asyncio.run(read([content], 1 << 22))
    assert asyncio.run(read(pieces, block)) == whole


async def test_window_of_more_than_a_byte_can_index_is_kept(world):
    w = await world()
    lines = [f"2024-{1 + day // 28:02}-{1 + day % 28:02}T10:00:00Z day {day}\n".encode() for day in range(300)]
    w.append("a.log", b"".join(lines))
    assert await w.drain() == 300
    assert len({start for start, _, _ in await w.events()}) == 300


async def test_loop_is_not_blocked_while_a_block_is_keyed(world):
    w = await world()
    w.append("a.log", b"".join(at("10:00:00", f"job {number} ran") for number in range(20_000)))
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.ensure_future(tick())
    await w.step()
    ticking.cancel()
    assert ticks > 20
