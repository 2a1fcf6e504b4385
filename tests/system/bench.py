"""Real processes over a directory of a test's own: commands, the batch server, made-up logs, output read back."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard

ENRICHER = (sys.executable, "-m", "enricher")
DEADLINE_SECONDS = 60.0
FIRST_HOUR = datetime(2026, 11, 20, 8, tzinfo=UTC)
SEVERITIES = ("trace", "debug", "info", "notice", "warning", "error", "critical", "fatal")
LEAST_FIELDS = {
    "@timestamp", "host.name", "event.id", "message", "log.file.path", "log.offset", "log.record.template",
    "enrichment.signature", "enrichment.status", "enrichment.window", "enrichment.pane",
}  # fmt: skip

# Sentences that no rule takes for the same kind of event.
KINDS = (
    "INFO sshd[{n}]: Accepted publickey for deploy from 10.0.0.{b} port {n}",
    "WARN kernel: thermal throttling engaged on package {b}",
    "ERROR postgres[{n}]: could not extend relation: disk quota exceeded after {n} blocks",
    "INFO nginx: upstream keepalive pool resized",
    "ERROR billing: invoice {n} rejected by gateway, retry scheduled",
    "DEBUG cache: evicted {n} stale entries in {b} ms",
    "INFO cron[{n}]: session opened for maintenance",
    "WARN dns: resolver took {n} ms, falling back",
)


class Running:
    """A process of ours, its two streams read as they come."""

    def __init__(self, *args, cwd, environment):
        self.process = subprocess.Popen(
            args, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._texts = {"out": bytearray(), "err": bytearray()}
        self._selector = selectors.DefaultSelector()
        for stream, name in ((self.process.stdout, "out"), (self.process.stderr, "err")):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, name)
        self.code = None
        self.max_rss_bytes = 0

    @property
    def out(self):
        return self._texts["out"].decode()

    @property
    def err(self):
        return self._texts["err"].decode()

    @property
    def log(self):
        """The JSON lines of standard error."""
        return [json.loads(line) for line in self.err.split("\n")[:-1] if line.startswith("{")]

    def happened(self, event, **fields):
        """Log events of this name with these fields."""
        return [one for one in self.log if one["event"] == event and fields.items() <= one.items()]

    def read(self, seconds=0.02):
        """Take what the process wrote; whether it may write more."""
        self._look_at_memory()
        for key, _ in self._selector.select(seconds):
            text = key.fileobj.read()
            if text == b"":
                self._selector.unregister(key.fileobj)
            elif text:
                self._texts[key.data] += text
        return bool(self._selector.get_map())

    def until(self, condition, *, seconds=DEADLINE_SECONDS):
        """Wait for a condition on what this process says or does; its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            open_still = self.read()
            if not open_still and not (value := condition()):
                raise AssertionError(f"ended before its time: {self.wait().code}\n{self.err[-3000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s\n{self.err[-3000:]}")
        return value

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=DEADLINE_SECONDS):
        """Wait for the end; fails, and kills, if it does not come."""
        if self.code is not None:
            return self
        deadline = time.monotonic() + seconds
        while self.read():
            if time.monotonic() > deadline:
                self.end()
                raise AssertionError(f"did not end within {seconds} s\n{self.err[-3000:]}")
        _, status = os.waitpid(self.process.pid, 0)
        self.code = self.process.returncode = os.waitstatus_to_exitcode(status)
        self._close()
        return self

    def _look_at_memory(self):
        """Note the most that was resident.

        What the kernel says at the end counts the memory of the test's process, too, from which the command was forked.
        """
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            told = next(line for line in lines if line.startswith("VmHWM:"))
            self.max_rss_bytes = max(self.max_rss_bytes, int(told.split()[1]) * 1024)

    def end(self):
        """Kill, if it is still there."""
        if self.code is None:
            self.process.kill()
            self.process.wait()
            self.code = self.process.returncode
            self._close()

    def _close(self):
        self._selector.close()
        self.process.stdout.close()
        self.process.stderr.close()


def environment(home, **changes):
    """An environment without keys, models or colours of the host's; None takes a variable away."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV"}}
    kept |= {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "TZ": "UTC", "PYTHONWARNINGS": "default"}
    # The package is found from any directory, installed or not.
    kept["PYTHONPATH"] = str(Path(__file__).parents[2])
    kept |= changes
    return {name: value for name, value in kept.items() if value is not None}


class Server:
    """A `serve-batches` process."""

    def __init__(self, directory, *, faults=(), key=None, port=0, name="server", webhooks=(None, None)):
        directory.mkdir(parents=True, exist_ok=True)
        args = ["serve-batches", "--schema-only", "--listen", f"127.0.0.1:{port}", "--state", str(directory / name)]
        if faults:
            script = directory / f"{name}-faults.json"
            script.write_text(json.dumps({"fault": list(faults)}))
            args += ["--faults", str(script)]
        url, secret = webhooks
        args += ["--webhook-url", url] if url else []
        self.state = directory / name
        variables = environment(directory, ENRICHER_SERVER_KEY=key, ENRICHER_WEBHOOK_SECRET=secret)
        self.running = Running(*ENRICHER, *args, cwd=directory, environment=variables)
        self.url = json.loads(self.running.until(lambda: self.running.out))["base_url"]
        self.key = key

    @property
    def port(self):
        return int(self.url.removesuffix("/v1").rpartition(":")[2])

    def fetch(self, path, *, method="GET"):
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        request = urllib.request.Request(self.url.removesuffix("/v1") + path, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def get(self, path):
        return json.loads(self.fetch(path))

    def cancel(self, batch_id):
        """End a batch, as anybody with the key could."""
        self.fetch(f"/v1/batches/{batch_id}/cancel", method="POST")

    def content(self, file_id):
        """Bytes of a file that a client uploaded."""
        return self.fetch(f"/v1/files/{file_id}/content")

    def ledger(self):
        return self.get("/_server/ledger")

    def lines_uploaded(self):
        return self.ledger()["lines_uploaded"]

    def stop(self):
        """As an operator would: SIGTERM."""
        if self.running.code is None:
            self.running.signal(signal.SIGTERM)
            self.running.wait(20)

    def end(self):
        self.running.end()


@dataclass
class Bench:
    """A configuration with its state, its logs and its output, and the processes that a test starts on it."""

    root: Path
    url: str
    running: list = field(default_factory=list)

    def __post_init__(self):
        self.logs.mkdir(parents=True, exist_ok=True)
        self.configure()

    @property
    def logs(self):
        return self.root / "logs"

    @property
    def out(self):
        return self.root / "out"

    @property
    def file(self):
        return self.root / "enricher.toml"

    def configure(self, *, raw="", sources=None, sinks=None, **tables):
        """Write the configuration file; `tables` are changes table by table."""
        settings = {
            "provider": {"base_url": self.url, "model": "schema"},
            "batch": {"poll_interval_seconds": 0.05, "signatures_per_request": 1},
            "admin": {"listen": "127.0.0.1:0"},
        }
        for name, table in tables.items():
            settings[name] = settings.get(name, {}) | table
        sources = sources or [{"id": "logs", "include": [str(self.logs)]}]
        sinks = sinks or [{"id": "files", "directory": str(self.out)}]
        text = f"state_dir = {json.dumps(str(self.root / 'state'))}\n{raw}\n"
        for name, table in settings.items():
            text += f"[{name}]\n{_toml(table)}"
        text += "".join(f"[[sources]]\n{_toml(one)}" for one in sources)
        text += "".join(f"[[sinks]]\n{_toml(one)}" for one in sinks)
        self.file.write_text(text)

    def write(self, name, lines, *, append=False):
        """Write lines (text or bytes, without their newlines) into a log; its path."""
        path = self.logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        with path.open("ab" if append else "wb") as file:
            file.write(data)
        return path

    def start(self, *args, config=True, prefix=(), **variables):
        """Start a command on this configuration; `prefix` is a program that starts it."""
        running = Running(
            *prefix,
            *ENRICHER,
            *map(str, args),
            *(["-c", str(self.file)] if config else []),
            cwd=self.root,
            environment=environment(self.root, **variables),
        )
        self.running.append(running)
        return running

    def enricher(self, *args, code=0, **more):
        """Run a command to its end and check its exit code."""
        return self.finish(self.start(*args, **more), code=code)

    def finish(self, running, *, code=0):
        """Wait for the end of a command and check its exit code."""
        running.wait()
        assert code == running.code, f"exit {running.code}, not {code}\n{running.out[-2000:]}\n{running.err[-3000:]}"
        assert "Traceback" not in running.err
        return running

    def status(self):
        return json.loads(self.enricher("status", "--json").out)

    def end(self):
        for one in self.running:
            one.end()


def _toml(table):
    return "".join(f"{name} = {_value(value)}\n" for name, value in table.items())


def _value(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


# ---------------------------------------------------------------- logs


def log_lines(count, *, hours=3, start=FIRST_HOUR, kinds=KINDS, first=0):
    """`count` lines spread evenly over whole hours, of all kinds in turn; `first` makes another run's numbers other."""
    step = timedelta(hours=hours) / count
    for number in range(count):
        at = start + number * step
        text = kinds[number % len(kinds)].format(n=first + number * 7919 % 60_000, b=(first + number) % 251)
        yield f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z {text}"


# ---------------------------------------------------------------- what came out


def unpacked(part):
    data = part.read_bytes()
    if part.name.endswith(".gz"):
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if part.name.endswith(".zst") else data


def parts(out):
    """Parts of all windows, in order."""
    return sorted(out.glob("*/events-*.jsonl*"))


def records(part):
    return [json.loads(line) for line in unpacked(part).splitlines()]


def events(out):
    """Every event of an output directory."""
    return [record for part in parts(out) for record in records(part)]


def manifests(out):
    return {path.parent.name: json.loads(path.read_bytes()) for path in sorted(out.glob("*/manifest.json"))}


def tree(directory):
    """Every file below a directory, with its bytes' hash."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def line_count(event):
    return event["message"].count("\n") + 1


def assert_each_in_its_window(out, *, notation="%Y-%m-%dT%HZ"):
    """Every event once, in the directory and window of its own time."""
    seen = Counter()
    for part in parts(out):
        for event in records(part):
            assert set(event) >= LEAST_FIELDS
            at = datetime.fromisoformat(event["@timestamp"]).astimezone(UTC)
            assert at.strftime(notation) == event["enrichment.window"] == part.parent.name
            seen[event["event.id"]] += 1
    assert not {name: number for name, number in seen.items() if number > 1}


def assert_manifests_true(out):
    """Every window has a final manifest, and what it says is so."""
    held = {}
    for part in parts(out):
        held.setdefault(part.parent.name, {})[part.name] = records(part)
    told_of = manifests(out)
    assert set(held) <= set(told_of)
    for window, manifest in told_of.items():
        contents = held.get(window, {})
        written = [event for content in contents.values() for event in content]
        assert manifest["window"] == window
        assert manifest["final"] is True
        assert [one["file"] for one in manifest["outputs"]] == sorted(contents)
        for told in manifest["outputs"]:
            part, content = out / window / told["file"], contents[told["file"]]
            assert told["sha256"] == hashlib.sha256(part.read_bytes()).hexdigest()
            assert told["bytes"] == part.stat().st_size
            assert told["events"] == len(content)
            assert told["lines"] == sum(map(line_count, content))
            assert {told["pane"]} == {event["enrichment.pane"] for event in content} or not content
        lines, counts = manifest["lines"], manifest["events"]
        dead = sum(lines["dead_lettered"].values())
        assert lines["read"] == lines["written"] + lines["filtered"] + dead
        assert lines["written"] == sum(map(line_count, written))
        assert counts["read"] == counts["written"] + counts["filtered"] + dead
        assert counts["written"] == len(written)
        assert sum(pane["events"] for pane in manifest["panes"]) == counts["read"]
        assert_ranges_hold(manifest, written)
        if not counts["filtered"]:
            assert Counter(event["enrichment.status"] for event in written) == manifest["statuses"]
            assert len({event["enrichment.signature"] for event in written}) == manifest["signatures"]


def assert_ranges_hold(manifest, written):
    """Each event lies in the byte range that its window's manifest gives for its file."""
    ranges = {}
    expected = Counter()
    for one in manifest["files"]:
        # Files may have borne one path in turn.
        ranges.setdefault(one["path"], []).append(one["bytes"])
        expected[one["path"]] += one["events"]
    assert {event["log.file.path"] for event in written} <= set(ranges)
    for event in written:
        assert any(first <= event["log.offset"] < last for first, last in ranges[event["log.file.path"]])
    if not manifest["events"]["filtered"]:
        # A file may have nothing but the last lines of an event that began in another.
        assert expected == Counter(event["log.file.path"] for event in written)


def eventually(condition, *, seconds=DEADLINE_SECONDS, running=None):
    """Poll until a condition holds; its value."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(FileNotFoundError):
            if value := condition():
                return value
        assert time.monotonic() < deadline, f"not within {seconds} s\n{running.err[-3000:] if running else ''}"
        if running is not None:
            running.read(0.05)
        else:
            time.sleep(0.05)
