"""Everything that may go wrong does so for a while, and nothing is lost, told twice, paid twice or left hanging.

`make chaos MINUTES=60 SEED=7` is the same for longer.
"""

from __future__ import annotations

import json
import sys

import pytest

from tests.system import chaos_clock
from tests.system.bench import Bench, log_lines, unpacked
from tests.system.chaos import Chaos, Settings
from tests.system.chaos_logs import proved, serial_of
from tests.system.chaos_verdict import output_faults

SEED = 20261123


@pytest.mark.timeout(480)
def test_after_everything_that_may_go_wrong_all_is_out_once_and_the_books_balance(tmp_path):
    chaos = Chaos(tmp_path, Settings(SEED, chaos_seconds=120, calm_seconds=5, hour_seconds=5, lines_per_second=300))
    try:
        report = chaos.run()
    finally:
        chaos.end()

    print(report.text())
    assert [] == report.faults
    # It was no calm run.
    assert report.lines > 20_000
    assert sum(report.moves[move] for move in ("kill", "stop", "other_server")) >= 10


def test_what_waits_by_a_clock_that_is_then_set_is_not_waited_for(bench, serve):
    """The provider asks for half an hour; who knows how long that is once the clock was set."""
    bench.url = serve(faults=[{"on": "upload", "what": "status", "status": 429, "retry_after_seconds": 1800}]).url
    bench.configure(window={"allowed_lateness_seconds": 0.0}, provider={"base_url": bench.url})
    bench.write("a.log", log_lines(4000, hours=1))
    clock = bench.root / "clock"
    chaos_clock.step(clock, 3600)
    daemon = bench.start("run", prefix=(sys.executable, "-m", "tests.system.chaos_clock"), CHAOS_CLOCK=str(clock))
    daemon.until(lambda: daemon.happened("batch_waited", seconds=1800.0))

    chaos_clock.step(clock, 3000)

    daemon.until(lambda: daemon.happened("clock_stepped"))
    daemon.until(lambda: daemon.happened("pane_finished"))


def test_a_line_proves_itself_and_a_byte_of_it_that_is_other_is_found():
    line = proved("2026-11-20T08:00:00Z INFO disk opened after 3 ms", 41)

    assert 41 == serial_of(line)
    assert [None] * len(line) == [serial_of(line[:n] + "~" + line[n + 1 :]) for n in range(len(line))]
    assert None is serial_of(line[:-1])
    assert None is serial_of(line + "0")


def test_what_is_missing_twice_or_torn_in_the_output_is_found(tmp_path, server):
    bench = Bench(tmp_path / "bench", server.url)
    lines = [proved(f"2026-11-20T08:00:{n:02d}Z INFO disk opened after {n} ms", n) for n in range(10)]
    bench.write("a.log", [*lines[:9], lines[3], lines[4].replace("disk", "dish")])
    bench.enricher("once")

    found = " ".join(output_faults(bench.out, 10))

    assert "1 of 10 lines missing: [9]" in found
    assert "1 of 10 lines there more than once: [3]" in found
    assert "not as it was written: '2026-11-20T08:00:04Z INFO dish" in found
    assert "manifest" not in found
    part = next(bench.out.glob("*/events-*.jsonl"))
    part.write_bytes(unpacked(part).replace(json.dumps("dish")[1:-1].encode(), b"disk"))
    assert "is not true" in " ".join(output_faults(bench.out, 10))
    bench.end()
