"""Killed while it writes, a run is ended by the same call again: nothing asked again, the output as it was."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys

import pytest

from enricher import records
from enricher.errors import OutputError
from tests.records.desk import LABEL, a_desk
from tests.system.bench import environment

GLAD = {"mood": "glad"}
# Another process kills itself as it comes to a step.
RUN_TO = """
import asyncio, os, signal, sys
from importlib import import_module
from pathlib import Path
from tests.records.desk import Desk

root, url, task, output, module, owner, step = sys.argv[1:]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
setattr(getattr(import_module(module), owner), step, die)
asyncio.run(Desk(Path(root), url, None).run(task, Path(root) / "in.jsonl", output))
"""
RECORDING = ("enricher.edges.store_sqlite.record_store", "SqliteRecords", "end_run")
OUTPUTS = ("out.jsonl", "out.csv.gz", "out.parquet", "out.db#labels")


def rows(count):
    return [{"id": f"k{number}", "text": f"text {number}"} for number in range(count)]


def content(path, output):
    file = path / output.partition("#")[0]
    if "#" not in output:
        return file.read_bytes()
    with sqlite3.connect(file) as db:
        found = db.execute("SELECT * FROM labels ORDER BY id").fetchall()
    db.close()
    return found


async def killed_at(desk, output, step):
    command = [sys.executable, "-c", RUN_TO, str(desk.root), desk.url, str(desk.root / "task.toml"), output, *step]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment(desk.root), capture_output=True, check=False
    )
    assert -signal.SIGKILL == done.returncode, done.stderr.decode()


@pytest.mark.parametrize("output", OUTPUTS)
async def test_killed_between_an_outputs_name_and_the_record_of_it_the_same_call_ends_it(tmp_path, output):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", rows(5))
        await killed_at(desk, output, RECORDING)
        written = content(tmp_path, output)
        report = await desk.run(task, given, output)
        assert ({"ok": 5}, 5, written) == (report.statuses, report.asked, content(tmp_path, output))
        # And again, as ever.
        assert {"ok": 5} == (await desk.run(task, given, output)).statuses
        assert 5 == len(desk.model.asked)


@pytest.mark.parametrize(
    ("output", "step"),
    [
        ("out.jsonl", ("enricher.edges.record_outputs.jsonl", "JsonlOutput", "finish")),
        ("out.db#labels", ("enricher.edges.record_outputs.sqlite", "SqliteOutput", "finish")),
    ],
)
async def test_killed_just_before_an_output_replaces_its_own_earlier_one_that_is_still_its_own(tmp_path, output, step):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", rows(5))
        await killed_at(desk, output, RECORDING)
        written = content(tmp_path, output)
        for _ in range(2):
            await killed_at(desk, output, step)
            assert written == content(tmp_path, output)
        assert {"ok": 5} == (await desk.run(task, given, output)).statuses
        assert (written, 5) == (content(tmp_path, output), len(desk.model.asked))


async def test_what_somebody_changed_after_the_kill_is_not_replaced(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", rows(2))
        await killed_at(desk, "out.jsonl", RECORDING)
        with (tmp_path / "out.jsonl").open("a") as out:
            out.write("mine\n")
        with pytest.raises(OutputError, match="exists"):
            await desk.run(task, given)
        await killed_at(desk, "out.db#labels", RECORDING)
        with sqlite3.connect(tmp_path / "out.db") as db:
            db.execute("UPDATE labels SET mood = 'mine' WHERE id = 'k1'")
        db.close()
        with pytest.raises(OutputError, match="exists"):
            await desk.run(task, given, "out.db#labels")
        assert ["glad", "mine"] == [row[2] for row in content(tmp_path, "out.db#labels")]


async def test_a_table_that_is_named_by_its_database_alone_is_known_again(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", rows(2))
        for _ in range(2):
            report = await records.run_async(task, given, f"sqlite:{tmp_path / 'out.sqlite3'}", config=desk.config)
            assert {"ok": 2} == report.statuses
