"""Every command of the README runs, in the order in which it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enricher.core.records.task import parse_record_task

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
MAKE = [command for command in COMMANDS if command.startswith("make ")]
SERVER = [command for command in COMMANDS if "serve-batches" in command]
OTHERS = [command for command in COMMANDS if command not in MAKE + SERVER]
GATED = [command for command in COMMANDS if command.startswith("enricher evaluate ")]


def test_readme_has_the_two_commands_and_a_tour():
    assert {"make demo", "make test"} <= set(MAKE)
    assert ["validate", "plan", "once", "status", *["records"] * 4, "evaluate"] == [
        command.split()[1] for command in OTHERS
    ]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("command", sorted({*MAKE, *re.findall(r"`(make [^`]+)`", README)}))
def test_make_knows_every_target_that_the_readme_names(command):
    done = subprocess.run(["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tour_of_the_readme_works_from_an_empty_directory(tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    sample = tmp_path / "dpkg.log"
    sample.write_text("".join(f"2026-11-22 10:{n:02}:00 status installed package{n}:amd64 1.{n}\n" for n in range(60)))
    settings = re.search(r"Put this into `try.toml`:\n\n```toml\n(.*?)```", README, re.DOTALL)
    assert settings is not None
    with subprocess.Popen(
        _enricher(SERVER[0].replace("8090", "0")), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())["base_url"]
            (tmp_path / "try.toml").write_text(settings[1].replace("http://127.0.0.1:8090/v1", address))
            for command in OTHERS:
                done = subprocess.run(
                    _enricher(command.replace("/var/log/dpkg.log", str(sample))),
                    cwd=tmp_path,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                # Answers that mean nothing pass no gate, as is said beside the command.
                assert done.returncode == (command in GATED), (command, done.stdout, done.stderr)
        finally:
            server.terminate()
    lines = [line for path in (tmp_path / "try/enriched").rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert len(lines) == 60
    assert 12 == (tmp_path / "labelled.csv").read_text().count(",ok,\n")
    assert 3 == (tmp_path / "short.jsonl").read_text().count('"status":"ok"')
    assert "<html" in (tmp_path / "report.html").read_text()
    assert "<testsuites" in (tmp_path / "tests.xml").read_text()


def _enricher(command: str) -> list[str]:
    assert command.startswith("enricher ")
    return [sys.executable, "-m", "enricher", *command.split()[1:]]


def test_task_of_the_readme_is_one():
    tasks = [text for text in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if text.startswith('name = "tone"')]
    task = parse_record_task(tasks[0], name="tone", options={"tones": ["warm", "cold"]})
    assert "tone: The tone of all of it. One of: warm, cold." in task.system
    assert task.long.combine.fields["tone"].rule == "vote"
