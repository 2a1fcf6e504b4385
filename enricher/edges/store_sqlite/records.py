"""Batch mode over records: runs, their chunks of rows, what batches ask, and what is known of items.

Invariants: an item's answer, its money and its batch's end are one transaction, repeated without effect; an answer that
is ok is never replaced; rows are kept until their output is written, answers for ever.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from enricher.core.ledger import BatchState
from enricher.core.records.ledger import ITEM_REF, Known, Paid, Run, RunOverview
from enricher.edges.store_sqlite import ledger, records_codec, rows
from enricher.edges.store_sqlite.records_codec import EncodedChunk

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from enricher.core.ledger import LedgerBatch

_RUN_COLUMNS: Final = tuple(field.name for field in fields(Run))
_LIVE: Final = "('planned', 'uploading', 'creating', 'open', 'cancelling')"


# ---------------------------------------------------------------- runs


def begin_run(db: sqlite3.Connection, run: Run) -> int:
    """Store a new run; earlier ones of the same job that are not done are left. Returns its row id."""
    leave_runs(db, run.job)
    columns = _run_columns(run)
    del columns["id"]
    return int(db.execute(rows.insert_sql("record_runs", columns), columns).lastrowid or 0)


def leave_runs(db: sqlite3.Connection, job: str) -> None:
    """Give up runs of a job that are not done: what was not sent is not sent, what was is still collected."""
    left = db.execute("SELECT id FROM record_runs WHERE job = ? AND state IN ('reading', 'asking')", (job,)).fetchall()
    for row in left:
        db.execute(_SKIP_UNSENT, (row["id"],))
        db.execute("UPDATE record_runs SET state = 'left' WHERE id = ?", (row["id"],))
        _drop_rows_unless_needed(db, row["id"])


def save_run(db: sqlite3.Connection, run: Run) -> None:
    """All fields of a run."""
    db.execute(
        rows.update_sql("record_runs", (one for one in _RUN_COLUMNS if one != "id"), "id = :id"), _run_columns(run)
    )


def end_run(db: sqlite3.Connection, run: Run) -> None:
    """Its output is written: its rows are let go of."""
    save_run(db, run)
    _drop_rows(db, run.id)


def latest_run(db: sqlite3.Connection, job: str) -> Run | None:
    """The latest run of a job."""
    row = db.execute("SELECT * FROM record_runs WHERE job = ? ORDER BY id DESC LIMIT 1", (job,)).fetchone()
    return None if row is None else _run_from(row)


def overview(db: sqlite3.Connection, limit: int) -> list[RunOverview]:
    """Runs with what they cost, newest first."""
    return [
        RunOverview(
            run=_run_from(row), task_name=row["task_name"], under_way=row["under_way"], cost_usd=row["cost_usd"]
        )
        for row in db.execute(_OVERVIEW, (limit,))
    ]


def spent(db: sqlite3.Connection, run: int) -> tuple[int, float]:
    """Requests that were sent for a run, and USD paid for them."""
    requests, cost_usd = db.execute(_SPENT, (run,)).fetchone()
    return int(requests), float(cost_usd)


def wrote(db: sqlite3.Connection, output: str, marks: Collection[str]) -> bool:
    """Whether a run has left the output under one of these marks, or was about to."""
    found = db.execute("SELECT mark FROM record_runs WHERE output = ? AND mark != ''", (output,))
    return any(not set(marks).isdisjoint(row["mark"].split()) for row in found)


def name_task(db: sqlite3.Connection, task: str, name: str, version: str, now: float) -> None:
    """Keep what a task's hash was called."""
    db.execute(
        "INSERT INTO record_tasks (hash, name, version, seen_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET name = excluded.name, version = excluded.version, seen_at = excluded.seen_at",
        (task, name, version, now),
    )


def earlier_keys(db: sqlite3.Connection, name: str, limit: int) -> list[tuple[str, str]]:
    """(task hash, model) under which a task of this name was asked, latest first."""
    found = db.execute(_EARLIER_KEYS, (name, limit))
    return [(row["task"], row["model"]) for row in found]


def has_answers(db: sqlite3.Connection, task: str, model: str) -> bool:
    """Whether a batch under this task and model was ever answered."""
    return db.execute(_ANSWERED_ONCE, (task, model)).fetchone() is not None


def _run_columns(run: Run) -> dict[str, Any]:
    return rows.to_columns(run, _RUN_COLUMNS) | {"columns": json.dumps(run.columns)}


def _run_from(row: sqlite3.Row) -> Run:
    columns: dict[str, Any] = {name: row[name] for name in _RUN_COLUMNS}
    return Run(**columns | {"columns": tuple(json.loads(row["columns"]))})


def _drop_rows_unless_needed(db: sqlite3.Connection, run: int) -> None:
    """Let go of a run's rows if no batch of it is under way: its lines may have to be made, its answers be checked."""
    if db.execute(_UNDER_WAY, (run,)).fetchone() is None:
        _drop_rows(db, run)


def _drop_rows(db: sqlite3.Connection, run: int) -> None:
    db.execute("DELETE FROM record_rows WHERE run = ?", (run,))
    db.execute("DELETE FROM record_chunks WHERE run = ?", (run,))


# ---------------------------------------------------------------- chunks


def add_chunks(db: sqlite3.Connection, run: int, chunks: Sequence[EncodedChunk]) -> None:
    """Keep chunks of a run."""
    db.executemany(
        "INSERT OR REPLACE INTO record_chunks (run, number, items) VALUES (?, ?, ?)",
        [(run, one.number, one.index) for one in chunks],
    )
    db.executemany(
        "INSERT OR REPLACE INTO record_rows (run, number, data) VALUES (?, ?, ?)",
        [(run, one.number, one.data) for one in chunks],
    )


def chunk_numbers(db: sqlite3.Connection, run: int) -> list[int]:
    """The chunks of a run, in order."""
    found = db.execute("SELECT number FROM record_chunks WHERE run = ? ORDER BY number", (run,))
    return [row["number"] for row in found]


def chunk_index(db: sqlite3.Connection, run: int, number: int) -> bytes:
    """Which items a chunk has, encoded."""
    row = db.execute("SELECT items FROM record_chunks WHERE run = ? AND number = ?", (run, number)).fetchone()
    return bytes(row["items"])


def chunk(db: sqlite3.Connection, run: int, number: int) -> EncodedChunk:
    """A chunk with its rows."""
    row = db.execute("SELECT data FROM record_rows WHERE run = ? AND number = ?", (run, number)).fetchone()
    return EncodedChunk(number=number, index=chunk_index(db, run, number), data=bytes(row["data"]))


# ---------------------------------------------------------------- items


def known(db: sqlite3.Connection, items: Iterable[int]) -> dict[int, Known]:
    """What is known of these items, of those of which anything is."""
    return {one.item: one for one in map(Known._make, _plain(db, _KNOWN, items))}


def asked_last(db: sqlite3.Connection, items: Iterable[int]) -> dict[int, tuple[str, int]]:
    """(status, the batch that said so) of these items, of those that were asked."""
    return {item: (status, batch) for item, status, batch in _plain(db, _ASKED_LAST, items)}


def bodies(db: sqlite3.Connection, batch: int) -> bytes:
    """What was said of the items of a batch, encoded."""
    return bytes(db.execute("SELECT data FROM record_bodies WHERE batch = ?", (batch,)).fetchone()["data"])


def paid(db: sqlite3.Connection, run: Run, items: Iterable[int]) -> Paid:
    """What was paid for the items of a run: by its job for this input, and their share of other batches."""
    given = {"run": run.id, "job": run.job, "fingerprint": run.fingerprint, "items": _listed(items)}
    row = db.execute(_PAID, given).fetchone()
    return Paid(float(row["usd"]), round(row["input_tokens"]), round(row["output_tokens"]), int(row["answered_before"]))


def _plain(db: sqlite3.Connection, sql: str, items: Iterable[int]) -> sqlite3.Cursor:
    """Rows as tuples: of a million, those that know their columns take twice as long."""
    cursor = db.cursor()
    cursor.row_factory = None
    return cursor.execute(sql, (_listed(items),))


def _listed(items: Iterable[int]) -> str:
    """Return items as SQLite's `json_each` takes them."""
    return msgspec.json.encode([*items]).decode()


def live_items(db: sqlite3.Connection) -> NDArray[np.int64]:
    """Items that batches which are not done ask about, sorted."""
    found = db.execute(_LIVE_BATCHES).fetchall()
    parts = [np.frombuffer(row["items"], dtype=ITEM_REF)["item"] for row in found]
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)


# ---------------------------------------------------------------- batches


def plan_batches(
    db: sqlite3.Connection, run: int, batches: Sequence[tuple[LedgerBatch, NDArray[np.void]]]
) -> list[LedgerBatch]:
    """Put planned batches with what they ask in the ledger. Returns them with their ids."""
    made = []
    for batch, refs in batches:
        columns = rows.to_columns(batch, rows.BATCH_COLUMNS)
        del columns["id"]
        number = int(db.execute(rows.insert_sql("batches", columns), columns).lastrowid or 0)
        db.execute("INSERT INTO record_batches (batch, run, items) VALUES (?, ?, ?)", (number, run, refs.tobytes()))
        made.append(rows.batch_from(db.execute("SELECT * FROM batches WHERE id = ?", (number,)).fetchone()))
    return made


def batch_items(db: sqlite3.Connection, batch: int) -> tuple[int, NDArray[np.void]]:
    """The run that a batch belongs to, and what it asks, in the order of its file."""
    row = db.execute("SELECT run, items FROM record_batches WHERE batch = ?", (batch,)).fetchone()
    return int(row["run"]), np.frombuffer(row["items"], dtype=ITEM_REF)


class Decided(NamedTuple):
    """What became of some items of a batch."""

    status: str
    attempt: int
    tries: int
    items: list[int]
    """Sorted."""


def collect(db: sqlite3.Connection, batch: LedgerBatch, found: Sequence[Decided], said: bytes, now: float) -> None:
    """Answers, money and the end of a batch."""
    state = db.execute("SELECT state FROM batches WHERE id = ?", (batch.id,)).fetchone()["state"]
    if state == BatchState.DONE:
        return
    elsewhere: list[int] = []
    for one in found:
        # One statement for all of them: of a million, those that are bound and run by themselves take twice as long.
        saved = db.execute(_SAVE_ANSWERS, one._asdict() | {"items": _listed(one.items), "batch": batch.id}).rowcount
        if saved < len(one.items):
            elsewhere += [item for item, (_, by) in asked_last(db, one.items).items() if by != batch.id]
    if elsewhere:
        said = records_codec.unanswer(said, elsewhere)
    db.execute("INSERT INTO record_bodies (batch, data) VALUES (?, ?)", (batch.id, said))
    totals = rows.to_columns(batch, ("input_tokens", "cached_tokens", "output_tokens", "cost_usd"))
    ledger.end_batch(db, batch, totals, now)
    run = db.execute("UPDATE record_batches SET items = x'' WHERE batch = ? RETURNING run", (batch.id,)).fetchone()
    if run is not None:
        owner = db.execute("SELECT state FROM record_runs WHERE id = ?", (run["run"],)).fetchone()
        if owner["state"] == "left":
            _drop_rows_unless_needed(db, run["run"])


_OVERVIEW = f"""
SELECT r.*, coalesce(t.name, r.task) AS task_name,
    (SELECT coalesce(sum(b.requests), 0) FROM record_batches i JOIN batches b ON b.id = i.batch
        WHERE i.run = r.id AND b.state IN {_LIVE}) AS under_way,
    (SELECT coalesce(sum(b.cost_usd), 0.0) FROM record_batches i JOIN batches b ON b.id = i.batch
        WHERE i.run = r.id) AS cost_usd
FROM record_runs r LEFT JOIN record_tasks t ON t.hash = r.task ORDER BY r.id DESC LIMIT ?
"""  # noqa: S608 (a list of our own)

_SPENT = """
SELECT coalesce(sum(b.requests), 0), coalesce(sum(b.cost_usd), 0.0)
FROM record_batches i JOIN batches b ON b.id = i.batch
WHERE i.run = ? AND b.state = 'done' AND b.outcome IS NOT 'skipped'
"""

_EARLIER_KEYS = """
SELECT b.task, b.model, max(b.id) AS latest FROM batches b JOIN record_tasks t ON t.hash = b.task
WHERE t.name = ? AND b.purpose = 'records' GROUP BY b.task, b.model ORDER BY latest DESC LIMIT ?
"""

_ANSWERED_ONCE = """
SELECT 1 FROM batches WHERE task = ? AND model = ? AND purpose = 'records' AND input_tokens > 0 LIMIT 1
"""

_SKIP_UNSENT = """
UPDATE batches SET state = 'done', outcome = 'skipped', error = 'the run was left', collected_at = unixepoch()
WHERE id IN (SELECT batch FROM record_batches WHERE run = ?) AND state = 'planned'
"""

_UNDER_WAY = f"""
SELECT 1 FROM record_batches r JOIN batches b ON b.id = r.batch WHERE r.run = ? AND b.state IN {_LIVE} LIMIT 1
"""  # noqa: S608 (a list of our own)

_LIVE_BATCHES = f"""
SELECT r.items FROM record_batches r JOIN batches b ON b.id = r.batch WHERE b.state IN {_LIVE}
"""  # noqa: S608 (a list of our own)

_KNOWN = """
SELECT a.item, a.status, a.attempt, a.tries,
    CASE a.status WHEN 'ok' THEN 0 ELSE
        coalesce((SELECT run FROM record_batches b WHERE b.batch = a.batch), 0) END
FROM record_answers a WHERE a.item IN (SELECT value FROM json_each(?))
"""

_ASKED_LAST = """
SELECT item, status, batch FROM record_answers WHERE item IN (SELECT value FROM json_each(?))
"""

_PAID = """
WITH own AS (
    SELECT batch FROM record_batches WHERE run IN (
        SELECT id FROM record_runs WHERE job = :job AND fingerprint = :fingerprint)
), paid AS (
    SELECT batch, 1.0 AS part FROM own
    UNION ALL
    SELECT a.batch, 1.0 * count(*) / b.requests FROM record_answers a JOIN batches b ON b.id = a.batch
    WHERE a.item IN (SELECT value FROM json_each(:items)) AND a.batch NOT IN (SELECT batch FROM own)
    GROUP BY a.batch
)
SELECT coalesce(sum(p.part * b.cost_usd), 0.0) AS usd,
    coalesce(sum(p.part * b.input_tokens), 0.0) AS input_tokens,
    coalesce(sum(p.part * b.output_tokens), 0.0) AS output_tokens,
    (SELECT count(*) FROM record_answers WHERE item IN (SELECT value FROM json_each(:items)) AND status = 'ok'
        AND batch NOT IN (SELECT batch FROM record_batches WHERE run = :run)) AS answered_before
FROM paid p JOIN batches b ON b.id = p.batch
"""

_SAVE_ANSWERS = """
INSERT INTO record_answers (item, status, attempt, tries, batch)
SELECT value, :status, :attempt, :tries, :batch FROM json_each(:items) WHERE true
ON CONFLICT (item) DO UPDATE SET status = excluded.status, attempt = excluded.attempt, tries = excluded.tries,
    batch = excluded.batch
WHERE status != 'ok'
"""
