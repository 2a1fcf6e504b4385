"""What is let go of when it is old, so that a year leaves little behind: rows of files, details of windows.

What ids and manifests need stays: that an identity was given, how many lines and events a window had.

Invariant: the sums of a window are the same before and after. Must never: judge whether a file is gone; the source
does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from enricher.edges.store_sqlite.delivery import window_signatures

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

_DAY: Final = 86400.0
_KEEP_IDENTITIES_SECONDS: Final = 90 * _DAY
"""A log whose files all begin with the same line may begin anew with the first of them when it rested for so long."""
_KEEP_WINDOWS_SECONDS: Final = 35 * _DAY
_KEEP_WINDOWS: Final = 1000
"""The latest of them keep their details however long ago they were done."""
_WINDOWS_AT_ONCE: Final = 100


def past_identities(db: sqlite3.Connection, source: str) -> set[str]:
    """Identities of a source's files whose rows were let go."""
    found = db.execute("SELECT identity FROM past_identities WHERE source = ?", (source,))
    return {row["identity"] for row in found}


def forget_files(db: sqlite3.Connection, ids: Collection[int], now: float) -> None:
    """Let go of rows of files that are gone; what is spooled of them stays."""
    text = json.dumps(sorted(ids))
    db.execute(_KEEP_IDENTITIES, (now, text))
    db.execute("DELETE FROM files WHERE id IN (SELECT value FROM json_each(?))", (text,))
    db.execute("DELETE FROM past_identities WHERE gone_at < ?", (now - _KEEP_IDENTITIES_SECONDS,))


def let_windows_go(db: sqlite3.Connection, now: float) -> None:
    """Leave of windows that were done long ago no more than their sums; some at a time."""
    given = {"before": now - _KEEP_WINDOWS_SECONDS, "kept": _KEEP_WINDOWS, "limit": _WINDOWS_AT_ONCE}
    for start in [row["start"] for row in db.execute(_OLD_WINDOWS, given)]:
        kinds = len(window_signatures(db, start))
        db.execute(_SUM_FILES, (start,))
        db.execute("DELETE FROM window_files WHERE start = ? AND path != x''", (start,))
        # Not updated in place: SQLite joins pages that have become empty only where rows are deleted.
        let_go = db.execute("DELETE FROM window_signatures WHERE start = ? RETURNING let_go", (start,)).fetchall()
        kinds = max([kinds, *(row["let_go"] for row in let_go)])
        db.execute("INSERT INTO window_signatures (start, signatures, let_go) VALUES (?, x'', ?)", (start, kinds))


_KEEP_IDENTITIES = """
INSERT INTO past_identities (source, identity, gone_at)
SELECT source, identity, coalesce(gone_at, ?) FROM files
WHERE id IN (SELECT value FROM json_each(?)) AND identity != ''
ON CONFLICT DO UPDATE SET gone_at = max(gone_at, excluded.gone_at)
"""

_OLD_WINDOWS = """
SELECT DISTINCT start FROM window_files f
WHERE path != x'' AND start < (SELECT start FROM panes WHERE number = 0 ORDER BY start DESC LIMIT 1 OFFSET :kept)
    AND NOT EXISTS (SELECT 1 FROM panes p WHERE p.start = f.start AND (p.state != 'done' OR p.done_at > :before))
ORDER BY start LIMIT :limit
"""

_SUM_FILES = """
INSERT INTO window_files (start, path, identity, generation, first_byte, last_byte, lines, events)
SELECT start, x'', '', 0, 0, 0, sum(lines), sum(events) FROM window_files WHERE start = ? AND path != x'' GROUP BY start
ON CONFLICT DO UPDATE SET lines = lines + excluded.lines, events = events + excluded.events
"""
