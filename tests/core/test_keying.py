"""Lines of one event in two files: how many of those in the second belong to what was held back of the first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.block import CONTINUES, Tail
from enricher.core.keying import Keying, KeyingRule, Reading, key_lines
from enricher.core.signature import ShapeIndex
from enricher.edges.source_files.tracking import new_row

RULE = KeyingRule(length_seconds=3600, zone="UTC", time_pattern=None, drop=(), ask_events=False)
BROKEN = b"2026-11-22T10:59:58Z ERROR broken\n"
FRAME = b"\tat com.example.Shop.sell(Shop.java:17)\n"
AFTER = b"2026-11-22T11:00:01Z after\n"


def keying(*multiline):
    return Keying(KeyingRule(**{**{name: getattr(RULE, name) for name in RULE.__slots__}, "multiline": multiline}))


def a_file():
    return new_row("s", b"/log/a.log", SimpleNamespace(st_dev=1, st_ino=2), "", "plain")


def joined(held, following, *, whole=False, rule=None):
    return (rule or Keying(RULE)).joined(a_file(), held, following, whole=whole)


@pytest.mark.parametrize(
    ("held", "following", "expected"),
    [
        (BROKEN, AFTER, 0),
        (BROKEN, FRAME + AFTER, len(FRAME)),
        (BROKEN + FRAME, FRAME * 3 + b"Caused by: x.Y: z\n" + AFTER, len(FRAME) * 3 + 18),
        # A blank line ends it, and what continues nothing is an event of its own.
        (BROKEN, b"\n" + FRAME + AFTER, 0),
        (BROKEN + b"\n", FRAME + AFTER, 0),
        # The frame behind it tells what the line before it is.
        (BROKEN, b"java.lang.IllegalStateException: no\n" + FRAME + AFTER, 36 + len(FRAME)),
        (BROKEN, b"java.lang.IllegalStateException: no\n" + AFTER, 0),
    ],
)
def test_lines_of_the_next_file_belong_to_an_event_as_they_would_in_one_file(held, following, expected):
    assert expected == joined(held, following)


@pytest.mark.parametrize("following", [FRAME, b"java.lang.IllegalStateException: no\n", b"  x\n" * 9])
def test_lines_that_more_may_follow_are_not_told_before_they_are_all_there(following):
    assert None is joined(BROKEN, following)
    assert (0 if following.startswith(b"java") else len(following)) == joined(BROKEN, following, whole=True)


def test_the_users_rule_holds_for_the_next_file():
    rule = keying("start", r"^\[")
    assert 10 == joined(b"[1] one\n", b"more\nmore\n[2] two\n", rule=rule)
    assert 0 == joined(b"[1] one\n", b"[2] two\n[3]\n", rule=rule)


def test_only_where_events_have_one_line_is_nothing_joined():
    assert [True, True, False] == [Keying(RULE).joins, keying("continues", "^x").joins, keying("off", None).joins]


LINES = st.lists(
    st.sampled_from(
        [BROKEN, AFTER, FRAME, b"\n", b"x.Y: z\n", b"Caused by: x.Y: z\n", b'  File "a.py", line 1\n', b"}\n"]
    ),
    max_size=9,
).map(b"".join)


@given(held=st.sampled_from([BROKEN, BROKEN + FRAME, AFTER + b"\n", b"x.Y: z\n"]), following=LINES, more=LINES)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_what_is_told_stays_so_and_is_one_event_in_the_segment(held, following, more):
    taken = joined(held, following)
    whole = joined(held, following, whole=True)
    if taken is not None:
        assert taken == whole == joined(held, following + more)
    lines = following[:whole].count(b"\n")
    tails = (
        (Tail(path=b"/log/b.log", identity="b", generation=0, offset=0, size_bytes=whole, lines=lines),)
        if whole
        else ()
    )
    reading = Reading(
        file=a_file(), data=held + following[:whole], lost_bytes=0, final=True, fallback=0.0, read_at=0.0, tails=tails
    )
    numbers = {}
    keyed = key_lines(
        reading,
        Keying(RULE),
        ShapeIndex(),
        lambda shapes: [numbers.setdefault(one, len(numbers) + 1) for one in shapes],
    )
    (segment,) = keyed.segments
    assert tails == segment.tails
    assert [CONTINUES] * lines == segment.shapes.tolist()[held.count(b"\n") :]
