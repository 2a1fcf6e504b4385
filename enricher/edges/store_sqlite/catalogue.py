"""The catalogue for the operator: listed, looked at, passed on, forgotten, asked again.

Invariants: an answer that a round was fixed with stays, whatever is forgotten or imported: it is only no longer
current; a class of shapes is forgotten and refreshed as a whole. Never here: a line of a log.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from enricher.core.catalogue import Detail, Entry, Imported, Member, Revision
from enricher.core.skeleton import HOLE, HOLE_TEXT, Shape
from enricher.core.verdict import SEVERITIES
from enricher.edges.store_sqlite import rows
from enricher.edges.store_sqlite.matchers import matchers_of
from enricher.edges.store_sqlite.merges import make_root
from enricher.edges.store_sqlite.splits import end_splits, parent_of, parts_of, revisions_of, split_by

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from enricher.core.catalogue import ExportedAnswer, Listing, Selection, Sort

_MEMBERS_SHOWN: Final = 100
_REVISIONS_SHOWN: Final = 100
_NEIGHBOURS: Final = 3
_RARE: Final = 20_000
"""So many answers of a severity are looked at one by one; of more, the first of a list are soon met in its order."""


def entries(db: sqlite3.Connection, listing: Listing, task: str, model: str) -> list[Entry]:
    """Signatures that were read, or of which an answer was imported, in the order asked for."""
    given: dict[str, Any] = {"task": task, "model": model}
    if listing.is_unanswered:
        return [] if listing.severity else _listed(db, _BY_ORDER[listing.sort][_UNANSWERED], listing.limit, given)
    if listing.severity:
        return _of_severity(db, listing.severity, listing.sort, listing.limit, given)
    if listing.sort != "severity":
        return _listed(db, _BY_ORDER[listing.sort][_ANY], listing.limit, given)
    found: list[Entry] = []
    for severity in reversed(SEVERITIES):
        found += _of_severity(db, severity, "severity", listing.limit - len(found), given)
    return found + _listed(db, _BY_ORDER["severity"][_UNANSWERED], listing.limit - len(found), given)


def _of_severity(db: sqlite3.Connection, severity: str, sort: Sort, limit: int, given: dict[str, Any]) -> list[Entry]:
    """Those whose answer has this severity: where it is rare they are taken from its index and put in order."""
    if limit <= 0:
        return []
    known = db.execute(_COUNT_OF_SEVERITY, {"severity": severity, "limit": _RARE}).fetchone()[0]
    queries = _BY_ORDER[sort]
    sql = queries[_RARE_SEVERITY] if known < _RARE else queries[_SEVERITY]
    return _listed(db, sql, limit, given | {"severity": severity})


def _listed(db: sqlite3.Connection, sql: str, limit: int, given: dict[str, Any]) -> list[Entry]:
    return [_entry(row) for row in db.execute(sql, given | {"limit": limit})] if limit > 0 else []


def resolve(db: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """Ids that begin so, of shapes or of answers; at most `limit`."""
    # Ids are of 0-9 and a-f: everything that begins so sorts before what is behind the f.
    bounds = {"low": prefix, "high": prefix + "g", "limit": limit}
    return [row["id"] for row in db.execute(_BEGINNING, bounds)]


def neighbours(db: sqlite3.Connection, wanted: str) -> list[str]:
    """Ids that sort just before and just behind it."""
    return [
        row["key"] for sql in (_BEFORE, _BEHIND) for row in db.execute(sql, {"wanted": wanted, "limit": _NEIGHBOURS})
    ]


def detail(db: sqlite3.Connection, signature: str, task: str, model: str) -> Detail | None:
    """All about the signature that this id belongs to; None where nothing is known under it."""
    row = db.execute("SELECT root FROM shapes WHERE key = ?", (signature,)).fetchone()
    root = None if row is None else int(row["root"])
    found = db.execute(_ONE, {"root": root, "signature": signature, "task": task, "model": model}).fetchone()
    if found is None:
        return None
    members = db.execute("SELECT * FROM shapes WHERE root = ? ORDER BY events DESC, id", (root,)).fetchall()
    ids = [one["id"] for one in members]
    keys = [one["key"] for one in members] or [signature]
    return Detail(
        entry=_entry(found),
        sources=tuple(one["source"] for one in db.execute(_SOURCES, (json.dumps(ids),))),
        members=tuple(
            Member(signature=one["key"], template=_own_template(one), events=one["events"])
            for one in members[:_MEMBERS_SHOWN]
        ),
        revisions=tuple(_revision(db, one) for one in db.execute(_REVISIONS, (json.dumps(ids), _REVISIONS_SHOWN))),
        answers=tuple(rows.answer_from(one) for one in db.execute(_ANSWERS, (json.dumps(keys),))),
        shapes=tuple(ids),
        parent=parent_of(db, found["signature"]),
        splits=revisions_of(db, keys),
        parts=parts_of(db, keys, task, model),
        matchers=matchers_of(db, keys),
    )


def answered_page(db: sqlite3.Connection, after: str, limit: int, task: str, model: str) -> list[Entry]:
    """Signatures with a good answer, by id, behind `after`; of several the one that serves, else the newest."""
    return [_entry(row) for row in db.execute(_PAGE, {"after": after, "limit": limit, "task": task, "model": model})]


def count_answered(db: sqlite3.Connection) -> int:
    """How many signatures `answered_page` has in all."""
    return int(db.execute(_COUNT).fetchone()[0])


def import_answers(db: sqlite3.Connection, given: Sequence[ExportedAnswer], *, keep: bool, now: float) -> Imported:
    """Take answers in. Of two under the same key the newer one stays; the one that is there, where `keep`."""
    taken = replaced = 0
    for one in given:
        known = db.execute(
            "SELECT id, status, answered_at FROM answers WHERE signature = ? AND task = ? AND model = ? AND is_current",
            (one.signature, one.task, one.model),
        ).fetchone()
        if known is not None:
            if known["status"] == "ok" and (keep or known["answered_at"] >= one.answered_at):
                continue
            db.execute("UPDATE answers SET is_current = 0 WHERE id = ?", (known["id"],))
            replaced += 1
        columns = {name: getattr(one, name) for name in rows.STORED_COLUMNS if hasattr(one, name)}
        columns |= {"status": "ok", "body": one.answer.to_json(), "origin": "imported", "confirmed_at": now}
        db.execute(rows.INSERT_ANSWER, columns)
        make_root(db, one.signature, now)
        split_by(db, one.signature, columns["body"], now, asked=one.template, known_as=_shape_of(one))
        taken += 1
    return Imported(taken=taken, replaced=replaced, kept=len(given) - taken)


def _shape_of(given: ExportedAnswer) -> Shape:
    """What an export tells of a signature's shape."""
    skeleton = given.template.replace(HOLE_TEXT, HOLE)
    return Shape(format="", level=given.level, program=given.program, skeleton=skeleton)


def forget(db: sqlite3.Connection, selection: Selection) -> int:
    """Answers that are not used any more; returns of how many signatures."""
    found = _selected(db, selection)
    db.executemany("UPDATE answers SET is_current = 0 WHERE id = ?", [(row["id"],) for row in found])
    signatures = {row["signature"] for row in found}
    end_splits(db, sorted(signatures))
    return len(signatures)


def refresh(db: sqlite3.Connection, selection: Selection) -> int:
    """Have kinds asked again when they are seen next; returns how many. What failed or was skipped is asked as new."""
    found = _selected(db, selection)
    for row in found:
        if row["status"] == "ok":
            db.execute("UPDATE answers SET refresh = 1 WHERE id = ?", (row["id"],))
        else:
            db.execute("UPDATE answers SET is_current = 0 WHERE id = ?", (row["id"],))
    released = db.execute(_RELEASE, (json.dumps(selection.signatures),)).rowcount
    signatures = {row["signature"] for row in found}
    return max(len(signatures), released)


def _selected(db: sqlite3.Connection, selection: Selection) -> list[sqlite3.Row]:
    parameters = {"task": selection.task, "before": selection.answered_before}
    if not selection.signatures:
        return db.execute(_SELECTED, parameters).fetchall()
    return db.execute(_SELECTED_OF_CLASSES, parameters | {"given": json.dumps(selection.signatures)}).fetchall()


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        signature=row["signature"],
        format=row["format"] or "",
        level=row["level"] or "",
        program=row["program"] or "",
        template=row["template"] or "",
        events=row["events"] or 0,
        shapes=row["shapes"],
        first_seen_at=row["first_seen_at"] or 0.0,
        last_seen_at=row["last_seen_at"],
        is_skipped=bool(row["skipped"]),
        answer=None if row["id"] is None else rows.answer_from(row),
    )


def _own_template(row: sqlite3.Row) -> str:
    """The template of the shape itself, which the row has of its signature."""
    return str(row["skeleton"]).partition("\0")[0].replace("\x01", "<*>")


def _revision(db: sqlite3.Connection, row: sqlite3.Row) -> Revision:
    keys = db.execute(
        "SELECT key FROM shapes WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id", (row["members"],)
    )
    return Revision(
        number=row["revision"],
        members=tuple(one["key"] for one in keys),
        template=row["template"],
        root=row["root_key"],
        at=row["merged_at"],
        refused=row["refused"],
    )


_COLUMNS = f"""
    r.key AS signature, r.format, r.level, r.program, r.template, r.skipped, c.events, c.shapes, c.first_seen_at,
    c.last_seen_at, {rows.ANSWER_COLUMNS}
"""

_ORDERS: Final[dict[Sort, str]] = {
    "count": "c.events DESC, c.root",
    "new": "c.first_seen_at DESC, c.root DESC",
    "severity": "c.events DESC, c.root",
}

# A signature is served by an answer of its own, or by that of the signature it was split off.
_WITH_SEVERITY = """
    (WITH own AS MATERIALIZED (SELECT s.id, s.root FROM answers o JOIN shapes s ON s.key = o.signature
        WHERE o.is_current AND o.status = 'ok' AND json_extract(o.body, '$.severity') = :severity)
    SELECT root FROM own UNION SELECT m.shape FROM own JOIN shapes p ON p.root = own.id
        JOIN split_children m ON m.parent = p.key)
"""

_ANY, _SEVERITY, _RARE_SEVERITY, _UNANSWERED = range(4)
_HAS_SEVERITY = "a.status = 'ok' AND json_extract(a.body, '$.severity') = :severity"
_KINDS: Final = {
    _ANY: ("classes c", "TRUE"),
    _SEVERITY: ("classes c", _HAS_SEVERITY),
    _RARE_SEVERITY: (f"{_WITH_SEVERITY} k CROSS JOIN classes c ON c.root = k.root", _HAS_SEVERITY),
    # The first condition is what rules out most of a large catalogue at once.
    _UNANSWERED: (
        "classes c",
        """NOT EXISTS (SELECT 1 FROM answers o WHERE o.signature = r.key AND o.is_current AND o.status = 'ok')
    AND (a.id IS NULL OR a.status != 'ok')""",
    ),
}

# CROSS JOIN keeps SQLite at the order of the tables: the classes come out of an index as they are wanted.
_BY_ORDER: Final = {
    sort: {
        kind: f"""
SELECT {_COLUMNS}
FROM {source} CROSS JOIN shapes r ON r.id = c.root LEFT JOIN answers a ON a.id = {rows.SERVING_ANSWER}
WHERE {condition} AND (c.events > 0 OR a.id IS NOT NULL)
ORDER BY {order} LIMIT :limit
"""  # noqa: S608 (lists, conditions and orders of our own)
        for kind, (source, condition) in _KINDS.items()
    }
    for sort, order in _ORDERS.items()
}

_COUNT_OF_SEVERITY = """
SELECT count(*) FROM (SELECT 1 FROM answers
    WHERE is_current AND status = 'ok' AND json_extract(body, '$.severity') = :severity LIMIT :limit)
"""

_BEGINNING = """
SELECT key AS id FROM shapes WHERE key >= :low AND key < :high
UNION SELECT signature FROM answers WHERE signature >= :low AND signature < :high AND is_current
ORDER BY 1 LIMIT :limit
"""

_BEFORE = "SELECT key FROM shapes WHERE key < :wanted ORDER BY key DESC LIMIT :limit"
_BEHIND = "SELECT key FROM shapes WHERE key > :wanted ORDER BY key LIMIT :limit"

# An answer that came with a file may have no shape here yet.
_ONE = f"""
SELECT {_COLUMNS}
FROM (SELECT s.id, coalesce(s.key, :signature) AS key, s.format, s.level, s.program, s.template,
        coalesce(s.skipped, 0) AS skipped FROM (SELECT 1) LEFT JOIN shapes s ON s.id = :root) r
    JOIN (SELECT sum(events) AS events, count(*) AS shapes, min(created_at) AS first_seen_at,
        max(last_seen_at) AS last_seen_at FROM shapes WHERE root = :root) c
    LEFT JOIN answers a ON a.id = coalesce({rows.SERVING_ANSWER},
        (SELECT max(o.id) FROM answers o WHERE o.signature = r.key AND o.is_current))
WHERE r.id IS NOT NULL OR EXISTS (SELECT 1 FROM answers o WHERE o.signature = r.key)
"""  # noqa: S608 (lists of our own)

# Beside what serves under the task and the model of today, answers of any other are passed on: one for each signature.
_PAGE = f"""
SELECT k.signature, s.format, s.level, s.program, s.template, coalesce(s.skipped, 0) AS skipped,
    (SELECT sum(m.events) FROM shapes m WHERE m.root = s.id) AS events,
    (SELECT count(*) FROM shapes m WHERE m.root = s.id) AS shapes,
    (SELECT min(m.created_at) FROM shapes m WHERE m.root = s.id) AS first_seen_at,
    (SELECT max(m.last_seen_at) FROM shapes m WHERE m.root = s.id) AS last_seen_at, {rows.ANSWER_COLUMNS}
FROM (SELECT DISTINCT signature FROM answers WHERE is_current AND status = 'ok' AND signature > :after
        ORDER BY signature LIMIT :limit) k
    LEFT JOIN shapes s ON s.key = k.signature
    JOIN answers a ON a.id = (SELECT b.id FROM answers b
        WHERE b.signature = k.signature AND b.is_current AND b.status = 'ok'
        ORDER BY (b.task = :task AND b.model = :model) DESC, b.answered_at DESC, b.id DESC LIMIT 1)
ORDER BY k.signature
"""  # noqa: S608 (lists of our own)

_COUNT = "SELECT count(DISTINCT signature) FROM answers WHERE is_current AND status = 'ok'"

_SOURCES = """
SELECT DISTINCT source FROM shape_sources WHERE shape IN (SELECT value FROM json_each(?)) ORDER BY source
"""

_REVISIONS = """
SELECT a.*, s.key AS root_key FROM aliases a JOIN shapes s ON s.id = a.root
WHERE EXISTS (SELECT 1 FROM json_each(a.members) m WHERE m.value IN (SELECT value FROM json_each(?)))
ORDER BY a.revision DESC LIMIT ?
"""

_ANSWERS = f"""
SELECT {rows.ANSWER_COLUMNS} FROM answers a WHERE a.signature IN (SELECT value FROM json_each(?))
ORDER BY a.answered_at DESC, a.id DESC
"""  # noqa: S608 (a list of our own columns)

_SELECTED = """
SELECT id, signature, status FROM answers
WHERE is_current AND (:task IS NULL OR task = :task) AND (:before IS NULL OR answered_at < :before)
"""

_SELECTED_OF_CLASSES = f"""{_SELECTED} AND signature IN (
    SELECT value FROM json_each(:given)
    UNION SELECT m.key FROM json_each(:given) g JOIN shapes s ON s.key = g.value JOIN shapes m ON m.root = s.root)
"""  # noqa: S608 (two queries of our own)

_RELEASE = """
UPDATE shapes SET skipped = 0 WHERE skipped AND root IN
    (SELECT s.root FROM shapes s WHERE s.key IN (SELECT value FROM json_each(?)))
"""
