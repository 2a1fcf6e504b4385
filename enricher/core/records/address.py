"""What the address of an input or an output of records says by itself: a database, or the format that a name tells.

Never here: whether anything lies there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from enricher.errors import UsageError

TableFormat = Literal["jsonl", "csv", "tsv", "parquet"]
TABLE_FORMATS: Final[tuple[TableFormat, ...]] = ("jsonl", "csv", "tsv", "parquet")

_SUFFIXES: Final[dict[str, TableFormat]] = {
    "jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "tsv": "tsv", "parquet": "parquet",
}  # fmt: skip
_NAMED: Final = re.compile(r".+?\.([a-z]+)(\.(?:gz|zst))?", re.IGNORECASE | re.DOTALL)
_SQLITE: Final = re.compile(
    r"(?:sqlite:(?P<prefixed>[^#]+)|(?P<path>[^#]+\.(?:db|sqlite3?)))(?:#(?P<table>.+))?", re.DOTALL
)
_POSTGRES: Final = ("postgresql://", "postgres://")


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


def is_postgres(spec: str) -> bool:
    """Whether it is the address of a PostgreSQL database."""
    return spec.startswith(_POSTGRES)


def asked_format(spec: str, name: str | None) -> TableFormat | None:
    """The format that was asked for by name; None where none was.

    Raises UsageError for one that there is not, and for any of a database, which has its own.
    """
    if name is None:
        return None
    if is_postgres(spec) or sqlite_address(spec):
        raise UsageError(f"{spec} is a database, which has no format {name}", hint="leave the format out")
    found = next((one for one in TABLE_FORMATS if one == name), None)
    if found is None:
        raise UsageError(f"there is no format {name!r}", hint=f"name one of {', '.join(TABLE_FORMATS)}")
    return found


def format_of_name(name: str) -> TableFormat | None:
    """The format that the suffix of a file tells, compressed or not; None where it tells none."""
    found = _NAMED.fullmatch(name)
    kind = _SUFFIXES.get(found[1].lower()) if found else None
    # Parquet is compressed inside.
    return None if found and found[2] and kind == "parquet" else kind
