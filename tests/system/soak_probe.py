"""Runs a command of enricher and notes what it has in use: `soak_probe PYTHON -m enricher ARGS...`.

What a process is resident with is also what it keeps free for the next block of lines. What is in use says whether
anything is held for ever: bytes that the C library has given out, and blocks that Python has.
A row of the file named by `SOAK_PROBE` is: monotonic seconds, bytes, blocks.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import sys
import threading
import time
from pathlib import Path

from enricher.cli.running import keep_freed_memory

EVERY_SECONDS = 1.0
_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class _MallocInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def watch(path):
    """Write a row every second, from now on."""
    told = ctypes.CDLL(None).mallinfo2
    told.restype = _MallocInfo

    def note():
        with Path(path).open("w", buffering=1) as file:
            while True:
                info = told()
                file.write(f"{time.monotonic()} {info.uordblks + info.hblkhd} {sys.getallocatedblocks()}\n")
                time.sleep(EVERY_SECONDS)

    threading.Thread(target=note, daemon=True).start()


if __name__ == "__main__":
    # As the daemon does before it has a thread: one that is there earlier would get it a second heap for good.
    keep_freed_memory()
    watch(os.environ["SOAK_PROBE"])
    sys.argv = sys.argv[3:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
