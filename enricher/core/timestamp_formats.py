r"""The time formats that are known, each as one regular expression and one reader.

Every pattern has exactly three groups: the moment (to the second), the digits of its fraction, and a suffix that the
reader needs to understand the moment (an offset, or the year where it stands last). What a line's format is depends on
the line alone, never on the lines before it: no line has two of them. The formats of LINE_START exclude each other, and
each of ANYWHERE is looked at only when none of LINE_START and none before it matches. A reader never looks at a clock,
an anchor or a zone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

REACH_BYTES = 65_536
"""How far into a line the formats of ANYWHERE are looked for: a hostile line must not cost scans of all its length."""
_USER_REACH_BYTES = 512  # what `core.pattern` lets the costliest pattern look at


@dataclass(frozen=True, slots=True)
class Civil:
    """A moment as written: `year` is None where the format has none; `offset_seconds` is None for local time."""

    year: int | None
    month: int
    day: int
    hour: int
    minute: int
    second: int
    offset_seconds: int | None
    fraction: bytes | None = None
    """Digits that only the reader knows; None where they are the match's second group."""


Reader = Callable[[bytes, bytes | None], "Civil | int"]
"""(moment, suffix) → what is written there, or seconds since 1970; raises ValueError for what is no time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeFormat:
    """One way to write a time.

    `seconds_width` is how many bytes at the end of the moment say the second (2 or 3 with its separator; 0 where the
    moment cannot be cut there). `columns_from` is what stands where the columns of the time begin: nothing (they are
    counted from the line's start), or a byte whose first place in the line counts; None where there are no columns.
    """

    name: str
    find: Callable[[bytes], re.Match[bytes] | None]
    read: Reader
    columns_from: bytes | None = b""
    seconds_width: int = 0


_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), start=1
    )
}


def _month(name: bytes) -> int:
    number = _MONTHS.get(name)
    if number is None:
        raise ValueError(name)
    return number


def offset_seconds(suffix: bytes | None) -> int | None:
    """Seconds east of UTC of `Z`, `UTC`, `GMT`, `+hh`, `+hhmm` or `+hh:mm` (blanks allowed); None for no suffix."""
    text = (suffix or b"").strip()
    if not text:
        return None
    if text in {b"Z", b"z", b"UTC", b"GMT"}:
        return 0
    digits = text[1:].replace(b":", b"")
    hours, minutes = int(digits[:2]), int(digits[2:] or b"0")
    # No place on earth is further from UTC than 14 hours; one more is kept for clocks set by hand.
    if hours > 15 or minutes > 59:
        raise ValueError(text)
    return (-1 if text[:1] == b"-" else 1) * (hours * 3600 + minutes * 60)


def _read_iso(moment: bytes, suffix: bytes | None) -> Civil:
    year, month, day = int(moment[0:4]), int(moment[5:7]), int(moment[8:10])
    return Civil(year, month, day, int(moment[11:13]), int(moment[14:16]), int(moment[17:19]), offset_seconds(suffix))


def _read_basic(moment: bytes, suffix: bytes | None) -> Civil:
    year, month, day = int(moment[0:4]), int(moment[4:6]), int(moment[6:8])
    return Civil(year, month, day, int(moment[9:11]), int(moment[11:13]), int(moment[13:15]), offset_seconds(suffix))


def _clock(text: bytes) -> tuple[int, int, int]:
    hour, minute, second = text.split(b":")
    return int(hour), int(minute), int(second)


def _read_month_day(moment: bytes, suffix: bytes | None) -> Civil:
    """`Nov 22 10:00:00`, `Nov  2 10:00:00`, `Nov 22 2026 10:00:00`; the suffix ends in the year where there is one."""
    name, day, *year, clock = moment.split()
    after = (suffix or b"").split()
    known_year = int(year[0]) if year else int(after[-1]) if after else None
    is_utc = bool({b"UTC", b"GMT"}.intersection(after))
    return Civil(known_year, _month(name), int(day), *_clock(clock), 0 if is_utc else None)


def _read_day_month_year(moment: bytes, suffix: bytes | None) -> Civil:
    """`22/Nov/2026:10:00:00`, `22-Nov-2026 10:00:00`, `22 Nov 2026 10:00:00`."""
    return Civil(
        int(moment[7:11]), _month(moment[3:6]), int(moment[0:2]), *_clock(moment[12:20]), offset_seconds(suffix)
    )


def _read_klog(moment: bytes, _suffix: bytes | None) -> Civil:
    return Civil(None, int(moment[0:2]), int(moment[2:4]), *_clock(moment[5:]), None)


def _read_two_digit_year(moment: bytes, _suffix: bytes | None) -> Civil:
    """`17/06/09 20:10:40`, `081109 203615`, `061122 10:00:00`: year, month, day, then the clock."""
    digits = moment.translate(None, b"/ :")
    year, month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(0, 12, 2))
    return Civil(2000 + year, month, day, hour, minute, second, None)


def _read_compact_date(moment: bytes, _suffix: bytes | None) -> Civil:
    """`20171223-22:15:29:606`: no number after the date is filled up with zeros, the milliseconds neither."""
    hour, minute, second, *millis = moment[9:].split(b":")
    fraction = millis[0].zfill(3) if millis else b""
    year, month, day = int(moment[0:4]), int(moment[4:6]), int(moment[6:8])
    return Civil(year, month, day, int(hour), int(minute), int(second), None, fraction=fraction)


def _read_month_day_digits(moment: bytes, _suffix: bytes | None) -> Civil:
    """`03-17 16:13:38` and `10.30 16:49:06`: month, day."""
    return Civil(None, int(moment[0:2]), int(moment[3:5]), *_clock(moment[6:]), None)


def _read_epoch(moment: bytes, _suffix: bytes | None) -> int:
    return int(moment)


def _read_member(moment: bytes, suffix: bytes | None) -> Civil | int:
    return int(moment) if moment.isdigit() else _read_iso(moment, suffix)


_DATE = rb"\d{4}[-/.]\d\d[-/.]\d\d"
_CLOCK = rb"\d\d:\d\d:\d\d"
_FRACTION = rb"(?!\d)(?:[.,](\d{1,9})\d*)?"
_OFFSET = rb"((?: ?(?:Z|UTC|GMT)| ?[+-]\d\d:?\d\d|[+-]\d\d)(?![\w:]))?"
_ISO = rb"(" + _DATE + rb"[T _-]\d\d[:.]\d\d[:.]\d\d)" + _FRACTION + _OFFSET
_MONTH_DAY = rb"[A-Z][a-z]{2} [ \d]?\d "
# Seconds of ten digits reach from 2001 to 2033 and beyond; milli-, micro- and nanoseconds are the same with 3, 6 or 9
# digits more, so the magnitude is read off as a fraction.
_EPOCH = rb"([12]\d{9})(?:\.(?=\d)|(?=(?:\d{3}){0,3}(?!\d|\.\d)))(\d{1,9})?\d*()"
_DOTTED = rb"\d{4}\.\d\d\.\d\d"
_DOTTED_TIME = rb"\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d\.(\d{6})"
_EPOCH_END = rb"(?=[\s,;:|\])]|$)"
_DAY_MONTH_YEAR = rb"\d\d[-/ ][A-Z][a-z]{2}[-/ ]\d{4}[ :]" + _CLOCK


_START_SOURCES: tuple[tuple[str, bytes, Reader, int], ...] = (
    # RFC 5424 and syslog's ISO templates are the same behind their priority; nginx's error log has slashes.
    ("iso", rb"(?:<\d{1,3}>(?:\d )?)?\[?" + _ISO, _read_iso, 3),
    (
        "rfc3164",
        rb"(?:<\d{1,3}>)?\*?(" + _MONTH_DAY + rb"(?:\d{4} )?" + _CLOCK + rb")" + _FRACTION + rb"()",
        _read_month_day,
        3,
    ),
    (
        "asctime",
        rb"\[?[A-Z][a-z]{2} (" + _MONTH_DAY + _CLOCK + rb")" + _FRACTION + rb"((?: [A-Z]{3,4})? \d{4}(?!\d))",
        _read_month_day,
        3,
    ),
    ("klog", rb"[IWEFD](\d{4} " + _CLOCK + rb")" + _FRACTION + rb"()", _read_klog, 3),
    (
        # BIND, Tomcat, and Redis behind its process id and role.
        "day_month_year",
        rb"(?:\d{1,9}:[A-Z] |\[)?(" + _DAY_MONTH_YEAR + rb")" + _FRACTION + _OFFSET,
        _read_day_month_year,
        3,
    ),
    ("two_digit_year", rb"\[?(\d\d/\d\d/\d\d " + _CLOCK + rb")" + _FRACTION + rb"()", _read_two_digit_year, 3),
    ("six_digits", rb"(\d{6} \d{6})(?!\S)()()", _read_two_digit_year, 2),
    ("six_digits_clock", rb"(\d{6}  ?" + _CLOCK + rb")" + _FRACTION + rb"()", _read_two_digit_year, 3),
    ("basic", rb"\[?(\d{8}T\d{6})" + _FRACTION + _OFFSET, _read_basic, 2),
    ("compact_date", rb"(\d{8}-\d{1,2}:\d{1,2}:\d{1,2}(?::\d{1,3})?)(?!\d)()()", _read_compact_date, 0),
    ("android", rb"(\d\d-\d\d " + _CLOCK + rb")" + _FRACTION + rb"()", _read_month_day_digits, 3),
    ("proxifier", rb"\[(\d\d\.\d\d " + _CLOCK + rb")()()\]", _read_month_day_digits, 3),
    ("epoch", rb"\[?" + _EPOCH + _EPOCH_END, _read_epoch, 0),
    (
        # The epoch is the second column; the fraction is that of the full time two columns later, where there is one.
        "epoch_second_column",
        rb"(?:-|[A-Z][A-Z_\d]*) ([12]\d{9}) " + _DOTTED + rb" \S+(?: " + _DOTTED_TIME + rb")?()(?!\S)",
        _read_epoch,
        0,
    ),
    (
        "epoch_fifth_column",
        rb"(?!" + _DAY_MONTH_YEAR + rb"(?!\d))\d{1,9} [A-Za-z]\S* \S+ \S+ ([12]\d{9})(?!\S)()()",
        _read_epoch,
        0,
    ),
    ("audit", rb"(?:type=\S+ )?msg=audit\(([12]\d{9})\.(\d{3}):()", _read_epoch, 0),
    # A program's name, a level or a key may stand before the time: one word, or any date in a text would count.
    ("second_word", rb"[\[(]?[A-Za-z][^\s=]{0,63}[ \t]{1,4}\[?" + _ISO, _read_iso, 3),
)

LINE_START = tuple(
    TimeFormat(
        name=name,
        find=re.compile(source).match,
        read=read,
        seconds_width=seconds_width,
        # The one has columns of any width before the end of its match, the other has numbers of any width.
        columns_from=None if name in {"epoch_second_column", "compact_date"} else b"",
    )
    for name, source, read, seconds_width in _START_SOURCES
)
_ANY_START = re.compile(b"|".join(b"(?:" + source + b")" for _, source, _, _ in _START_SOURCES)).match
_MEMBER_VALUE = (
    rb"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|[12]\d{9})(?:[.,](?=\d)|(?=(?:\d{3}){0,3}(?!\d)))(\d{1,9})?\d*" + _OFFSET
)
_NAMES = (
    rb"(?:@?[tT]imestamp|[tT]ime|@?t|ts|datetime|date|eventTime|timeMillis|asctime|requestReceivedTimestamp"
    rb"|__REALTIME_TIMESTAMP|\$date)"
)
_JSON = re.compile(rb'"' + _NAMES + rb'"\s{0,4}:\s{0,4}"?' + _MEMBER_VALUE).search
_BRACES = re.compile(rb'"(?>(?:[^"\\]++|\\.)*)"|[{}]', re.DOTALL).finditer
# CEF and LEEF call the time when the device saw it rt and devTime.
_LOGFMT = re.compile(rb"(?:(?<=[\s,|^])|^)(?:rt|devTime|" + _NAMES[3:] + rb'="?' + _MEMBER_VALUE).search
_ACCESS = re.compile(
    rb"(?:[^\[\n]*\[){1,3}?(\d\d/[A-Z][a-z]{2}/\d{4}:" + _CLOCK + rb")" + _FRACTION + _OFFSET + rb"\]"
).match


# Indented lines continue something (and an empty one is as quickly told); what is JSON is not also an access log.
_INDENT = b" \t"
_NO_TEXT_TIME = b"{ \t"


def _find_json(line: bytes) -> re.Match[bytes] | None:
    """The time among an object's own members; one further in only where these have none."""
    if line[:1] != b"{":
        return None
    first = match = _JSON(line, 0, REACH_BYTES)
    if first is None or line.find(b"{", 1, first.start()) < 0:
        return first
    at = depth = 0
    while match is not None:
        for brace in _BRACES(line, at, match.start()):
            depth += {b"{": 1, b"}": -1}.get(brace[0], 0)
        if depth == 1:
            return match
        at, match = match.start(), _JSON(line, match.end(), REACH_BYTES)
    return first


def _find_access(line: bytes) -> re.Match[bytes] | None:
    if b"[" not in line or line[:1] in _NO_TEXT_TIME or _ANY_START(line):
        return None
    return _ACCESS(line, 0, REACH_BYTES)


def _find_logfmt(line: bytes) -> re.Match[bytes] | None:
    if b"=" not in line or line[:1] in _NO_TEXT_TIME or _ANY_START(line) or _find_access(line):
        return None
    return _LOGFMT(line, 0, REACH_BYTES)


_CURSOR = re.compile(rb"__CURSOR=[^\n]{0,200};t=([0-9a-f]{12,15})()()(?=;)").match


def _find_cursor(line: bytes) -> re.Match[bytes] | None:
    found = _CURSOR(line)
    return None if found is None or _find_access(line) or _find_logfmt(line) else found


def _read_cursor(moment: bytes, suffix: bytes | None) -> int:
    """The journal's cursor has microseconds since 1970 in hexadecimal; the second is kept."""
    del suffix
    return int(moment, 16) // 1_000_000


ANYWHERE = (
    TimeFormat(name="json", find=_find_json, read=_read_member, columns_from=None, seconds_width=3),
    TimeFormat(name="access", find=_find_access, read=_read_day_month_year, columns_from=b"[", seconds_width=3),
    TimeFormat(name="logfmt", find=_find_logfmt, read=_read_member, columns_from=None, seconds_width=3),
    TimeFormat(name="cursor", find=_find_cursor, read=_read_cursor, columns_from=None),
)


_MAX_NOTATION = 200
"""strptime takes time with the square of its notation: minutes for some hundred kilobytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTime:
    """A pattern of the user's: a regular expression with a group named `time`, and how that text is to be read.

    `format` is in strptime's notation (`%d.%m.%Y %H:%M:%S,%f`), or `epoch` for seconds, milli-, micro- or nanoseconds
    since 1970. A format without a year takes the year nearest to the event before. Lines that the pattern does not
    match are read as if there were none.
    """

    pattern: re.Pattern[bytes]
    format: str

    @classmethod
    def from_text(cls, regex: str, notation: str) -> UserTime:
        """Check and compile what the configuration says; raises ValueError with a text for the operator."""
        try:
            pattern = re.compile(regex.encode())
        except re.error as error:
            raise ValueError(f"the time pattern is no regular expression: {error}") from error
        if "time" not in pattern.groupindex:
            raise ValueError("the time pattern has no group named time: write (?P<time>...) around the time")
        if notation == "epoch":
            return cls(pattern=pattern, format=notation)
        if len(notation) > _MAX_NOTATION:
            raise ValueError(f"the time format is longer than {_MAX_NOTATION} characters")
        has_day = "%d" in notation and re.search("%[mbB]", notation)
        if not (has_day and re.search("%[HI]", notation)):
            raise ValueError(f"the time format {notation!r} lacks a month, a day or an hour: %m %d %H, or say epoch")
        try:
            datetime.strptime(f"{datetime(2000, 2, 3, 4, 5, 6, tzinfo=UTC):{notation} %%}", f"{notation} %%").tzinfo  # noqa: B018, DTZ007 - it only has to be readable
        except (ValueError, re.error) as error:  # a directive that is there twice
            raise ValueError(f"the time format {notation!r} is not in strptime's notation: {error}") from error
        return cls(pattern=pattern, format=notation)

    def to_format(self) -> TimeFormat:
        """The pattern as one more of the known formats."""
        return TimeFormat(name="user", find=self._find, read=self._read, columns_from=None)

    def _find(self, line: bytes) -> re.Match[bytes] | None:
        found = self.pattern.search(line, 0, _USER_REACH_BYTES)
        text = None if found is None else found["time"]
        if text is None:
            return None
        return _WHOLE_EPOCH(text) if self.format == "epoch" else _WHOLE(text)

    def _read(self, moment: bytes, _suffix: bytes | None) -> Civil | int:
        if self.format == "epoch":
            return int(moment)
        text = moment.decode(errors="replace")
        has_year = re.search("%[Yy]", self.format) is not None
        # Without a year, a leap year stands in, so that 29 February can be read.
        at = datetime.strptime(text if has_year else f"2000 {text}", self.format if has_year else f"%Y {self.format}")  # noqa: DTZ007 - the source's zone is applied with the anchor
        offset = at.utcoffset()
        return Civil(
            at.year if has_year else None,
            at.month,
            at.day,
            at.hour,
            at.minute,
            at.second,
            None if offset is None else round(offset.total_seconds()),
            fraction=b"%06d" % at.microsecond if "%f" in self.format else b"",
        )


_WHOLE = re.compile(rb"(.*)()()", re.DOTALL).fullmatch
_WHOLE_EPOCH = re.compile(_EPOCH).fullmatch


def starts_with_time(line: bytes) -> bool:
    """Whether the line begins as lines with a time do; the time itself may still be out of range."""
    return _ANY_START(line) is not None


def find_time(line: bytes) -> tuple[TimeFormat, re.Match[bytes]] | None:
    """The format of the line's time and where it stands; None when the line has none."""
    if line[:1] in _INDENT:
        return None
    begins = _ANY_START(line)
    if begins is not None:
        # Each source has three groups, so the last one that took part says which source it was.
        form = LINE_START[((begins.lastindex or 1) - 1) // 3]
        found = form.find(line)
        return None if found is None else (form, found)
    for form in ANYWHERE:
        found = form.find(line)
        if found is not None:
            return form, found
    return None
