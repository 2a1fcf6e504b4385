"""The formats of records: how a test makes an input of each, and reads what an output of each holds."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import sqlite3
from dataclasses import dataclass, field

import zstandard

PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


@dataclass(frozen=True, kw_only=True)
class Made:
    """An input that was made: what to give to `open_input`, and which file of it to change."""

    spec: str
    options: dict = field(default_factory=dict)
    file: object = None


def jsonl(suffix=""):
    def make(directory, rows):
        path = directory / f"in.jsonl{suffix}"
        path.write_bytes(PACK[suffix]("".join(json.dumps(row) + "\n" for row in rows).encode()))
        return Made(spec=str(path), file=path)

    return make


def delimited(name, **dialect):
    def make(directory, rows):
        path = directory / name
        with io.StringIO(newline="") as text:
            writer = csv.writer(text, **dialect)
            if rows:
                writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
            path.write_text(text.getvalue(), newline="")
        return Made(spec=str(path), file=path)

    return make


def parquet(directory, rows):
    import pyarrow as pa
    from pyarrow import parquet

    path = directory / "in.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=5000)
    return Made(spec=str(path), file=path)


def sqlite(directory, rows):
    path = directory / "in.db"
    path.unlink(missing_ok=True)
    columns = list(rows[0]) if rows else ["id", "text"]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE t ({', '.join(columns)})")
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO t VALUES ({marks})", [tuple(row.values()) for row in rows])
    return Made(spec=str(path), options={"query": "SELECT * FROM t ORDER BY rowid"}, file=path)


TABLES = {
    "jsonl": jsonl(),
    "jsonl.gz": jsonl(".gz"),
    "jsonl.zst": jsonl(".zst"),
    "csv": delimited("in.csv"),
    "tsv": delimited("in.tsv", delimiter="\t", lineterminator="\n"),
    "parquet": parquet,
    "sqlite": sqlite,
}
"""Each makes an input of rows of text with the columns `id` and `text`."""


def documents(directory, rows):
    inside = directory / "in"
    inside.mkdir(exist_ok=True)
    for row in rows:
        # A tenth of them through the process that reads what is not plain text.
        suffix = "html" if row["text"].endswith("0") else "txt"
        (inside / f"{row['id']}.{suffix}").write_text(row["text"])
    return Made(spec=str(inside), file=inside)


INPUTS = {**TABLES, "documents": documents}
"""Each makes an input of rows whose keys begin with their `id`."""

OUTPUTS = {"jsonl": "out.jsonl", "jsonl.gz": "out.jsonl.gz", "jsonl.zst": "out.jsonl.zst"}
OUTPUTS |= {name: f"out.{name}" for name in ("csv", "csv.gz", "csv.zst", "tsv", "parquet")}
OUTPUTS["sqlite"] = "out.db#answers"
"""Each is the name of an output, which is an input, too."""


def some_rows(count, start=1):
    return [{"id": f"k{n}", "text": f"row {n}"} for n in range(start, start + count)]


def all_rows(source):
    """Keys, values and faults of an input, by row."""
    keys, values, faults = [], [], {}
    for batch in source.rows():
        assert len(batch.keys) == len(batch.values) > 0
        faults |= {len(keys) + place: fault for place, fault in batch.faults.items()}
        keys += batch.keys
        values += [dict(row) for row in batch.values]
    return keys, values, faults
