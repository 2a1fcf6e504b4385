"""Runs a command of enricher with a wall clock that somebody else may step: `chaos_clock PYTHON -m enricher ARGS...`.

The first 8 bytes of the file named by `CHAOS_CLOCK` are a double, the seconds by which `time.time` is off; the
monotonic clocks are those of the machine. All that the product knows of the time it asks `SystemClock`, which asks
here.
(libfaketime was tried: it makes every hand-over between threads wait for 30 ms.)
"""

from __future__ import annotations

import mmap
import os
import runpy
import struct
import sys
import time
from pathlib import Path

_real = time.time


def step(path, seconds):
    """Make the clock of whoever follows this file wrong by so many seconds, at once."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(file, struct.pack("d", float(seconds)), 0)
    finally:
        os.close(file)


def follow(path):
    """Let `time.time` be off by what the file says, from now on."""
    with Path(path).open("rb") as file:
        told = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    time.time = lambda: _real() + struct.unpack("d", told[:])[0]


if __name__ == "__main__":
    follow(os.environ["CHAOS_CLOCK"])
    sys.argv = sys.argv[3:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
