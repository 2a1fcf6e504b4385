"""`enricher.records` for programs: its examples work, its types hold, and who is cancelled has lost nothing."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import structlog

from enricher.config import loading
from enricher.edges.record_outputs.jsonl import JsonlOutput
from tests.records.desk import LABEL, a_desk
from tests.system.bench import Server

ROOT = Path(__file__).parents[2]
GLAD = {"mood": "glad"}
MODULES = ("enricher.records", "enricher.records.api", "enricher.records.deferred", "enricher.records.evaluating")
REVIEWS = ("It broke on the second day.", "Works as it should.", "It is blue.")


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [
        one
        for name in MODULES
        for one in finder.find(importlib.import_module(name))
        if one.examples and not (name == "enricher.records" and one.name != name)
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("served"))
    yield server
    server.end()


@pytest.mark.parametrize("example", examples(), ids=lambda one: one.name)
def test_the_examples_of_the_documentation_do_what_they_say(example, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reviews.jsonl").write_text(
        "".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(REVIEWS))
    )
    Path("enricher.toml").write_text(
        f'state_dir = "state"\n[provider]\nbase_url = "{server.url}"\n[batch]\npoll_interval_seconds = 1\n'
    )
    monkeypatch.setattr(loading, "SYSTEM_FILE", tmp_path / "enricher.toml")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    # Other tests of the same process may have set it up, to print.
    monkeypatch.setattr(structlog, "is_configured", lambda: False)
    said = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert [] == said


TYPED = """
import asyncio
from pathlib import Path

from enricher import records


def show(progress: records.JobProgress) -> None:
    print(progress.phase, progress.done, progress.cost_usd)


async def main() -> None:
    estimate: records.Estimate = await records.plan_async("label", Path("in.jsonl"), key="id", model="m")
    report: records.Report = await records.run_async(
        "label", "in.jsonl", "out.csv", options={"labels": ["a"]}, columns={"text": "body"}, budget_usd=2.5, tell=show
    )
    handle: records.Handle = await records.submit_async("label", "in.jsonl", "out.csv", overwrite=True)
    if await records.is_done_async(handle):
        report = await records.collect_async(handle, config=Path("enricher.toml"))
    found: records.Evaluated = await records.evaluate_async("evaluate", baseline=Path("main.json"), seed=2, wait=False)
    print([cell.name.upper() for cell in found.evaluation.ranking], found.verdict and found.verdict.passed)
    print(estimate.likely_usd, report.statuses.get("ok", 0), report.notes[0].upper(), handle["run"] + 1)
    # Said by their types, so that each of these is a fault which mypy finds:
    records.run("label", "in.jsonl", "out.csv", budget_usd="two")  # type: ignore[arg-type]
    records.run("label", "in.jsonl", "out.csv", colour="red")  # type: ignore[call-arg]
    records.evaluate("evaluate", "cases.jsonl", model="m")  # type: ignore[call-arg]
    records.plan("label", "in.jsonl", input_format="xls")  # type: ignore[arg-type]
    print(report.rows.upper())  # type: ignore[attr-defined]


asyncio.run(main())
"""


def test_a_program_that_uses_it_is_checked_by_its_types(tmp_path):
    (tmp_path / "program.py").write_text(TYPED)
    # With the project's settings, which are strict, and its cache: without it this takes half a minute.
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        "pyproject.toml",
        str(tmp_path / "program.py"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# ---------------------------------------------------------------- cancelled


def texts(count):
    return [{"id": f"k{number}", "text": f"text {number}"} for number in range(count)]


@pytest.mark.parametrize("phase", ["reading", "asking", "writing"])
async def test_cancelled_in_any_phase_it_leaves_nothing_half_written_and_goes_on(tmp_path, phase):
    async with a_desk(tmp_path, lambda _: GLAD, batch={"max_requests": 10}) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(40))
        running = None

        def tell(progress):
            if progress.phase == phase:
                running.cancel()

        running = asyncio.ensure_future(desk.run(task, given, tell=tell))
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not [path for path in tmp_path.iterdir() if "out.jsonl" in path.name]
        # Nothing is held any more, and nothing is asked twice.
        report = await desk.run(task, given)
        assert ({"ok": 40}, 40) == (report.statuses, len(desk.model.asked))


@pytest.mark.parametrize(("step", "appears"), [("write", False), ("finish", True)])
async def test_cancelled_while_it_writes_it_ends_what_it_is_about(tmp_path, monkeypatch, step, appears):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(4))
        writing, may_go_on = threading.Event(), threading.Event()
        real = getattr(JsonlOutput, step)

        def slow(self, *args):
            writing.set()
            assert may_go_on.wait(30)
            real(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(JsonlOutput, step, slow)
            running = asyncio.ensure_future(desk.run(task, given))
            assert await asyncio.to_thread(writing.wait, 30)
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=0.5)
            assert not done
            may_go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert appears == (tmp_path / "out.jsonl").exists()
        assert not (tmp_path / ".out.jsonl.part").exists()
        # An output that appeared is known for ours: it may be replaced without being told.
        assert {"ok": 4} == (await desk.run(task, given)).statuses
        assert 4 == len(desk.model.asked)


async def test_what_happens_is_told_by_the_logging_of_the_program_and_not_on_its_standard_output(
    tmp_path, capsys, caplog, monkeypatch
):
    monkeypatch.setattr(structlog, "is_configured", lambda: False)
    caplog.set_level(logging.INFO, "enricher")
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(1)))
    told = [record.getMessage() for record in caplog.records if record.name == "enricher"]
    assert [True] == ["requests=1" in line for line in told if line.startswith("event=batch_uploaded")]
    assert ("", "") == capsys.readouterr()
