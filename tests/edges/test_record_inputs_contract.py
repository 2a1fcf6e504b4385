"""What `ports.RecordInput` promises, by behaviour, on every input that there is."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from enricher.edges.record_inputs import open_input
from enricher.edges.record_inputs.documents import input as documents
from enricher.errors import InputError, UsageError
from enricher.ports.records import MAX_BATCH_BYTES, MAX_BATCH_ROWS
from tests.edges.record_formats import INPUTS, TABLES, all_rows, some_rows


@pytest.fixture(params=INPUTS)
def made(request, tmp_path):
    def make(rows):
        return INPUTS[request.param](tmp_path, rows)

    return make


@pytest.fixture(params=TABLES)
def made_table(request, tmp_path):
    def make(rows):
        return TABLES[request.param](tmp_path, rows)

    return make


@contextlib.contextmanager
def opening(made):
    sources = []

    def open_rows(rows, **options):
        one = made(rows)
        sources.append(open_input(one.spec, **one.options, **options))
        return sources[-1]

    yield open_rows
    for source in sources:
        source.close()


@pytest.fixture
def opened(made):
    with opening(made) as open_rows:
        yield open_rows


@pytest.fixture
def opened_table(made_table):
    with opening(made_table) as open_rows:
        yield open_rows


def test_every_row_comes_once_and_in_order(opened_table):
    rows = some_rows(20_000)
    keys, values, faults = all_rows(opened_table(rows))
    assert (keys, values, faults) == ([row["id"] for row in rows], rows, {})


def test_rows_come_again_from_the_first(opened):
    source = opened(some_rows(300))
    next(iter(source.rows()))  # left in the midst
    assert all_rows(source) == all_rows(source)


def test_keys_are_told_apart_and_stand_in_their_rows(opened):
    source = opened(some_rows(100))
    keys, values, _ = all_rows(source)
    assert (len(set(keys)), [row[source.key_column] for row in values]) == (100, keys)
    assert set(source.columns()) >= set(values[0])


def test_batches_hold_to_their_bounds(opened_table):
    source = opened_table([{"id": str(n), "text": "x" * (4000 if n > 10_000 else 10)} for n in range(13_000)])
    batches = list(source.rows())
    assert max(len(batch.keys) for batch in batches) <= MAX_BATCH_ROWS
    assert max(sum(len(row["text"]) for row in batch.values) for batch in batches) <= 1.1 * MAX_BATCH_BYTES


def test_columns_are_those_of_the_first_rows_and_looking_costs_no_row(opened_table):
    source = opened_table(some_rows(3))
    assert (tuple(source.columns()), source.key_column, source.text_column) == (("id", "text"), "id", None)
    assert all_rows(source)[0] == ["k1", "k2", "k3"]


def test_key_column_is_the_one_asked_for(opened_table):
    source = opened_table(some_rows(3), key="text")
    assert (source.key_column, all_rows(source)[0]) == ("text", ["row 1", "row 2", "row 3"])


def test_a_key_column_that_is_not_there_is_refused_with_those_that_are(opened_table):
    with pytest.raises(UsageError, match="no column number") as refused:
        opened_table(some_rows(3), key="number")
    assert "id, text" in refused.value.hint


def test_rows_without_an_id_are_counted_from_1(opened_table):
    source = opened_table([{"text": row["text"]} for row in some_rows(9000)])
    assert source.key_column == ""
    assert all_rows(source)[0] == [str(n) for n in range(1, 9001)]


def test_rows_are_counted_where_that_is_asked_for_whatever_their_ids(opened_table):
    source = opened_table([{"id": "same", "text": row["text"]} for row in some_rows(3)], key="")
    keys, values, faults = all_rows(source)
    assert (source.key_column, keys, faults) == ("", ["1", "2", "3"], {})
    assert ["same"] * 3 == [row["id"] for row in values]


def test_a_row_without_a_key_is_a_fault_and_costs_no_other(opened_table):
    rows = some_rows(3)
    rows[1]["id"] = ""
    keys, values, faults = all_rows(opened_table(rows, key="id"))
    assert (keys[0], keys[2], values) == ("k1", "k3", rows)
    assert list(faults) == [1]
    status, reason = faults[1]
    assert status == "unreadable"
    assert reason.startswith(keys[1])
    assert reason.endswith("its key column id is empty")


def test_an_input_without_rows_has_no_columns(opened_table):
    source = opened_table([])
    assert (tuple(source.columns()), all_rows(source)) == ((), ([], [], {}))


def test_an_input_is_closed_in_the_midst_and_twice(opened, request, monkeypatch):
    monkeypatch.setattr(documents, "_BATCH_SECONDS", 0.0)
    source = opened(some_rows(20 if "documents" in request.node.name else 9_000))
    rows = source.rows()
    next(rows)
    source.close()
    source.close()
    with pytest.raises(InputError, match="was closed before its end"):
        list(rows)


def test_fingerprint_changes_with_the_content_alone(made):
    first = made(some_rows(3))
    prints = []
    for rows in (None, None, some_rows(4)):
        one = first if rows is None else made(rows)
        source = open_input(one.spec, **one.options)
        prints.append(source.fingerprint())
        source.close()
    assert prints[0] == prints[1]
    assert (prints[1] != prints[2]) == (prints[0] != "")


def test_a_path_that_is_not_there_is_named(made):
    one = made(some_rows(1))
    (shutil.rmtree if one.file.is_dir() else Path.unlink)(one.file)
    with pytest.raises(InputError, match=f"{one.file} does not exist"):
        open_input(one.spec, **one.options)
