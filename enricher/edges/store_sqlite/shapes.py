"""Shapes: numbered, found again, looked at.

Invariants: a shape's row id never changes; a new shape is its own root; the books count the roots. What shapes merge
into is decided in `merges`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from enricher.core.breaker import COARSE_FORMAT, Breaker
from enricher.core.ledger import KindSeen
from enricher.core.skeleton import Shape
from enricher.edges.store_sqlite import rows, splits
from enricher.ports import ShapeRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence


def shapes(db: sqlite3.Connection, ids: Collection[int] | None) -> list[ShapeRow]:
    """These shapes, or every one, in row-id order."""
    if ids is None:
        return [_row(row) for row in db.execute(f"{_SHAPES} ORDER BY s.id")]
    wanted = json.dumps(sorted(ids))
    return [_row(row) for row in db.execute(_THESE, (wanted,))]


def recent_shapes(db: sqlite3.Connection, limit: int, without: Collection[str]) -> list[ShapeRow]:
    """At most `limit` shapes of other formats: half of them such as were last merged, else the newest; by row id."""
    parameters = {"limit": limit, "without": json.dumps(list(without))}
    found = {row["id"]: row for row in db.execute(_LAST_MERGED, parameters | {"limit": limit // 2})}
    for row in db.execute(_NEWEST, parameters):
        if len(found) >= limit:
            break
        found.setdefault(row["id"], row)
    return [_row(found[row_id]) for row_id in sorted(found)]


def _row(row: sqlite3.Row) -> ShapeRow:
    return ShapeRow(
        id=row["id"],
        shape=Shape(format=row["format"], level=row["level"], program=row["program"], skeleton=row["skeleton"]),
        root=row["root"],
        template=row["of_root"],
    )


def find_shapes(db: sqlite3.Connection, wanted: Sequence[Shape]) -> list[int | None]:
    """Row ids of the shapes, None for those that are new."""
    ids = []
    for shape in wanted:
        known = db.execute("SELECT id FROM shapes WHERE key = ?", (shape.id,)).fetchone()
        ids.append(None if known is None else int(known["id"]))
    return ids


def intern_shapes(db: sqlite3.Connection, wanted: Sequence[Shape], now: float) -> list[int]:
    """Row ids of the shapes, made in the order given where they are new; a new shape is its own root."""
    ids = []
    has_new = False
    for shape in wanted:
        key = shape.id
        known = db.execute("SELECT id, root, skipped, format FROM shapes WHERE key = ?", (key,)).fetchone()
        if known is None:
            known = db.execute(
                "INSERT INTO shapes (key, format, level, program, skeleton, root, template, created_at, skipped)"
                " VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?) RETURNING id",
                (
                    *(key, shape.format, shape.level, shape.program, shape.skeleton, shape.template, now),
                    int(shape.format == COARSE_FORMAT),
                ),
            ).fetchone()
            has_new = True
            splits.save_child(db, known["id"], shape)
        elif known["skipped"] and known["format"] != COARSE_FORMAT:
            # Met where no breaker is open: a kind of its own after all.
            db.execute("UPDATE shapes SET skipped = 0 WHERE id IN (?, ?)", (known["id"], known["root"]))
        ids.append(known["id"])
    if has_new:
        db.execute("UPDATE shapes SET root = id WHERE root = 0")
    return ids


def skip_shapes(db: sqlite3.Connection, ids: Collection[int]) -> None:
    """Nothing is paid for these kinds, unless they are met elsewhere or refreshed by name."""
    db.executemany("UPDATE shapes SET skipped = 1 WHERE id = ?", [(row_id,) for row_id in ids])


def breakers(db: sqlite3.Connection) -> dict[str, Breaker]:
    """Where the breakers stand, of the sources that ever had one open."""
    return {
        row["source"]: Breaker(
            is_open=bool(row["is_open"]),
            changed_at=row["changed_at"],
            trips=row["trips"],
            calm_since=row["changed_at"],
        )
        for row in db.execute("SELECT * FROM breakers ORDER BY source")
    }


def save_breaker(db: sqlite3.Connection, source: str, breaker: Breaker) -> None:
    """A breaker has opened or closed."""
    db.execute(
        "INSERT OR REPLACE INTO breakers (source, is_open, changed_at, trips) VALUES (?, ?, ?, ?)",
        (source, int(breaker.is_open), breaker.changed_at, breaker.trips),
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


_KINDS_SEEN = f"""
SELECT r.key AS signature, r.template, r.level, r.program, s.events, s.first_seen_at, {rows.ANSWER_COLUMNS}
FROM (SELECT root, sum(events) AS events, min(created_at) AS first_seen_at FROM shapes WHERE events > 0 GROUP BY root) s
    JOIN shapes r ON r.id = s.root
    LEFT JOIN answers a ON a.id = {rows.SERVING_ANSWER}
ORDER BY s.first_seen_at DESC, r.id DESC
"""  # noqa: S608 (a list of our own columns)

_SHAPES = "SELECT s.*, r.template AS of_root FROM shapes s JOIN shapes r ON r.id = s.root"

_THESE = f"{_SHAPES} WHERE s.id IN (SELECT value FROM json_each(?)) ORDER BY s.id"  # noqa: S608 (the same join)

_LAST_MERGED = f"""
{_SHAPES} WHERE s.format NOT IN (SELECT value FROM json_each(:without)) AND s.root IN
    (SELECT root FROM aliases WHERE refused = '' ORDER BY revision DESC LIMIT :limit)
ORDER BY s.id DESC LIMIT :limit
"""  # noqa: S608 (a join of our own)

_NEWEST = f"""
{_SHAPES} WHERE s.format NOT IN (SELECT value FROM json_each(:without)) ORDER BY s.id DESC LIMIT :limit
"""  # noqa: S608 (a join of our own)
