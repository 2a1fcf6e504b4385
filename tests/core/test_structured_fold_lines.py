"""What is folded out of pairs, requests and wrapped lines changes no line's shape: the slow path says the same."""

from __future__ import annotations

import json
import random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.collapse import collapse_line
from enricher.core.signature import ShapeIndex
from enricher.core.skeleton import shape_of
from enricher.core.structured.fold_lines import fold_line
from tests.core import structured_lines, unseen_systems


def wrapped_in_docker(line: bytes) -> bytes:
    return json.dumps({"log": line.decode() + "\n", "stream": "stdout", "time": "2026-11-22T10:00:00Z"}).encode()


def wrapped_by_the_kubelet(line: bytes) -> bytes:
    return b"2026-11-22T10:00:00.123456789Z stdout F " + line


def slow_shape(line: bytes):
    with mock.patch("enricher.core.structured.key.fold_line", lambda collapsed: collapsed):
        return shape_of(line)


LINES = [
    *structured_lines.logfmt_lines(60),
    *structured_lines.access_lines(60),
    *structured_lines.cef_lines(60),
    *structured_lines.syslog_lines(60),
    *map(wrapped_in_docker, structured_lines.logfmt_lines(30)),
    *map(wrapped_by_the_kubelet, structured_lines.logfmt_lines(30)),
    *structured_lines.audit_events(10),
]
_PIECES = st.sampled_from(
    """
    = =" " \\" \\\\ | : CEF:0| <134>1 [ ] [meta@1 HTTP/1.1" "GET / ? , ; level=ERROR level= ERROR msg= pid=0 pid=12
    tid=x us=4 INFO user=ann action=deny event type="a b" time=10:00 status=503 a=1 b=x c= d="e f" host= 2026-11-22
    10:00:00 stdout F {"log":" \\n" - 0 é x {"a":1} name= {
    """.split()  # noqa: SIM905 - a list of quoted pieces would not be readable
)
_TEXTS = st.lists(st.one_of(_PIECES, st.just(" "), st.just("\t")), max_size=24).map("".join)


@pytest.mark.parametrize("line", LINES[::7])
def test_lines_have_the_shape_that_the_slow_path_finds(line):
    assert slow_shape(line) == shape_of(line)


@settings(max_examples=120, derandomize=True, deadline=None)
@given(st.sampled_from(LINES), st.integers(0, 400), st.integers(0, 12), _TEXTS)
def test_a_damaged_line_has_the_shape_that_the_slow_path_finds(line, at, gone, text):
    damaged = line[:at] + text.encode() + line[at + gone :]
    assert slow_shape(damaged) == shape_of(damaged)


@settings(max_examples=120, derandomize=True, deadline=None)
@given(
    _TEXTS,
    st.sampled_from(
        [b"", b"ts=1 level=info a=b user=ann ", b"<1>1 2026-01-01T00:00:00Z h a 1 m ", b"CEF:0|a|b|1|2|n|3|"]
    ),
)
def test_any_text_has_the_shape_that_the_slow_path_finds(text, prefix):
    line = prefix + text.encode()
    assert slow_shape(line) == shape_of(line)


@settings(max_examples=80, derandomize=True, deadline=None)
@given(st.sampled_from(LINES), st.integers(0, 400), _TEXTS)
def test_folding_twice_is_folding_once(line, at, text):
    folded = fold_line(collapse_line(line[:at] + text.encode() + line[at:], limit_bytes=1 << 20))
    assert folded == fold_line(folded)


def test_lines_of_text_stay_as_they_are():
    for system in unseen_systems.SYSTEMS:
        for line in unseen_systems.generate(system, lines=20).lines:
            collapsed = collapse_line(line, limit_bytes=1 << 20)
            assert slow_shape(line) == shape_of(line)
            assert collapsed == fold_line(collapsed)


def test_new_values_of_known_kinds_cost_no_parsing(monkeypatch):
    def numbered(shapes):
        return [rows.setdefault(shape, len(rows) + 1) for shape in shapes]

    def lines(word: str) -> bytes:
        rng = random.Random(word)
        values = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(50)]
        made = [f"ts=1 level=info msg=done user={value}" for value in values]
        made += [
            f"<1>Nov 22 10:00:00 fw CEF:0|A|B|1|2|Login|5|suser={value} act=deny spt=1 shost={value}"
            for value in values
        ]
        made += [
            f'h - - [22/Nov/2026:10:00:00 +0000] "GET /a?q={value} HTTP/1.1" 200 7 "-" "{value}"' for value in values
        ]
        made += [f'<9>1 2026-11-22T10:00:00Z h app 7 LOGIN [m@1 user="{value}"] session opened' for value in values]
        pairs = made[:50]
        made += [wrapped_by_the_kubelet(line.encode()).decode() for line in pairs]
        made += [wrapped_in_docker(line.encode()).decode() for line in pairs]
        return "\n".join(made).encode()

    rows: dict = {}
    index = ShapeIndex()
    first = index.resolve(lines("ann"), numbered).tolist()
    monkeypatch.setattr("enricher.core.frame.Frames.shape_of", None)
    assert first == index.resolve(lines("bob"), numbered).tolist()
