"""Lines to measure with: generated ones, and those of the Loghub samples with fresh numbers.

Nothing repeats verbatim, as in real logs: each line gets digits of its own. The generated lines are some 300 kinds at
about 120 bytes, a quarter of them digits (as in the samples), in the order of their ISO times, 1,200,000 in four hours.
Made with numpy, since making lines must not take longer than reading them.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.skeleton import message_start
from enricher.core.timestamp_formats import find_time

if TYPE_CHECKING:
    from collections.abc import Iterator

START: Final = "2026-11-20T06:00:00.000"
KINDS: Final = 300
PIECE_LINES: Final = 100_000
_LINES_PER_SECOND: Final = 1_200_000 / 4 / 3600
_TIME_BYTES: Final = len(START)

_COMPONENTS: Final = (
    "auth",
    "cart",
    "billing",
    "search",
    "ingress",
    "scheduler",
    "mailer",
    "replica",
    "cache",
    "audit",
)
_VERBS: Final = ("accepted", "rejected", "queued", "flushed", "resumed", "expired")
_OBJECTS: Final = ("session", "order", "lease", "snapshot", "connection")
_LEVELS: Final = ("INFO", "INFO", "WARN", "INFO", "ERROR")
_TAILS: Final = (
    "from 10.{}.{}.{} after {} ms with {} peers",
    "on shard {} in {} ms while {} replicas caught up",
    "id={} with {} bytes left, trying address {} of the list",
)
_HEX_WORD: Final = re.compile(
    rb"(?<![0-9A-Za-z])(?=[0-9a-fA-F]*[0-9])(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{4,}(?![0-9A-Za-z])"
)
_NUMBER: Final = re.compile(rb"[0-9]{2,}")
RUN_LINES: Final = 100


def generated(lines: int, *, start: str = START) -> Iterator[bytes]:
    """`lines` generated lines, a piece at a time."""
    dice = np.random.default_rng(1)
    templates = _templates(random.Random(1))
    for first in range(0, lines, PIECE_LINES):
        count = min(PIECE_LINES, lines - first)
        chosen = dice.integers(0, len(templates), count).tolist()
        piece = _with_fresh_digits(b"".join([templates[at] for at in chosen]), dice)
        yield _with_times(piece, first, start)


def write_generated(path: Path, lines: int, *, start: str = START) -> Path:
    """Write generated lines to a file."""
    with path.open("wb") as file:
        file.writelines(generated(lines, start=start))
    return path


def loghub() -> Path | None:
    """The directory with the Loghub samples; None where there is none."""
    named = os.environ.get("ENRICHER_LOGHUB")
    place = Path(named) if named else Path(__file__).parents[2].parent / "shared" / "loghub"
    return place if any(place.glob("*/*_2k.log")) else None


def write_loghub(path: Path, sample: Path, repeats: int) -> Path:
    """Write a sample many times over with fresh numbers, stretch by stretch, its times spread over all of a stretch.

    So the lines come as close upon each other as those of a busy host, kinds as mixed as they were and times in order.
    Headers keep their numbers: times must be read.
    """
    dice = np.random.default_rng(1)
    lines = [_Line(line) for line in sample.read_bytes().splitlines(keepends=True)]
    with path.open("wb") as file:
        for first in range(0, len(lines), RUN_LINES):
            stretch = lines[first : first + RUN_LINES]
            for repeat in range(repeats):
                times = [stretch[(repeat * len(stretch) + at) // repeats].time for at in range(len(stretch))]
                file.write(_renewed(stretch, times, dice))
    return path


class _Line:
    """A line of a sample, taken apart: what is before its time, the time, the rest, and what changes in the rest."""

    def __init__(self, line: bytes) -> None:
        found = find_time(line)
        start, end = (0, 0) if found is None else (found[1].start(1), max(found[1].end(n) for n in (1, 2, 3)))
        begin = max(message_start(line), end)
        digits = [at - end for match in _NUMBER.finditer(line, begin) for at in range(*match.span())]
        words = [at - end for match in _HEX_WORD.finditer(line, begin) for at in range(*match.span())]
        self.before, self.time, self.rest = line[:start], line[start:end], line[end:]
        self.digits = np.array(digits, np.intp)
        self.letters = np.array([at for at in words if self.rest[at] > ord("9")], np.intp)


def _renewed(lines: list[_Line], times: list[bytes], dice: np.random.Generator) -> bytes:
    """Lines with other times and other numbers."""
    heads = [line.before + (time if line.time else b"") for line, time in zip(lines, times, strict=True)]
    cells = np.frombuffer(b"".join([h + line.rest for h, line in zip(heads, lines, strict=True)]), np.uint8).copy()
    ends = np.cumsum([len(head) + len(line.rest) for head, line in zip(heads, lines, strict=True)]).tolist()
    rests = [end - len(line.rest) for end, line in zip(ends, lines, strict=True)]
    digits = np.concatenate([line.digits + rest for line, rest in zip(lines, rests, strict=True)])
    letters = np.concatenate([line.letters + rest for line, rest in zip(lines, rests, strict=True)])
    cells[digits] = dice.integers(ord("0"), ord("9") + 1, len(digits), dtype=np.uint8)
    cells[letters] = dice.integers(ord("a"), ord("f") + 1, len(letters), dtype=np.uint8)
    return cells.tobytes()


def _templates(dice: random.Random) -> list[bytes]:
    kinds = [(c, v, o) for c in _COMPONENTS for v in _VERBS for o in _OBJECTS]
    assert len(kinds) == KINDS
    made = []
    for number, (component, verb, thing) in enumerate(kinds):
        tail = _TAILS[number % len(_TAILS)]
        for _ in range(8):  # numbers of different lengths
            numbers = [dice.randrange(10 ** dice.randrange(1, 6)) for _ in range(tail.count("{}"))]
            head = f"{'0' * _TIME_BYTES}Z web{number % 4} {component}[{dice.randrange(10, 99999)}]"
            made.append(f"{head}: {_LEVELS[number % 5]} {thing} {verb} {tail.format(*numbers)}\n".encode())
    return made


def _with_fresh_digits(text: bytes, dice: np.random.Generator) -> bytes:
    cells = np.frombuffer(text, np.uint8).copy()
    digits = np.flatnonzero((cells - np.uint8(ord("0"))) < 10)
    cells[digits] = dice.integers(ord("0"), ord("9") + 1, len(digits), dtype=np.uint8)
    # No number begins with a zero: none that a program prints does.
    firsts = digits[np.diff(digits, prepend=-2) > 1]
    cells[firsts] = np.maximum(cells[firsts], ord("1"))
    return cells.tobytes()


def _with_times(text: bytes, first: int, start: str) -> bytes:
    cells = np.frombuffer(text, np.uint8).copy()
    starts = np.concatenate(([0], np.flatnonzero(cells[:-1] == ord("\n")) + 1))
    offsets = ((first + np.arange(len(starts))) * 1000 / _LINES_PER_SECOND).astype("timedelta64[ms]")
    times = np.datetime_as_string(np.datetime64(start) + offsets, unit="ms")
    rows = times.view(np.uint32).reshape(len(starts), -1)[:, :_TIME_BYTES].astype(np.uint8)
    cells[starts[:, None] + np.arange(rows.shape[1])] = rows
    return cells.tobytes()
