"""The demo, with a backend that answers by schema in the model's place: what it asks, writes and shows."""

from __future__ import annotations

import asyncio
import json
import os
import stat

import pytest

from enricher import demo, provider
from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.model_weights import SMALL_WEIGHTS
from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings
from enricher.config import shipped
from enricher.core.pricing import FREE
from enricher.core.task import parse_task


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    task = parse_task(shipped("tasks/logs-local.toml"), name="logs-local")
    chosen = provider.Provider(
        kind="local",
        base_url="",
        endpoint="/v1/chat/completions",
        model=SMALL_WEIGHTS.name,
        task=task,
        prices=FREE,
        reasoning_effort="",
        poll_interval_seconds=0.05,
        weights=SMALL_WEIGHTS,
    )
    monkeypatch.setattr(provider, "choose", lambda *_args, **_more: chosen)
    monkeypatch.setattr(
        provider,
        "embedded_server",
        lambda _chosen, *, state_dir, clock: BatchServer(
            ServerSettings(state_dir=state_dir, concurrency=1), SchemaBackend(clock), clock
        ),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    async def run(*paths, limit=40):
        await demo.run(asyncio.Event(), paths=paths, limit=limit, small=True)
        return capsys.readouterr().out

    return run


WORDS = ("apple", "birch", "cedar", "daisy", "elder", "fern", "grass", "hazel", "iris", "juniper")


def write_log(path, *, first=0):
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        for number, word in enumerate(WORDS[first:] if first else WORDS[:7]):
            level = "ERROR" if word == "cedar" else "INFO"
            # Different lengths keep them apart: each word is a kind of event of its own.
            file.write(f"2026-11-22T10:00:0{number} {level} app: {word} was {'very ' * (number + first)}busy\n" * 3)


def written(tmp_path):
    files = (tmp_path / "enricher-demo/enriched").rglob("*.jsonl")
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


async def test_gravest_kinds_are_asked_and_the_rest_is_written_as_pending(bench, tmp_path):
    write_log(tmp_path / "logs/app.log")
    shown = await bench(tmp_path / "logs", limit=2)
    events = written(tmp_path)
    asked = {event["log.record.template"] for event in events if event["enrichment.status"] == "ok"}
    assert len(events) == 21
    assert len(asked) == 2
    assert any("cedar" in template for template in asked)
    assert {"ok": 6, "pending": 15} == {
        status: sum(event["enrichment.status"] == status for event in events) for status in ("ok", "pending")
    }
    assert {"demo"} == {event["enrichment.quality"] for event in events if "enrichment.quality" in event}
    assert "the newest kinds" not in shown  # both are among the most severe already
    for text in ("the most severe kinds", "6 of 21", "on demand", "every kind once in batch"):
        assert text in shown


async def test_second_demo_reads_only_what_is_new_and_shows_the_last_result_where_nothing_is(bench, tmp_path):
    write_log(tmp_path / "logs/app.log")
    await bench(tmp_path / "logs")
    before = written(tmp_path)
    assert "nothing new since the last demo" in await bench(tmp_path / "logs")
    assert before == written(tmp_path)
    write_log(tmp_path / "logs/app.log", first=7)
    shown = await bench(tmp_path / "logs")
    assert "nothing new" not in shown
    assert len(written(tmp_path)) == len(before) + 9


async def test_neither_the_log_nor_the_model_reaches_the_terminal_unescaped(bench, tmp_path, monkeypatch):
    answer = SchemaBackend.answer

    async def hostile_answer(self, endpoint, body):
        status, envelope = await answer(self, endpoint, body)
        message = envelope["choices"][0]["message"]
        said = json.loads(message["content"]) | {"summary": "\x1b]0;owned\x07\x1b[2Jall \u202efine\u200b\x9b31m"}
        message["content"] = json.dumps(said)
        return status, envelope

    monkeypatch.setattr(SchemaBackend, "answer", hostile_answer)
    (tmp_path / "logs").mkdir()
    lines = [
        "app: \x1b[2J\x1b]0;owned\x07wiped",
        "disk: \u202esdrawkcab\u202c \u200bhidden",
        "web: mark [/]",
    ]
    (tmp_path / "logs/app.log").write_text("".join(f"2026-11-22T10:00:00Z ERROR {line}\n" for line in lines))
    shown = await bench(tmp_path / "logs")
    for text in ("wiped", "mark [/]", "all fine"):
        assert text in shown
    assert [] == [mark for mark in "\x1b\x07\x9b\u202e\u202c\u200b" if mark in shown]


async def test_journal_is_read_where_the_log_directory_holds_few_lines(bench, tmp_path, monkeypatch):
    write_log(tmp_path / "logs/app.log")
    fake = tmp_path / "bin/journalctl"
    fake.parent.mkdir()
    # Says what it was asked for, and keeps a cursor as the real one does.
    fake.write_text(
        '#!/bin/sh\nfor a in "$@"; do case $a in --cursor-file=*) touch "${a#--cursor-file=}";; esac; done\n'
        'echo "2026-11-22T11:00:00+0000 host unit[1]: asked with $*"\n'
    )
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(demo, "_LOGS", tmp_path / "logs")
    before = os.umask(0)
    try:
        assert "journal" in await bench()
    finally:
        os.umask(before)
    journal = [event for event in written(tmp_path) if event["log.file.path"].endswith("journal.log")]
    assert len(journal) == 1
    assert "--since=-24h" in journal[0]["message"]
    made = [tmp_path / "enricher-demo", *(tmp_path / "enricher-demo").rglob("*")]
    assert {"journal.log", "cursor", "enricher.db"} <= {path.name for path in made}
    assert [] == [path for path in made if path.stat().st_mode & 0o077]
