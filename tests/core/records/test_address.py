"""What the address of records says by itself."""

from __future__ import annotations

import pytest

from enricher.core.records.address import SqliteAddress, asked_format, format_of_name, sqlite_address
from enricher.errors import UsageError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", "jsonl"),
        ("dir.d/a.ndjson.gz", "jsonl"),
        ("A.CSV.ZST", "csv"),
        ("a.tsv", "tsv"),
        ("a.b.parquet", "parquet"),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("jsonl", None),
        ("a.jsonl.bak", None),
        ("a.csv/b", None),
    ],
)
def test_a_format_is_told_by_the_last_suffix_but_a_compression(name, expected):
    assert format_of_name(name) == expected


@pytest.mark.parametrize(
    ("spec", "path", "table"),
    [
        ("a.db", "a.db", ""),
        ("dir/a.sqlite3#some table", "dir/a.sqlite3", "some table"),
        ("sqlite:a.data#t", "a.data", "t"),
        ("sqlite:a", "a", ""),
    ],
)
def test_a_database_is_told_by_its_suffix_or_prefix(spec, path, table):
    assert sqlite_address(spec) == SqliteAddress(path=path, table=table)


@pytest.mark.parametrize("spec", ["a.csv", "a.db.csv", "sqlite:", "a#b.db", "-"])
def test_anything_else_is_no_database(spec):
    assert sqlite_address(spec) is None


@pytest.mark.parametrize("spec", ["a.csv", "-", "docs", "a"])
def test_a_format_that_there_is_may_be_asked_for_and_another_is_refused_with_those_there_are(spec):
    assert (None, "tsv") == (asked_format(spec, None), asked_format(spec, "tsv"))
    with pytest.raises(UsageError, match="there is no format 'xml'") as refused:
        asked_format(spec, "xml")
    assert "jsonl, csv, tsv, parquet" in refused.value.hint


@pytest.mark.parametrize("spec", ["a.db", "sqlite:a#t", "postgresql://u@h/d"])
def test_a_format_of_a_database_is_refused_and_not_passed_over(spec):
    assert asked_format(spec, None) is None
    with pytest.raises(UsageError, match="is a database, which has no format csv"):
        asked_format(spec, "csv")
