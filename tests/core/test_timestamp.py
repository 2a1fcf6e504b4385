"""Event times: every format, the semantics of what is missing, and block_times and line_times saying the same."""

from __future__ import annotations

import csv
import itertools
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core import timestamp
from enricher.core.timestamp import TimeContext, UserTime, block_times, first_time, line_times, starts_with_time
from enricher.core.timestamp_columns import find_runs, line_starts
from enricher.core.timestamp_formats import ANYWHERE, LINE_START, find_time

HOUR = 3600
LOGHUB = Path(os.environ.get("ENRICHER_LOGHUB", Path(__file__).parents[2] / "../shared/loghub")).resolve()


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def a_context(*, now="2026-11-22T12:00:00Z", anchor=None, fallback=None, zone="UTC", pattern=None) -> TimeContext:
    return TimeContext(
        anchor=None if anchor is None else epoch(anchor),
        fallback=epoch(fallback or now),
        now=epoch(now),
        zone=zone,
        pattern=pattern,
    )


def times(*lines: str, **context) -> list[str]:
    return times_of("\n".join(lines).encode(), a_context(**context))


def times_of(data: bytes, context: TimeContext) -> list[str]:
    return line_times(data, context).decode().splitlines()


def windows_of(block, lines: int) -> list[int]:
    return [block.windows[at] for at in ([0] * lines if block.index is None else block.index.tolist())]


def windows(*lines: str, length_seconds=HOUR, **context) -> list[str]:
    found = block_times(
        "".join(line + "\n" for line in lines).encode(), a_context(**context), length_seconds=length_seconds
    )
    return [datetime.fromtimestamp(at, UTC).strftime("%dT%H") for at in windows_of(found, len(lines))]


FORMATS = [
    ("2026-11-22T10:00:01Z up", "2026-11-22T10:00:01Z"),
    ("2026-11-22T10:00:01.5Z up", "2026-11-22T10:00:01.500Z"),
    ("2026-11-22 10:00:01,123 - INFO up", "2026-11-22T10:00:01.123Z"),
    ("2026-11-22T10:00:01.123456+02:00 host app: up", "2026-11-22T08:00:01.123456Z"),
    ("2026-11-22T10:00:01.123456789+0200 up", "2026-11-22T08:00:01.123456789Z"),
    ("2026-11-22T10:00:01.1234567891Z up", "2026-11-22T10:00:01.123456789Z"),
    ("2026-11-22 04:00:01.12-05 up", "2026-11-22T09:00:01.120Z"),
    ("2026-11-22 10:00:01 UTC [1] LOG: up", "2026-11-22T10:00:01Z"),
    ("2026-11-22 10:00:01 -0130 up", "2026-11-22T11:30:01Z"),
    ("[2026-11-22T10:00:01.123Z] up", "2026-11-22T10:00:01.123Z"),
    ("20261122T100001Z up", "2026-11-22T10:00:01Z"),
    ("<34>1 2026-11-22T10:00:01.003Z host app - - - up", "2026-11-22T10:00:01.003Z"),
    ("<13>2026-11-22T10:00:01+00:00 host app: up", "2026-11-22T10:00:01Z"),
    ("Nov 22 10:00:01 host app[1]: up", "2026-11-22T10:00:01Z"),
    ("Nov  2 10:00:01 host app[1]: up", "2026-11-02T10:00:01Z"),
    ("<34>Nov 22 10:00:01 host app: up", "2026-11-22T10:00:01Z"),
    ("Nov 22 2026 10:00:01: %ASA-6-302013: up", "2026-11-22T10:00:01Z"),
    ('10.0.0.1 - - [22/Nov/2026:12:00:01 +0200] "GET / HTTP/1.1" 200 5', "2026-11-22T10:00:01Z"),
    ('::1 - a[b] [22/Nov/2026:10:00:01 +0000] "GET /[x] HTTP/1.1" 200 5', "2026-11-22T10:00:01Z"),
    ("[Sun Nov 22 10:00:01.123456 2026] [error] up", "2026-11-22T10:00:01.123456Z"),
    ("[Sun Dec 04 04:47:44 2005] [notice] up", "2005-12-04T04:47:44Z"),
    ("2026/11/22 10:00:01 [error] 7#7: up", "2026-11-22T10:00:01Z"),
    ("I1122 10:00:01.123456    1 main.go:1] up", "2026-11-22T10:00:01.123456Z"),
    ("22-Nov-2026 10:00:01.123 INFO [main] up", "2026-11-22T10:00:01.123Z"),
    ("7:M 22 Nov 2026 10:00:01.123 * up", "2026-11-22T10:00:01.123Z"),
    ("1795341601 up", "2026-11-22T10:00:01Z"),
    ("1795341601.25 up", "2026-11-22T10:00:01.250Z"),
    ("1795341601123 up", "2026-11-22T10:00:01.123Z"),
    ("1795341601123456 up", "2026-11-22T10:00:01.123456Z"),
    ("1795341601123456789 up", "2026-11-22T10:00:01.123456789Z"),
    ("[1795341601.123] up", "2026-11-22T10:00:01.123Z"),
    ("type=SYSCALL msg=audit(1795341601.123:7): up", "2026-11-22T10:00:01.123Z"),
    (
        "- 1117838570 2005.06.03 R02-M1 2005-06-03-15.42.50.363779 R02-M1 RAS KERNEL INFO up",
        "2005-06-03T22:42:50.363779Z",
    ),
    ("- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 up", "2005-11-09T20:01:01Z"),
    ("134681 node-246 unix.hw state_change.unavailable 1077804742 1 up", "2004-02-26T14:12:22Z"),
    ("17/06/09 20:10:40 INFO up", "2017-06-09T20:10:40Z"),
    ("081109 203615 148 INFO up", "2008-11-09T20:36:15Z"),
    ("061122 10:00:01 up", "2006-11-22T10:00:01Z"),
    ("20171223-22:15:29:606|Step|up", "2017-12-23T22:15:29.606Z"),
    ("20171223-2:5:9:6|Step|up", "2017-12-23T02:05:09.006Z"),
    ("03-17 16:13:38.811  1702  2395 D up", "2026-03-17T16:13:38.811Z"),
    ("2016-09-28 04:30:30, Info CBS up", "2016-09-28T04:30:30Z"),
    ("[10.30 16:49:06] chrome.exe up", "2026-10-30T16:49:06Z"),
    ('{"level":"info","time":"2026-11-22T10:00:01.5+01:00","msg":"up"}', "2026-11-22T09:00:01.500Z"),
    ('{"@timestamp" : "2026-11-22T10:00:01Z"}', "2026-11-22T10:00:01Z"),
    ('{"level":30,"time":1795341601123,"msg":"up"}', "2026-11-22T10:00:01.123Z"),
    ('{"ts":1795341601.5,"msg":"up"}', "2026-11-22T10:00:01.500Z"),
    ("level=info ts=2026-11-22T10:00:01Z msg=up", "2026-11-22T10:00:01Z"),
    ('time="2026-11-22T10:00:01Z" level=info msg=up', "2026-11-22T10:00:01Z"),
    ("INFO 2026-11-22 10:00:01,5 up", "2026-11-22T10:00:01.500Z"),
    ("update-alternatives 2026-11-22 10:00:01: run", "2026-11-22T10:00:01Z"),
]


@pytest.mark.parametrize(("line", "expected"), FORMATS)
def test_each_format_is_read_to_its_own_precision(line, expected):
    assert [expected] == times(line)
    assert epoch(expected[:19] + "Z") == int(first_time(line.encode(), a_context()))


@pytest.mark.parametrize("line", [line for line, _ in FORMATS])
def test_no_line_has_two_formats_so_the_order_of_trying_cannot_matter(line):
    at_start = [form.name for form in LINE_START if form.find(line.encode())]
    anywhere = [form.name for form in ANYWHERE if form.find(line.encode())]
    assert 1 == len(at_start) + len(anywhere)
    assert bool(at_start) == starts_with_time(line.encode())


def test_no_line_made_of_two_others_has_two_formats():
    """Else a line's time would hang on the format of the lines before it, and on where blocks are cut."""
    lines = [line.encode() for line, _ in FORMATS] + [b"__CURSOR=s=1;i=2;m=4;t=64d5c1b0a2f00;x=5"]
    heads = {line[: find_time(line)[1].end()] for line in lines} | {lines[-1]}
    tails = {line[find_time(line)[1].start() :] for line in lines} | {
        line[find_time(line)[1].start(1) :] for line in lines
    }
    for head, glue, tail in itertools.product(sorted(heads), (b"", b" ", b" a ", b" a b ", b"["), sorted(tails)):
        line = head + glue + tail
        of = [form.name for form in (*LINE_START, *ANYWHERE) if form.find(line)]
        found = find_time(line)
        assert of == ([] if found is None else [found[0].name]), line


def test_a_time_that_stands_too_far_into_a_line_is_none_whatever_stands_around_it():
    lines = [f'10.0.0.1 - {"a" * size}[22/Nov/2026:10:00:0{at} +0000] "GET"' for at, size in enumerate((0, 70_000, 0))]
    alone = [find_time(line.encode()) is not None for line in lines]
    assert [True, False, True] == alone
    assert [f"2026-11-22T10:00:0{at}Z" for at in (0, 0, 2)] == times(*lines)


def test_a_line_without_a_time_takes_the_time_of_the_event_before():
    lines = ("2026-11-22T09:59:59.25Z up", "  at Main.java:1", "down", "2026-11-22T10:00:00Z up")
    expected = ["2026-11-22T09:59:59.250Z"] * 3 + ["2026-11-22T10:00:00Z"]
    assert expected == times(*lines)
    assert ["22T09", "22T09", "22T09", "22T10"] == windows(*lines)


def test_lines_before_any_time_take_the_anchor_or_else_the_fallback():
    assert ["2026-11-22T08:00:00Z"] == times("up", anchor="2026-11-22T08:00:00Z")
    assert ["2026-11-20T08:00:00Z"] == times("up", fallback="2026-11-20T08:00:00Z")
    assert ["20T08", "22T10"] == windows("up", "2026-11-22 10:00:00 up", fallback="2026-11-20T08:00:00Z")


def test_origins_say_where_the_time_of_every_line_came_from():
    lines = ("up", "2026-11-22T10:00:00Z up", "up", "2026-11-22T13:00:00Z up", "up", "2026-99-22T13:00:00Z up")
    data = "".join(line + "\n" for line in lines).encode()
    found = block_times(data, a_context(), length_seconds=HOUR)
    assert {"own": 1, "previous": 3, "fallback": 1, "future": 1} == found.origins
    found = block_times(data, a_context(anchor="2026-11-22T09:00:00Z"), length_seconds=HOUR)
    assert {"own": 1, "previous": 4, "fallback": 0, "future": 1} == found.origins


def test_a_time_more_than_ten_minutes_ahead_becomes_the_read_time():
    assert ["2026-11-22T12:10:00Z"] == times("2026-11-22T12:10:00Z up")
    assert ["2026-11-22T12:00:00Z"] == times("2026-11-22T12:10:01.5Z up")
    within_a_minute = ("2026-11-22T12:10:00Z up", "2026-11-22T12:10:01Z up")
    assert ["2026-11-22T12:10:00Z", "2026-11-22T12:00:00Z"] == times(*within_a_minute)
    assert ["2026-11-22T12:00:00.250000Z"] == times("2026-11-22T13:10:01.5Z up", now="2026-11-22T12:00:00.25Z")


def test_a_time_out_of_all_reason_is_no_time():
    for line in ("1999-12-31T23:59:59Z", "2026-11-23T14:00:01Z", "2026-13-01T00:00:00Z", "2026-11-22T24:00:00Z"):
        assert ["2026-11-22T08:00:00Z"] == times(line, anchor="2026-11-22T08:00:00Z")
        assert first_time(line.encode(), a_context()) is None
    assert ["2026-11-22T12:00:00Z"] == times("2026-11-23T14:00:00Z up", anchor="2026-11-22T08:00:00Z")


def test_a_leap_second_is_the_last_moment_of_its_minute():
    assert ["2016-12-31T23:59:59.999999Z"] == times("2016-12-31T23:59:60Z up")
    assert ["2016-12-31T23:59:59.999999Z"] == times("2016-12-31T23:59:60.5Z up")


@pytest.mark.parametrize(
    ("now", "anchor", "line", "expected"),
    [
        ("2027-01-01T00:30:00Z", "2026-12-31T23:58:00Z", "Dec 31 23:59:00 h up", "2026-12-31T23:59:00Z"),
        ("2027-01-01T00:30:00Z", "2026-12-31T23:59:00Z", "Jan  1 00:00:01 h up", "2027-01-01T00:00:01Z"),
        ("2026-12-31T23:59:50Z", "2026-12-31T23:59:00Z", "Jan  1 00:00:01 h up", "2027-01-01T00:00:01Z"),
        ("2026-11-22T12:00:00Z", "2005-06-14T00:00:00Z", "Jun 15 02:04:59 h up", "2005-06-15T02:04:59Z"),
        ("2026-11-22T12:00:00Z", "2026-01-02T00:00:00Z", "Dec 31 23:59:00 h up", "2025-12-31T23:59:00Z"),
        ("2026-11-22T12:00:00Z", None, "Dec 10 06:55:46 h up", "2025-12-10T06:55:46Z"),
        ("2025-03-01T12:00:00Z", None, "Feb 29 06:55:46 h up", "2024-02-29T06:55:46Z"),
        ("2026-11-22T12:00:00Z", None, "Feb 29 06:55:46 h up", "2026-11-22T12:00:00Z"),
    ],
)
def test_a_missing_year_is_the_one_nearest_to_the_event_before_and_not_in_the_future(now, anchor, line, expected):
    assert [expected] == times(line, now=now, anchor=anchor)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    at=st.datetimes(min_value=datetime(2021, 1, 1), max_value=datetime(2025, 1, 2)),  # noqa: DTZ001 - made aware below
    ahead_seconds=st.integers(-24 * HOUR, 26 * HOUR),
)
def test_a_year_is_found_again_on_every_day_of_four_years(at, ahead_seconds):
    at = at.replace(microsecond=0, tzinfo=UTC)
    now = (at + timedelta(seconds=ahead_seconds)).timestamp()
    context = TimeContext(anchor=now, fallback=now, now=now, zone="UTC", pattern=None)
    (found,) = times_of(f"{at:%b %d %H:%M:%S} host up".encode(), context)
    expected = min(at.timestamp(), now) if at.timestamp() > now + 600 else at.timestamp()
    assert expected == epoch(found)


# Europe/Berlin, 25 October 2026: 02:59:59 CEST (00:59:59Z) is followed by 02:00:00 CET (01:00:00Z).
#
#   local   01:59   02:10   02:50 | 02:10   02:50   03:05
#   UTC     23:59   00:10   00:50 | 01:10   01:50   02:05
def test_the_hour_that_is_repeated_in_autumn_is_told_apart_by_the_event_before():
    lines = [f"2026-10-25 {clock}:00 up" for clock in ("01:59", "02:10", "02:50", "02:10", "02:50", "03:05")]
    assert ["24T23", "25T00", "25T00", "25T01", "25T01", "25T02"] == windows(*lines, zone="Europe/Berlin")


def test_a_small_step_back_within_the_hour_that_is_repeated_is_not_taken_for_the_repetition():
    lines = [f"2026-10-25 02:{clock} up" for clock in ("10:00", "10:59", "09:59", "09:50", "09:59", "08:00")]
    assert ["25T00"] * 5 + ["25T01"] == windows(*lines, zone="Europe/Berlin")
    lines = [f"2026-10-25 02:{clock} up" for clock in ("10:00", "10:59", "09:58")]
    assert ["25T00", "25T00", "25T01"] == windows(*lines, zone="Europe/Berlin")


def test_a_time_that_the_clocks_skip_in_spring_counts_from_before_the_change():
    assert ["2026-03-29T01:30:00Z"] == times("2026-03-29 02:30:00 up", zone="Europe/Berlin")


def test_a_zone_of_half_an_hour_puts_an_hour_of_its_clock_into_two_windows():
    lines = ["2026-11-22 10:29:59 up", "2026-11-22 10:30:00 up"]
    assert ["22T04", "22T05"] == windows(*lines, zone="Asia/Kolkata")


def test_a_day_long_window_begins_at_midnight_utc():
    found = block_times(b"2026-11-21T23:59:59Z up\n2026-11-22T00:00:00Z up\n", a_context(), length_seconds=24 * HOUR)
    assert (epoch("2026-11-21T00:00:00Z"), epoch("2026-11-22T00:00:00Z")) == found.windows


def test_more_windows_than_a_byte_can_count_take_two_bytes():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    data = b"".join(f"{start + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ} up\n".encode() for hour in range(300))
    found = block_times(data, a_context(), length_seconds=HOUR)
    assert found.index is not None
    assert list(range(300)) == found.index.tolist()


def test_an_empty_block_and_lines_of_nothing_harm_no_one():
    assert ["2026-11-22T12:00:00Z"] == times("")
    assert ["2026-11-22T12:00:00Z"] * 2 == times("", "\x00")
    assert ["22T12", "22T12"] == windows("", "")


def test_the_anchor_of_a_block_is_the_time_of_its_last_event():
    found = block_times(b"2026-11-22T10:00:00.5Z up\n at x\n", a_context(), length_seconds=HOUR)
    assert epoch("2026-11-22T10:00:00.5Z") == found.anchor
    found = block_times(b"2026-11-22T10:59:59.999999999Z up\n", a_context(), length_seconds=HOUR)
    assert found.anchor < epoch("2026-11-22T11:00:00Z")


def test_the_fast_way_is_not_fooled_by_lines_that_only_look_alike():
    lines = [f"2026-11-22 10:00:{second:02} up" for second in range(40)]
    lines[7] = "2026-11-22 10:00:07 +0300 up"
    lines[11] = "2026-11-22 10:00:11.5 up"
    lines[13] = "2026-11-22 10:00:13Z up"
    lines[17] = "2026-11-22 10:00:99 up"
    lines[23] = "2026-11-22 10:00:23 UTC up"
    expected = ["22T09"] * 40
    expected[7], expected[13], expected[23] = "22T07", "22T10", "22T10"
    assert expected == windows(*lines, zone="Europe/Berlin")
    assert "2026-11-22T09:00:11.500Z" == times(*lines, zone="Europe/Berlin")[11]
    assert times(*lines, zone="Europe/Berlin")[16] == times(*lines, zone="Europe/Berlin")[17]


def test_a_line_is_regular_only_where_each_column_has_the_byte_or_any_digit_that_the_template_has():
    template = b"<13>1 2026-11-22T10:00:00.123Z it begins"
    match = LINE_START[0].find(template)
    # Not the minute and the offset, in which lines are compared with each other, nor the ten seconds: only to 5.
    compared = [*range(template.index(b"2026")), 22, *range(24, 29), 30]
    lines = [
        template[:column] + bytes([byte]) + template[column + 1 :]
        for column in compared
        for byte in set(range(256)) - {10}
    ]
    data = b"".join(line + b"\n" for line in lines)

    runs = find_runs(data, line_starts(data), match, seconds_width=3, anchor=b"")

    digits = bytes.maketrans(b"123456789", b"0" * 9)
    assert [line.translate(digits) != template.translate(digits) for line in lines] == runs.is_odd.tolist()


def test_in_an_access_log_a_time_at_the_start_of_the_line_comes_first():
    lines = [f'10.0.0.{host} - - [22/Nov/2026:10:00:0{host} +0000] "GET" 200' for host in range(9)]
    lines[5] = "INFO 2026-11-22 08:00:00 [22/Nov/2026:10:00:05 +0000] 200"
    lines[7] = '10.0.0.7 - [x] [22/Nov/2026:09:00:07 +0000] "GET" 200'
    assert [*["22T10"] * 5, "22T08", "22T10", "22T09", "22T10"] == windows(*lines)
    assert "2026-11-22T10:00:08Z" == times(*lines)[8]


def test_lines_whose_time_is_of_the_right_form_but_no_time_take_the_one_before():
    lines = ["2026-11-22 10:00:01 up", *["2026-11-35 10:00:01 up"] * 3, "2026-11-22 11:00:00 up"]
    assert ["2026-11-22T10:00:01Z"] * 4 + ["2026-11-22T11:00:00Z"] == times(*lines)
    assert ["22T10"] * 4 + ["22T11"] == windows(*lines)
    assert ["2026-11-22T12:00:00Z"] == times("2026-11-35 10:00:00.5 up")
    assert ["22T10", "22T10", "22T11"] == windows(lines[0], "2026-11-22 1x:00:00 up", lines[-1])


PATTERN = UserTime.from_text(r"at (?P<time>\S+ \S+) we", "%d.%m.%Y %H:%M:%S,%f")


def test_a_pattern_of_the_users_comes_before_the_built_in_formats():
    lines = ("2026-11-22T10:00:00Z at 21.11.2026 09:08:07,250 we met", "2026-11-22T10:00:00Z up")
    assert ["2026-11-21T09:08:07.250000Z", "2026-11-22T10:00:00Z"] == times(*lines, pattern=PATTERN)
    assert ["21T09", "22T10"] == windows(*lines, pattern=PATTERN)


def test_a_pattern_may_lack_the_year_or_be_an_epoch_or_have_an_offset():
    yearless = UserTime.from_text("^(?P<time>.{14})", "%d.%m. %H:%M:%S")
    assert ["2026-11-21T09:08:07Z"] == times("21.11. 9:08:07 up", pattern=yearless)
    stamp = UserTime.from_text(r"t(?P<time>\d+)", "epoch")
    assert ["2026-11-22T10:00:01.123Z"] == times("x t1795341601123", pattern=stamp)
    offset = UserTime.from_text(r"^(?P<time>\S+ \S+)", "%d.%m.%YT%H:%M %z")
    assert ["2026-11-22T08:00:00Z"] == times("22.11.2026T10:00 +0200 up", pattern=offset)


@pytest.mark.parametrize(
    ("regex", "notation", "message"),
    [
        ("(", "%d.%m. %H", "no regular expression"),
        ("(.*)", "%d.%m. %H", "no group named time"),
        ("(?P<time>.*)", "%H:%M", "lacks a month"),
        ("(?P<time>.*)", "%d.%m. %H %Q", "strptime"),
        ("(?P<time>.*)", "%d.%m%H" * 20_000, "longer than 200 characters"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_with_a_reason(regex, notation, message):
    with pytest.raises(ValueError, match=message):
        UserTime.from_text(regex, notation)


WRITERS = [
    "{:%Y-%m-%dT%H:%M:%S} up",
    "{:%Y-%m-%d %H:%M:%S,%f} - up",
    "{:%Y-%m-%dT%H:%M:%S%z} up",
    "{:%Y-%m-%d %H:%M:%S.%f} +0100 up",
    "{:%b %d %H:%M:%S} host up",
    "[{:%a %b %d %H:%M:%S.%f %Y}] [error] up",
    "{:%y/%m/%d %H:%M:%S} up",
    "{:%y%m%d %H%M%S} 1 up",
    '10.0.0.1 - - [{:%d/%b/%Y:%H:%M:%S} +0000] "GET"',
    '10.0.0.22 - - [{:%d/%b/%Y:%H:%M:%S}] "GET"',
    "{:%m-%d %H:%M:%S.%f} D up",
    '{{"time":"{:%Y-%m-%dT%H:%M:%S}Z"}}',
    "INFO {:%Y-%m-%d %H:%M:%S} up",
    "  at Main",
    "down",
]
TURNS = ["2026-10-25T00:00:00Z", "2026-03-29T00:40:00Z", "2026-01-01T00:00:00Z", "2026-11-22T11:30:00Z"]


@st.composite
def blocks(draw):
    """A few stretches, each in one format, of lines around a turn of the clock, with some bytes changed."""
    at = datetime.fromisoformat(draw(st.sampled_from(TURNS)))
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        writer = draw(st.sampled_from(WRITERS))
        step = draw(st.sampled_from([0.4, 7, 61, 1500]))
        for _ in range(draw(st.integers(1, 12))):
            at += timedelta(seconds=step)
            lines.append(bytearray(writer.format(at).encode()))
    for _ in range(draw(st.integers(0, 4))):
        line = draw(st.sampled_from(lines))
        line[draw(st.integers(0, min(len(line), 34) - 1))] = draw(st.sampled_from(b"0123456789+-Z:., []UG/J"))
    return [bytes(line) for line in lines]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    lines=blocks(),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"]),
    now=st.sampled_from(["2026-11-22T12:00:00Z", "2026-10-25T01:30:30Z", "2027-12-01T00:00:00Z"]),
    anchor=st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-10-25T00:30:00Z", "2025-06-01T00:00:00.5Z"]),
)
def test_blocks_and_lines_and_one_line_at_a_time_say_the_same(lines, zone, now, anchor):
    context = a_context(zone=zone, now=now, anchor=anchor)
    one_by_one = []
    step = context
    for line in lines:
        one_by_one += times_of(line, step)
        found = first_time(line, step)
        step = TimeContext(
            anchor=step.anchor if found is None else found,
            fallback=step.fallback,
            now=step.now,
            zone=zone,
            pattern=None,
        )
    together = times_of(b"\n".join(lines), context)
    assert [epoch(text) for text in one_by_one] == [epoch(text) for text in together]
    walked = timestamp._Reader(context).walk(lines)
    assert [timestamp._text(*one).rstrip() for one in walked] == together
    block = block_times(b"".join(line + b"\n" for line in lines), context, length_seconds=HOUR)
    assert [epoch(text) // HOUR * HOUR for text in together] == windows_of(block, len(lines))
    assert epoch(together[-1]) == block.anchor
    assert len(lines) == sum(block.origins.values())


# The columns of the published tables that hold the time, and how they are written there; the year is ours where None.
LOGHUB_TIMES = {
    "Apache": ("{Time}", "%a %b %d %H:%M:%S %Y", None),
    "HDFS": ("{Date:0>6} {Time:0>6}", "%y%m%d %H%M%S", None),
    "Linux": ("2005 {Month} {Date} {Time}", "%Y %b %d %H:%M:%S", "2005-06-14T00:00:00Z"),
    "OpenSSH": ("2015 {Date} {Day} {Time}", "%Y %b %d %H:%M:%S", "2015-12-10T00:00:00Z"),
    "Spark": ("{Date} {Time}", "%y/%m/%d %H:%M:%S", None),
    "Zookeeper": ("{Date} {Time}", "%Y-%m-%d %H:%M:%S,%f", None),
}


@pytest.mark.skipif(not LOGHUB.is_dir(), reason="Loghub's samples are not here")
@pytest.mark.parametrize("system", LOGHUB_TIMES)
def test_every_line_of_six_real_systems_has_its_own_time(system):
    log = LOGHUB / system / f"{system}_2k.log"
    data = log.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    columns, notation, anchor = LOGHUB_TIMES[system]
    with log.with_name(log.name + "_structured.csv").open(newline="") as rows:
        expected = [
            datetime.strptime(columns.format(**row), notation).replace(tzinfo=UTC) for row in csv.DictReader(rows)
        ]
    context = a_context(anchor=anchor)
    found = times_of(data, context)
    assert expected == [datetime.fromisoformat(text) for text in found]
    block = block_times(data, context, length_seconds=HOUR)
    assert {"own": 2000, "previous": 0, "fallback": 0, "future": 0} == block.origins
    assert [at.timestamp() // HOUR * HOUR for at in expected] == windows_of(block, len(expected))


# Zones and the two days on which their clocks are set: an hour, half an hour, at midnight, around Ramadan, and never.
CHANGES = [
    ("Europe/Zurich", "2026-03-29T01:00", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00", "2026-11-01T06:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30", "2026-04-04T15:00"),
    ("America/Santiago", "2026-09-06T04:00", "2026-04-05T03:00"),
    ("Africa/Casablanca", "2026-03-22T02:00", "2026-02-15T02:00"),
    ("Asia/Kolkata", "2026-03-29T01:00", "2026-10-25T01:00"),
]


@pytest.mark.parametrize("notation", ["%Y-%m-%d %H:%M:%S", "%b %d %H:%M:%S"])
@pytest.mark.parametrize(("zone", "at"), [(zone, at) for zone, *both in CHANGES for at in both])
def test_local_times_of_a_host_whose_clock_is_set_for_summer_are_those_moments(zone, at, notation):
    change = datetime.fromisoformat(f"{at}:00Z")
    moments = [change + timedelta(minutes=minutes) for minutes in range(-300, 300, 5)]
    lines = [f"{one.astimezone(ZoneInfo(zone)):{notation}} host app: up" for one in moments]
    now = f"{moments[-1] + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    expected = [f"{one:%Y-%m-%dT%H:%M:%SZ}" for one in moments]

    assert expected == times(*lines, zone=zone, now=now, anchor=expected[0])
    assert [one[8:13] for one in expected] == windows(*lines, zone=zone, now=now, anchor=expected[0])


@pytest.mark.parametrize("zone", [zone for zone, *_ in CHANGES])
@pytest.mark.parametrize("ahead_minutes", [-9, 0, 26 * 60])
def test_no_line_without_a_year_comes_into_another_year_at_new_year(zone, ahead_minutes):
    midnight = datetime(2027, 1, 1, tzinfo=ZoneInfo(zone))
    moments = [midnight + timedelta(minutes=minutes) for minutes in range(-180, 180, 5)]
    anchor = None
    for one in moments:
        # Read late, at once, or from a host whose clock goes a little ahead.
        now = f"{one + timedelta(minutes=ahead_minutes):%Y-%m-%dT%H:%M:%S%z}"
        (found,) = times(f"{one:%b %d %H:%M:%S} host app: up", zone=zone, now=now, anchor=anchor)
        assert f"{one.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" == found
        anchor = found


def test_a_second_that_is_there_twice_keeps_its_lines_in_their_window():
    lines = [f"2016-12-31T23:59:{seconds}Z up" for seconds in ("58", "59", "60", "59", "60")]
    assert ["31T23"] * 5 == windows(*lines)
    assert ["01T00"] == windows("2017-01-01T00:00:00Z up")
