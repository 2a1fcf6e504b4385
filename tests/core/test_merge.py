"""Which shapes become one signature, and which never do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.merge import BURST_SHAPES, FIRST_WORDS, STATE_WORDS, Merge, Merger
from enricher.core.skeleton import shape_of

COLOURS = ["red", "green", "blue", "pink", "gold", "grey", "teal", "lime", "navy", "plum"]


def added(*lines: str) -> tuple[Merger, list[list[Merge]]]:
    merger = Merger()
    return merger, [merger.add(row_id, shape_of(line.encode())) for row_id, line in enumerate(lines, start=1)]


def signatures(*lines: str) -> list[int]:
    merger, _ = added(*lines)
    return [merger.resolve(row_id) for row_id in range(1, len(lines) + 1)]


def test_three_words_in_one_place_make_a_hole():
    merger, merges = added(*(f"painted the {colour} door" for colour in COLOURS[:3]))

    assert [[], [], [Merge(members=(1, 2, 3), template="painted the <*> door")]] == merges
    assert [1, 1, 1] == [merger.resolve(row_id) for row_id in (1, 2, 3)]


def test_two_words_in_one_place_make_none():
    assert [1, 2] == signatures("painted the red door", "painted the blue door")


def test_a_shape_that_falls_into_a_hole_joins_its_signature():
    merger, merges = added(*(f"painted the {colour} door" for colour in COLOURS[:4]), "painted the RED door")

    assert [Merge(members=(1, 4), template="painted the <*> door")] == merges[3]
    assert [Merge(members=(1, 5), template="painted the <*> door")] == merges[4]
    assert 1 == merger.resolve(5)


def test_the_first_word_needs_more_to_become_a_hole():
    lines = [f"{colour} paint is dry" for colour in COLOURS]

    assert list(range(1, FIRST_WORDS)) == signatures(*lines[: FIRST_WORDS - 1])
    assert [1] * FIRST_WORDS == signatures(*lines[:FIRST_WORDS])


@pytest.mark.parametrize(
    "words",
    [
        ("started", "stopped", "failed", "paused"),
        ("accepted", "denied", "Rejected"),
        ("RUNNING", "STALLED", "DRAINED", "PARKED"),
    ],
)
def test_words_that_change_what_to_do_never_make_a_hole(words):
    lines = [f"the worker was {word} by its owner" for word in words]

    assert list(range(1, len(lines) + 1)) == signatures(*lines)


def test_a_guarded_word_does_not_fall_into_a_hole_either():
    lines = [f"painted the {word} door" for word in (*COLOURS[:3], "failed")]

    assert [1, 1, 1, 4] == signatures(*lines)


def test_shapes_of_different_levels_are_never_joined():
    headers = ["2026-11-22 10:00:00 INFO", "2026-11-22 10:00:00 WARN", "2026-11-22 10:00:00 ERROR"]
    lines = [f"{header} painted the {colour} door" for header, colour in zip(headers, COLOURS, strict=False)]

    assert [1, 2, 3] == signatures(*lines)


def test_a_message_that_says_what_happened_is_one_signature_whatever_program_it_comes_from():
    programs = ["cron", "sshd", "su"]
    lines = [f"Nov 22 10:00:00 web {program}[1]: session closed for bob" for program in programs]

    assert [1, 1, 1] == signatures(*lines)


def test_a_short_message_says_something_else_from_each_program():
    lines = [f"Nov 22 10:00:00 web {program}[1]: shutting down" for program in ("cron", "sshd", "su")]

    assert [1, 2, 3] == signatures(*lines)


def test_a_message_is_never_all_hole():
    assert list(range(1, 11)) == signatures(*COLOURS)
    assert list(range(1, 11)) == signatures(*(f"{colour} paint" for colour in COLOURS))


def test_a_word_behind_an_equals_sign_needs_one_more_to_become_a_hole():
    lines = [f"the login of owner={name} came late" for name in COLOURS[:4]]

    assert [1, 2, 3] == signatures(*lines[:3])
    assert [1, 1, 1, 1] == signatures(*lines)


@pytest.mark.parametrize("name", ["status ", "state=", "phase: ", "Mode "])
def test_states_are_no_names(name):
    states = [
        "half-installed",
        "installed",
        "unpacked",
        "half-configured",
        "pending",
        "config-files",
        "awaited",
        "gone",
    ]

    assert [1, 2, 3, 4, 5, 6, 7, 8] == signatures(*(f"package has {name}{state} now" for state in states))


def test_so_many_words_behind_the_name_of_a_state_are_none():
    lines = [f"the state {chr(97 + number) * 5} of it is known" for number in range(STATE_WORDS)]

    assert [*range(1, STATE_WORDS)] == signatures(*lines[:-1])
    assert [1] * STATE_WORDS == signatures(*lines)


def test_states_stay_apart_when_names_beside_them_are_joined():
    lines = [
        f"package {colour} has state {state} now"
        for colour in COLOURS
        for state in ("unpacked", "installed", "half-configured")
    ]

    assert 3 == len(set(signatures(*lines)))


@pytest.mark.parametrize("order", [1, -1])
def test_one_word_joins_a_value_that_stands_in_the_same_place(order):
    lines = ["too many failures for user7 today", "too many failures for admin today"][::order]

    assert [1, 1] == signatures(*lines)


def test_names_of_methods_make_no_hole():
    assert [1, 2, 3] == signatures(*(f"Radio::{name} gave the value 5" for name in ("wake", "sleep", "reset")))


def test_shapes_that_differ_in_spacing_alone_are_joined_at_once():
    _, merges = added("state: up (all)", "state : up ( all)")

    assert [[], [Merge(members=(1, 2), template="state : up ( all)")]] == merges


def test_a_merge_names_one_member_of_each_group_it_joins():
    # Two holes, one in the fourth word and one in the second, meet when they have a word each in common.
    lines = [f"painted {place} wall {colour}" for place in ("north", "south", "west") for colour in COLOURS[:3]]
    merger, merges = added(*lines)

    assert [Merge(members=(1, 2, 3), template="painted north wall <*>")] == merges[2]
    assert {1} == {merger.resolve(row_id) for row_id in range(1, 10)}
    assert "painted <*> wall <*>" == merges[-1][-1].template
    assert all(list(merge.members) == sorted(set(merge.members)) for step in merges for merge in step)


def test_a_burst_of_lines_with_two_free_words_becomes_one_signature():
    letters = [chr(97 + number) for number in range(BURST_SHAPES)]
    lines = [f"user {letter}x moved file {letter}y over there quickly" for letter in letters]

    assert list(range(1, BURST_SHAPES)) == signatures(*lines[:-1])
    merger, merges = added(*lines, "user another moved file thing over there quickly")

    assert "user <*> moved file <*> over there quickly" == merges[BURST_SHAPES - 1][0].template
    assert tuple(range(1, BURST_SHAPES + 1)) == merges[BURST_SHAPES - 1][0].members
    assert 1 == merger.resolve(BURST_SHAPES + 1)


def test_a_shape_added_twice_changes_nothing_and_an_unknown_one_stands_for_itself():
    merger, _ = added("painted the red door")

    assert [] == merger.add(1, shape_of(b"painted the red door"))
    assert 99 == merger.resolve(99)


SENTENCES = st.lists(
    st.lists(st.sampled_from(["ab", "cd", "ef", "gh", "ij", "failed", "5", "UP"]), min_size=3, max_size=5).map(
        " ".join
    ),
    max_size=40,
    unique=True,
)


@settings(derandomize=True, max_examples=60)
@given(SENTENCES)
def test_replaying_the_shapes_rebuilds_the_same_state(lines):
    first, merges = added(*lines)
    again, merges_again = added(*lines)
    rows = range(1, len(lines) + 1)

    assert merges == merges_again
    assert [first.resolve(row) for row in rows] == [again.resolve(row) for row in rows]


@settings(derandomize=True, max_examples=60)
@given(SENTENCES)
def test_an_alias_table_fed_with_the_merges_agrees_and_templates_cover_their_members(lines):
    merger, merges = added(*lines)
    aliases: dict[int, int] = {}
    templates: dict[int, str] = {}

    def target(row: int) -> int:
        while row in aliases:
            row = aliases[row]
        return row

    for merge in (merge for step in merges for merge in step):
        roots = sorted({target(member) for member in merge.members})
        aliases |= dict.fromkeys(roots[1:], roots[0])
        templates[roots[0]] = merge.template
    for row, line in enumerate(lines, start=1):
        template = templates.get(target(row), shape_of(line.encode()).template)
        covering = re.escape(template).replace(r"<\*>", ".+")

        assert target(row) == merger.resolve(row)
        assert re.fullmatch(covering, shape_of(line.encode()).template)


def test_names_of_several_words_make_a_hole_whatever_their_number():
    names = ["Print Spooler", "Web Proxy Auto Discovery Service", "Clock", "BITS"]
    found = [f"now {name} was seen by the watchdog of this host" for name in names]

    assert 1 == len(set(signatures(*found)))


def test_what_begins_a_sentence_is_no_part_of_a_name():
    found = [f"checked the disk. {word} Disks were seen by the watchdog" for word in ("All", "Many")]

    assert 2 == len(set(signatures(*found)))


def test_titles_that_say_what_happened_are_no_names():
    titles = ["Port Scan Detected", "Brute Force Detected", "Traffic Flood Seen", "Worm Spread Seen"]

    assert 4 == len(set(signatures(*[f"security alert: {title} from host 10.0.0.1 again" for title in titles])))
    assert 4 == len(set(signatures(*[f"{title} On Host 10.0.0.1 Again By Sensor" for title in titles])))


def test_holes_beside_each_other_are_one_when_they_come_from_words_too():
    found = [f"session of {name}/10.0.0.1:7 was seen here" for name in ("web", "mail", "shop")]

    assert 1 == len(set(signatures(*found, "session of 10.0.0.1:7 was seen here")))


def test_a_host_without_a_name_joins_those_with_an_address():
    found = ["made contact with h1.example.org:7 again", "made contact with unknown:7 again"]

    assert 1 == len(set(signatures(*found)))
