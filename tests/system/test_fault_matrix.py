"""The fault matrix of the batch API: real commands against a real batch server with a script of what goes wrong.

Each cell is `enricher once` over ten lines of ten kinds, asked one by one, and `enricher records run` over ten rows,
against `enricher serve-batches --faults`, each a process of its own (forked, as in the crash sweep, from one that has
imported everything). Killed means SIGKILL while the server holds its answer back. What takes hours runs the same
stages, store and client under a clock that the test moves. `make faults` prints the table; the README holds it, and a
test here that the two are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web

from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.server import BatchServer
from enricher.edges.clock_system import SystemClock
from tests.stages.bench import a_bench
from tests.system.bench import KINDS, Bench, assert_manifests_true, events, eventually, log_lines
from tests.system.fault_cells import CELLS, TIMED, table
from tests.system.test_crash_points import Zygote

pytestmark = pytest.mark.timeout(300)  # all cells are measured before the first is judged
README = Path(__file__).parents[2] / "README.md"
TEN = (*KINDS, "ERROR raid: array degraded, rebuilding member {b}", "INFO mail: queue flushed, {n} messages left")
SECONDS = 40
WORKERS = 3
HOURS_DOWN = 6


class Provider:
    """A `serve-batches` process, forked."""

    def __init__(self, zygote, bench, faults):
        script = bench.root / "faults.json"
        script.write_text(json.dumps({"fault": list(faults)}))
        self._state = bench.root / "provider"
        args = ["serve-batches", "--schema-only", "--listen", "127.0.0.1:0", "--state", str(self._state)]
        out = bench.root / "provider-stdout"
        self._told = zygote.order(
            bench,
            args=[*args, *(["--faults", str(script)] if faults else [])],
            out=str(out),
            err=str(bench.root / "provider-stderr"),
        )
        self._pid = self._told.get(timeout=SECONDS)["pid"]
        self.url = json.loads(eventually(lambda: out.read_text().endswith("\n") and out.read_text()))["base_url"]

    def strikes(self):
        """How often each rule was due."""
        return json.loads((self._state / "batches" / "books").read_bytes())["fault_counts"]

    def ledger(self):
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/_server/ledger", timeout=10) as answer:
            return json.loads(answer.read())

    def end(self):
        os.kill(self._pid, signal.SIGKILL)
        self._told.get(timeout=SECONDS)


class Events:
    """Ten lines of a log, each of a kind of its own."""

    def __init__(self, bench):
        self._bench = bench
        bench.write("a.log", log_lines(10, hours=1, kinds=TEN))

    def order(self, zygote):
        return zygote.order(self._bench, "once")

    def delivered(self):
        """Rows with an answer; fails where the books do not balance."""
        bench = self._bench
        assert_manifests_true(bench.out)
        assert_settled(bench)
        written = events(bench.out)
        assert len(written) == len({event["event.id"] for event in written})
        return sum(event["enrichment.status"] == "ok" for event in written)


class Records:
    """Ten rows of a table."""

    def __init__(self, bench):
        self._bench = bench
        self._output = bench.root / "rows-out.jsonl"
        rows = [{"id": f"row-{number}", "text": f"text number {number}"} for number in range(10)]
        (bench.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def order(self, zygote):
        root = self._bench.root
        args = ["records", "run", "label", str(root / "rows.jsonl"), "-o", str(self._output), "-c"]
        return zygote.order(self._bench, args=[*args, str(self._bench.file)])

    def delivered(self):
        """Rows with an answer, each in its place; fails where the books do not balance."""
        rows = [json.loads(line) for line in self._output.read_text().splitlines()]
        assert [f"row-{number}" for number in range(10)] == [row["id"] for row in rows]
        db = sqlite3.connect(self._bench.root / "state" / "enricher.db")
        with contextlib.closing(db):
            assert {("done",)} == set(db.execute("SELECT state FROM batches"))
            assert [("ok", 10)] == db.execute("SELECT status, count(*) FROM record_answers GROUP BY status").fetchall()
            assert [(0,)] == db.execute("SELECT count(*) FROM record_rows").fetchall()
            booked, batches = db.execute(
                "SELECT (SELECT output_tokens FROM books), (SELECT sum(output_tokens) FROM batches)"
            ).fetchone()
        assert booked == batches > 0
        assert [] == list((self._bench.root / "state" / "batches").iterdir())
        return sum(row["status"] == "ok" and row["sentiment"] is not None for row in rows)


WORK = {"events": Events, "records": Records}


def run(zygote, work):
    """The command to its end; its exit code."""
    told = work.order(zygote)
    told.get(timeout=SECONDS)
    return told.get(timeout=SECONDS)["code"]


def run_killed(zygote, work, provider, rule):
    """The same, killed as soon as this rule has struck."""
    told = work.order(zygote)
    pid = told.get(timeout=SECONDS)["pid"]
    try:
        skipped = rule.get("skip", 0)
        eventually(lambda: sum(provider.strikes()[:1]) > skipped, seconds=SECONDS)
    finally:
        os.kill(pid, signal.SIGKILL)
    return told.get(timeout=SECONDS)["code"]


def measure(zygote, root, cell, kind):
    """Rows delivered, batches created and lines uploaded; fails where a run does, or its books do not balance."""
    bench = Bench(root, "http://127.0.0.1:1/v1")
    work = WORK[kind](bench)
    provider = Provider(zygote, bench, cell.faults)
    try:
        bench.url = provider.url
        bench.configure(provider=cell.provider, batch={"poll_interval_seconds": 0.01})
        if cell.kill_at is not None:
            assert run_killed(zygote, work, provider, cell.faults[cell.kill_at]) == -signal.SIGKILL
        codes = [run(zygote, work)]
        while codes[-1] == cell.stops_with != 0 and len(codes) < 5:
            codes.append(run(zygote, work))
        assert codes[-1] == 0, (bench.root / "stderr").read_text()[-2000:]
        assert codes[0] == cell.stops_with
        strikes = provider.strikes() if cell.faults else []
        assert all(seen > rule.get("skip", 0) for seen, rule in zip(strikes, cell.faults, strict=True)), strikes
        ledger = provider.ledger()
    finally:
        provider.end()
    return work.delivered(), ledger["batches_created"], ledger["lines_uploaded"]


def assert_settled(bench):
    """No request is open, no money or token is reserved, each answer was booked once, no file is left behind."""
    db = sqlite3.connect(bench.root / "state" / "enricher.db")
    with contextlib.closing(db):
        assert {("done",)} == set(db.execute("SELECT state FROM batches"))
        assert [("answered", 10)] == db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall()
        booked, batches, requests = db.execute(
            "SELECT (SELECT output_tokens FROM books), (SELECT sum(output_tokens) FROM batches),"
            " (SELECT sum(output_tokens) FROM requests)"
        ).fetchone()
    assert booked == batches == requests > 0
    assert [] == list((bench.root / "state" / "batches").iterdir())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """By kind of work and cell: what was measured, or what went wrong."""
    assert len(CELLS) + len(TIMED) == len({cell.name for cell in CELLS} | set(TIMED))
    root = tmp_path_factory.mktemp("faults")
    first = Bench(root / "first", "http://127.0.0.1:1/v1")
    zygote = Zygote(root)

    def one(number, todo):
        kind, cell = todo
        try:
            return measure(zygote, root / str(number), cell, kind)
        except Exception as error:  # noqa: BLE001 - each cell is told apart, whatever is wrong with it
            return repr(error)

    try:
        # The first order is run to learn what to import; without a log there is nothing to ask.
        zygote.order(first, "once").get(timeout=SECONDS)
        with ThreadPoolExecutor(WORKERS) as pool:
            todo = [(kind, cell) for kind in WORK for cell in CELLS]
            taken = pool.map(one, range(len(todo)), todo)
            found = {(kind, cell.name): what for (kind, cell), what in zip(todo, taken, strict=True)}
    finally:
        zygote.end()
    for name, cell in TIMED_RUNS.items():
        found["events", name] = asyncio.run(cell(root / re.sub(r"\W+", "-", name)))
    return found


# ---------------------------------------------------------------- what takes hours


async def figures(bench):
    """The three figures of a bench whose stages have come to rest."""
    await bench.settle(seconds=SECONDS)
    summary = await bench.store.summary(bench.clock.now())
    money = await bench.store.money(bench.clock.now())
    assert {"answered": 10} == summary.requests
    assert 0 == money.reserved_usd
    ledger = await bench.ledger()
    return summary.answers.get("ok", 0), ledger["batches_created"], ledger["lines_uploaded"]


def stuck(*rules):
    async def cell(root):
        async with a_bench(root, faults=rules, window_seconds=7200.0) as bench:
            began = bench.clock.time
            found = await figures(bench)
            assert 3 * 3600 <= bench.clock.time - began <= 6 * 3600
        return found

    return cell


async def a_server_again(bench, root):
    """The provider comes back where it was, with what it had."""
    port = int(bench.url.removesuffix("/v1").rpartition(":")[2])
    again = BatchServer(
        type(bench.server._settings)(state_dir=root / "server", concurrency=4, port=port),
        SchemaBackend(SystemClock()),
        SystemClock(),
    )
    await again.start()
    return again


def down(*, in_mid_run, page=False):
    """Nothing listens for six hours, or something else does."""

    async def cell(root):
        async with a_bench(root) as bench:
            if in_mid_run:
                await bench.settle(until=lambda summary: summary.batches.get("open"))
            await bench.server.close()
            other = await a_page(bench.url) if page else None
            began, calls = bench.clock.time, []
            await bench.settle(
                seconds=SECONDS,
                until=lambda _: calls.append(1) or bench.clock.time - began >= HOURS_DOWN * 3600,
            )
            if other is not None:
                # At most one call in five minutes, once it has waited for its longest.
                assert 0 < other.calls < 100
                assert bench.submit.blocked or bench.track.blocked
                await other.runner.cleanup()
            again = await a_server_again(bench, root)
            try:
                return await figures(bench)
            finally:
                await again.close()

    return cell


class Page:
    """What answers every call with a page of HTML, as a proxy's login does."""

    def __init__(self):
        self.calls = 0
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.runner = web.AppRunner(app)

    async def _answer(self, request):
        self.calls += 1
        await request.read()
        return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")


async def a_page(url):
    page = Page()
    await page.runner.setup()
    await web.TCPSite(page.runner, "127.0.0.1", int(url.removesuffix("/v1").rpartition(":")[2])).start()
    return page


TIMED_RUNS = {
    "stuck for ever with 6 of 10 done": stuck({"on": "batch", "what": "stuck", "after_lines": 6}),
    "stuck for ever, and when cancelled": stuck(
        {"on": "batch", "what": "stuck"}, {"on": "batch", "what": "stuck", "state": "cancelling"}
    ),
    "provider down for 6 hours, before the upload": down(in_mid_run=False),
    "provider down for 6 hours, in mid-run": down(in_mid_run=True),
    "a page of HTML in place of the API for 6 hours": down(in_mid_run=True, page=True),
}


# ---------------------------------------------------------------- what it shows


@pytest.mark.parametrize("kind", WORK)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_each_row_is_delivered_once_and_no_more_is_created_or_uploaded_than_must_be(measured, cell, kind):
    assert cell.ideal == measured[kind, cell.name]


@pytest.mark.parametrize("name", TIMED)
def test_so_it_is_after_hours(measured, name):
    assert TIMED[name][0] == measured["events", name]


def test_readme_shows_what_was_measured(measured):
    found = table({name: figures for (kind, name), figures in measured.items() if kind == "events"})
    print(f"\n{found}")
    told = re.search(r"<!-- faults -->\n(.*?)\n<!-- /faults -->", README.read_text(encoding="utf-8"), re.DOTALL)
    assert told is not None
    assert told[1] == found
