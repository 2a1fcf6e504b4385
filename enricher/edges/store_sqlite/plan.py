"""Plan: what the panes hold, which kinds of event have no answer yet, samples of them, and the plan itself.

Invariant: panes close in the same transaction that puts what they need to ask into the ledger.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from enricher.core import meaning
from enricher.core.block import CONTINUES, SKIPPED
from enricher.core.ledger import Kind, LedgerBatch, LedgerRequest, RequestState
from enricher.core.skeleton import SPLIT_FORMAT, Shape
from enricher.core.split import condition_of
from enricher.edges.store_sqlite import codec, rows
from enricher.edges.store_sqlite.accounts import IS_ASIDE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from enricher.core.block import Pane, Segment
    from enricher.core.catalogue import Reuse


def panes_in(db: sqlite3.Connection, state: str) -> list[Pane]:
    """Panes in a state, oldest window first."""
    found = db.execute("SELECT * FROM panes WHERE state = ? ORDER BY start, number", (state,))
    return [rows.pane_from(row) for row in found]


# ---------------------------------------------------------------- kinds


def kinds(
    db: sqlite3.Connection, panes: Sequence[tuple[int, int]], task: str, model: str, now: float, reuse: Reuse
) -> list[Kind]:
    """Signatures that are to be asked, and that no live or again request carries."""
    text = rows.panes_json(panes or ((pane.start, pane.number) for pane in panes_in(db, "closed")))
    parameters = {"panes": text, "task": task, "model": model} | rows.reuse_parameters(reuse, now)
    found = db.execute(_KINDS, parameters).fetchall()
    by_signature: dict[str, list[sqlite3.Row]] = defaultdict(list)
    for row in found:
        by_signature[row["signature"]].append(row)
    for signature, window in _skipped_for(db, list(by_signature), task, model).items():
        # There was no money for it in this window: the events go out so, and a later window asks again.
        if by_signature[signature][0]["start"] <= window:
            del by_signature[signature]
    history = _history(db, list(by_signature), task, model)
    made = [
        Kind(
            signature=signature,
            shapes=tuple(sorted({one["shape"] for one in each})),
            template=each[0]["template"],
            level=each[0]["level"],
            program=each[0]["program"],
            events=sum(one["events"] for one in each),
            window=each[0]["start"],
            pane=each[0]["pane"],
            alone=history.get(signature, (False, 0))[0],
            tries=history.get(signature, (False, 0))[1],
            reason=each[0]["reason"],
            where=_where(each[0]),
        )
        for signature, each in by_signature.items()
    ]
    return sorted(made, key=lambda kind: (kind.window, -kind.events, kind.signature))


def _where(row: sqlite3.Row) -> str:
    """What holds of a number in all events of a kind: by its shape, or since it was split off another."""
    if row["format"] != SPLIT_FORMAT:
        return meaning.where(row["format"])
    shape = Shape(format=row["format"], level=row["level"], program=row["program"], skeleton=row["skeleton"])
    condition = condition_of(shape)
    return "" if condition is None else condition.where


def reasons(
    db: sqlite3.Connection, signatures: Sequence[str], task: str, model: str, now: float, reuse: Reuse
) -> dict[str, str]:
    """Why each of the signatures would be asked if it were seen now; those that would not be are left out."""
    parameters = {"signatures": json.dumps(list(signatures)), "task": task, "model": model}
    found = db.execute(_REASONS, parameters | rows.reuse_parameters(reuse, now))
    return {row["wanted"]: row["reason"] for row in found}


def _skipped_for(db: sqlite3.Connection, signatures: list[str], task: str, model: str) -> dict[str, int]:
    """The latest window that each signature was skipped in, of those that were."""
    parameters = {"signatures": json.dumps(signatures), "task": task, "model": model}
    return {row["signature"]: row["window"] for row in db.execute(_SKIPPED_FOR, parameters)}


def _history(db: sqlite3.Connection, signatures: list[str], task: str, model: str) -> dict[str, tuple[bool, int]]:
    """(alone, tries) of the signatures that were asked in vain before."""
    history: dict[str, tuple[bool, int]] = {}
    parameters = {"signatures": json.dumps(signatures), "task": task, "model": model}
    for row in db.execute(_IN_VAIN, parameters):
        tries = max(row["tries"], history.get(row["signature"], (False, 0))[1])
        history[row["signature"]] = (row["state"] == RequestState.SPLIT, tries)
    return history


def adopt_panes(db: sqlite3.Connection, panes: Sequence[tuple[int, int]], task: str, model: str) -> None:
    """Closed panes are answered under another task and model from now on."""
    db.executemany(
        "UPDATE panes SET task = ?, model = ? WHERE start = ? AND number = ? AND state = 'closed'",
        [(task, model, *pane) for pane in panes],
    )


# ---------------------------------------------------------------- samples


@dataclass(slots=True)
class Sampling:
    """Samples in the making: fed with segments until every signature has enough. Runs in a worker thread."""

    shapes: Mapping[str, Sequence[int]]
    panes: frozenset[tuple[int, int]]
    per_kind: int
    samples: dict[str, list[bytes]] = field(default_factory=dict)

    def wants(self, shapes: AbstractSet[int]) -> list[str]:
        """Signatures that still want events and have some of these shapes."""
        return [
            signature
            for signature, own in self.shapes.items()
            if len(self.samples.get(signature, ())) < self.per_kind and not shapes.isdisjoint(own)
        ]

    def feed(self, segment: Segment, panes: Sequence[int | None]) -> None:
        """Take what is still wanted from a segment, spread over it."""
        shapes = segment.shapes
        starts = np.flatnonzero((shapes != SKIPPED) & (shapes != CONTINUES))
        taken = [index for index, pane in enumerate(panes) if (segment.windows[index], pane) in self.panes]
        if segment.window_index is not None:
            starts = starts[np.isin(segment.window_index[starts], taken)]
        elif 0 not in taken:
            return
        own = shapes[starts]
        line_ends: list[int] | None = None
        for signature in self.wants(set(np.unique(own).tolist())):
            found = starts[np.isin(own, np.array(self.shapes[signature], dtype=np.uint32))]
            kept = self.samples.setdefault(signature, [])
            wanted = min(self.per_kind - len(kept), found.size)
            picked = found[np.unique(np.linspace(0, found.size - 1, wanted).astype(np.int64))]
            if line_ends is None:
                line_ends = np.flatnonzero(np.frombuffer(segment.data, dtype=np.uint8) == 0x0A).tolist()
            kept += [_event(segment, line_ends, int(line)) for line in picked]


def _event(segment: Segment, line_ends: Sequence[int], line: int) -> bytes:
    last = line
    while last + 1 < len(segment.shapes) and segment.shapes[last + 1] == CONTINUES:
        last += 1
    return segment.data[line_ends[line - 1] + 1 if line else 0 : line_ends[last]]


def sample_segments(db: sqlite3.Connection, panes: Sequence[tuple[int, int]]) -> list[tuple[int, bytes]]:
    """(segment, kinds) of the panes' segments, oldest first."""
    found = db.execute(_SAMPLE_SEGMENTS, (rows.panes_json(panes),))
    return [(row["segment"], row["kinds"]) for row in found]


def shapes_in(kinds_blob: bytes) -> set[int]:
    """Shapes that a segment has in a pane."""
    return set(codec.kinds_from(kinds_blob)[:, 0].tolist())


# ---------------------------------------------------------------- the plan


def commit_plan(
    db: sqlite3.Connection,
    *,
    closed: Mapping[tuple[int, int], str],
    requests: Sequence[LedgerRequest],
    batches: Sequence[tuple[LedgerBatch, Sequence[str]]],
    task: str,
    model: str,
    now: float,
) -> list[LedgerBatch]:
    """Close panes and put planned batches in the ledger. A batch whose job is there already is left as it is."""
    db.executemany(
        "UPDATE panes SET state = 'closed', closed_at = ?, how = ?, task = ?, model = ?"
        " WHERE start = ? AND number = ? AND state = 'open'",
        [(now, how, task, model, *pane) for pane, how in closed.items()],
    )
    given = {request.id: request for request in requests}
    stored = []
    for batch, ids in batches:
        known = db.execute("SELECT * FROM batches WHERE job = ?", (batch.job,)).fetchone()
        if known is not None:
            stored.append(rows.batch_from(known))
            for known_id in ids:
                given.pop(known_id, None)
            continue
        number = db.execute(rows.INSERT_BATCH, rows.to_columns(batch, rows.BATCH_COLUMNS) | {"id": None}).lastrowid
        for position, request_id in enumerate(ids):
            if request_id in given:
                _save_request(db, given.pop(request_id), now)
            else:
                db.execute("UPDATE requests SET attempt = attempt + 1 WHERE id = ? AND state != 'live'", (request_id,))
            _take(db, request_id, number, position, now)
        stored.append(rows.batch_from(db.execute("SELECT * FROM batches WHERE id = ?", (number,)).fetchone()))
    for request in given.values():
        if db.execute("SELECT 1 FROM requests WHERE id = ?", (request.id,)).fetchone() is None:
            _save_request(db, request, now)
    return stored


def _save_request(db: sqlite3.Connection, request: LedgerRequest, now: float) -> None:
    """By itself a request waits as `again`; one that is in a batch on its way is left alone."""
    known = db.execute("SELECT state FROM requests WHERE id = ?", (request.id,)).fetchone()
    if known is not None and known["state"] == RequestState.LIVE:
        return
    columns = rows.to_columns(request, _REQUEST_COLUMNS) | {"state": RequestState.AGAIN, "changed_at": now}
    db.execute(_UPSERT_REQUEST, columns)
    db.execute("DELETE FROM request_signatures WHERE request = ?", (request.id,))
    db.executemany(
        "INSERT INTO request_signatures (request, position, signature, template) VALUES (?, ?, ?, ?)",
        [
            (request.id, position, signature, template)
            for position, (signature, template) in enumerate(zip(request.signatures, request.templates, strict=True))
        ],
    )


def _take(db: sqlite3.Connection, request: str, batch: int | None, position: int, now: float) -> None:
    taken = db.execute(_TAKE, (position, now, batch, request)).fetchone()
    # What a window's manifest tells of batches does not change with what is asked beside its kinds.
    if taken is not None and not taken["is_aside"]:
        db.execute("INSERT OR IGNORE INTO batch_windows (window, batch) VALUES (?, ?)", (taken["window"], batch))


def next_part(db: sqlite3.Connection, window: int) -> int:
    """One more than the last batch file of a window has; 0 for the first."""
    row = db.execute("SELECT coalesce(max(part) + 1, 0) FROM batches WHERE window = ?", (window,)).fetchone()
    return int(row[0])


def requests_again(db: sqlite3.Connection) -> list[LedgerRequest]:
    """Requests to be sent again unchanged, oldest first."""
    return _requests(db, "SELECT * FROM requests WHERE state = 'again' ORDER BY rowid")


def batch_requests(db: sqlite3.Connection, batch: int) -> list[LedgerRequest]:
    """Requests of a batch, in the order of its file."""
    return _requests(db, "SELECT * FROM requests WHERE batch = ? ORDER BY position", batch)


def _requests(db: sqlite3.Connection, sql: str, *parameters: int) -> list[LedgerRequest]:
    return [
        rows.request_from(
            row,
            db.execute(
                "SELECT signature, template FROM request_signatures WHERE request = ? ORDER BY position", (row["id"],)
            ).fetchall(),
        )
        for row in db.execute(sql, parameters).fetchall()
    ]


_REQUEST_COLUMNS = ("id", "task", "model", "endpoint", "body", "tokens", "reserved_usd", "window", "attempt", "tries")
_TAKE = f"""
UPDATE requests SET state = 'live', position = ?, changed_at = ?, batch = ? WHERE id = ? AND state != 'live'
RETURNING window, {IS_ASIDE.format(request="requests.id")} AS is_aside
"""  # noqa: S608 (a condition of our own)

# Each sending has a number of its own, so that a custom_id means one sending.
_UPSERT_REQUEST = f"""
{rows.insert_sql("requests", (*_REQUEST_COLUMNS, "state", "changed_at"))}
ON CONFLICT DO UPDATE SET body = excluded.body, tokens = excluded.tokens, reserved_usd = excluded.reserved_usd,
    endpoint = excluded.endpoint, window = excluded.window, attempt = max(excluded.attempt, attempt + 1),
    tries = CASE state WHEN 'answered' THEN excluded.tries ELSE max(excluded.tries, tries) END,
    state = excluded.state, changed_at = excluded.changed_at
"""

# A class of shapes is asked once, under whichever of its members' ids the request went out.
_UNDER_WAY = """
    (SELECT m.root FROM requests q JOIN request_signatures g ON g.request = q.id JOIN shapes m ON m.key = g.signature
        WHERE q.state IN ('live', 'again') AND q.task = :task AND q.model = :model)
"""

_KINDS = f"""
SELECT k.start, k.pane, k.shape, k.events, r.key AS signature, r.template, r.level, r.program, r.format, r.skeleton,
    {rows.REASON} AS reason
FROM pane_kinds k JOIN shapes s ON s.id = k.shape JOIN shapes r ON r.id = s.root
    LEFT JOIN answers a ON a.id = {rows.SERVING_ANSWER}
WHERE (k.start, k.pane) IN
        (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:panes))
    AND k.round IS NULL AND k.events > 0
    AND NOT r.skipped AND {rows.REASON} IS NOT NULL
    AND r.id NOT IN {_UNDER_WAY}
ORDER BY k.start, k.pane, k.shape
"""  # noqa: S608 (lists and rules of our own)

# A signature that was merged away is asked as what it became; one that was never read may have come with a file.
_REASONS = f"""
SELECT r.wanted, {rows.REASON} AS reason
FROM (SELECT w.value AS wanted, coalesce(t.key, w.value) AS key, t.id, coalesce(t.skipped, 0) AS skipped
        FROM json_each(:signatures) w LEFT JOIN shapes s ON s.key = w.value LEFT JOIN shapes t ON t.id = s.root) r
    LEFT JOIN answers a ON a.id = {rows.SERVING_ANSWER}
WHERE NOT r.skipped AND {rows.REASON} IS NOT NULL AND (r.id IS NULL OR r.id NOT IN {_UNDER_WAY})
"""  # noqa: S608 (lists and rules of our own)

_IN_VAIN = """
SELECT g.signature, q.state, q.tries FROM request_signatures g JOIN requests q ON q.id = g.request
WHERE g.signature IN (SELECT value FROM json_each(:signatures)) AND q.task = :task AND q.model = :model
    AND q.state IN ('split', 'failed')
ORDER BY q.changed_at, q.rowid
"""

_SKIPPED_FOR = """
SELECT g.signature, max(q.window) AS window FROM request_signatures g JOIN requests q ON q.id = g.request
WHERE g.signature IN (SELECT value FROM json_each(:signatures)) AND q.task = :task AND q.model = :model
    AND q.state = 'skipped'
GROUP BY g.signature
"""

_SAMPLE_SEGMENTS = """
SELECT segment, kinds FROM segment_panes
WHERE (start, pane) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
ORDER BY start, pane, segment
"""
