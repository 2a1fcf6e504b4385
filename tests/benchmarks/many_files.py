"""Many files, on the real daemon: what an idle one costs, how fair a busy one is, and what 210,000 files do to it.

Each part starts `enricher run` as a process of its own over files that it makes, and reads `/proc` for what the process
uses. The provider is an address that nobody listens at: nothing is asked before a window closes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE_PERCENT = 1.0
LAG_SECONDS = 5.0
BUSY_BYTES_PER_SECOND = 20_000_000
DESCRIPTORS = 300
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MB = 1_000_000


class Daemon:
    """`enricher run` over a directory of logs, seen from outside."""

    def __init__(self, directory: Path, *, start: str = "beginning") -> None:
        self.logs = directory / "logs"
        self.state = directory / "state"
        self._start = start
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._admin = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[Daemon]:
        """Run it for a while."""
        config = self._directory / "enricher.toml"
        config.write_text(
            f'state_dir = "{self.state}"\n'
            f'[[sources]]\nid = "s"\ntype = "files"\ninclude = ["{self.logs}/**/*.log"]\nstart = "{self._start}"\n'
            '[provider]\nbase_url = "http://127.0.0.1:9/v1"\n'
            f'[[sinks]]\nid = "f"\ntype = "file"\ndirectory = "{self._directory / "out"}"\n'
            '[admin]\nlisten = "127.0.0.1:0"\n'
        )
        log = self._directory / "log"
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "enricher", "run", "-c", str(config)],
                stderr=stream,
                env={**os.environ, "OPENAI_API_KEY": "none"},
            )
            try:
                while "daemon_started" not in log.read_text():
                    time.sleep(0.1)
                self._admin = next(
                    json.loads(line)["admin"] for line in log.read_text().splitlines() if "daemon_started" in line
                )
                yield self
            finally:
                self._process.send_signal(signal.SIGTERM)
                self._process.wait(30)

    @property
    def log_lines(self) -> int:
        """Lines of its own log."""
        return (self._directory / "log").read_bytes().count(b"\n")

    def _proc(self, name: str) -> Path:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/{name}")

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        fields = self._proc("stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def busy(self, seconds: float) -> float:
        """Per cent of a core over a while."""
        begun, before = time.monotonic(), self.cpu_seconds()
        time.sleep(seconds)
        return 100 * (self.cpu_seconds() - before) / (time.monotonic() - begun)

    def resident_bytes(self) -> int:
        """Memory that it holds."""
        return int(self._proc("statm").read_text().split()[1]) * _PAGE_BYTES

    def descriptors(self) -> int:
        """Descriptors that it has open."""
        return len(list(self._proc("fd").iterdir()))

    def metrics(self) -> tuple[dict[str, float], int, float]:
        """The metrics without labels or of the source, the number of series, and the seconds that a scrape took."""
        begun = time.monotonic()
        with urllib.request.urlopen(f"{self._admin}/metrics") as answer:
            text = answer.read().decode()
        took = time.monotonic() - begun
        rows = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name.partition("{")[0]: float(value) for name, _, value in rows}, len(rows), took

    def wait_for(self, name: str, value: float, seconds: float) -> float:
        """Wait until a metric has a value; how long that took."""
        begun = time.monotonic()
        while self.metrics()[0].get(name, 0.0) < value:
            if time.monotonic() - begun > seconds:
                raise SystemExit(f"{name} did not reach {value:,.0f} in {seconds:.0f} s: {self.metrics()[0].get(name)}")
            time.sleep(0.2)
        return time.monotonic() - begun

    def settle(self, seconds: float) -> None:
        """Wait until it uses next to nothing."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.busy(5.0) > 2 * IDLE_PERCENT:
            pass


def _line(at: int, what: str) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"{stamp} host app[{at}]: request {at} {what}\n".encode()


def _make(directory: Path, files: int, what: str, *, old: bool = False) -> list[Path]:
    """Files of a line each, a thousand in a directory."""
    made = []
    for at in range(files):
        path = directory / f"d{at // 1000:03d}" / f"{what}{at}.log"
        if at % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_line(at, what))
        if old:
            os.utime(path, (1_700_000_000, 1_700_000_000))
        made.append(path)
    return made


def _told(what: str, value: float, unit: str, target: str, *, good: bool | None) -> bool:
    mark = {True: "ok", False: "MISSED", None: ""}[good]
    print(f"{what:<58} {value:>12,.2f} {unit:<8} {target:<12} {mark}", flush=True)
    return good is not False


def idle(directory: Path, files: int, seconds: float) -> bool:
    """An idle daemon over files that were read."""
    daemon = Daemon(directory)
    _make(daemon.logs, files, "started")
    with daemon.running():
        daemon.wait_for("enricher_source_read_events_total", files, 120)
        daemon.settle(120)
        used = daemon.busy(seconds)
        open_files = daemon.descriptors()
    good = _told(f"idle, {files:,} files", used, "% core", f"< {IDLE_PERCENT}", good=used < IDLE_PERCENT)
    return _told("  descriptors", open_files, "", f"< {DESCRIPTORS}", good=open_files < DESCRIPTORS) and good


class _Reads:
    """When each file was seen to be read to which byte, from the registry beside the daemon."""

    def __init__(self, store: Path) -> None:
        self._db = sqlite3.connect(f"file:{store}?mode=ro", uri=True)

    def positions(self) -> dict[bytes, int]:
        return dict(self._db.execute("SELECT path, position + length(partial) FROM files"))


def fairness(directory: Path, slow: int, seconds: float) -> bool:
    """One file written to at 20 MB/s beside slow ones that get a line every second or so."""
    daemon = Daemon(directory)
    paths = _make(daemon.logs, slow, "slow")
    busy = daemon.logs / "busy.log"
    busy.write_bytes(_line(0, "busy"))
    stop = threading.Event()
    written: list[tuple[float, bytes, int]] = []
    with daemon.running():
        daemon.wait_for("enricher_source_read_events_total", slow + 1, 120)
        writers = [
            threading.Thread(target=_write_busy, args=(busy, stop)),
            threading.Thread(target=_write_slow, args=(paths, stop, written)),
        ]
        for writer in writers:
            writer.start()
        begun = time.monotonic()
        lags = _lags(_Reads(daemon.state / "enricher.db"), written, begun + seconds)
        rate = busy.stat().st_size / (time.monotonic() - begun)
        used = daemon.busy(5.0)
        open_files = daemon.descriptors()
        stop.set()
        for writer in writers:
            writer.join()
    lags.sort()
    p50, p99 = (lags[int(share * (len(lags) - 1))] for share in (0.5, 0.99))
    _told(f"fairness, {slow:,} slow files beside one of", rate / _MB, "MB/s", "", good=None)
    _told(f"  written to read, median of {len(lags):,} lines", p50, "s", "", good=None)
    good = _told("  written to read, p99", p99, "s", f"< {LAG_SECONDS}", good=p99 < LAG_SECONDS)
    _told("  processor", used, "% core", "", good=None)
    return _told("  descriptors", open_files, "", f"< {DESCRIPTORS}", good=open_files < DESCRIPTORS) and good


def _write_busy(path: Path, stop: threading.Event) -> None:
    lines = b"".join(
        _line(at, "of the busy file, which says a good deal more than that in a line") for at in range(2000)
    )
    begun, written = time.monotonic(), 0
    with path.open("ab", buffering=0) as file:
        while not stop.is_set():
            file.write(lines)
            written += len(lines)
            stop.wait(max(0.0, written / BUSY_BYTES_PER_SECOND - (time.monotonic() - begun)))


def _write_slow(paths: list[Path], stop: threading.Event, written: list[tuple[float, bytes, int]]) -> None:
    """A line into each file in turn, about one a second."""
    sizes = [path.stat().st_size for path in paths]
    for round_ in range(10_000):
        begun = time.monotonic()
        for at, path in enumerate(paths):
            if stop.is_set():
                return
            line = _line(round_, "slow")
            with path.open("ab", buffering=0) as file:
                file.write(line)
            sizes[at] += len(line)
            written.append((time.monotonic(), bytes(path), sizes[at]))
            if at % 50 == 49:
                stop.wait(max(0.0, (at + 1) / len(paths) - (time.monotonic() - begun)))


def _lags(reads: _Reads, written: list[tuple[float, bytes, int]], until: float) -> list[float]:
    """Seconds from each write to the commit of its bytes, for all that was written before `until`."""
    lags: list[float] = []
    waiting: dict[bytes, list[tuple[float, int]]] = {}
    at = 0
    while (now := time.monotonic()) < until + 2 * LAG_SECONDS:
        while at < len(written):
            when, path, size = written[at]
            at += 1
            if when < until:
                waiting.setdefault(path, []).append((when, size))
        positions = reads.positions()
        for path, lines in waiting.items():
            position = positions.get(path, 0)
            lags += [now - when for when, size in lines if size <= position]
            waiting[path] = [(when, size) for when, size in lines if size > position]
        time.sleep(0.1)
    # What was not read by then is as late as can be said.
    return lags + [now - when for lines in waiting.values() for when, _ in lines]


def many(directory: Path, hot: int, cold: int, seconds: float) -> bool:
    """Hot files beside many more that nobody writes to."""
    daemon = Daemon(directory)
    paths = _make(daemon.logs / "hot", hot, "hot")
    _make(daemon.logs / "cold", cold, "cold", old=True)
    with daemon.running():
        found = daemon.wait_for("enricher_source_files", hot + cold, 1800)
        read = found + daemon.wait_for("enricher_source_read_events_total", hot + cold, 1800)
        memory = daemon.resident_bytes()
        daemon.settle(300)
        used = daemon.busy(seconds)
        new = daemon.logs / "cold" / "d000" / "new.log"
        new.write_bytes(_line(0, "new"))
        discovery = daemon.wait_for("enricher_source_files", hot + cold + 1, 120)
        values, series, scrape = daemon.metrics()
        stop = threading.Event()
        writer = threading.Thread(target=_write_slow, args=(paths, stop, []))
        writer.start()
        open_files, peak = 0, 0.0
        for _ in range(int(seconds / 2)):
            peak = max(peak, daemon.busy(2.0))
            open_files = max(open_files, daemon.descriptors())
        lag = daemon.metrics()[0]["enricher_source_lag_seconds"]
        stop.set()
        writer.join()
    _told(f"{hot:,} hot and {cold:,} cold files, all found", found, "s", "", good=None)
    _told("  all read", read, "s", "", good=None)
    _told("  memory", memory / _MB, "MB", "", good=None)
    _told("  idle", used, "% core", "", good=None)
    _told("  a new file found after", discovery, "s", "", good=None)
    _told("  a scrape", scrape, "s", "", good=None)
    _told("  series", series, "", "", good=None)
    _told("  lines of its own log", daemon.log_lines, "", "", good=None)
    _told("  with a line a second in each hot file, at most", peak, "% core", "", good=None)
    _told("  lag then", lag, "s", "", good=None)
    _told("  overflows of the kernel's queue", values["enricher_source_watch_overflows_total"], "", "", good=None)
    return _told("  descriptors", open_files, "", f"< {DESCRIPTORS}", good=open_files < DESCRIPTORS)


def main() -> None:
    """Run the parts that were asked for, all by default; exit 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="idle, fairness, many")
    parser.add_argument("--hot", type=int, default=10_000)
    parser.add_argument("--cold", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    good = True
    for part in asked.parts or ["idle", "fairness", "many"]:
        with tempfile.TemporaryDirectory(prefix="enricher-files-") as scratch:
            match part:
                case "idle":
                    good &= idle(Path(scratch), 1000, asked.seconds)
                case "fairness":
                    good &= fairness(Path(scratch), 1000, asked.seconds)
                case "many":
                    good &= many(Path(scratch), asked.hot, asked.cold, asked.seconds)
                case _:
                    parser.error(f"there is no part {part}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
