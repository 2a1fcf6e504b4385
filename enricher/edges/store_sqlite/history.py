"""What kinds of event a window had, and the windows before it: for its digest.

Counts are kept by shape, and a shape may have been joined to another since: they are given by the signatures of now.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from enricher.core.digest import KindCount, WindowKinds
from enricher.core.record_form import readable
from enricher.edges.store_sqlite import rows
from enricher.edges.store_sqlite.delivery import window_signatures

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence


def window_kinds(db: sqlite3.Connection, start: int, *, windows: int, task: str, model: str) -> WindowKinds:
    """The kinds of a window, with their answers under (task, model), and counts of the `windows` windows before it."""
    before = [row["start"] for row in db.execute(_BEFORE, (start, windows))]
    counts = [window_signatures(db, one) for one in (start, *before)]
    known = _known(db, sorted(set().union(*counts)), task, model)
    here, *past = [_by_signature(one, known) for one in counts]
    parents = _parents(db, list(here))
    _as_usual(here, past, parents)
    gone = {signature for one in past for signature in one}.difference(here, parents.values())
    described = {kind.signature: kind for kind in known.values()}
    return WindowKinds(
        counts=tuple(replace(described[signature], events=events) for signature, events in here.items()),
        history=tuple(reversed(past)),
        gone={signature: described[signature] for signature in gone},
    )


def _parents(db: sqlite3.Connection, signatures: list[str]) -> dict[str, str]:
    """Of those of the signatures that were split off another, which."""
    return {row["child"]: row["parent"] for row in db.execute(_PARENTS, (json.dumps(signatures),))}


def _as_usual(here: Mapping[str, int], past: Sequence[dict[str, int]], parents: Mapping[str, str]) -> None:
    """Where a kind's events were counted as its parent's, before the split, nothing is known: it counts as usual."""
    for child, parent in parents.items():
        if not any(child in one for one in past):
            for one in past:
                if parent in one:
                    one[child] = here[child]


def closed_windows(db: sqlite3.Connection) -> set[int]:
    """Starts of the windows whose first pane is closed or done."""
    return {row["start"] for row in db.execute("SELECT start FROM panes WHERE state != 'open' AND number = 0")}


def latest_window(db: sqlite3.Connection) -> tuple[int, str, str] | None:
    """Start, task and model of the latest window whose first pane is closed or done."""
    row = db.execute(
        "SELECT start, task, model FROM panes WHERE state != 'open' AND number = 0 ORDER BY start DESC LIMIT 1"
    ).fetchone()
    return None if row is None else (row["start"], row["task"], row["model"])


def _by_signature(counts: Counter[int], known: dict[int, KindCount]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for shape, events in counts.items():
        if shape in known:
            found[known[shape].signature] += events
    return dict(found)


def _known(db: sqlite3.Connection, shapes: list[int], task: str, model: str) -> dict[int, KindCount]:
    """What is known of the signatures that these shapes belong to now, without a count."""
    found = {}
    for row in db.execute(_KNOWN, {"shapes": json.dumps(shapes), "task": task, "model": model}):
        answer = None if row["id"] is None else readable(rows.answer_from(row))
        found[row["shape"]] = KindCount(
            signature=row["key"],
            template=row["template"].partition("\0")[0],
            level=row["level"],
            program=row["program"],
            events=0,
            severity=None if answer is None else answer.severity,
            category=None if answer is None else answer.category,
            summary=None if answer is None else answer.summary,
        )
    return found


_BEFORE = """
SELECT DISTINCT start FROM panes WHERE start < ? ORDER BY start DESC LIMIT ?
"""

_PARENTS = """
SELECT s.key AS child, r.key AS parent FROM json_each(?) wanted JOIN shapes s ON s.key = wanted.value
    JOIN split_children c ON c.shape = s.id JOIN shapes p ON p.key = c.parent JOIN shapes r ON r.id = p.root
"""

_KNOWN = f"""
SELECT s.id AS shape, r.key, r.template, r.level, r.program, {rows.ANSWER_COLUMNS}
FROM json_each(:shapes) wanted JOIN shapes s ON s.id = wanted.value JOIN shapes r ON r.id = s.root
    LEFT JOIN answers a ON a.id = {rows.SERVING_ANSWER}
"""  # noqa: S608 (a list of our own columns)
