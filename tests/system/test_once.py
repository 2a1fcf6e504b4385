"""`enricher once`, as a process against a batch server process: nothing lost, nothing twice, nothing paid again."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from tests.system.bench import (
    FIRST_HOUR,
    KINDS,
    SEVERITIES,
    Bench,
    assert_each_in_its_window,
    assert_manifests_true,
    events,
    line_count,
    log_lines,
    manifests,
    parts,
    tree,
    unpacked,
)

LINES = 3000
TRACES = [
    "2026-11-20T09:15:00.000Z ERROR orders: request failed",
    "java.lang.IllegalStateException: basket is closed",
    "\tat com.example.shop.Basket.add(Basket.java:51)",
    "\tat com.example.shop.Orders.place(Orders.java:17)",
    "Caused by: java.io.IOException: broken pipe",
    "\t... 12 more",
    "2026-11-20T09:15:01.000Z INFO orders: retry scheduled",
    "2026-11-20T09:15:02.000Z ERROR worker: task died",
    "Traceback (most recent call last):",
    '  File "/srv/worker.py", line 12, in run',
    "    self.step()",
    "ValueError: no such step",
    "2026-11-20T09:15:03.000Z INFO worker: task restarted",
    "2026-11-20T09:15:04.000Z INFO worker: queue drained",
]
HEALTH = [f"2026-11-20T08:{minute:02d}:00Z DEBUG probe: GET /healthz 200" for minute in range(30)]


def a_bench(root, url):
    """Two sources: one with static fields and lines that are not wanted, one with traces; kinds asked one by one."""
    bench = Bench(root, url)
    bench.write("web/web.log", [*HEALTH[:15], *log_lines(LINES), *HEALTH[15:]])
    bench.write("app/app.log", TRACES)
    web = {
        "id": "web",
        "include": [str(bench.logs / "web")],
        "drop": ["GET /healthz"],
        "fields": {"service.name": "shop"},
    }
    # Small batches, so that there are several of them.
    bench.configure(sources=[web, {"id": "app", "include": [str(bench.logs / "app")]}], batch={"max_requests": 3})
    return bench


def comparable(out):
    """All events, without what names the batch that a provider made."""
    return sorted(
        re.sub(rb'"enrichment.batch_id":"[^"]*"', b"", line)
        for part in parts(out)
        for line in unpacked(part).splitlines()
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, server):
    """One run from start to end, and what it uploaded; nobody changes it."""
    bench = a_bench(tmp_path_factory.mktemp("undisturbed"), server.url)
    before = server.lines_uploaded()
    bench.ended = bench.enricher("once")
    bench.uploaded = server.lines_uploaded() - before
    bench.told = bench.status()
    yield bench
    bench.end()


def test_every_line_read_is_written_or_counted(undisturbed):
    status = undisturbed.told
    written = events(undisturbed.out)
    assert LINES + len(TRACES) == sum(map(line_count, written))
    assert LINES + len(TRACES) + len(HEALTH) == status["lines"]["read"]
    assert len(HEALTH) == status["lines"]["dropped"]
    assert {"read": len(written), "written": len(written), "pending": 0, "dead_lettered": 0} == status["events"]
    assert {"ok"} == {event["enrichment.status"] for event in written}
    assert f"{len(written):,} events written to {undisturbed.out}" in " ".join(undisturbed.ended.out.split())


def test_every_event_is_in_one_window_and_every_manifest_is_true(undisturbed):
    assert ["2026-11-20T08Z", "2026-11-20T09Z", "2026-11-20T10Z"] == list(manifests(undisturbed.out))
    assert_each_in_its_window(undisturbed.out)
    assert_manifests_true(undisturbed.out)


def test_a_kind_is_asked_once_however_many_lines_it_has(undisturbed):
    signatures = {event["enrichment.signature"] for event in events(undisturbed.out)}

    assert len(signatures) == undisturbed.uploaded
    assert len(KINDS) <= len(signatures) <= len(KINDS) + 6
    assert len(signatures) == undisturbed.told["signatures"]


def test_a_trace_is_one_event(undisturbed):
    messages = [
        event["message"].split("\n") for event in events(undisturbed.out) if "app.log" in event["log.file.path"]
    ]

    assert [TRACES[0:6], TRACES[6:7], TRACES[7:12], TRACES[12:13], TRACES[13:14]] == messages


def test_static_fields_are_on_the_events_of_their_source_alone(undisturbed):
    found = {(Path(event["log.file.path"]).name, event.get("service.name")) for event in events(undisturbed.out)}

    assert {("web.log", "shop"), ("app.log", None)} == found


def test_a_killed_run_goes_on_where_it_was_and_uploads_no_line_twice(undisturbed, server):
    chance = random.Random(20261122)
    before = server.lines_uploaded()
    # The same logs, since an event's id holds the path.
    again = Bench(undisturbed.root / "killed", server.url)
    again.file.write_text(
        undisturbed.file.read_text()
        .replace(f'{undisturbed.root}/state"', f'{again.root}/state"')
        .replace(f'{undisturbed.out}"', f'{again.out}"')
    )
    kills = 0
    for _ in range(6):
        # At the n-th thing that it says, and up to some milliseconds after.
        running, said = again.start("once"), chance.randint(1, 5)
        while len(running.log) < said and running.read():
            pass
        moment = time.monotonic() + chance.uniform(0, 0.03)
        while time.monotonic() < moment and running.read(0.001):
            pass
        running.signal(signal.SIGKILL)
        kills += running.wait().code == -signal.SIGKILL

    again.enricher("once")

    assert kills >= 3
    assert comparable(undisturbed.out) == comparable(again.out)
    assert undisturbed.uploaded == server.lines_uploaded() - before
    assert_each_in_its_window(again.out)
    assert_manifests_true(again.out)


@pytest.fixture(scope="module")
def second(tmp_path_factory, server):
    """A bench after its first run, for runs that follow."""
    bench = a_bench(tmp_path_factory.mktemp("second"), server.url)
    bench.enricher("once")
    yield bench
    bench.end()


def test_later_runs_change_nothing_ask_nothing_and_put_late_lines_in_panes_of_their_own(second, server):
    first, uploaded = tree(second.out), server.ledger()

    second.enricher("once")

    assert first == tree(second.out)
    assert uploaded == server.ledger()

    late = list(log_lines(80, hours=1, first=5))
    new = list(log_lines(160, hours=2, start=FIRST_HOUR + timedelta(hours=30), first=9))
    second.write("web/web.log", [*late, *new], append=True)
    second.enricher("once")

    assert uploaded == server.ledger()
    after = tree(second.out)
    assert {name: one for name, one in first.items() if "events" in name}.items() <= after.items()
    found = Counter((event["enrichment.window"], event["enrichment.pane"]) for event in events(second.out))
    assert 80 == found["2026-11-20T08Z", 1]
    assert (80, 80) == (found["2026-11-21T14Z", 0], found["2026-11-21T15Z", 0])
    added = [one for one in events(second.out) if one["enrichment.pane"] or one["@timestamp"] > "2026-11-21"]
    assert {"cached"} == {event["enrichment.status"] for event in added}
    assert Counter([*late, *new]) == Counter(event["message"] for event in added)
    told = manifests(second.out)["2026-11-20T08Z"]
    assert [0, 1] == sorted({one["pane"] for one in told["outputs"]})
    assert [False, True] == [pane["late"] for pane in told["panes"]]
    assert_each_in_its_window(second.out)
    assert_manifests_true(second.out)


def test_an_interrupted_run_exits_75_and_the_same_command_goes_on(bench, serve):
    # The first look at the batch fails, so that the run is still waiting when it is interrupted.
    server = serve(faults=[{"on": "retrieve", "what": "status", "status": 503}])
    bench.url = server.url
    bench.configure(batch={"poll_interval_seconds": 1.0})
    bench.write("a.log", log_lines(40, hours=1))

    running = bench.start("once")
    running.until(lambda: running.happened("batch_waited"))
    running.signal(signal.SIGINT)
    running.wait(10)

    assert 75 == running.code
    assert "interrupted" in running.err
    assert "run the same command again" in running.err
    assert [] == events(bench.out)
    bench.enricher("once")
    assert 40 == len(events(bench.out))
    assert len(KINDS) == server.lines_uploaded()


def test_without_waiting_a_run_exits_75_until_the_batches_are_done(bench, serve):
    server = serve(faults=[{"on": "retrieve", "what": "status", "status": 503}])
    bench.url = server.url
    bench.configure()
    bench.write("a.log", log_lines(40, hours=1))

    submitted = bench.enricher("once", "--no-wait", code=75)

    assert "with the provider" in submitted.err
    assert {"open": 1} == bench.status()["batches"]
    codes = []
    while 0 not in codes:
        codes.append(bench.start("once", "--no-wait").wait().code)
        assert codes.count(75) < 8
    assert 40 == len(events(bench.out))
    assert len(KINDS) == server.lines_uploaded()


def test_known_kinds_are_written_while_the_provider_is_down(bench, serve):
    server = serve()
    bench.url = server.url
    bench.configure()
    bench.write("a.log", log_lines(80, hours=1))
    bench.enricher("once")
    server.stop()

    later = FIRST_HOUR + timedelta(hours=5)
    unknown = "WARN tape: robot arm lost its calibration"
    bench.write(
        "a.log", [*log_lines(80, hours=1, start=later, first=3), f"{later:%Y-%m-%dT%H:%M:%SZ} {unknown}"], append=True
    )
    running = bench.start("once")
    running.until(lambda: running.happened("part_delivered", window="2026-11-20T13Z"))
    running.until(lambda: running.happened("batch_waited"))
    running.signal(signal.SIGINT)

    assert 75 == running.wait(10).code
    written = [event for event in events(bench.out) if event["enrichment.window"] == "2026-11-20T13Z"]
    assert 80 == len(written)
    assert {"cached"} == {event["enrichment.status"] for event in written}
    assert manifests(bench.out)["2026-11-20T13Z"]["final"] is False
    assert "127.0.0.1" in running.happened("batch_waited")[0]["error"]
    # Under cron nothing waits for a provider that is down.
    bench.enricher("once", "--no-wait", code=75)

    serve(port=server.port)
    bench.enricher("once")
    assert 161 == len(events(bench.out))
    assert_manifests_true(bench.out)


@pytest.fixture(scope="module")
def day(tmp_path_factory, server):
    """Days for windows, three sinks, a source of which every event is asked, and output from long ago."""
    bench = Bench(tmp_path_factory.mktemp("day"), server.url)
    bench.write("kinds.log", log_lines(400, hours=30))
    bench.write("each.log", [f"2026-11-20T10:00:0{n}Z INFO door: badge {n} admitted" for n in range(5)])
    for name in ("zstd", "gzip", "grave", "plain"):
        # Two windows from long ago: one that is ours, one in which somebody keeps notes.
        for window, file in (("2020-01-01Z", "events-000.jsonl"), ("2020-01-02Z", "notes.txt")):
            old = bench.root / name / window / file
            old.parent.mkdir(parents=True)
            old.write_text("{}\n")
            os.utime(old, (1_577_900_000, 1_577_900_000))
    sinks = [
        {"id": name, "directory": str(bench.root / name)} | more
        for name, more in (
            ("zstd", {"compress": "zstd", "retention_days": 30}),
            ("gzip", {"compress": "gzip"}),
            ("grave", {"min_severity": "warning"}),
            ("plain", {}),
        )
    ]
    kinds = {"id": "kinds", "include": [str(bench.logs / "kinds.log")]}
    each = {"id": "each", "include": [str(bench.logs / "each.log")], "ask": "event"}
    bench.configure(window={"length": "1d"}, sources=[kinds, each], sinks=sinks)
    before = server.lines_uploaded()
    bench.enricher("once")
    bench.uploaded = server.lines_uploaded() - before
    yield bench
    bench.end()


def test_compressed_sinks_hold_the_same_events(day):
    def held(name):
        found = (event for event in events(day.root / name) if "message" in event)
        return {event["event.id"]: event for event in found}

    assert 405 == len(held("plain"))
    assert held("plain") == held("zstd") == held("gzip")
    assert b"\x28\xb5\x2f\xfd" == (day.root / "zstd" / "2026-11-20Z" / "events-000.jsonl.zst").read_bytes()[:4]
    assert b"\x1f\x8b" == (day.root / "gzip" / "2026-11-20Z" / "events-000.jsonl.gz").read_bytes()[:2]


def test_windows_of_a_day_are_named_by_it(day):
    new = day.root / "zstd"

    assert ["2026-11-20Z", "2026-11-21Z"] == list(manifests(new))
    assert_each_in_its_window(new, notation="%Y-%m-%dZ")
    assert_manifests_true(new)


def test_events_below_the_least_severity_are_left_out_and_counted(day):
    wanted = SEVERITIES[SEVERITIES.index("warning") :]
    whole = [event for event in events(day.root / "plain") if "message" in event]
    grave = [event for event in events(day.root / "grave") if "message" in event]

    assert {event["event.id"] for event in whole if event["enrichment.severity"] in wanted} == {
        event["event.id"] for event in grave
    }
    assert 0 < len(grave) < len(whole)
    filtered = [manifest["events"]["filtered"] for manifest in manifests(day.root / "grave").values()]
    assert len(whole) - len(grave) == sum(filtered)


def test_windows_past_their_retention_are_deleted_unless_others_use_them(day):
    assert not (day.root / "zstd" / "2020-01-01Z").exists()
    assert (day.root / "zstd" / "2020-01-02Z" / "notes.txt").exists()
    assert (day.root / "plain" / "2020-01-01Z" / "events-000.jsonl").exists()


def test_every_event_of_a_source_is_asked_where_that_is_wanted(day):
    asked = [event for event in events(day.root / "zstd") if "each.log" in event["log.file.path"]]

    assert 5 == len({event["enrichment.signature"] for event in asked})
    assert len(KINDS) + 5 == day.uploaded


def test_a_run_without_a_configuration_works_in_the_directory_it_is_started_in(bench):
    bench.write("a.log", log_lines(16, hours=1))

    ended = bench.enricher("once", bench.logs, config=False, code=78)

    assert "there is no provider" in ended.err
    assert "enricher model pull" in ended.err
    assert "OPENAI_API_KEY" in ended.err


def loghub():
    named = os.environ.get("ENRICHER_LOGHUB")
    return Path(named) if named else Path(__file__).parents[3] / "shared" / "loghub"


@pytest.mark.skipif(not loghub().is_dir(), reason="Loghub is not here: set ENRICHER_LOGHUB to its directory")
def test_six_real_systems_are_written_whole(bench, server):
    files = sorted(loghub().glob("*/*_2k.log"))
    assert 6 == len(files)
    lines = sum(len(path.read_bytes().split(b"\n")) - path.read_bytes().endswith(b"\n") for path in files)
    # They span weeks, and a window takes its time to be made durable.
    bench.configure(batch={"signatures_per_request": 10}, window={"length": "1d"})
    uploaded = server.lines_uploaded()

    bench.enricher("once", *files)

    written = events(bench.out)
    status = bench.status()
    assert lines == sum(map(line_count, written)) + status["lines"]["blank"]
    assert {str(path) for path in files} == {event["log.file.path"] for event in written}
    assert 0 < server.lines_uploaded() - uploaded < len(written) / 100
    assert_each_in_its_window(bench.out, notation="%Y-%m-%dZ")
    assert_manifests_true(bench.out)
    first, ledger = tree(bench.out), server.ledger()
    bench.enricher("once", *files)
    assert first == tree(bench.out)
    assert ledger == server.ledger()


def test_it_reads_more_files_than_it_may_open_from_more_sources_than_that(bench):
    names = ("a", "b", "c")
    for name in names:
        for at in range(200):
            bench.write(f"{name}/{at}.log", log_lines(2))
    bench.configure(sources=[{"id": name, "include": [str(bench.logs / name)]} for name in names])
    done = bench.start("once", prefix=("prlimit", "--nofile=96")).wait()
    assert (0, []) == (done.code, done.happened("file_skipped"))
    assert 3 * 200 * 2 == len(events(bench.out))
