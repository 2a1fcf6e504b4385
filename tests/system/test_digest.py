"""Digests: written beside the events of a window, and shown by `enricher status`."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta

from tests.system.bench import (
    FIRST_HOUR,
    KINDS,
    assert_each_in_its_window,
    assert_manifests_true,
    eventually,
    log_lines,
    manifests,
)

SOON = {"allowed_lateness_seconds": 0.2}
"""Windows that a daemon closes as soon as it has read them."""


def accounts(bench):
    """What a model said of each window."""
    digests = {path.parent.name: json.loads(path.read_text()) for path in sorted(bench.out.glob("*/digest.json"))}
    return {window: digest["account"] for window, digest in digests.items()}


def hours_ago(hours):
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)


def test_each_window_has_a_digest_and_status_shows_the_latest(bench):
    bench.write("a.log", log_lines(800))
    bench.enricher("once")

    digests = [json.loads(path.read_text()) for path in sorted(bench.out.glob("*/digest.json"))]
    assert [0, 1, 2] == [one["history_windows"] for one in digests]
    assert 800 == sum(one["events"] for one in digests)
    assert len(digests[0]["new"]) == digests[0]["kinds"]
    assert all(one["account"] is None for one in digests)
    assert 3 == len(list(bench.out.glob("*/digest.md")))

    bench.write("a.log", ["2026-11-20T11:00:00Z ERROR raid: member disk was kicked out of the array"], append=True)
    bench.enricher("once")
    told = bench.status()["digest"]
    assert ("2026-11-20T11Z", 1, 1) == (told["window"], told["kinds"], told["new"])
    (new,) = [one for one in told["changes"] if one["change"] == "new"]
    assert "member disk was kicked out of the array" == new["template"]
    assert told["vanished"] == digests[0]["kinds"]
    shown = bench.enricher("status").out
    assert f"2026-11-20T11Z: 1 new, {told['vanished']} vanished" in shown
    assert "member disk was kicked out" in shown


def test_once_asks_about_windows_where_it_is_told_to_and_waits_for_what_is_said(bench, serve):
    own = serve()
    bench.url = own.url
    bench.configure()
    bench.write("a.log", log_lines(800))
    planned = json.loads(bench.enricher("plan", "--json").out)
    # Of the three hours the first alone has kinds that are new.
    assert 1 == planned["digests"]["requests"]
    assert planned["requests"] == planned["new_signatures"]
    shown = bench.enricher("plan", "--show", "--digest").out.splitlines()
    assert planned["requests"] + 1 == len(shown)
    assert planned["requests"] == len(bench.enricher("plan", "--show").out.splitlines())
    bench.enricher("once", "--digest")

    assert planned["requests"] + 1 == own.lines_uploaded()
    assert [True, False, False] == [one is not None for one in accounts(bench).values()]
    assert_manifests_true(bench.out)
    assert planned["requests"] == sum(one["requests"] for one in manifests(bench.out).values())
    kinds = json.loads((bench.out / min(accounts(bench)) / "digest.json").read_text())["new"]
    assert set(accounts(bench)[min(accounts(bench))]["cites"]) <= {kind["signature"] for kind in kinds}
    bench.enricher("once", "--digest")
    assert planned["requests"] + 1 == own.lines_uploaded()
    assert 0 == json.loads(bench.enricher("plan", "--json").out)["digests"]["requests"]


def test_the_daemon_asks_about_each_window_in_which_something_changed_and_status_tells(bench, serve):
    own = serve()
    bench.url = own.url
    bench.configure(window=SOON)
    begin = hours_ago(8)
    bench.write("a.log", log_lines(4000, start=begin))
    daemon = bench.start("run")
    first = f"{begin:%Y-%m-%dT%HZ}"
    eventually(lambda: accounts(bench).get(first), running=daemon)
    daemon.until(lambda: daemon.happened("digest_ended", outcome="answered", window=first))
    at = begin + timedelta(hours=4)
    bench.write("a.log", [f"{at:%Y-%m-%dT%H:%M:%SZ} ERROR raid: member disk was kicked out of the array"], append=True)
    account = eventually(lambda: accounts(bench).get(f"{at:%Y-%m-%dT%HZ}"), running=daemon)
    told = bench.status()["digest"]
    assert account == told["account"]
    assert "as schema sees it" in bench.enricher("status").out
    daemon.signal(signal.SIGTERM)
    assert 0 == daemon.wait().code
    assert len(KINDS) + 1 + 2 == own.lines_uploaded()
    assert_each_in_its_window(bench.out)
    assert_manifests_true(bench.out)


def test_a_killed_daemon_asks_about_no_window_twice_and_writes_the_account_it_paid_for(bench, serve):
    own = serve()
    bench.url = own.url
    bench.configure(window=SOON)
    bench.write("a.log", log_lines(4000, hours=1, start=hours_ago(8)))
    daemon = bench.start("run")
    daemon.until(lambda: daemon.happened("batch_ended"))
    daemon.end()
    daemon = bench.start("run")
    account = eventually(lambda: next(iter(accounts(bench).values()), None), running=daemon)
    daemon.signal(signal.SIGTERM)
    daemon.wait()
    assert account["headline"]
    assert len(KINDS) + 1 == own.lines_uploaded()


def test_the_daemon_asks_about_no_window_of_days_ago(bench, serve):
    own = serve()
    bench.url = own.url
    bench.configure(window=SOON)
    bench.write("a.log", log_lines(4000, hours=1, start=hours_ago(26)))
    daemon = bench.start("run")
    daemon.until(lambda: daemon.happened("pane_finished"))
    daemon.signal(signal.SIGTERM)
    daemon.wait()
    assert [None] == list(accounts(bench).values())
    assert len(KINDS) == own.lines_uploaded()


def test_counts_alone_ask_nothing_about_windows(bench, serve):
    own = serve()
    bench.url = own.url
    bench.configure(window={"digest": "counts"} | SOON)
    bench.write("a.log", log_lines(4000, hours=1))
    daemon = bench.start("run")
    daemon.until(lambda: daemon.happened("pane_finished"))
    daemon.signal(signal.SIGTERM)
    daemon.wait()
    assert [None] == list(accounts(bench).values())
    assert len(KINDS) == own.lines_uploaded()


def test_once_does_not_wait_for_what_others_asked_about_windows(bench, serve):
    bench.write("a.log", log_lines(800))
    bench.enricher("once")
    stuck = serve(faults=[{"on": "batch", "what": "stuck", "state": "in_progress", "times": 0}], name="stuck")
    bench.url = stuck.url
    bench.configure()
    # Known kinds only; that the others are missing is what is asked about.
    bench.write("a.log", log_lines(30, hours=1, start=FIRST_HOUR + timedelta(hours=3), kinds=KINDS[:1]), append=True)
    bench.enricher("once", "--digest", "--no-wait", code=75)
    assert (1, None) == (stuck.lines_uploaded(), accounts(bench)["2026-11-20T11Z"])
    bench.enricher("once")
    assert 1 == bench.status()["batches"]["open"]


def test_the_embedded_model_is_not_asked_about_windows(bench):
    bench.configure(provider={"type": "local"})
    bench.write("a.log", log_lines(10))
    assert "model pull" in bench.enricher("once", "--digest", code=78).err
    bench.configure(task={"file": "digest"})
    assert "about windows" in bench.enricher("once", code=78).err
