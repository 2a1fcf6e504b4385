"""A segment that cannot be read any more: kept as it is, and taken out of every count of what is still to be written.

Invariant: afterwards the sums of panes, kinds, statuses and parts are again those of the segments that are left, so
that parts cut before name the same events as before, less those that are gone; what a sink has already stays written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from enricher.edges.store_sqlite import codec, spool

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

CORRUPT: Final = "corrupt"
BACKLOG: Final = "backlog"


def count(db: sqlite3.Connection, reason: str, events: int) -> None:
    """Enter events that were put among the dead letters, of a segment or of a part that a sink did not take."""
    db.execute(
        "INSERT INTO tallies (what, value, number) VALUES ('dead', ?, ?)"
        " ON CONFLICT DO UPDATE SET number = number + excluded.number",
        (reason, events),
    )


def bury(db: sqlite3.Connection, number: int) -> None:
    """Take a segment that cannot be read out of the spool, and out of every count of what is still to be written."""
    dead_events = dead_lines = 0
    for one in db.execute("SELECT * FROM segment_panes WHERE segment = ?", (number,)).fetchall():
        events, lines = _bury_in_pane(db, (one["start"], one["pane"]), one)
        dead_events += events
        dead_lines += lines
    db.execute(
        "INSERT INTO dead_letters (reason, source, path, generation, offset, events, lines, data, shapes, window_index)"
        " SELECT ?, source, path, generation, offset, ?, ?, data, shapes, window_index"
        " FROM segments JOIN spool ON segment = id WHERE id = ?",
        (CORRUPT, dead_events, dead_lines, number),
    )
    db.execute("UPDATE books SET dead_events = dead_events + ?", (dead_events,))
    count(db, CORRUPT, dead_events)
    db.execute("DELETE FROM segment_panes WHERE segment = ?", (number,))
    spool.free(db, [number])


def _bury_in_pane(db: sqlite3.Connection, pane: tuple[int, int], one: sqlite3.Row) -> tuple[int, int]:
    """Returns the events and lines that are dead: those that no sink has."""
    counted = {shape: (events, lines) for shape, events, lines in codec.kinds_from(one["kinds"]).tolist()}
    rounds: dict[int | None, list[int]] = {}
    for kind in db.execute("SELECT shape, round FROM pane_kinds WHERE start = ? AND pane = ?", pane):
        if kind["shape"] in counted:
            rounds.setdefault(kind["round"], []).append(kind["shape"])
    dead_events = dead_lines = 0
    for round_number, shapes in rounds.items():
        events = sum(counted[shape][0] for shape in shapes)
        if round_number is not None and _cut_out(db, pane, round_number, one["segment"], events):
            continue
        lines = sum(counted[shape][1] for shape in shapes)
        dead_events += events
        dead_lines += lines
        db.executemany(
            "UPDATE pane_kinds SET events = events - ?, lines = lines - ? WHERE start = ? AND pane = ? AND shape = ?",
            [(*counted[shape], *pane, shape) for shape in shapes],
        )
        if round_number is not None:
            _uncount_statuses(db, pane, [(shape, counted[shape][0]) for shape in shapes])
    db.execute(
        "UPDATE panes SET events = events - ?, lines = lines - ? WHERE start = ? AND number = ?",
        (dead_events, dead_lines, *pane),
    )
    db.execute(_ADD_DEAD, (pane[0], CORRUPT, dead_lines, dead_events))
    return dead_events, dead_lines


def _cut_out(db: sqlite3.Connection, pane: tuple[int, int], round_number: int, segment: int, events: int) -> bool:
    """Take a segment's events out of the ordinals of a round's parts; whether a sink has all of them already."""
    decided = {
        row["shape"]
        for row in db.execute(
            "SELECT shape FROM pane_kinds WHERE start = ? AND pane = ? AND round = ?", (*pane, round_number)
        )
    }
    before = 0
    for row in db.execute(spool.PANE_SEGMENTS, pane):
        if row["segment"] == segment:
            break
        before += sum(count for shape, count, _ in codec.kinds_from(row["kinds"]).tolist() if shape in decided)
    delivered = True
    for part in db.execute(_ROUND_PARTS, (*pane, round_number)).fetchall():
        first, end = part["first"], part["first"] + part["events"]
        inside = min(end, before + events) - max(first, before)
        if inside > 0 and not part["is_delivered"]:
            delivered = False
        shift = min(max(first - before, 0), events)
        db.execute(
            "UPDATE parts SET first = ?, events = ? WHERE start = ? AND number = ?",
            (first - shift, part["events"] - max(inside, 0), pane[0], part["number"]),
        )
    return delivered


def _uncount_statuses(db: sqlite3.Connection, pane: tuple[int, int], counts: Sequence[tuple[int, int]]) -> None:
    for shape, events in counts:
        db.execute(
            "UPDATE window_statuses SET events = events - ? WHERE start = ? AND status ="
            " (SELECT status FROM pane_kinds WHERE start = ? AND pane = ? AND shape = ?)",
            (events, pane[0], *pane, shape),
        )


_ADD_DEAD = """
INSERT INTO window_dead (start, reason, lines, events) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET lines = lines + excluded.lines, events = events + excluded.events
"""

_ROUND_PARTS = """
SELECT p.*, EXISTS (SELECT 1 FROM deliveries d WHERE d.start = p.start AND d.number = p.number) AS is_delivered
FROM parts p WHERE p.start = ? AND p.pane = ? AND p.round = ?
"""
