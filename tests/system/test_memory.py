"""What the process does with the memory that a block of lines needed."""

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
