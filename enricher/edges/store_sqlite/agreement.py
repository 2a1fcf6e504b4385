"""Whether a store agrees with itself: asked where a process left a log behind, before anything of it is taken over.

SQLite puts the pages of a log into whatever database lies beside it. One that was put back from a copy while the log of
the other was still there becomes a mixture of both, which opens without a word and has lost lines.

Invariant: holds for what any sequence of whole transactions leaves. Must never: write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

_UNREAD: Final = "spool"
"""Its blobs are most of the file, and each is checked by itself when it is decoded."""


def disagreement(db: sqlite3.Connection) -> str | None:
    """What does not fit together, for a message; None where all does. sqlite3.Error where it is worse."""
    names = [row[0] for row in db.execute(_TABLES, (_UNREAD,))]
    for name in names:
        found = db.execute(f'PRAGMA integrity_check("{name}")').fetchone()[0]
        if found != "ok":
            return f"{name}: {found}"
    for table, _, parent, _ in db.execute("PRAGMA foreign_key_check"):
        return f"rows of {table} belong to none of {parent}"
    for what, query in _SUMS.items():
        if db.execute(query).fetchone() is not None:
            return what
    return None


_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name != ?"

_SUMS: Final = {
    "segments without what they hold": "SELECT 1 FROM segments s WHERE NOT EXISTS"
    " (SELECT 1 FROM spool WHERE segment = s.id)",
    "windows with other events than their kinds have": "SELECT 1 FROM panes p WHERE state != 'done' AND events !="
    " (SELECT coalesce(sum(events), 0) FROM pane_kinds k WHERE k.start = p.start AND k.pane = p.number)",
    # A segment that could not be read any more may have been taken out of a pane that is closed.
    "open windows with other events than their segments have": "SELECT 1 FROM panes p WHERE state = 'open'"
    " AND events != (SELECT coalesce(sum(events), 0) FROM segment_panes s"
    " WHERE s.start = p.start AND s.pane = p.number)",
}
