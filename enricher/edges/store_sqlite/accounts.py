"""What a model said of windows, which sinks have it in their digests, and what becomes of such requests without money.

Invariant: an account that is good is never replaced by a failure, and each window has one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.core.account import Account
from enricher.core.ledger import DIGEST_PREFIX, GOLD_PREFIX
from enricher.core.window import window_start

if TYPE_CHECKING:
    import sqlite3

    from enricher.core.ledger import LedgerBatch, StoredAnswer


def save_account(db: sqlite3.Connection, answer: StoredAnswer) -> None:
    """Keep what became of the request about a window."""
    db.execute(
        _SAVE,
        {
            "start": window_start(answer.signature.removeprefix(DIGEST_PREFIX)),
            "status": answer.status,
            "body": answer.body,
            "task": answer.task,
            "model": answer.model,
            "served_model": answer.served_model,
            "batch_id": answer.batch_id,
            "answered_at": answer.answered_at,
        },
    )


def account(db: sqlite3.Connection, start: int) -> Account | None:
    """The account of a window, with the model that gave it."""
    row = db.execute("SELECT body, served_model FROM accounts WHERE start = ? AND status = 'ok'", (start,)).fetchone()
    return None if row is None else Account.from_json(row["body"]).model_copy(update={"model": row["served_model"]})


def untold_accounts(db: sqlite3.Connection, sink: str) -> list[int]:
    """Windows, all of them closed, that the sink has events of and whose account it has not."""
    return [row["start"] for row in db.execute(_UNTOLD, {"sink": sink})]


def account_told(db: sqlite3.Connection, sink: str, start: int) -> None:
    """The sink has the account."""
    db.execute("INSERT OR IGNORE INTO account_deliveries (start, sink) VALUES (?, ?)", (start, sink))


def skip_digests(db: sqlite3.Connection, batch: LedgerBatch, why: str, now: float) -> int:
    """Leave the requests about windows out of a batch that was not sent; returns how many there were."""
    found = db.execute(_DIGESTS, {"batch": batch.id, **_RANGE}).fetchall()
    if not found:
        return 0
    db.executemany(
        "UPDATE requests SET state = 'skipped', error = ?, body = x'', changed_at = ?, batch = NULL WHERE id = ?",
        [(why, now, row["id"]) for row in found],
    )
    sums = [sum(row[name] for row in found) for name in ("size_bytes", "tokens", "reserved_usd")]
    db.execute(
        "UPDATE batches SET digests = 0, requests = requests - ?, size_bytes = size_bytes - ?, tokens = tokens - ?,"
        " reserved_usd = max(0.0, reserved_usd - ?) WHERE id = ?",
        (len(found), *sums, batch.id),
    )
    db.execute(
        "UPDATE batches SET state = 'done', outcome = 'skipped', error = ?, collected_at = ?"
        " WHERE id = ? AND requests = 0",
        (why, now, batch.id),
    )
    return len(found)


_RANGE = {"from": DIGEST_PREFIX, "to": DIGEST_PREFIX[:-1] + chr(ord(DIGEST_PREFIX[-1]) + 1)}

IS_ASIDE = f"""
    EXISTS (SELECT 1 FROM request_signatures d WHERE d.request = {{request}} AND d.position = 0
        AND (substr(d.signature, 1, {len(DIGEST_PREFIX)}) = '{DIGEST_PREFIX}'
            OR substr(d.signature, 1, {len(GOLD_PREFIX)}) = '{GOLD_PREFIX}'))
"""  # noqa: S608 (constants of our own)
"""Whether a request asks about something else than the kinds of a window."""

_SAVE = """
INSERT INTO accounts (start, status, body, task, model, served_model, batch_id, answered_at)
VALUES (:start, :status, :body, :task, :model, :served_model, :batch_id, :answered_at)
ON CONFLICT DO UPDATE SET status = excluded.status, body = excluded.body, task = excluded.task,
    model = excluded.model, served_model = excluded.served_model, batch_id = excluded.batch_id,
    answered_at = excluded.answered_at
WHERE accounts.status != 'ok'
"""

_UNTOLD = """
SELECT a.start FROM accounts a
WHERE a.status = 'ok'
    AND NOT EXISTS (SELECT 1 FROM account_deliveries t WHERE t.start = a.start AND t.sink = :sink)
    AND EXISTS (SELECT 1 FROM deliveries d WHERE d.start = a.start AND d.sink = :sink)
    AND NOT EXISTS (SELECT 1 FROM panes p WHERE p.start = a.start AND p.state = 'open')
ORDER BY a.start
"""

_DIGESTS = """
SELECT q.id, length(q.body) AS size_bytes, q.tokens, q.reserved_usd
FROM requests q JOIN request_signatures g ON g.request = q.id AND g.position = 0 JOIN batches b ON b.id = q.batch
WHERE q.batch = :batch AND q.state = 'live' AND b.state = 'planned' AND g.signature >= :from AND g.signature < :to
"""
