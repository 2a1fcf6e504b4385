"""Windows of event time, [start, start + length) in UTC, their names, and the rule when a pane of one closes.

A pane closes once and never opens again; what comes later is the next pane of the same window. The rule looks at
clocks and reading only through its arguments. Windows are never local time: no window is 23 or 25 hours long.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400
FORCED_AFTER_SECONDS = 6 * HOUR_SECONDS
"""How long files that are not read to their end can hold a window open."""
OUT_OF_REACH_SECONDS = 6 * HOUR_SECONDS
"""A window that begins later than this from now is of a time when the clock was ahead: no event is dated so."""
_BELIEVED_AFTER_SECONDS = 300.0
"""How long a clock must say so: one that falls back and is put right closes nothing."""
LATE_PANE_EVENTS = 10_000

Verdict = Literal["open", "complete", "forced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowState:
    """An open pane: pane 0 is the window itself, later ones hold what came late.

    `start` is the window's (epoch seconds), `first_event_at` the wall time when the pane's first event was spooled.
    """

    start: int
    pane: int
    first_event_at: float
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of clocks and sources when a pane is looked at.

    `now` is the wall clock. `past_end_seconds` is how long, by the monotonic clock, this process has seen the wall
    clock past the window's end (0 before): a clock that leaps ahead and is put right closes nothing. `read_through` is
    the latest wall time such that every live file has been read up to the size that it had then, files left out that
    could not be read for 15 minutes; infinity when there are none. `is_held`: nothing is read now, for want of room.
    `out_of_reach_seconds` is how long, by the monotonic clock, the window `is_out_of_reach` (0 before).
    """

    now: float
    past_end_seconds: float
    read_through: float
    is_held: bool = False
    out_of_reach_seconds: float = 0.0


def window_id(start: int, length_seconds: int) -> str:
    """The name of a window: `2026-11-22T10Z` for hours, `2026-11-22Z` for days; it sorts as time does."""
    notation = "%Y-%m-%dZ" if length_seconds == DAY_SECONDS else "%Y-%m-%dT%HZ"
    return datetime.fromtimestamp(start, UTC).strftime(notation)


def window_start(window: str) -> int:
    """The start that a window's name stands for, in epoch seconds; raises ValueError when it is no such name."""
    notation = "%Y-%m-%dT%HZ" if "T" in window else "%Y-%m-%dZ"
    start = int(datetime.strptime(window, notation).replace(tzinfo=UTC).timestamp())
    if window_id(start, HOUR_SECONDS if "T" in window else DAY_SECONDS) != window:
        raise ValueError(f"{window!r} is not the name of a window, as 2026-11-22T10Z or 2026-11-22Z")
    return start


def is_out_of_reach(start: int, now: float) -> bool:
    """Whether a window begins so far ahead that the clock must have been set back since its events were read."""
    return start - now > OUT_OF_REACH_SECONDS


def close_verdict(window: WindowState, progress: Progress, *, length_seconds: int, lateness_seconds: float) -> Verdict:
    """Whether a pane closes now.

    Pane 0 is `complete` when both clocks are past its end and the allowed lateness, and all that was written before its
    end is read; `forced` when that reading has not come to an end after six hours, and at once where it is held for
    want of room: what waits for the rest of its window would be what takes the room; and when its time will not come,
    since the clock was years ahead when its events were read. A late pane is `complete` the
    allowed lateness after its first event, or sooner when it holds 10,000 events; and at once if its first event came
    at a time that is yet to be, since the clock was set back.
    """
    if window.pane > 0:
        is_due = not window.first_event_at <= progress.now < window.first_event_at + lateness_seconds
        return "complete" if is_due or window.events >= LATE_PANE_EVENTS else "open"
    if progress.out_of_reach_seconds >= _BELIEVED_AFTER_SECONDS:
        return "forced"
    end = window.start + length_seconds
    past_end_seconds = min(progress.now - end, progress.past_end_seconds)
    if past_end_seconds < lateness_seconds:
        return "open"
    if progress.read_through >= end:
        return "complete"
    return "forced" if progress.is_held or past_end_seconds >= FORCED_AFTER_SECONDS else "open"
