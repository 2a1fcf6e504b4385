"""Line in to event out by `enricher once`, and collectors' plain copies of the same file: each a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.benchmarks.workload import write_generated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ENRICHER: Final = (sys.executable, "-m", "enricher")
_EARLIER: Final = "2026-11-19T06:00:00.000"
_KNOWN_LINES: Final = 20_000
_DEADLINE_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a process used, from its start to its end."""

    cpu_seconds: float
    wall_seconds: float


def once(path: Path, scratch: Path) -> tuple[Used, Used]:
    """What `enricher once` uses for a file whose kinds are all answered, and what it uses when there is nothing new."""
    configuration = scratch / "enricher.toml"
    server = subprocess.Popen(
        [*_ENRICHER, "serve-batches", "--schema-only", "--listen", "127.0.0.1:0", "--state", str(scratch / "server")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert server.stdout is not None
        base_url = json.loads(server.stdout.readline())["base_url"]
        configuration.write_text(
            f"""state_dir = "{scratch / "state"}"
[provider]
base_url = "{base_url}"
[batch]
poll_interval_seconds = 0.2
[budget]
daily_usd = 1000.0
[[sinks]]
id = "files"
type = "file"
directory = "{scratch / "out"}"
""",
            "utf-8",
        )
        earlier = write_generated(scratch / "earlier.log", _KNOWN_LINES, start=_EARLIER)
        command = (*_ENRICHER, "once", "-c", str(configuration))
        environment = os.environ | {"OPENAI_API_KEY": "sk-bench"}
        _run((*command, str(earlier)), environment)
        used = _run((*command, str(path)), environment)
        idle = _run((*command, str(path)), environment)
    finally:
        server.terminate()
        server.wait()
    return used, idle


def copies(path: Path, scratch: Path, *, runs: int) -> dict[str, Used]:
    """What each collector that is installed uses to copy the file, no line parsed: the least of some runs."""
    found = {}
    for name, (program, copy) in {"syslog-ng": ("syslog-ng", _syslog_ng), "rsyslog": ("rsyslogd", _rsyslog)}.items():
        at = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
        if at is not None:
            used = [copy(at, path, scratch / f"{name}-{number}") for number in range(runs)]
            found[name] = min(used, key=lambda one: one.cpu_seconds)
    return found


def _syslog_ng(program: str, path: Path, scratch: Path) -> Used:
    scratch.mkdir()
    copy, configuration = scratch / "copy.log", scratch / "syslog-ng.conf"
    configuration.write_text(
        f"""@version: 3.35
options {{ stats-freq(0); flush-lines(1000); }};
source s {{ file("{path}" flags(no-parse) follow-freq(0.1) log-fetch-limit(1000) log-iw-size(100000)); }};
destination d {{ file("{copy}" template("${{MSG}}\\n") log-fifo-size(200000)); }};
log {{ source(s); destination(d); flags(flow-control); }};
""",
        "utf-8",
    )
    places = (f"--{name}={scratch / name}" for name in ("persist-file", "pidfile", "control"))
    return _copied((program, "--foreground", "--no-caps", f"--cfgfile={configuration}", *places), path, copy)


def _rsyslog(program: str, path: Path, scratch: Path) -> Used:
    scratch.mkdir()
    copy, configuration = scratch / "copy.log", scratch / "rsyslog.conf"
    configuration.write_text(
        f"""global(workDirectory="{scratch}")
main_queue(queue.size="100000" queue.dequeueBatchSize="1000")
module(load="imfile")
template(name="raw" type="string" string="%msg%\\n")
input(type="imfile" file="{path}" tag="copy" ruleset="copy")
ruleset(name="copy") {{
    action(type="omfile" file="{copy}" template="raw" ioBufferSize="64k" flushOnTXEnd="off"
        asyncWriting="on" flushInterval="1")
}}
""",
        "utf-8",
    )
    return _copied((program, "-n", "-f", str(configuration), "-i", str(scratch / "pid")), path, copy)


def _copied(command: Sequence[str], path: Path, copy: Path) -> Used:
    """Run a collector until the copy is whole."""
    begun, wanted = time.monotonic(), path.stat().st_size
    errors = copy.with_name("err")
    with errors.open("wb") as err:
        process = subprocess.Popen(command, stdout=err, stderr=err)
    while not (copy.exists() and copy.stat().st_size >= wanted):
        if process.poll() is not None or time.monotonic() > begun + _DEADLINE_SECONDS:
            process.kill()
            process.wait()
            raise RuntimeError(f"{command[0]} did not copy the file: {errors.read_text()[-2000:]}")
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    used, size = _wait(process, begun), copy.stat().st_size
    if size != wanted:
        raise RuntimeError(f"{command[0]} copied {size:,} bytes of {wanted:,}: {errors.read_text()[-2000:]}")
    copy.unlink()
    return used


def _run(command: Sequence[str], environment: dict[str, str]) -> Used:
    begun = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    used = _wait(process, begun)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said.decode()[-2000:]}")
    return used


def _wait(process: subprocess.Popen[bytes], begun: float) -> Used:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Used(cpu_seconds=usage.ru_utime + usage.ru_stime, wall_seconds=time.monotonic() - begun)
