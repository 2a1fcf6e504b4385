"""Windows: their names, and when a pane closes."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.window import Progress, WindowState, close_verdict, window_id, window_start

HOUR = 3600
DAY = 24 * HOUR
TEN = int(datetime.fromisoformat("2026-11-22T10:00:00Z").timestamp())
ELEVEN = TEN + HOUR
LATENESS = 300


def verdict(
    *,
    now=ELEVEN + LATENESS,
    past_end=None,
    read_through=math.inf,
    is_held=False,
    pane=0,
    first_event_at=TEN,
    events=1,
    length=HOUR,
):
    window = WindowState(start=TEN, pane=pane, first_event_at=first_event_at, events=events)
    past_end_seconds = max(0, now - TEN - length) if past_end is None else past_end
    progress = Progress(now=now, past_end_seconds=past_end_seconds, read_through=read_through, is_held=is_held)
    return close_verdict(window, progress, length_seconds=length, lateness_seconds=LATENESS)


def test_a_window_is_named_by_its_start_in_utc():
    assert "2026-11-22T10Z" == window_id(TEN, HOUR)
    assert "2026-11-22Z" == window_id(TEN - 10 * HOUR, DAY)
    assert TEN == window_start("2026-11-22T10Z")
    assert TEN - 10 * HOUR == window_start("2026-11-22Z")


@pytest.mark.parametrize("name", ["2026-11-22T10", "2026-11-22T24Z", "2026-13-22Z", "2026-1-2Z", "", "../etc"])
def test_what_is_not_the_name_of_a_window_is_refused(name):
    with pytest.raises(ValueError, match=r"does not match|unconverted|not the name"):
        window_start(name)


@settings(max_examples=100, derandomize=True)
@given(number=st.integers(11_000, 40_000), length=st.sampled_from([HOUR, DAY]))
def test_the_name_of_a_window_stands_for_its_start(number, length):
    start = number * length
    assert start == window_start(window_id(start, length))


#          10:00              11:00      11:05
#  events    |====================|
#  clock                          end      end + lateness
#                                          ^ closes here, not before
def test_a_window_stays_open_until_its_end_and_the_allowed_lateness_are_past():
    assert "open" == verdict(now=ELEVEN - 1)
    assert "open" == verdict(now=ELEVEN + LATENESS - 1)
    assert "complete" == verdict(now=ELEVEN + LATENESS)


def test_a_window_does_not_wait_for_files_that_are_not_read_for_want_of_room():
    assert "open" == verdict(read_through=TEN)
    assert "forced" == verdict(read_through=TEN, is_held=True)
    assert "open" == verdict(read_through=TEN, is_held=True, now=ELEVEN + LATENESS - 1)


#          10:00     10:20           11:00    11:05
#  wall      |---------+ leaps to 12:00 . . . . put right
#  monotonic           |----1 min----|
def test_a_clock_that_leaps_ahead_closes_nothing_until_the_monotonic_clock_agrees():
    assert "open" == verdict(now=ELEVEN + HOUR, past_end=60)
    assert "complete" == verdict(now=ELEVEN + HOUR, past_end=LATENESS)
    assert "open" == verdict(now=ELEVEN - HOUR, past_end=LATENESS)


#          10:00              11:00      11:05        12:30
#  file A    |====read=====================>
#  file B    |==read==| 10:40 . . . a backlog . . . . . | read through 11:00
#                                                       ^ closes here
def test_a_file_with_a_backlog_holds_the_window_open():
    assert "open" == verdict(now=ELEVEN + 5000, read_through=ELEVEN - 1200)
    assert "complete" == verdict(now=ELEVEN + 5400, read_through=ELEVEN)


#          10:00              11:00                            17:00
#  file B    |==read==| . . . . . . never read to its end . . . . |
#                                                                 ^ forced
def test_a_backlog_of_six_hours_is_waited_for_no_longer():
    assert "open" == verdict(now=ELEVEN + 6 * HOUR - 1, read_through=TEN)
    assert "forced" == verdict(now=ELEVEN + 6 * HOUR, read_through=TEN)


#          10:00    11:00                 Tuesday: the daemon starts again
#  file B    |=======|. . . . . . . . . . . |=== reads its backlog ===|
#  this process has seen the end as past:   0 s                       20 min
def test_a_restart_days_later_forces_nothing_before_the_backlog_is_read():
    assert "open" == verdict(now=ELEVEN + 3 * DAY, past_end=1200, read_through=TEN)
    assert "complete" == verdict(now=ELEVEN + 3 * DAY, past_end=1300, read_through=ELEVEN + 2 * DAY)


#          10:00   11:00 11:05        14:00           14:05
#  pane 0    |======|     closed
#  pane 1                              | first event   ^ closes here
def test_a_late_pane_closes_the_allowed_lateness_after_its_first_event():
    first = ELEVEN + 3 * HOUR
    assert "open" == verdict(pane=1, first_event_at=first, now=first + LATENESS - 1, read_through=0)
    assert "complete" == verdict(pane=1, first_event_at=first, now=first + LATENESS, read_through=0)


def test_a_late_pane_that_began_at_a_time_that_is_yet_to_be_is_not_waited_for():
    assert "complete" == verdict(pane=1, first_event_at=TEN + 7200, now=TEN + 7199, read_through=0)


def test_a_late_pane_with_ten_thousand_events_closes_at_once():
    first = ELEVEN + 3 * HOUR
    assert "open" == verdict(pane=2, first_event_at=first, now=first, events=9_999)
    assert "complete" == verdict(pane=2, first_event_at=first, now=first, events=10_000)


def test_a_window_of_a_day_closes_after_the_day():
    assert "open" == verdict(length=DAY, now=TEN + DAY + LATENESS - 1)
    assert "complete" == verdict(length=DAY, now=TEN + DAY + LATENESS)
