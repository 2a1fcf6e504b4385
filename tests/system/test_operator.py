"""What an operator is told while something is wrong for long: what, since when, and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time

import pytest

from tests.system import chaos_clock
from tests.system.bench import log_lines
from tests.system.test_run import MANY, Daemon

UNREACHABLE = "http://127.0.0.1:9/v1"
QUARTER = 900
COLLECTING = {"window": {"allowed_lateness_seconds": 0.0, "digest": False}}
PRICES = {
    "input_usd": 100, "cached_usd": 100, "output_usd": 100,
    "batch_input_usd": 50, "batch_cached_usd": 50, "batch_output_usd": 50, "as_of": "2026-11-22",
}  # fmt: skip


@pytest.fixture
def run(bench, tmp_path):
    """Start daemons on the test's bench, whose wall clock `chaos_clock` steps."""
    daemons = []
    chaos_clock.step(tmp_path / "clock", 0)

    def start():
        prefix = (sys.executable, "-m", "tests.system.chaos_clock")
        daemons.append(Daemon(bench, prefix=prefix, CHAOS_CLOCK=str(tmp_path / "clock")))
        return daemons[-1].ready()

    yield start
    for one in daemons:
        one.end()


def status(daemon):
    return json.loads(daemon.get("/status")[1])


def shown(bench):
    """What the command shows a person."""
    return " ".join(bench.enricher("status").out.split())


def test_a_provider_that_nobody_reaches_is_told_with_since_when_and_after_a_while_it_is_not_ready(bench, run, tmp_path):
    bench.configure(provider={"base_url": UNREACHABLE}, **COLLECTING)
    bench.write("a.log", log_lines(MANY, hours=1))
    begun = time.time()
    daemon = run()
    daemon.eventually(lambda: status(daemon)["batch_troubles"])

    (trouble,) = status(daemon)["batch_troubles"]
    assert "Connection error" in trouble["error"]
    assert "can this host reach it?" in trouble["hint"]
    assert begun <= trouble["since"] <= time.time()
    since = trouble["since"]
    assert since == daemon.metric("enricher_batch_failing_since_timestamp_seconds")
    assert begun <= daemon.metric("enricher_batch_oldest_open_timestamp_seconds") <= since
    page = shown(bench)
    assert "a batch is stuck since 20" in page
    assert "can this host reach it?" in page
    assert (200, "ready\n") == daemon.get("/readyz"), "what passes by itself is no news at once"

    chaos_clock.step(tmp_path / "clock", QUARTER)
    daemon.eventually(lambda: daemon.get("/readyz")[0] == 503)

    assert "Connection error. (since 20" in daemon.get("/readyz")[1]
    assert 0 == daemon.metric("enricher_ready")
    daemon.stop()
    daemon = run()
    daemon.eventually(lambda: len(daemon.running.happened("batch_waited")) > 1)
    assert [since] == [one["since"] for one in status(daemon)["batch_troubles"]], "a restart does not begin anew"


def test_what_was_wrong_with_a_batch_is_not_told_once_it_goes_on(bench, run, serve):
    refused = [{"on": "retrieve", "what": "status", "status": 500, "times": 3}]
    stuck = [{"on": "batch", "what": "stuck", "state": "in_progress", "times": 0}]
    bench.url = serve(faults=[*refused, *stuck]).url
    bench.configure(**COLLECTING)
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run()
    daemon.eventually(lambda: daemon.running.happened("batch_waited"))
    daemon.eventually(lambda: [one["status"] for one in status(daemon)["open_batches"]] == ["in_progress"])

    assert [None] == [one["error"] for one in status(daemon)["open_batches"]]
    assert [] == status(daemon)["batch_troubles"]
    assert 0 == daemon.metric("enricher_batch_failing_since_timestamp_seconds")


def test_a_batch_that_is_held_for_the_budget_is_shown_with_the_way_out(bench, run):
    bench.configure(prices=PRICES, budget={"daily_usd": 0.0001, "when_over": "hold"}, **COLLECTING)
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run()
    daemon.eventually(lambda: status(daemon)["waiting_batches"])

    (held,) = status(daemon)["waiting_batches"]
    assert ("planned", "over budget") == (held["state"], held["error"])
    assert held["planned_at"] == daemon.metric("enricher_batch_oldest_open_timestamp_seconds")
    assert "with a higher [budget]" in shown(bench)


def test_what_a_file_grows_by_while_nothing_is_read_is_shown_as_unread(bench, run):
    bench.configure(provider={"base_url": UNREACHABLE}, store={"max_spool_bytes": 1}, **COLLECTING)
    path = bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run()
    daemon.eventually(lambda: status(daemon)["reading_held_by"] == "spool")
    bench.write("a.log", log_lines(MANY, hours=1), append=True)

    (file,) = bench.status()["files"]

    assert path.stat().st_size == file["size"] == file["position"] + file["lag_bytes"]
    assert f"{file['lag_bytes']:,}" in shown(bench)


def test_that_no_file_is_followed_is_said(bench, run):
    bench.logs.rmdir()
    daemon = run()
    daemon.eventually(lambda: daemon.running.happened("file_skipped", reason="vanished"))

    assert "no file is followed: enricher validate says" in shown(bench)


def test_a_refused_reload_is_seen_in_the_metrics_until_one_is_taken(bench, run):
    daemon = run()
    kept = bench.file.read_text()
    bench.file.write_text(kept + "[nonsense]\n")
    daemon.running.signal(signal.SIGHUP)
    daemon.eventually(lambda: daemon.running.happened("reload_refused"))
    assert 1 == daemon.metric("enricher_reload_refused")

    bench.file.write_text(kept)
    daemon.running.signal(signal.SIGHUP)
    daemon.eventually(lambda: len(daemon.running.happened("daemon_started")) == 2)
    daemon.address = daemon.running.happened("daemon_started")[-1]["admin"]
    assert 0 == daemon.metric("enricher_reload_refused")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may enter everything")
def test_a_state_directory_that_cannot_be_entered_is_refused_with_the_way_out(bench):
    state = bench.root / "state"
    state.mkdir(mode=0o000)
    bound = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()

    refused = bench.enricher("run", code=75, prefix=bound)

    assert f"{state}: cannot be used as state directory: Permission denied" in refused.err
    assert "give it to the user that enricher runs as" in refused.err
