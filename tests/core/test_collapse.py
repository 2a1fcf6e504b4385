"""Folding of numbers: the block form, the line form and a plain definition of both agree."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enricher.core.collapse import collapse, collapse_hex, collapse_line, raw_offset

LOGGISH = st.text(alphabet="0019afAFxXgz_-./: é\n", max_size=60).map(str.encode) | st.binary(max_size=60)
LINES = LOGGISH.map(lambda text: text.replace(b"\n", b" "))


@settings(derandomize=True, max_examples=100)
@given(LOGGISH)
def test_every_run_of_digits_becomes_one_zero(text):
    assert re.sub(rb"[0-9]+", b"0", text) == collapse(text)


@settings(derandomize=True, max_examples=100)
@given(LOGGISH)
def test_folding_twice_changes_nothing(text):
    once = collapse_hex(collapse(text))

    assert once == collapse_hex(collapse(once))


@settings(derandomize=True, max_examples=100)
@given(st.lists(LINES, max_size=5))
def test_a_line_folds_alone_as_it_does_in_a_block(lines):
    block = collapse_hex(collapse(b"\n".join(lines)))

    assert block.split(b"\n") == [collapse_line(line, limit_bytes=1_000) for line in lines or [b""]]


@pytest.mark.parametrize(
    ("line", "folded"),
    [
        (b"blk_-1608999687919862906", b"blk_-0"),
        (b"session 0x14ede63a5a70001 closed", b"session 0 closed"),
        (b"id 7f3a9c2e-11aa-4bcd-9e00-0123456789ab", b"id 0-0-0-0-0"),
        (b"de:ad:be:ef:00:01", b"de:ad:be:ef:0:0"),
        (b"facade dead beef", b"facade dead beef"),
        (b"eth0 sda12 x86_64", b"eth0 sda0 x0_0"),
        (b"0x 0xzz 1920x1080", b"0 0xzz 0"),
        ("größe1f 1é é1".encode(), "größe0f 0é é0".encode()),
        (b"", b""),
    ],
)
def test_words_of_hexadecimal_digits_with_a_number_in_them_become_zero(line, folded):
    assert folded == collapse_hex(collapse(line))
    assert folded == collapse_line(line, limit_bytes=1_000)


@settings(derandomize=True, max_examples=100)
@given(LINES, st.integers(0, 70))
@example(b"10:20:30 0xdeadbeef next", 7)
def test_raw_offset_splits_the_raw_line_where_the_collapsed_line_was_split(line, offset):
    collapsed = collapse_line(line, limit_bytes=1_000)
    offset = min(offset, len(collapsed))
    raw = raw_offset(line, offset)
    inside_word = collapsed[max(offset - 1, 0) : offset + 1].isalnum() or b"\x7f" < collapsed[offset - 1 : offset]

    assert 0 <= raw <= len(line)
    if not inside_word:
        assert collapsed[offset:] == collapse_line(line[raw:], limit_bytes=1_000)


def test_a_line_far_over_the_limit_folds_to_the_same_bytes():
    line = b"12 ab1 " * 5_000

    assert (b"0 0 " * 5_000)[:100] == collapse_line(line, limit_bytes=100)
