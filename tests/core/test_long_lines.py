"""Structured lines as long as lines may be, made to cost much: work grows with the bytes, and a record comes out."""

from __future__ import annotations

import json

import pytest

from enricher.core.signature import BLANK_ID, ShapeIndex
from tests.core.test_record import a_renderer, a_segment, an_outcome, records
from tests.fuzz.growth import lines_run
from tests.fuzz.signatures import Numbers

FEW, MANY = 32 * 1024, 256 * 1024  # longer lines are cut before
NAME = b'{"time": "2026-11-22T10:00:00Z", "level": "error", "msg": "it failed", "x": '
LINES = {
    "arrays in arrays": lambda size: NAME + b"[" * (size // 2) + b"]" * (size // 2) + b"}",
    "objects in objects": lambda size: NAME + b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6) + b"}",
    "arrays that are not closed": lambda size: NAME + b"[" * size,
    "a number of so many digits": lambda size: NAME + b"9" * size + b"}",
    "an exponent of so many digits": lambda size: NAME + b"1e" + b"9" * size + b"}",
    "so many keys": lambda size: NAME + b"1" + b"".join(b', "k%d": %d' % (at, at) for at in range(size // 20)) + b"}",
    "one key again and again": lambda size: NAME + b"1" + b', "x": 1' * (size // 8) + b"}",
    "a string of escapes": lambda size: NAME + b'"' + b"\\u0041" * (size // 6) + b'"}',
    "so many columns": lambda size: b"2026-11-22T10:00:00Z,error" + b",1" * (size // 2),
    "so many quoted columns": lambda size: b"2026-11-22T10:00:00Z,error" + b',"a ""b"""' * (size // 10),
    "a quote that is not closed": lambda size: b'2026-11-22T10:00:00Z,error,"' + b'""' * (size // 2),
    "so many pairs": lambda size: b'time=2026-11-22T10:00:00Z level=error msg="it failed"' + b" a=1" * (size // 4),
    "an access log": lambda size: (
        b'192.0.2.1 - - [22/Nov/2026:10:00:00 +0000] "GET /' + b"a/" * (size // 2) + b' HTTP/1.1" 200 7 "-" "curl"'
    ),
    "an access log of quotes": lambda size: (
        b'192.0.2.1 - - [22/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 7 "' + b'\\"' * (size // 2) + b'" "curl"'
    ),
    "so many extensions": lambda size: b"CEF:0|v|p|1|100|it failed|9|" + b" a=1" * (size // 4),
    "structured data": lambda size: (
        b"<34>1 2026-11-22T10:00:00Z h app 1 ID1 [a " + b'b="c" ' * (size // 6) + b"] it failed"
    ),
}


def recorded(line):
    """What is made of a line: its shape, and its record."""
    numbers = Numbers()
    (row,) = ShapeIndex().resolve(line + b"\n", numbers.intern).tolist()
    assert row != BLANK_ID
    (record,) = records(a_renderer(an_outcome()), a_segment(line + b"\n", [1]))
    return record, next(iter(numbers.rows))


@pytest.mark.parametrize("what", LINES)
def test_a_long_line_costs_no_more_for_each_byte_than_a_short_one(what):
    make = LINES[what]
    recorded(make(FEW))  # what is looked up once
    few, many = (lines_run(recorded, make(size)) for size in (FEW, MANY))
    assert many <= few * (MANY // FEW) * 1.2 + 1000
    record, shape = recorded(make(MANY))
    assert len(json.dumps(record)) < 8 * MANY
    assert len(shape.skeleton) < 4096
