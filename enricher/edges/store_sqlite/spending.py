"""What was booked, by day or window, task and model, and how many events answers went out with.

Money and tokens of a day are those of the batches that were booked on it; those of a window are its requests', which a
batch may hold of several. Both sum up to the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from enricher.core.spending import Answered, Booking

if TYPE_CHECKING:
    import sqlite3


def bookings_by_day(db: sqlite3.Connection) -> list[Booking]:
    """Batches that are done and cost something, by the UTC day on which their money counts."""
    return [_booking(row) for row in db.execute(_BY_DAY)]


def bookings_by_window(db: sqlite3.Connection) -> list[Booking]:
    """Requests about events by the window that needed them, batches of records by the hour of their planning.

    A batch that was created in vain asks nothing of its own: it counts for the first window of its file.
    """
    return [_booking(row) for row in db.execute(_BY_WINDOW)]


def answered_events(db: sqlite3.Connection) -> list[Answered]:
    """Events of each window that were written with an answer."""
    return [
        Answered(start=row["start"], task=row["task"] or "", model=row["model"] or "", events=row["events"])
        for row in db.execute(_ANSWERED)
    ]


def task_names(db: sqlite3.Connection) -> dict[str, str]:
    """Names of the tasks over records, by hash."""
    return {row["hash"]: row["name"] for row in db.execute("SELECT hash, name FROM record_tasks")}


def _booking(row: sqlite3.Row) -> Booking:
    return Booking(
        start=row["start"],
        task=row["task"],
        model=row["model"],
        purpose=row["purpose"],
        input_tokens=row["input_tokens"],
        cached_tokens=row["cached_tokens"],
        output_tokens=row["output_tokens"],
        paid_usd=row["cost_usd"],
    )


_SUMS: Final = """sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens,
    sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd"""
_COST_ANYTHING: Final = "(input_tokens > 0 OR output_tokens > 0 OR cost_usd > 0)"

_BY_DAY = f"""
SELECT CAST(coalesce(booked_at, collected_at, planned_at) AS INTEGER) / 86400 * 86400 AS start, task, model, purpose,
    {_SUMS}
FROM batches WHERE {_COST_ANYTHING} GROUP BY 1, task, model, purpose
"""  # noqa: S608 (columns of our own)

_BY_WINDOW = f"""
SELECT window AS start, task, model, 'events' AS purpose, {_SUMS}
FROM requests WHERE {_COST_ANYTHING} GROUP BY window, task, model
UNION ALL
SELECT window AS start, task, model, purpose, {_SUMS}
FROM batches WHERE (purpose = 'records' OR is_surplus) AND {_COST_ANYTHING} GROUP BY window, task, model
"""  # noqa: S608 (as above)

_ANSWERED = """
SELECT w.start, p.task, p.model, sum(w.events) AS events FROM window_statuses w
    JOIN panes p ON p.start = w.start AND p.number = 0
WHERE w.status IN ('ok', 'cached') AND w.events > 0 GROUP BY w.start
"""
