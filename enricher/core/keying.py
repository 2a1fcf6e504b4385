"""Whole lines of one file made into a segment: which line starts an event, in which window it lies, what shape it has.

Invariants: every line is exactly one of an event's, blank, or dropped, and an event lies wholly in the window of its
first line. What comes out does not depend on how many lines were read at once: an event that lines to come may still
belong to is held back. Must never: do I/O (new shapes are numbered by a function that is given), or run Python code per
line where nothing asks for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from enricher.core.block import CONTINUES, SKIPPED, BlockCounts, FileState, Segment, Tail
from enricher.core.event_id import event_id
from enricher.core.multiline import FirstLineRule, UserRule, continuation_lines, held_from, learn
from enricher.core.multiline.lines import Lines
from enricher.core.naming import Traces
from enricher.core.pattern import compile_pattern
from enricher.core.skeleton import shape_of
from enricher.core.timestamp import BlockTimes, TimeContext, UserTime, block_times
from enricher.core.timestamp_columns import line_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from enricher.core.pattern import LinePattern
    from enricher.core.signature import ShapeIndex
    from enricher.core.skeleton import Shape

    Intern = Callable[[list[Shape]], list[int]]
    Starts = npt.NDArray[np.intp]
    Flags = npt.NDArray[np.bool_]
    WindowIndex = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

EVENT_FORMAT: Final = "event"
"""Format of the shape of a single event, where every event is asked: never merged with others."""
_LEARN_LINES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyingRule:
    """How lines of a source are looked at."""

    length_seconds: int
    zone: str
    time_pattern: tuple[str, str] | None
    """A pattern of the user's for times, and its format."""
    drop: tuple[str, ...]
    """Regular expressions: an event in whose first line one is found is not wanted."""
    ask_events: bool
    """Every event is asked: each gets a shape of its own."""
    multiline: tuple[str, str | None] = ("auto", None)
    """Which lines make one event: `auto`, `off`, or `start` or `continues` with a regular expression."""


class Keying:
    """A `KeyingRule` with its patterns compiled."""

    def __init__(self, rule: KeyingRule) -> None:
        self.rule = rule
        self.time = UserTime.from_text(*rule.time_pattern) if rule.time_pattern else None
        self.drop = [compile_pattern(pattern) for pattern in rule.drop]
        mode, lines = rule.multiline
        self.traces = Traces()
        self.user = None if mode == "auto" else UserRule.from_text(lines, starts=mode == "start")
        pattern = {"regex": rule.time_pattern[0], "format": rule.time_pattern[1]} if rule.time_pattern else None
        self.time_rule = json.dumps({"zone": rule.zone, "pattern": pattern}, separators=(",", ":"))

    @property
    def joins(self) -> bool:
        """Whether events may have several lines."""
        return self.user is None or self.user.pattern is not None

    def joined(self, file: FileState, held: bytes, following: bytes, *, whole: bool) -> int | None:
        """How many bytes at the start of the file after this one belong to the event that was held back here.

        Both are whole lines. None: as many as there are, and lines to come may tell, unless what follows is `whole`.
        """
        rule, _ = _rule(file, held, self.user)
        data = held + following
        starts = line_starts(data)
        continues = continuation_lines(data, rule, starts=starts)
        held_to = held_from(data, rule, starts, continues)
        if continues is not None:
            continues = _anchored(continues, Lines(data, starts))
        end = first = held.count(b"\n")
        while continues is not None and end < len(continues) and continues[end]:
            end += 1
        if not whole and starts[end] > held_to:
            return None
        return int(starts[end] - starts[first])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Whole lines of a file, as a source hands them out."""

    file: FileState
    data: bytes
    lost_bytes: int
    final: bool
    fallback: float
    read_at: float
    tails: tuple[Tail, ...] = ()
    """Where the last lines of `data` lie, if not in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """What became of the lines."""

    segments: tuple[Segment, ...]
    held: bytes
    """The last event, where more lines may belong to it: not in any segment."""
    anchor: float | None
    learned: bool | None
    counts: BlockCounts
    origins: Mapping[str, int]


def key_lines(
    reading: Reading, keying: Keying, index: ShapeIndex, intern: Intern, *, starts: Starts | None = None
) -> Keyed:
    """Make a segment of lines (several where their windows are too many for one).

    Who has the `line_starts` of the data already gives them.
    """
    file = reading.file
    own = len(reading.data) - sum(tail.size_bytes for tail in reading.tails)
    rule, learned = _rule(file, reading.data[:own], keying.user)
    lines = _Joined(line_starts(reading.data) if starts is None else starts)
    taken = len(reading.data)
    if not reading.final and not reading.lost_bytes:
        if not rule.is_timed:
            lines = lines.joined(reading.data, rule)
        taken = held_from(reading.data, rule, lines.starts, lines.continues)
    ready = replace(reading, data=reading.data[:taken])
    lines = lines.up_to(taken)
    parts = _key_part(ready, 0, file.anchor, rule, keying, index, intern, lines) if ready.data else []
    return Keyed(
        segments=tuple(part.segment for part in parts),
        held=reading.data[taken:],
        anchor=parts[-1].anchor if parts else file.anchor,
        learned=learned,
        counts=sum_counts([part.counts for part in parts]),
        origins=sum_origins([part.origins for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class _Joined:
    """Where lines start and, once that was looked at, which of them continue an event."""

    starts: Starts
    continues: Flags | None = None
    is_known: bool = False

    def joined(self, data: bytes, rule: FirstLineRule) -> _Joined:
        """The same with what continues an event; `data` are the lines."""
        if self.is_known:
            return self
        return _Joined(self.starts, continuation_lines(data, rule, starts=self.starts), is_known=True)

    def up_to(self, end: int) -> _Joined:
        """The same for the lines before a line's start."""
        count = int(np.searchsorted(self.starts, end))
        continues = None if self.continues is None else self.continues[:count]
        return _Joined(self.starts[: count + 1], continues, self.is_known)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    segment: Segment
    anchor: float
    counts: BlockCounts
    origins: Mapping[str, int]


def _key_part(
    reading: Reading,
    offset: int,
    anchor: float | None,
    rule: FirstLineRule,
    keying: Keying,
    index: ShapeIndex,
    intern: Intern,
    lines: _Joined,
) -> list[_Part]:
    data = reading.data
    context = TimeContext(
        anchor=anchor, fallback=reading.fallback, now=reading.read_at, zone=keying.rule.zone, pattern=keying.time
    )
    starts = lines.starts
    try:
        times = block_times(data, context, length_seconds=keying.rule.length_seconds, starts=starts)
    except OverflowError:
        half = data.find(b"\n", len(data) // 2) + 1
        # Too many windows: at least 65,536 lines, so that both halves have some.
        head, rest = replace(reading, data=data[:half], lost_bytes=0, tails=()), replace(reading, data=data[half:])
        first = _key_part(head, offset, anchor, rule, keying, index, intern, _Joined(line_starts(head.data)))
        lines, anchor = _Joined(line_starts(rest.data)), first[-1].anchor
        return [*first, *_key_part(rest, offset + half, anchor, rule, keying, index, intern, lines)]
    continues = lines.joined(data, rule).continues
    if continues is not None:
        continues = _anchored(continues, Lines(data, starts))
    shapes, dropped = _shapes(data, reading.file, offset, continues, keying, index, intern)
    if continues is not None and not keying.rule.ask_events:
        keying.traces.name(Lines(data, starts), shapes, intern)
    windows, window_index = _windows(times, shapes, continues)
    file = reading.file
    segment = Segment(
        source=file.source,
        file_id=file.id,
        path=file.path,
        identity=file.identity,
        generation=file.generation,
        offset=file.position + offset,
        data=data,
        lost_bytes=reading.lost_bytes,
        shapes=shapes,
        windows=windows,
        window_index=window_index,
        read_at=reading.read_at,
        anchor=anchor,
        fallback=reading.fallback,
        time_rule=keying.time_rule,
        tails=reading.tails,
    )
    skipped = int(np.count_nonzero(shapes == SKIPPED))
    continued = 0 if continues is None else int(np.count_nonzero(shapes == CONTINUES))
    counts = BlockCounts(
        lines=len(shapes),
        events=len(shapes) - skipped - continued,
        blank=skipped - dropped,
        dropped=dropped,
        lost_bytes=reading.lost_bytes,
    )
    return [_Part(segment=segment, anchor=times.anchor, counts=counts, origins=times.origins)]


# ---------------------------------------------------------------- which line starts an event


def _rule(file: FileState, data: bytes, user: UserRule | None) -> tuple[FirstLineRule, bool | None]:
    """The rule for these lines, and what is to be remembered of it.

    That lines start with a time is remembered from the first one on, since a slow file never has many at once. That
    they do not never is: a banner, however long, or the words of a start script may stand before the first event.
    """
    if file.learned:
        return FirstLineRule(learned=True, user=user), True
    learned = learn(data.split(b"\n", _LEARN_LINES)[:_LEARN_LINES]).learned
    return FirstLineRule(learned=learned, user=user), learned or None


def _anchored(continues: Flags, lines: Lines) -> Flags | None:
    """Make an event of its own of lines that would continue a blank line, or nothing at all."""
    edges = np.flatnonzero(np.diff(continues, prepend=False, append=False)).tolist()
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if begin > 0 and not lines.is_blank(begin - 1):
            continue
        text = next((at for at in range(begin, end) if not lines.is_blank(at)), end)
        continues[begin : text + 1 if text < end else end] = False
    return continues if continues.any() else None


# ---------------------------------------------------------------- shapes and windows


def _shapes(
    data: bytes,
    file: FileState,
    offset: int,
    continues: Flags | None,
    keying: Keying,
    index: ShapeIndex,
    intern: Intern,
) -> tuple[npt.NDArray[np.uint32], int]:
    """The shape of each line, and how many lines were dropped."""
    dropped = _dropped_lines(data, keying.drop, continues)
    starts = None if continues is None and dropped is None else np.ones(data.count(b"\n"), dtype=np.bool_)
    if starts is not None:
        starts &= True if continues is None else ~continues
        starts &= True if dropped is None else ~dropped
    if keying.rule.ask_events:
        shapes = _shapes_of_events(data, file, offset, starts, continues, intern)
    else:
        shapes = index.resolve(data, intern, starts=starts)
    if continues is not None:
        shapes[continues] = CONTINUES
    if dropped is not None:
        shapes[dropped] = SKIPPED
    return shapes, 0 if dropped is None else int(np.count_nonzero(dropped))


def _dropped_lines(data: bytes, patterns: Sequence[LinePattern], continues: Flags | None) -> Flags | None:
    """Lines of events that are not wanted."""
    found = [begin for pattern in patterns for begin in pattern.lines_in(data)]
    if not found:
        return None
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    dropped = np.zeros(len(newlines), dtype=np.bool_)
    dropped[np.searchsorted(newlines, np.array(found))] = True
    if continues is not None:
        owner = np.maximum.accumulate(np.where(continues, 0, np.arange(len(continues))))
        dropped = dropped[owner]
    return dropped


def _shapes_of_events(
    data: bytes, file: FileState, offset: int, starts: Flags | None, continues: Flags | None, intern: Intern
) -> npt.NDArray[np.uint32]:
    """A shape for each event: that of its first line, told apart by the event's id."""
    lines = data.split(b"\n")[:-1]
    firsts = [at for at, line in enumerate(lines) if line.strip() and (starts is None or starts[at])]
    ends = np.cumsum([len(line) + 1 for line in lines]).tolist()
    made = []
    for at in firsts:
        last = at
        while continues is not None and last + 1 < len(lines) and continues[last + 1]:
            last += 1
        begin = ends[at] - len(lines[at]) - 1
        name = event_id(file.identity, file.position + offset + begin, data[begin : ends[last] - 1])
        shape = shape_of(lines[at])
        made.append(replace(shape, format=EVENT_FORMAT, skeleton=f"{shape.skeleton}\0{name}"))
    shapes = np.full(len(lines), SKIPPED, dtype=np.uint32)
    if made:
        shapes[firsts] = intern(made)
    return shapes


def _windows(
    times: BlockTimes, shapes: npt.NDArray[np.uint32], continues: Flags | None
) -> tuple[tuple[int, ...], WindowIndex | None]:
    """The windows of the events; a line that continues one lies where its event does."""
    index = times.index
    if index is None:
        return times.windows, None
    if continues is not None:
        index = index[np.maximum.accumulate(np.where(continues, 0, np.arange(len(index))))]
    used = np.unique(index[shapes != SKIPPED])
    if len(used) == len(times.windows):
        return times.windows, cast("WindowIndex", index)
    if len(used) <= 1:
        return tuple(times.windows[at] for at in used.tolist()) or times.windows[:1], None
    rank = np.zeros(len(times.windows), dtype=np.uint8 if len(used) <= 256 else np.uint16)
    rank[used] = np.arange(len(used))
    return tuple(times.windows[at] for at in used.tolist()), cast("WindowIndex", rank[index])


# ---------------------------------------------------------------- sums


def sum_counts(counts: Sequence[BlockCounts]) -> BlockCounts:
    """The books of several parts as one."""
    return BlockCounts(
        lines=sum(one.lines for one in counts),
        events=sum(one.events for one in counts),
        blank=sum(one.blank for one in counts),
        dropped=sum(one.dropped for one in counts),
        lost_bytes=sum(one.lost_bytes for one in counts),
    )


def sum_origins(origins: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Where times came from, over several parts."""
    total: dict[str, int] = {}
    for one in origins:
        for origin, number in one.items():
            total[origin] = total.get(origin, 0) + number
    return total
