"""A window's account, from the plan to the digest that is written again, against the real client and batch server."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from enricher.batchserver.backend_schema import SchemaBackend
from enricher.compose import DIGEST_TASK
from enricher.config import shipped
from enricher.core.ledger import BatchState
from enricher.core.task import parse_task
from enricher.edges.clock_system import SystemClock
from enricher.edges.sink_file import FileSink
from enricher.stages.write import Write, WriteSettings
from tests.stages.bench import MODEL, TASK, a_bench, spool_kinds

DIGEST = parse_task(shipped(f"tasks/{DIGEST_TASK}.toml"), name=DIGEST_TASK)
START = 1_794_996_000
HOUR = 3600
WINDOW = "2026-11-18T10Z"


class SayingBackend(SchemaBackend):
    """Says what it is told to about windows, and of kinds what the schema backend says."""

    def __init__(self, *said):
        super().__init__(SystemClock())
        self.said = list(said)
        self.asked = []

    async def answer(self, endpoint, body):
        status, envelope = await super().answer(endpoint, body)
        if "cites" in body["text"]["format"]["schema"]["properties"]:
            self.asked.append(json.loads(body["input"][-1]["content"]))
            text = self.said.pop(0) if len(self.said) > 1 else self.said[0]
            envelope["output"][0]["content"][0]["text"] = text
        return status, envelope


def an_account(**changes):
    whole = {"headline": "Disks fail", "what_happened": "It broke.", "likely_cause": None, "action": None, "cites": []}
    return json.dumps(whole | changes)


def a_write(bench, tmp_path, *names):
    sinks = [
        FileSink(name, tmp_path / name, compress="none", retention_days=0, min_severity="trace")
        for name in names or ("out",)
    ]
    settings = WriteSettings(
        host="web1",
        length_seconds=HOUR,
        max_wait_seconds=30.0 * HOUR,
        fields={},
        quality={},
        compress={},
        task=TASK.hash,
        model=MODEL,
        digest=True,
    )
    return Write(
        store=bench.store,
        sinks=sinks,
        clock=bench.clock,
        telemetry=bench.telemetry,
        settings=settings,
        jitter=lambda: 0.0,
    )


async def written(write):
    while await write.step():
        pass


def told(tmp_path, window=WINDOW, sink="out"):
    return json.loads((tmp_path / sink / window / "digest.json").read_bytes())


def accounts_metric(bench, event):
    return bench.telemetry.registry.get_sample_value("enricher_digests_total", {"event": event})


async def test_a_window_is_asked_about_in_the_batch_of_its_kinds_and_its_digest_tells_the_account(tmp_path):
    backend = SayingBackend(an_account(cites=["0" * 16]))
    async with a_bench(tmp_path, digest=DIGEST, backend=backend) as bench:
        summary = await bench.settle()
        ledger = await bench.ledger()
        await written(a_write(bench, tmp_path))
        report = await bench.store.window_report(START)
    assert (1, 11, {"answered": 11}) == (ledger["batches_created"], ledger["lines_uploaded"], summary.requests)
    (asked,) = backend.asked
    assert (30, 10, 10) == (asked["events"], asked["kinds"], len(asked["changed"]))
    assert ("Disks fail", [], "schema") == tuple(
        told(tmp_path)["account"][name] for name in ("headline", "cites", "model")
    )
    assert "**Disks fail**" in (tmp_path / "out" / WINDOW / "digest.md").read_text()
    # An account is no answer about a kind, and a manifest that may be final before it does not tell of it.
    assert ({"ok": 10}, 10) == (summary.answers, report.requests)
    assert report.cost_usd < summary.cost_usd
    assert 1 == accounts_metric(bench, "answered")


async def test_the_schema_backend_gives_an_account_that_cites_what_it_was_shown(tmp_path):
    async with a_bench(tmp_path, digest=DIGEST) as bench:
        await bench.settle()
        account = await bench.store.account(START)
        seen = {kind.signature for kind in await bench.store.kinds_seen(TASK.hash, MODEL)}
    assert account.headline
    assert set(account.cites) <= seen


async def test_a_window_in_which_nothing_is_new_asks_nothing(tmp_path):
    backend = SayingBackend(an_account())
    async with a_bench(tmp_path, digest=DIGEST, backend=backend) as bench:
        await bench.settle()
        await spool_kinds(bench.store, 10, start=START + HOUR)
        await bench.settle()
        ledger = await bench.ledger()
        assert await bench.store.account(START + HOUR) is None
    assert (1, 1) == (ledger["batches_created"], len(backend.asked))


@pytest.mark.parametrize(("within", "asked"), [(24.0 * HOUR, 1), (None, 2)])
async def test_the_daemon_asks_only_about_windows_of_the_last_day_and_once_about_all(tmp_path, within, asked):
    backend = SayingBackend(an_account())
    async with a_bench(tmp_path, digest=DIGEST, backend=backend, kinds=0) as bench:
        bench.plan._settings = replace(bench.plan._settings, digest_within_seconds=within)
        for start, kinds in ((START - 30 * 24 * HOUR, 2), (START, 4)):
            await spool_kinds(bench.store, kinds, start=start)
        await bench.settle()
    assert asked == len(backend.asked)


async def test_events_and_manifest_never_wait_and_the_model_is_shown_what_was_known(tmp_path):
    backend = SayingBackend(an_account())
    async with a_bench(tmp_path, digest=DIGEST, backend=backend, kinds=0) as bench:
        for hour in range(5):
            await spool_kinds(bench.store, 2, start=START + hour * HOUR, events=100 if hour == 4 else 10)
            if hour < 4:
                await bench.settle()
        write = a_write(bench, tmp_path)
        await bench.plan.step()
        await written(write)
        manifest = tmp_path / "out" / "2026-11-18T14Z" / "manifest.json"
        before = manifest.read_bytes()
        assert {"done": 5} == (await bench.store.summary(0)).windows
        assert json.loads(before)["final"] is True
        assert told(tmp_path, "2026-11-18T14Z")["account"] is None
        await bench.settle()
        await written(write)
        assert "Disks fail" == told(tmp_path, "2026-11-18T14Z")["account"]["headline"]
        assert before == manifest.read_bytes()
    assert [10.0, 10.0] == [one["usual_events"] for one in backend.asked[-1]["changed"]]
    assert all(one["change"] == "rising" and one["severity"] for one in backend.asked[-1]["changed"])


async def test_a_batch_of_nothing_but_windows_is_given_up_after_three_sendings(tmp_path):
    faults = [{"on": "batch", "what": "expire", "after_lines": 0, "times": 0}]
    async with a_bench(tmp_path, digest=DIGEST, limit_kinds=0, faults=faults) as bench:
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert (3, {"failed": 1}, 0) == (ledger["batches_created"], summary.requests, ledger["lines_answered"])
    assert (2, 1) == (accounts_metric(bench, "again"), accounts_metric(bench, "failed"))


@pytest.mark.parametrize("fault", ["lose", "cancel", "status"])
async def test_an_account_that_was_lost_is_asked_for_again(tmp_path, fault):
    faults = {
        "lose": {"on": "batch", "what": "lose", "lines": 1},
        "cancel": {"on": "batch", "what": "cancel", "after_lines": 0},
        "status": {"on": "line", "what": "status", "status": 500},
    }
    async with a_bench(tmp_path, digest=DIGEST, limit_kinds=0, faults=[faults[fault]]) as bench:
        summary = await bench.settle()
        account = await bench.store.account(START)
    assert {"answered": 1} == summary.requests
    assert account is not None


async def test_nonsense_is_asked_again_twice_and_harms_no_kind(tmp_path):
    backend = SayingBackend("nonsense", an_account(extra=1), an_account(), an_account())
    async with a_bench(tmp_path, digest=DIGEST, backend=backend, kinds=2) as bench:
        summary = await bench.settle()
        assert await bench.store.account(START) is not None
        assert ({"answered": 3}, {"ok": 2}) == (summary.requests, summary.answers)
        assert 3 == len(backend.asked)
        backend.said = ["nonsense"]
        await spool_kinds(bench.store, 3, start=START + HOUR)
        summary = await bench.settle()
        await written(a_write(bench, tmp_path))
        assert ({"answered": 4, "failed": 1}, {"ok": 3}) == (summary.requests, summary.answers)
    assert 6 == len(backend.asked)
    assert told(tmp_path, "2026-11-18T11Z")["account"] is None


@pytest.mark.parametrize("hold", [False, True])
async def test_windows_are_left_out_first_where_money_is_short(tmp_path, hold):
    dear = replace(DIGEST, max_output_tokens=100_000)
    async with a_bench(tmp_path, digest=dear, daily_usd=0.1, hold=hold) as bench:
        summary = await bench.settle()
        ledger = await bench.ledger()
        assert not await bench.plan.step()
    assert {"answered": 10, "skipped": 1} == summary.requests
    assert (10, {"ok": 10}) == (ledger["lines_uploaded"], summary.answers)
    assert 1 == accounts_metric(bench, "skipped")


async def test_a_batch_of_windows_that_nobody_pays_for_holds_up_nothing(tmp_path):
    async with a_bench(tmp_path, digest=DIGEST, limit_kinds=0, daily_usd=0.000001, hold=True) as bench:
        summary = await bench.settle()
    assert ({"skipped": 1}, {"done": 1}) == (summary.requests, summary.batches)


async def test_a_run_that_asks_about_no_windows_leaves_what_another_began(tmp_path):
    faults = [{"on": "batch", "what": "expire", "after_lines": 0}]
    async with a_bench(tmp_path, digest=DIGEST, limit_kinds=0, faults=faults) as bench:
        await bench.settle(until=lambda summary: summary.requests.get("again"))
        asking, bench.plan._settings = bench.plan._settings, replace(bench.plan._settings, digest=None)
        assert not await bench.plan.step()
        bench.plan._settings = asking
        summary = await bench.settle()
    assert {"answered": 1} == summary.requests


@pytest.mark.parametrize("at", [BatchState.UPLOADING, BatchState.CREATING, BatchState.OPEN])
async def test_a_kill_at_any_step_asks_once_and_writes_the_same_digest(tmp_path, at):
    backend = SayingBackend(an_account())
    async with a_bench(tmp_path, digest=DIGEST, backend=backend, kinds=3) as bench:
        await bench.plan.step()
        while not await bench.store.batches([at]):
            await bench.submit.step()
        await bench.settle()
        await written(a_write(bench, tmp_path))
        digest = tmp_path / "out" / WINDOW / "digest.json"
        first = digest.read_bytes()
        assert b"Disks fail" in first
        assert not await a_write(bench, tmp_path).step()
        # Killed after the file was replaced and before the store knew.
        with closing(sqlite3.connect(tmp_path / "state" / bench.store.FILE_NAME)) as db, db:
            assert 1 == db.execute("DELETE FROM account_deliveries").rowcount
        digest.unlink()
        assert await a_write(bench, tmp_path).step()
        assert first == digest.read_bytes()
        assert 4 == (await bench.ledger())["lines_uploaded"]


async def test_each_sink_gets_the_account_and_one_that_came_later_only_what_it_has_events_of(tmp_path):
    async with a_bench(tmp_path, digest=DIGEST, backend=SayingBackend(an_account()), kinds=2) as bench:
        await bench.settle()
        await written(a_write(bench, tmp_path, "one", "two"))
        assert told(tmp_path, sink="one") == told(tmp_path, sink="two")
        await written(a_write(bench, tmp_path, "one", "three"))
        assert not (tmp_path / "three").exists()


async def test_nothing_that_a_model_says_is_active_in_the_files(tmp_path):
    evil = "\x1b]0;owned\x07[x](javascript:a) <img src=x> https://evil.example | `rm` \u202e# h\n---\n1. x"
    account = an_account(headline=evil, what_happened=evil, likely_cause=evil, action=evil, cites=["../../etc/passwd"])
    async with a_bench(tmp_path, digest=DIGEST, backend=SayingBackend(account), kinds=2) as bench:
        await bench.settle()
        await written(a_write(bench, tmp_path))
    text = (tmp_path / "out" / WINDOW / "digest.md").read_text()
    assert not [one for one in ("\x1b", "\u202e", "](", " <img", "://", "passwd") if one in text]
    assert not [line for line in text.splitlines() if line.startswith(("---", "1.", "# h"))]
    assert b"\x1b" not in (tmp_path / "out" / WINDOW / "digest.json").read_bytes()
