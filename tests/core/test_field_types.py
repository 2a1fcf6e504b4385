"""Values become what their ECS type says, or are found not to be of it; nothing is guessed."""

from __future__ import annotations

import json
from datetime import datetime
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.ecs import FIELDS
from enricher.core.field_types import FieldType, all_fit, converted, none_fits

TYPED = [kind for kind in FieldType if kind is not FieldType.STRING]
INTEGERS = range(-(2**63), 2**63)


def parsed(text: bytes, kind: FieldType):
    return json.loads(b'"%b"' % text if kind.is_quoted else text)


def is_of(value: object, kind: FieldType) -> bool:
    """Whether a parsed JSON value is one that an index takes for a field of the type."""
    match kind:
        case FieldType.INTEGER:
            return type(value) is int and value in INTEGERS
        case FieldType.FLOAT:
            return type(value) in (int, float)
        case FieldType.BOOLEAN:
            return type(value) is bool
        case FieldType.IP:
            return ip_address(value) is not None and "%" not in value
        case FieldType.TIMESTAMP:
            return datetime.fromisoformat(value).utcoffset().total_seconds() == 0 and value.endswith("Z")
    return isinstance(value, str)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (FieldType.INTEGER, "22", "22"),
        (FieldType.INTEGER, "-7", "-7"),
        (FieldType.INTEGER, "-0", "0"),
        (FieldType.INTEGER, "+5", "5"),
        (FieldType.INTEGER, "007", "7"),
        (FieldType.INTEGER, "0x1F4", "500"),
        (FieldType.INTEGER, "9223372036854775807", "9223372036854775807"),
        (FieldType.INTEGER, "9223372036854775808", None),
        (FieldType.INTEGER, "0xffffffffffffffff", None),
        (FieldType.INTEGER, "1_000", None),
        (FieldType.INTEGER, "1,000", None),
        (FieldType.INTEGER, "1.5", None),
        (FieldType.INTEGER, "12ms", None),
        (FieldType.INTEGER, "-", None),
        (FieldType.INTEGER, "", None),
        (FieldType.INTEGER, " 1", None),
        (FieldType.INTEGER, "1\n", None),
        (FieldType.INTEGER, "٣", None),
        (FieldType.INTEGER, "9" * 5000, None),
        (FieldType.FLOAT, "9.8", "9.8"),
        (FieldType.FLOAT, "7", "7.0"),
        (FieldType.FLOAT, ".5", "0.5"),
        (FieldType.FLOAT, "1e3", "1000.0"),
        (FieldType.FLOAT, "1e999", None),
        (FieldType.FLOAT, "nan", None),
        (FieldType.FLOAT, "inf", None),
        (FieldType.FLOAT, "1_0.0", None),
        (FieldType.BOOLEAN, "true", "true"),
        (FieldType.BOOLEAN, "False", "false"),
        (FieldType.BOOLEAN, "TRUE", "true"),
        (FieldType.BOOLEAN, "1", None),
        (FieldType.BOOLEAN, "yes", None),
        (FieldType.IP, "10.0.0.7", "10.0.0.7"),
        (FieldType.IP, "2001:db8::1", "2001:db8::1"),
        (FieldType.IP, "[::1]", "::1"),
        (FieldType.IP, "fe80::1%eth0", None),
        (FieldType.IP, "10.0.0.256", None),
        (FieldType.IP, "010.0.0.1", None),
        (FieldType.IP, "10.0.0.7:22", None),
        (FieldType.IP, "10.0.0", None),
        (FieldType.IP, "web1", None),
        (FieldType.TIMESTAMP, "2026-11-22T10:00:01Z", "2026-11-22T10:00:01Z"),
        (FieldType.TIMESTAMP, "2026-11-22T10:00:01.123456789Z", "2026-11-22T10:00:01.123456789Z"),
        (FieldType.TIMESTAMP, "2026-11-22 10:00:01,5+01:00", "2026-11-22T09:00:01.5Z"),
        (FieldType.TIMESTAMP, "2026-11-22 23:30:00 -0130", "2026-11-23T01:00:00Z"),
        (FieldType.TIMESTAMP, "2026-11-22 10:00:01 UTC", "2026-11-22T10:00:01Z"),
        (FieldType.TIMESTAMP, "2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        (FieldType.TIMESTAMP, "2026-02-29T00:00:00Z", None),
        (FieldType.TIMESTAMP, "1795341600", "2026-11-22T10:00:00Z"),
        (FieldType.TIMESTAMP, "1795341600123", "2026-11-22T10:00:00.123Z"),
        (FieldType.TIMESTAMP, "1795341600.25", "2026-11-22T10:00:00.25Z"),
        (FieldType.TIMESTAMP, "0001-01-01T00:00:00+01:00", None),
        (FieldType.TIMESTAMP, "2026-11-22 10:00:01", None),
        (FieldType.TIMESTAMP, "Nov 22 10:00:01", None),
        (FieldType.STRING, "any thing", "any thing"),
    ],
)
def test_a_value_is_converted_where_it_can_mean_one_thing_only(kind, text, expected):
    found = converted(text.encode(), kind)
    assert expected == (None if found is None else found.decode())


def values_of(kind: FieldType) -> st.SearchStrategy[bytes]:
    likely = {
        FieldType.INTEGER: st.integers(-(2**70), 2**70).map(str) | st.from_regex(r"[+-]?0?[0-9]{1,20}", fullmatch=True),
        FieldType.FLOAT: st.floats().map(repr) | st.decimals(allow_nan=False, allow_infinity=False).map(str),
        FieldType.BOOLEAN: st.sampled_from(["true", "false", "True", "no", "truefalse"]),
        FieldType.IP: st.ip_addresses().map(str) | st.from_regex(r"([0-9]{1,3}\.){3}[0-9]{1,3}", fullmatch=True),
        FieldType.TIMESTAMP: st.datetimes().map(lambda at: at.isoformat() + "Z") | st.integers(0, 2**63).map(str),
    }[kind]
    return (likely | st.text(max_size=12)).map(lambda text: text.encode())


@pytest.mark.parametrize("kind", TYPED)
@given(data=st.data())
@settings(max_examples=150, derandomize=True)
def test_what_comes_out_is_json_that_an_index_takes_for_the_type(kind, data):
    value = data.draw(values_of(kind))
    found = converted(value, kind)
    if found is not None:
        assert is_of(parsed(found, kind), kind)
    if all_fit([value], kind):
        assert is_of(parsed(value, kind), kind)
        assert parsed(found, kind) == parsed(value, kind)


@pytest.mark.parametrize("kind", TYPED)
@given(data=st.data())
@settings(max_examples=60, derandomize=True)
def test_a_column_fits_if_each_of_its_values_does(kind, data):
    column = data.draw(st.lists(values_of(kind), max_size=5))
    assert all(all_fit([value], kind) for value in column) == all_fit(column, kind)


@pytest.mark.parametrize("kind", TYPED)
@given(data=st.data())
@settings(max_examples=60, derandomize=True)
def test_what_holds_a_strange_byte_is_never_converted(kind, data):
    column = data.draw(st.lists(values_of(kind) | st.binary(max_size=9) | st.just(b"43 ms"), min_size=1, max_size=3))
    if none_fits(column, kind):
        assert {None} == {converted(value, kind) for value in column}


def test_numbers_with_units_are_known_for_strangers_together():
    assert none_fits([b"43 ms", b"7 ms", b"2 GB"], FieldType.INTEGER)
    assert not none_fits([b"43 ms", b"7"], FieldType.INTEGER)


def test_line_ends_in_a_value_are_no_way_past_the_look_at_a_column():
    assert not all_fit([b"1\n2"], FieldType.INTEGER)
    assert not all_fit([b"1", b"2\n"], FieldType.INTEGER)


@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize("text", ["1", "1.", "-", "0", "true", "2026-11-22T10:00:01.", "10.", ":"])
def test_hostile_columns_are_refused_in_linear_time(kind, text):
    value = text.encode() * 100_000
    assert not all_fit([value, b"x"] * 5, kind)
    assert converted(value, kind) is None


def test_fields_have_the_types_of_the_schema():
    some = ("source.ip", "source.port", "user.id", "process.pid", "file.mode", "http.response.status_code")
    assert [FIELDS[name].value for name in some] == ["ip", "integer", "string", "integer", "string", "integer"]
    assert {kind.value for kind in FieldType} == {kind.value for kind in FIELDS.values()}
