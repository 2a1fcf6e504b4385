"""Numbers that carry meaning: which are recognised, what they say, and that nothing else changes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.breaker import coarse_shape
from enricher.core.meaning import LINE_BYTES, sharp_shape_of, where
from enricher.core.merge import Merger
from enricher.core.signature import BLANK_ID, ShapeIndex
from enricher.core.skeleton import logged_level, shape_of

TIME = "2026-11-20T08:00:00Z h app: "
ACCESS = '10.0.0.1 - - [20/Nov/2026:08:00:00 +0000] "GET /a/b HTTP/1.1" {} 123 "-" "curl/8"'
ESCAPED = json.dumps({"log": json.dumps({"status": 500, "msg": "a request failed"}), "stream": "stdout"})


def interning():
    rows = {}
    return (lambda shapes: [rows.setdefault(shape, len(rows) + 1) for shape in shapes]), rows


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (ACCESS.format(503), "http status 5xx"),
        (ACCESS.format(404), "http status 4xx"),
        (ACCESS.format(200), ""),
        (TIME + "request done status=502 in 12 ms", "http status 5xx"),
        (TIME + "request done, status code 404", "http status 4xx"),
        (TIME + 'answered "GET /a HTTP/1.1" status: 404 len: 12', "http status 4xx"),
        (TIME + "upstream http_code=500 retried", "http status 5xx"),
        (TIME + "main process ended status=1/FAILURE", ""),
        (TIME + "status 4040 is no status", ""),
        (TIME + "child 7 exited with code 1", "exit code not 0"),
        (TIME + "child 7 exited with code 0", ""),
        (TIME + "exit status: -9", "exit code not 0"),
        (TIME + "job ended rc=2", "return code not 0"),
        (TIME + "arc=2 src=3 here", ""),
        (TIME + "poll() returned -1", "returned below 0"),
        (TIME + "poll() returned 17", ""),
        (TIME + "open failed, errno=13", "errno 13"),
        (TIME + "OSError: [Errno 2] no such file", "errno 2"),
        (TIME + "run ended errors=3 of 90", "failures not 0"),
        (TIME + "run ended errors=0 of 90", ""),
        (TIME + "nothing of 500 and 404 and 13", ""),
        ('{"msg":"a request failed","res":{"statusCode":502},"ms":12}', "http status 5xx"),
        ('{"msg":"a request failed","res":{"statusCode":"404"},"ms":12}', "http status 4xx"),
        ('{"msg":"a child ended","exit_code":137}', "exit code not 0"),
        (ESCAPED, "http status 5xx"),
    ],
)
def test_a_number_says_what_the_text_around_it_makes_of_it(line, said):
    shape, plain = sharp_shape_of(line.encode()), shape_of(line.encode())
    assert said == where(shape.format)
    assert (plain.template, plain.level, plain.program) == (shape.template, shape.level, shape.program)
    assert (shape == plain) == (said == "")


@pytest.mark.parametrize(("number", "level"), [(50, "error"), (40, "warning"), (30, "info"), (7, None)])
def test_the_level_number_of_a_json_logger_is_a_level(number, level):
    shape = sharp_shape_of(b'{"level":%d,"time":1795354200000,"msg":"connection reset by peer"}' % number)
    assert level == (logged_level(shape)[0] if logged_level(shape) else None)


def test_numbers_keep_kinds_apart_whatever_else_merges():
    merger, row = Merger(), 0
    for word in ("alpha", "bravo", "chara", "delta"):
        for status in (200, 404, 503):
            row += 1
            merger.add(row, sharp_shape_of(f"{TIME}request of unit {word} done status={status}".encode()))
    assert [1, 2, 3] == [merger.resolve(one) for one in (10, 11, 12)]


def test_other_lines_of_a_source_cost_nothing_more_and_keep_their_shapes():
    intern, rows = interning()
    index = ShapeIndex()
    lines = [
        TIME + "a status=503 now",
        TIME + "nothing to see",
        TIME + "a status=204 now",
        "",
        TIME + "a status=404 now",
    ]
    ids = index.resolve("\n".join(lines).encode(), intern)
    assert [BLANK_ID if not line else rows[sharp_shape_of(line.encode())] for line in lines] == ids.tolist()
    assert shape_of(lines[0].encode()) == sharp_shape_of(lines[2].encode())


def test_a_line_that_starts_no_event_makes_no_shape():
    intern, rows = interning()
    index = ShapeIndex()
    data = (TIME + "a status=503 now\n" + TIME + "a status=404 now\n").encode()
    assert BLANK_ID == index.resolve(data, intern, starts=np.array([True, False]))[1]
    assert 1 == len(rows)
    assert BLANK_ID == index.resolve(data, intern, starts=np.array([True, False]))[1]
    assert 1 == len(rows)


TEXTS = st.sampled_from(
    [
        "request done status={} in 3 ms",
        "exit code {}",
        "poll() returned {}",
        "errno={}",
        "took {} ms",
        "src={} rc={}",
        "",
    ]
)
LINES = st.builds(
    lambda text, number: (TIME + text.format(number, number)).encode() if text else b"", TEXTS, st.integers(-2, 700)
)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.lists(LINES, min_size=1, max_size=12), max_size=5), st.booleans())
def test_each_line_has_the_id_of_its_own_shape_however_blocks_are_cut(blocks, forgets):
    intern, rows = interning()
    index = ShapeIndex(memo_lines=6)
    for lines in blocks:
        ids = index.resolve(b"".join(line + b"\n" for line in lines), intern)
        assert [rows[sharp_shape_of(line)] if line else BLANK_ID for line in lines] == ids.tolist()
        if forgets:
            index.forget()


def test_any_number_of_numbers_makes_few_shapes():
    intern, rows = interning()
    data = b"".join(b"%bpoll() returned %d\n" % (TIME.encode(), number) for number in range(-500, 20_000, 3))
    ShapeIndex().resolve(data, intern)
    assert 2 == len(rows)


def test_a_number_far_behind_says_nothing_and_a_long_line_is_bounded():
    line = TIME.encode() + b"word " * (LINE_BYTES // 5) + b"status=503"
    assert shape_of(line) == sharp_shape_of(line)
    digits = TIME.encode() + b"exit code " + b"7" * 100_000
    assert shape_of(digits) == sharp_shape_of(digits)


def test_a_coarse_shape_says_nothing():
    shape = sharp_shape_of((TIME + "a status=503 now").encode())
    assert "" == where(coarse_shape(shape).format)
