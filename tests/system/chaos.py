"""A chaos run: the real daemon and the real batch server, and for some minutes everything goes wrong that may.

`python -m tests.system.chaos --minutes 60 --seed 7` (or `make chaos MINUTES=60 SEED=7`). A producer writes lines that
prove themselves and rotates its logs; meanwhile the daemon is killed, ended, reloaded and suspended, the server is
killed and comes back with another fault script, the disks of the state and of a sink fill up, a sink turns read-only or
into something else, and the clock steps. Every outage ends by itself. Then it is calm, and `chaos_verdict` judges what
came out. The seed fixes what is drawn; the moments at which it hits are those of the machine. What a host does not
allow (mounting) is left out and said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.system import chaos_clock
from tests.system.bench import Bench, Server
from tests.system.chaos_logs import Producer
from tests.system.chaos_verdict import faults_of

MEGABYTE = 1 << 20
RESERVE_BYTES = 16 * MEGABYTE
STOP_SECONDS = 30.0
SETTLE_SECONDS = 120.0
"""How long nothing may come out of what was written: a sink is tried again after 16 s at most by then."""
MOST_SETTLE_SECONDS = 900.0
"""How long all of it may take, or as long as the chaos did."""

_BATCH_FAULTS = (
    "fail", "expire", "cancel", "shuffle", "duplicate", "unknown_ids", "string_bodies", "empty_file_ids",
    "empty_error_file",
)  # fmt: skip
_CALLS = ("upload", "create", "retrieve", "content", "list", "delete")


@dataclass(frozen=True)
class Settings:
    """How a run is made; `calm_seconds` is how long the quiet daemon is watched for leaks."""

    seed: int
    chaos_seconds: float
    calm_seconds: float
    hour_seconds: float
    lines_per_second: int


@dataclass
class Report:
    """What happened, for a reader; `faults` is empty if everything was as it must be."""

    seed: int
    lines: int = 0
    moves: Counter = field(default_factory=Counter)
    left_out: list = field(default_factory=list)
    faults: list = field(default_factory=list)
    measured: dict = field(default_factory=dict)

    def text(self):
        return json.dumps(self.__dict__, indent=1)


def fault_script(chance, generation):
    """Rules that spare every answer: what is paid for arrives, so that nothing may be asked twice.

    The number of rules is another than that of the generation before: a script of the same length would be taken for
    the same one, and its strikes for made.
    """
    rules = []
    for _ in range(chance.randint(1, 5)):
        what = chance.choice(("status", "accepted_status", "hang", "accepted_hang", "reset", "accepted_reset"))
        rule = {"on": chance.choice(_CALLS), "what": what, "times": chance.randint(1, 3), "skip": chance.randint(0, 4)}
        if "status" in what:
            # 429 says that nothing was done: with one that has carried it out nobody can deal.
            rule["status"] = chance.choice((500, 502, 503) if "accepted" in what else (429, 500, 502, 503))
            if rule["status"] == 429:
                rule["retry_after_seconds"] = chance.choice((0.1, 1.0, 3.0))
        rules.append(rule)
    struck = chance.sample(_BATCH_FAULTS, chance.randint(0, 2))
    rules += [{"on": "batch", "what": what, "skip": chance.randint(0, 2)} for what in struck]
    if chance.random() < 0.3:
        rules.append({"on": "upload", "what": "file_not_found", "lookups": chance.randint(1, 3)})
    if chance.random() < 0.3:
        rules.append({"on": "line", "what": "status", "status": 500})
    while len(rules) % 2 != generation % 2:
        rules.append({"path": "/nowhere", "what": "reset"})
    return rules


class Host:
    """What the daemon stands on: two disks of its own where mounting is allowed, and a clock."""

    def __init__(self, root, *, megabytes, report):
        self.root = root
        self.disks = {}
        self._report = report
        self.clock = root / "clock"
        chaos_clock.step(self.clock, 0)
        for name in ("state", "sink"):
            place = root / f"disk-{name}"
            place.mkdir()
            options = ["-o", f"size={megabytes}m,mode=700"]
            made = subprocess.run(
                ["mount", "-t", "tmpfs", *options, "tmpfs", place], capture_output=True, text=True, check=False
            )
            if made.returncode == 0:
                self.disks[name] = place
            else:
                report.left_out.append(f"a full or read-only disk of the {name}: {made.stderr.strip()}")

    def fill(self, name, *, leave):
        """Somebody else takes the room of a disk, but for some bytes."""
        disk = self.disks[name]
        with (disk / "of-somebody-else").open("ab") as file, contextlib.suppress(OSError):
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            os.posix_fallocate(file.fileno(), 0, max(1, free - leave))

    def free(self, name):
        (self.disks[name] / "of-somebody-else").unlink(missing_ok=True)

    def remount(self, name, how):
        """Whether the disk is so now; a file that is open for writing keeps one from turning read-only."""
        made = subprocess.run(["mount", "-o", f"remount,{how}", self.disks[name]], capture_output=True, check=False)
        return made.returncode == 0

    def end(self):
        for place in self.disks.values():
            subprocess.run(["umount", "-l", place], check=False)


class Chaos:
    """One run: what goes wrong, when, and how it is undone."""

    def __init__(self, root, settings):
        self.settings = settings
        self.report = Report(settings.seed)
        self.chance = random.Random(settings.seed)
        self.root = root
        self.host = Host(root, megabytes=160 + int(settings.chaos_seconds / 10), report=self.report)
        self.server = Server(root / "server")
        self.port = self.server.port
        self.generation = 0
        self.processes = [self.server.running]
        self.bench = Bench(root / "bench", self.server.url)
        self.outs = self._configure()
        self.daemon = None
        self.outages = {}
        hours = (settings.chaos_seconds + settings.calm_seconds) / settings.hour_seconds
        self.producer = Producer(
            self.bench.logs,
            seed=settings.seed,
            start=datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=48 + hours * 2),
            hour_seconds=settings.hour_seconds,
            lines_per_second=settings.lines_per_second,
        )

    def _configure(self):
        """Two sinks, one behind a link that can be turned; the state on a disk of its own if there is one."""
        outs = {"files": self.root / "bench" / "out", "small": self.host.disks.get("sink", self.root) / "out"}
        (self.root / "real-out").mkdir()
        outs["files"].symlink_to(self.root / "real-out")
        if "state" in self.host.disks:
            state = self.host.disks["state"] / "state"
            state.mkdir(mode=0o700)
            (self.bench.root / "state").symlink_to(state)
        self.bench.configure(
            window={"allowed_lateness_seconds": 0.0, "digest": "counts"},
            store={"reserve_bytes": RESERVE_BYTES},
            provider={"request_timeout_seconds": 3.0},
            sinks=[
                {"id": "files", "directory": str(outs["files"]), "compress": "zstd"},
                {"id": "small", "directory": str(outs["small"]), "compress": "gzip"},
            ],
        )
        return outs

    # ------------------------------------------------------------ processes

    def start_daemon(self):
        prefix = (sys.executable, "-m", "tests.system.chaos_clock")
        self.daemon = self.bench.start("run", prefix=prefix, CHAOS_CLOCK=str(self.host.clock))
        self.processes.append(self.daemon)

    def watch(self, seconds):
        """Let time pass: read what the processes say, undo what is due, start again what has ended."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            for name, (due, undo) in list(self.outages.items()):
                if now >= due:
                    del self.outages[name]
                    undo()
            if self.server.running.code is None:
                self.server.running.read(0)
            if self.daemon is not None and not self.daemon.read(0.02):
                self._ended(self.daemon.wait())
                self.daemon = None
                # As a service manager that waits a moment.
                self.outage("restart", self.start_daemon, seconds=0.5)
            elif self.daemon is None:
                time.sleep(0.02)

    def _ended(self, daemon):
        """A daemon may end by itself for want of room for its state, and for nothing else."""
        self.report.moves[f"ended by itself with {daemon.code}"] += 1
        if daemon.code != 75 or "state" not in self.host.disks:
            self.report.faults.append(f"the daemon ended with {daemon.code}: {daemon.err[-2000:]}")

    def outage(self, name, undo, *, seconds):
        self.outages[name] = (time.monotonic() + seconds, undo)

    # ------------------------------------------------------------ what goes wrong

    def moves(self):
        """What may be done now, and how often of all."""
        found = [(3, self.kill), (2, self.stop), (1, self.reload), (1, self.suspend), (3, self.other_server)]
        found += [(2, self.replace_sink), (2, self.step_clock)]
        if "sink" in self.host.disks:
            found += [(2, self.fill_sink), (1, self.sink_read_only)]
        if "state" in self.host.disks:
            found += [(1, self.fill_state)]
        return zip(*found, strict=True)

    def kill(self):
        if self.daemon is not None:
            self.daemon.signal(signal.SIGKILL)
            assert self.daemon.wait().code in {-signal.SIGKILL, 75}
            self._start_again()

    def stop(self):
        if self.daemon is None:
            return
        begun = time.monotonic()
        self.daemon.signal(signal.SIGTERM)
        self.daemon.wait(STOP_SECONDS)
        took = time.monotonic() - begun
        self.report.measured["longest_stop_seconds"] = max(
            round(took, 2), self.report.measured.get("longest_stop_seconds", 0)
        )
        # A daemon that has not got to its handlers yet dies of the signal.
        if self.daemon.code not in {0, -signal.SIGTERM} and not (self.daemon.code == 75 and "state" in self.host.disks):
            self.report.faults.append(f"stopped, it ended with {self.daemon.code}: {self.daemon.err[-2000:]}")
        self._start_again()

    def _start_again(self):
        self.daemon = None
        self.outage("restart", self.start_daemon, seconds=self.chance.choice((0.0, 0.0, 0.5, 3.0)))

    def reload(self):
        if self.daemon is not None and self.daemon.happened("daemon_started"):
            self.daemon.signal(signal.SIGHUP)

    def suspend(self):
        if self.daemon is not None:
            daemon = self.daemon
            daemon.signal(signal.SIGSTOP)
            time.sleep(self.chance.uniform(0.2, 2.0))
            daemon.signal(signal.SIGCONT)

    def other_server(self):
        """The server is killed or ended, and comes back with another script."""
        if "server" in self.outages:
            return
        self.server.running.signal(self.chance.choice((signal.SIGKILL, signal.SIGTERM)))
        self.server.running.wait(STOP_SECONDS)
        self.generation += 1
        faults = fault_script(self.chance, self.generation)
        self.outage("server", lambda: self._serve(faults), seconds=self.chance.choice((0.0, 0.5, 2.0)))

    def _serve(self, faults=()):
        self.server = Server(self.root / "server", faults=faults, port=self.port)
        self.processes.append(self.server.running)

    def replace_sink(self):
        """The directory of a sink is a file for a time, or leads nowhere."""
        if "out" in self.outages:
            return
        self._turn_out(self.chance.choice((self.bench.file, self.root / "gone" / "nowhere")))
        self.outage("out", lambda: self._turn_out(self.root / "real-out"), seconds=self.chance.uniform(0.5, 4))

    def _turn_out(self, target):
        passing = self.outs["files"].with_name("out.new")
        passing.symlink_to(target)
        passing.replace(self.outs["files"])

    def fill_sink(self):
        if "sink" not in self.outages:
            self.host.fill("sink", leave=self.chance.choice((0, 4096, 65536)))
            self.outage("sink", lambda: self.host.free("sink"), seconds=self.chance.uniform(0.5, 4))

    def sink_read_only(self):
        if "sink" not in self.outages and self.host.remount("sink", "ro"):
            self.outage("sink", lambda: self.host.remount("sink", "rw"), seconds=self.chance.uniform(0.5, 4))

    def fill_state(self):
        if "state" not in self.outages:
            self.host.fill("state", leave=self.chance.choice((0, 65536, MEGABYTE)))
            self.outage("state", lambda: self.host.free("state"), seconds=self.chance.uniform(1, 4))

    def step_clock(self):
        """For less than makes a file quiet: files are dated by another clock, and it is set back by then."""
        if "clock" not in self.outages:
            chaos_clock.step(self.host.clock, self.chance.choice((-3600, 3600, -60, 86_400)))
            self.outage("clock", lambda: chaos_clock.step(self.host.clock, 0), seconds=self.chance.uniform(1, 4))

    # ------------------------------------------------------------ the run

    def run(self):
        """All of it; the report."""
        self.start_daemon()
        self.producer.start()
        self.producer.resume()
        self._storm()
        self._end_outages()
        self.producer.pause()
        first = self._settled("after the chaos")
        self.producer.resume()
        self.watch(self.settings.calm_seconds)
        self.producer.pause()
        last = self._settled("after the calm")
        self._compare(first, last)
        self.producer.stop()
        self.report.lines = self.producer.lines
        self.report.moves.update(self.producer.done)
        status, metrics = self._get_text("/status"), self._get_text("/metrics")
        self.daemon.signal(signal.SIGTERM)
        if self.daemon.wait(STOP_SECONDS).code != 0:
            self.report.faults.append(f"it ended with {self.daemon.code} at last")
        told = self.bench.status()
        self.report.faults += faults_of(
            outs=self.outs,
            lines=self.report.lines,
            seen=(json.loads(status), told),
            metrics=metrics,
            ledger=self.server.ledger(),
            state=self.bench.root / "state",
            said=[one.err for one in self.processes],
        )
        return self.report

    def _storm(self):
        until = time.monotonic() + self.settings.chaos_seconds
        weights, moves = self.moves()
        while time.monotonic() < until:
            self.watch(self.chance.uniform(0.2, 2.5))
            move = self.chance.choices(moves, weights)[0]
            self.report.moves[move.__name__] += 1
            move()
            self._raise_if_lost()

    def _raise_if_lost(self):
        """Tell of lost bytes while the daemon that lost them is there to be looked at."""
        if self.daemon is not None and self.daemon.happened("daemon_started"):
            lines = json.loads(self._get_text("/status") or "{}").get("lines", {})
            if lines.get("lost_bytes"):
                raise AssertionError(f"bytes were lost: {lines}\n{self.daemon.err[-3000:]}")

    def _end_outages(self):
        for _, undo in self.outages.values():
            undo()
        self.outages.clear()
        if self.server.running.code is None:
            self.server.stop()
        self._serve()

    def _settled(self, when):
        """Wait until everything that was written is out; descriptors and memory of the daemon then."""
        begun = moved = time.monotonic()
        most, seen = max(MOST_SETTLE_SECONDS, self.settings.chaos_seconds), None
        while not self._is_settled():
            # How fast all comes out is the host's; that it goes on is the daemon's.
            if (now_seen := self._come_out()) != seen:
                seen, moved = now_seen, time.monotonic()
            if time.monotonic() - moved > SETTLE_SECONDS or time.monotonic() - begun > most:
                status = {key: value for key, value in json.loads(self._get_text("/status")).items() if key != "files"}
                took, rested = time.monotonic() - begun, time.monotonic() - moved
                raise AssertionError(
                    f"not all out {took:.0f} s {when}, nothing for {rested:.0f} s:"
                    f" {self.producer.lines} lines produced, {status}\n"
                    f"{self._get_text('/readyz')}\n{self.daemon.err[-3000:]}"
                )
            self.watch(0.5)
        self.report.measured[f"settled_seconds_{when.replace(' ', '_')}"] = round(time.monotonic() - begun, 1)
        process = Path(f"/proc/{self.daemon.process.pid}")
        pages = int((process / "statm").read_text().split()[1])
        held = []
        for one in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                target = str(one.readlink())
                # Logs are kept open as long as the limit allows, and there are ever more of them.
                held += [] if target.startswith(str(self.bench.logs)) else [target]
        return Counter(held), pages * os.sysconf("SC_PAGE_SIZE")

    def _come_out(self):
        """How much is with the sinks by now, as far as the daemon can be asked."""
        if self.daemon is None or not self.daemon.happened("daemon_started"):
            return None
        status = json.loads(self._get_text("/status") or "{}")
        return status and (status["lines"]["read"], status["events"]["written"], status["pending_by_sink"])

    def _is_settled(self):
        if self.daemon is None or not self.daemon.happened("daemon_started"):
            return False
        status = json.loads(self._get_text("/status") or "{}")
        return (
            bool(status)
            and status["lines"]["read"] >= self.producer.lines
            and status["events"]["pending"] == 0
            and set(status["windows"]) == {"done"}
        )

    def _compare(self, first, last):
        """A daemon that has nothing to do holds what it held when it last had nothing to do."""
        held = [first[0].total(), last[0].total()]
        self.report.measured |= {"descriptors": held, "rss_bytes": [first[1], last[1]]}
        if held[1] > held[0] + 4:
            self.report.faults.append(f"descriptors leaked: {held[0]}, then {held[1]}: {last[0] - first[0]}")
        if last[1] > first[1] + 32 * MEGABYTE:
            self.report.faults.append(f"memory leaked: {first[1]}, then {last[1]}")

    def _get_text(self, path):
        address = self.daemon.happened("daemon_started")[-1]["admin"]
        try:
            with urllib.request.urlopen(address + path, timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def keep(self):
        """What the processes said and the state, beside the rest, for whoever looks for the cause."""
        for number, one in enumerate(self.processes):
            (self.root / f"process-{number:03d}.log").write_text(one.err)
        shutil.copytree(self.bench.root / "state", self.root / "kept-state", dirs_exist_ok=True)
        for name, out in self.outs.items():
            shutil.copytree(out, self.root / f"kept-{name}", dirs_exist_ok=True)

    def end(self):
        for one in self.processes:
            one.end()
        self.host.end()


def main():
    """Run from the command line; 1 if something was not as it must be."""
    parser = argparse.ArgumentParser(description="let everything go wrong for some minutes, and count")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    settings = Settings(
        seed=seed,
        chaos_seconds=given.minutes * 60,
        calm_seconds=min(60.0, given.minutes * 10),
        hour_seconds=5.0 if given.minutes < 5 else 20.0,
        lines_per_second=400,
    )
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    chaos = Chaos(root, settings)
    report = chaos.report
    try:
        chaos.run()
    except AssertionError as error:
        report.faults.append(str(error))
    finally:
        for one in chaos.processes:
            one.end()
        if report.faults:
            chaos.keep()
        chaos.end()
    print(report.text())
    if report.faults:
        print(f"kept for you to look at: {root}")
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
