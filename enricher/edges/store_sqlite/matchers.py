"""Matchers: templates of the model's own, kept with the signatures that they widen.

Invariants: the table only grows; a signature's template and the slots of its answer are widened together, in the
transaction that takes the answer, so that each hole keeps its name; one that no longer fits what the signature became
meanwhile is dropped. What is a matcher is decided in `core.matcher`, what may join in `merges`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from enricher.core.catalogue import MatcherRevision
from enricher.core.matcher import Matcher, MatcherTable, opened, widened
from enricher.core.merge import Merge
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite.merges import commit_merges

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from enricher.core.ledger import StoredAnswer


def take_matcher(db: sqlite3.Connection, given: StoredAnswer, now: float) -> StoredAnswer:
    """Widen a signature by the matcher of its answer; gives the answer as it is to be kept."""
    if given.status != "ok" or '"matches"' not in given.body:
        return given
    answer = Answer.from_json(given.body)
    found = db.execute("SELECT * FROM shapes WHERE key = ? AND root = id", (given.signature,)).fetchone()
    wider = None
    if found is not None and answer.matches is not None and "\0" not in found["skeleton"]:
        wider = opened(found["template"], answer.matches) if found["template"] == given.template else None
    if wider is None:
        return replace(given, body=answer.model_copy(update={"matches": None}).to_json())
    template, places = wider
    db.execute(_INSERT, (given.signature, template, json.dumps(places), now))
    members = json.dumps([found["id"]])
    db.execute(_WIDENED, (members, template, members, found["id"], now))
    db.execute("UPDATE shapes SET template = ? WHERE id = ?", (template, found["id"]))
    return replace(given, body=widened(answer, found["template"], places).to_json(), template=template)


def join_alike(db: sqlite3.Connection, signatures: Iterable[str], now: float) -> None:
    """Of signatures that were answered together, those that were widened to one template become one."""
    rows = db.execute(_ALIKE, (json.dumps(list(signatures)),)).fetchall()
    for row in rows:
        commit_merges(db, [Merge(members=tuple(json.loads(row["members"])), template=row["template"])], now)


def matcher_table(db: sqlite3.Connection, known: int) -> MatcherTable | None:
    """The matchers of signatures that have a good answer; None where there is none behind the revision `known`."""
    revision = db.execute("SELECT coalesce(max(revision), 0) FROM matchers").fetchone()[0]
    if revision == known:
        return None
    return MatcherTable(
        revision=revision,
        matchers=tuple(
            Matcher(
                row=row["id"],
                format=row["format"],
                level=row["level"],
                program=row["program"],
                template=row["wider"],
                open=tuple(json.loads(row["open"])),
            )
            for row in db.execute(_IN_FORCE)
        ),
    )


def matchers_of(db: sqlite3.Connection, signatures: list[str]) -> tuple[MatcherRevision, ...]:
    """The matchers of these signatures, newest first."""
    found = db.execute(_REVISIONS, (json.dumps(signatures),))
    return tuple(
        MatcherRevision(number=row["revision"], template=row["template"], at=row["made_at"], signature=row["signature"])
        for row in found
    )


_INSERT: Final = "INSERT OR IGNORE INTO matchers (signature, template, open, made_at) VALUES (?, ?, ?, ?)"

_WIDENED: Final = """
INSERT OR IGNORE INTO aliases (members, template, joined, root, merged_at) VALUES (?, ?, ?, ?, ?)
"""

_ALIKE: Final = """
SELECT s.template, json_group_array(s.id) AS members FROM matchers m
    JOIN shapes s ON s.key = m.signature AND s.template = m.template AND s.root = s.id
WHERE m.signature IN (SELECT value FROM json_each(?))
GROUP BY s.template, s.format, s.level, s.program HAVING count(*) > 1
"""

_IN_FORCE: Final = """
SELECT s.id, s.format, s.level, s.program, m.template AS wider, m.open
FROM matchers m JOIN shapes s ON s.key = m.signature
    JOIN shapes r ON r.id = s.root
WHERE EXISTS (SELECT 1 FROM answers a WHERE a.signature = r.key AND a.is_current AND a.status = 'ok')
ORDER BY m.revision
"""

_REVISIONS: Final = """
SELECT * FROM matchers WHERE signature IN (SELECT value FROM json_each(?)) ORDER BY revision DESC
"""
