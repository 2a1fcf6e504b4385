"""The real logrotate in all its ways, beside the real source, stage and store: no line missing, none twice.

The daemon reads at each place where logrotate can be stopped, is begun again there, or is down meanwhile. What
copytruncate loses by its nature is not written here: no line comes between its copy and its truncation.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import product

import pytest

from tests.stages.rotating import COMPRESSIONS, LOGROTATE, REOPENS, WAYS, Follower, Logrotate, Writer

pytestmark = pytest.mark.skipif(LOGROTATE is None, reason="the real logrotate is not on this machine")

NAMES = ("dateext", "numbers")
DAEMONS = ("up", "down", "restarting")
PATTERNS = {"in-glob": "a.log*", "not-in-glob": "*.log"}
SIZES = (1, 3, 40)
"""Lines at a time: fewer and more than a telling head has."""
EVERYTHING = os.environ.get("ENRICHER_LOGROTATE") == "all"
ROUNDS = 3 if EVERYTHING else 2


def cells():
    """Each cell with one size, or with each where ENRICHER_LOGROTATE asks for all."""
    for at in product(*map(enumerate, (WAYS, COMPRESSIONS, NAMES, DAEMONS, PATTERNS))):
        cell = [value for _, value in at]
        size = SIZES[sum(place for place, _ in at) % len(SIZES)]
        for one in SIZES if EVERYTHING else (size,):
            yield pytest.param(*cell, one, id="-".join([*cell, str(one)]))


async def be(daemon, follower):
    """What the daemon does while logrotate stands still."""
    if daemon == "restarting":
        await follower.restart()
    if daemon != "down":
        await follower.step()


@pytest.mark.parametrize(("way", "compression", "names", "daemon", "pattern", "size"), [*cells()])
async def test_what_logrotate_does_loses_no_line_and_repeats_none(
    tmp_path, way, compression, names, daemon, pattern, size
):
    (tmp_path / "logs").mkdir(mode=0o755)
    log = tmp_path / "logs" / "a.log"
    writer = Writer(log)
    rotation = Logrotate(log, tmp_path / "rotate", way=way, compression=compression, dated=names == "dateext")
    follower = Follower(log.parent, PATTERNS[pattern])
    await follower.start()
    for _ in range(ROUNDS):
        writer.write(size)
        await follower.step()
        writer.write(size)
        if daemon == "down":
            await follower.stop()
            writer.write(size)
        for place in rotation.rotate():
            if place == "postrotate" and way in REOPENS:
                # Until it is told, a program writes to the file that was renamed.
                writer.write(1)
                await be(daemon, follower)
                writer.reopen()
            await be(daemon, follower)
            writer.write(1)
        if daemon == "down":
            await follower.start()
    await follower.settle()
    found, expected = Counter(await follower.texts()), Counter(writer.lines)
    await follower.stop()
    writer.close()
    rotation.close()
    missing, repeated = expected - found, found - expected
    assert (0, 0) == (missing.total(), repeated.total()), [*missing, *repeated][:5]
