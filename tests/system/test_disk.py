"""The daemon on disks that are full, read-only or gone, below its state and below a sink: told, and nothing lost."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from collections import Counter

import pytest

from tests.disks import fill, remount
from tests.system.bench import assert_manifests_true, events, log_lines, manifests
from tests.system.test_run import MANY, Daemon

MEGABYTE = 1 << 20


@pytest.fixture
def run(bench):
    """Start daemons on the test's bench."""
    daemons = []

    def start():
        daemons.append(Daemon(bench))
        return daemons[-1].ready()

    yield start
    for one in daemons:
        one.end()


def noise(lines, *, size=800, hour=8):
    """Lines of one kind that do not compress."""
    chance = random.Random(lines)
    for number in range(lines):
        at = f"2026-11-20T{hour:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
        yield f"{at} INFO store: blob stored {chance.randbytes(size // 2).hex()}"


def told(daemon):
    """What the daemon says of itself."""
    return json.loads(daemon.get("/status")[1])


def shown(bench):
    """What the command shows a person."""
    return " ".join(bench.enricher("status").out.split())


def test_a_sink_that_is_full_and_then_read_only_is_told_by_every_means_and_served_when_it_is_mended(
    bench, run, small_disk
):
    disk = small_disk(16)
    filler = fill(disk)
    bench.configure(
        window={"allowed_lateness_seconds": 0.0},
        sinks=[{"id": "full", "directory": str(disk / "out")}, {"id": "files", "directory": str(bench.out)}],
    )
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run()
    daemon.eventually(lambda: daemon.running.happened("sink_failed", sink="full"))

    daemon.eventually(lambda: "full" in told(daemon)["sink_troubles"])
    seen, page = told(daemon), shown(bench)
    trouble = seen["sink_troubles"]["full"]
    assert ["full"] == list(seen["sink_troubles"])
    assert f"sink full: cannot write to {disk / 'out'}" in trouble["error"]
    assert "No space left on device" in trouble["error"]
    assert "make room" in trouble["hint"]
    assert "sink full fails since 20" in page
    assert "No space left on device" in page
    assert 503 == daemon.get("/readyz")[0]
    daemon.eventually(lambda: MANY == len(events(bench.out)))
    assert MANY == told(daemon)["pending_by_sink"]["full"]

    filler.unlink()
    daemon.eventually(lambda: (200, "ready\n") == daemon.get("/readyz"))
    daemon.eventually(lambda: told(daemon)["sink_troubles"] == {})
    daemon.eventually(lambda: manifests(disk / "out").get("2026-11-20T08Z", {}).get("final"))

    remount(disk, "ro")
    bench.write("a.log", log_lines(MANY, hours=1, first=3), append=True)
    daemon.eventually(lambda: "Read-only" in told(daemon)["sink_troubles"].get("full", {}).get("error", ""))
    remount(disk, "rw")
    daemon.eventually(lambda: 2 * MANY == len(events(disk / "out")))
    daemon.eventually(lambda: told(daemon)["events"]["written"] == 2 * MANY)
    assert daemon.stop() < 10
    ids = [Counter(event["event.id"] for event in events(out)) for out in (disk / "out", bench.out)]
    assert ids[0] == ids[1]
    assert {1} == set(ids[0].values())
    assert_manifests_true(bench.out)


def test_on_a_full_disk_it_stops_reading_writes_what_it_has_and_goes_on_when_there_is_room(bench, run, small_disk):
    disk = small_disk(60)
    (bench.root / "state").symlink_to(disk / "state")
    (disk / "state").mkdir(mode=0o700)
    bench.configure(store={"reserve_bytes": 16 * MEGABYTE}, window={"allowed_lateness_seconds": 0.0})
    daemon = run()
    daemon.eventually(lambda: (disk / "state" / "reserve").stat().st_size == 16 * MEGABYTE)
    filler = fill(disk, leave=MEGABYTE)

    bench.write("a.log", noise(10_000))
    daemon.eventually(lambda: daemon.running.happened("reading_held", reason="disk"))
    daemon.eventually(lambda: daemon.metric("enricher_store_free_bytes") < 17 * MEGABYTE)
    seen, page = told(daemon), shown(bench)
    assert "disk" == seen["reading_held_by"]
    assert "reading stopped: there is no room left on the disk of the store" in page
    assert (503, True) == (daemon.get("/readyz")[0], "no room left on the disk" in daemon.get("/readyz")[1])
    assert 1.0 == daemon.metric('enricher_reading_held{reason="disk"}')
    assert 0.0 < daemon.metric('enricher_source_unread_bytes{source="logs"}')
    # What it has is written and deleted in the room that was kept back.
    daemon.eventually(lambda: (found := told(daemon)["events"])["written"] == found["read"] > 0)
    assert len(events(bench.out)) < 10_000

    filler.unlink()
    daemon.eventually(lambda: daemon.running.happened("reading_resumed"))
    daemon.eventually(lambda: told(daemon)["events"]["written"] == 10_000)
    assert 16 * MEGABYTE == (disk / "state" / "reserve").stat().st_size
    assert daemon.stop() < 10
    assert [] == daemon.running.happened("store_failed")
    assert {1} == set(Counter(event["event.id"] for event in events(bench.out)).values())
    assert_manifests_true(bench.out)


def test_a_spool_that_is_full_stops_reading_shows_the_lag_and_drops_nothing(bench, run):
    bench.configure(store={"max_spool_bytes": 300_000}, window={"allowed_lateness_seconds": 0.0})
    bench.out.write_text("in the way")
    bench.write("a.log", noise(6000))
    daemon = run()

    daemon.eventually(lambda: daemon.running.happened("reading_held", reason="spool"))
    daemon.eventually(lambda: (daemon.metric('enricher_source_unread_bytes{source="logs"}') or 0) > 300_000)
    seen, page = told(daemon), shown(bench)
    assert "spool" == seen["reading_held_by"]
    assert "reading stopped: the spool holds as much as" in page
    assert 300_000 <= seen["spool_bytes"] < 5_000_000
    assert 0 < seen["events"]["read"] < 6000
    assert 0.0 < daemon.metric('enricher_source_lag_seconds{source="logs"}')
    assert 1.0 == daemon.metric('enricher_reading_held{reason="spool"}')

    bench.out.unlink()
    daemon.eventually(lambda: told(daemon)["events"]["written"] == 6000)
    daemon.eventually(lambda: daemon.metric('enricher_reading_held{reason="spool"}') == 0.0)
    assert daemon.stop() < 10
    assert {1} == set(Counter(event["event.id"] for event in events(bench.out)).values())
    assert_manifests_true(bench.out)


def test_once_says_that_its_spool_is_full_and_goes_on_with_a_larger_one(bench):
    bench.configure(store={"max_spool_bytes": 300_000})
    bench.write("a.log", noise(6000))

    ended = bench.enricher("once", code=75)

    assert "bytes are not read yet: the spool holds as much as [store] max_spool_bytes lets it" in ended.err
    bench.configure()
    bench.enricher("once")
    assert 6000 == len(events(bench.out))


@pytest.mark.parametrize("how", ["read-only", "removed"])
def test_a_state_directory_that_is_lost_ends_it_with_a_message(bench, run, small_disk, how):
    disk = small_disk(60)
    (bench.root / "state").symlink_to(disk / "state")
    (disk / "state").mkdir(mode=0o700)
    bench.configure(store={"reserve_bytes": MEGABYTE}, window={"allowed_lateness_seconds": 0.0})
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run()
    daemon.eventually(lambda: told(daemon)["events"]["written"] == MANY)

    if how == "read-only":
        # What is open for writing keeps a file system from turning read-only, unless the disk itself fails.
        daemon.stop()
        remount(disk, "ro")
        ended = bench.enricher("run", code=75)
        assert "error: " in ended.err
        assert str(bench.root / "state") in ended.err
        remount(disk, "rw")
    else:
        (disk / "state" / "enricher.db").unlink()
        bench.write("a.log", log_lines(MANY, hours=1, first=3), append=True)
        daemon.running.until(lambda: daemon.running.happened("store_failed"))
        assert 75 == daemon.running.wait().code
        assert "was removed or replaced while it was in use" in daemon.running.err
        assert "Traceback" not in daemon.running.err
        left = disk / "state" / "enricher.db-wal"
        if left.exists():
            assert "write-ahead log is there" in bench.enricher("run", code=75).err
            left.unlink()

    again = run()
    again.eventually(lambda: (found := told(again)["events"])["written"] == found["read"] > 0)
    made = again.running.happened("store_made", level="error")
    assert (how == "removed") == bool(made)
    assert again.stop() < 10
    assert {1} == set(Counter(event["event.id"] for event in events(bench.out)).values())


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"garbage\n" * 9000, "is damaged"), (None, "is missing, but its write")]
)
def test_a_database_that_is_none_is_refused_with_the_way_out(bench, content, said):
    bench.write("a.log", log_lines(16, hours=1))
    state = bench.root / "state"
    state.mkdir(mode=0o700)
    if content is None:
        (state / "enricher.db-wal").write_bytes(b"frames")
    else:
        (state / "enricher.db").write_bytes(content)

    ended = bench.enricher("once", code=75)

    assert said in " ".join(ended.err.split())
    assert "  try: " in ended.err
    assert [] == events(bench.out)


def test_a_store_of_a_newer_version_is_refused_and_a_restart_would_not_help(bench):
    bench.write("a.log", log_lines(16, hours=1))
    bench.enricher("once")
    with contextlib.closing(sqlite3.connect(bench.root / "state" / "enricher.db")) as db:
        db.execute("PRAGMA user_version = 99")
        db.commit()

    ended = bench.enricher("run", code=78)

    assert "has version 99" in ended.err
    assert "install the newer enricher again" in ended.err
    assert "has version 99" in bench.enricher("status", code=78).err


def dead_letters(bench, sink):
    return events(bench.root / "state" / "dead-letters" / sink)


def test_the_oldest_of_what_a_dead_sink_refuses_is_dead_lettered_where_that_is_wanted(bench, run):
    broken = bench.root / "broken"
    broken.write_text("in the way")
    bench.configure(
        window={"allowed_lateness_seconds": 0.0},
        sinks=[
            {"id": "broken", "directory": str(broken), "max_backlog_events": MANY // 2},
            {"id": "files", "directory": str(bench.out)},
        ],
    )
    bench.write("a.log", log_lines(MANY, hours=4))
    daemon = run()

    refused = MANY // 2
    daemon.eventually(lambda: daemon.metric('enricher_dead_letter_events_total{reason="backlog"}') == refused)
    assert refused == told(daemon)["pending_by_sink"]["broken"]
    # The store has it a moment before the log does.
    put_aside = daemon.running.until(
        lambda: len(told := daemon.running.happened("part_dead_lettered", sink="broken")) > 1 and told
    )
    assert ["2026-11-20T08Z", "2026-11-20T09Z"] == sorted({one["window"] for one in put_aside})

    broken.unlink()
    daemon.eventually(lambda: told(daemon)["windows"].keys() == {"done"})
    assert daemon.stop() < 10
    found = Counter(event["event.id"] for event in [*events(broken), *dead_letters(bench, "broken")])
    assert Counter(event["event.id"] for event in events(bench.out)) == found
    assert {1} == set(found.values())
    seen = bench.status()
    # The other sink has them all.
    assert {"read": MANY, "written": MANY, "pending": 0, "dead_lettered": 0} == seen["events"]
    assert 0 == seen["spool_bytes"]
    for out in (bench.out, broken):
        assert_manifests_true(out)


def test_events_that_no_sink_takes_end_as_dead_letters_and_the_books_are_even(bench):
    bench.out.write_text("in the way")
    bench.configure(sinks=[{"id": "files", "directory": str(bench.out), "max_backlog_events": 1}])
    bench.write("a.log", log_lines(300))

    ended = bench.enricher("once")

    assert "0 events written" in ended.out
    assert 300 == len({event["event.id"] for event in dead_letters(bench, "files")})
    seen = bench.status()
    assert {"read": 300, "written": 0, "pending": 0, "dead_lettered": 300} == seen["events"]
    assert (0, {"done": 3}) == (seen["spool_bytes"], seen["windows"])
    assert "cannot write to" in seen["sink_troubles"]["files"]["error"]
    # When the sink is mended, what is late in such a window has a manifest that tells of them.
    bench.out.unlink()
    bench.write("a.log", log_lines(30, hours=1, first=7), append=True)
    bench.enricher("once")
    lines = manifests(bench.out)["2026-11-20T08Z"]["lines"]
    assert {"read": 130, "written": 30, "filtered": 0, "dead_lettered": {"backlog": 100}} == lines
