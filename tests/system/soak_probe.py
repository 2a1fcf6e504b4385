"""Runs a command of enricher and notes what it has in use: `soak_probe PYTHON -m enricher ARGS...`.

What a process is resident with is also what it keeps free for the next block of lines. What is in use says whether
anything is held for ever: bytes that the C library has given out, and blocks that Python has.
A row of the file named by `SOAK_PROBE` is: monotonic seconds, bytes, blocks, heaps of the C library.
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
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _MallocInfo
    library.fopen.restype = ctypes.c_void_p

    def heaps():
        told = f"{path}.heaps"
        stream = ctypes.c_void_p(library.fopen(told.encode(), b"w"))
        library.malloc_info(0, stream)
        library.fclose(stream)
        return Path(told).read_text().count("<heap nr=")

    def note():
        with Path(path).open("w", buffering=1) as file:
            while True:
                info = library.mallinfo2()
                in_use = info.uordblks + info.hblkhd
                file.write(f"{time.monotonic()} {in_use} {sys.getallocatedblocks()} {heaps()}\n")
                time.sleep(EVERY_SECONDS)

    threading.Thread(target=note, daemon=True).start()


if __name__ == "__main__":
    # As the daemon does before it has a thread: one that is there earlier would get it a second heap for good.
    keep_freed_memory()
    watch(os.environ["SOAK_PROBE"])
    sys.argv = sys.argv[3:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
