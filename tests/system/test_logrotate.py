"""The real daemon beside the real logrotate: it runs, is killed, is down and begins again while logs are rotated."""

from __future__ import annotations

import signal
from collections import Counter
from itertools import product

import pytest

from tests.stages.rotating import COMPRESSIONS, LOGROTATE, REOPENS, WAYS, Logrotate, Writer
from tests.system.bench import assert_manifests_true, events, eventually

pytestmark = pytest.mark.skipif(LOGROTATE is None, reason="the real logrotate is not on this machine")

LINES = 7


class Rotated:
    """A log that is rotated in one way."""

    def __init__(self, directory, way, compression, *, dated):
        self._way = way
        log = directory / f"{way}-{compression}.log"
        self.writer = Writer(log)
        rotation = directory.parent.parent / f"rotate-{log.stem}"
        self._rotation = Logrotate(log, rotation, way=way, compression=compression, dated=dated)

    def rotate(self):
        self.writer.write(LINES)
        for place in self._rotation.rotate():
            if place == "postrotate" and self._way in REOPENS:
                self.writer.write(1)
                self.writer.reopen()
            self.writer.write(1)

    def close(self):
        self.writer.close()
        self._rotation.close()


@pytest.fixture
def logs(bench):
    """Every way and compression once; of half of them the rotated names match the patterns of their source."""
    made = []
    for name in ("all", "only"):
        (bench.logs / name).mkdir(mode=0o755)
    for at, (way, compression) in enumerate(product(WAYS, COMPRESSIONS)):
        made.append(Rotated(bench.logs / ("all", "only")[at % 2], way, compression, dated=at % 4 < 2))
    yield made
    for log in made:
        log.close()


def test_a_daemon_that_is_killed_and_begun_again_beside_logrotate_writes_each_line_once(bench, logs):
    sources = [
        {"id": "all", "include": [str(bench.logs / "all" / "*.log*")]},
        {"id": "only", "include": [str(bench.logs / "only" / "*.log")]},
    ]
    bench.configure(sources=sources, window={"allowed_lateness_seconds": 0.0, "digest": "counts"})

    def written():
        return sum(len(log.writer.lines) for log in logs)

    def rotate():
        for log in logs:
            log.rotate()

    for log in logs:
        log.writer.write(LINES)
    daemon = bench.start("run")
    daemon.until(lambda: daemon.happened("daemon_started"))
    eventually(lambda: bench.status()["lines"]["read"] >= written() - len(logs), running=daemon, seconds=120)
    rotate()
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    rotate()
    daemon = bench.start("run")
    rotate()
    daemon.until(lambda: daemon.happened("daemon_started"))
    daemon.signal(signal.SIGTERM)
    assert 0 == daemon.wait().code
    daemon = bench.start("run")
    eventually(lambda: bench.status()["events"]["written"] >= written(), running=daemon, seconds=120)
    eventually(lambda: bench.status()["windows"].keys() == {"done"}, running=daemon)
    daemon.signal(signal.SIGTERM)
    assert 0 == daemon.wait().code

    found = Counter(event["message"] for event in events(bench.out))
    expected = Counter(line.decode() for log in logs for line in log.writer.lines)
    missing, repeated = expected - found, found - expected
    assert (0, 0) == (missing.total(), repeated.total()), [*missing, *repeated][:5]
    assert_manifests_true(bench.out)
