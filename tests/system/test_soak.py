"""Under a steady load with rotation the daemon keeps nothing of what it wrote; `make soak` does it for half an hour."""

from __future__ import annotations

import numpy as np

from tests.system.soak import Load, Report, soak

MEGABYTE = 1_000_000
LINES_PER_SECOND = 8_000


def test_a_steady_load_is_written_once_and_holds_no_more_in_the_end_than_before(tmp_path):
    load = Load(lines_per_second=LINES_PER_SECOND, hour_seconds=3.0, rotate_bytes=2 * MEGABYTE)

    report = soak(tmp_path, load, seconds=15.0, every_seconds=0.25)

    assert [] == report.faults
    assert report.lines > 80_000
    assert report.rotations >= 4
    assert report.windows >= 4
    first, second = np.array_split([blocks for at, _, blocks, _ in report.in_use if at >= 0], 2)
    # Samples are taken while something is under way, too. One object that stays for each line would be far more.
    assert second.min() < first.min() + 2 * LINES_PER_SECOND
    _, resident = report.behind(0.0)
    assert resident.max() < 250 * MEGABYTE


def test_a_leak_is_told_by_its_size():
    leaking = Report(samples=[(at, 100e6 + 2000 * at + 5e6 * (at % 10 == 0), 9) for at in range(0, 1800, 5)])

    assert 1.1e6 < leaking.growth(600.0) < 1.3e6
