"""Many rows through the real command and the real batch server, killed three times while things go wrong.

20,000 of them with the tests, as many as `ENRICHER_RECORDS_ROWS` says elsewhere (`make records ROWS=100000`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time

import pytest

from tests.system.bench import Bench, Server

ROWS = int(os.environ.get("ENRICHER_RECORDS_ROWS", "20000"))
BATCH = ROWS // 10
LOST, FAILED = 7, 5
ANSWERED_BEFORE_EXPIRY = BATCH // 3
FAULTS = (
    {"on": "create", "what": "accepted_reset"},
    {"on": "line", "what": "status", "status": 500, "times": FAILED, "skip": 10},
    {"on": "batch", "what": "lose", "lines": LOST, "skip": 1},
    {"on": "batch", "what": "expire", "after_lines": ANSWERED_BEFORE_EXPIRY, "skip": 3},
    {"on": "content", "what": "status", "status": 503, "times": 2, "skip": 2},
)
SECONDS = max(120.0, ROWS / 200)

pytestmark = pytest.mark.timeout(600 + SECONDS)


def given_rows(path):
    """Rows that all differ, in no order of their keys."""
    with path.open("w") as out:
        for number in range(ROWS):
            key = number * 7_919 % 1_000_003
            text = f"order {number} came on day {number % 365} and was {'not ' * (number % 2)}what I asked for"
            out.write(json.dumps({"id": f"row-{key}", "text": text, "n": number}) + "\n")


class Job:
    """The command, again and again, on one configuration."""

    def __init__(self, root, url):
        self.bench = Bench(root, url)
        self.bench.configure(batch={"poll_interval_seconds": 0.05, "max_requests": BATCH})
        self.database = f"file:{root / 'state' / 'enricher.db'}?mode=ro"
        self.given, self.output = root / "rows.jsonl", root / "labelled.jsonl"

    def start(self):
        return self.bench.start("records", "run", "label", self.given, "-o", self.output, "--json")

    def count(self, query):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.database, uri=True)) as db:
            return db.execute(query).fetchone()[0]
        return 0

    def kill_when(self, is_time):
        """Start it, and kill it when it is time; what it had written must not be taken for the output."""
        running = self.start()
        running.until(is_time, seconds=SECONDS)
        running.signal(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
        assert not self.output.exists()


def test_rows_are_labelled_once_each_though_the_run_is_killed_three_times_and_the_provider_fails(tmp_path):
    server = Server(tmp_path, faults=FAULTS)
    job = Job(tmp_path / "job", server.url)
    try:
        given_rows(job.given)
        began = time.monotonic()
        job.kill_when(lambda: job.count("SELECT count(*) FROM record_rows") > 0)
        job.kill_when(lambda: server.ledger()["batches_created"] >= 2)
        job.kill_when(lambda: job.count("SELECT count(*) FROM record_answers") > ROWS // 2)
        report = json.loads(job.bench.finish(job.start().wait(SECONDS)).out)
        took = time.monotonic() - began
        ledger = server.ledger()
        batches = server.get("/v1/batches?limit=100")["data"]
    finally:
        job.bench.end()
        server.end()
    print(f"\n{ROWS:,} rows in {took:.1f} s: {ledger}")
    assert {"ok": ROWS} == report["statuses"]
    assert_rows_are_in_order(job)
    # One row was asked at once, to try the schema; all others once, and again what the faults made necessary.
    assert ROWS - 1 + LOST + FAILED == ledger["lines_answered"]
    assert ledger["lines_answered"] + BATCH - ANSWERED_BEFORE_EXPIRY == ledger["lines_uploaded"]
    assert 1 == sum(one["status"] == "expired" for one in batches)
    assert ledger["batches_created"] == len(batches)
    assert ROWS == job.count("SELECT count(*) FROM record_answers WHERE status = 'ok'")
    assert 0 == job.count("SELECT count(*) FROM record_rows")
    assert 0 == job.count("SELECT count(*) FROM batches WHERE state != 'done'")
    booked = job.count("SELECT output_tokens FROM books")
    assert booked == job.count("SELECT sum(output_tokens) FROM batches") > 0
    assert [] == list((tmp_path / "job" / "state" / "batches").iterdir())


def assert_rows_are_in_order(job):
    with job.given.open() as given, job.output.open() as output:
        for before, after in zip(given, output, strict=True):
            asked, told = json.loads(before), json.loads(after)
            assert asked == {name: told[name] for name in asked}
            assert ("ok", None) == (told["status"], told["error"])
            assert told["sentiment"] in {"positive", "neutral", "negative"}
