"""Split signatures: which values share a bucket, what a child is, and which events belong to it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.block import CONTINUES, SKIPPED
from enricher.core.keying import EVENT_FORMAT
from enricher.core.skeleton import SPLIT_FORMAT, Shape, shape_of
from enricher.core.split import (
    MOST_CHILDREN,
    NO_SPLITS,
    Split,
    SplitKind,
    SplitTable,
    bucket_of,
    child_shape,
    condition_of,
    split_of,
)
from enricher.core.split_events import Splitter
from enricher.core.verdict import Answer
from tests.edges.test_store_contract import a_file, a_segment

LINE = b"2026-11-20T08:00:00Z h app: upstream %b answered with code %b"
TEMPLATE = "upstream <*> answered with code <*>"


def an_answer(**changes):
    facts = {"severity": "info", "category": "network", "summary": "an answer came", **changes}
    return Answer(**facts)


def a_split(line=LINE % (b"10.0.0.1", b"200"), *, slot="response.code", hole=2, signature="p" * 16):
    shape = shape_of(line)
    return Split(
        signature=signature, level=shape.level, program=shape.program, slot=slot, hole=hole, template=shape.template
    )


class Numbers:
    """Numbers shapes as a store does."""

    def __init__(self, *known):
        self.ids = {shape: number for number, shape in enumerate(known, 1)}

    def __call__(self, shapes):
        return [self.ids.setdefault(shape, len(self.ids) + 1) for shape in shapes]


def a_table(split, *shapes, children=None):
    return SplitTable(revision=(1, 0, 1), kinds=(SplitKind(split=split, shapes=shapes, children=children or {}),))


def segment_of(*lines, shapes):
    return a_segment(shapes, file=a_file(), data=b"".join(line + b"\n" for line in lines))


# ---------------------------------------------------------------- buckets


@pytest.mark.parametrize(
    ("slot", "value", "bucket"),
    [
        ("http.response.status_code", "503", "500 to 599"),
        ("http.response.status_code", "404", "400 to 499"),
        ("process.exit_code", "0", "0"),
        ("process.exit_code", "137", "not 0"),
        ("return_code", "-1", "not 0"),
        ("error.code", "13", "13"),
        ("errno", "70000", "10000 to 99999"),
        ("disk_usage", "97%", "90 to 99 %"),
        ("cpu.temperature", "104", "100 and more"),
        ("cpu.temperature", "4.5", "1 to 9"),
        ("retries", "-3", "below 0"),
        ("retries", "0", "0"),
        ("load", "0.25", "above 0 and below 1"),
        ("delay", "1500 ms", "1000 to 9999 ms"),
        ("state", "DEGRADED", "degraded"),
        ("ok", "false", "false"),
        ("state", "two words", None),
        ("state", "0xdeadbeef", None),
        ("state", "", None),
        ("state", "x" * 50, None),
    ],
)
def test_a_value_has_the_bucket_that_its_slot_gives_it(slot, value, bucket):
    assert bucket == bucket_of(slot, value)


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.sampled_from(["status", "exit_code", "retries", "temp", "x.level"]))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_numbers_of_a_slot_have_few_buckets_each_an_interval(number, slot):
    every = {bucket_of(slot, str(sign * 10**power * lead)) for sign in (1, -1) for power in range(8) for lead in (1, 9)}
    every |= {bucket_of(slot, str(small)) for small in range(1000)}
    assert bucket_of(slot, str(number)) in every
    assert len(every) <= 16
    assert bucket_of(slot, str(number)) in (bucket_of(slot, str(number - 1)), bucket_of(slot, str(number + 1)), "0")


def test_a_word_that_redaction_would_hide_is_no_bucket():
    assert bucket_of("password_was", "hunter") is None or bucket_of("login", "alice") is None
    assert bucket_of("login", "alice") is None
    assert bucket_of("token_state", "expired") in ("expired", None)


# ---------------------------------------------------------------- splits


def test_an_answer_splits_by_the_hole_that_its_slot_names():
    shape = shape_of(LINE % (b"10.0.0.1", b"200"))
    answer = an_answer(slots=("source.ip", "response.code"), splits_on="response.code")
    split = split_of(answer, shape, shape.template, shape.id)
    assert (TEMPLATE, 2, "response.code") == (split.template, split.hole, split.slot)
    assert split_of(answer, shape, "upstream <*> answered", shape.id) is None
    assert split_of(an_answer(slots=("source.ip", "response.code")), shape, shape.template, shape.id) is None
    assert split_of(an_answer(slots=("a", "b"), splits_on="c"), shape, shape.template, shape.id) is None


@pytest.mark.parametrize(
    "slot", ["source.ip", "user.name", "user_id", "session.id", "client_ip", "auth.token", "url.path", "name"]
)
def test_a_slot_of_persons_addresses_secrets_or_ids_is_not_split_by(slot):
    shape = shape_of(LINE % (b"10.0.0.1", b"200"))
    assert split_of(an_answer(slots=("a", slot), splits_on=slot), shape, shape.template, shape.id) is None


def test_what_was_split_off_is_never_split_again_nor_are_single_events():
    split = a_split()
    answer = an_answer(slots=("a", "response.code"), splits_on="response.code")
    child = child_shape(split, "400 to 499")
    assert split_of(answer, child, child.template, child.id) is None
    event = Shape(format=EVENT_FORMAT, level="", program="", skeleton="a \x01 b \x01\x00name")
    assert split_of(answer, event, event.template, event.id) is None


def test_the_id_of_a_child_is_a_hash_of_parent_slot_and_bucket():
    child = child_shape(a_split(), "400 to 499")
    expected = hashlib.sha256(b"\0".join((b"p" * 16, b"response.code", b"400 to 499"))).hexdigest()[:16]
    assert expected == child.id
    assert (SPLIT_FORMAT, TEMPLATE) == (child.format, child.template)
    condition = condition_of(child)
    assert ("p" * 16, "response.code", "400 to 499") == (condition.parent, condition.slot, condition.bucket)
    assert "<2> is 400 to 499" == condition.where
    assert condition_of(shape_of(LINE % (b"10.0.0.1", b"200"))) is None


# ---------------------------------------------------------------- events


def test_events_go_to_the_children_of_their_values_and_no_other_line_is_looked_at():
    codes = [b"200", b"503", b"0", b"201"]
    lines = [LINE % (b"10.0.0.1", code) for code in codes] + [b"  at frame", b"", b"another kind 503 503"]
    numbers = Numbers(shape_of(lines[0]), shape_of(lines[-1]))
    segment = segment_of(*lines, shapes=[1, 1, 1, 1, CONTINUES, SKIPPED, 2])
    done = Splitter(a_table(a_split(), 1)).apply(segment, numbers)
    buckets = {row: condition_of(shape).bucket for shape, row in numbers.ids.items() if shape.format == SPLIT_FORMAT}
    assert ["100 to 999", "100 to 999", "0", "100 to 999"] == [buckets[one] for one in done.shapes[:4].tolist()]
    assert [CONTINUES, SKIPPED, 2] == done.shapes[4:].tolist()
    assert [1, 1, 1, 1] == segment.shapes[:4].tolist()


def test_a_segment_without_such_events_is_given_back_as_it_is():
    segment = segment_of(b"a b", shapes=[7])
    assert Splitter(NO_SPLITS).apply(segment, Numbers()) is segment
    assert Splitter(a_table(a_split(), 1)).apply(segment, Numbers()) is segment


def test_an_event_that_the_template_does_not_fit_stays_with_its_parent():
    segment = segment_of(LINE % (b"10.0.0.1", b"200"), b"quite another thing", shapes=[1, 1])
    done = Splitter(a_table(a_split(), 1)).apply(segment, Numbers("parent"))
    assert [2, 1] == done.shapes.tolist()


def test_a_field_of_a_structured_line_is_read_as_one_of_text_is():
    lines = [
        json.dumps({"time": "2026-11-20T08:00:00Z", "level": "info", "msg": "request done", "status": code, "ms": 12})
        for code in (200, 503, 204)
    ]
    shape = shape_of(lines[0].encode())
    assert shape.template.endswith("status=<*>")
    hole = shape.template.count("<*>")
    split = a_split(lines[0].encode(), slot="http.response.status_code", hole=hole)
    numbers = Numbers(shape)
    done = Splitter(a_table(split, 1)).apply(segment_of(*map(str.encode, lines), shapes=[1, 1, 1]), numbers)
    assert ["200 to 299", "500 to 599"] == [condition_of(one).bucket for one in list(numbers.ids)[1:]]
    assert [2, 3, 2] == done.shapes.tolist()


@given(st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=1, max_size=60), st.integers(1, 59))
@settings(max_examples=25, derandomize=True, deadline=None)
def test_the_first_words_have_children_however_blocks_are_cut_and_the_rest_stays(words, cut):
    lines = [b"2026-11-20T08:00:00Z h app: unit went into mode%b" % word.encode() for word in words]
    split = Split(signature="p" * 16, level="", program="app", slot="mode", hole=1, template="unit went into mode<*>")
    results = []
    for parts in ([lines], [lines[:cut], lines[cut:]]):
        numbers, splitter, found = Numbers("parent"), Splitter(a_table(split, 1)), []
        for part in filter(None, parts):
            found += splitter.apply(segment_of(*part, shapes=[1] * len(part)), numbers).shapes.tolist()
        results.append(found)
    first = list(dict.fromkeys(words))[:MOST_CHILDREN]
    assert results[0] == results[1]
    assert [word in first for word in words] == [one != 1 for one in results[0]]


def test_children_that_a_store_knows_are_not_made_again():
    segment = segment_of(LINE % (b"10.0.0.1", b"200"), shapes=[1])
    done = Splitter(a_table(a_split(), 1, children={"100 to 999": 77})).apply(segment, Numbers())
    assert [77] == done.shapes.tolist()
    assert np.uint32 == done.shapes.dtype
