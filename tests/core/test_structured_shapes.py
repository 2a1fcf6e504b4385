"""Structured lines: few signatures for many values, one kind however it is carried, text where they are broken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.collapse import collapse, collapse_hex
from enricher.core.merge import Merger
from enricher.core.signature import ShapeIndex
from enricher.core.skeleton import collapsed_shape, shape_of
from enricher.core.structured.detect import may_be_structured, parse
from enricher.core.structured.key import key_of
from tests.core.structured_lines import (
    access_lines,
    audit_events,
    cef_lines,
    cluster_audit_lines,
    logfmt_lines,
    syslog_lines,
)


def signatures(lines: list[bytes]) -> list[int]:
    """The signature of each line, as ingest and merging make it."""
    shapes: dict = {}
    merger = Merger()

    def intern(wanted):
        for shape in wanted:
            merger.add(shapes.setdefault(shape, len(shapes) + 1), shape)
        return [shapes[shape] for shape in wanted]

    ids = ShapeIndex().resolve(b"\n".join(lines) + b"\n", intern)
    return [merger.resolve(row_id) for row_id in ids.tolist()]


def test_ten_thousand_audit_events_of_thirty_kinds_have_one_signature_for_each_kind():
    found = signatures(audit_events(10_000))
    assert 30 == len(set(found))
    assert all(len({found[at] for at in range(kind, 10_000, 30)}) == 1 for kind in range(30))


def test_fields_that_come_and_go_make_no_more_signatures_than_forms():
    lines = audit_events(1_000, seed=1) + audit_events(1_000, seed=9)
    assert len(set(signatures(lines))) <= 40


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        (logfmt_lines(1_000), 10),
        (cef_lines(600), 6),
        (cluster_audit_lines(600), 12),
        (syslog_lines(600), 6),
    ],
    ids=["logfmt", "cef", "kubernetes", "rfc5424"],
)
def test_lines_that_differ_in_values_only_share_a_signature(lines, kinds):
    assert kinds == len(set(signatures(lines)))


def test_five_hundred_addresses_of_five_routes_make_few_signatures():
    assert len(set(signatures(access_lines(500)))) <= 8


def test_a_line_is_of_the_same_kind_bare_and_in_every_wrapper():
    bare = b'2026-11-22 10:00:00 ERROR worker: job 12 of "ann" failed'
    docker = json.dumps({"log": bare.decode() + "\n", "stream": "stderr", "time": "2026-11-22T10:00:00.1Z"}).encode()
    cri = b"2026-11-22T10:00:00.123456789Z stderr F " + bare
    assert shape_of(bare) == shape_of(docker) == shape_of(cri)


def test_a_json_line_is_of_the_same_kind_bare_in_a_wrapper_and_behind_a_header():
    bare = b'{"level":"error","msg":"job 12 failed","queue":"mail"}'
    cri = b"2026-11-22T10:00:00.123456789Z stderr F " + bare
    journal = json.dumps({"MESSAGE": bare.decode(), "PRIORITY": "3"}).encode()
    behind = b"Nov 22 10:00:00 web1 app[12]: " + bare
    assert shape_of(bare) == shape_of(cri) == shape_of(journal)
    assert shape_of(bare).skeleton == shape_of(behind).skeleton
    assert "app" == shape_of(behind).program


def test_the_journals_program_stands_for_one_that_the_message_does_not_name():
    line = b'{"MESSAGE":"Started job 12","PRIORITY":"6","SYSLOG_IDENTIFIER":"systemd","_PID":"1"}'
    assert "systemd" == shape_of(line).program
    assert "Started job <*>" == shape_of(line).template


def test_a_template_has_the_message_then_words_then_holes():
    line = b'{"level":"warn","msg":"login failed","user":"ann","ip":"::1","reason":"bad password","event":"auth"}'
    assert "login failed event=auth reason=bad_password ip=<*> user=<*>" == shape_of(line).template
    assert "warn" == shape_of(line).level


def test_the_order_of_fields_and_the_spelling_of_letters_change_nothing():
    one = shape_of(b'{"event":"login","user":"ann","n":1,"msg":"caf\\u00e9 opened \\u003cdoor\\u003e"}')
    other = shape_of(b'{"msg" : "caf\\u00e8 opened \\u003cdoor\\u003e", "n": 77, "user": "bob", "event": "login"}')
    assert one == other


def test_words_of_an_event_field_are_never_merged_into_a_hole():
    lines = [
        b'{"event":"order_%s","id":1,"msg":"order seen"}' % word.encode()
        for word in ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh")
    ]
    assert 8 == len(set(signatures(lines)))


def test_free_words_in_a_message_are_merged_as_in_text():
    lines = [
        b'{"event":"login","msg":"door opened for %s today"}' % name.encode()
        for name in ("ann", "bob", "cyd", "dan", "eva")
    ]
    assert 1 == len(set(signatures(lines)))


@pytest.mark.parametrize(
    "line",
    [
        b'{"level":"info","msg":"cut he',
        b'{"a":1} trailing',
        b'{"a":NaN,"b":Infinity}',
        b"{}",
        b'{"a":[1,2}',
        b"{" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"CEF:0|a|b",
        b"level=info and then words that are free",
        b"a=1 b=2",
        b'GET /x "HTTP/1.1" is what it asked',
        b"<99>1 2026-11-22T10:00:00Z h a p m [broken text",
        b"one, two, three, four, five, six, seven, eight, nine",
    ],
)
def test_what_looks_like_a_format_and_does_not_parse_is_text(line):
    assert "text" == shape_of(line).format


def test_lines_of_all_formats_may_stand_in_one_file():
    lines = [
        audit_events(1)[0],
        logfmt_lines(1)[0],
        b"just text 12",
        access_lines(1)[0],
        cef_lines(1)[0],
        syslog_lines(1)[0],
    ]
    kinds = [shape_of(line).format.partition(":")[0] for line in lines]
    assert ["json", "logfmt", "text", "access", "cef", "rfc5424"] == kinds
    assert len(lines) == len(set(signatures(lines)))


_VALUES = st.one_of(st.text(max_size=12), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False))
_DOCUMENTS = st.dictionaries(st.text(max_size=8), st.one_of(_VALUES, st.lists(_VALUES, max_size=3)), max_size=5)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(_DOCUMENTS, st.booleans())
def test_the_shape_of_any_object_is_that_of_its_collapsed_form(document, ascii_only):
    line = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "replace")
    assert shape_of(line) == collapsed_shape(key_of(collapse_hex(collapse(line))))


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"{",
            b'{"a":"',
            b"a=1 b=",
            b"CEF:0|a|b|c|d|e|f|",
            b"<1>1 - - - - - [",
            b'1 2 3 [22/Nov/2026:10:00:00 +0000] "GET ',
        ]
    ),
)
def test_any_bytes_behind_the_beginning_of_a_format_have_a_shape(tail, head):
    shape = shape_of(head + tail.replace(b"\n", b""))
    assert shape == shape_of(head + tail.replace(b"\n", b""))
    assert not {chr(code) for code in range(32) if code != 1} & set(shape.skeleton + shape.level + shape.program)


@settings(max_examples=200, derandomize=True)
@given(st.text(alphabet='a0 <>{}[]="|:,;\tCEFLstdout F/-.', max_size=60).map(str.encode))
def test_a_line_without_a_sign_of_structure_has_none(line):
    if parse(line, is_collapsed=False, message_at=lambda _: 0) is not None:
        assert may_be_structured(line)


def test_a_line_of_a_quarter_megabyte_takes_milliseconds():
    lines = (
        b'{"a":"' + b"\\" * 250_000 + b'"}', b"a=" * 125_000, b'a="' * 80_000, b"CEF:0|" + b"\\|" * 120_000,
        b"[" * 250_000,
        b'1 2 3 [22/Nov/2026:10:00:00 +0000] "GET /' + b"/a" * 120_000 + b' HTTP/1.1" 200 1', b"1," * 125_000,
        b"<1>1 - - - - - " + b'[a b="c"]' * 25_000, b'{"' + b"k" * 250_000 + b'":1}',
    )  # fmt: skip
    for line in lines:
        assert shape_of(line).id
