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


def test_a_demo_does_not_wait_for_a_pipe_among_the_logs(tmp_path):
    pipe = tmp_path / "fifo.log"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: Path(pipe).write_text("a line\n" * 10), daemon=True)
    writer.start()
    assert not demo._has_lines(tmp_path, 5)
    # Whoever waits at the other end is let go.
    assert "a line\n" * 10 == pipe.read_text()
    writer.join(5)
