"""Rows of the store as the values that cross the port."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from enricher.core.block import FileState, Pane
from enricher.core.ledger import BatchState, LedgerBatch, LedgerRequest, Part, RequestState, StoredAnswer

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

FILE_COLUMNS = tuple(field.name for field in fields(FileState))
BATCH_COLUMNS = tuple(field.name for field in fields(LedgerBatch))
_PANE_COLUMNS = tuple(field.name for field in fields(Pane))

ANSWER_COLUMNS = """
    a.id, a.signature AS asked_signature, a.task, a.model, a.served_model, a.status AS answer_status, a.body,
    a.batch_id, a.answered_at
"""
"""What `answer_from` needs of `answers a` in a join."""


def insert_sql(table: str, columns: Iterable[str]) -> str:
    """An INSERT with named parameters. Names are ours, never data."""
    names = tuple(columns)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES (:{', :'.join(names)})"  # noqa: S608 (names are ours)


def update_sql(table: str, columns: Iterable[str], where: str) -> str:
    """An UPDATE with named parameters. Names are ours, never data."""
    return f"UPDATE {table} SET {', '.join(f'{name} = :{name}' for name in columns)} WHERE {where}"  # noqa: S608 (so are these)


def to_columns(value: object, columns: Iterable[str]) -> dict[str, Any]:
    """Fields of a value as parameters."""
    return {name: getattr(value, name) for name in columns}


def panes_json(panes: Iterable[tuple[int, int]]) -> str:
    """Panes as a parameter for json_each."""
    return json.dumps([list(pane) for pane in panes])


def pane_from(row: sqlite3.Row) -> Pane:
    """A pane."""
    return Pane(**{name: row[name] for name in _PANE_COLUMNS})


def file_to_columns(state: FileState) -> dict[str, Any]:
    """A registry row as parameters."""
    columns = to_columns(state, FILE_COLUMNS)
    return columns | {"device": str(state.device), "inode": str(state.inode)}


def file_from(row: sqlite3.Row) -> FileState:
    """A registry row."""
    columns: dict[str, Any] = {name: row[name] for name in FILE_COLUMNS}
    learned = row["learned"]
    columns |= {"device": int(row["device"]), "inode": int(row["inode"])}
    return FileState(**columns | {"learned": None if learned is None else bool(learned)})


def batch_from(row: sqlite3.Row) -> LedgerBatch:
    """A batch."""
    columns: dict[str, Any] = {name: row[name] for name in BATCH_COLUMNS}
    return LedgerBatch(**columns | {"state": BatchState(row["state"])})


def request_from(row: sqlite3.Row, signatures: Sequence[sqlite3.Row]) -> LedgerRequest:
    """A request with its signatures, given in their order."""
    return LedgerRequest(
        id=row["id"],
        task=row["task"],
        model=row["model"],
        endpoint=row["endpoint"],
        signatures=tuple(one["signature"] for one in signatures),
        holes=tuple(one["holes"] for one in signatures),
        body=row["body"],
        tokens=row["tokens"],
        reserved_usd=row["reserved_usd"],
        window=row["window"],
        state=RequestState(row["state"]),
        attempt=row["attempt"],
        tries=row["tries"],
    )


def answer_from(row: sqlite3.Row) -> StoredAnswer:
    """An answer, from a row in which the names that other tables have too are spelled out."""
    return StoredAnswer(
        id=row["id"],
        signature=row["asked_signature"],
        task=row["task"],
        model=row["model"],
        served_model=row["served_model"],
        status=row["answer_status"],
        body=row["body"],
        batch_id=row["batch_id"],
        answered_at=row["answered_at"],
    )


def part_from(row: sqlite3.Row) -> Part:
    """A part."""
    return Part(
        start=row["start"],
        number=row["number"],
        pane=row["pane"],
        round_number=row["round"],
        first=row["first"],
        events=row["events"],
    )
