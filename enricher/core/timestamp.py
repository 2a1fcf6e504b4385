"""When events happened: the windows of a block's lines, and the exact time of each line as text.

The two answers come from one parsing core and one order of anchors, so for every line the window of `block_times`
holds the time of `line_times`. What a line's time is depends on the line, the context, and the events before it in the
same file (for lines without a time, times without a year, and the hour that clocks repeat in autumn), never on how many
lines are read at once. Nothing here reads a clock: the read time is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from enricher.core.timestamp_columns import Runs, find_runs, line_starts, texts
from enricher.core.timestamp_formats import TimeFormat, UserTime, find_time, starts_with_time
from enricher.core.timestamp_instants import MAX_FUTURE_SKEW_SECONDS, NOT_READABLE, OWN, UNREADABLE, Instant, Instants

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

__all__ = ["BlockTimes", "TimeContext", "UserTime", "block_times", "first_time", "line_times", "starts_with_time"]

# Bounds the memory that hostile lines can take; a block has about 35,000 lines.
_MEMO_ENTRIES = 50_000
# A block with more runs than this share of its lines is read faster line by line.
_LINES_PER_RUN = 8
# How far the template is looked for: a block may begin in the middle of a trace.
_TEMPLATE_LINES = 50
_FEW_RUNS = 16
_MOST_WINDOWS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeContext:
    """What the times of a block depend on beside its bytes; all moments in epoch seconds.

    `anchor` is the last event's time before this block in the same file, None if there is none; `fallback` is for
    events with no time anywhere before; `now` is the read time; `zone` is the IANA name for times without offset.
    """

    anchor: float | None
    fallback: float
    now: float
    zone: str
    pattern: UserTime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTimes:
    """The windows of a block's lines.

    `windows` are distinct window starts (epoch seconds) in the order of first appearance; `index` says per line which
    of them it is (uint8, or uint16 where there are more than 256), None when all lines are in the first. `anchor` is
    the time of the last event. `origins` counts lines by where their time came from: own, previous, fallback, future.
    """

    windows: tuple[int, ...]
    index: npt.NDArray[np.uint8 | np.uint16] | None
    anchor: float
    origins: Mapping[str, int]


def block_times(
    data: bytes, context: TimeContext, *, length_seconds: int, starts: npt.NDArray[np.intp] | None = None
) -> BlockTimes:
    r"""The windows of the lines of `data`, whole lines that each end in `\n`, from one part of one file.

    A block whose lines have their time in the same columns is read by its runs of equal minutes; any other line by
    line. Who has the `line_starts` of the data already gives them. Raises OverflowError for more than 65,536 windows in
    one block: cut the block and ask again.
    """
    if not data.endswith(b"\n"):
        data += b"\n"
    if starts is None:
        starts = line_starts(data)
    read = None if length_seconds % 60 else _read_runs(data, starts, context)
    if read is not None:
        seconds = np.fromiter((instant.seconds for instant, _ in read.instants), np.int64, len(read.instants))
        return _block_times(np.repeat(seconds // length_seconds * length_seconds, read.sizes), read.reader)
    reader = _Reader(context)
    seconds = np.fromiter((one[0][2] for one in reader.walk(data[:-1].split(b"\n"))), np.int64, len(starts) - 1)
    return _block_times(seconds // length_seconds * length_seconds, reader)


def line_times(data: bytes, context: TimeContext, starts: npt.NDArray[np.intp] | None = None) -> bytes:
    r"""The time of each line in RFC 3339, UTC, with 0, 3, 6 or 9 digits of a second as the source gives them.

    `data` are lines as `block_times` had them, with the context that it had; each time has a `\n` behind it. Who has
    the `line_starts` of the data already gives them.
    """
    if not data.endswith(b"\n"):
        data, starts = data + b"\n", None
    if starts is None:
        starts = line_starts(data)
    read = _read_runs(data, starts, context)
    if read is None:
        walked = _Reader(context).walk(data[:-1].split(b"\n"))
        return "".join([_text(instant, digits) for instant, digits in walked]).encode()
    is_cut = read.runs.seconds.stop > read.runs.seconds.start
    heads = [instant.text[:-2] if is_cut else instant.text for instant, _ in read.instants]
    times = texts(read.runs, heads, read.sizes)
    odd = read.runs.is_odd[read.runs.firsts]
    if not odd.any():
        return times
    width = len(times) // (len(starts) - 1)
    rows = [times[at : at + width] for at in range(0, len(times), width)]
    for at in np.flatnonzero(odd).tolist():
        rows[read.runs.firsts[at]] = _text(*read.instants[at]).encode()
    return b"".join(rows)


def _text(instant: Instant, digits: bytes | None) -> str:
    if not digits:
        return f"{instant[3]}Z\n"
    if len(digits) % 3:
        digits = digits.ljust(-(-len(digits) // 3) * 3, b"0")
    return f"{instant[3]}.{digits.decode()}Z\n"


def first_time(line: bytes, context: TimeContext) -> float | None:
    """The line's own time in epoch seconds (the read time, if it lies ahead of that); None when it has none."""
    reader = _Reader(context)
    reader.walk((line,))
    return reader.anchor if reader.origins["own"] or reader.origins["future"] else None


class _Reader:
    """Reads the times of lines of one file in their order: the one parsing core of this module."""

    def __init__(self, context: TimeContext) -> None:
        self._instants = Instants(zone=context.zone, now=context.now)
        self._user = None if context.pattern is None else context.pattern.to_format()
        self._format: TimeFormat | None = None
        self._memos: dict[TimeFormat, dict[tuple[bytes, bytes | None], Instant]] = {}
        self._has_event = context.anchor is not None
        start = self._instants.at(context.fallback if context.anchor is None else context.anchor)
        self.last: tuple[Instant, bytes | None] = (start, start.fraction)
        self.origins = {"own": 0, "previous": 0, "fallback": 0, "future": 0}

    @property
    def anchor(self) -> float:
        """The last event's time, cut to the microsecond, so that no rounding can move it into the next second."""
        instant, digits = self.last[0], (self.last[1] or b"")[:6]
        return instant.seconds + (int(digits) / 10 ** len(digits) if digits else 0.0)

    def walk(self, lines: Iterable[bytes]) -> list[tuple[Instant, bytes | None]]:
        """The instant of each line and the digits of its fraction.

        The formats exclude each other, so trying the one met last first changes no line's time. A pattern of the user's
        comes before them all, so it is asked for every line.
        """
        walked: list[tuple[Instant, bytes | None]] = []
        append = walked.append
        start = last = self.last
        form, had_event = self._format, self._has_event
        find = _find_nothing if form is None else form.find
        memo: dict[tuple[bytes, bytes | None], Instant] = {} if form is None else self._memos[form]
        timeless = future = 0
        for line in lines:
            match = find(line)
            if match is None:
                found = self._look(line)
                if found is None:
                    timeless += 1
                    append(last)
                    continue
                form, match = found
                find = _find_nothing if self._user else form.find
                memo = self._memos.setdefault(form, {})
            moment, digits, suffix = match.groups()
            instant = memo.get((moment, suffix))
            # By index, not by name: it is a third faster, and this is the loop of every line.
            if instant is None or not instant[0] < last[0][2] < instant[1]:
                instant = self._read(form, moment, suffix, last[0].seconds)
            if instant[5] == UNREADABLE:
                timeless += 1
                append(last)
                continue
            future += instant[5]
            last = (instant, digits if instant[4] is None else instant[4])
            append(last)
        self._format = None if self._user else form
        fallback = 0 if had_event else next((at for at, one in enumerate(walked) if one is not start), len(walked))
        self.origins["own"] += len(walked) - timeless - future
        self.origins["future"] += future
        self.origins["fallback"] += fallback
        self.origins["previous"] += timeless - fallback
        self.last = last
        return walked

    def _look(self, line: bytes) -> tuple[TimeFormat, re.Match[bytes]] | None:
        match = None if self._user is None else self._user.find(line)
        return find_time(line) if self._user is None or match is None else (self._user, match)

    def _read(self, form: TimeFormat | None, moment: bytes, suffix: bytes | None, anchor: int) -> Instant:
        assert form is not None
        memo = self._memos[form]
        if len(memo) >= _MEMO_ENTRIES:
            memo.clear()
        second = moment[-2:]
        minute = memo.get((moment[:-2], suffix)) if form.seconds_width and second < b"60" else None
        if minute is not None and minute.low < anchor < minute.high:
            at, text = minute.seconds + int(second), minute.text + second.decode()
            instant = Instant(minute.low, minute.high, at, text, None, OWN)
        else:
            instant = self._read_whole(form, moment, suffix, anchor)
            if form.seconds_width and instant.kind == OWN and instant.seconds % 60 == int(second):
                start = instant.seconds - int(second)
                if start + 59 <= self._instants.latest_seconds and instant.low < instant.high:
                    memo[moment[:-2], suffix] = instant._replace(seconds=start, text=instant.text[:-2])
        self._has_event |= instant.kind != UNREADABLE
        memo[moment, suffix] = instant
        return instant

    def _read_whole(self, form: TimeFormat, moment: bytes, suffix: bytes | None, anchor: int) -> Instant:
        try:
            written = form.read(moment, suffix)
        except ValueError:
            return NOT_READABLE
        return self._instants.of(written, anchor=anchor, has_event=self._has_event)


def _find_nothing(_line: bytes) -> re.Match[bytes] | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A block read by its runs: the instant of each run's first line, and how many lines it has."""

    reader: _Reader
    runs: Runs
    sizes: npt.NDArray[np.intp]
    instants: list[tuple[Instant, bytes | None]]


def _read_runs(data: bytes, starts: npt.NDArray[np.intp], context: TimeContext) -> _Read | None:
    """The block by its runs, as walking it line by line would read it; None where that cannot be known."""
    template = None if context.pattern else _template(data, starts)
    if template is None:
        return None
    form, match = template
    assert form.columns_from is not None
    runs = find_runs(data, starts, match, seconds_width=form.seconds_width, anchor=form.columns_from)
    if runs is None or len(runs.firsts) > len(starts) // _LINES_PER_RUN + _FEW_RUNS:
        return None
    reader = _Reader(context)
    sizes = np.diff(runs.firsts, append=len(starts) - 1)
    is_odd = [*runs.is_odd[runs.firsts].tolist(), True]
    instants = []
    for run, (first, size) in enumerate(zip(runs.firsts.tolist(), sizes.tolist(), strict=True)):
        line = data[starts[first] : starts[first + 1] - 1]
        before = reader.last
        instants += reader.walk((line,))
        instant = reader.last[0]
        if is_odd[run]:
            continue
        if reader.last is before or not _vouches(line, template, instant, context.now):
            return None
        reader.origins["own"] += size - 1
        # What comes after the run may depend on the time of the very line before it.
        if size > 1 and (is_odd[run + 1] or instant.low > -math.inf):
            reader.walk((data[starts[first + size - 1] : starts[first + size] - 1],))
            reader.origins["own"] -= 1
    return _Read(reader=reader, runs=runs, sizes=sizes, instants=instants)


def _template(data: bytes, starts: npt.NDArray[np.intp]) -> tuple[TimeFormat, re.Match[bytes]] | None:
    for at in range(min(_TEMPLATE_LINES, len(starts) - 1)):
        found = find_time(data[starts[at] : starts[at + 1] - 1])
        if found is not None:
            return None if found[0].columns_from is None else found
    return None


def _vouches(line: bytes, template: tuple[TimeFormat, re.Match[bytes]], instant: Instant, now: float) -> bool:
    """Whether a run's first line speaks for the run: its format is the template's, and its whole minute can be read.

    The seconds of the other lines are not looked at, so none of them may lie in the future or tip over into it.
    """
    form, like = template
    found = form.find(line)
    if found is None or any(_length(found, group) != _length(like, group) for group in (1, 2, 3)):
        return False
    if instant.kind != OWN or instant.seconds // 60 * 60 + 59 > now + MAX_FUTURE_SKEW_SECONDS:
        return False
    return form.seconds_width == 0 or instant.seconds % 60 == int(found[1][-2:])


def _length(match: re.Match[bytes], group: int) -> int:
    return match.end(group) - match.start(group)


def _block_times(window_of_line: npt.NDArray[np.int64], reader: _Reader) -> BlockTimes:
    if (window_of_line == window_of_line[0]).all():
        windows = (int(window_of_line[0]),)
        return BlockTimes(windows=windows, index=None, anchor=reader.anchor, origins=reader.origins)
    distinct, first_lines, inverse = np.unique(window_of_line, return_index=True, return_inverse=True)
    if len(distinct) > _MOST_WINDOWS:
        raise OverflowError(f"a block with {len(distinct)} windows: the most is {_MOST_WINDOWS}")
    order = np.argsort(first_lines)
    rank: npt.NDArray[np.uint8 | np.uint16] = np.empty(len(order), np.uint8 if len(order) <= 256 else np.uint16)
    rank[order] = np.arange(len(order))
    windows = tuple(distinct[order].tolist())
    return BlockTimes(windows=windows, index=rank[inverse], anchor=reader.anchor, origins=reader.origins)
