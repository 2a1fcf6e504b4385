r"""Which lines continue the event before them: traces, records of databases and the journal, indented text, a pattern.

In files whose events were seen to start with a time, indented lines and traces continue the event before them; in
other files only what unmistakably is a trace or a record of a database. A line that starts with a time never continues
anything, except where such a record or the user says so. When in doubt a line stays an event of its own: a wrong join
hides an event, a wrong split only shows it in two parts. A block in which no line continues anything is told at the
speed of a scan of its bytes.

Invariant: with `held_from` what is joined does not depend on how many lines were read at once, for events of up to
`MAX_LINE_BYTES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.block import MAX_LINE_BYTES
from enricher.core.multiline import journal, records, traces
from enricher.core.multiline.lines import HeadSet, Lines
from enricher.core.pattern import LinePattern, compile_pattern
from enricher.core.timestamp_columns import line_starts
from enricher.core.timestamp_formats import starts_with_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from enricher.core.multiline.lines import Flags

__all__ = ["FirstLineRule", "UserRule", "continuation_lines", "held_from", "learn"]

_TRACES: Final = HeadSet(set(traces.HEADS))
_ZERO, _TEN = np.uint8(ord("0")), np.uint8(10)
_NAMED: Final = HeadSet({*traces.HEADS, *records.HEADS, *journal.HEADS})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRule:
    """What the user says of a source's lines; without a pattern, every line is an event."""

    pattern: LinePattern | None
    starts: bool
    """A line with the pattern starts an event, and any other continues one; else a line with it continues one."""

    @classmethod
    def from_text(cls, pattern: str | None, *, starts: bool) -> UserRule:
        """Check and compile what the configuration says; raises ValueError with a text for the operator."""
        return cls(pattern=None if pattern is None else compile_pattern(pattern), starts=starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLineRule:
    """What was learned of a file: whether its events start with a time; and what the user says instead."""

    learned: bool
    user: UserRule | None = None

    @property
    def is_timed(self) -> bool:
        """Whether a line with a time in front always starts an event."""
        return self.learned and self.user is None


def learn(lines: Sequence[bytes]) -> FirstLineRule:
    """What lines of a file show (some 200 are enough): whether at least half of its events start with a time.

    Half are enough, or a banner of one line before the first event would speak for a file of two lines.
    """
    if not any(map(starts_with_time, lines)):
        return FirstLineRule(learned=False)
    continues = continuation_lines(b"".join(line + b"\n" for line in lines), FirstLineRule(learned=True))
    is_event = [True] * len(lines) if continues is None else (~continues).tolist()
    events = [line for line, is_one in zip(lines, is_event, strict=True) if is_one and line.strip()]
    return FirstLineRule(learned=sum(map(starts_with_time, events)) * 2 >= len(events))


def continuation_lines(data: bytes, rule: FirstLineRule, *, starts: npt.NDArray[np.intp] | None = None) -> Flags | None:
    r"""Per line of `data` (each ended by `\n`): whether it continues the event before it; None when no line does.

    The first line may: it continues the event before the block. Who has the `line_starts` of the data gives them.
    """
    if not data:
        return None
    lines = Lines(data, line_starts(data) if starts is None else starts)
    continues = _built_in(lines, is_timed=rule.learned) if rule.user is None else _by_user(lines, rule.user)
    return continues if continues is not None and continues.any() else None


def held_from(data: bytes, rule: FirstLineRule, starts: npt.NDArray[np.intp] | None, continues: Flags | None) -> int:
    """Where the last event of `data` starts, which lines to come may belong to: what follows is held back.

    Where the rule is not `is_timed`, `starts` and `continues` are those of the data. An event of more than
    `MAX_LINE_BYTES` is not waited for.
    """
    if rule.is_timed:
        return _held_by_time(data)
    if starts is None or (rule.user is not None and rule.user.pattern is None):
        return len(data)
    lines = Lines(data, starts)
    at = len(lines) - 1
    while at >= 0 and len(data) - starts[at] <= MAX_LINE_BYTES:
        if not (continues is not None and continues[at]) and not lines.is_blank(at):
            return int(starts[at])
        at -= 1
    return 0 if at < 0 and len(data) <= MAX_LINE_BYTES else len(data)


def _held_by_time(data: bytes) -> int:
    """Where the last line with a time of its own starts: what follows is the event's, or not yet to be told."""
    end = len(data)
    while end > 0 and len(data) - end <= MAX_LINE_BYTES:
        start = data.rfind(b"\n", 0, end - 1) + 1
        line = data[start : end - 1]
        if starts_with_time(line) and not records.is_detail(line):
            return start if len(data) - start <= MAX_LINE_BYTES else len(data)
        end = start
    return 0 if end <= 0 and len(data) <= MAX_LINE_BYTES else len(data)


def _built_in(lines: Lines, *, is_timed: bool) -> Flags | None:
    heads = lines.heads()
    first = heads.astype(np.uint8)
    continues = np.zeros(len(lines), np.bool_)
    if not ((first - _ZERO) < _TEN).all():
        indented = (first == ord(" ")) | (first == ord("\t"))
        named = _NAMED.has(heads)
        if indented.any() or named.any():
            of_trace = named & _TRACES.has(heads)
            traces.join(lines, continues, indented, of_trace, is_timed=is_timed)
            records.join_slow_queries(lines, continues, named & ~of_trace)
            journal.join_records(lines, continues, named & ~of_trace)
    if is_timed:
        records.join_text_below_times(lines, continues, heads)
        records.join_details(lines, continues)
    return continues


def _by_user(lines: Lines, user: UserRule) -> Flags | None:
    if user.pattern is None:
        return None
    matches = np.array(user.pattern.flags(map(lines.__getitem__, range(len(lines)))), np.bool_)
    return ~matches if user.starts else matches
