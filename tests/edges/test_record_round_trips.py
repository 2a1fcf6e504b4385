"""What an output holds, the input of its format gives back: as it was, or as the text of a cell."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from enricher.edges.record_inputs import open_input
from enricher.edges.record_outputs import open_output
from enricher.edges.record_outputs import parquet as parquet_output
from enricher.edges.record_outputs.cells import cell_text
from enricher.edges.record_outputs.column_kinds import NOTHING, TEXT, Kind, kind_of, wider
from tests.edges.record_formats import all_rows

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ["=1+1", "-2", "@a", "a,b\r\nc", '"', "\r", " x ", "\t", "null", "1"]
)
numbers = st.integers(-(1 << 80), 1 << 80) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=2)


@st.composite
def tables(draw):
    """Rows whose columns are of one kind, of several, or not there."""
    names = draw(st.lists(st.sampled_from(["text", "n", 'é, "x"', "=f", "list"]), unique=True, min_size=1))
    kinds = {
        name: draw(
            st.sampled_from(
                [
                    texts,
                    st.integers(-(1 << 62), 1 << 62),
                    st.floats(allow_nan=False, allow_infinity=False),
                    st.booleans(),
                    st.lists(texts, max_size=3),
                    st.lists(st.integers(0, 9), max_size=3),
                    values,
                ]
            )
        )
        for name in names
    }
    count = draw(st.integers(0, 8))
    rows = []
    for n in range(count):
        row = {"id": f"k{n}"}
        row |= {name: draw(st.none() | kinds[name]) for name in names if draw(st.integers(0, 4))}
        rows.append(row)
    return names, rows


def there_and_back(name, columns, *batches):
    with tempfile.TemporaryDirectory() as directory:
        spec = str(Path(directory, name))
        output = open_output(spec, overwrite=False)
        output.begin(["id", *columns])
        for rows in batches:
            output.write(rows)
        output.finish()
        source = open_input(spec)
        try:
            _, found, faults = all_rows(source)
        finally:
            source.close()
    assert faults == {}
    return found


def is_same(name, given_value, found):
    if name.startswith("out.jsonl"):
        return found == given_value and type(found) is type(given_value)
    if name.startswith(("out.csv", "out.tsv")):
        return found == cell_text(given_value)
    is_number = isinstance(given_value, int | float) and isinstance(found, int | float)
    if is_number:
        return found == given_value
    return (found == given_value and type(found) is type(given_value)) or (
        given_value is not None and found == cell_text(given_value)
    )


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv.gz", "out.tsv.zst", "out.parquet", "out.db#t"])
@settings(max_examples=30, deadline=None)  # each makes a file
@given(tables(), st.integers(0, 8), st.booleans())
def test_rows_come_back(name, table, cut, is_late):
    columns, rows = table
    found = there_and_back(name, columns[is_late:], rows[:cut], rows[cut:])
    assert len(found) == len(rows)
    for row, back in zip(rows, found, strict=True):
        assert set(row) <= set(back)
        for column, value in back.items():
            if column in row or not name.startswith(("out.csv", "out.tsv")):
                assert is_same(name, row.get(column), value), (column, row.get(column), value)
            else:
                assert value == ""


# ------------------------------------------------------------ kinds of columns


@given(st.lists(values, max_size=6), st.lists(values, max_size=6))
def test_the_kind_of_two_parts_holds_all_that_the_kind_of_the_whole_does(first, second):
    in_parts = wider(wider(NOTHING, kind_of(first)), kind_of(second))
    whole = kind_of(first + second)
    assert wider(in_parts, whole) == in_parts


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([], NOTHING),
        ([None, 1], Kind("integer")),
        ([1, 2.5], Kind("number")),
        ([1 << 60], Kind("long")),
        ([1 << 60, 2.5], TEXT),
        ([1 << 63], TEXT),
        ([True, 1], TEXT),
        ([{"a": 1}], TEXT),
        ([["a"], None, []], Kind("text", is_list=True)),
        ([["a", 1]], TEXT),
        ([[[1]]], TEXT),
        ([[0.5] * 15], Kind("number", is_list=True)),
        ([[0.5] * 16, [1] * 16], Kind("number", is_list=True, is_vector=True)),
        ([[0.5] * 16, [0.5] * 17], Kind("number", is_list=True)),
    ],
)
def test_kinds_are_told_by_values(column, kind):
    assert kind_of(column) == kind


def written(tmp_path, *batches):
    output = open_output(str(tmp_path / "out.parquet"), overwrite=True)
    output.begin(["id", "status", "error"])
    for rows in batches:
        output.write(rows)
    output.finish()
    return parquet.ParquetFile(tmp_path / "out.parquet")


def test_vectors_are_lists_of_32_bits(tmp_path):
    rows = [{"id": str(n), "vector": [math.sqrt(n + i) for i in range(64)], "score": [0.1, 0.2]} for n in range(10)]
    file = written(tmp_path, rows)
    assert file.schema_arrow.field("vector").type == pa.list_(pa.float32())
    assert file.schema_arrow.field("score").type == pa.list_(pa.float64())
    assert file.read()["vector"][9].as_py() == pytest.approx(rows[9]["vector"], rel=1e-6)


def test_kinds_that_become_wider_after_a_million_bytes_are_those_of_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_output, "_GROUP_ROWS", 100)
    batches = [
        [{"id": n, "a": n, "b": n, "c": None, "status": "done"} for n in range(250)],
        [{"id": n, "a": n / 2, "b": n, "c": ["x"]} for n in range(250, 500)],
        [{"id": n, "a": n / 2, "b": {"n": n}, "c": [], "late": True, "error": "e"} for n in range(500, 750)],
    ]
    file = written(tmp_path, *batches)
    types = {field.name: field.type for field in file.schema_arrow}
    assert types == {
        "id": pa.int64(), "status": pa.string(), "error": pa.string(), "a": pa.float64(), "b": pa.string(),
        "c": pa.list_(pa.string()), "late": pa.bool_(),
    }  # fmt: skip
    rows = file.read().to_pylist()
    assert [row["id"] for row in rows] == list(range(750))
    assert rows[249] == {"id": 249, "status": "done", "error": None, "a": 249.0, "b": "249", "c": None, "late": None}
    assert rows[499] == {"id": 499, "status": None, "error": None, "a": 249.5, "b": "499", "c": ["x"], "late": None}
    assert rows[749] == {"id": 749, "status": None, "error": "e", "a": 374.5, "b": '{"n":749}', "c": [], "late": True}
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_a_text_that_comes_late_writes_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_output, "_GROUP_ROWS", 10)
    monkeypatch.setattr(parquet_output.ParquetOutput, "_end_segment", None)
    early = {"id": 1, "status": "done", "note": None}
    file = written(tmp_path, [early] * 30, [{**early, "error": "e", "note": "n"}])
    assert file.metadata.num_rows == 31


def test_long_rows_of_one_group_are_not_held_together(tmp_path):
    rows = [{"id": n, "text": os.urandom(10_000).hex()} for n in range(3000)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet", row_group_size=3000)
    del rows
    source = open_input(str(tmp_path / "in.parquet"))
    held = max(pa.total_allocated_bytes() for _ in source.rows())
    source.close()
    # Pages of its writer are of 20 MB; all rows together are 60 MB.
    assert held < 52 << 20
