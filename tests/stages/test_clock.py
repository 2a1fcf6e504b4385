"""Clocks that are set, and hosts that sleep: real files, ingest, plan, write and store while the wall clock steps.

A program on the host writes a line every few minutes, dated by the clock that the daemon has too. Whatever happens to
that clock, no window closes before both clocks are past its end, none stays open, and every line comes out once.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import CollectorRegistry

from enricher.core.keying import KeyingRule
from enricher.core.window import window_id
from enricher.edges.sink_file import FileSink
from enricher.edges.source_files import FilesSource
from enricher.edges.store_sqlite import SqliteStore
from enricher.stages.ingest import Ingest, IngestSource
from enricher.stages.plan import Plan, PlanSettings
from enricher.stages.write import RETAIN_EVERY_SECONDS, Write, WriteSettings
from enricher.telemetry import Telemetry
from tests.core.test_timestamp import CHANGES
from tests.stages.bench import MODEL, PRICES, TASK

HOUR = 3600
DAY = 24 * HOUR
YEARS = 10 * 365 * DAY
LATENESS = 300
TEN = 1_795_255_200  # 2026-11-21T10:00:00Z
UNREACHABLE_SECONDS = 6 * HOUR


class Clock:
    """A wall clock that can be set, and a monotonic one that stands while the host sleeps."""

    def __init__(self, now):
        self.mono = 1000.0
        self.offset = now - self.mono

    def now(self):
        return self.mono + self.offset

    def monotonic(self):
        return self.mono

    async def sleep(self, seconds):
        self.mono += seconds


class Host:
    """A host with one log, the stages over it, and what is known of when windows closed.

    `stamp` writes a time as the program on it does, in the zone of the host.
    """

    def __init__(self, directory, *, zone="UTC", stamp="{:%Y-%m-%dT%H:%M:%SZ}".format, now=TEN + 120.0):
        self.directory = directory
        self.zone, self.stamp = zone, stamp
        self.log = directory / "logs" / "a.log"
        self.log.parent.mkdir(parents=True)
        self.clock = Clock(now)
        self.lines = 0
        self.closed = {}
        self.early = []
        self._past_end = {}
        self._out_of_reach = {}

    async def start(self, *, retention_days=0, max_wait_seconds=0.0):
        telemetry = Telemetry(CollectorRegistry())
        self.store = await SqliteStore.open(self.directory / "state", sinks=["files"])
        given = {"store": self.store, "clock": self.clock, "telemetry": telemetry}
        self.source = FilesSource(
            "logs",
            [str(self.log)],
            [],
            start="beginning",
            once=False,
            own_directories=[],
            host="h",
            telemetry=telemetry,
        )
        rule = KeyingRule(length_seconds=HOUR, zone=self.zone, time_pattern=None, drop=(), ask_events=False)
        self.ingest = Ingest(sources=[IngestSource(source=self.source, rule=rule)], **given)
        self.plan = Plan(
            **given,
            progress=lambda now: [self.source.progress(now)],
            settings=PlanSettings(
                length_seconds=HOUR,
                allowed_lateness_seconds=LATENESS,
                task=TASK,
                model=MODEL,
                endpoint="/v1/responses",
                reasoning_effort="none",
                prices=PRICES,
                privacy="templates",
                signatures_per_request=1,
                max_requests=50_000,
                max_bytes=1_000_000,
                max_tokens=1_000_000,
                limit_kinds=None,
                digest=None,
            ),
            new_id=lambda: f"job{self.lines}",
        )
        self.sink = FileSink(
            "files", self.directory / "out", compress="none", retention_days=retention_days, min_severity="trace"
        )
        self.write = Write(
            **given,
            sinks=[self.sink],
            settings=WriteSettings(
                host="h",
                length_seconds=HOUR,
                max_wait_seconds=max_wait_seconds,
                fields={},
                quality={},
                compress={},
                task=TASK.hash,
                model=MODEL,
                digest=False,
            ),
            jitter=lambda: 0.0,
        )
        await self.ingest.start()
        return self

    async def close(self):
        await self.source.close()
        await self.store.close()

    def say(self, stamp=None):
        now = self.clock.now()
        stamp = stamp or self.stamp(datetime.fromtimestamp(now, ZoneInfo(self.zone)))
        with self.log.open("a") as file:
            file.write(f"{stamp} app[7]: disk {self.lines} is full\n")
        os.utime(self.log, (now, now))
        self.lines += 1

    async def step(self):
        """One round of all stages, as the daemon's loops make it."""
        await self.ingest.step(flush=True)
        before = {pane.start for pane in await self.store.open_panes() if pane.number == 0}
        self._look(before)
        await self.plan.step()
        after = {pane.start for pane in await self.store.open_panes() if pane.number == 0}
        for start in before - after:
            self._judge(start)
        while await self.write.step():
            pass

    async def go_on(self, seconds, *, every=180, quietly=False):
        for _ in range(int(seconds // every)):
            self.clock.mono += every
            if not quietly:
                self.say()
            await self.step()

    def _look(self, starts):
        now, mono = self.clock.now(), self.clock.mono
        past = {start for start in starts if now >= start + HOUR}
        lost = {start for start in starts if start - now > UNREACHABLE_SECONDS}
        self._past_end = {start: self._past_end.get(start, mono) for start in past}
        self._out_of_reach = {start: self._out_of_reach.get(start, mono) for start in lost}

    def _judge(self, start):
        now, mono = self.clock.now(), self.clock.mono
        self.closed[start] = now
        is_over = now >= start + HOUR + LATENESS and mono - self._past_end.get(start, mono) >= LATENESS
        is_lost = mono - self._out_of_reach.get(start, mono) >= LATENESS
        if not (is_over or is_lost):
            self.early.append(f"{window_id(start, HOUR)} closed at {_clock_text(now)}")

    def came_out(self, name="enrichment.window"):
        """The number of each line that came out, in their order, with its window or another field."""
        parts = self.directory.glob("out/*/events-*.jsonl")
        events = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
        return sorted((int(event["message"].split()[-3]), event[name]) for event in events)

    def numbers(self):
        """The numbers of the lines that came out."""
        return [number for number, _ in self.came_out()]


def _clock_text(now):
    seconds = int(now) % DAY
    return f"{seconds // HOUR:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


@pytest.fixture
async def host(tmp_path):
    made = await Host(tmp_path).start()
    yield made
    await made.close()


# What happens: minutes that pass, then how far the wall clock is set by whom.
STORIES = {
    "an hour ahead for good": [(0, HOUR)],
    "an hour back for good": [(0, -HOUR)],
    "an hour ahead, put right within the lateness": [(0, HOUR), (3, -HOUR)],
    "an hour ahead, put right after half an hour": [(0, HOUR), (30, -HOUR)],
    "an hour back, put right after half an hour": [(0, -HOUR), (30, HOUR)],
    "ten years ahead, put right within the lateness": [(0, YEARS), (3, -YEARS)],
    "ten years ahead, put right after two hours": [(0, YEARS), (120, -YEARS)],
    "ten years back, put right within the lateness": [(0, -YEARS), (3, YEARS)],
    "ten years ahead for good": [(0, YEARS)],
    "asleep for twenty minutes": [(0, 1200)],
    "asleep for nine hours": [(0, 9 * HOUR)],
    "back and forth": [(0, HOUR), (6, -2 * HOUR), (6, 2 * HOUR), (6, -HOUR)],
}


@pytest.mark.parametrize("minute", [21, 57, 63], ids="at minute {}".format)
@pytest.mark.parametrize("story", STORIES)
async def test_no_window_closes_early_none_stays_open_and_no_line_comes_out_twice(host, story, minute):
    await host.go_on(minute * 60)
    for pause, seconds in STORIES[story]:
        await host.go_on(pause * 60)
        # A line before the clock is set, one after, and nobody looked in between.
        host.say()
        host.clock.offset += seconds
        host.say()
        await host.step()
    await host.go_on(1800)
    await host.go_on(8 * HOUR, every=1200, quietly=True)

    assert [] == host.early
    assert [] == await host.store.open_panes()
    assert [*range(host.lines)] == host.numbers()


ISO, SYSLOG = "{:%Y-%m-%d %H:%M:%S}".format, "{:%b %d %H:%M:%S} host".format
NEW_YEAR = "2027-01-01T00:00"
LOCAL = [
    *((zone, at, stamp) for zone, *both in CHANGES for at, stamp in zip(both, (SYSLOG, ISO), strict=True)),
    *((zone, NEW_YEAR, SYSLOG) for zone in ("America/New_York", "UTC", "Asia/Kolkata")),
]


@pytest.mark.parametrize(("zone", "at", "stamp"), LOCAL, ids=lambda one: one if isinstance(one, str) else "")
async def test_lines_in_local_time_come_into_their_windows_over_a_change_of_the_clock_and_new_year(
    tmp_path, zone, at, stamp
):
    local = ZoneInfo(zone) if at == NEW_YEAR else UTC
    begin = datetime.fromisoformat(at).replace(tzinfo=local).timestamp() - 2 * HOUR - 700
    host = await Host(tmp_path, zone=zone, stamp=stamp, now=begin).start()
    expected = []
    for _ in range(26):
        host.clock.mono += 600
        expected.append((host.lines, window_id(int(host.clock.now() // HOUR) * HOUR, HOUR)))
        host.say()
        await host.step()
    await host.go_on(2 * HOUR, every=1200, quietly=True)

    assert [] == host.early
    assert [] == await host.store.open_panes()
    assert expected == host.came_out()
    assert sorted(host.closed) == sorted(set(host.closed))
    await host.close()


async def test_a_leap_second_is_of_the_minute_that_it_ends(tmp_path):
    midnight = datetime(2017, 1, 1, tzinfo=UTC).timestamp()
    host = await Host(tmp_path, now=midnight - 600).start()
    await host.go_on(480, every=120)
    before = host.lines
    host.clock.mono = midnight - 1 - host.clock.offset
    for stamp in ("2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60.999Z"):
        host.say(stamp)
        await host.step()
    host.clock.offset -= 1.0  # a clock that repeats the second
    host.say("2016-12-31T23:59:59Z")
    await host.step()
    host.clock.mono += 2.0
    host.say("2017-01-01T00:00:00Z")
    await host.go_on(2 * HOUR, every=300, quietly=True)

    assert [] == host.early
    windows = ["2016-12-31T23Z"] * (before + 4) + ["2017-01-01T00Z"]
    assert [*enumerate(windows)] == host.came_out()
    times = ["23:59:59Z", "23:59:59.999999Z", "23:59:59.999999Z", "23:59:59Z"]
    assert [f"2016-12-31T{time}" for time in times] == [time for _, time in host.came_out("@timestamp")][before:-1]
    await host.close()


async def test_a_clock_that_leaps_ahead_and_is_put_right_closes_nothing(host):
    await host.go_on(1800)
    host.clock.offset += YEARS
    await host.go_on(240, every=60)
    assert {} == host.closed
    host.clock.offset -= YEARS
    await host.go_on(900)
    assert TEN not in host.closed


async def test_what_is_not_answered_is_waited_for_as_long_as_was_said_whatever_the_clock_says(tmp_path):
    host = await Host(tmp_path).start(max_wait_seconds=2.0 * HOUR)
    await host.go_on(1800)
    await host.go_on(HOUR, quietly=True)
    assert TEN in host.closed
    host.clock.offset += YEARS
    await host.step()
    assert [] == host.numbers()
    host.clock.offset -= YEARS + HOUR
    await host.go_on(1.5 * HOUR, quietly=True)
    assert [] == host.numbers()
    await host.go_on(HOUR, quietly=True)
    assert [*range(host.lines)] == host.numbers()
    await host.close()


async def test_a_process_that_starts_with_the_clock_set_back_waits_no_longer_than_was_said(tmp_path):
    host = await Host(tmp_path).start(max_wait_seconds=2.0 * HOUR)
    await host.go_on(1800)
    await host.go_on(HOUR, quietly=True)
    await host.close()
    host.clock.offset -= YEARS
    await host.start(max_wait_seconds=2.0 * HOUR)
    await host.go_on(1.5 * HOUR, quietly=True)
    assert [] == host.numbers()
    await host.go_on(HOUR, quietly=True)
    assert [*range(host.lines)] == host.numbers()
    await host.close()


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_little_is_waited_for_as_long_as_ever_when_the_clock_is_set_meanwhile(host, seconds):
    host.say()
    host.say()  # which may go on
    await host.ingest.step()
    host.clock.offset += seconds
    host.clock.mono += 1.0
    assert 0 == await host.ingest.step()
    host.clock.mono += 2.0
    assert 1 == await host.ingest.step()


async def test_nothing_is_deleted_by_a_clock_that_was_just_set(tmp_path):
    host = await Host(tmp_path).start(retention_days=30)
    await host.go_on(1800)
    await host.go_on(HOUR, quietly=True)
    assert [*range(host.lines)] == host.numbers()
    for part in tmp_path.glob("out/*/*"):
        os.utime(part, (TEN, TEN))

    host.clock.offset += YEARS
    await host.go_on(6 * HOUR, every=RETAIN_EVERY_SECONDS, quietly=True)
    assert [*range(host.lines)] == host.numbers()

    # It is ten years later indeed, as nobody has denied for a day.
    await host.go_on(26 * HOUR, every=RETAIN_EVERY_SECONDS, quietly=True)
    assert [] == host.numbers()
    await host.close()
