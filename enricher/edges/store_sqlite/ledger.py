"""Submit and track: batches, the fate of their requests, answers, money and the provider's token queue.

Invariants: a batch that is done stays done; collecting it is one transaction that leaves no request behind; an answer
that is ok is never replaced by one that is not, and none that a round was fixed with is ever changed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from enricher.core import job
from enricher.core.ledger import DIGEST_PREFIX, GOLD_PREFIX, BatchState, Money, RequestState
from enricher.edges.store_sqlite import rows
from enricher.edges.store_sqlite.accounts import IS_ASIDE, save_account
from enricher.edges.store_sqlite.delivery import note_ended
from enricher.edges.store_sqlite.gold import save_gold_answer
from enricher.edges.store_sqlite.matchers import join_alike, take_matcher
from enricher.edges.store_sqlite.merges import make_root
from enricher.edges.store_sqlite.splits import split_by
from enricher.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from enricher.core.ledger import LedgerBatch, Purpose, RequestResult, StoredAnswer

_DAY_SECONDS = 86_400.0

# Bodies are kept only for what may be sent again.
_BODY_FREE_STATES = (RequestState.ANSWERED, RequestState.FAILED, RequestState.SPLIT, RequestState.SKIPPED)


def batches(db: sqlite3.Connection, states: Collection[BatchState], purpose: Purpose = "events") -> list[LedgerBatch]:
    """Batches of a purpose in those states, oldest first."""
    found = db.execute(
        "SELECT * FROM batches WHERE state IN (SELECT value FROM json_each(?)) AND purpose = ? ORDER BY id",
        (json.dumps([*states]), purpose),
    )
    return [rows.batch_from(row) for row in found]


def save_batch(db: sqlite3.Connection, batch: LedgerBatch, surplus: Sequence[LedgerBatch] = ()) -> bool:
    """All fields; one that is done already is left as it is, so that a late save cannot bring it back: False.

    `surplus` that was found beside a batch over records is of the same run.
    """
    done = db.execute(_SAVE_BATCH, rows.to_columns(batch, rows.BATCH_COLUMNS))
    if not done.rowcount:
        _must_exist(db, batch)
    for one in surplus:
        number = db.execute(rows.INSERT_BATCH, rows.to_columns(one, rows.BATCH_COLUMNS) | {"id": None}).lastrowid
        db.execute(_SAME_RUN, (number, batch.id))
    return bool(done.rowcount)


def known_batches(db: sqlite3.Connection, ids: Collection[str]) -> set[str]:
    """Those of the provider's ids that a batch has or had."""
    found = db.execute(
        "SELECT batch_id FROM batches WHERE batch_id IN (SELECT value FROM json_each(?))", (json.dumps([*ids]),)
    )
    return {row["batch_id"] for row in found}


def skip_batch(db: sqlite3.Connection, batch: LedgerBatch, why: str, now: float) -> None:
    """Done without having been sent; one that was, or is on its way, is left as it is."""
    done = db.execute(_END_UNSENT, {"batches": json.dumps([batch.id]), "why": why, "now": now})
    if not done.rowcount:
        _must_exist(db, batch)
        return
    db.execute(
        "UPDATE requests SET state = 'skipped', error = ?, body = x'', changed_at = ?"
        " WHERE batch = ? AND state = 'live'",
        (why, now, batch.id),
    )


def take_back(
    db: sqlite3.Connection, batches: Collection[int], requests: Collection[str], why: str, now: float
) -> None:
    """Batches that were not sent are over, and what they and these requests ask was never asked.

    But a window is accounted for once, and lines of known meaning are asked about once a night: those are skipped. And
    what was paid for a request, in vain, stays booked to its window.
    """
    given = {"batches": json.dumps([*batches]), "requests": json.dumps([*requests]), "why": why, "now": now}
    found = db.execute(_TAKEN_BACK, given).fetchall()
    kept = [
        ("skipped" if row["is_aside"] else "failed", why, now, row["id"])
        for row in found
        if row["is_aside"] or row["was_paid"]
    ]
    gone = [(row["id"],) for row in found if not (row["is_aside"] or row["was_paid"])]
    db.executemany("UPDATE requests SET state = ?, error = ?, body = x'', changed_at = ? WHERE id = ?", kept)
    db.executemany("DELETE FROM request_signatures WHERE request = ?", gone)
    db.executemany("DELETE FROM requests WHERE id = ?", gone)
    db.execute(_END_UNSENT, given)


def cut_batch(db: sqlite3.Connection, batch: LedgerBatch, usd: float, state: RequestState, why: str, now: float) -> int:
    """Leave out of a batch that was not sent what it has beyond so much money; returns how many requests that were."""
    found = db.execute(_PLANNED, (batch.id,)).fetchall()
    kept, sums = 0, [0, 0, 0.0]
    for row in found:
        if sums[2] + row["reserved_usd"] > usd:
            break
        sums = [sums[0] + row["size_bytes"], sums[1] + row["tokens"], sums[2] + row["reserved_usd"]]
        kept += 1
    if kept in (0, len(found)) or any(row["is_aside"] for row in found):
        return 0
    db.executemany(
        "UPDATE requests SET state = ?, error = ?, changed_at = ?, batch = NULL,"
        " body = CASE WHEN ? THEN x'' ELSE body END WHERE id = ?",
        [(state, why, now, state in _BODY_FREE_STATES, row["id"]) for row in found[kept:]],
    )
    db.execute(
        "UPDATE batches SET requests = ?, size_bytes = ?, tokens = ?, reserved_usd = ? WHERE id = ?",
        (kept, *sums, batch.id),
    )
    return len(found) - kept


def collect(db: sqlite3.Connection, batch: LedgerBatch, results: Sequence[RequestResult], now: float) -> None:
    """Answers, requests, money and the end of a batch. A request without a result is asked again."""
    if _is_done(db, batch):
        return
    for result in results:
        for answer in result.answers:
            _save_answer(db, take_matcher(db, answer, now), now)
        join_alike(db, [answer.signature for answer in result.answers], now)
    db.executemany(_END_REQUEST, [_ended(batch, result, now) for result in results])
    db.execute(
        "UPDATE requests SET state = 'again', changed_at = ? WHERE batch = ? AND state = 'live'", (now, batch.id)
    )
    end_batch(db, batch, _totals(batch, results), now)


def end_batch(db: sqlite3.Connection, batch: LedgerBatch, totals: Mapping[str, float], now: float) -> None:
    """The batch is done, and its money booked. Not for one that is done already."""
    columns = rows.to_columns(batch, rows.BATCH_COLUMNS) | {**totals} | {"state": BatchState.DONE}
    db.execute(_SAVE_BATCH, columns)
    db.execute("UPDATE batches SET collected_at = ?, booked_at = ? WHERE id = ?", (now, now, batch.id))
    db.execute(_BOOK, totals)
    note_ended(db, batch.id)


def _ended(batch: LedgerBatch, result: RequestResult, now: float) -> dict[str, object]:
    return {
        "id": result.id,
        "batch": batch.id,
        "state": result.state,
        "is_over": result.state in _BODY_FREE_STATES,
        "counts": int(result.counts),
        "error": result.error,
        "input_tokens": result.usage[0],
        "cached_tokens": result.usage[1],
        "output_tokens": result.usage[2],
        "cost_usd": result.cost_usd,
        "now": now,
    }


def _totals(batch: LedgerBatch, results: Sequence[RequestResult]) -> dict[str, float]:
    """What the batch itself says, where it says anything, else the sum of its results."""
    sums = [sum(result.usage[index] for result in results) for index in range(3)]
    return {
        "input_tokens": batch.input_tokens or sums[0],
        "cached_tokens": batch.cached_tokens or sums[1],
        "output_tokens": batch.output_tokens or sums[2],
        "cost_usd": batch.cost_usd or sum(result.cost_usd for result in results),
    }


def _save_answer(db: sqlite3.Connection, answer: StoredAnswer, now: float) -> None:
    if answer.signature.startswith(DIGEST_PREFIX):
        save_account(db, answer)
        return
    if answer.signature.startswith(GOLD_PREFIX):
        save_gold_answer(db, answer)
        return
    # Asked again, in vain or not: an answer that still serves is not asked for once more before its time.
    db.execute(
        "UPDATE answers SET refresh = 0, confirmed_at = ? WHERE signature = ? AND is_current", (now, answer.signature)
    )
    known = db.execute(
        "SELECT * FROM answers WHERE signature = ? AND task = ? AND model = ? AND is_current",
        (answer.signature, answer.task, answer.model),
    ).fetchone()
    if known is not None:
        if known["status"] == "ok" and answer.status != "ok":
            return
        db.execute("UPDATE answers SET is_current = 0 WHERE id = ?", (known["id"],))
    db.execute(rows.INSERT_ANSWER, rows.to_columns(answer, rows.STORED_COLUMNS) | {"confirmed_at": now})
    if answer.status == "ok":
        make_root(db, answer.signature, now)
        split_by(db, answer.signature, answer.body, now, asked=answer.template)


def _is_done(db: sqlite3.Connection, batch: LedgerBatch) -> bool:
    return _must_exist(db, batch) == BatchState.DONE


def _must_exist(db: sqlite3.Connection, batch: LedgerBatch) -> str:
    row = db.execute("SELECT state FROM batches WHERE id = ?", (batch.id,)).fetchone()
    if row is None:
        raise StoreError(f"batch {batch.id} ({batch.name}) is not in the ledger")
    return str(row["state"])


# ---------------------------------------------------------------- money and tokens


def money(db: sqlite3.Connection, now: float) -> Money:
    """Booked by the UTC day on which batches were collected; reserved by those that may be with the provider."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    reserved = (
        "SELECT coalesce(sum(reserved_usd), 0.0) FROM batches"
        " WHERE state IN ('uploading', 'creating', 'open', 'cancelling')"
    )
    since = {"today": today.timestamp(), "month": today.replace(day=1).timestamp()}
    usd = {
        name: db.execute(_BOOKED_SINCE, {"start": start, "reach": now + _DAY_SECONDS}).fetchone()[0]
        for name, start in since.items()
    }
    return Money(
        today_usd=usd["today"],
        month_usd=usd["month"],
        reserved_usd=db.execute(reserved).fetchone()[0],
    )


def is_booked_ahead(db: sqlite3.Connection, now: float) -> bool:
    """Whether money was booked under a clock that was more than a day ahead of now."""
    return db.execute("SELECT 1 FROM batches WHERE booked_at > ? LIMIT 1", (now + _DAY_SECONDS,)).fetchone() is not None


def book_as_of(db: sqlite3.Connection, now: float) -> None:
    """Let it count for the day and the month of now: else no other day would have a budget until that time has come.

    Should it be now that is wrong, it counts as of when it was collected too, once the clock is there again.
    """
    db.execute("UPDATE batches SET booked_at = ? WHERE booked_at > ?", (now, now + _DAY_SECONDS))


def reserved_tokens(db: sqlite3.Connection, model: str) -> int:
    """From the intent to upload on: two batches that upload at once must not both count on the same room."""
    row = db.execute(
        "SELECT coalesce(sum(tokens), 0) FROM batches"
        " WHERE model = ? AND state IN ('uploading', 'creating', 'open', 'cancelling')",
        (model,),
    ).fetchone()
    return int(row[0])


def token_limit(db: sqlite3.Connection, model: str, now: float) -> int | None:
    """The limit as learned, as far as it is believed still."""
    row = db.execute("SELECT tokens, learned_at FROM token_limits WHERE model = ?", (model,)).fetchone()
    return None if row is None else job.believed_limit(row["tokens"], learned_at=row["learned_at"], now=now)


def learn_token_limit(db: sqlite3.Connection, model: str, limit: int, now: float) -> None:
    """The newest word counts."""
    db.execute(
        "INSERT INTO token_limits (model, tokens, learned_at) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET tokens = excluded.tokens, learned_at = excluded.learned_at",
        (model, limit, now),
    )


_SAVE_BATCH = rows.update_sql(
    "batches", (name for name in rows.BATCH_COLUMNS if name != "id"), "id = :id AND state != 'done'"
)

_SAME_RUN = "INSERT INTO record_batches (batch, run, items) SELECT ?, run, x'' FROM record_batches WHERE batch = ?"

# Looked at again here: what was read before may be on its way to the provider by now.
_UNSENT = """
id IN (SELECT value FROM json_each(:batches)) AND state IN ('planned', 'uploading', 'creating') AND intent_at IS NULL
"""

_TAKEN_BACK = f"""
SELECT q.id, {IS_ASIDE.format(request="q.id")} AS is_aside,
    q.input_tokens > 0 OR q.output_tokens > 0 OR q.cost_usd > 0 AS was_paid
FROM requests q
WHERE (q.state = 'live' AND q.batch IN (SELECT id FROM batches WHERE {_UNSENT}))
    OR (q.state = 'again' AND q.id IN (SELECT value FROM json_each(:requests)))
"""  # noqa: S608 (a condition of our own)

_END_UNSENT = f"""
UPDATE batches SET state = 'done', outcome = 'skipped', error = :why, collected_at = :now WHERE {_UNSENT}
"""  # noqa: S608 (a condition of our own)

_PLANNED = f"""
SELECT q.id, length(q.body) AS size_bytes, q.tokens, q.reserved_usd, {IS_ASIDE.format(request="q.id")} AS is_aside
FROM requests q JOIN batches b ON b.id = q.batch
WHERE q.batch = ? AND q.state = 'live' AND b.state = 'planned' ORDER BY q.position
"""  # noqa: S608 (a condition of our own)

_END_REQUEST = """
UPDATE requests SET state = :state, tries = tries + :counts, error = :error, changed_at = :now,
    body = CASE WHEN :is_over THEN x'' ELSE body END, input_tokens = input_tokens + :input_tokens,
    cached_tokens = cached_tokens + :cached_tokens, output_tokens = output_tokens + :output_tokens,
    cost_usd = cost_usd + :cost_usd
WHERE id = :id AND batch = :batch AND state = 'live'
"""

_BOOKED_SINCE = """
SELECT coalesce(sum(cost_usd), 0.0) FROM batches
WHERE booked_at >= :start OR (collected_at >= :start AND collected_at <= :reach)
"""

_BOOK = """
UPDATE books SET input_tokens = input_tokens + :input_tokens, cached_tokens = cached_tokens + :cached_tokens,
    output_tokens = output_tokens + :output_tokens, cost_usd = cost_usd + :cost_usd
"""
