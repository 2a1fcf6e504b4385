"""The labelled lines that were asked about: their answers, kept apart from the catalogue, and the latest score.

Invariant: answers are those of the latest day alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from enricher.core.ledger import GOLD_PREFIX
from enricher.core.nightly import GoldDay, Score, score_from_json

if TYPE_CHECKING:
    import sqlite3

    from enricher.core.ledger import StoredAnswer


def save_gold_answer(db: sqlite3.Connection, answer: StoredAnswer) -> None:
    """Keep what became of a case."""
    db.execute(
        "INSERT INTO gold_answers (signature, status, body) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET status = excluded.status, body = excluded.body WHERE gold_answers.status != 'ok'",
        (answer.signature, answer.status, answer.body),
    )


def gold_day(db: sqlite3.Connection) -> GoldDay | None:
    """The latest day that was asked, by its requests."""
    last = db.execute(
        "SELECT max(signature) FROM request_signatures WHERE signature >= ? AND signature < ?",
        (GOLD_PREFIX, _behind(GOLD_PREFIX)),
    ).fetchone()[0]
    if last is None:
        return None
    day = last.removeprefix(GOLD_PREFIX).rpartition(":")[0]
    prefix = f"{GOLD_PREFIX}{day}:"
    span = (prefix, _behind(prefix))
    found = db.execute("SELECT * FROM gold_answers WHERE signature >= ? AND signature < ? AND status = 'ok'", span)
    return GoldDay(
        day=day,
        is_under_way=db.execute(_UNDER_WAY, span).fetchone() is not None,
        answers={row["signature"].removeprefix(prefix): row["body"] for row in found},
    )


def save_gold_score(db: sqlite3.Connection, score: Score, now: float) -> None:
    """Keep a day's figures, and let go of the answers of days before."""
    db.execute(
        "INSERT OR IGNORE INTO gold_scores (day, score, scored_at) VALUES (?, ?, ?)",
        (score.day, json.dumps(score.to_json()), now),
    )
    db.execute("DELETE FROM gold_answers WHERE signature < ?", (f"{GOLD_PREFIX}{score.day}:",))


def gold_score(db: sqlite3.Connection) -> Score | None:
    """The figures of the latest day that has any."""
    row = db.execute("SELECT score FROM gold_scores ORDER BY day DESC LIMIT 1").fetchone()
    return None if row is None else score_from_json(row["score"])


def _behind(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


_UNDER_WAY = """
SELECT 1 FROM request_signatures g JOIN requests q ON q.id = g.request
WHERE g.signature >= ? AND g.signature < ? AND q.state IN ('live', 'again') LIMIT 1
"""
