"""Log events and metrics: one happening, told once, and nothing hostile in it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from enricher.ports import SkippedFile
from enricher.telemetry import Telemetry, configure_logging


@pytest.fixture
def telemetry():
    made = Telemetry(CollectorRegistry())
    made.initialise(sources=["varlog"], sinks=["files"])
    return made


def served(telemetry):
    text = generate_latest(telemetry.registry).decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_series_is_there_from_the_start(telemetry):
    values = served(telemetry)
    assert values["enricher_source_read_events_total", "varlog"] == 0
    assert values["enricher_batch_jobs", "open"] == 0
    assert values["enricher_batch_jobs_total", "expired"] == 0
    assert values["enricher_api_calls_total", "create", "unclear"] == 0


def test_avoided_cost_is_what_asking_each_event_would_have_cost_less_what_was_booked(telemetry):
    telemetry.event_usd = 0.5
    telemetry.events_statused(statuses={"cached": 4, "ok": 2, "pending": 9})
    assert served(telemetry)["enricher_cost_avoided_usd_total",] == pytest.approx(3.0)


def test_the_gauge_of_readiness_follows_what_readyz_says(telemetry):
    for ready in (True, False, True):
        telemetry.readiness_changed(ready=ready)
        assert served(telemetry)["enricher_ready",] == ready


def test_hostile_text_reaches_the_log_escaped():
    stream = io.StringIO()
    configure_logging(stream=stream)
    evil = b"/var/log/\x1b[2J\n\xff\xe2\x80\xae.log"
    Telemetry(CollectorRegistry()).files_skipped(
        source="varlog", skipped=[SkippedFile(path=evil, reason="binary", detail="a\nb", hint="")]
    )
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert json.loads(lines[0])["path"].isprintable()


def test_many_files_found_or_left_out_at_once_have_few_lines_of_log():
    stream = io.StringIO()
    configure_logging(stream=stream)
    told = Telemetry(CollectorRegistry())
    told.files_found(source="varlog", paths=[b"/log/%d" % at for at in range(10_000)])
    skips = [SkippedFile(path=b"/log/%d" % at, reason="binary", detail="", hint="") for at in range(10_000)]
    told.files_skipped(source="varlog", skipped=skips)
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(rows) == 42
    sums = [(row["event"], row["files"], row["not_named"]) for row in rows if "files" in row]
    assert sums == [("files_found", 10_000, 9_980), ("files_skipped", 10_000, 9_980)]
    assert served(told)["enricher_source_skipped_files_total", "binary"] == 10_000


def test_what_happens_a_thousand_times_a_minute_is_counted_and_told_a_few_times():
    stream = io.StringIO()
    configure_logging(stream=stream)
    now = [1000.0]
    told = Telemetry(CollectorRegistry(), monotonic=lambda: now[0])
    for at in range(1_000):
        now[0] += 0.05
        told.line_cut(source="varlog", path="/log/a", lost_bytes=at)
        told.file_truncated(source="varlog", path="/log/a", old_position=at, new_size=0)
        told.file_rotated(source="varlog", path="/log/a", new_path=f"/log/a.{at}")
        told.files_found(source="varlog", paths=[b"/log/%d" % at])
    told.line_cut(source="another", path="/log/b", lost_bytes=1)
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert 4 * 20 + 1 == len(rows)
    assert served(told)["enricher_source_truncations_total", "varlog"] == 1_000

    now[0] += 60
    told.line_cut(source="varlog", path="/log/a", lost_bytes=7)
    told.line_cut(source="varlog", path="/log/a", lost_bytes=8)
    last = [json.loads(line) for line in stream.getvalue().splitlines()][-2:]
    assert [(7, 980), (8, None)] == [(row["lost_bytes"], row.get("not_told")) for row in last]


def test_hostile_text_is_escaped_in_lists_too():
    stream = io.StringIO()
    configure_logging(stream=stream)
    Telemetry(CollectorRegistry()).window_closed(
        window="2026-11-22T10Z", pane=0, how="forced", events=1, left_out=["\x1b[2J\u202e"]
    )
    assert "\u202e" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_finds_no_fault(telemetry):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(telemetry.registry), capture_output=True, check=False
    )
    assert (0, b"") == (done.returncode, done.stderr)
