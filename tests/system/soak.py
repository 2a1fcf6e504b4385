"""A soak: the real daemon under a steady load with rotation, and what its memory does meanwhile.

`python -m tests.system.soak --minutes 30` (or `make soak MINUTES=30`). A producer writes lines of some hundred kinds
into a few logs that are rotated by size; log time runs ahead of the clock, so that windows close, batches are asked and
parts are written all the time. The resident memory is sampled until the end; a line through the samples behind the
warm-up says how it grows. At last everything must be out, once. Never here: a load that the daemon does not have in
life, such as a new kind of event with every line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tests.system.bench import Bench, Server, manifests
from tests.system.chaos_logs import sentence

MOST_BYTES_IN_TEN_MINUTES = 1_000_000
"""What the resident memory may grow by, as the line through the samples has it."""

_TICK_SECONDS = 0.05
_FILES = 4
_KINDS = 200
_KEPT_ROTATIONS = 3
_SETTLE_SECONDS = 120.0
_CLOSING_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is written; `hour_seconds` is how long an hour of log time takes, `rotate_bytes` the size of a log."""

    lines_per_second: int = 20_000
    hour_seconds: float = 60.0
    rotate_bytes: int = 32_000_000
    seed: int = 7


@dataclass
class Report:
    """What was measured: samples of (seconds, resident bytes, descriptors), and what was wrong.

    Descriptors are all but those of logs that lie where the producer left them: these are as many as it leaves.
    """

    lines: int = 0
    seconds: float = 0.0
    """How long lines were written."""
    rotations: int = 0
    windows: int = 0
    cpu_seconds: float = 0.0
    samples: list = field(default_factory=list)
    faults: list = field(default_factory=list)
    in_use: list = field(default_factory=list)
    """Samples of (seconds, bytes given out by the C library, blocks given out by Python, heaps of the C library)."""

    def behind(self, warm_up_seconds):
        """Seconds and resident bytes of the samples behind the warm-up."""
        kept = [(at, resident) for at, resident, _ in self.samples if at >= warm_up_seconds]
        return np.array(kept, dtype=float).T

    def growth(self, warm_up_seconds):
        """Bytes in ten minutes, by the line of least squares."""
        at, resident = self.behind(warm_up_seconds)
        return 600 * np.polyfit(at, resident, 1)[0]


class Producer(threading.Thread):
    """Writes at a steady rate into a few logs, and rotates each by renaming it."""

    def __init__(self, directory, load, *, start):
        super().__init__(name="producer", daemon=True)
        directory.mkdir(parents=True, exist_ok=True)
        self._load = load
        self._start = start
        self._paths = [directory / f"service{number}.log" for number in range(_FILES)]
        self._open = [path.open("ab", buffering=0) for path in self._paths]
        self._sizes = [0] * _FILES
        self._kinds = [f"INFO {sentence(number)}".encode() for number in range(_KINDS)]
        self._chance = random.Random(load.seed)
        self._over = threading.Event()
        self.lines = 0
        self.rotations = 0

    def run(self):
        begun = time.monotonic()
        while not self._over.is_set():
            elapsed = time.monotonic() - begun
            self._write(int(elapsed * self._load.lines_per_second) - self.lines, elapsed)
            if len(self._kinds) < _KINDS + elapsed / 60:
                self._kinds.append(f"WARN {sentence(len(self._kinds))}".encode())
            self._over.wait(_TICK_SECONDS)
        for file in self._open:
            file.close()

    def stop(self):
        self._over.set()
        self.join()

    def _write(self, wanted, elapsed):
        at = self._start + timedelta(seconds=elapsed * 3600 / self._load.hour_seconds)
        stamp = f"{at:%Y-%m-%dT%H:%M:%S}.".encode()
        share = -(-wanted // _FILES)
        for number in range(_FILES):
            count = min(share, wanted - share * number)
            kinds = self._chance.choices(self._kinds, k=max(0, count))
            rows = [b"%b%03dZ %b %d ms\n" % (stamp, row * 999 // count, kind, row) for row, kind in enumerate(kinds)]
            data = b"".join(rows)
            self._open[number].write(data)
            self.lines += len(rows)
            self._sizes[number] += len(data)
            if self._sizes[number] > self._load.rotate_bytes:
                self._rotate(number)

    def _rotate(self, number):
        path = self._paths[number]
        for old in range(_KEPT_ROTATIONS, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(f"{path.name}.{old}").rename(path.with_name(f"{path.name}.{old + 1}"))
        path.rename(path.with_name(f"{path.name}.1"))
        path.with_name(f"{path.name}.{_KEPT_ROTATIONS + 1}").unlink(missing_ok=True)
        self._open[number].close()
        self._open[number] = path.open("ab", buffering=0)
        self._sizes[number] = 0
        self.rotations += 1


def soak(root, load, *, seconds, every_seconds):
    """Run for some seconds and until all is out; the report. Raises AssertionError where that never is so.

    The seconds are those behind the first window: what is loaded or made only once is there when that is written.
    """
    server = Server(root / "server")
    bench = Bench(root / "bench", server.url)
    bench.configure(
        window={"allowed_lateness_seconds": 0.0},
        batch={"poll_interval_seconds": 1.0, "signatures_per_request": 20},
        sinks=[{"id": "files", "directory": str(bench.out), "compress": "zstd"}],
    )
    hours = 48 + int(seconds / load.hour_seconds)
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)
    producer = Producer(bench.logs, load, start=first)
    report = Report()
    try:
        probe = root / "in-use"
        prefix = (sys.executable, "-m", "tests.system.soak_probe")
        daemon = bench.start("run", prefix=prefix, SOAK_PROBE=str(probe))
        daemon.until(lambda: daemon.happened("daemon_started"))
        admin = daemon.happened("daemon_started")[-1]["admin"]
        process = Path(f"/proc/{daemon.process.pid}")
        started = time.monotonic()
        producer.start()
        daemon.until(lambda: daemon.happened("pane_finished"), seconds=load.hour_seconds + _SETTLE_SECONDS)
        begun = time.monotonic()
        while (at := time.monotonic() - begun) < seconds:
            daemon.read(0)
            report.samples.append((at, _resident_bytes(process), len(_held(process, bench.logs))))
            time.sleep(max(0.0, every_seconds - (time.monotonic() - begun - at)))
        producer.stop()
        report.seconds = time.monotonic() - started
        report.lines, report.rotations = producer.lines, producer.rotations
        rows = (row.split() for row in probe.read_text().splitlines())
        report.in_use = [(float(at) - begun, *map(int, counts)) for at, *counts in rows]
        status = _settled(daemon, admin, producer.lines)
        report.faults += _kept_open(daemon, process, bench.logs)
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        report.cpu_seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        daemon.signal(signal.SIGTERM)
        if daemon.wait(30).code != 0:
            report.faults.append(f"it ended with {daemon.code}")
        _judge(report, status, bench.out)
    finally:
        producer.stop() if producer.is_alive() else None
        bench.end()
        server.end()
    return report


def _resident_bytes(process):
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _held(process, logs):
    """What the open descriptors of a process lead to, logs left out that are in their directory."""
    targets = []
    for link in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.append(link.readlink())
    return [target for target in targets if target.parent != logs or not target.exists()]


def _kept_open(daemon, process, logs):
    """Faults, one for each log that is deleted and read, and still open after a while."""
    deadline = time.monotonic() + _CLOSING_SECONDS
    while kept := [target for target in _held(process, logs) if target.parent == logs]:
        daemon.read(0.2)
        if time.monotonic() > deadline:
            break
    return [f"still open: {target}" for target in kept]


def _settled(daemon, admin, lines):
    """Wait until everything is read and written; the status then."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        daemon.read(0.2)
        with urllib.request.urlopen(f"{admin}/status", timeout=30) as answer:
            status = json.load(answer)
        is_written = status["events"]["pending"] == 0 and set(status["windows"]) == {"done"}
        if status["lines"]["read"] >= lines and is_written:
            return status
        if time.monotonic() > deadline:
            raise AssertionError(f"not all out of {lines} lines: {status['lines']}, {status['windows']}")


def _judge(report, status, out):
    """Every line was read once and written once, and no descriptor was left open."""
    told = Counter()
    for manifest in manifests(out).values():
        told["read"] += manifest["lines"]["read"]
        told["written"] += manifest["lines"]["written"]
        report.windows += 1
        if manifest["final"] is not True:
            report.faults.append(f"the manifest of {manifest['window']} is not final")
    for what, number in (("read", status["lines"]["read"]), ("told of", told["read"]), ("written", told["written"])):
        if number != report.lines:
            report.faults.append(f"{report.lines} lines produced, {number} {what}")
    if (heaps := max(one[3] for one in report.in_use)) > 1:
        report.faults.append(f"{heaps} heaps: what is freed in one of them is of no use to the others")
    half = len(report.samples) // 2
    early, late = (max((one[2] for one in part), default=0) for part in (report.samples[:half], report.samples[half:]))
    if late > early + 4:
        report.faults.append(f"descriptors leaked: {early} at most in the first half, {late} in the second")


def main():
    """Soak as the command line says; exit 1 where the memory grew or a line is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--lines-per-second", type=int, default=20_000)
    parser.add_argument("--hour-seconds", type=float, default=60.0, help="how long an hour of log time takes")
    asked = parser.parse_args()
    seconds = asked.minutes * 60
    with tempfile.TemporaryDirectory(prefix="enricher-soak-") as root:
        load = Load(lines_per_second=asked.lines_per_second, hour_seconds=asked.hour_seconds)
        report = soak(Path(root), load, seconds=seconds, every_seconds=min(5.0, seconds / 20))
    warm_up = seconds / 3
    _, resident = report.behind(warm_up)
    growth = report.growth(warm_up)
    print(
        f"{report.lines:,} lines at {report.lines / report.seconds:,.0f} a second, {report.rotations} rotations, "
        f"{report.windows} windows written, {100 * report.cpu_seconds / report.seconds:.0f} % of a core"
    )
    print(
        f"resident memory behind the first {warm_up / 60:.1f} minutes: {resident.min() / 1e6:.1f} to "
        f"{resident.max() / 1e6:.1f} MB, median {np.median(resident) / 1e6:.1f} MB"
    )
    tenths = [np.median(part) / 1e6 for part in np.array_split(np.array([one[1] for one in report.samples]), 10)]
    print("its median in each tenth of the run: " + " ".join(f"{one:.1f}" for one in tenths) + " MB")
    for what, place, unit in (("bytes", 1, 1e6), ("Python's blocks", 2, 1e3)):
        in_use = np.array([(one[0], one[place]) for one in report.in_use if one[0] >= warm_up], dtype=float).T
        # What is not in use between two blocks of lines is the least of half a minute.
        least = [part.min() / unit for part in np.array_split(in_use[1], max(1, int((seconds - warm_up) / 30)))]
        print(
            f"in use, the least in each half minute, {what} / {unit:,.0f}: " + " ".join(f"{one:.1f}" for one in least)
        )
    print(f"it grew by {growth / 1e6:+.2f} MB in ten minutes (at most {MOST_BYTES_IN_TEN_MINUTES / 1e6:.0f})")
    if growth > MOST_BYTES_IN_TEN_MINUTES:
        report.faults.append("the memory grew")
    for fault in report.faults:
        print(fault)
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
