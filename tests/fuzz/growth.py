"""Whether the work of a check grows with its input, and no faster: what repeats in a log may be repeated for long.

Work is counted where Python does it (lines run in `enricher`), which says the same on every machine; what regular
expressions do is only seen as time, which is measured by hand.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

KNOB_BYTES = 2
SLOW_SECONDS = 0.5
LINEAR, QUADRATIC = 4, 16


def lines_run(check: Callable[[bytes], None], data: bytes) -> int:
    """How many lines of `enricher` a check runs."""
    count = 0

    def line(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return line

    def call(frame: FrameType, _event: str, _argument: object) -> Any:
        return line if "/enricher/" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        check(data)
    finally:
        sys.settrace(before)
    return count


def repeated_lines(seed: bytes, times: int) -> bytes:
    """The lines of a seed again and again."""
    return seed[:KNOB_BYTES] + (seed[KNOB_BYTES:] + b"\n") * times


def part_repeated(seed: bytes, size: int, rnd: random.Random) -> Callable[[int], bytes]:
    """A seed with some part of it repeated to any size."""
    begin = rnd.randrange(KNOB_BYTES, max(KNOB_BYTES + 1, len(seed)))
    end = min(len(seed), begin + rnd.randint(1, size))
    unit = seed[begin:end] or b"x"
    return lambda wanted: seed[:end] + unit * (wanted // len(unit)) + seed[end:]


def slow_growth(check: Callable[[bytes], None], seeds: list[bytes], seconds: float, rnd: random.Random) -> list[bytes]:
    """Inputs whose CPU time grew more like a square than in proportion, found within `seconds`."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        grown = part_repeated(rnd.choice(seeds), rnd.choice((2, 8, 64)), rnd)
        small, large = (_cpu_seconds(check, grown(size)) for size in (32_768, 131_072))
        if large > SLOW_SECONDS and large > small * (LINEAR + QUADRATIC) / 2:
            found.append(grown(2_048))
    return found


def _cpu_seconds(check: Callable[[bytes], None], data: bytes) -> float:
    begin = time.process_time()
    check(data)
    return time.process_time() - begin
