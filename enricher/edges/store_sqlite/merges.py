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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Class:
    """Shapes that are one signature: their root, its template, whether events of them came, how they were judged."""

    root: int
    template: str
    is_met: bool
    judgement: tuple[str, str] | None
    """Severity and category of the root's newest good answer, under whichever task and model; None without one."""


def commit_merges(db: sqlite3.Connection, merges: Sequence[Merge], now: float) -> None:
    """Join classes; a merge that is in the table already changes nothing, whatever came after it."""
    gone = 0
    for merge in merges:
        members = sorted(set(merge.members))
        text = json.dumps(members)
        seen = db.execute("SELECT 1 FROM aliases WHERE members = ? AND template = ?", (text, merge.template))
        if seen.fetchone() is None:
            decided = _decide(db, members, merge.template)
            gone += decided.gone
            db.execute(
                "INSERT INTO aliases (members, template, joined, root, merged_at, refused) VALUES (?, ?, ?, ?, ?, ?)",
                (text, merge.template, json.dumps(decided.joined), decided.root, now, decided.refused),
            )
    if gone:
        db.execute("UPDATE books SET signatures = signatures - ?", (gone,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """The roots of the classes joined, the root of all, how many signatures fewer there are, or why none was joined."""

    joined: tuple[int, ...] = ()
    root: int
    gone: int = 0
    refused: str = ""


def _decide(db: sqlite3.Connection, members: list[int], template: str) -> _Decided:
    """Make the merge, or what is left of it."""
    pin = _pin_of(db, members)
    if pin is None:
        classes = _classes(db, members)
        refused = _disagreement(classes)
        if not refused:
            return _join(db, classes, template)
        _save_pin(db, members, _Pin(shapes=(), newcomers=0, rest=None))
        return _Decided(root=classes[0].root, refused=refused)
    newcomers = [member for member in members if member not in pin.shapes]
    if pin.newcomers < PIN_LIMIT or not newcomers:
        _save_pin(db, members, _Pin(shapes=(), newcomers=pin.newcomers + len(newcomers), rest=pin.rest))
        return _Decided(root=pin.shapes[0], refused="pinned: answers over this hole disagreed before")
    classes = _classes(db, [*newcomers, *([] if pin.rest is None else [pin.rest])])
    refused = _disagreement(classes)
    if refused:
        return _Decided(root=classes[0].root, refused=refused)
    decided = (
        _join(db, classes, template) if len(classes) > 1 else _Decided(joined=(classes[0].root,), root=classes[0].root)
    )
    _save_pin(db, list(pin.shapes), _Pin(shapes=(), newcomers=pin.newcomers, rest=decided.root))
    return decided


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


def _classes(db: sqlite3.Connection, members: Sequence[int]) -> list[_Class]:
    """The classes that shapes belong to, by root."""
    text = json.dumps(members)
    found = db.execute(_CLASSES, (text,)).fetchall()
    if not found:
        raise StoreError(f"merge of shapes that are not stored: {text}")
    return [
        _Class(
            root=row["root"],
            template=row["template"],
            is_met=row["events"] > 0,
            judgement=None if row["severity"] is None else (row["severity"], row["category"]),
        )
        for row in found
    ]


def _disagreement(classes: Sequence[_Class]) -> str:
    judgements = [one.judgement for one in classes if one.judgement is not None]
    return disagreement(judgements) if len(judgements) > 1 else ""


def _join(db: sqlite3.Connection, classes: Sequence[_Class], template: str) -> _Decided:
    """Make one class of them: its root is the first that is answered, else the first."""
    best = next((one for one in classes if one.judgement is not None), classes[0])
    _point(db, [one.root for one in classes], best.root, template if template != best.template else None)
    # Only those with events count as signatures: a shape may stand for the first lines of longer events alone.
    met = sum(one.is_met for one in classes)
    return _Decided(joined=tuple(one.root for one in classes), root=best.root, gone=max(0, met - 1))


def _point(db: sqlite3.Connection, roots: Sequence[int], root: int, template: str | None) -> None:
    # The template stands with the root alone: a class that grows by one must not cost by its size.
    db.executemany("UPDATE shapes SET root = ? WHERE root = ?", [(root, one) for one in roots if one != root])
    if template is not None:
        db.execute("UPDATE shapes SET template = ? WHERE id = ?", (template, root))


def _is_answered(db: sqlite3.Connection, root: int) -> bool:
    found = db.execute(
        "SELECT 1 FROM answers a JOIN shapes s ON s.key = a.signature"
        " WHERE s.id = ? AND a.is_current AND a.status = 'ok'",
        (root,),
    )
    return found.fetchone() is not None


# Of each class the newest good answer, under whichever task and model.
_CLASSES = """
SELECT c.root, c.events, s.template, json_extract(a.body, '$.severity') AS severity,
    coalesce(json_extract(a.body, '$.category'), 'other') AS category
FROM classes c JOIN shapes s ON s.id = c.root
LEFT JOIN answers a ON a.id = (SELECT b.id FROM answers b
    WHERE b.signature = s.key AND b.is_current AND b.status = 'ok' ORDER BY b.answered_at DESC, b.id DESC LIMIT 1)
WHERE c.root IN (SELECT root FROM shapes WHERE id IN (SELECT value FROM json_each(?)))
ORDER BY c.root
"""
