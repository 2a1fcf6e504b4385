"""What the process does with the memory that blocks of lines needed."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Final

import pytest

_ROUNDS: Final = 20
_PAGES_OF_A_ROUND: Final = 3 * 4 * 1024 * 1024 // 4096

_PROGRAM: Final = f"""
import resource, threading
from enricher.cli.running import keep_freed_memory

def work():
    for round in range(1 + {_ROUNDS}):
        if round == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        buffers = [b"x" * (4 << 20) for _ in range(3)]
        del buffers
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

keep_freed_memory()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep what is freed")
def test_buffers_of_the_next_block_are_those_of_the_last_one() -> None:
    run = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True)

    assert int(run.stdout) < _PAGES_OF_A_ROUND


_GAPS: Final = 40
_GAP_BYTES: Final = 1 << 20

# What stays lies behind each gap, as something that is remembered does behind a block of lines; it is too large for
# the gaps that the heap has already.
_PROGRAM_WITH_GAPS: Final = f"""
import asyncio, time
from pathlib import Path
from enricher.cli import running

def resident_bytes():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

async def work(stop):
    blocks, kept = [], []
    for _ in range({_GAPS}):
        blocks.append(b"x" * {_GAP_BYTES})
        kept.append(b"x" * {_GAP_BYTES // 4})
    blocks.clear()
    before, deadline = resident_bytes(), time.monotonic() + 10
    while (given_back := before - resident_bytes()) < {_GAPS * _GAP_BYTES // 2} and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return given_back

running._GIVE_BACK_SECONDS = 0.05
print(asyncio.run(running.until_stopped(work)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to give back what is free")
def test_gaps_between_what_stays_in_use_are_given_back() -> None:
    run = subprocess.run([sys.executable, "-c", _PROGRAM_WITH_GAPS], check=True, capture_output=True, text=True)

    assert int(run.stdout) >= _GAPS * _GAP_BYTES // 2
