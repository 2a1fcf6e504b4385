"""Merges of shapes into signatures: made, or refused and pinned where the answers of the members disagree.

Invariants: the alias table only grows and says for each merge that was found what became of it, so that finding it
again changes nothing; the root of a class is a member with an answer as soon as there is one. A hole over which two
answers disagreed is pinned shut: what falls into it later stays apart. Beyond `PIN_LIMIT` such newcomers the hole is no
word of state but a value, of which there is no end: from then on the newcomers are one class of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.catalogue import disagreement
from enricher.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from enricher.core.merge import Merge

PIN_LIMIT: Final = 32
"""Signatures that are kept apart by one pin: each costs a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pin:
    shapes: tuple[int, ...]
    newcomers: int
    rest: int | None


def commit_merges(db: sqlite3.Connection, merges: Sequence[Merge], now: float) -> None:
    """Join classes; a merge that is in the table already changes nothing, whatever came after it."""
    for merge in merges:
        members = sorted(set(merge.members))
        text = json.dumps(members)
        seen = db.execute("SELECT 1 FROM aliases WHERE members = ? AND template = ?", (text, merge.template))
        if seen.fetchone() is None:
            joined, root, refused = _decide(db, members, merge.template)
            db.execute(
                "INSERT INTO aliases (members, template, joined, root, merged_at, refused) VALUES (?, ?, ?, ?, ?, ?)",
                (text, merge.template, json.dumps(joined), root, now, refused),
            )


def _decide(db: sqlite3.Connection, members: list[int], template: str) -> tuple[list[int], int, str]:
    """Make the merge, or what is left of it. Returns the classes joined, their root, and why nothing was."""
    pin = _pin_of(db, members)
    if pin is None:
        roots = _roots(db, members)
        refused = _disagreement(db, roots)
        if not refused:
            return roots, _join(db, roots, template), ""
        _save_pin(db, members, _Pin(shapes=(), newcomers=0, rest=None))
        return [], roots[0], refused
    newcomers = [member for member in members if member not in pin.shapes]
    if pin.newcomers < PIN_LIMIT or not newcomers:
        _save_pin(db, members, _Pin(shapes=(), newcomers=pin.newcomers + len(newcomers), rest=pin.rest))
        return [], pin.shapes[0], "pinned: answers over this hole disagreed before"
    roots = _roots(db, [*newcomers, *([] if pin.rest is None else [pin.rest])])
    refused = _disagreement(db, roots)
    if refused:
        return [], roots[0], refused
    root = _join(db, roots, template) if len(roots) > 1 else roots[0]
    _save_pin(db, list(pin.shapes), _Pin(shapes=(), newcomers=pin.newcomers, rest=root))
    return roots, root, ""


def make_root(db: sqlite3.Connection, signature: str, now: float) -> None:
    """A signature was answered: where it was merged away meanwhile under one that has no answer, it takes over."""
    row = db.execute(
        "SELECT s.id, s.root, r.template FROM shapes s JOIN shapes r ON r.id = s.root WHERE s.key = ?", (signature,)
    ).fetchone()
    if row is None or row["root"] == row["id"] or _is_answered(db, row["root"]):
        return
    _point(db, [row["root"]], row["id"], row["template"])
    members = json.dumps([row["id"]])
    db.execute(
        "INSERT OR IGNORE INTO aliases (members, template, joined, root, merged_at) VALUES (?, ?, ?, ?, ?)",
        (members, row["template"], members, row["id"], now),
    )


def _pin_of(db: sqlite3.Connection, members: Sequence[int]) -> _Pin | None:
    found = db.execute(
        "SELECT shape, newcomers, rest FROM pins WHERE shape IN (SELECT value FROM json_each(?)) ORDER BY shape",
        (json.dumps(members),),
    ).fetchall()
    if not found:
        return None
    return _Pin(
        shapes=tuple(row["shape"] for row in found),
        newcomers=max(row["newcomers"] for row in found),
        rest=next((row["rest"] for row in found if row["rest"] is not None), None),
    )


def _save_pin(db: sqlite3.Connection, shapes: Sequence[int], pin: _Pin) -> None:
    # Whichever of them is the oldest will speak for all of them in the merges to come.
    db.executemany(
        "INSERT INTO pins (shape, newcomers, rest) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET newcomers = excluded.newcomers, rest = excluded.rest",
        [(shape, pin.newcomers, pin.rest) for shape in shapes],
    )


def _roots(db: sqlite3.Connection, members: Sequence[int]) -> list[int]:
    text = json.dumps(members)
    roots = [row["root"] for row in db.execute(_ROOTS, (text,))]
    if not roots:
        raise StoreError(f"merge of shapes that are not stored: {text}")
    return roots


def _disagreement(db: sqlite3.Connection, roots: Sequence[int]) -> str:
    answers = [(row["severity"], row["category"]) for row in db.execute(_JUDGEMENTS, (json.dumps(roots),))]
    return disagreement(answers) if len(answers) > 1 else ""


def _join(db: sqlite3.Connection, roots: Sequence[int], template: str) -> int:
    root = int(db.execute(_BEST_ROOT, (json.dumps(roots),)).fetchone()["id"])
    # Only those with events count as signatures: a shape may stand for the first lines of longer events alone.
    met = db.execute(_MET, (json.dumps(roots),)).fetchone()["signatures"]
    _point(db, roots, root, template)
    db.execute("UPDATE books SET signatures = signatures - ?", (max(0, met - 1),))
    return root


def _point(db: sqlite3.Connection, roots: Sequence[int], root: int, template: str) -> None:
    # The template stands with the root alone: a class that grows by one must not cost by its size.
    db.execute(
        "UPDATE shapes SET root = ? WHERE root IN (SELECT value FROM json_each(?))",
        (root, json.dumps([one for one in roots if one != root])),
    )
    db.execute("UPDATE shapes SET template = ? WHERE id = ?", (template, root))


def _is_answered(db: sqlite3.Connection, root: int) -> bool:
    found = db.execute(
        "SELECT 1 FROM answers a JOIN shapes s ON s.key = a.signature"
        " WHERE s.id = ? AND a.is_current AND a.status = 'ok'",
        (root,),
    )
    return found.fetchone() is not None


_MET = """
SELECT count(*) AS signatures FROM json_each(?) WHERE EXISTS (SELECT 1 FROM shapes WHERE root = value AND events > 0)
"""

_ROOTS = "SELECT DISTINCT root FROM shapes WHERE id IN (SELECT value FROM json_each(?)) ORDER BY root"

# Of each class the newest good answer, under whichever task and model.
_JUDGEMENTS = """
SELECT json_extract(a.body, '$.severity') AS severity, coalesce(json_extract(a.body, '$.category'), 'other') AS category
FROM shapes s JOIN answers a ON a.id = (SELECT b.id FROM answers b
    WHERE b.signature = s.key AND b.is_current AND b.status = 'ok' ORDER BY b.answered_at DESC, b.id DESC LIMIT 1)
WHERE s.id IN (SELECT value FROM json_each(?))
"""

_BEST_ROOT = """
SELECT s.id FROM shapes s WHERE s.id IN (SELECT value FROM json_each(?))
ORDER BY EXISTS (SELECT 1 FROM answers a WHERE a.signature = s.key AND a.is_current AND a.status = 'ok') DESC, s.id
LIMIT 1
"""
