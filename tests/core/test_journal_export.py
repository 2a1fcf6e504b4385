"""Records of `journalctl -o export`: several lines, one event, the kind that the journal's JSON has too."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.multiline import FirstLineRule, continuation_lines, held_from, learn
from enricher.core.naming import kind_of
from enricher.core.skeleton import shape_of
from enricher.core.timestamp import TimeContext, line_times
from enricher.core.timestamp_columns import line_starts

UNTIMED = FirstLineRule(learned=False)


def a_record(message: bytes, *, number: int = 1, second: int = 1_795_341_600, is_long: bool = False) -> bytes:
    value = b"MESSAGE\n" + len(message).to_bytes(8, "little") + message if is_long else b"MESSAGE=" + message
    return (
        b"__CURSOR=s=0639e;i=%x;b=45f;m=1f2;t=%x;x=9c\n" % (number, second * 1_000_000 + 5)
        + b"__REALTIME_TIMESTAMP=%d\n_BOOT_ID=45f\nPRIORITY=6\nSYSLOG_IDENTIFIER=sshd\n" % (second * 1_000_000 + 5)
        + value
        + b"\n_PID=%d\n\n" % number
    )


def events_of(data: bytes) -> list[bytes]:
    continues = continuation_lines(data, UNTIMED)
    lines = data.splitlines(keepends=True) if b"\r" not in data else data.split(b"\n")
    flags = [False] * len(lines) if continues is None else continues.tolist()
    events: list[bytes] = []
    for line, continued in zip(lines, flags, strict=True):
        if continued:
            events[-1] += line
        elif line.strip():
            events.append(line)
    return events


def split(record: bytes) -> tuple[bytes, bytes]:
    first, _, rest = record.removesuffix(b"\n").partition(b"\n")
    return first, rest


def test_a_record_is_one_event():
    records = [a_record(b"Accepted password for ann"), a_record(b"Connection closed", number=2)]
    assert [record.removesuffix(b"\n") for record in records] == events_of(b"".join(records))


def test_a_value_with_a_length_may_hold_newlines_blank_lines_and_the_head_of_a_trace():
    record = a_record(b"two\n\nlines\nTraceback (most recent call last):\n__NOT=", is_long=True)
    assert [record.removesuffix(b"\n"), b"said so\n"] == events_of(record + b"said so\n")


@pytest.mark.parametrize("length", [3, 12, 1 << 40, (1 << 64) - 1])
def test_a_false_length_takes_no_other_record_in(length):
    record = a_record(b"a\nb", is_long=True).replace((3).to_bytes(8, "little"), length.to_bytes(8, "little"))
    assert events_of(record)[0].startswith(b"__CURSOR=")
    assert b"x\n" == events_of(record + b"\nx\n")[-1]


def test_text_and_records_may_stand_in_one_file():
    found = events_of(b"one line\n" + a_record(b"hello") + b"another line\nNAME=value\n")
    assert 4 == len(found)


def test_a_record_is_held_back_until_the_next_begins():
    whole = a_record(b"hello")
    data = whole + a_record(b"two\nlines", number=2, is_long=True)[:-20]
    data = data[: data.rfind(b"\n") + 1]
    assert len(whole) == held_from(data, UNTIMED, line_starts(data), continuation_lines(data, UNTIMED))


def test_files_of_records_are_not_taken_for_files_of_times():
    data = b"".join(a_record(b"hello", number=number) for number in range(20))
    assert not learn(data.split(b"\n")).learned


def test_the_time_of_a_record_is_that_of_its_cursor():
    context = TimeContext(anchor=None, fallback=0, now=1.9e9, zone="UTC", pattern=None)
    assert line_times(a_record(b"x"), context).startswith(b"2026-11-22T10:00:00Z\n")


def test_a_record_is_of_the_kind_that_its_json_is_of():
    told = {"PRIORITY": "6", "SYSLOG_IDENTIFIER": "sshd", "MESSAGE": "Failed password for ann from 10.0.0.1"}
    expected = shape_of(json.dumps(told | {"__REALTIME_TIMESTAMP": "1795341600000000"}).encode())
    for is_long in (False, True):
        assert expected == kind_of(*split(a_record(told["MESSAGE"].encode(), is_long=is_long)))
    assert expected != kind_of(*split(a_record(b"Server listening on port 22")))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=30), st.integers(0, 80))
def test_hostile_records_are_bounded_by_their_bytes(value, garbage, cut):
    data = a_record(value, is_long=True)[: -cut or None] + garbage + b"\n" + a_record(b"next", number=2)
    continues = continuation_lines(data, UNTIMED)
    assert continues is None or len(continues) == len(line_starts(data)) - 1
    kind_of(*split(data))
    assert not np.array_equal([True], [] if continues is None else continues[:1])
