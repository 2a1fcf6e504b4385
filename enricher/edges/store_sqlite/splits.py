"""Splits of signatures by the value of a slot: taken from answers, ended, and looked up for those who read lines.

Invariants: the table only grows; of a signature the newest row counts, and one without a slot ends the split; the first
split of a signature stands until it is ended, whatever later answers say, so that what was paid for its children is not
paid again. A child is never split, and belongs to its parent for ever. What an answer asks for is decided in
`core.split`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from enricher.core.alignment import aligned
from enricher.core.catalogue import Part, SplitRevision
from enricher.core.skeleton import Shape
from enricher.core.split import NO_SPLITS, Split, SplitKind, SplitTable, child_shape, condition_of, split_of
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from enricher.core.split import Revision

_PARTS_SHOWN: Final = 100


def split_by(
    db: sqlite3.Connection, signature: str, body: str, now: float, *, asked: str, known_as: Shape | None = None
) -> None:
    """A signature was answered: where the answer names a slot that changes it, the signature is split by that.

    `asked` is the template that was asked, `known_as` is what is known of one that may not have been read here yet.
    """
    if '"splits_on"' not in body or _in_force(db, signature) is not None:
        return
    row = db.execute("SELECT * FROM shapes WHERE key = ?", (signature,)).fetchone()
    shape, template = known_as, known_as.template if known_as else ""
    if row is not None:
        # What was merged away has no template that the answer could be for.
        shape, template = (_shape(row), row["template"]) if row["root"] == row["id"] else (None, "")
    if shape is None:
        return
    answer = Answer.from_json(body)
    answer = answer.model_copy(update={"slots": aligned(answer.slots, asked, template)})
    split = split_of(answer, shape, template, signature)
    if split is not None:
        save_splits(db, [split], now)


def save_splits(db: sqlite3.Connection, given: Iterable[Split], now: float) -> None:
    """Split signatures; one that is split already stays as it is."""
    for split in given:
        if _in_force(db, split.signature) is None:
            db.execute(_INSERT, rows.to_columns(split, _COLUMNS) | {"now": now})
            _renew_children(db, split)


def _renew_children(db: sqlite3.Connection, split: Split) -> None:
    """Children of an earlier split by the slot: under another template, what was said of them names other holes."""
    found = db.execute(_CHILDREN, (split.signature, split.slot, split.template)).fetchall()
    for row in found:
        shape = child_shape(split, row["bucket"])
        db.execute(
            "UPDATE shapes SET skeleton = ?, template = ? WHERE id = ?", (shape.skeleton, shape.template, row["shape"])
        )
        db.execute("UPDATE answers SET is_current = 0 WHERE signature = ? AND is_current", (shape.id,))


def end_splits(db: sqlite3.Connection, signatures: Iterable[str]) -> None:
    """The signatures are whole again; what was split off keeps its answers, for the case that they are split anew."""
    for signature in signatures:
        if _in_force(db, signature) is not None:
            db.execute(_END, (signature,))


def save_child(db: sqlite3.Connection, row_id: int, shape: Shape) -> None:
    """A shape was numbered: where it was split off, it belongs to its parent."""
    condition = condition_of(shape)
    if condition is not None:
        db.execute(
            "INSERT INTO split_children (shape, parent, slot, bucket) VALUES (?, ?, ?, ?)",
            (row_id, condition.parent, condition.slot, condition.bucket),
        )


def split_table(db: sqlite3.Connection, known: Revision) -> SplitTable | None:
    """The splits in force; None where nothing that they follow from has changed since the revision `known`."""
    last = db.execute("SELECT coalesce(max(revision), 0) FROM splits").fetchone()[0]
    revision = NO_SPLITS.revision
    if last:
        merged = db.execute("SELECT coalesce(max(revision), 0) FROM aliases").fetchone()[0]
        revision = (
            last,
            merged,
            db.execute("SELECT count(*) FROM splits JOIN shapes ON key = signature").fetchone()[0],
        )
    if revision == known:
        return None
    children: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for one in db.execute("SELECT * FROM split_children ORDER BY shape"):
        children[one["parent"], one["slot"]][one["bucket"]] = one["shape"]
    splits: dict[str, Split] = {}
    shapes: dict[str, list[int]] = defaultdict(list)
    taken: set[int] = set()
    for one in db.execute(_IN_FORCE):
        splits[one["signature"]] = Split(**{name: one[name] for name in _COLUMNS})
        if one["shape"] is not None and one["shape"] not in taken:
            taken.add(one["shape"])
            shapes[one["signature"]].append(one["shape"])
    return SplitTable(
        revision=revision,
        kinds=tuple(
            SplitKind(split=split, shapes=tuple(shapes[name]), children=dict(children[name, split.slot]))
            for name, split in splits.items()
        ),
    )


def revisions_of(db: sqlite3.Connection, signatures: list[str]) -> tuple[SplitRevision, ...]:
    """What the table says of these signatures, newest first."""
    found = db.execute(_REVISIONS, (json.dumps(signatures),))
    return tuple(
        SplitRevision(number=row["revision"], slot=row["slot"], template=row["template"], at=row["split_at"])
        for row in found
    )


def parts_of(db: sqlite3.Connection, signatures: list[str], task: str, model: str) -> tuple[Part, ...]:
    """What was split off these signatures, with the answers of its own that serve it."""
    parameters = {"signatures": json.dumps(signatures), "task": task, "model": model, "limit": _PARTS_SHOWN}
    return tuple(
        Part(
            signature=row["signature"],
            slot=row["slot"],
            bucket=row["bucket"],
            shape=row["shape"],
            events=row["events"],
            answer=rows.answer_from(row) if row["asked_signature"] == row["signature"] else None,
        )
        for row in db.execute(_PARTS, parameters)
    )


def parent_of(db: sqlite3.Connection, signature: str) -> tuple[str, str, str] | None:
    """Of a signature that was split off: which it comes from, by which slot, and the bucket."""
    row = db.execute(
        "SELECT c.parent, c.slot, c.bucket FROM split_children c JOIN shapes s ON s.id = c.shape WHERE s.key = ?",
        (signature,),
    ).fetchone()
    return None if row is None else (row["parent"], row["slot"], row["bucket"])


def _shape(row: sqlite3.Row) -> Shape:
    return Shape(format=row["format"], level=row["level"], program=row["program"], skeleton=row["skeleton"])


def _in_force(db: sqlite3.Connection, signature: str) -> int | None:
    row = db.execute(
        "SELECT revision, slot FROM splits WHERE signature = ? ORDER BY revision DESC LIMIT 1", (signature,)
    ).fetchone()
    return None if row is None or not row["slot"] else int(row["revision"])


_COLUMNS: Final = ("signature", "level", "program", "slot", "hole", "template")

_INSERT: Final = """
INSERT INTO splits (signature, level, program, slot, hole, template, split_at)
VALUES (:signature, :level, :program, :slot, :hole, :template, :now)
"""

_END: Final = """
INSERT INTO splits (signature, level, program, slot, hole, template, split_at)
VALUES (?, '', '', '', 0, '', unixepoch())
"""

# Of two split signatures that were merged the one that the class is known by goes first.
_IN_FORCE: Final = """
SELECT x.*, s.id AS shape FROM splits x
    LEFT JOIN shapes p ON p.key = x.signature LEFT JOIN shapes s ON s.root = p.root
WHERE x.slot != '' AND x.revision = (SELECT max(y.revision) FROM splits y WHERE y.signature = x.signature)
ORDER BY p.id = p.root DESC, x.revision, s.id
"""

_CHILDREN: Final = """
SELECT c.shape, c.bucket FROM split_children c JOIN shapes s ON s.id = c.shape
WHERE c.parent = ? AND c.slot = ? AND s.template != ?
"""

_REVISIONS: Final = """
SELECT * FROM splits WHERE signature IN (SELECT value FROM json_each(?)) ORDER BY revision DESC
"""

_PARTS: Final = f"""
SELECT r.key AS signature, r.events, c.shape, c.slot, c.bucket, {rows.ANSWER_COLUMNS}
FROM split_children c JOIN shapes r ON r.id = c.shape LEFT JOIN answers a ON a.id = {rows.SERVING_ANSWER}
WHERE c.parent IN (SELECT value FROM json_each(:signatures))
ORDER BY r.events DESC, c.shape LIMIT :limit
"""  # noqa: S608 (a list of our own columns)
