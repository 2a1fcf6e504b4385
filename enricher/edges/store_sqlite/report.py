"""The books: of one window for its manifest, and of everything for the operator.

Invariant: nothing here reads the spool; events read = written + dead + pending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.core.books import FileRange, StoreSummary, WindowReport
from enricher.core.ledger import BatchState
from enricher.edges.store_sqlite import rows
from enricher.edges.store_sqlite.accounts import IS_ASIDE
from enricher.edges.store_sqlite.delivery import troubles, window_signatures
from enricher.edges.store_sqlite.ledger import batches
from enricher.edges.store_sqlite.shapes import breakers

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection

    from enricher.core.block import FileState

_WITH_PROVIDER = (BatchState.UPLOADING, BatchState.CREATING, BatchState.OPEN, BatchState.CANCELLING)


def window_report(db: sqlite3.Connection, start: int) -> WindowReport:
    """The books of a window."""
    spent = db.execute(_SPENT, (start,)).fetchone()
    panes = db.execute("SELECT * FROM panes WHERE start = ? ORDER BY number", (start,))
    ranges = db.execute("SELECT * FROM window_files WHERE start = ? ORDER BY path, generation", (start,))
    return WindowReport(
        start=start,
        panes=tuple(rows.pane_from(row) for row in panes),
        files=tuple(
            FileRange(
                path=row["path"],
                identity=row["identity"],
                generation=row["generation"],
                first_byte=row["first_byte"],
                last_byte=row["last_byte"],
                lines=row["lines"],
                events=row["events"],
            )
            for row in ranges
        ),
        signatures=max(len(window_signatures(db, start)), _kinds_let_go(db, start)),
        requests=spent["requests"],
        input_tokens=spent["input_tokens"],
        cached_tokens=spent["cached_tokens"],
        output_tokens=spent["output_tokens"],
        cost_usd=spent["cost_usd"],
        batches=tuple(row["name"] for row in db.execute(_WINDOW_BATCHES, (start,))),
        dead_letters=_mapping(db, "SELECT reason, lines FROM window_dead WHERE start = ? AND lines > 0", start),
        statuses=_mapping(db, "SELECT status, events FROM window_statuses WHERE start = ? AND events > 0", start),
    )


def _kinds_let_go(db: sqlite3.Connection, start: int) -> int:
    row = db.execute("SELECT let_go FROM window_signatures WHERE start = ?", (start,)).fetchone()
    return 0 if row is None else int(row["let_go"])


def spool_bytes(db: sqlite3.Connection) -> int:
    """Bytes of spooled events."""
    size_bytes: int = db.execute("SELECT spool_bytes FROM books").fetchone()[0]
    return size_bytes


def summary(
    db: sqlite3.Connection, sinks: Collection[str], store_bytes: Callable[[], int], free_bytes: Callable[[], int]
) -> StoreSummary:
    """Counts for status and metrics; `sinks` are those that must have an event before it counts as written."""
    books = db.execute("SELECT * FROM books").fetchone()
    oldest = db.execute("SELECT min(start) FROM panes WHERE state = 'open'").fetchone()[0]
    read = books["read_events"]
    names = tuple(sinks) or tuple(row["sink"] for row in db.execute("SELECT DISTINCT sink FROM deliveries"))
    taken = _mapping(db, _TAKEN_BY_SINK)
    taken_by_all, dead_for_all = _taken_by_all(db, names)
    written, dead = books["written_events"] + taken_by_all, books["dead_events"] + dead_for_all
    unfinished = db.execute("SELECT coalesce(sum(events), 0) FROM panes WHERE state != 'done'").fetchone()[0]
    return StoreSummary(
        windows=_mapping(db, "SELECT state, count(*) FROM panes GROUP BY state"),
        oldest_open_window=oldest,
        batches=_mapping(db, "SELECT state, count(*) FROM batches WHERE purpose = 'events' GROUP BY state"),
        open_batches=tuple(batches(db, _WITH_PROVIDER)),
        waiting_batches=tuple(one for one in batches(db, (BatchState.PLANNED,)) if one.error),
        requests=_mapping(db, _TALLIED, "requests"),
        signatures=books["signatures"],
        answers=_mapping(db, _TALLIED, "answers"),
        read_lines=books["read_lines"],
        read_events=read,
        blank_lines=books["blank_lines"],
        dropped_lines=books["dropped_lines"],
        lost_bytes=books["lost_bytes"],
        written_events=written,
        pending_events=read - dead - written,
        dead_events=dead,
        dead_letters=_mapping(db, _TALLIED, "dead"),
        input_tokens=books["input_tokens"],
        cached_tokens=books["cached_tokens"],
        output_tokens=books["output_tokens"],
        cost_usd=books["cost_usd"],
        booked_usd=_booked(db, books["cost_usd"]),
        store_bytes=store_bytes(),
        spool_bytes=books["spool_bytes"],
        pending_by_sink={name: unfinished - taken.get(name, 0) for name in names},
        free_bytes=free_bytes(),
        sink_troubles=troubles(db),
        open_breakers={source: one.changed_at for source, one in breakers(db).items() if one.is_open},
    )


def _booked(db: sqlite3.Connection, all_usd: float) -> dict[str, float]:
    records_usd: float = db.execute(_BOOKED_FOR_RECORDS).fetchone()[0]
    return {"events": max(all_usd - records_usd, 0.0), "records": records_usd}


def lagging_files(db: sqlite3.Connection, limit: int) -> list[FileState]:
    """The files that are furthest behind, those that are there before those that are gone."""
    found = db.execute(
        "SELECT * FROM files ORDER BY gone_at IS NOT NULL, size_seen - position DESC, id LIMIT ?", (limit,)
    )
    return [rows.file_from(row) for row in found]


def _taken_by_all(db: sqlite3.Connection, sinks: Collection[str]) -> tuple[int, int]:
    """Events of panes not done whose part every sink has; and those of which it is a dead letter for each."""
    by_part: dict[tuple[int, int], dict[str, bool]] = {}
    events: dict[tuple[int, int], int] = {}
    for row in db.execute(_TAKEN_PARTS):
        part = (row["start"], row["number"])
        by_part.setdefault(part, {})[row["sink"]] = bool(row["is_dead"])
        events[part] = row["events"]
    whole = {part: having for part, having in by_part.items() if having.keys() >= set(sinks)}
    dead = sum(events[part] for part, having in whole.items() if all(having.values()))
    return sum(events[part] for part in whole) - dead, dead


def _mapping(db: sqlite3.Connection, sql: str, *parameters: int | str) -> dict[str, int]:
    return {row[0]: row[1] for row in db.execute(sql, parameters)}


# What is asked beside the kinds of a window may be answered long after its manifest is final: the books alone have it.
_SPENT = f"""
SELECT count(*) AS requests, coalesce(sum(input_tokens), 0) AS input_tokens,
    coalesce(sum(cached_tokens), 0) AS cached_tokens, coalesce(sum(output_tokens), 0) AS output_tokens,
    coalesce(sum(cost_usd), 0.0) AS cost_usd
FROM requests WHERE window = ? AND NOT {IS_ASIDE.format(request="requests.id")}
"""  # noqa: S608 (a condition of our own)

_WINDOW_BATCHES = """
SELECT coalesce(b.batch_id, b.name) AS name FROM batch_windows w JOIN batches b ON b.id = w.batch
WHERE w.window = ? ORDER BY b.id
"""

_BOOKED_FOR_RECORDS = "SELECT coalesce(sum(cost_usd), 0.0) FROM batches WHERE purpose = 'records'"

_TALLIED = "SELECT value, number FROM tallies WHERE what = ? AND number > 0"

_TAKEN_PARTS = """
SELECT p.start, p.number, p.events, d.sink, d.is_dead FROM panes n
    JOIN parts p ON p.start = n.start AND p.pane = n.number
    JOIN deliveries d ON d.start = p.start AND d.number = p.number
WHERE n.state = 'closed'
"""

_TAKEN_BY_SINK = """
SELECT d.sink, sum(p.events) FROM panes n
    JOIN parts p ON p.start = n.start AND p.pane = n.number
    JOIN deliveries d ON d.start = p.start AND d.number = p.number
WHERE n.state = 'closed' GROUP BY d.sink
"""
