"""`enricher run`, the daemon: started as systemd would, followed by its logs, its HTTP and its notifications."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from tests.system.bench import (
    FIRST_HOUR,
    Bench,
    assert_each_in_its_window,
    assert_manifests_true,
    events,
    eventually,
    log_lines,
    manifests,
)

# What is worth reading at once: less waits up to 10 s for more.
MANY = 4000


class Daemon:
    """A running daemon with a service manager's socket."""

    def __init__(self, bench, *, full=False, **variables):
        self.bench = bench
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # The path of a UNIX socket is short, that of a test's directory may not be.
        self.socket.bind(f"\0enricher-test-{id(self)}-{time.monotonic_ns()}")
        self.socket.setblocking(False)
        self._told = []
        address = "@" + self.socket.getsockname()[1:].decode()
        while full:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                try:
                    sender.sendto(b"X=1", self.socket.getsockname())
                except BlockingIOError:
                    break
        variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"} | variables
        self.running = bench.start("run", **variables)

    @property
    def told(self):
        """Notifications so far."""
        while True:
            try:
                self._told.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self._told

    def ready(self):
        self.running.until(lambda: "READY=1" in self.told)
        self.address = self.running.until(lambda: self.running.happened("daemon_started"))[0]["admin"]
        return self

    def get(self, path):
        try:
            with urllib.request.urlopen(self.address + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, series):
        """The value of one series."""
        text = self.get("/metrics")[1]
        return next(
            (float(line.rpartition(" ")[2]) for line in text.splitlines() if line.rpartition(" ")[0] == series), None
        )

    def eventually(self, condition):
        # Read all the while, as a service manager does.
        return eventually(lambda: self.told and condition(), running=self.running)

    def stop(self, number=signal.SIGTERM):
        begun = time.monotonic()
        self.running.signal(number)
        self.running.wait(20)
        return time.monotonic() - begun

    def end(self):
        self.running.end()
        self.socket.close()


@pytest.fixture
def run(bench):
    """Start daemons on the test's bench."""
    daemons = []

    def start(**more):
        daemons.append(Daemon(bench, **more))
        return daemons[-1]

    yield start
    for one in daemons:
        one.end()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, server):
    """A daemon that has written a window of its first log, for tests that only look."""
    bench = Bench(tmp_path_factory.mktemp("daemon"), server.url)
    bench.configure(window={"allowed_lateness_seconds": 0.0})
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = Daemon(bench).ready()
    daemon.eventually(lambda: sum(one["events"] for one in daemon.running.happened("part_delivered")) == MANY)
    daemon.eventually(lambda: json.loads(daemon.get("/status")[1])["windows"].keys() == {"done"})
    # The store says "done" a moment before the log does.
    daemon.eventually(lambda: daemon.running.happened("pane_finished"))
    yield daemon
    daemon.end()
    bench.end()


def promised_metrics():
    """Names and labels out of the README's table."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    found = re.findall(r"^\| `(enricher_\w+)(?:\{([\w,]+)\})?` \|", readme, re.MULTILINE)
    return {name: set(labels.split(",")) - {""} for name, labels in found}


def test_it_says_in_json_what_it_did(daemon):
    log = daemon.running.log

    assert len(daemon.running.err.splitlines()) == len(log)
    for one in log:
        assert {"event", "level", "timestamp"} <= set(one)
    assert ["2026-11-20T08Z"] == [one["window"] for one in daemon.running.happened("window_closed", pane=0)]
    names = [one["event"] for one in log]
    for name in ("daemon_started", "file_found", "plan_committed", "batch_created", "batch_ended", "pane_finished"):
        assert name in names
    assert "" == daemon.running.out


def test_it_tells_the_service_manager_how_it_is(daemon):
    daemon.eventually(lambda: daemon.told.count("WATCHDOG=1") >= 2)

    told = daemon.told
    assert 1 == told.count("READY=1")
    assert any(re.fullmatch(r"STATUS=[\d,]+ events read, .+ spent", one) for one in told)


def test_it_serves_every_metric_that_is_promised_and_no_other(daemon):
    _, text = daemon.get("/metrics")
    series = re.findall(r"^(enricher_\w+?)(?:\{(.*)\})? \S+$", text, re.MULTILINE)
    histograms = set(re.findall(r"^# TYPE (\w+) histogram", text, re.MULTILINE))

    served = {}
    for name, labels in series:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        family = family if family in histograms else name
        found = set(re.findall(r'(\w+)="', labels)) - {"le"}
        served.setdefault(family, found)
        assert served[family] == found
    assert promised_metrics() == {name: labels for name, labels in served.items() if not name.endswith("_created")}


def test_its_metrics_count_what_was_read_and_written(daemon):
    assert float(MANY) == daemon.metric('enricher_source_read_events_total{source="logs"}')
    assert float(MANY) == daemon.metric('enricher_sink_delivered_events_total{sink="files"}')
    assert 0.0 == daemon.metric("enricher_accounting_imbalance_events")
    assert 0.0 == daemon.metric('enricher_dead_letter_events_total{reason="corrupt"}')
    assert 0.0 < daemon.metric('enricher_api_tokens_total{direction="input"}')
    assert 1.0 <= daemon.metric('enricher_batch_jobs_total{outcome="completed"}')


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong_with_the_metrics(daemon):
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=daemon.get("/metrics")[1].encode(), capture_output=True, check=False
    )

    assert (0, b"", b"") == (checked.returncode, checked.stdout, checked.stderr)


def test_it_is_alive_ready_and_shows_its_status(daemon):
    assert (200, "ok\n") == daemon.get("/healthz")
    assert (200, "ready\n") == daemon.get("/readyz")
    code, text = daemon.get("/status")
    status = json.loads(text)
    assert 200 == code
    assert [] == status["unready"]
    assert {"read": MANY, "written": MANY, "pending": 0, "dead_lettered": 0} == status["events"]
    assert {"logs"} == set(status["sources"])
    assert 404 == daemon.get("/nothing")[0]


def test_it_says_that_a_sink_takes_nothing_and_that_it_does_again(bench, run):
    bench.configure(window={"allowed_lateness_seconds": 0.0})
    bench.out.write_text("in the way")
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run().ready()
    daemon.eventually(
        lambda: daemon.get("/readyz")[0] == 503 and "sink files: cannot write" in daemon.get("/readyz")[1]
    )
    assert any("sink files: cannot write" in one for one in json.loads(daemon.get("/status")[1])["unready"])
    bench.out.unlink()
    daemon.eventually(lambda: (200, "ready\n") == daemon.get("/readyz"))


def test_a_second_process_is_refused_while_looking_on_is_not(daemon):
    bench = daemon.bench

    refused = bench.enricher("once", code=73)

    assert str(bench.root / "state") in " ".join(refused.err.split())
    status = bench.status()
    assert (MANY, daemon.running.process.pid) == (status["events"]["written"], status["process"])
    planned = json.loads(bench.enricher("plan", "--json").out)
    assert (MANY, 0) == (planned["events"], planned["new_signatures"])
    assert None is daemon.running.process.poll()


def test_it_follows_files_through_appending_and_renaming(bench, run, server):
    # With accounts of windows there would be requests beside those about kinds.
    bench.configure(window={"allowed_lateness_seconds": 0.0, "digest": "counts"})
    hours = [list(log_lines(MANY, hours=1, start=FIRST_HOUR + timedelta(hours=hour), first=hour)) for hour in range(4)]
    late = list(log_lines(MANY, hours=1, first=7))
    bench.write("a.log", hours[0])
    daemon = run().ready()
    daemon.eventually(lambda: manifests(bench.out).get("2026-11-20T08Z", {}).get("final"))
    uploaded = server.lines_uploaded()

    bench.write("a.log", hours[1], append=True)
    daemon.eventually(lambda: manifests(bench.out).get("2026-11-20T09Z", {}).get("final"))
    # A logrotate: what is still in hand goes into the old file, a new one takes the name.
    bench.write("a.log", hours[2], append=True)
    (bench.logs / "a.log").rename(bench.logs / "a.log.1")
    bench.write("a.log", hours[3])
    bench.write("a.log.1", late, append=True)
    bench.write("b.log", [f"{FIRST_HOUR + timedelta(hours=20):%Y-%m-%dT%H:%M:%SZ} INFO a few lines wait a little"])
    wanted = Counter([line for hour in hours for line in hour] + late)

    daemon.eventually(lambda: daemon.metric('enricher_sink_delivered_events_total{sink="files"}') == 5 * MANY + 1)
    assert wanted == Counter(event["message"] for event in events(bench.out) if "b.log" not in event["log.file.path"])
    assert 1 == server.lines_uploaded() - uploaded
    in_late_panes = sum(event["enrichment.pane"] > 0 for event in events(bench.out))
    assert MANY <= in_late_panes == daemon.metric("enricher_late_events_total")
    assert 1.0 == daemon.metric('enricher_source_rotations_total{source="logs"}')
    assert 0.0 == daemon.metric("enricher_accounting_imbalance_events")
    daemon.eventually(lambda: all(manifest["final"] for manifest in manifests(bench.out).values()))

    assert daemon.stop() < 10
    assert 0 == daemon.running.code
    assert "STOPPING=1" in daemon.told
    assert "daemon_stopped" == daemon.running.log[-1]["event"]
    assert_each_in_its_window(bench.out)
    assert_manifests_true(bench.out)


def test_a_reload_takes_a_valid_file_and_refuses_a_broken_one(bench, run):
    daemon = run().ready()
    good = bench.file.read_text()

    bench.file.write_text(good + "\n[window]\nlenght = 3\n")
    daemon.running.signal(signal.SIGHUP)
    refused = daemon.running.until(lambda: daemon.running.happened("reload_refused"))
    assert "window.lenght: there is no such option" in " ".join(refused[0]["faults"])
    assert 200 == daemon.get("/healthz")[0]
    daemon.eventually(lambda: daemon.told.count("READY=1") == 2)

    other = bench.root / "elsewhere"
    other.mkdir()
    (other / "b.log").write_text("2026-11-20T08:00:00Z INFO found after a reload\n")
    bench.configure(sources=[{"id": "other", "include": [str(other)]}])
    daemon.running.signal(signal.SIGHUP)
    daemon.running.until(lambda: daemon.running.happened("reload_finished"))
    daemon.running.until(lambda: daemon.running.happened("file_found", source="other"))
    daemon.eventually(lambda: daemon.told.count("READY=1") == 3)
    assert 2 == len(daemon.running.happened("daemon_started"))
    # A unit that says STOPPING=1 is killed a little later, whatever it says then.
    assert [True, False] == [any(word in one for one in daemon.told) for word in ("RELOADING=1", "STOPPING=1")]

    assert daemon.stop() < 10
    assert 0 == daemon.running.code


def test_hangups_that_come_all_the_time_reload_it_and_never_end_it(bench, run):
    daemon = run().ready()

    def hang_up():
        daemon.running.signal(signal.SIGHUP)
        return len(daemon.running.happened("reload_finished")) >= 20

    daemon.running.until(hang_up)
    started = len(daemon.running.happened("daemon_started"))
    daemon.running.signal(signal.SIGHUP)
    daemon.running.until(lambda: len(daemon.running.happened("daemon_started")) > started)

    assert daemon.stop() < 10
    assert 0 == daemon.running.code


def test_a_stop_while_it_reloads_is_a_stop_as_any_other(bench, run):
    daemon = run().ready()

    daemon.running.signal(signal.SIGHUP)
    daemon.running.until(lambda: daemon.told.count("READY=1") == 2 or "RELOADING" in "".join(daemon.told))

    assert daemon.stop() < 10
    assert 0 == daemon.running.code


def test_a_service_manager_that_does_not_read_does_not_hold_it_up(bench, run):
    daemon = run(full=True)

    daemon.address = daemon.running.until(lambda: daemon.running.happened("daemon_started"))[0]["admin"]
    begun = time.monotonic()
    assert (200, "ok\n") == daemon.get("/healthz")
    assert time.monotonic() - begun < 5

    daemon.eventually(lambda: "WATCHDOG=1" in daemon.told)
    assert daemon.stop() < 10
    assert 0 == daemon.running.code


HANGING = [{"on": "upload", "what": "hang", "times": 0}]


def test_a_provider_that_hangs_does_not_hold_up_a_stop(bench, run, serve):
    bench.url = serve(faults=HANGING).url
    bench.configure(window={"allowed_lateness_seconds": 0.0})
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run().ready()
    daemon.eventually(lambda: list((bench.root / "state" / "batches").glob("*.jsonl")))

    assert daemon.stop() < 10

    assert 0 == daemon.running.code
    assert "Traceback" not in daemon.running.err


MOUNT_HANGS = """
import pathlib, runpy, sys, time
from enricher.edges.source_files.scanning import Scanner
def scan(*_):
    pathlib.Path("hangs").touch()
    time.sleep(100)
Scanner.scan = scan
sys.argv = sys.argv[3:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def test_a_mount_that_hangs_does_not_hold_up_a_stop(bench):
    """A thread that waits for the kernel cannot be told to end."""
    bench.write("a.log", log_lines(MANY, hours=1))
    running = bench.start("run", prefix=(sys.executable, "-c", MOUNT_HANGS))
    running.until((bench.root / "hangs").exists)

    running.signal(signal.SIGTERM)
    begun = time.monotonic()
    running.wait()

    assert time.monotonic() - begun < 10
    assert 0 == running.code
    assert running.happened("daemon_stopped")
    assert "Traceback" not in running.err


def test_a_second_signal_ends_it_at_once(bench, run, serve):
    bench.url = serve(faults=HANGING).url
    bench.configure(window={"allowed_lateness_seconds": 0.0})
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run().ready()
    daemon.eventually(lambda: list((bench.root / "state" / "batches").glob("*.jsonl")))

    daemon.running.signal(signal.SIGTERM)
    daemon.eventually(lambda: "STOPPING=1" in daemon.told)

    assert daemon.stop() < 2
    assert 75 == daemon.running.code


def test_a_daemon_that_cannot_start_says_why(bench):
    bench.configure(admin={"listen": "127.0.0.1:1"})
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    bench.configure(admin={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})

    refused = bench.enricher("run", code=78)
    taken.close()

    assert "admin.listen" in refused.err
    assert str(taken) not in refused.err
