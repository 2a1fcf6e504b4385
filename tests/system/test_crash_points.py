"""A run over three windows, killed at every point at which something becomes durable or goes to the provider.

The points are counted in an undisturbed run and then taken one by one: the run is killed there, started again, and must
end with the same events, the same batches created and the same lines uploaded. Two seams see them: `zygote.Seam` every
call of Python's (files, sockets), strace those that SQLite makes itself. Commands are forked from a process that has
imported everything. `make crash-points` takes every point of both; the suite every one of Python's, and of SQLite's
the first, the last and one in between of each call on each file.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.system.bench import (
    KINDS,
    Bench,
    Server,
    assert_manifests_true,
    eventually,
    log_lines,
    parts,
    unpacked,
)
from tests.system.forking import SECONDS, Zygote

EVERY = bool(os.environ.get("ENRICHER_EVERY_CRASH_POINT"))
# A sweep is hundreds of runs.
pytestmark = pytest.mark.timeout(3600 if EVERY else 400)
LINES = 48
WORKERS = 3
TRACED = ("fdatasync", "fsync", "pwrite64", "ftruncate", "unlink", "rename")


@dataclass(frozen=True)
class Outcome:
    """What a run, disturbed or not, has left behind."""

    events: tuple
    books: tuple
    ledger: tuple
    litter: tuple

    @classmethod
    def of(cls, bench, ledger):
        db = sqlite3.connect(bench.root / "state" / "enricher.db", isolation_level=None)
        books = db.execute("SELECT read_lines, read_events, written_events, dead_events, spool_bytes FROM books")
        states = db.execute(
            "SELECT state, count(*) FROM batches GROUP BY state UNION SELECT state, count(*) FROM panes"
        )
        found = (*books.fetchone(), *states.fetchall())
        db.close()
        events = sorted(
            re.sub(rb'"enrichment.batch_id":"[^"]*"', b"", line)
            for part in parts(bench.out)
            for line in unpacked(part).splitlines()
        )
        litter = [*bench.out.glob("*/.*"), *(bench.root / "state" / "batches").iterdir()]
        return cls(tuple(events), found, ledger, tuple(sorted(path.name for path in litter)))


class Station:
    """A bench with a server of its own, on which points are taken one after the other."""

    def __init__(self, root, zygote, logs):
        self.server = Server(root / "server")
        self.bench = Bench(root / "bench", self.server.url)
        self.zygote = zygote
        # Three requests in a batch make several batches; the same logs everywhere, since an event's id holds the path.
        self.bench.configure(
            sources=[{"id": "logs", "include": [str(logs)]}],
            batch={"max_requests": 4, "poll_interval_seconds": 0.01},
        )

    def clear(self):
        for name in ("state", "out"):
            shutil.rmtree(self.bench.root / name, ignore_errors=True)

    def once(self, **more):
        """Run to the end or to the kill; its exit code."""
        answers = self.zygote.order(self.bench, "once", **more)
        answers.get(timeout=SECONDS)
        return answers.get(timeout=SECONDS)["code"]

    def traced(self, *options):
        """The same under strace, which is attached before it begins; its exit code, and what strace wrote."""
        answers = self.zygote.order(self.bench, "once", stopped=True)
        pid = answers.get(timeout=SECONDS)["pid"]
        trace = self.bench.root / "trace"
        wait_until(pid, "State:\tT")
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(pid), "-o", str(trace), *options])
        try:
            wait_until(pid, f"TracerPid:\t{tracer.pid}\n")
            os.kill(pid, signal.SIGCONT)
            code = answers.get(timeout=SECONDS)["code"]
            assert tracer.wait(SECONDS) == 0
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            tracer.kill()
            tracer.wait()
        return code, trace.read_text()

    def disturbed(self, kill):
        """Kill a run, start it again; its code and what it has left, or what went wrong."""
        before = self.server.ledger()
        self.clear()
        code = kill()
        again = self.once()
        said = (self.bench.root / "stderr").read_text()
        if again != 0:
            return code, f"ended with {again}: {said[-1000:]}"
        after = self.server.ledger()
        outcome = Outcome.of(self.bench, tuple(after[name] - before[name] for name in sorted(after)))
        assert_manifests_true(self.bench.out)
        return code, outcome

    def end(self):
        self.bench.end()
        self.server.end()


def wait_until(pid, told):
    """Until the kernel says this of a process."""
    eventually(lambda: told in Path(f"/proc/{pid}/status").read_text(), seconds=SECONDS)


def can_trace():
    """Whether strace is here and may trace a process of ours."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.fixture(scope="module")
def stations(tmp_path_factory):
    """Stations on one zygote, warm."""
    root = tmp_path_factory.mktemp("crashes")
    logs = Bench(root / "logs", "http://127.0.0.1:1/v1")
    logs.write("a.log", log_lines(LINES))
    zygote = Zygote(root)
    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            made = list(pool.map(lambda n: Station(root / f"station{n}", zygote, logs.logs), range(WORKERS)))
        zygote.order(made[0].bench, "once").get(timeout=SECONDS)
        yield made
        for station in made:
            station.end()
    finally:
        zygote.end()


@pytest.fixture(scope="module")
def undisturbed(stations):
    """What a run leaves that nobody kills, and the points that it went through."""
    station = stations[0]
    points = station.bench.root / "points"
    code, outcome = station.disturbed(lambda: 0)
    assert code == 0
    station.clear()
    assert station.once(seam=str(points)) == 0
    return outcome, points.read_text().splitlines()


def sweep(stations, kills):
    """Take every point at whichever station is free; what it left, by point."""
    free = SimpleQueue()
    for station in stations:
        free.put(station)

    def take(kill):
        station = free.get()
        try:
            return station.disturbed(lambda: kill(station))
        finally:
            free.put(station)

    with ThreadPoolExecutor(len(stations)) as pool:
        return dict(zip(kills, pool.map(take, kills.values()), strict=True))


def traced_counts(station):
    """How often a thread makes each call of `TRACED`, at most: of all files, and of each file of the database.

    The files are named by their path below the state directory; nothing in the shared index (-shm) has to last.
    """
    station.clear()
    code, trace = station.traced("-y", "-e", "trace=" + ",".join(TRACED))
    assert code == 0
    state, counts = station.bench.root / "state", Counter()
    for thread, call, opened, named in re.findall(r'^(\d+) +(\w+)\((?:\d+<([^>]*)>|"([^"]*)")', trace, re.MULTILINE):
        counts[thread, call, ""] += 1
        path = Path(opened or named)
        if path == state or (path.parent == state and re.fullmatch(r"enricher\.db(?!-shm).*", path.name)):
            counts[thread, call, str(path.relative_to(state))] += 1
    most = Counter()
    for (_, call, file), number in counts.items():
        most[call, file] = max(most[call, file], number)
    return most


def places(number):
    """Which of so many calls are taken: all, or the first, one in between and the last."""
    return range(1, number + 1) if EVERY else sorted({1, (number + 1) // 2, number})


def injecting(call, what, file=""):
    """Under strace, with something done to one call, of those on a file of the state directory if one is named."""
    options = ("-e", f"trace={call}", "-e", f"inject={call}:{what}")

    def inject(station):
        on = ("-P", str(station.bench.root / "state" / file)) if file else ()
        return station.traced(*on, *options)[0]

    return inject


def differences(undisturbed, taken):
    """Points after which something was otherwise than undisturbed, and what."""
    found = {}
    for point, (_, outcome) in taken.items():
        if isinstance(outcome, str):
            found[point] = outcome
        elif outcome != undisturbed:
            names = ("events", "books", "ledger", "litter")
            pairs = {name: (getattr(undisturbed, name), getattr(outcome, name)) for name in names}
            found[point] = {
                name: (pair if name != "events" else tuple(map(len, pair)))
                for name, pair in pairs.items()
                if pair[0] != pair[1]
            }
    return found


def test_the_undisturbed_run_is_what_the_others_are_compared_with(undisturbed):
    outcome, points = undisturbed
    calls = {line.split()[1] for line in points}

    assert LINES == len(outcome.events)
    assert (LINES, LINES, LINES, 0, 0, ("done", 2), ("done", 3)) == outcome.books
    assert (2, len(KINDS), len(KINDS), 2) == outcome.ledger
    assert () == outcome.litter
    assert {"fsync", "rename", "replace", "unlink", "send", "recv"} <= calls
    assert 3 == sum("events-000.jsonl.tmp" in line and " fsync " in line for line in points)


def test_killed_before_any_call_that_lasts_or_is_sent_it_ends_as_if_undisturbed(stations, undisturbed):
    outcome, points = undisturbed

    def at(number):
        return lambda station: station.once(seam=os.devnull, kill_at=number)

    taken = sweep(stations, {points[number - 1]: at(number) for number in range(1, len(points) + 1)})

    assert {} == differences(outcome, taken)
    killed = sum(code == -signal.SIGKILL for code, _ in taken.values())
    # How often a batch is polled varies; nothing else does.
    assert killed >= len(points) - 30


@pytest.mark.skipif(not can_trace(), reason="strace is missing, or may not trace here")
def test_killed_by_a_tracer_at_calls_that_sqlite_makes_it_ends_as_if_undisturbed(stations, undisturbed):
    """File by file, for strace counts the calls of each thread apart: else those that make the store hide the rest."""
    most = {kind: number for kind, number in traced_counts(stations[0]).items() if kind[1]}
    kills = {
        (call, file, when): injecting(call, f"signal=KILL:when={when}", file)
        for (call, file), number in most.items()
        for when in places(number)
    }
    taken = sweep(stations, kills)

    print(len(kills), "points of", most)
    assert {} == differences(undisturbed[0], taken)
    assert most["fdatasync", "enricher.db-wal"] > 20
    killed = [point for point, (code, _) in taken.items() if code == -signal.SIGKILL]
    assert most.keys() == {(call, file) for call, file, _ in killed}
    assert len(killed) >= 0.8 * len(kills)


FAILURES = {
    "fdatasync": ("EIO",),
    "fsync": ("EIO", "ENOSPC"),
    "pwrite64": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO",),
    "rename": ("EIO", "ENOSPC"),
}
BY_SQLITE = ("fdatasync", "pwrite64", "ftruncate")


@pytest.mark.skipif(not can_trace(), reason="strace is missing, or may not trace here")
def test_a_call_of_the_disk_that_fails_once_ends_it_or_is_made_good_and_nothing_is_lost(stations, undisturbed):
    """One sync, write or rename fails, the next would not: 0 or 75 at first, and then as if undisturbed."""
    most = traced_counts(stations[0])
    failures = {
        (call, file, error, when): injecting(call, f"error={error}:when={when}", file)
        for (call, file), number in most.items()
        if bool(file) == (call in BY_SQLITE)
        for error in FAILURES.get(call, ())
        for when in places(number)
    }
    taken = sweep(stations, failures)

    print(len(failures), "failures")
    assert {} == differences(undisturbed[0], taken)
    assert {0, 75} == {code for code, _ in taken.values()}
    # SQLite's own syncs are those of the store: one that failed is passed over only for a directory's (the files in it
    # are synced themselves) and at the very end, of the database, whose log stays then.
    passed = {(call, file) for (call, file, *_), (code, _) in taken.items() if call == "fdatasync" and code != 75}
    assert passed <= {("fdatasync", "."), ("fdatasync", "enricher.db")}


@pytest.mark.skipif(not can_trace(), reason="strace is missing, or may not trace here")
def test_a_sync_that_failed_is_not_made_again_as_if_it_had_worked(stations):
    """Linux tells of it once, and lets the next one succeed without the data (collectors.md 1.2)."""
    station = stations[0]
    station.clear()
    log = str(station.bench.root / "state" / "enricher.db-wal")
    only = ("-e", "trace=fdatasync,pwrite64", "-P", log)
    code, trace = station.traced(*only, "-e", "inject=fdatasync:error=EIO:when=9")
    assert code == 75
    assert "cannot be" in (said := (station.bench.root / "stderr").read_text()) or "disk I/O error" in said
    behind = trace[trace.index("(INJECTED)") :]
    assert "pwrite64" in trace[: trace.index("(INJECTED)")]
    assert [] == [line for line in behind.splitlines()[1:] if "pwrite64" in line]
