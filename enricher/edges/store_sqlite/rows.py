"""Rows of the store as the values that cross the port."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from enricher.core.block import FileState, Pane
from enricher.core.ledger import BatchState, LedgerBatch, LedgerRequest, Part, RequestState, StoredAnswer

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from enricher.core.catalogue import Reuse

FILE_COLUMNS = tuple(field.name for field in fields(FileState))
BATCH_COLUMNS = tuple(field.name for field in fields(LedgerBatch))
_PANE_COLUMNS = tuple(field.name for field in fields(Pane))

ANSWER_COLUMNS = """
    a.id, a.signature AS asked_signature, a.task, a.model, a.served_model, a.status AS answer_status, a.body,
    a.batch_id, a.answered_at, a.origin, a.template AS asked_template
"""
"""What `answer_from` needs of `answers a` in a join."""

_SPLIT_FROM = """
    (SELECT w.key FROM split_children c JOIN shapes p ON p.key = c.parent JOIN shapes w ON w.id = p.root
        WHERE c.shape = r.id)
"""

_GOOD_ANSWER = """
    (SELECT b.id FROM answers b WHERE b.signature = {key} AND b.is_current AND b.status = 'ok'
        AND (b.model = :model OR b.origin = 'imported')
    ORDER BY (b.task = :task AND b.model = :model) DESC, b.answered_at DESC, b.id DESC LIMIT 1)
"""

SERVING_ANSWER = f"""
    coalesce({_GOOD_ANSWER.format(key="r.key")}, {_GOOD_ANSWER.format(key=_SPLIT_FROM)},
        (SELECT b.id FROM answers b WHERE b.signature = r.key AND b.task = :task AND b.model = :model AND b.is_current))
"""  # noqa: S608 (queries of our own)
"""Id of the answer that serves the signature `r` under (task, model): its own if it is good, else the newest good one
of another version of the task, or one that was imported, else that of the signature it was split off, else the failure
that its own ended in."""

REASON = """
    CASE
        WHEN a.id IS NULL THEN CASE
            WHEN EXISTS (SELECT 1 FROM answers o WHERE o.signature = r.key AND o.is_current AND o.status = 'ok')
            THEN 'model_changed' ELSE 'new' END
        WHEN a.status != 'ok' THEN NULL
        WHEN a.signature != r.key THEN CASE
            WHEN NOT EXISTS (SELECT 1 FROM answers o
                WHERE o.signature = r.key AND o.task = :task AND o.model = :model AND o.is_current) THEN 'split' END
        WHEN a.refresh THEN 'refresh'
        WHEN a.confirmed_at <= :expired_at THEN 'expired'
        WHEN :reask AND a.task != :task AND a.origin = 'asked' AND NOT EXISTS (SELECT 1 FROM answers o
            WHERE o.signature = r.key AND o.task = :task AND o.model = :model AND o.is_current) THEN 'task_changed'
    END
"""
"""Why the signature `r`, which the answer `a` serves, is to be asked: one of `core.catalogue.REASONS`, else NULL."""


def insert_sql(table: str, columns: Iterable[str]) -> str:
    """An INSERT with named parameters. Names are ours, never data."""
    names = tuple(columns)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES (:{', :'.join(names)})"  # noqa: S608 (names are ours)


def update_sql(table: str, columns: Iterable[str], where: str) -> str:
    """An UPDATE with named parameters. Names are ours, never data."""
    return f"UPDATE {table} SET {', '.join(f'{name} = :{name}' for name in columns)} WHERE {where}"  # noqa: S608 (so are these)


STORED_COLUMNS = (
    "signature",
    "task",
    "model",
    "served_model",
    "status",
    "body",
    "batch_id",
    "answered_at",
    "origin",
    "template",
)
INSERT_BATCH = insert_sql("batches", BATCH_COLUMNS)
INSERT_ANSWER = insert_sql("answers", (*STORED_COLUMNS, "confirmed_at"))


def to_columns(value: object, columns: Iterable[str]) -> dict[str, Any]:
    """Fields of a value as parameters."""
    return {name: getattr(value, name) for name in columns}


def panes_json(panes: Iterable[tuple[int, int]]) -> str:
    """Panes as a parameter for json_each."""
    return json.dumps([list(pane) for pane in panes])


def reuse_parameters(reuse: Reuse, now: float) -> dict[str, Any]:
    """What `REASON` needs of the policy."""
    expire = reuse.expire_seconds
    return {"reask": reuse.on_change == "reask", "expired_at": None if expire is None else now - expire}


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
    # The same few words in a hundred thousand rows are held once.
    columns |= {name: sys.intern(row[name]) for name in ("source", "codec")}
    return FileState(**columns | {"learned": None if learned is None else bool(learned)})


def batch_from(row: sqlite3.Row) -> LedgerBatch:
    """A batch."""
    columns: dict[str, Any] = {name: row[name] for name in BATCH_COLUMNS}
    return LedgerBatch(**columns | {"state": BatchState(row["state"]), "is_surplus": bool(row["is_surplus"])})


def request_from(row: sqlite3.Row, signatures: Sequence[sqlite3.Row]) -> LedgerRequest:
    """A request with its signatures, given in their order."""
    return LedgerRequest(
        id=row["id"],
        task=row["task"],
        model=row["model"],
        endpoint=row["endpoint"],
        signatures=tuple(one["signature"] for one in signatures),
        templates=tuple(one["template"] for one in signatures),
        body=row["body"],
        tokens=row["tokens"],
        reserved_usd=row["reserved_usd"],
        window=row["window"],
        state=RequestState(row["state"]),
        attempt=row["attempt"],
        tries=row["tries"],
        changed_at=row["changed_at"],
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
        origin=row["origin"],
        template=row["asked_template"],
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
