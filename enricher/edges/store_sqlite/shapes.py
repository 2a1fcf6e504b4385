"""Shapes and the signatures that they resolve to.

Invariants: a shape's row id never changes; the alias table only grows and, replayed in order, gives the `root` and
`template` that stand beside every shape; the root of a class is a member with an answer as soon as there is one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from enricher.core.ledger import KindSeen
from enricher.core.skeleton import Shape
from enricher.edges.store_sqlite import rows
from enricher.errors import StoreError
from enricher.ports import ShapeRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from enricher.core.merge import Merge


def shapes(db: sqlite3.Connection) -> list[ShapeRow]:
    """Every shape, in row-id order."""
    return [
        ShapeRow(
            id=row["id"],
            shape=Shape(format=row["format"], level=row["level"], program=row["program"], skeleton=row["skeleton"]),
            root=row["root"],
            template=row["template"],
        )
        for row in db.execute("SELECT * FROM shapes ORDER BY id")
    ]


def intern_shapes(db: sqlite3.Connection, wanted: Sequence[Shape], now: float) -> list[int]:
    """Row ids of the shapes, made in the order given where they are new; a new shape is its own root."""
    ids = []
    for shape in wanted:
        key = shape.id
        known = db.execute("SELECT id FROM shapes WHERE key = ?", (key,)).fetchone()
        if known is None:
            known = db.execute(
                "INSERT INTO shapes (key, format, level, program, skeleton, root, template, created_at)"
                " VALUES (?, ?, ?, ?, ?, 0, ?, ?) RETURNING id",
                (key, shape.format, shape.level, shape.program, shape.skeleton, shape.template, now),
            ).fetchone()
        ids.append(known["id"])
    db.execute("UPDATE shapes SET root = id WHERE root = 0")
    return ids


def commit_merges(db: sqlite3.Connection, merges: Sequence[Merge], now: float) -> None:
    """Join classes; a merge that is in the table already changes nothing, whatever came after it."""
    for merge in merges:
        members = json.dumps(sorted(set(merge.members)))
        seen = db.execute("SELECT 1 FROM aliases WHERE members = ? AND template = ?", (members, merge.template))
        if seen.fetchone() is not None:
            continue
        roots = [row["root"] for row in db.execute(_ROOTS, (members,))]
        if not roots:
            raise StoreError(f"merge of shapes that are not stored: {members}")
        root = db.execute(_BEST_ROOT, (json.dumps(roots),)).fetchone()["id"]
        _join(db, json.dumps(roots), root, merge.template)
        db.execute(
            "INSERT INTO aliases (members, template, root, merged_at) VALUES (?, ?, ?, ?)",
            (members, merge.template, root, now),
        )


def make_root(db: sqlite3.Connection, signature: str, now: float) -> None:
    """A signature was answered: where it was merged away meanwhile under one that has no answer, it takes over."""
    row = db.execute("SELECT id, root, template FROM shapes WHERE key = ?", (signature,)).fetchone()
    if row is None or row["root"] == row["id"] or _is_answered(db, row["root"]):
        return
    _join(db, json.dumps([row["root"]]), row["id"], row["template"])
    db.execute(
        "INSERT OR IGNORE INTO aliases (members, template, root, merged_at) VALUES (?, ?, ?, ?)",
        (json.dumps([row["id"]]), row["template"], row["id"], now),
    )


def kinds_seen(db: sqlite3.Connection, task: str, model: str) -> list[KindSeen]:
    """Every signature with events, those first seen last first."""
    return [
        KindSeen(
            signature=row["signature"],
            template=row["template"],
            level=row["level"],
            program=row["program"],
            events=row["events"],
            first_seen_at=row["first_seen_at"],
            answer=None if row["id"] is None else rows.answer_from(row),
        )
        for row in db.execute(_KINDS_SEEN, {"task": task, "model": model})
    ]


def _join(db: sqlite3.Connection, roots: str, root: int, template: str) -> None:
    db.execute(
        "UPDATE shapes SET root = ?, template = ? WHERE root IN (SELECT value FROM json_each(?))",
        (root, template, roots),
    )


def _is_answered(db: sqlite3.Connection, root: int) -> bool:
    found = db.execute(
        "SELECT 1 FROM answers a JOIN shapes s ON s.key = a.signature"
        " WHERE s.id = ? AND a.is_current AND a.status = 'ok'",
        (root,),
    )
    return found.fetchone() is not None


_KINDS_SEEN = f"""
SELECT r.key AS signature, r.template, r.level, r.program, s.events, s.first_seen_at, {rows.ANSWER_COLUMNS}
FROM (SELECT root, sum(events) AS events, min(created_at) AS first_seen_at FROM shapes WHERE events > 0 GROUP BY root) s
    JOIN shapes r ON r.id = s.root
    LEFT JOIN answers a ON a.signature = r.key AND a.task = :task AND a.model = :model AND a.is_current
ORDER BY s.first_seen_at DESC, r.id DESC
"""  # noqa: S608 (a list of our own columns)

_ROOTS = "SELECT DISTINCT root FROM shapes WHERE id IN (SELECT value FROM json_each(?)) ORDER BY root"

_BEST_ROOT = """
SELECT s.id FROM shapes s WHERE s.id IN (SELECT value FROM json_each(?))
ORDER BY EXISTS (SELECT 1 FROM answers a WHERE a.signature = s.key AND a.is_current AND a.status = 'ok') DESC, s.id
LIMIT 1
"""
