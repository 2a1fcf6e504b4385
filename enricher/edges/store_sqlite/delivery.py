"""Write: what each shape's events are written with, how rounds are cut into parts, who has taken them, and the end.

Invariants: a shape of a pane belongs to at most one round and what it is written with never changes then; parts are
numbered per window without holes; a pane ends only when every event of it is in a part that was taken, and its spool is
freed in the same transaction.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from enricher.core.books import Delivery, SinkTrouble
from enricher.core.ledger import Outcome
from enricher.edges.store_sqlite import dead_letters, rows, spool
from enricher.edges.store_sqlite.dead_letters import BACKLOG
from enricher.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from enricher.core.ledger import Part


def undecided(db: sqlite3.Connection, pane: tuple[int, int]) -> list[Outcome]:
    """The outcome, as of now, of each shape that no round has, by row id."""
    row = _pane(db, pane)
    parameters = {"start": pane[0], "pane": pane[1], "task": row["task"], "model": row["model"]}
    found = db.execute(_UNDECIDED, parameters).fetchall()
    unanswered = {one["signature"] for one in found if one["id"] is None}
    waiting = _waiting(db, unanswered, row["task"], row["model"])
    return [_outcome_now(one, row["closed_at"], waiting) for one in found]


def _outcome_now(row: sqlite3.Row, closed_at: float | None, waiting: Mapping[str, str]) -> Outcome:
    answer = None
    if row["id"] is None:
        status = "skipped_policy" if row["skipped"] else waiting.get(row["signature"], "pending")
    elif row["answer_status"] == "ok":
        answer = rows.answer_from(row)
        status = "cached" if closed_at is not None and answer.answered_at <= closed_at else "ok"
    else:
        status = row["answer_status"]
    return Outcome(
        shape=row["shape"], signature=row["signature"], template=row["template"], status=status, answer=answer
    )


def _waiting(db: sqlite3.Connection, signatures: set[str], task: str, model: str) -> dict[str, str]:
    """Of signatures without an answer, why: there was no money for them, or the batch they were in expired."""
    last: dict[str, sqlite3.Row] = {}
    in_flight: set[str] = set()
    parameters = {"signatures": json.dumps(sorted(signatures)), "task": task, "model": model}
    for row in db.execute(_STATES, parameters):
        last[row["signature"]] = row
        if row["state"] in ("live", "again"):
            in_flight.add(row["signature"])
    statuses = {}
    for signature, row in last.items():
        if row["state"] == "skipped" and signature not in in_flight:
            statuses[signature] = "skipped_budget"
        elif row["state"] in ("live", "again") and row["error"].startswith("batch_expired"):
            statuses[signature] = "expired"
    return statuses


def decide(
    db: sqlite3.Connection, pane: tuple[int, int], outcomes: Sequence[Outcome], events_per_part: int
) -> list[Part]:
    """Fix a round. Shapes that have one already keep it: repeating a decision gives its parts."""
    row = _pane(db, pane)
    counts = {
        one["shape"]: one["events"]
        for one in db.execute(
            "SELECT shape, events FROM pane_kinds WHERE start = ? AND pane = ? AND round IS NULL", pane
        )
    }
    new = [outcome for outcome in outcomes if outcome.shape in counts]
    if not new:
        wanted = json.dumps([outcome.shape for outcome in outcomes])
        return [rows.part_from(one) for one in db.execute(_PARTS_OF_SHAPES, (*pane, wanted))]
    if row["state"] != "closed":
        raise StoreError(f"pane {pane} is {row['state']}: only a closed pane can be decided")
    number = row["rounds"]
    db.execute("UPDATE panes SET rounds = rounds + 1 WHERE start = ? AND number = ?", pane)
    db.executemany(
        "UPDATE pane_kinds SET round = ?, signature = ?, template = ?, status = ?, answer = ?"
        " WHERE start = ? AND pane = ? AND shape = ?",
        [
            (number, one.signature, one.template, one.status, one.answer.id if one.answer else None, *pane, one.shape)
            for one in new
        ],
    )
    db.executemany(_ADD_STATUS, [(pane[0], outcome.status, counts[outcome.shape]) for outcome in new])
    _cut(db, pane, number, sum(counts[outcome.shape] for outcome in new), events_per_part)
    return [one for one in parts(db, pane) if one.round_number == number]


def _cut(db: sqlite3.Connection, pane: tuple[int, int], round_number: int, events: int, events_per_part: int) -> None:
    first_number = db.execute("SELECT coalesce(max(number) + 1, 0) FROM parts WHERE start = ?", pane[:1]).fetchone()[0]
    db.executemany(
        "INSERT INTO parts (start, number, pane, round, first, events) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (pane[0], first_number + index, pane[1], round_number, first, min(events_per_part, events - first))
            for index, first in enumerate(range(0, events, events_per_part))
        ],
    )


def parts(db: sqlite3.Connection, pane: tuple[int, int]) -> list[Part]:
    """Every part of the pane."""
    found = db.execute("SELECT * FROM parts WHERE start = ? AND pane = ? ORDER BY number", pane)
    return [rows.part_from(row) for row in found]


def outcomes(db: sqlite3.Connection, pane: tuple[int, int], round_number: int) -> list[Outcome]:
    """What a round was fixed with, by shape; nothing once the pane is done."""
    return [
        Outcome(
            shape=row["shape"],
            signature=row["signature"],
            template=row["template"],
            status=row["status"],
            answer=None if row["id"] is None else rows.answer_from(row),
        )
        for row in db.execute(_OUTCOMES, (*pane, round_number))
    ]


def delivered(
    db: sqlite3.Connection,
    sink: str,
    part: Part,
    *,
    sha256: str,
    size_bytes: int,
    events: int,
    lines: int,
    filtered: int,
    now: float,
    is_dead: bool,
) -> None:
    """A sink has taken a part, or it is among the dead letters; the same part again replaces what was noted."""
    db.execute(
        "INSERT OR REPLACE INTO deliveries (start, number, sink, sha256, size_bytes, events, lines, filtered,"
        " delivered_at, is_dead) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (part.start, part.number, sink, sha256, size_bytes, events, lines, filtered, now, is_dead),
    )
    if is_dead:
        dead_letters.count(db, BACKLOG, part.events)


def deliveries(db: sqlite3.Connection, sink: str, start: int) -> list[Delivery]:
    """What a sink has of a window, by part number."""
    return [
        Delivery(
            part=rows.part_from(row),
            sha256=row["sha256"],
            size_bytes=row["size_bytes"],
            events=row["delivered_events"],
            lines=row["lines"],
            filtered=row["filtered"],
            delivered_at=row["delivered_at"],
            is_dead=bool(row["is_dead"]),
        )
        for row in db.execute(_DELIVERIES, (sink, start))
    ]


def note_ended(db: sqlite3.Connection, batch: int) -> None:
    """A batch has ended: what it cost is not in the manifest of a window that a sink has taken parts of already."""
    db.execute(
        "INSERT OR IGNORE INTO untold_batches (sink, window, batch)"
        " SELECT DISTINCT d.sink, w.window, w.batch FROM batch_windows w JOIN deliveries d ON d.start = w.window"
        " WHERE w.batch = ?",
        (batch,),
    )


def untold_batches(db: sqlite3.Connection, sink: str) -> dict[int, list[int]]:
    """By window, the batches that a sink's manifest may not have."""
    found: dict[int, list[int]] = {}
    for row in db.execute("SELECT window, batch FROM untold_batches WHERE sink = ? ORDER BY window, batch", (sink,)):
        found.setdefault(row["window"], []).append(row["batch"])
    return found


def batches_told(db: sqlite3.Connection, sink: str, start: int, batches: Sequence[int]) -> None:
    """The manifest has them."""
    db.executemany(
        "DELETE FROM untold_batches WHERE sink = ? AND window = ? AND batch = ?",
        [(sink, start, batch) for batch in batches],
    )


def save_trouble(db: sqlite3.Connection, sink: str, trouble: SinkTrouble | None) -> None:
    """Why a sink takes nothing, None for one that does; of the same trouble again only what it says is new."""
    if trouble is None:
        db.execute("DELETE FROM sink_troubles WHERE sink = ?", (sink,))
    else:
        db.execute(
            "INSERT INTO sink_troubles VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET error = excluded.error, hint = excluded.hint",
            (sink, trouble.error, trouble.hint, trouble.since),
        )


def troubles(db: sqlite3.Connection) -> dict[str, SinkTrouble]:
    """Why sinks take nothing, by sink."""
    return {
        row["sink"]: SinkTrouble(error=row["error"], hint=row["hint"], since=row["since"])
        for row in db.execute("SELECT * FROM sink_troubles ORDER BY sink")
    }


def finish_pane(db: sqlite3.Connection, pane: tuple[int, int], now: float) -> list[int]:
    """End a pane and free its spool; the segments that are gone. Raises StoreError where that would lose events."""
    row = _pane(db, pane)
    if row["state"] == "done":
        return []
    _check_all_taken(db, pane, row)
    _keep_signatures(db, pane)
    db.execute("UPDATE panes SET state = 'done', done_at = ? WHERE start = ? AND number = ?", (now, *pane))
    dead: int = db.execute(_IN_NO_SINK, pane).fetchone()[0]
    db.execute(
        "UPDATE books SET written_events = written_events + ?, dead_events = dead_events + ?",
        (row["events"] - dead, dead),
    )
    db.execute("DELETE FROM pane_kinds WHERE start = ? AND pane = ?", pane)
    segments = spool.pane_segments(db, pane)
    db.execute("DELETE FROM segment_panes WHERE start = ? AND pane = ?", pane)
    return spool.free(db, segments)


def _check_all_taken(db: sqlite3.Connection, pane: tuple[int, int], row: sqlite3.Row) -> None:
    if row["state"] != "closed":
        raise StoreError(f"pane {pane} is {row['state']}: only a closed pane can be finished")
    if db.execute(
        "SELECT 1 FROM pane_kinds WHERE start = ? AND pane = ? AND round IS NULL AND events > 0", pane
    ).fetchone():
        raise StoreError(f"pane {pane} has events that no round has: it cannot be finished")
    if db.execute(_PARTS_NOT_TAKEN, pane).fetchone():
        raise StoreError(f"pane {pane} has parts that no sink has: it cannot be finished")


def _keep_signatures(db: sqlite3.Connection, pane: tuple[int, int]) -> None:
    counts = _kept_signatures(db, pane[0])
    counts.update({row["root"]: row["events"] for row in db.execute(_SIGNED, (pane[0], pane[1]))})
    kept = np.array(sorted(counts.items()), dtype="<u8").tobytes()
    db.execute(
        "INSERT INTO window_signatures (start, signatures) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET signatures = excluded.signatures",
        (pane[0], kept),
    )


def window_signatures(db: sqlite3.Connection, start: int) -> Counter[int]:
    """Events by the row ids of the shapes that the window's signatures are, over its panes, done or not."""
    counts = _kept_signatures(db, start)
    counts.update({row["root"]: row["events"] for row in db.execute(_SIGNED, (start, None))})
    return counts


def _kept_signatures(db: sqlite3.Connection, start: int) -> Counter[int]:
    """The same over the panes that are done."""
    row = db.execute("SELECT signatures FROM window_signatures WHERE start = ?", (start,)).fetchone()
    pairs = [] if row is None else np.frombuffer(row["signatures"], dtype="<u8").reshape(-1, 2).tolist()
    return Counter(dict(pairs))


def _pane(db: sqlite3.Connection, pane: tuple[int, int]) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM panes WHERE start = ? AND number = ?", pane).fetchone()
    if row is None:
        raise StoreError(f"there is no pane {pane}")
    return row


_UNDECIDED = f"""
SELECT k.shape, r.key AS signature, r.template, r.skipped, {rows.ANSWER_COLUMNS}
FROM pane_kinds k JOIN shapes s ON s.id = k.shape JOIN shapes r ON r.id = s.root
    LEFT JOIN answers a ON a.id = {rows.SERVING_ANSWER}
WHERE k.start = :start AND k.pane = :pane AND k.round IS NULL AND k.events > 0
ORDER BY k.shape
"""  # noqa: S608 (a list of our own columns)

_OUTCOMES = f"""
SELECT k.shape, k.signature, k.template, k.status, {rows.ANSWER_COLUMNS}
FROM pane_kinds k LEFT JOIN answers a ON a.id = k.answer
WHERE k.start = ? AND k.pane = ? AND k.round = ? ORDER BY k.shape
"""  # noqa: S608 (a list of our own columns)

_STATES = """
SELECT g.signature, q.state, q.error FROM request_signatures g JOIN requests q ON q.id = g.request
WHERE g.signature IN (SELECT value FROM json_each(:signatures)) AND q.task = :task AND q.model = :model
ORDER BY q.changed_at, q.rowid
"""

_ADD_STATUS = """
INSERT INTO window_statuses (start, status, events) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET events = events + excluded.events
"""

_PARTS_OF_SHAPES = """
SELECT * FROM parts WHERE start = ?1 AND pane = ?2 AND round IN (SELECT round FROM pane_kinds
    WHERE start = ?1 AND pane = ?2 AND shape IN (SELECT value FROM json_each(?3)))
ORDER BY number
"""

_PARTS_NOT_TAKEN = """
SELECT 1 FROM parts p WHERE p.start = ? AND p.pane = ? AND p.events > 0
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.start = p.start AND d.number = p.number)
"""

_IN_NO_SINK = """
SELECT coalesce(sum(p.events), 0) FROM parts p WHERE p.start = ? AND p.pane = ?
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.start = p.start AND d.number = p.number AND NOT d.is_dead)
"""

_DELIVERIES = """
SELECT p.*, d.sha256, d.size_bytes, d.events AS delivered_events, d.lines, d.filtered, d.delivered_at, d.is_dead
FROM deliveries d JOIN parts p ON p.start = d.start AND p.number = d.number
WHERE d.sink = ? AND d.start = ? ORDER BY d.number
"""

_SIGNED = """
SELECT coalesce(d.id, s.root) AS root, sum(k.events) AS events FROM pane_kinds k JOIN shapes s ON s.id = k.shape
    LEFT JOIN shapes d ON d.key = k.signature
WHERE k.start = ?1 AND k.pane = coalesce(?2, k.pane) AND k.events > 0
GROUP BY 1
"""
