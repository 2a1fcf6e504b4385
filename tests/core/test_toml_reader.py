from __future__ import annotations

import tomllib

import pytest

from enricher.core.toml_reader import NUMBER, TableReader, finite, within


def read(text):
    return TableReader(tomllib.loads(text))


def test_every_fault_of_every_table_is_reported_with_its_place():
    reader = read("a = 1\nb = []\n[[many]]\nname = 2\nodd = 1\n[[many]]\n[one]\nx = nan\ny = 7")
    assert ("", ()) == (reader.take("a", str, ""), reader.take_list("b", str))
    for table in reader.tables("many"):
        table.take("name", str, "", required=True)
        table.finish()
    one = reader.table("one")
    assert one.take("x", NUMBER, 0.5, finite) == 0.5
    assert one.take("y", NUMBER, 0.5, within(0, 1)) == 0.5
    one.finish()
    reader.finish()
    assert reader.faults == [
        "a: must be a string, not a whole number",
        "b: must not be empty",
        "many[1].name: must be a string, not a whole number",
        "many[1].odd: unknown key",
        "many[2].name: missing",
        "one.x: must be a finite number",
        "one.y: must be from 0 to 1",
    ]


@pytest.mark.parametrize(
    ("text", "kind", "fault"),
    [
        ("v = true", int, "v: must be a whole number, not true or false"),
        ("v = true", NUMBER, "v: must be a number, not true or false"),
        ("v = 1979-05-27", str, "v: must be a string, not something else"),
        ("v = 1", (str, list), "v: must be a string or an array, not a whole number"),
    ],
)
def test_a_value_of_another_type_is_named_in_words(text, kind, fault):
    reader = read(text)
    reader.take("v", kind, None)
    assert reader.faults == [fault]


def test_the_member_of_an_array_that_is_wrong_is_counted_out():
    reader = read('v = ["a", 2]\nw = [1, 2]\nmany = [1]')
    assert () == reader.take_list("v", str)
    assert (1, 2) == reader.take_list("w", int)
    assert [] == reader.tables("many")
    assert reader.faults == [
        "v: number 2 must be a string, not a whole number",
        "many: number 1 must be a table, not a whole number",
    ]
