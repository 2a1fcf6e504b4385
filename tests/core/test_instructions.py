"""What speaks to a model, and what only reads a little like it."""

from __future__ import annotations

import time

import pytest

from enricher.core.instructions import looks_like_instructions
from enricher.core.redact import clean
from tests.core.hostile import NOISE, ORDERS
from tests.core.planted import HARMLESS, PLANTED


def test_the_corpus_is_as_large_as_it_says():
    assert 100 <= len(ORDERS)


@pytest.mark.parametrize("line", ORDERS)
def test_an_order_to_a_model_is_noticed_with_and_without_what_hides_it(line):
    assert looks_like_instructions(line)
    assert looks_like_instructions(clean(line))


@pytest.mark.parametrize("line", [*HARMLESS, *(line for line, _ in PLANTED)])
def test_lines_for_people_are_not_taken_for_orders(line):
    assert not looks_like_instructions(line)


def test_ten_megabytes_of_one_character_take_no_time():
    start = time.process_time()
    for character in ("A", " ", "{", "s", "\u200b", "é"):
        assert not looks_like_instructions(character * 10_000_000)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("line", NOISE)
def test_noise_is_cleaned_for_terminals_in_little_time(line):
    start = time.process_time()
    looks_like_instructions(line)
    assert clean(line) == clean(clean(line))
    assert not [one for one in clean(line) if ord(one) < 32 or 0x7F <= ord(one) < 0xA0]
    assert time.process_time() - start < 1
