"""What the address of an input or an output of records says by itself: a database, or the format that a name tells.

Never here: whether anything lies there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

TableFormat = Literal["jsonl", "csv", "tsv", "parquet"]
TABLE_FORMATS: Final[tuple[TableFormat, ...]] = ("jsonl", "csv", "tsv", "parquet")

_SUFFIXES: Final[dict[str, TableFormat]] = {
    "jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "tsv": "tsv", "parquet": "parquet",
}  # fmt: skip
_NAMED: Final = re.compile(r".+?\.([a-z]+)(\.(?:gz|zst))?", re.IGNORECASE | re.DOTALL)
_SQLITE: Final = re.compile(
    r"(?:sqlite:(?P<prefixed>[^#]+)|(?P<path>[^#]+\.(?:db|sqlite3?)))(?:#(?P<table>.+))?", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteAddress:
    """A SQLite database, and a table of it ("" for none)."""

    path: str
    table: str


def sqlite_address(spec: str) -> SqliteAddress | None:
    """`FILE.db`, `FILE.sqlite` or `sqlite:FILE`, each with `#TABLE` or without; None for anything else."""
    found = _SQLITE.fullmatch(spec)
    if found is None:
        return None
    return SqliteAddress(path=found["prefixed"] or found["path"], table=found["table"] or "")


def format_of_name(name: str) -> TableFormat | None:
    """The format that the suffix of a file tells, compressed or not; None where it tells none."""
    found = _NAMED.fullmatch(name)
    kind = _SUFFIXES.get(found[1].lower()) if found else None
    # Parquet is compressed inside.
    return None if found and found[2] and kind == "parquet" else kind
