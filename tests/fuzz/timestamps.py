"""Any bytes as lines of a log: when each happened, whichever way the times are read.

The first byte chooses the zone, the time before, the read time and a pattern of a user's; the second where the lines
are cut; the rest is the log.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from enricher.core.timestamp import TimeContext, UserTime, block_times, first_time, line_times
from enricher.core.timestamp_columns import line_starts
from enricher.core.timestamp_formats import ANYWHERE, LINE_START, find_time, starts_with_time
from enricher.core.timestamp_instants import FARTHEST_AHEAD_SECONDS, OLDEST_SECONDS

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe")
ANCHORS = (None, "2026-10-25T00:30:00Z", "2026-01-01T00:00:00.5Z")
NOWS = ("2026-11-22T12:00:00Z", "2026-10-25T01:30:30Z")
PATTERNS = (
    None,
    UserTime.from_text(r"t=(?P<time>\S+ \S+)", "%d.%m.%Y %H:%M:%S"),
    UserTime.from_text(r"(?P<time>\d+)$", "epoch"),
    UserTime.from_text(r"^(?P<time>.{14})", "%d %b %H:%M"),
)
HOUR = 3600
RFC_3339 = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(?:\d{3}){1,3})?Z")


def check(data: bytes) -> None:
    """A time lies within its line and is written back; where blocks are cut and how they are read changes nothing."""
    if len(data) < 3:
        return
    knobs, cut, lines = data[0], data[1], data[2:].split(b"\n")
    knobs, zone = divmod(knobs, len(ZONES))
    knobs, anchor = divmod(knobs, len(ANCHORS))
    knobs, now = divmod(knobs, len(NOWS))
    context = TimeContext(
        anchor=_epoch(ANCHORS[anchor]),
        fallback=_epoch(NOWS[now]) or 0.0,
        now=_epoch(NOWS[now]) or 0.0,
        zone=ZONES[zone],
        pattern=PATTERNS[knobs % len(PATTERNS)],
    )
    for line in lines:
        _found_within(line, context)
    text = b"\n".join(lines) + b"\n"
    whole = _read(text, context)
    _in_pieces(lines, cut % (len(lines) + 1), context, whole)


def _epoch(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _found_within(line: bytes, context: TimeContext) -> None:
    found = find_time(line)
    # Of two formats the one that the lines before have would be taken, and where blocks are cut would count.
    assert [form for form in (*LINE_START, *ANYWHERE) if form.find(line)] == ([] if found is None else [found[0]])
    if found is None:
        assert not starts_with_time(line)
        return
    _, match = found
    assert 0 <= match.start() <= match.start(1) <= match.end(1) <= match.end() <= len(line)
    assert len(match.groups()) == 3
    assert match[1]
    assert re.fullmatch(rb"\d{0,9}", match[2] or b"")
    own = first_time(line, context)
    assert own is None or OLDEST_SECONDS <= own <= context.now + FARTHEST_AHEAD_SECONDS


def _read(text: bytes, context: TimeContext) -> list[bytes]:
    """The times of lines, with what is always true of them."""
    starts = line_starts(text)
    written = line_times(text, context, starts).splitlines()
    assert len(written) == len(starts) - 1 == text.count(b"\n")
    block = block_times(text, context, length_seconds=HOUR, starts=starts)
    assert sum(block.origins.values()) == len(written)
    assert all(number >= 0 for number in block.origins.values())
    index = [0] * len(written) if block.index is None else block.index.tolist()
    assert len(set(block.windows)) == len(block.windows)
    assert set(index) == set(range(len(block.windows)))
    seconds = []
    for time, at in zip(written, index, strict=True):
        assert RFC_3339.fullmatch(time), time
        moment = datetime.fromisoformat(time.decode()[:19] + "+00:00")
        assert moment.strftime("%Y-%m-%dT%H:%M:%S").encode() == time[:19]
        seconds.append(int(moment.timestamp()))
        assert block.windows[at] <= seconds[-1] < block.windows[at] + HOUR
        assert OLDEST_SECONDS <= seconds[-1] <= context.now + FARTHEST_AHEAD_SECONDS
    # The anchor is the last line's time, cut to the microsecond.
    last = written[-1].decode()
    micros = int(last[20:-1][:6].ljust(6, "0")) if "." in last else 0
    exact = datetime.fromtimestamp(seconds[-1], UTC) + timedelta(microseconds=micros)
    assert abs(block.anchor - exact.timestamp()) < 2e-6
    assert int(block.anchor) == seconds[-1]
    return written


def _in_pieces(lines: list[bytes], cut: int, context: TimeContext, whole: list[bytes]) -> None:
    """The lines read in two blocks, the second behind the first, are those read at once."""
    pieces: list[bytes] = []
    for begin, end in pairwise((0, cut, len(lines))):
        if begin == end:
            continue
        text = b"".join(line + b"\n" for line in lines[begin:end])
        pieces += _read(text, context)
        block = block_times(text, context, length_seconds=HOUR)
        # Before any event there is no time that a later one could hang on.
        if any(block.origins[kind] for kind in ("own", "future", "previous")):
            context = TimeContext(
                anchor=block.anchor,
                fallback=context.fallback,
                now=context.now,
                zone=context.zone,
                pattern=context.pattern,
            )
    assert [_micros(time) for time in pieces] == [_micros(time) for time in whole]


def _micros(time: bytes) -> tuple[bytes, bytes]:
    """A time to the microsecond, which is all that an anchor keeps for the lines behind it."""
    return time[:19], (time[20:-1] if b"." in time else b"")[:6].ljust(6, b"0")
