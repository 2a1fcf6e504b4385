"""A store with kinds of event in it, a real batch server with a fault script, and the stages between them."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.faults import FaultScript
from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings
from enricher.config import shipped
from enricher.core.pricing import Prices
from enricher.core.skeleton import Shape
from enricher.core.task import parse_task
from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.edges.batch_openai import OpenAIBatchClient
from enricher.edges.clock_system import SystemClock
from enricher.edges.store_sqlite import SqliteStore
from enricher.event_batches import EventBatches
from enricher.ports import SourceProgress
from enricher.stages.plan import Plan, PlanSettings
from enricher.stages.submit import Submit, SubmitSettings
from enricher.stages.track import Track, TrackSettings
from enricher.telemetry import Telemetry
from tests.edges.test_store_contract import a_block, a_file, a_segment

MODEL = "gpt-6-luna"
TASK = parse_task(shipped("tasks/logs.toml"), name="logs")
PRICES = Prices(
    input_usd=1.0,
    cached_usd=0.1,
    output_usd=4.0,
    batch_input_usd=0.5,
    batch_cached_usd=0.05,
    batch_output_usd=2.0,
    as_of="2026-11-22",
)
DONE = SourceProgress(
    files=1,
    degraded=0,
    unread_bytes=0,
    deleted_bytes=0,
    oldest_unread_at=None,
    read_through=None,
    left_out=(),
    exhausted=True,
)


class ManualClock:
    """Moves only when told to."""

    def __init__(self, now=1_795_000_000.0):
        self.time = now

    def now(self):
        return self.time

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds
        await asyncio.sleep(0)


@dataclass
class Bench:
    store: SqliteStore
    client: OpenAIBatchClient
    plan: Plan
    submit: Submit
    track: Track
    clock: ManualClock
    telemetry: Telemetry
    url: str
    server: BatchServer

    async def settle(self, *, seconds=20.0, until=None):
        """Step all three stages, the clock a minute at a time, until nothing is under way."""
        async with asyncio.timeout(seconds):
            while True:
                moved = await self.plan.step()
                moved |= await self.submit.step()
                moved |= await self.track.step()
                summary = await self.store.summary(self.clock.now())
                under_way = any(n for state, n in summary.batches.items() if state != "done")
                under_way |= bool(summary.requests.get("again"))
                if until(summary) if until else not moved and not under_way:
                    return summary
                self.clock.time += 60.0

    async def ledger(self):
        async with httpx2.AsyncClient() as http:
            return (await http.get(self.url.removesuffix("/v1") + "/_server/ledger")).json()

    async def answers(self):
        return {kind.signature: kind.answer for kind in await self.store.kinds_seen(TASK.hash, MODEL)}


async def spool_kinds(store, count, *, start=1_794_996_000, events=3, now=1_795_000_000.0):
    """Commit a block with so many kinds, `events` lines of each."""
    # Words that no rule merges, and no digits, so that each is a kind of its own.
    words = ["".join(chr(97 + (number // 26**place) % 26) for place in range(3)) for number in range(count)]
    shapes = [Shape(format="text", level="ERROR", program=word, skeleton=f"{word} went wrong") for word in words]
    ids = await store.intern_shapes(shapes, now)
    file = a_file()
    segment = a_segment([one for one in ids for _ in range(events)], file=file, windows=(start,))
    await store.commit_block(a_block(segment, files=[file]), now)
    return [shape.id for shape in shapes]


@asynccontextmanager
async def a_bench(
    tmp_path,
    *,
    faults=(),
    kinds=10,
    signatures_per_request=1,
    backend=None,
    daily_usd=100.0,
    hold=False,
    endpoint="/v1/responses",
    timeout_seconds=20.0,
    window_seconds=86_400.0,
    enqueued_tokens=None,
    max_requests=50_000,
    digest=None,
    limit_kinds=None,
    files_directory=None,
):
    script = FaultScript.from_mapping({"fault": list(faults)}) if faults else None
    server = BatchServer(
        ServerSettings(
            state_dir=tmp_path / "server",
            concurrency=4,
            faults=script,
            completion_window_seconds=window_seconds,
            enqueued_token_limit=enqueued_tokens,
        ),
        backend or SchemaBackend(SystemClock()),
        SystemClock(),
    )
    url = await server.start()
    store = await SqliteStore.open(tmp_path / "state")
    clock, telemetry = ManualClock(), Telemetry()
    client = OpenAIBatchClient(base_url=url, api_key="sk-test", timeout_seconds=timeout_seconds, telemetry=telemetry)
    files = DirectoryBatchFiles(files_directory or tmp_path / "batches")
    numbers = iter(range(10_000))
    given = {"store": store, "clock": clock, "telemetry": telemetry}
    plan = Plan(
        **given,
        progress=lambda _now: [DONE],
        settings=PlanSettings(
            length_seconds=3600,
            allowed_lateness_seconds=300,
            task=TASK,
            model=MODEL,
            endpoint=endpoint,
            reasoning_effort="none",
            prices=PRICES,
            privacy="templates",
            signatures_per_request=signatures_per_request,
            max_requests=max_requests,
            max_bytes=1_000_000,
            max_tokens=1_000_000,
            limit_kinds=limit_kinds,
            digest=digest,
        ),
        new_id=lambda: f"job{next(numbers)}",
    )
    workload = EventBatches(**given, task=TASK, prices=PRICES)
    submit = Submit(
        **given,
        client=client,
        files=files,
        settings=SubmitSettings(
            daily_usd=daily_usd, monthly_usd=1000.0, hold_when_over=hold, poll_interval_seconds=60.0
        ),
        workload=workload,
        jitter=lambda: 0.0,
    )
    track = Track(
        **given,
        client=client,
        files=files,
        settings=TrackSettings(poll_interval_seconds=60.0),
        workload=workload,
        jitter=lambda: 0.0,
    )
    if kinds:
        await spool_kinds(store, kinds)
    try:
        yield Bench(store, client, plan, submit, track, clock, telemetry, url, server)
    finally:
        await client.close()
        await store.close()
        await server.close()


def request_lines(content: bytes):
    return [json.loads(line) for line in content.split(b"\n") if line]
