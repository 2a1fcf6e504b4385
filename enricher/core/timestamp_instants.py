"""From what is written to when it was: years, zones, the repeated hour, leap seconds, and what is too far off.

An instant says for which anchors it holds, so that a memo of instants gives the same answer as none: a time without a
year holds while the anchor stays near, a time in the hour that a clock repeats never holds for the next line.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from enricher.core.timestamp_formats import Civil

OLDEST_SECONDS = 946_684_800
"""2000-01-01T00:00:00Z: what is older was not written by a clock that was set."""
FARTHEST_AHEAD_SECONDS = 26 * 3600
"""The widest spread of zones: what lies farther ahead of the read time is not a time of this file."""
MAX_FUTURE_SKEW_SECONDS = 600

# Two candidates for a missing year are a year apart, so one that lies nearer than this is the nearest.
_SURELY_NEAREST_SECONDS = 180 * 86_400
# Lines of several threads are written a little out of order; without this, one step back within the hour that is
# repeated in autumn would be taken for the repetition.
_JITTER_SECONDS = 60
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

OWN, FUTURE, UNREADABLE = range(3)


class Instant(NamedTuple):
    """A moment as it will be written out.

    It holds while `low < anchor < high`. `text` is RFC 3339 in UTC to the second, without zone; `fraction` are digits
    that take the place of the line's own, None where the line's own count. `kind` is OWN, FUTURE or UNREADABLE.
    """

    low: float
    high: float
    seconds: int
    text: str
    fraction: bytes | None
    kind: int


_NEVER = (math.inf, -math.inf)
_ALWAYS = (-math.inf, math.inf)
NOT_READABLE = Instant(*_ALWAYS, 0, "", None, UNREADABLE)


class Instants:
    """Turns civil times of one zone into instants, as seen at one read time."""

    def __init__(self, *, zone: str, now: float) -> None:
        # "UTC" needs no zone files, which small systems lack.
        self._zone: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
        self._now = now
        self.latest_seconds = math.floor(now + MAX_FUTURE_SKEW_SECONDS)
        self._hours: dict[tuple[int, int, int, int, int | None], tuple[int, bool]] = {}
        self._hour_texts: dict[int, str] = {}
        self._future = self.at(now)

    def at(self, epoch: float) -> Instant:
        """The instant of an epoch, to the microsecond: all that a float holds of a time of our days."""
        seconds, micros = divmod(round(epoch * 1_000_000), 1_000_000)
        return Instant(*_ALWAYS, seconds, self._text(seconds), b"%06d" % micros if micros else b"", OWN)

    def of(self, written: Civil | int, *, anchor: int, has_event: bool) -> Instant:
        """The instant of a written time; UNREADABLE when there is no such moment or it lies too far off.

        `anchor` (epoch seconds) is the time of the event before; `has_event` is False when there was none and the
        anchor only stands in for it.
        """
        if isinstance(written, int):
            return self._judge(written, _ALWAYS, None)
        # A leap second becomes the last moment that a POSIX clock has for it.
        fraction = b"999999" if written.second == 60 else written.fraction
        try:
            if written.year is None:
                seconds, holds = self._nearest_year(written, anchor, has_event=has_event)
            else:
                seconds, is_steady = self._seconds(written, written.year, anchor, has_event=has_event)
                holds = _ALWAYS if is_steady else _NEVER
        except (ValueError, OverflowError):
            return NOT_READABLE if written.year is not None else NOT_READABLE._replace(low=math.inf, high=-math.inf)
        return self._judge(seconds, holds, fraction)

    def _judge(self, seconds: int, holds: tuple[float, float], fraction: bytes | None) -> Instant:
        if not OLDEST_SECONDS <= seconds <= self._now + FARTHEST_AHEAD_SECONDS:
            return Instant(*holds, 0, "", None, UNREADABLE)
        if seconds > self.latest_seconds:
            return self._future._replace(low=holds[0], high=holds[1], kind=FUTURE)
        return Instant(*holds, seconds, self._text(seconds), fraction, OWN)

    def _text(self, seconds: int) -> str:
        hour, rest = divmod(seconds, 3600)
        text = self._hour_texts.get(hour)
        if text is None:
            text = self._hour_texts[hour] = datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%H:")
        return f"{text}{rest // 60:02}:{rest % 60:02}"

    def _nearest_year(self, written: Civil, anchor: int, *, has_event: bool) -> tuple[int, tuple[float, float]]:
        """Of the years around the anchor's the one that brings the time nearest to it, not counting the future."""
        year = datetime.fromtimestamp(anchor, UTC).year
        best: tuple[int, bool] | None = None
        for candidate_year in (year - 1, year, year + 1):
            try:
                candidate = self._seconds(written, candidate_year, anchor, has_event=has_event)
            except ValueError:  # 29 February
                continue
            if candidate[0] > self._now + FARTHEST_AHEAD_SECONDS:
                continue
            if best is None or abs(candidate[0] - anchor) < abs(best[0] - anchor):
                best = candidate
        if best is None:
            raise ValueError(written)
        seconds, is_steady = best
        near = (seconds - _SURELY_NEAREST_SECONDS, seconds + _SURELY_NEAREST_SECONDS)
        return seconds, near if is_steady else _NEVER

    def _seconds(self, written: Civil, year: int, anchor: int, *, has_event: bool) -> tuple[int, bool]:
        """Epoch seconds, and whether they are the same for every anchor; raises ValueError for no such moment."""
        if written.hour > 23 or written.minute > 59 or written.second > 60:
            raise ValueError(written)
        key = (year, written.month, written.day, written.hour, written.offset_seconds)
        hour = self._hours.get(key)
        if hour is None:
            hour = self._hours[key] = self._hour(*key)
        start, is_steady = hour
        rest = written.minute * 60 + min(written.second, 59)
        if is_steady:
            return start + rest, True
        local = datetime(
            year, written.month, written.day, written.hour, written.minute, min(written.second, 59), tzinfo=self._zone
        )
        # Before the clocks change (also in the hour that they skip), and after.
        earlier, later = (start + rest - _utc_offset(local.replace(fold=fold)) for fold in (0, 1))
        is_repeated = later > earlier
        if is_repeated and has_event and earlier < anchor - _JITTER_SECONDS:
            return later, False
        return earlier, False

    def _hour(self, year: int, month: int, day: int, hour: int, offset_seconds: int | None) -> tuple[int, bool]:
        """Where an hour of the clock begins, and True; when the offset changes in it: as if in UTC, and False."""
        as_utc = (date(year, month, day).toordinal() - _EPOCH_ORDINAL) * 86_400 + hour * 3600
        if offset_seconds is not None:
            return as_utc - offset_seconds, True
        first = datetime(year, month, day, hour, tzinfo=self._zone)
        last = first.replace(minute=59, second=59)
        offsets = {_utc_offset(at.replace(fold=fold)) for at in (first, last) for fold in (0, 1)}
        return (as_utc - offsets.pop(), True) if len(offsets) == 1 else (as_utc, False)


def _utc_offset(local: datetime) -> int:
    offset = local.utcoffset()
    assert offset is not None
    return round(offset.total_seconds())
