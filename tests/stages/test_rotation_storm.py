"""A hundred rotations a second over twenty logs, while the real source, stage and store follow them."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections import Counter

import pytest

from tests.stages.rotating import Follower, Writer

LOGS = 20
ROTATIONS_A_SECOND = 100
ROTATIONS = ROTATIONS_A_SECOND * int(os.environ.get("ENRICHER_STORM_SECONDS", "3"))
AHEAD = 30
"""So many rotations may fall between two looks: on a machine that is busy the storm waits, and is a storm still."""


class Storm(threading.Thread):
    """Writes to each log and rotates it in its turn, as fast as it is said to at most; every name moves up by one."""

    def __init__(self, directory, way):
        super().__init__()
        self.logs = [directory / f"{number}.log" for number in range(LOGS)]
        self.writers = [Writer(log) for log in self.logs]
        self.kept = [0] * LOGS
        self.rotations = 0
        self.looks = 0
        self._way = way

    def run(self):
        begun = time.monotonic()
        while self.rotations < ROTATIONS:
            due = min((time.monotonic() - begun) * ROTATIONS_A_SECOND, (self.looks + 1) * AHEAD)
            if self.rotations < due:
                self._rotate(self.rotations % LOGS)
                self.rotations += 1
            else:
                time.sleep(1 / ROTATIONS_A_SECOND / 2)
        for writer in self.writers:
            writer.write(3)
            writer.close()

    def _rotate(self, at):
        log, writer = self.logs[at], self.writers[at]
        writer.write(1 + self.rotations % 5)
        for number in range(self.kept[at], 0, -1):
            log.with_name(f"{log.name}.{number}").rename(log.with_name(f"{log.name}.{number + 1}"))
        self.kept[at] += 1
        if self._way == "copytruncate":
            shutil.copy2(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)
            writer.write(1 + self.rotations % 3)  # read here, and found again in the next copy
            return
        log.rename(log.with_name(f"{log.name}.1"))
        writer.write(1)
        writer.reopen()


@pytest.mark.parametrize("way", ["create", "copytruncate"])
async def test_a_storm_of_rotations_loses_no_line_and_repeats_none(tmp_path, way):
    (tmp_path / "logs").mkdir()
    follower = Follower(tmp_path / "logs", "*.log*")
    await follower.start()
    storm = Storm(tmp_path / "logs", way)
    storm.start()
    try:
        while storm.is_alive():
            await follower.step()
            storm.looks += 1
            await asyncio.sleep(0)
    finally:
        storm.looks = ROTATIONS  # it waits for no look any more
        storm.join()
    await follower.settle()
    found = Counter(await follower.texts())
    expected = Counter(line for writer in storm.writers for line in writer.lines)
    await follower.stop()
    missing, repeated = expected - found, found - expected
    assert (0, 0) == (missing.total(), repeated.total()), [*missing, *repeated][:5]
