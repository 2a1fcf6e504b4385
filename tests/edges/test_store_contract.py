"""What `ports.Store` promises, by behaviour, on a file on disk and on one in memory."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from enricher.core.block import CONTINUES, SKIPPED, Block, BlockCounts, FileState, Segment, Tail
from enricher.core.ledger import (
    BatchState,
    LedgerBatch,
    LedgerRequest,
    RequestResult,
    RequestState,
    StoredAnswer,
)
from enricher.core.merge import Merge
from enricher.core.skeleton import Shape
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import StoreError

NOW = 1_795_000_000.0  # 2026-11-18, well inside a month
DAY = 86_400.0
W0, W1, W2 = 1_794_996_000, 1_794_999_600, 1_795_003_200
TASK, MODEL = "task-1", "model-1"
IN_MEMORY = Path("/dev/shm")
PLACES = ["disk", "memory"] if IN_MEMORY.is_dir() else ["disk"]


@pytest.fixture(params=PLACES)
async def store(request, tmp_path):
    directory = tmp_path if request.param == "disk" else Path(tempfile.mkdtemp(dir=IN_MEMORY))
    opened = await SqliteStore.open(directory / "state")
    yield opened
    await opened.close()
    shutil.rmtree(directory)


# ---------------------------------------------------------------- builders


def a_shape(word: str) -> Shape:
    return Shape(format="text", level="INFO", program="shop", skeleton=word)


def a_file(**changes) -> FileState:
    state = FileState(
        id=0,
        source="varlog",
        path=b"/var/log/shop.log",
        device=2**64 - 1,
        inode=2**63 + 5,
        birth="",
        head_bytes=10,
        head_hash=b"h" * 32,
        marker=b"m",
        codec="plain",
        generation=0,
        identity="1" * 16,
        position=0,
        partial=b"",
        anchor=None,
        learned=None,
        size_seen=0,
        mtime_seen=0.0,
        gone_at=None,
    )
    return replace(state, **changes)


def a_segment(shapes, *, file: FileState, windows=(W0,), index=None, **changes) -> Segment:
    """Line n of the segment reads `line n`."""
    data = b"".join(b"line %d\n" % number for number in range(len(shapes)))
    segment = Segment(
        source=file.source,
        file_id=file.id,
        path=file.path,
        identity=file.identity,
        generation=file.generation,
        offset=file.position,
        data=data,
        lost_bytes=0,
        shapes=np.array(shapes, dtype=np.uint32),
        windows=windows,
        window_index=None if index is None else np.array(index, dtype=np.uint8),
        read_at=NOW,
        anchor=None,
        fallback=NOW,
        time_rule="{}",
    )
    return replace(segment, **changes)


def a_block(*segments: Segment, files=(), merges=()) -> Block:
    shapes = [shape for segment in segments for shape in segment.shapes.tolist()]
    events = sum(shape not in (SKIPPED, CONTINUES) for shape in shapes)
    counts = BlockCounts(lines=len(shapes), events=events, blank=shapes.count(SKIPPED), dropped=0, lost_bytes=0)
    return Block(segments=segments, files=tuple(files), merges=tuple(merges), counts=counts)


async def spool(store, shapes, *, file=None, windows=(W0,), index=None, now=NOW):
    """Commit lines at the end of a file; gives its new row."""
    file = file or a_file()
    segment = a_segment(shapes, file=file, windows=windows, index=index)
    after = replace(file, position=file.position + len(segment.data))
    receipt = await store.commit_block(a_block(segment, files=[after]), now)
    return receipt.files[0]


def a_request(*signatures: str, **changes) -> LedgerRequest:
    request = LedgerRequest(
        id="r-" + "-".join(signatures),
        task=TASK,
        model=MODEL,
        endpoint="/v1/responses",
        signatures=signatures,
        templates=tuple(" ".join(["a", *["<*>"] * number]) for number in range(len(signatures))),
        body=b'{"input": "?"}',
        tokens=100,
        reserved_usd=0.5,
        window=W0,
        state=RequestState.LIVE,
        attempt=1,
        tries=0,
    )
    return replace(request, **changes)


def a_batch(name: str = "b1", **changes) -> LedgerBatch:
    batch = LedgerBatch(
        id=0,
        name=name,
        job="job-" + name,
        window=W0,
        part=0,
        attempt=1,
        windows=1,
        task=TASK,
        model=MODEL,
        endpoint="/v1/responses",
        state=BatchState.PLANNED,
        requests=1,
        size_bytes=1000,
        tokens=100,
        reserved_usd=0.5,
        planned_at=NOW,
    )
    return replace(batch, **changes)


def an_answer(signature: str, status: str = "ok", **changes) -> StoredAnswer:
    answer = StoredAnswer(
        id=0,
        signature=signature,
        task=TASK,
        model=MODEL,
        served_model="model-1-2026",
        status=status,
        body='{"severity": "info"}' if status == "ok" else "",
        batch_id="batch_1",
        answered_at=NOW + 100,
    )
    return replace(answer, **changes)


def a_result(request: LedgerRequest, *answers: StoredAnswer, state=RequestState.ANSWERED, **changes) -> RequestResult:
    result = RequestResult(
        id=request.id,
        custom_id=request.id + "-1",
        state=state,
        counts=True,
        error="",
        usage=(10, 4, 6),
        cost_usd=0.25,
        answers=answers,
    )
    return replace(result, **changes)


async def plan(store, *requests: LedgerRequest, closed=(), name="b1", now=NOW + 50) -> LedgerBatch | None:
    batches = [(a_batch(name), [request.id for request in requests])] if requests else []
    stored = await store.commit_plan(
        closed=dict.fromkeys(closed, "complete"), requests=requests, batches=batches, task=TASK, model=MODEL, now=now
    )
    return stored[0] if stored else None


async def answer(store, *signatures: str, name="b1", now=NOW + 100, status="ok") -> None:
    request = a_request(*signatures)
    batch = await plan(store, request, name=name, now=now)
    results = [a_result(request, *(an_answer(one, status, answered_at=now) for one in signatures))]
    await store.collect(batch, results, now)


async def deliver(store, part, sink="files", **changes) -> None:
    facts = {"sha256": "f" * 64, "size_bytes": 10, "events": part.events, "lines": part.events, "filtered": 0}
    await store.delivered(sink, part, **facts | changes, now=NOW + 300)


async def write_all(store, pane, sink="files") -> None:
    for part in await store.decide(pane, await store.undecided(pane), events_per_part=1000):
        await deliver(store, part, sink)


async def segments_of(store, pane):
    return [one async for one in store.segments(pane)]


def statuses(outcomes) -> dict[str, str]:
    return {outcome.signature: outcome.status for outcome in outcomes}


# ---------------------------------------------------------------- registry and shapes


async def test_a_committed_file_is_given_back_as_it_was_with_its_id(store):
    state = a_file(position=7, partial=b"half a li", anchor=1.5, learned=True, path=b"/var/log/\xff.log", gone_at=2.0)
    receipt = await store.commit_block(a_block(files=[state]), NOW)
    assert [replace(state, id=receipt.files[0].id)] == await store.files("varlog")
    assert receipt.files[0].id > 0
    assert [] == await store.files("another")


async def test_a_file_keeps_its_row_when_it_is_renamed(store):
    first = (await store.commit_block(a_block(files=[a_file()]), NOW)).files[0]
    moved = replace(first, path=b"/var/log/shop.log.1", position=5, learned=False)
    await store.commit_block(a_block(files=[moved]), NOW)
    assert [moved] == await store.files("varlog")


async def test_shapes_are_interned_once_in_the_order_given(store):
    assert [1, 2, 1] == await store.intern_shapes([a_shape("a"), a_shape("b"), a_shape("a")], NOW)
    assert [3, 2] == await store.intern_shapes([a_shape("c"), a_shape("b")], NOW)
    rows = await store.shapes()
    assert [(1, a_shape("a"), 1, "a"), (2, a_shape("b"), 2, "b"), (3, a_shape("c"), 3, "c")] == [
        (row.id, row.shape, row.root, row.template) for row in rows
    ]


async def test_a_merge_resolves_all_members_and_their_classes_to_the_oldest(store):
    await store.intern_shapes([a_shape(word) for word in "abcd"], NOW)
    await store.commit_merges([Merge(members=(3, 4), template="c <*>")], NOW)
    await store.commit_merges([Merge(members=(2, 4), template="<*>")], NOW)
    assert [(1, "a"), (2, "<*>"), (2, "<*>"), (2, "<*>")] == [(row.root, row.template) for row in await store.shapes()]


async def test_repeating_an_older_merge_does_not_narrow_a_template_again(store):
    await store.intern_shapes([a_shape(word) for word in "abc"], NOW)
    narrow, wide = Merge(members=(1, 2), template="<*> b"), Merge(members=(1, 3), template="<*> <*>")
    await store.commit_merges([narrow, wide], NOW)
    before = await store.shapes()
    await store.commit_merges([narrow, wide], NOW + 1)
    assert before == await store.shapes()


async def test_a_merge_goes_to_the_member_that_has_an_answer(store):
    shapes = [a_shape(word) for word in "ab"]
    await store.intern_shapes(shapes, NOW)
    await answer(store, shapes[1].id)
    await store.commit_merges([Merge(members=(1, 2), template="<*>")], NOW)
    assert [2, 2] == [row.root for row in await store.shapes()]


async def test_an_answer_that_comes_after_its_signature_was_merged_away_serves_the_merged_one(store):
    shapes = [a_shape(word) for word in "ab"]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1, 2])
    batch = await plan(store, a_request(shapes[1].id))
    await store.commit_merges([Merge(members=(1, 2), template="<*>")], NOW)
    assert [] == await store.kinds([(W0, 0)], TASK, MODEL, NOW)  # it is on its way under the old id
    await store.collect(batch, [a_result(a_request(shapes[1].id), an_answer(shapes[1].id))], NOW)
    assert [2, 2] == [row.root for row in await store.shapes()]
    assert [] == await store.kinds([(W0, 0)], TASK, MODEL, NOW)


# ---------------------------------------------------------------- blocks


async def test_a_segment_comes_back_as_it_was_spooled(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    file = a_file(identity="2" * 16, generation=3, path=b"/log/\xfe")
    first = a_segment(
        [1, CONTINUES, SKIPPED, 2], file=file, windows=(W0, W1), index=[0, 0, 0, 1], lost_bytes=9, anchor=3.5
    )
    receipt = await store.commit_block(a_block(first, files=[replace(file, position=1000)]), NOW)
    (spooled,) = await segments_of(store, (W1, 0))
    assert (0, 0) == spooled.panes
    assert ((W0, 0), (W1, 0)) == receipt.panes_opened
    assert first.shapes.tolist() == spooled.segment.shapes.tolist()
    assert first.window_index.tolist() == spooled.segment.window_index.tolist()
    assert (np.uint32, np.uint8) == (spooled.segment.shapes.dtype, spooled.segment.window_index.dtype)
    plain = {"shapes": None, "window_index": None, "file_id": receipt.files[0].id}
    assert replace(first, **plain) == replace(spooled.segment, **plain)


async def test_wide_window_indexes_keep_their_type(store):
    await store.intern_shapes([a_shape("a")], NOW)
    windows = tuple(W0 + 3600 * number for number in range(300))
    file = a_file()
    segment = a_segment([1] * 300, file=file, windows=windows)
    segment = replace(segment, window_index=np.arange(300, dtype=np.uint16))
    await store.commit_block(a_block(segment, files=[replace(file, position=9999)]), NOW)
    (spooled,) = await segments_of(store, (windows[299], 0))
    assert np.uint16 == spooled.segment.window_index.dtype
    assert list(range(300)) == spooled.segment.window_index.tolist()
    assert 300 == len(await store.open_panes())


async def test_panes_count_events_and_the_lines_that_continue_them(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    file = await spool(
        store, [1, CONTINUES, CONTINUES, SKIPPED, 2, 1], windows=(W0, W1), index=[0, 0, 0, 0, 1, 0], now=NOW
    )
    await spool(store, [2, CONTINUES], file=file, windows=(W1,), now=NOW + 5)
    panes = await store.open_panes()
    assert [(W0, 0, 2, 4, NOW), (W1, 0, 2, 3, NOW)] == [
        (pane.start, pane.number, pane.events, pane.lines, pane.first_event_at) for pane in panes
    ]
    summary = await store.summary(NOW)
    assert (8, 4, 1, 4) == (summary.read_lines, summary.read_events, summary.blank_lines, summary.pending_events)


async def test_lines_that_lie_in_other_files_are_in_the_ranges_of_those(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    file, one, two = a_file(), a_file(path=b"/log/2"), a_file(path=b"/log/1")
    tails = (
        Tail(path=b"/log/2", identity="2", generation=7, offset=3, size_bytes=7, lines=1),
        Tail(path=b"/log/1", identity="1", generation=0, offset=0, size_bytes=14, lines=2),
    )
    shapes = [1, 2, CONTINUES, CONTINUES, CONTINUES, CONTINUES]
    segment = a_segment(shapes, file=file, windows=(W0, W1), index=[0, 1, 1, 1, 1, 1], tails=tails)
    block = a_block(segment, files=[replace(file, position=21), replace(one, position=10), replace(two, position=14)])
    await store.commit_block(block, NOW)
    await store.commit_block(block, NOW)
    first, second = await store.window_report(W0), await store.window_report(W1)
    assert [(b"/var/log/shop.log", 0, 0, 21, 1, 1)] == [span(one) for one in first.files]
    assert {
        (b"/var/log/shop.log", 0, 0, 21, 2, 1),
        (b"/log/2", 7, 3, 10, 1, 0),
        (b"/log/1", 0, 0, 14, 2, 0),
    } == {span(one) for one in second.files}
    assert (6, 2) == ((await store.summary(NOW)).read_lines, (await store.summary(NOW)).read_events)
    (spooled,) = await segments_of(store, (W1, 0))
    assert segment.data == spooled.segment.data


async def test_lines_in_other_files_of_a_dropped_event_are_in_no_range(store):
    await store.intern_shapes([a_shape("a")], NOW)
    file = a_file()
    tail = Tail(path=b"/log/1", identity="1", generation=0, offset=0, size_bytes=7, lines=1)
    segment = a_segment([1, SKIPPED, SKIPPED], file=file, tails=(tail,))
    await store.commit_block(a_block(segment, files=[replace(file, position=14)]), NOW)
    assert [b"/var/log/shop.log"] == [one.path for one in (await store.window_report(W0)).files]


async def test_a_block_of_nothing_but_skipped_lines_moves_the_position_and_spools_nothing(store):
    file = await spool(store, [SKIPPED, SKIPPED])
    assert 14 == file.position
    assert [] == await store.open_panes()
    assert 0 == (await store.summary(NOW)).spool_bytes


async def test_a_block_committed_again_changes_nothing(store):
    await store.intern_shapes([a_shape("a")], NOW)
    file = a_file()
    segment = a_segment([1, 1], file=file)
    block = a_block(segment, files=[replace(file, position=14)])
    first = await store.commit_block(block, NOW)
    again = await store.commit_block(block, NOW + 1)
    assert first.files == again.files
    assert [2] == [pane.events for pane in await store.open_panes()]
    assert 2 == (await store.summary(NOW)).read_events


async def test_a_block_that_fails_stops_the_store(store):
    await store.intern_shapes([a_shape("a")], NOW)
    with pytest.raises(StoreError):
        await spool(store, [1, 77])  # shape 77 was never interned
    with pytest.raises(StoreError):
        await store.files("varlog")


async def test_merges_of_a_block_are_committed_with_it(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    await store.commit_block(a_block(files=[a_file()], merges=[Merge(members=(1, 2), template="<*>")]), NOW)
    assert [1, 1] == [row.root for row in await store.shapes()]


async def test_segments_come_in_the_order_of_path_generation_and_offset(store):
    await store.intern_shapes([a_shape("a")], NOW)
    later = a_file(path=b"/b", identity="b" * 16)
    early = a_file(path=b"/a", identity="a" * 16)
    rotated = a_file(path=b"/a", identity="c" * 16, generation=1)
    for file in (later, rotated, early):
        after = await spool(store, [1], file=file)
        await spool(store, [1], file=after)
    found = [
        (one.segment.path, one.segment.generation, one.segment.offset) for one in await segments_of(store, (W0, 0))
    ]
    assert [(b"/a", 0, 0), (b"/a", 0, 7), (b"/a", 1, 0), (b"/a", 1, 7), (b"/b", 0, 0), (b"/b", 0, 7)] == found


#   window W0:   on time ──┤closed├── late ── late ──┤closed├── late
#   pane:           0                  1        1                  2
async def test_late_events_open_a_pane_and_join_it_while_it_is_open(store):
    await store.intern_shapes([a_shape("a")], NOW)
    file = await spool(store, [1])
    await plan(store, closed=[(W0, 0)])
    segment = a_segment([1, 1], file=file, windows=(W0, W1), index=[0, 1])
    file = replace(file, position=file.position + 14)
    receipt = await store.commit_block(a_block(segment, files=[file]), NOW + 60)
    assert (1, ((W0, 1), (W1, 0))) == (receipt.late_events, receipt.panes_opened)
    receipt = await store.commit_block(
        a_block(a_segment([1], file=file), files=[replace(file, position=file.position + 7)]), NOW + 61
    )
    assert (1, ()) == (receipt.late_events, receipt.panes_opened)
    file = receipt.files[0]
    await plan(store, closed=[(W0, 1)])
    await spool(store, [1], file=file, now=NOW + 90)
    open_panes = [(pane.start, pane.number, pane.events, pane.first_event_at) for pane in await store.open_panes()]
    assert [(W0, 2, 1, NOW + 90), (W1, 0, 1, NOW + 60)] == open_panes
    assert [(W0, 0, 1), (W0, 1, 2)] == [(one.start, one.number, one.events) for one in await store.closed_panes()]
    assert [((1, 0),), ((1,),)] == [(one.panes,) for one in await segments_of(store, (W0, 1))]


# ---------------------------------------------------------------- plan


async def test_kinds_are_ordered_by_window_then_events_then_signature(store):
    shapes = [a_shape(word) for word in "abcd"]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1, 2, 2, 3, 4, 1], windows=(W0, W1), index=[1, 1, 1, 0, 1, 1])
    kinds = await store.kinds([(W0, 0), (W1, 0)], TASK, MODEL, NOW)
    both = sorted([(shapes[0].id, 2), (shapes[1].id, 2)])
    assert [(shapes[2].id, 1), *both, (shapes[3].id, 1)] == [(kind.signature, kind.events) for kind in kinds]
    assert [(W0, 0), (W1, 0), (W1, 0), (W1, 0)] == [(kind.window, kind.pane) for kind in kinds]


async def test_a_kind_gathers_its_shapes_and_the_earliest_window_that_needs_it(store):
    shapes = [a_shape(word) for word in "abc"]
    await store.intern_shapes(shapes, NOW)
    await store.commit_merges([Merge(members=(1, 3), template="<*>")], NOW)
    await spool(store, [3, 1, 1, 2], windows=(W0, W1), index=[1, 1, 0, 0])
    (merged,) = [kind for kind in await store.kinds([(W0, 0), (W1, 0)], TASK, MODEL, NOW) if len(kind.shapes) == 2]
    assert (shapes[0].id, (1, 3), "<*>", "INFO", "shop", 3, W0, 0, False, 0) == (
        merged.signature,
        merged.shapes,
        merged.template,
        merged.level,
        merged.program,
        merged.events,
        merged.window,
        merged.pane,
        merged.alone,
        merged.tries,
    )
    assert [W1] == [kind.window for kind in await store.kinds([(W1, 0)], TASK, MODEL, NOW)]


@pytest.mark.parametrize("status", ["ok", "invalid", "refused", "error"])
async def test_a_signature_with_any_answer_is_not_asked_again(store, status):
    (shape,) = shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    assert [shape.id] == [kind.signature for kind in await store.kinds([(W0, 0)], TASK, MODEL, NOW)]
    await answer(store, shape.id, status=status)
    assert [] == await store.kinds([(W0, 0)], TASK, MODEL, NOW)
    # Another model is always asked, another version of the task where the old one has nothing that is of use.
    asked = [await store.kinds([(W0, 0)], *key, NOW) for key in ((TASK, "another"), ("another", MODEL))]
    expected = [["model_changed"], []] if status == "ok" else [["new"], ["new"]]
    assert expected == [[kind.reason for kind in kinds] for kinds in asked]


async def test_a_signature_in_a_live_or_again_request_is_not_asked_again(store):
    (shape,) = shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    request = a_request(shape.id)
    batch = await plan(store, request)
    assert [] == await store.kinds([(W0, 0)], TASK, MODEL, NOW)
    await store.collect(batch, [a_result(request, state=RequestState.AGAIN)], NOW)
    assert [] == await store.kinds([(W0, 0)], TASK, MODEL, NOW)


async def test_signatures_of_a_split_request_are_asked_alone_with_their_tries(store):
    shapes = [a_shape("a"), a_shape("b")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1, 2])
    request = a_request(*(shape.id for shape in shapes))
    batch = await plan(store, request, closed=[(W0, 0)])
    split = a_result(request, an_answer(shapes[0].id), state=RequestState.SPLIT)
    await store.collect(batch, [split], NOW + 70)
    (kind,) = await store.kinds([], TASK, MODEL, NOW)
    assert (shapes[1].id, True, 1) == (kind.signature, kind.alone, kind.tries)


async def test_without_panes_kinds_are_those_of_closed_panes_that_are_not_done(store):
    shapes = [a_shape("a"), a_shape("b"), a_shape("c")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1, 2, 3], windows=(W0, W1, W2), index=[0, 1, 2])
    await plan(store, closed=[(W0, 0), (W1, 0)])
    await write_all(store, (W0, 0))
    await store.finish_pane((W0, 0), NOW)
    assert [shapes[1].id] == [kind.signature for kind in await store.kinds([], TASK, MODEL, NOW)]


async def test_what_a_round_has_is_not_asked_for_any_more(store):
    await store.intern_shapes([a_shape("a")], NOW)
    await spool(store, [1])
    await plan(store, closed=[(W0, 0)])
    await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=10)
    assert [] == await store.kinds([], TASK, MODEL, NOW)


async def test_samples_are_whole_events_of_the_panes_asked_for(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    await spool(store, [1, CONTINUES, 2, 1, 2, 1], windows=(W0, W1), index=[0, 0, 0, 1, 1, 0])
    samples = await store.samples({"sa": [1], "sb": [2], "none": [9]}, [(W0, 0)], 5)
    assert {"sa": [b"line 0\nline 1", b"line 5"], "sb": [b"line 2"]} == samples


async def test_samples_are_limited_per_kind_and_spread(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    file = await spool(store, [1] * 9)
    await spool(store, [1, 2], file=file)
    assert {"sa": [b"line 0", b"line 4", b"line 8"]} == await store.samples({"sa": [1]}, [(W0, 0)], 3)
    assert 11 == len((await store.samples({"s": [1, 2]}, [(W0, 0)], 12))["s"])


async def test_a_plan_closes_panes_and_stores_batches_with_their_requests_in_order(store):
    await store.intern_shapes([a_shape("a")], NOW)
    await spool(store, [1])
    requests = [a_request("y", "z"), a_request("x")]
    batch = await plan(store, *requests, closed=[(W0, 0)])
    assert [batch] == await store.batches([BatchState.PLANNED])
    assert requests == await store.batch_requests(batch.id)
    (pane,) = await store.closed_panes()
    assert ("closed", NOW + 50, "complete", TASK, MODEL) == (
        pane.state,
        pane.closed_at,
        pane.how,
        pane.task,
        pane.model,
    )
    assert [] == await store.open_panes()


async def test_a_plan_committed_again_changes_nothing(store):
    await store.intern_shapes([a_shape("a")], NOW)
    await spool(store, [1])
    request = a_request("x")
    batch = await plan(store, request, closed=[(W0, 0)])
    assert batch == await plan(store, request, closed=[(W0, 0)], now=NOW + 99)
    assert [batch] == await store.batches(list(BatchState))
    assert [request] == await store.batch_requests(batch.id)
    assert [NOW + 50] == [pane.closed_at for pane in await store.closed_panes()]


async def test_batch_files_of_a_window_are_numbered_on(store):
    assert 0 == await store.next_part(W0)
    await plan(store, a_request("x"))
    assert (1, 0) == (await store.next_part(W0), await store.next_part(W1))


@pytest.mark.parametrize("given", [True, False])
async def test_a_request_again_goes_into_its_new_batch_with_the_next_attempt(store, given):
    request = a_request("x", "y")
    batch = await plan(store, request)
    lost = a_result(request, state=RequestState.AGAIN, counts=False, usage=(0, 0, 0), cost_usd=0.0)
    await store.collect(batch, [lost], NOW)
    (again,) = await store.requests_again()
    assert replace(request, state=RequestState.AGAIN) == again
    (second,) = await store.commit_plan(
        closed={},
        requests=[again] if given else [],
        batches=[(a_batch("b2"), [request.id])],
        task=TASK,
        model=MODEL,
        now=NOW,
    )
    assert [replace(request, attempt=2)] == await store.batch_requests(second.id)
    assert [] == await store.requests_again()
    assert [] == await store.batch_requests(batch.id)


# ---------------------------------------------------------------- submit and track


async def test_a_batch_is_saved_with_every_field(store):
    stored = await plan(store, a_request("x"))
    changed = replace(
        stored,
        state=BatchState.OPEN,
        input_file_id="file-1",
        batch_id="batch_1",
        status="in_progress",
        intent_at=1.0,
        created_at=2.0,
        expires_at=3.0,
        next_at=4.0,
        failures=5,
        looks=6,
        error="e",
        outcome=None,
    )
    await store.save_batch(changed)
    assert [changed] == await store.batches([BatchState.OPEN, BatchState.CREATING])
    assert [] == await store.batches([BatchState.PLANNED])


async def test_a_late_save_does_not_bring_a_batch_back_that_is_done(store):
    request = a_request("x")
    batch = await plan(store, request)
    await store.collect(batch, [a_result(request, an_answer("x"))], NOW)
    await store.save_batch(replace(batch, state=BatchState.OPEN))
    assert [] == await store.batches([BatchState.OPEN])


async def test_a_batch_that_is_not_in_the_ledger_cannot_be_saved(store):
    with pytest.raises(StoreError, match="batch 5"):
        await store.save_batch(a_batch(id=5))


async def test_collecting_again_books_and_answers_nothing_twice(store):
    request = a_request("x")
    batch = await plan(store, request)
    done = replace(batch, outcome="completed", status="completed")
    for _ in range(2):
        await store.collect(done, [a_result(request, an_answer("x"))], NOW)
    summary = await store.summary(NOW)
    assert ({"ok": 1}, {"answered": 1}, {"done": 1}) == (summary.answers, summary.requests, summary.batches)
    assert (10, 4, 6, 0.25) == (
        summary.input_tokens,
        summary.cached_tokens,
        summary.output_tokens,
        summary.cost_usd,
    )
    (stored,) = await store.batches([BatchState.DONE])
    assert (
        replace(done, state=BatchState.DONE, input_tokens=10, cached_tokens=4, output_tokens=6, cost_usd=0.25) == stored
    )


async def test_a_request_that_collecting_says_nothing_about_is_asked_again(store):
    said, unsaid = a_request("x"), a_request("y")
    batch = await plan(store, said, unsaid)
    await store.collect(batch, [a_result(said, an_answer("x"))], NOW)
    assert [replace(unsaid, state=RequestState.AGAIN)] == await store.requests_again()


async def test_tries_count_only_the_sendings_that_count(store):
    request = a_request("x")
    for number, counts in enumerate([True, False, True]):
        batch = await plan(store, request, name=f"b{number}")
        await store.collect(batch, [a_result(request, state=RequestState.AGAIN, counts=counts)], NOW)
    (again,) = await store.requests_again()
    assert (2, 3) == (again.tries, again.attempt)


async def test_an_ok_answer_is_never_replaced_by_one_that_is_not(store):
    shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    await plan(store, closed=[(W0, 0)])
    await answer(store, shapes[0].id, name="b1")
    await answer(store, shapes[0].id, name="b2", status="invalid")
    assert ["ok"] == [outcome.status for outcome in await store.undecided((W0, 0))]
    await answer(store, shapes[0].id, name="b3", now=NOW + 500)
    assert [NOW + 500] == [outcome.answer.answered_at for outcome in await store.undecided((W0, 0))]
    assert {"ok": 1} == (await store.summary(NOW)).answers


async def test_a_failed_signature_can_be_answered_later(store):
    await answer(store, "x", name="b1", status="error")
    await answer(store, "x", name="b2")
    assert {"ok": 1} == (await store.summary(NOW)).answers


async def test_money_is_booked_by_the_utc_day_and_month_of_collecting(store):
    midnight = 1_793_491_200.0  # 2026-11-01T00:00:00Z
    for number, at in enumerate([midnight - 1, midnight, midnight + 86_400]):
        request = a_request(f"s{number}")
        batch = await plan(store, request, name=f"b{number}")
        await store.collect(batch, [a_result(request, cost_usd=float(10**number))], at)
    seen = [await store.money(at) for at in (midnight - 1, midnight, midnight + 86_400)]
    assert (10.0, 10.0 + 100.0) == (seen[1].today_usd - 100.0, seen[1].month_usd)
    assert (100.0, 110.0) == (seen[2].today_usd, seen[2].month_usd)


async def test_money_and_tokens_are_reserved_from_the_intent_to_the_end(store):
    batch = await plan(store, a_request("x"))
    reserved = []
    for state in BatchState:
        if state is not BatchState.DONE:
            await store.save_batch(replace(batch, state=state))
            reserved.append(((await store.money(NOW)).reserved_usd, await store.reserved_tokens(MODEL)))
    assert [(0.0, 0)] + [(0.5, 100)] * 4 == reserved
    assert 0 == await store.reserved_tokens("another model")
    await store.collect(batch, [], NOW)
    assert (0.0, 0) == ((await store.money(NOW)).reserved_usd, await store.reserved_tokens(MODEL))


async def test_a_token_limit_is_learned_corrected_and_believed_less_each_day(store):
    assert None is await store.token_limit(MODEL, NOW)
    await store.learn_token_limit(MODEL, 90_000, NOW - 3 * DAY)
    assert 8 * 90_000 == await store.token_limit(MODEL, NOW)
    await store.learn_token_limit(MODEL, 200_000, NOW)
    assert 200_000 == await store.token_limit(MODEL, NOW + DAY - 1)
    assert 400_000 == await store.token_limit(MODEL, NOW + DAY)


async def test_a_skipped_batch_costs_nothing_and_can_be_asked_later(store):
    shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    request = a_request(shapes[0].id)
    batch = await plan(store, request, closed=[(W0, 0)])
    await store.skip_batch(batch, "over the daily budget", NOW)
    await store.skip_batch(batch, "again", NOW)
    (done,) = await store.batches([BatchState.DONE])
    assert ("skipped", "over the daily budget") == (done.outcome, done.error)
    assert 0.0 == (await store.money(NOW)).today_usd
    assert ["skipped_budget"] == [outcome.status for outcome in await store.undecided((W0, 0))]
    assert [] == await store.kinds([], TASK, MODEL, NOW)
    await spool(store, [1], file=a_file(identity="2" * 16, path=b"/var/log/later.log"), windows=(W1,))
    assert [shapes[0].id] == [kind.signature for kind in await store.kinds([(W1, 0)], TASK, MODEL, NOW)]
    await plan(store, request, name="b2")
    assert ["pending"] == [outcome.status for outcome in await store.undecided((W0, 0))]


@pytest.mark.parametrize("state", [BatchState.UPLOADING, BatchState.CREATING, BatchState.OPEN])
async def test_a_batch_that_may_have_been_sent_is_not_skipped(store, state):
    shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    batch = await plan(store, a_request(shapes[0].id), closed=[(W0, 0)])
    sent = replace(batch, state=state, intent_at=None if state is BatchState.OPEN else NOW)
    assert await store.save_batch(sent)
    await store.skip_batch(batch, "the model has changed", NOW)
    assert [sent] == await store.batches([state])


async def test_ids_of_the_provider_are_known_for_good(store):
    shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    batch = await plan(store, a_request(shapes[0].id), closed=[(W0, 0)])
    await store.save_batch(replace(batch, state=BatchState.OPEN, batch_id="batch-1"))
    assert {"batch-1"} == await store.known_batches(["batch-1", "batch-2"])
    await store.collect(replace(batch, state=BatchState.DONE, batch_id="batch-1"), (), NOW)
    assert {"batch-1"} == await store.known_batches(["batch-1", "batch-2"])
    assert set() == await store.known_batches([])


async def test_a_batch_that_is_over_cannot_be_saved(store):
    shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    batch = await plan(store, a_request(shapes[0].id), closed=[(W0, 0)])
    await store.skip_batch(batch, "over the daily budget", NOW)
    assert not await store.save_batch(replace(batch, state=BatchState.UPLOADING, intent_at=NOW))
    assert [] == await store.batches([BatchState.UPLOADING])


async def test_closed_panes_can_be_answered_under_another_model(store):
    shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    await plan(store, a_request(shapes[0].id), closed=[(W0, 0)])
    await store.adopt_panes([(W0, 0)], task=TASK, model="model-2")
    (pane,) = await store.closed_panes()
    assert (TASK, "model-2") == (pane.task, pane.model)


# ---------------------------------------------------------------- write


async def test_undecided_tells_cached_from_answered_and_failures_from_pending(store):
    shapes = [a_shape(word) for word in ("before", "after", "refused", "waiting")]
    before, after, refused, waiting = (shape.id for shape in shapes)
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1, 2, 3, 4])
    await answer(store, before, name="b1", now=NOW + 10)
    await plan(store, closed=[(W0, 0)], now=NOW + 50)
    await answer(store, after, name="b2", now=NOW + 60)
    await answer(store, refused, name="b3", status="refused")
    outcomes = await store.undecided((W0, 0))
    assert {before: "cached", after: "ok", refused: "refused", waiting: "pending"} == statuses(outcomes)
    assert [before, after, None, None] == [one.answer.signature if one.answer else None for one in outcomes]
    assert ["before", "after", "refused", "waiting"] == [one.template for one in outcomes]


async def test_good_answers_of_another_task_serve_and_its_failures_and_other_models_answers_do_not(store):
    shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    await plan(store, closed=[(W0, 0)])
    seen = []
    for number, changes in enumerate(
        ({"model": "another"}, {"task": "another", "status": "refused"}, {"task": "another"}, {})
    ):
        request = a_request(f"other-{number}")
        batch = await plan(store, request, name=f"b{number}")
        await store.collect(batch, [a_result(request, an_answer(shapes[0].id, **changes))], NOW)
        (outcome,) = await store.undecided((W0, 0))
        seen.append((outcome.status, outcome.answer.task if outcome.answer else None))
    assert [("pending", None), ("pending", None), ("ok", "another"), ("ok", TASK)] == seen


async def test_rounds_are_cut_into_parts_numbered_over_the_panes_of_a_window(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    file = await spool(store, [1, 1, 1, 1, 1, 2, 2])
    await plan(store, closed=[(W0, 0)])
    await spool(store, [1], file=file)
    await plan(store, closed=[(W0, 1)])
    first, second = await store.undecided((W0, 0))
    rounds = [
        await store.decide((W0, 0), [first], events_per_part=2),
        await store.decide((W0, 1), await store.undecided((W0, 1)), events_per_part=2),
        await store.decide((W0, 0), [second], events_per_part=2),
    ]
    assert [[(0, 0, 2), (1, 2, 2), (2, 4, 1)], [(3, 0, 1)], [(4, 0, 2)]] == [
        [(part.number, part.first, part.events) for part in parts] for parts in rounds
    ]
    assert [(0, 0), (1, 0), (0, 1)] == [(parts[0].pane, parts[0].round_number) for parts in rounds]
    assert [*rounds[0], *rounds[2]] == await store.parts((W0, 0))
    assert ([first], [second]) == (await store.outcomes((W0, 0), 0), await store.outcomes((W0, 0), 1))


async def test_a_decision_repeated_gives_the_parts_that_it_made(store):
    await store.intern_shapes([a_shape("a")], NOW)
    await spool(store, [1, 1, 1])
    await plan(store, closed=[(W0, 0)])
    outcomes = await store.undecided((W0, 0))
    parts = await store.decide((W0, 0), outcomes, events_per_part=2)
    changed = [replace(outcome, status="invalid") for outcome in outcomes]
    assert parts == await store.decide((W0, 0), changed, events_per_part=1)
    assert outcomes == await store.outcomes((W0, 0), 0)
    assert [] == await store.undecided((W0, 0))
    assert [] == await store.decide((W0, 0), [], events_per_part=2)


async def test_a_round_keeps_the_answer_that_it_was_fixed_with(store):
    shapes = [a_shape("a")]
    await store.intern_shapes(shapes, NOW)
    await spool(store, [1])
    await plan(store, closed=[(W0, 0)])
    await answer(store, shapes[0].id, name="b1", now=NOW + 60)
    await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=10)
    before = await store.outcomes((W0, 0), 0)
    await answer(store, shapes[0].id, name="b2", now=NOW + 90)
    assert before == await store.outcomes((W0, 0), 0)


async def test_an_open_pane_cannot_be_decided(store):
    await store.intern_shapes([a_shape("a")], NOW)
    await spool(store, [1])
    with pytest.raises(StoreError, match="closed"):
        await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=10)


async def test_deliveries_are_kept_per_sink_and_a_repeated_one_replaces_the_first(store):
    await store.intern_shapes([a_shape("a")], NOW)
    await spool(store, [1, 1])
    await plan(store, closed=[(W0, 0)])
    parts = await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=1)
    await deliver(store, parts[1])
    await deliver(store, parts[0], sha256="a" * 64)
    await deliver(store, parts[0], sha256="b" * 64, filtered=1)
    found = await store.deliveries("files", W0)
    assert parts == [one.part for one in found]
    assert ["b" * 64, "f" * 64] == [one.sha256 for one in found]
    assert (1, 1, 1, 10, NOW + 300) == (
        found[0].events,
        found[0].lines,
        found[0].filtered,
        found[0].size_bytes,
        found[0].delivered_at,
    )
    assert [] == await store.deliveries("another", W0)


async def test_a_finished_pane_frees_its_spool_and_keeps_the_segments_that_others_need(store):
    await store.intern_shapes([a_shape("a")], NOW)
    file = await spool(store, [1, 1], windows=(W0, W1), index=[0, 1])
    await spool(store, [1], file=file)
    await plan(store, closed=[(W0, 0), (W1, 0)])
    await write_all(store, (W0, 0))
    await store.finish_pane((W0, 0), NOW)
    await store.finish_pane((W0, 0), NOW)
    assert [] == await segments_of(store, (W0, 0))
    assert [(None, 0)] == [one.panes for one in await segments_of(store, (W1, 0))]
    assert 0 < (await store.summary(NOW)).spool_bytes
    await write_all(store, (W1, 0))
    await store.finish_pane((W1, 0), NOW)
    summary = await store.summary(NOW)
    assert (0, 3, 0, {"done": 2}) == (
        summary.spool_bytes,
        summary.written_events,
        summary.pending_events,
        summary.windows,
    )
    assert [] == await store.closed_panes()


async def test_a_pane_with_events_that_nobody_has_cannot_be_finished(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    await spool(store, [1, 2])
    with pytest.raises(StoreError, match="only a closed pane"):
        await store.finish_pane((W0, 0), NOW)
    await plan(store, closed=[(W0, 0)])
    first, second = await store.undecided((W0, 0))
    (part,) = await store.decide((W0, 0), [first], events_per_part=10)
    await deliver(store, part)
    with pytest.raises(StoreError, match="no round"):
        await store.finish_pane((W0, 0), NOW)
    await store.decide((W0, 0), [second], events_per_part=10)
    with pytest.raises(StoreError, match="no sink"):
        await store.finish_pane((W0, 0), NOW)
    assert 1 == len(await segments_of(store, (W0, 0)))


async def test_a_window_report_outlives_the_spool(store):
    shapes = [a_shape("a"), a_shape("b")]
    await store.intern_shapes(shapes, NOW)
    file = await spool(store, [1, CONTINUES, 2], windows=(W0,))
    file = await spool(store, [1], file=file, windows=(W1,))
    await spool(store, [1, 1], file=file, windows=(W0,))
    request = a_request(shapes[0].id)
    batch = await plan(store, request, closed=[(W0, 0)])
    done = replace(batch, batch_id="batch_7")
    await store.collect(done, [a_result(request, an_answer(shapes[0].id))], NOW + 100)
    await write_all(store, (W0, 0))
    before = await store.window_report(W0)
    await store.finish_pane((W0, 0), NOW)
    after = await store.window_report(W0)
    assert ("closed", "done") == (before.panes[0].state, after.panes[0].state)
    assert replace(before, panes=()) == replace(after, panes=())
    (found,) = after.files
    assert (b"/var/log/shop.log", 0, 0, 42, 5, 4) == (
        found.path,
        found.generation,
        found.first_byte,
        found.last_byte,
        found.lines,
        found.events,
    )
    assert (2, 1, 10, 4, 6, 0.25, ("batch_7",)) == (
        after.signatures,
        after.requests,
        after.input_tokens,
        after.cached_tokens,
        after.output_tokens,
        after.cost_usd,
        after.batches,
    )
    assert ({"ok": 3, "pending": 1}, {}) == (after.statuses, after.dead_letters)


async def test_kinds_of_a_window_and_of_those_before_outlive_the_spool(store):
    shapes = [a_shape("a"), a_shape("b")]
    await store.intern_shapes(shapes, NOW)
    file = await spool(store, [1, 1, 2], windows=(W0,))
    file = await spool(store, [1], file=file, windows=(W1,))
    await spool(store, [1, CONTINUES, 1, 1], file=file, windows=(W0,))
    request = a_request(shapes[0].id)
    batch = await plan(store, request, closed=[(W0, 0)])
    await store.collect(replace(batch, batch_id="b"), [a_result(request, an_answer(shapes[0].id))], NOW + 100)
    await write_all(store, (W0, 0))
    before = await store.window_kinds(W1, windows=24, task=TASK, model=MODEL)
    await store.finish_pane((W0, 0), NOW)
    found = await store.window_kinds(W1, windows=24, task=TASK, model=MODEL)
    assert before == found
    assert [(shapes[0].id, 1)] == [(kind.signature, kind.events) for kind in found.counts]
    assert ({shapes[0].id: 5, shapes[1].id: 1},) == found.history
    assert [shapes[1].id] == list(found.gone)
    assert () == (await store.window_kinds(W1, windows=0, task=TASK, model=MODEL)).history
    assert (W0, TASK, MODEL) == await store.latest_window()
    first = await store.window_kinds(W0, windows=24, task=TASK, model=MODEL)
    assert ({shapes[0].id: 5, shapes[1].id: 1}, ()) == (
        {kind.signature: kind.events for kind in first.counts},
        first.history,
    )


async def test_a_file_range_ends_with_the_file_where_the_last_newline_was_added(store):
    await store.intern_shapes([a_shape("a")], NOW)
    file = a_file()
    segment = a_segment([1], file=file)  # 7 bytes, of which the file has 6
    await store.commit_block(a_block(segment, files=[replace(file, position=6)]), NOW)
    assert [(0, 6)] == [(one.first_byte, one.last_byte) for one in (await store.window_report(W0)).files]


async def test_the_report_of_a_window_that_never_was_is_empty(store):
    report = await store.window_report(W2)
    assert ((), (), 0, 0) == (report.panes, report.files, report.signatures, report.requests)


# ---------------------------------------------------------------- for the operator


async def test_the_books_balance_at_every_step(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    await spool(store, [1, 1, 2], windows=(W0, W1), index=[0, 0, 1])
    await plan(store, closed=[(W0, 0)])
    seen = [await store.summary(NOW)]
    parts = await store.decide((W0, 0), await store.undecided((W0, 0)), events_per_part=1)
    await deliver(store, parts[0])
    seen.append(await store.summary(NOW))
    await deliver(store, parts[1])
    await store.finish_pane((W0, 0), NOW)
    seen.append(await store.summary(NOW))
    assert [(3, 0, 3), (3, 1, 2), (3, 2, 1)] == [
        (one.read_events, one.written_events, one.pending_events) for one in seen
    ]
    assert [{}, {"files": 2}, {"files": 1}] == [one.pending_by_sink for one in seen]


async def test_an_empty_store_has_an_empty_summary(store):
    summary = await store.summary(NOW)
    assert ({}, None, {}, (), {}, 0, {}) == (
        summary.windows,
        summary.oldest_open_window,
        summary.batches,
        summary.open_batches,
        summary.requests,
        summary.signatures,
        summary.answers,
    )
    assert 0 < summary.store_bytes


async def test_the_files_furthest_behind_are_shown_first_and_no_more_than_asked_for(store):
    sizes = {b"/log/a": 300, b"/log/b": 900, b"/log/c": 600}
    for at, (path, size) in enumerate(sizes.items()):
        state = a_file(path=path, inode=100 + at, identity=f"{at:016x}", size_seen=size, position=100)
        await store.commit_block(a_block(files=(state,)), NOW)
    assert [b"/log/b", b"/log/c"] == [file.path for file in await store.lagging_files(2)]


async def test_the_summary_shows_what_is_open(store):
    await store.intern_shapes([a_shape("a"), a_shape("b")], NOW)
    await store.commit_merges([Merge(members=(1, 2), template="<*>")], NOW)
    await spool(store, [1, 2], windows=(W1, W0), index=[0, 1])
    batch = await plan(store, a_request("x"))
    await store.save_batch(replace(batch, state=BatchState.OPEN))
    summary = await store.summary(NOW)
    assert (1, W0, {"open": 2}, {"open": 1}, {"live": 1}) == (
        summary.signatures,
        summary.oldest_open_window,
        summary.windows,
        summary.batches,
        summary.requests,
    )
    assert [replace(batch, state=BatchState.OPEN)] == list(summary.open_batches)


async def test_kinds_seen_are_counted_over_all_windows_and_stay_when_their_spool_is_gone(store):
    shapes = [a_shape(word) for word in "abcd"]  # d is never read
    await store.intern_shapes(shapes[:2], NOW)
    await store.intern_shapes(shapes[2:], NOW + 1)
    await store.commit_merges([Merge(members=(1, 2), template="<*>")], NOW)
    file = await spool(store, [1, 2, CONTINUES, 3], windows=(W0, W1), index=[0, 1, 1, 1])
    await spool(store, [2], file=file)
    await answer(store, shapes[0].id)
    await plan(store, closed=[(W0, 0), (W1, 0)])
    for pane in ((W0, 0), (W1, 0)):
        await write_all(store, pane)
        await store.finish_pane(pane, NOW)
    newest, oldest = await store.kinds_seen(TASK, MODEL)
    assert (shapes[2].id, "c", "INFO", "shop", 1, NOW + 1, None) == (
        newest.signature,
        newest.template,
        newest.level,
        newest.program,
        newest.events,
        newest.first_seen_at,
        newest.answer,
    )
    assert (shapes[0].id, "<*>", 3, NOW, "ok") == (
        oldest.signature,
        oldest.template,
        oldest.events,
        oldest.first_seen_at,
        oldest.answer.status,
    )
    assert [None, None] == [kind.answer for kind in await store.kinds_seen(TASK, "another model")]


# ---------------------------------------------------------------- cancelling


async def test_a_call_that_is_cancelled_still_completes_its_transaction(store):
    await store.intern_shapes([a_shape("a")], NOW)
    running = asyncio.ensure_future(store.learn_token_limit(MODEL, 5, NOW))
    await asyncio.sleep(0)  # it is with the writer's thread now
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert 5 == await store.token_limit(MODEL, NOW)


async def test_nothing_is_answered_after_close(store):
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.shapes()


# ---------------------------------------------------------------- accounts of windows

ACCOUNT = '{"headline":"h","what_happened":"w","likely_cause":null,"action":null,"cites":[]}'
ASKED = "digest:2026-11-18T10Z"


def an_account(status: str = "ok", **changes) -> StoredAnswer:
    return an_answer(ASKED, status, **{"body": ACCOUNT if status == "ok" else "", "task": "digest-1"} | changes)


async def test_an_account_is_kept_apart_from_answers_and_from_what_a_manifest_tells(store):
    request = a_request(ASKED, task="digest-1")
    batch = await plan(store, a_request("s1"), request)
    results = [a_result(a_request("s1"), an_answer("s1")), a_result(request, an_account())]
    for _ in range(2):
        await store.collect(batch, results, NOW + 100)
    account = await store.account(W0)
    assert ("h", "model-1-2026") == (account.headline, account.model)
    assert await store.account(W1) is None
    summary, report = await store.summary(0), await store.window_report(W0)
    assert ({"ok": 1}, 0.5) == (summary.answers, summary.cost_usd)
    assert (1, 0.25, ("b1",)) == (report.requests, report.cost_usd, report.batches)


async def test_a_good_account_is_never_replaced_and_a_failed_one_is_none(store):
    for name, status in (("b1", "invalid"), ("b2", "ok"), ("b3", "error")):
        request = a_request(ASKED, id="r-" + name, task="digest-1")
        batch = await plan(store, request, name=name)
        await store.collect(batch, [a_result(request, an_account(status))], NOW + 100)
        assert (name != "b1") == (await store.account(W0) is not None)


async def test_a_batch_of_nothing_but_windows_is_no_batch_of_the_window(store):
    await plan(store, a_request(ASKED, task="digest-1"))
    assert () == (await store.window_report(W0)).batches


async def test_an_account_is_told_once_to_each_sink_that_has_events_of_its_closed_window(store):
    (alpha,) = await store.intern_shapes([a_shape("alpha")], NOW)
    file = await spool(store, [alpha])
    request = a_request(ASKED, task="digest-1")
    batch = await plan(store, request, closed=[(W0, 0)])
    await store.collect(batch, [a_result(request, an_account())], NOW + 100)
    assert [] == await store.untold_accounts("files")
    await write_all(store, (W0, 0))
    assert ([W0], []) == (await store.untold_accounts("files"), await store.untold_accounts("other"))
    await spool(store, [alpha], file=file)
    assert [] == await store.untold_accounts("files")
    await plan(store, closed=[(W0, 1)])
    assert [W0] == await store.untold_accounts("files")
    for _ in range(2):
        await store.account_told("files", W0)
    assert [] == await store.untold_accounts("files")


@pytest.mark.parametrize("with_kinds", [True, False])
async def test_windows_are_left_out_of_a_planned_batch_and_the_rest_of_it_stays(store, with_kinds):
    digest, kind = a_request(ASKED, task="digest-1", tokens=30, reserved_usd=0.2), a_request("s1")
    requests = [digest, kind] if with_kinds else [digest]
    batch = a_batch(requests=len(requests), tokens=130, size_bytes=40, reserved_usd=0.75, digests=1)
    ids = [request.id for request in requests]
    (stored,) = await store.commit_plan(
        closed={}, requests=requests, batches=[(batch, ids)], task=TASK, model=MODEL, now=NOW
    )
    assert [1, 0] == [await store.skip_digests(stored, "over budget", NOW) for _ in range(2)]
    (left,) = await store.batches([BatchState.PLANNED, BatchState.DONE])
    assert (0, len(requests) - 1, 100, 26) == (left.digests, left.requests, left.tokens, left.size_bytes)
    assert 0.55 == pytest.approx(left.reserved_usd)
    assert (BatchState.PLANNED if with_kinds else BatchState.DONE) == left.state
    assert [one.id for one in requests[1:]] == [one.id for one in await store.batch_requests(stored.id)]
    assert 1 == (await store.summary(0)).requests["skipped"]


@pytest.mark.parametrize(
    ("usd", "state", "kept"),
    [(0.45, RequestState.SKIPPED, 2), (0.45, RequestState.AGAIN, 2), (0.19, RequestState.SKIPPED, 0), (0.7, "", 3)],
)
async def test_a_planned_batch_is_cut_to_what_there_is_money_for(store, usd, state, kept):
    requests = [a_request(f"s{number}", tokens=10 + number, reserved_usd=0.2) for number in range(3)]
    batch = a_batch(requests=3, tokens=33, size_bytes=sum(len(one.body) for one in requests), reserved_usd=0.6)
    ids = [request.id for request in requests]
    (stored,) = await store.commit_plan(
        closed={}, requests=requests, batches=[(batch, ids)], task=TASK, model=MODEL, now=NOW
    )
    assert (1 if kept == 2 else 0) == await store.cut_batch(stored, usd, state, "over budget", NOW)
    (left,) = await store.batches([BatchState.PLANNED])
    asked = await store.batch_requests(stored.id)
    assert requests[: kept or 3] == [replace(one, state=RequestState.LIVE) for one in asked]
    assert (len(asked), sum(one.tokens for one in asked)) == (left.requests, left.tokens)
    assert (sum(len(one.body) for one in asked), left.reserved_usd) == (
        left.size_bytes,
        pytest.approx(0.2 * len(asked)),
    )
    assert {"live": len(asked), **({state.value: 1} if kept == 2 else {})} == (await store.summary(0)).requests
    assert (state is RequestState.AGAIN) == bool(await store.requests_again())
    await store.save_batch(replace(left, state=BatchState.UPLOADING))
    assert 0 == await store.cut_batch(left, 0.2, RequestState.SKIPPED, "over budget", NOW)


async def test_windows_stay_in_a_batch_that_may_have_been_sent(store):
    request = a_request(ASKED, task="digest-1")
    batch = await plan(store, request)
    await store.save_batch(replace(batch, state=BatchState.UPLOADING))
    assert 0 == await store.skip_digests(batch, "over budget", NOW)
    assert 1 == len(await store.batch_requests(batch.id))


async def test_files_of_which_nothing_was_read_share_a_path_and_an_inode_but_no_row(store):
    waiting = a_file(identity="", position=0, head_hash=b"1" * 32)
    (moved,) = (await store.commit_block(a_block(files=(waiting,)), NOW)).files
    moved = replace(moved, inode=moved.inode + 1, path=moved.path + b".1")
    for head in (b"1" * 32, b"2" * 32):
        fresh = replace(waiting, head_hash=head)
        files = (await store.commit_block(a_block(files=(fresh, moved)), NOW)).files
        assert 2 == len({file.id for file in files})


async def test_files_that_bore_one_path_in_turn_have_ranges_of_their_own(store):
    await store.intern_shapes([a_shape("a")], NOW)
    old = a_file(identity="old", position=700)
    await spool(store, [1, 1], file=old)
    await spool(store, [1], file=a_file(identity="new"))
    found = {one.identity: (one.path, one.first_byte, one.last_byte, one.lines) for one in await ranges(store)}
    path = old.path
    assert {"old": (path, 700, 714, 2), "new": (path, 0, 7, 1)} == found


async def test_a_file_that_was_renamed_has_a_range_for_each_path_as_its_events_have(store):
    await store.intern_shapes([a_shape("a")], NOW)
    file = await spool(store, [1], file=a_file())
    await spool(store, [1], file=replace(file, path=b"/log/renamed.1"))
    found = {(one.path, one.first_byte, one.last_byte) for one in await ranges(store)}
    assert {(file.path, 0, 7), (b"/log/renamed.1", 7, 14)} == found


def span(one):
    return one.path, one.generation, one.first_byte, one.last_byte, one.lines, one.events


async def ranges(store):
    return (await store.window_report(W0)).files
