"""The real write stage over a store full of answered events, and the renderer alone."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from enricher.core.keying import KeyingRule
from enricher.core.ledger import BatchState, LedgerBatch, LedgerRequest, RequestResult, RequestState, StoredAnswer
from enricher.core.record import Renderer
from enricher.core.record_chunks import CHUNK_EVENTS
from enricher.core.record_kinds import KnownKinds
from enricher.edges.clock_system import SystemClock
from enricher.edges.sink_file import FileSink
from enricher.edges.source_files import FilesSource
from enricher.edges.store_sqlite import SqliteStore
from enricher.stages.ingest import Ingest, IngestSource
from enricher.stages.write import Write, WriteSettings
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    from enricher.core.block import Pane
    from enricher.core.ledger import Kind

_TASK: Final = "0123456789abcdef"
_MODEL: Final = "bench"
_SLOTS: Final = {
    "peers": ("source.address", "duration", "process.thread.id"),
    "address": ("transaction.id", "source.bytes", "destination.port"),
    "replicas": ("shard", "duration", "process.pid"),
}
"""Names for the values of each kind of generated line, by a word of it: texts, numbers, and a number with its unit."""
_LENGTH_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What writing took: CPU seconds of the whole process."""

    events: int
    render_cpu_seconds: float
    """Of rendering alone, the spool's decompression left out."""
    write_cpu_seconds: float
    """Of the stage: from the store to the files and the store's books."""
    size_bytes: int


def write(path: Path) -> Written:
    """Spool a file, answer each kind of event in it, render it all, then write it all."""
    with TemporaryDirectory(prefix="enricher-bench-") as scratch:
        return asyncio.run(_write(path, Path(scratch)))


async def _write(path: Path, scratch: Path) -> Written:
    clock, telemetry = SystemClock(), Telemetry()
    store = await SqliteStore.open(scratch / "state", sinks=["files"])
    await _spool(store, path, clock, telemetry)
    panes = await store.open_panes()
    await _answer(store, panes, clock.now())
    known = KnownKinds()
    renders = [await _render(store, pane, known) for pane in await store.closed_panes()]
    sink = FileSink("files", scratch / "out", compress="none", retention_days=0, min_severity="trace")
    stage = Write(
        store=store,
        sinks=[sink],
        clock=clock,
        telemetry=telemetry,
        settings=WriteSettings(
            host="bench",
            length_seconds=_LENGTH_SECONDS,
            max_wait_seconds=0.0,
            fields={},
            quality={},
            compress={},
            task=_TASK,
            model=_MODEL,
            digest=False,
        ),
        jitter=lambda: 0.0,
    )
    begun = time.process_time()
    while await stage.step():
        pass
    spent = time.process_time() - begun
    summary = await store.summary(clock.now())
    await store.close()
    assert summary.written_events == summary.read_events
    size = sum(file.stat().st_size for file in (scratch / "out").rglob("*.jsonl"))
    return Written(
        events=summary.written_events, render_cpu_seconds=sum(renders), write_cpu_seconds=spent, size_bytes=size
    )


async def _spool(store: SqliteStore, path: Path, clock: SystemClock, telemetry: Telemetry) -> None:
    source = FilesSource(
        "bench",
        [str(path)],
        [],
        start="beginning",
        once=True,
        own_directories=[],
        host="bench",
        telemetry=telemetry,
    )
    rule = KeyingRule(length_seconds=_LENGTH_SECONDS, zone="UTC", time_pattern=None, drop=(), ask_events=False)
    stage = Ingest(store=store, sources=[IngestSource(source=source, rule=rule)], clock=clock, telemetry=telemetry)
    await stage.start()
    while not source.progress(clock.now()).exhausted:
        await stage.step(flush=True)
    await source.close()


async def _answer(store: SqliteStore, panes: list[Pane], now: float) -> None:
    """Close all panes, and book one batch with an answer for each kind of event in them."""
    keys = [(pane.start, pane.number) for pane in panes]
    kinds = await store.kinds(keys, _TASK, _MODEL, now)
    request = LedgerRequest(
        id="r0",
        task=_TASK,
        model=_MODEL,
        endpoint="/v1/responses",
        signatures=tuple(kind.signature for kind in kinds),
        templates=tuple(kind.template for kind in kinds),
        body=b"{}",
        tokens=1,
        reserved_usd=0.0,
        window=keys[0][0],
        state=RequestState.LIVE,
        attempt=1,
        tries=0,
    )
    batch = LedgerBatch(
        id=0,
        name="b0",
        job="j0",
        window=keys[0][0],
        part=0,
        attempt=1,
        windows=len(keys),
        task=_TASK,
        model=_MODEL,
        endpoint="/v1/responses",
        state=BatchState.PLANNED,
        requests=1,
        size_bytes=2,
        tokens=1,
        reserved_usd=0.0,
        planned_at=now,
    )
    planned = await store.commit_plan(
        closed=dict.fromkeys(keys, "complete"),
        requests=[request],
        batches=[(batch, [request.id])],
        task=_TASK,
        model=_MODEL,
        now=now,
    )
    result = RequestResult(
        id=request.id,
        custom_id="r0-1",
        state=RequestState.ANSWERED,
        counts=True,
        error="",
        usage=(1, 0, 1),
        cost_usd=0.0,
        answers=tuple(_answer_to(kind, now) for kind in kinds),
    )
    await store.collect(planned[0], [result], now)


def _answer_to(kind: Kind, now: float) -> StoredAnswer:
    slots = next(names for word, names in _SLOTS.items() if word in kind.template.split())
    assert len(slots) == kind.template.count("<*>"), kind.template
    body = {
        "severity": "warning",
        "category": "app_error",
        "outcome": "failure",
        "summary": "The request was turned away: " + ", ".join(f"{{{name}}}" for name in slots) + ".",
        "slots": slots,
        "tags": [],
        "root_cause_hint": None,
        "root_cause_origin": None,
        "action": None,
        "confidence": 0.9,
    }
    return StoredAnswer(
        id=0,
        signature=kind.signature,
        task=_TASK,
        model=_MODEL,
        served_model=_MODEL,
        status="ok",
        body=json.dumps(body),
        batch_id="batch_0123456789",
        answered_at=now,
    )


async def _render(store: SqliteStore, pane: Pane, known: KnownKinds) -> float:
    """CPU seconds of rendering a pane, a chunk at a time as the stage does."""
    renderer = Renderer(
        host="bench",
        window="bench",
        start=pane.start,
        pane=pane.number,
        outcomes=await store.undecided((pane.start, pane.number)),
        levels={},
        fields={},
        quality={},
        min_severity="trace",
        known=known,
    )
    spent = 0.0
    async for spooled in store.segments((pane.start, pane.number)):
        begun = time.thread_time()
        page = renderer.open(spooled)
        for first in range(0, page.events, CHUNK_EVENTS):
            page.render(first, CHUNK_EVENTS)
        spent += time.thread_time() - begun
    return spent
