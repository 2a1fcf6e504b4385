"""A job in several processes: submitted by one, asked after by others, collected by one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enricher import records
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import BudgetError, LockedError, TryAgainError, UsageError
from enricher.records import deferred
from enricher.records.planning import Planner
from tests.records.desk import LABEL, a_desk
from tests.system.bench import Server, environment

GLAD = {"mood": "glad"}


def texts(count):
    return [{"id": f"k{number}", "text": f"text {number}"} for number in range(count)]


async def submit(desk, count=5, **keywords):
    """As a scheduler keeps it: the handle has been JSON."""
    task, given = desk.task(LABEL), desk.root / f"in-{count}.jsonl"
    # Written once: a file with another time is one that may have changed.
    given = given if given.exists() else desk.write(given.name, texts(count))
    handle = await records.submit_async(task, given, desk.root / "out.jsonl", config=desk.config, **keywords)
    return json.loads(json.dumps(handle))


async def until_done(desk, handle):
    async with asyncio.timeout(30):
        while not await records.is_done_async(handle, config=desk.config):  # noqa: ASYNC110 - as a scheduler does
            await asyncio.sleep(0.02)


async def test_what_one_submits_others_ask_after_and_one_collects(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        desk.model.at_work.clear()
        told = []
        handle = await submit(desk, tell=told.append)
        assert not await records.is_done_async(handle, config=desk.config, tell=told.append)
        assert ("asking", 5, 0) == (told[-1].phase, told[-1].total, told[-1].done)
        with pytest.raises(TryAgainError, match=r"5 requests are with the provider, in 1 batch$"):
            await records.collect_async(handle, config=desk.config)
        assert not (tmp_path / "out.jsonl").exists()
        # The input was read when it was submitted, and nobody looks at it again.
        (tmp_path / "in-5.jsonl").unlink()
        desk.model.at_work.set()
        await until_done(desk, handle)
        report = await records.collect_async(handle, config=desk.config)
        assert ({"ok": 5}, 5) == (report.statuses, report.asked)
        assert report.cost_usd == pytest.approx(5 * (100 * 0.5 + 10 * 2.0) / 1e6)
        assert [f"k{number}" for number in range(5)] == [row["id"] for row in desk.rows()]
        assert 5 == len(desk.model.asked)


async def test_each_call_may_be_made_again_and_pays_nothing_twice(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        handle = await submit(desk)
        assert handle == await submit(desk)
        await until_done(desk, handle)
        await records.collect_async(handle, config=desk.config)
        first = (tmp_path / "out.jsonl").read_bytes()
        assert await records.is_done_async(handle, config=desk.config)
        (tmp_path / "out.jsonl").unlink()
        report = await records.collect_async(handle, config=desk.config)
        assert ({"ok": 5}, 0) == (report.statuses, report.asked)
        assert first == (tmp_path / "out.jsonl").read_bytes()
        assert 5 == len(desk.model.asked)


async def test_what_has_to_be_asked_again_is_sent_by_whoever_asks_whether_it_is_done(tmp_path):
    async with a_desk(tmp_path, lambda text: {"mood": "odd"} if text == "text 1" else GLAD) as desk:
        handle = await submit(desk, count=3)
        await until_done(desk, handle)
        assert 3 == desk.model.asked.count("text 1")
        assert {"ok": 2, "invalid": 1} == (await records.collect_async(handle, config=desk.config)).statuses


async def test_what_a_killed_process_did_not_come_to_ask_again_is_found_before_it_is_done(tmp_path, monkeypatch):
    async with a_desk(tmp_path, lambda text: {"mood": "odd"} if text == "text 1" else GLAD) as desk:
        handle = await submit(desk, count=3)

        async def killed(*_):
            raise RuntimeError("killed")

        # Between the answers being booked and those that are no answers being planned again.
        with monkeypatch.context() as patch:
            patch.setattr(Planner, "plan", killed)
            with pytest.raises(RuntimeError, match="killed"):
                await until_done(desk, handle)
        desk.model.say = lambda _: GLAD
        await until_done(desk, handle)
        assert {"ok": 3} == (await records.collect_async(handle, config=desk.config)).statuses


async def test_a_batch_that_the_provider_lost_is_asked_again_once_it_cannot_be_there_any_more(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        desk.model.at_work.clear()
        handle = await submit(desk)
    # Another server under the same name, which knows of nothing.
    async with a_desk(tmp_path / "new", lambda _: GLAD) as new:
        handle["base_url"] = desk.url = new.url
        for _ in range(12):
            # Each process counts anew how often the batch was not found: it may be found yet.
            assert not await records.is_done_async(handle, config=desk.config)
        assert [] == new.model.asked
        with contextlib.closing(sqlite3.connect(desk.config.state_dir / "enricher.db", isolation_level=None)) as db:
            db.execute("UPDATE batches SET expires_at = 1")
        await until_done(desk, handle)
        assert {"ok": 5} == (await records.collect_async(handle, config=desk.config)).statuses
        assert 5 == len(new.model.asked)


async def test_a_budget_that_is_too_small_is_said_when_it_is_submitted(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        with pytest.raises(BudgetError):
            await submit(desk, budget_usd=0.000001)
        assert [] == desk.model.asked


async def test_a_provider_that_is_away_is_said_when_it_is_submitted(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        url, desk.url = desk.url, "http://127.0.0.1:9/v1"
        with pytest.raises(TryAgainError, match="nothing could be sent yet"):
            await submit(desk)
        desk.url = url
        handle = await submit(desk)
        await until_done(desk, handle)
        assert 5 == len(desk.model.asked)


async def test_a_handle_that_does_not_hold_any_more_says_what_to_do(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        handle = await submit(desk)
        with pytest.raises(UsageError, match="no handle"):
            await records.is_done_async({"run": 1}, config=desk.config)
        with pytest.raises(UsageError, match="nothing of this was submitted"):
            await records.is_done_async({**handle, "state_dir": str(tmp_path / "other")}, config=desk.config)
        with pytest.raises(UsageError, match=r"submitted to http.*names http"):
            await records.is_done_async({**handle, "base_url": "http://elsewhere/v1"}, config=desk.config)
        os.utime(tmp_path / "in-5.jsonl", (1, 1))
        newer = await submit(desk)
        with pytest.raises(UsageError, match="submitted again since"):
            await records.collect_async(handle, config=desk.config)
        desk.task(LABEL.replace("Say how", "Tell how"))
        with pytest.raises(UsageError, match="not what was submitted"):
            await records.collect_async(newer, config=desk.config)


async def test_what_another_process_cannot_take_up_is_refused(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        with pytest.raises(UsageError, match="standard input and output"):
            await records.submit_async("label", "-", tmp_path / "out.jsonl", config=desk.config)
        with pytest.raises(UsageError, match="another process"):
            await submit(desk, options={"labels": {1, 2}})


async def test_a_state_directory_that_another_process_holds_is_waited_for(tmp_path, monkeypatch):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        handle = await submit(desk)
        store = await SqliteStore.open(desk.config.state_dir)
        waiting = asyncio.create_task(records.is_done_async(handle, config=desk.config))
        await asyncio.sleep(0)
        await store.close()
        await waiting
        monkeypatch.setattr(deferred, "_PATIENCE_SECONDS", 0.0)
        store = await SqliteStore.open(desk.config.state_dir)
        with pytest.raises(LockedError):
            await records.is_done_async(handle, config=desk.config)
        await store.close()


PROCESS = """
import json, sys
from pathlib import Path
from enricher import records

handle = json.load(sys.stdin)
print(json.dumps({code}))
"""


def in_a_process(directory, code, handle=None):
    """What a process of its own, in a directory of its own, says that a call has returned."""
    directory.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROCESS.format(code=code)]
    asked = {"input": json.dumps(handle), "env": environment(directory), "cwd": directory}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **asked)
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


def test_three_processes_submit_look_and_collect_as_the_workers_of_a_scheduler(tmp_path):
    server = Server(tmp_path / "server")
    try:
        given, output, config = (tmp_path / name for name in ("in.jsonl", "out.csv", "enricher.toml"))
        given.write_text("".join(json.dumps(row) + "\n" for row in texts(5)))
        provider = f'[provider]\nbase_url = "{server.url}"\n[batch]\npoll_interval_seconds = 1\n'
        config.write_text(f'state_dir = "{tmp_path}/state"\n{provider}')
        submit = f"records.submit('label', {str(given)!r}, {str(output)!r}, config=Path({str(config)!r}))"
        handle = in_a_process(tmp_path / "first", submit)
        until = time.monotonic() + 60
        while not in_a_process(tmp_path / "second", "records.is_done(handle)", handle):
            assert time.monotonic() < until
        report = in_a_process(tmp_path / "third", "records.collect(handle).to_json()", handle)
        ledger = server.ledger()
    finally:
        server.end()
    assert ({"ok": 5}, 5) == (report["statuses"], report["asked"])
    assert 5 == ledger["lines_answered"] == ledger["lines_uploaded"]
    assert 6 == len(output.read_text().splitlines())


async def test_names_of_files_hold_in_another_directory(tmp_path, monkeypatch):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        desk.write("in.jsonl", texts(2))
        desk.task(LABEL)
        config = desk.config.model_copy(update={"state_dir": Path("state")})
        monkeypatch.chdir(tmp_path)
        handle = await records.submit_async("./task.toml", "in.jsonl", "out.jsonl", config=config)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        await until_done(desk, handle)
        await records.collect_async(handle, config=desk.config)
        assert 2 == len(desk.rows())
        assert [] == list((tmp_path / "elsewhere").iterdir())
