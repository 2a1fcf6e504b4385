"""The names of holes stay with their holes while a template grows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.alignment import aligned

ASKED = "login of <*> from <*> failed"
SLOTS = ("user.name", "source.ip")
WORDS = st.lists(st.sampled_from(["disk", "login", "from", "of", "peer", "<*>"]), min_size=1, max_size=12)


def test_a_template_that_is_what_was_asked_keeps_its_names():
    assert SLOTS == aligned(SLOTS, ASKED, ASKED)


def test_names_are_taken_in_order_where_it_is_not_known_what_was_asked():
    assert SLOTS == aligned(SLOTS, "", "<*> and <*>")


def test_a_word_that_became_a_hole_has_no_name_and_moves_no_other():
    assert ("", "user.name", "source.ip") == aligned(SLOTS, ASKED, "<*> of <*> from <*> failed")
    assert ("user.name", "source.ip", "") == aligned(SLOTS, ASKED, "login of <*> from <*> <*>")


def test_words_that_became_one_hole_move_no_name():
    asked = "peer web one took <*> and gave <*> back"
    assert ("", "n", "m") == aligned(("n", "m"), asked, "peer <*> took <*> and gave <*> back")


def test_a_hole_whose_place_is_in_doubt_has_no_name():
    assert ("", "") == aligned(("a", "b"), "<*> <*> x", "<*> <*> y z")


def test_a_template_without_end_takes_no_time_with_its_square():
    asked = "a <*> " * 50_000
    assert {""} == set(aligned(("n",), asked, asked + " b <*>"))


@settings(max_examples=200, derandomize=True)
@given(WORDS, st.data())
def test_each_name_stands_where_its_hole_was_when_words_become_holes(words, data):
    names = tuple(f"n{at}" for at, word in enumerate(words) if word == "<*>")
    opened = data.draw(st.sets(st.integers(0, len(words) - 1)))
    grown = ["<*>" if at in opened else word for at, word in enumerate(words)]
    found = aligned(names, " ".join(words), " ".join(grown))
    expected = tuple(f"n{at}" if words[at] == "<*>" else "" for at, word in enumerate(grown) if word == "<*>")
    assert expected == found
