"""A daemon is killed while events are half written, the logs are rotated while it is down, and it is started again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from datetime import timedelta

from tests.system.bench import (
    FIRST_HOUR,
    assert_each_in_its_window,
    assert_manifests_true,
    events,
    eventually,
    log_lines,
)

# What is worth reading at once: less waits up to 10 s for more.
MANY = 4000
FRAMES = [f"\tat com.example.Shop.step{number}(Shop.java:{number})" for number in range(4)]


def broken(name):
    return f"{FIRST_HOUR + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ} ERROR {name} broke"


def lines_read(bench):
    return bench.status()["lines"]["read"]


def test_events_that_a_kill_and_a_rotation_interrupt_are_written_whole(bench):
    bench.configure(window={"allowed_lateness_seconds": 0.0, "digest": "counts"})
    names = ("renamed", "copied", "fresh", "empty")
    logs = [list(log_lines(MANY, hours=1, first=number * 100)) for number in range(len(names))]
    for name, lines in zip(names, logs, strict=True):
        bench.write(f"{name}.log", [*lines, broken(name), *FRAMES[:2]])
    daemon = bench.start("run")
    daemon.until(lambda: daemon.happened("daemon_started"))

    def all_but_the_last():
        for name in names:
            (bench.logs / f"{name}.log").touch()  # so that the last event is waited for
        return lines_read(bench) == MANY * len(names)

    eventually(all_but_the_last, running=daemon)
    daemon.signal(signal.SIGKILL)
    daemon.wait()

    now = time.time()
    for name in names:
        log, old = bench.logs / f"{name}.log", bench.logs / f"{name}.log.1"
        os.utime(log, (now - 60, now - 60))
        if name == "copied":
            shutil.copy2(log, old)
            os.truncate(log, 0)
        else:
            log.rename(old)
            log.touch()
    later = list(log_lines(MANY, hours=1, start=FIRST_HOUR + timedelta(hours=2), first=500))
    bench.write("renamed.log", [*FRAMES[2:], *later], append=True)
    bench.write("copied.log", [*FRAMES[2:], *later], append=True)
    bench.write("fresh.log", later, append=True)
    expected = (MANY + 1) * len(names) + 3 * MANY
    daemon = bench.start("run")
    eventually(lambda: bench.status()["events"]["written"] == expected, running=daemon)
    eventually(lambda: bench.status()["windows"].keys() == {"done"}, running=daemon)
    daemon.signal(signal.SIGTERM)
    assert 0 == daemon.wait().code

    written = events(bench.out)
    assert expected == len(written)
    assert len(written) == len({event["event.id"] for event in written})
    found = {event["message"].split()[2]: event for event in written if " broke" in event["message"]}
    for name, lines in zip(names, logs, strict=True):
        frames = FRAMES if name in ("renamed", "copied") else FRAMES[:2]
        assert "\n".join([broken(name), *frames]) == found[name]["message"]
        assert sum(len(line) + 1 for line in lines) == found[name]["log.offset"]
        # The name that the registry knew the file by is as good as its new one.
        assert found[name]["log.file.path"] in (f"{bench.logs / name}.log", f"{bench.logs / name}.log.1")
    assert_each_in_its_window(bench.out)
    assert_manifests_true(bench.out)
