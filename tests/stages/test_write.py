"""Write, on the real store: closed panes become parts, manifests, and nothing left in the spool."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from enricher.core.skeleton import shape_of
from enricher.edges.sink_file import FileSink
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import SinkError, StoreError
from enricher.ports import Taken
from enricher.stages.write import Write, WriteSettings
from enricher.telemetry import Telemetry
from tests.edges.test_store_contract import (
    MODEL,
    TASK,
    a_batch,
    a_block,
    a_file,
    a_request,
    a_result,
    a_segment,
    an_answer,
)

START = 1_795_341_600  # 2026-11-22T10Z
CLOSED = START + 3900.0
WINDOW = "2026-11-22T10Z"
PANE = (START, 0)
HOUR = 3600.0


class ManualClock:
    """Moves when told to, and by every sleep."""

    def __init__(self, now=CLOSED):
        self.time = now

    def now(self):
        return self.time

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds
        await asyncio.sleep(0)


class ListSink:
    """Keeps what it is given; refuses or hangs when told to."""

    def __init__(self, name, *, min_severity="trace", refusals=0):
        self.id = name
        self.min_severity = min_severity
        self.refusals = refusals
        self.gate = asyncio.Event()
        self.gate.set()
        self.parts: dict[tuple[str, int], bytes] = {}
        self.deliveries = 0
        self.chunks = 0
        self.manifests: list[dict] = []
        self.digests: dict[str, tuple[dict, str]] = {}
        self.told = asyncio.Event()

    async def deliver(self, window, part, batches):
        await self.gate.wait()
        data = b""
        async for batch in batches:
            for chunk in batch:
                assert chunk.endswith(b"\n")
                data += chunk
                self.chunks += 1
                if self.refusals:
                    self.refusals -= 1
                    raise SinkError("no room", hint="make room")
        self.parts[window, part.number] = data
        self.deliveries += 1
        return Taken(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))

    async def manifest(self, window, manifest):
        self.manifests.append(json.loads(manifest))
        if self.manifests[-1]["final"]:
            self.told.set()

    async def digest(self, window, as_json, as_markdown):
        self.digests[window] = (json.loads(as_json), as_markdown)

    async def retain(self, now):
        return 0

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for _, data in sorted(self.parts.items()) for line in data.splitlines()]

    def statuses(self) -> list[str]:
        lines = [json.loads(line) for _, data in sorted(self.parts.items()) for line in data.splitlines()]
        return [line["enrichment.status"] for line in lines]


class Desk:
    """A store, a clock, sinks, and the stage."""

    def __init__(self, store, sinks, directory):
        self.store = store
        self.sinks = sinks
        self.directory = directory
        self.clock = ManualClock()
        self.jitter = 0.5
        self.telemetry = Telemetry()
        self.file = a_file()
        self.write = self.a_write()

    def a_write(self, asides=None, **changes) -> Write:
        facts = {
            "host": "web1",
            "length_seconds": 3600,
            "max_wait_seconds": 30 * HOUR,
            "fields": {"varlog": {"service.name": "shop"}},
            "quality": {},
            "compress": {},
            "task": TASK,
            "model": MODEL,
            "digest": True,
        }
        return Write(
            store=self.store,
            sinks=self.sinks,
            clock=self.clock,
            telemetry=self.telemetry,
            settings=WriteSettings(**facts | changes),
            jitter=lambda: self.jitter,
            asides=asides,
        )

    async def spool(self, *lines: bytes, start=START) -> None:
        """Commit a block of lines to a window."""
        rows = await self.store.intern_shapes([shape_of(line) for line in lines], self.clock.now())
        data = b"".join(line + b"\n" for line in lines)
        shapes = np.array(rows, dtype=np.uint32)
        segment = a_segment(rows, file=self.file, windows=(start,))
        segment = replace(segment, data=data, shapes=shapes, fallback=float(start))
        after = replace(self.file, position=self.file.position + len(data))
        receipt = await self.store.commit_block(a_block(segment, files=[after]), self.clock.now())
        (self.file,) = receipt.files

    async def close(self, *panes) -> None:
        await self.store.commit_plan(
            closed=dict.fromkeys(panes, "complete"),
            requests=[],
            batches=[],
            task=TASK,
            model=MODEL,
            now=self.clock.now(),
        )

    async def answer(self, *lines: bytes, severity="info", status="ok") -> None:
        """Have an answer for the kinds of these lines."""
        signatures = [shape_of(line).id for line in lines]
        request = a_request(*signatures, window=START)
        (batch,) = await self.store.commit_plan(
            closed={},
            requests=[request],
            batches=[(a_batch(request.id), [request.id])],
            task=TASK,
            model=MODEL,
            now=self.clock.now(),
        )
        body = json.dumps({"severity": severity, "category": "other", "summary": "So."}) if status == "ok" else ""
        answers = [replace(an_answer(one, status), body=body, answered_at=self.clock.now()) for one in signatures]
        await self.store.collect(batch, [a_result(request, *answers)], self.clock.now())

    def spoil(self, *, segment: int) -> None:
        """Damage a segment on disk."""
        (file,) = [path for path in self.directory.iterdir() if path.read_bytes()[:6] == b"SQLite"]
        with sqlite3.connect(file) as db:
            db.execute("UPDATE spool SET data = x'00' WHERE segment = ?", (segment,))
        db.close()

    async def settle(self) -> None:
        while await self.write.step():
            pass

    async def states(self) -> dict[tuple[int, int], str]:
        report = await self.store.window_report(START)
        return {(pane.start, pane.number): pane.state for pane in report.panes}

    def metric(self, name, **labels):
        return self.telemetry.registry.get_sample_value(name, labels)


@asynccontextmanager
async def a_desk(tmp_path, *sinks):
    sinks = sinks or (ListSink("one"),)
    store = await SqliteStore.open(tmp_path / "state", sinks=[sink.id for sink in sinks])
    try:
        yield Desk(store, sinks, tmp_path / "state")
    finally:
        await store.close()


A, B, C = b"alpha is here", b"beta is there", b"gamma is nowhere"


# ---------------------------------------------------------------- what is written when


async def test_nothing_is_written_before_its_window_closes(tmp_path):
    async with a_desk(tmp_path) as desk:
        await desk.answer(A)
        await desk.spool(A)
        assert not await desk.write.step()
        assert desk.sinks[0].parts == {}


async def test_known_kinds_are_written_at_the_close_and_others_when_they_are_answered(tmp_path):
    async with a_desk(tmp_path) as desk:
        (sink,) = desk.sinks
        await desk.answer(A)
        await desk.spool(A, B, A)
        await desk.close(PANE)
        desk.clock.time += 10
        await desk.settle()
        assert (sink.messages(), sink.statuses()) == (["alpha is here"] * 2, ["cached"] * 2)
        assert [one["final"] for one in sink.manifests] == [False]
        await desk.answer(B)
        await desk.settle()
        assert sink.messages() == ["alpha is here", "alpha is here", "beta is there"]
        assert sink.statuses()[-1] == "ok"
        assert [number for _, number in sorted(sink.parts)] == [0, 1]
        assert [one["final"] for one in sink.manifests] == [False, True]


async def test_a_window_that_is_complete_gets_a_digest_of_what_changed(tmp_path):
    async with a_desk(tmp_path) as desk:
        (sink,) = desk.sinks
        await desk.answer(A, B, severity="error")
        for hours_ago in (4, 3, 2, 1):
            await desk.spool(*[A] * 10, start=START - hours_ago * 3600)
            await desk.close((START - hours_ago * 3600, 0))
            await desk.settle()
        await desk.spool(*[A] * 30, B)
        await desk.close(PANE)
        await desk.settle()
        document, text = sink.digests["2026-11-22T10Z"]
        assert (31, 2, 4) == (document["events"], document["kinds"], document["history_windows"])
        (rising,), (new,) = document["rising"], document["new"]
        assert ("alpha is here", 30, 10.0, "error") == tuple(
            rising[name] for name in ("template", "events", "usual", "severity")
        )
        assert ("beta is there", 1) == (new["template"], new["events"])
        assert "| 30 | 10.0 | error |" in text
        assert [] == sink.digests["2026-11-22T09Z"][0]["rising"]


async def test_no_digest_is_written_where_none_is_wanted(tmp_path):
    async with a_desk(tmp_path) as desk:
        desk.write = desk.a_write(digest=False)
        await desk.answer(A)
        await desk.spool(A)
        await desk.close(PANE)
        await desk.settle()
        assert {} == desk.sinks[0].digests


async def test_what_nobody_answered_is_written_as_pending_after_the_longest_wait(tmp_path):
    async with a_desk(tmp_path) as desk:
        (sink,) = desk.sinks
        await desk.spool(A, B)
        await desk.close(PANE)
        desk.clock.time = CLOSED + 30 * HOUR - 1
        assert not await desk.write.step()
        desk.clock.time += 1
        await desk.settle()
        assert sink.statuses() == ["pending"] * 2
        assert await desk.states() == {PANE: "done"}


async def test_what_an_answer_cost_that_came_too_late_is_in_the_manifest_of_every_sink_too(tmp_path):
    async with a_desk(tmp_path, ListSink("one"), ListSink("two")) as desk:
        await desk.spool(A, B)
        await desk.close(PANE)
        desk.clock.time = CLOSED + 30 * HOUR
        await desk.settle()
        assert await desk.states() == {PANE: "done"}
        before = [sink.manifests[-1] for sink in desk.sinks]
        assert [0.0, 0.0] == [manifest["cost_usd"] for manifest in before]
        await desk.answer(A)
        desk.write = desk.a_write()  # the process has ended meanwhile
        await desk.settle()
        for sink, manifest in zip(desk.sinks, before, strict=True):
            late = sink.manifests[-1]
            assert late["cost_usd"] > 0
            assert late["final"] is True
            assert {**late, **{key: manifest[key] for key in _MONEY}} == manifest
        told = [len(sink.manifests) for sink in desk.sinks]
        await desk.settle()
        assert told == [len(sink.manifests) for sink in desk.sinks]


_MONEY = ("cost_usd", "tokens", "requests", "batches")


async def test_a_kind_that_failed_for_good_is_written_with_its_status(tmp_path):
    async with a_desk(tmp_path) as desk:
        await desk.spool(A, B)
        await desk.close(PANE)
        await desk.answer(A, status="refused")
        await desk.answer(B, status="invalid")
        await desk.settle()
        assert desk.sinks[0].statuses() == ["refused", "invalid"]
        assert desk.metric("enricher_events_total", status="refused") == 1


async def test_a_pane_that_is_written_is_done_and_its_spool_is_freed(tmp_path):
    async with a_desk(tmp_path) as desk:
        await desk.answer(A)
        await desk.spool(A, A)
        await desk.close(PANE)
        await desk.settle()
        assert await desk.states() == {PANE: "done"}
        assert [one async for one in desk.store.segments(PANE)] == []
        summary = await desk.store.summary(desk.clock.now())
        assert (summary.written_events, summary.pending_events, summary.spool_bytes) == (2, 0, 0)


async def test_late_events_are_another_part_and_the_manifest_is_final_again_only_then(tmp_path):
    async with a_desk(tmp_path) as desk:
        (sink,) = desk.sinks
        await desk.answer(A)
        await desk.spool(A)
        await desk.close(PANE)
        await desk.settle()
        await desk.spool(A, A)
        await desk.settle()
        await desk.close((START, 1))
        await desk.settle()
        assert [(one["final"], len(one["outputs"])) for one in sink.manifests] == [(True, 1), (True, 2)]
        assert [one["late"] for one in sink.manifests[-1]["panes"]] == [False, True]
        assert json.loads(sink.parts[WINDOW, 1].splitlines()[0])["enrichment.pane"] == 1


# ---------------------------------------------------------------- parts


async def test_a_round_is_cut_into_parts_in_order_and_read_from_the_spool_once(tmp_path, monkeypatch):
    async with a_desk(tmp_path) as desk:
        (sink,) = desk.sinks
        lines = [b"alpha is %d" % number for number in range(10)]
        await desk.answer(lines[0])
        await desk.spool(*lines[:4])
        await desk.spool(*lines[4:])
        await desk.close(PANE)
        passes = []
        segments = desk.store.segments
        monkeypatch.setattr(desk.store, "segments", lambda pane: passes.append(pane) or segments(pane))
        desk.write = desk.a_write(events_per_part=3)
        await desk.settle()
        assert [len(data.splitlines()) for _, data in sorted(sink.parts.items())] == [3, 3, 3, 1]
        assert sink.messages() == [line.decode() for line in lines]
        assert passes == [PANE]


async def test_a_part_is_rendered_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("enricher.core.record_chunks.CHUNK_EVENTS", 2)
    async with a_desk(tmp_path) as desk:
        await desk.answer(A)
        await desk.spool(*[A] * 5)
        await desk.close(PANE)
        await desk.settle()
        assert (desk.sinks[0].chunks, len(desk.sinks[0].messages())) == (3, 5)


async def test_a_process_that_dies_between_two_parts_goes_on_with_the_next_and_writes_the_same(tmp_path):
    lines = [b"alpha is %d" % number for number in range(10)]
    outputs = []
    for crash in (False, True):
        async with a_desk(tmp_path / str(crash)) as desk:
            (sink,) = desk.sinks
            await desk.answer(lines[0])
            await desk.spool(*lines)
            await desk.close(PANE)
            desk.write = desk.a_write(events_per_part=4)
            if crash:
                deliver = sink.deliver

                async def dies(window, part, batches, deliver=deliver):
                    if part.number == 1:
                        raise StoreError("gone")
                    return await deliver(window, part, batches)

                sink.deliver = dies
                with pytest.raises(StoreError):
                    await desk.write.step()
                sink.deliver = deliver
                assert list(sink.parts) == [(WINDOW, 0)]
                desk.write = desk.a_write(events_per_part=7)
            await desk.settle()
            assert sink.deliveries == 3
            outputs.append((sink.parts, sink.manifests[-1]["outputs"]))
    assert outputs[0] == outputs[1]


async def test_a_segment_that_cannot_be_read_is_dead_lettered_and_the_rest_is_written(tmp_path):
    async with a_desk(tmp_path) as desk:
        (sink,) = desk.sinks
        lines = [b"alpha is %d" % number for number in range(9)]
        await desk.answer(lines[0])
        for first in (0, 3, 6):
            await desk.spool(*lines[first : first + 3])
        await desk.close(PANE)
        desk.spoil(segment=2)
        desk.write = desk.a_write(events_per_part=4)
        await desk.settle()
        assert sink.messages() == [line.decode() for line in lines[:3] + lines[6:]]
        manifest = sink.manifests[-1]
        assert (manifest["final"], manifest["lines"]) == (
            True,
            {"read": 9, "written": 6, "filtered": 0, "dead_lettered": {"corrupt": 3}},
        )
        assert [one["events"] for one in manifest["outputs"]] == [one.events for one in await desk.store.parts(PANE)]
        assert desk.metric("enricher_accounting_imbalance_events") == 0


async def test_a_kind_whose_only_events_cannot_be_read_does_not_hold_its_pane(tmp_path):
    async with a_desk(tmp_path) as desk:
        await desk.answer(A)
        for line in (A, B, A):
            await desk.spool(line)
        await desk.close(PANE)
        desk.spoil(segment=2)
        await desk.settle()
        assert desk.sinks[0].messages() == ["alpha is here"] * 2
        assert desk.sinks[0].manifests[-1]["final"]
        assert await desk.states() == {PANE: "done"}


# ---------------------------------------------------------------- sinks


async def test_a_sink_that_refuses_is_tried_again_later_and_holds_nobody_up(tmp_path):
    async with a_desk(tmp_path, ListSink("well"), ListSink("ill", refusals=2)) as desk:
        well, ill = desk.sinks
        await desk.answer(A)
        await desk.spool(A)
        await desk.close(PANE)
        await desk.settle()
        assert (well.messages(), ill.messages()) == (["alpha is here"], [])
        assert await desk.states() == {PANE: "closed"}
        for wait, refused in ((0.74, 1), (0.02, 2), (1.48, 2)):  # three quarters of 1 s, then of 2 s
            desk.clock.time += wait
            await desk.settle()
            assert desk.metric("enricher_sink_failures_total", sink="ill") == refused
        desk.clock.time += 0.03
        await desk.settle()
        assert ill.parts == well.parts
        assert await desk.states() == {PANE: "done"}
        assert well.deliveries == 1


async def test_a_pane_may_be_finished_while_others_that_a_sink_refuses_are_put_aside(tmp_path, monkeypatch):
    later = START + 3600, 0
    async with a_desk(tmp_path, ListSink("one", refusals=1000)) as desk:
        desk.write = desk.a_write(asides={"one": ListSink("one")}, max_backlog_events={"one": 1}, max_wait_seconds=0.0)
        await desk.spool(A, B)
        await desk.spool(A, B, C, start=later[0])
        await desk.close(PANE, later)
        real = desk.store.parts

        async def parts(key):
            # Each sink and the finishing have tasks of their own, which go on wherever another one waits.
            if key == later:
                await desk.write._finish()
            return await real(key)

        monkeypatch.setattr(desk.store, "parts", parts)
        await desk.settle()
        assert {PANE: "done"} == await desk.states()
        report = await desk.store.window_report(later[0])
        assert ["done"] == [pane.state for pane in report.panes]


async def test_the_longest_wait_for_a_sink_is_five_minutes(tmp_path):
    async with a_desk(tmp_path, ListSink("ill", refusals=99)) as desk:
        await desk.answer(A)
        await desk.spool(A)
        await desk.close(PANE)
        for _ in range(20):
            await desk.settle()
            desk.clock.time += 225
        assert desk.metric("enricher_sink_failures_total", sink="ill") == 20


async def test_a_sink_that_refuses_is_left_alone_for_half_of_its_wait_whatever_the_dice_say(tmp_path):
    async with a_desk(tmp_path, ListSink("ill", refusals=99)) as desk:
        desk.jitter = 0.0
        await desk.answer(A)
        await desk.spool(A)
        await desk.close(PANE)
        for wait, refused in ((0.0, 1), (0.49, 1), (0.02, 2)):
            desk.clock.time += wait
            await desk.settle()
            assert desk.metric("enricher_sink_failures_total", sink="ill") == refused


async def test_a_manifest_that_was_not_taken_keeps_the_pane_open_until_it_is(tmp_path):
    async with a_desk(tmp_path) as desk:
        (sink,) = desk.sinks
        taken = sink.manifest

        async def refuse(window, manifest):
            raise SinkError("no")

        sink.manifest = refuse
        await desk.answer(A)
        await desk.spool(A)
        await desk.close(PANE)
        await desk.settle()
        assert await desk.states() == {PANE: "closed"}
        sink.manifest = taken
        desk.write = desk.a_write()  # as after a crash: all is delivered, the manifest is not
        await desk.settle()
        assert [one["final"] for one in sink.manifests] == [True]
        assert sink.deliveries == 1
        assert await desk.states() == {PANE: "done"}


async def test_a_sink_leaves_out_what_is_below_its_severity_and_its_books_still_hold(tmp_path):
    async with a_desk(tmp_path, ListSink("all"), ListSink("grave", min_severity="error")) as desk:
        everything, grave = desk.sinks
        await desk.answer(A, severity="info")
        await desk.answer(B, severity="critical")
        await desk.spool(A, B, C, A)
        await desk.close(PANE)
        desk.clock.time += 31 * HOUR
        await desk.settle()
        assert everything.messages() == ["alpha is here", "beta is there", "gamma is nowhere", "alpha is here"]
        assert grave.messages() == ["beta is there", "gamma is nowhere"]
        assert grave.manifests[-1]["lines"] == {"read": 4, "written": 2, "filtered": 2, "dead_lettered": {}}
        assert desk.metric("enricher_sink_filtered_events_total", sink="grave") == 2
        assert desk.metric("enricher_events_total", status="cached") == 3
        assert desk.metric("enricher_accounting_imbalance_events") == 0


async def test_books_that_do_not_balance_are_told(tmp_path, monkeypatch):
    async with a_desk(tmp_path) as desk:
        await desk.answer(A)
        await desk.spool(A, A)
        await desk.close(PANE)
        deliveries = desk.store.deliveries

        async def fewer(sink, start):
            return [replace(one, lines=one.lines - 1) for one in await deliveries(sink, start)]

        monkeypatch.setattr(desk.store, "deliveries", fewer)
        await desk.settle()
        assert desk.metric("enricher_accounting_imbalance_events") == 1


async def test_files_on_disk_are_what_the_final_manifest_says(tmp_path):
    sink = FileSink("files", tmp_path / "out", compress="gzip", retention_days=0, min_severity="trace")
    async with a_desk(tmp_path, sink) as desk:
        desk.write = desk.a_write(events_per_part=2, compress={"files": "gzip"})
        await desk.answer(A)
        await desk.spool(A, A, A)
        await desk.close(PANE)
        await desk.settle()
        manifest = json.loads((tmp_path / "out" / WINDOW / "manifest.json").read_text())
        assert (manifest["final"], manifest["lines"]["written"], len(manifest["outputs"])) == (True, 3, 2)
        for output in manifest["outputs"]:
            data = (tmp_path / "out" / WINDOW / output["file"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (output["bytes"], output["sha256"])


# ---------------------------------------------------------------- running


async def test_a_sink_that_hangs_does_not_hold_up_another_and_stop_ends_after_the_part_in_hand(tmp_path):
    async with a_desk(tmp_path, ListSink("stuck"), ListSink("well")) as desk, asyncio.timeout(10):
        stuck, well = desk.sinks
        stuck.gate.clear()
        await desk.answer(A)
        await desk.spool(A, A)
        await desk.close(PANE)
        desk.write = desk.a_write(events_per_part=1)
        stop = asyncio.Event()
        running = asyncio.create_task(desk.write.run(stop))
        await well.told.wait()
        assert (len(well.parts), len(stuck.parts)) == (2, 0)
        stop.set()
        stuck.gate.set()
        await running
        assert len(stuck.parts) == 1
        await desk.settle()
        assert stuck.parts == well.parts
        assert await desk.states() == {PANE: "done"}
