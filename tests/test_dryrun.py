"""What `plan --out` leaves behind, and what a demo's first look may touch."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from enricher import demo, dryrun
from enricher.compose import source_of
from enricher.config import Config, ProviderSettings, SinkSettings
from enricher.errors import UsageError


def a_config(tmp_path):
    logs = tmp_path / "a.log"
    logs.write_text("2026-11-22T10:00:00Z host app[1]: disk of bob is full\n")
    return Config(
        state_dir=tmp_path / "state",
        sources=(source_of([logs], "logs"),),
        sinks=(SinkSettings(id="files", directory=tmp_path / "enriched"),),
        provider=ProviderSettings(base_url="http://127.0.0.1:9/v1", model="m"),
    )


async def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: cannot be written: File exists"):
        await dryrun.plan(a_config(tmp_path), config_path=None, environment={}, out=tmp_path / "file")


async def test_files_of_a_plan_are_for_nobody_else(tmp_path):
    config, out = a_config(tmp_path), tmp_path / "out"
    report = await dryrun.plan(config, config_path=None, environment={}, out=out)
    (file,) = out.iterdir()
    assert (file.name,) == report.files
    assert (0o700, 0o600) == (out.stat().st_mode & 0o777, file.stat().st_mode & 0o777)
    # What lay there for all to read does not stay so.
    file.chmod(0o644)
    await dryrun.plan(config, config_path=None, environment={}, out=out)
    assert 0o600 == file.stat().st_mode & 0o777


async def test_what_is_told_is_what_is_written_byte_for_byte_and_safe_for_a_terminal(tmp_path):
    config, out, told = a_config(tmp_path), tmp_path / "out", []
    logs = tmp_path / "a.log"
    text = "2026-11-22T10:0%d:00Z host app[1]: disk \x1b]8;;x\x07\u202e of \x7f user=mreyes%d at 45.83.64.%d is full\n"
    logs.write_text("".join(text % (n, n, n) for n in range(9)))
    report = await dryrun.plan(config, config_path=None, environment={}, out=out, tell=told.append)
    assert b"".join(told) == b"".join((out / name).read_bytes() for name in report.files)
    assert all(32 <= byte < 127 or byte == 0x0A for line in told for byte in line)
    assert b"user-2 at public-ip-2" in told[0]
    assert b"mreyes" not in told[0]
    tokens = report.to_json()["tokens_per_signature"]
    assert tokens["input"] == report.to_json()["input_tokens"] > 100
    assert {"events": 0, "sources": []} == report.to_json()["skipped"]


def test_a_demo_does_not_wait_for_a_pipe_among_the_logs(tmp_path):
    pipe = tmp_path / "fifo.log"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: Path(pipe).write_text("a line\n" * 10), daemon=True)
    writer.start()
    assert not demo._has_lines(tmp_path, 5)
    # Whoever waits at the other end is let go.
    assert "a line\n" * 10 == pipe.read_text()
    writer.join(5)
