"""Ingest: positions, segments, panes and books of a block, in one transaction; and the segments back again.

Invariants: positions never move without their events; the sums in `pane_kinds`, `panes`, `window_files` and `books` are
those of the segments; a segment is freed when no pane needs it.

Never here: compressing (`codec`), which must not happen inside a transaction.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from enricher.core.block import CONTINUES, Segment
from enricher.edges.store_sqlite import codec, rows
from enricher.edges.store_sqlite.merges import commit_merges
from enricher.ports import BlockReceipt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from enricher.core.block import Block, FileState, Tail
    from enricher.edges.store_sqlite.codec import EncodedSegment, WindowKinds


def files(db: sqlite3.Connection, source: str) -> list[FileState]:
    """Registry rows of a source."""
    found = db.execute("SELECT * FROM files WHERE source = ? ORDER BY id", (source,))
    return [rows.file_from(row) for row in found]


def commit_block(db: sqlite3.Connection, block: Block, encoded: Sequence[EncodedSegment], now: float) -> BlockReceipt:
    """All of a block. A block that is there already changes nothing."""
    numbered = {state.id for state in block.files}
    known = [_known_file(db, state, numbered) for state in block.files]
    if _is_repeated(block, known):
        found = tuple(rows.file_from(row) for row in known if row is not None)
        return BlockReceipt(files=found, late_events=0, panes_opened=())
    states = tuple(_save_file(db, state, row) for state, row in zip(block.files, known, strict=True))
    commit_merges(db, block.merges, now)
    panes = _Panes(db, now)
    owners = _Owners(states)
    met: defaultdict[str, Counter[int]] = defaultdict(Counter)
    spooled_bytes = 0
    for one in encoded:
        if one.windows:
            _save_segment(db, one, owners.of(one.segment), panes)
            spooled_bytes += one.spooled_bytes
        for window in one.windows:
            met[one.segment.source].update(dict(window.kinds[:, :2].tolist()))
    for source, events in met.items():
        _count_events(db, source, events, now)
    panes.save()
    counts = block.counts
    db.execute(
        "UPDATE books SET read_lines = read_lines + ?, read_events = read_events + ?, blank_lines = blank_lines + ?,"
        " dropped_lines = dropped_lines + ?, lost_bytes = lost_bytes + ?, spool_bytes = spool_bytes + ?",
        (counts.lines, counts.events, counts.blank, counts.dropped, counts.lost_bytes, spooled_bytes),
    )
    return BlockReceipt(files=states, late_events=panes.late_events, panes_opened=tuple(panes.opened))


def _count_events(db: sqlite3.Connection, source: str, events: Counter[int], now: float) -> None:
    """Add to the shapes the events that a source has brought of them."""
    # One statement for all shapes: for each its own, with the trigger behind it, costs three times as much.
    given = {"source": source, "events": json.dumps(events), "now": now}
    for statement in (_COUNT_SIGNATURES, _COUNT_EVENTS, _NAME_SOURCE):
        db.execute(statement, given)


# ---------------------------------------------------------------- the registry


def _known_file(db: sqlite3.Connection, state: FileState, numbered: Collection[int]) -> sqlite3.Row | None:
    """The row of a file; of one that has no number yet, the row that the same block made before, if it did.

    A file of which nothing was read may lie where another one lay that is known by its number: its log, truncated.
    """
    if state.id:
        found = db.execute("SELECT * FROM files WHERE id = ?", (state.id,))
    else:
        found = db.execute(
            "SELECT * FROM files WHERE source = ? AND identity = ? AND path = ? AND device = ? AND inode = ?"
            " AND generation = ? AND gone_at IS NULL AND (identity != '' OR head_hash = ?)",
            (
                *(state.source, state.identity, state.path, str(state.device), str(state.inode)),
                *(state.generation, state.head_hash),
            ),
        )
    row: sqlite3.Row | None = found.fetchone()
    return None if row is None or (not state.id and row["id"] in numbered) else row


def _is_repeated(block: Block, known: Sequence[sqlite3.Row | None]) -> bool:
    """Whether the rows are as this block would leave them, and it has lines from before where they stand."""
    for state, row in zip(block.files, known, strict=True):
        if row is None or replace(state, id=row["id"]) != rows.file_from(row):
            return False
    owners = _Owners(block.files)
    behind = [
        (owner := owners.of(segment)) is not None and segment.offset < owner.position for segment in block.segments
    ]
    return bool(behind) and all(behind)


def _save_file(db: sqlite3.Connection, state: FileState, known: sqlite3.Row | None) -> FileState:
    columns = rows.file_to_columns(state)
    if known is not None:
        db.execute(_UPDATE_FILE, columns | {"id": known["id"]})
        return replace(state, id=known["id"])
    # A row id that is given but not there comes from a store that is gone: the file is new to this one.
    made = db.execute(_INSERT_FILE, columns | {"id": None})
    assert made.lastrowid is not None
    return replace(state, id=made.lastrowid)


class _Owners:
    """The files of a block, to find that of each segment: by row id, or by identity where the file had none yet."""

    def __init__(self, states: Sequence[FileState]) -> None:
        # Of several with one name the first counts.
        self._numbered = {state.id: state for state in reversed(states)}
        self._named = {(state.source, state.identity, state.path): state for state in reversed(states)}

    def of(self, segment: Segment) -> FileState | None:
        """The file of a segment."""
        found = self._numbered.get(segment.file_id) if segment.file_id else None
        return found or self._named.get((segment.source, segment.identity, segment.path))


# ---------------------------------------------------------------- segments


@dataclass(slots=True)
class _OpenPane:
    number: int
    events: int = 0
    lines: int = 0


class _Panes:
    """The open pane of each window that a block has events of, and what the block adds to it."""

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self._db = db
        self._now = now
        self._open: dict[int, _OpenPane] = {}
        self.opened: list[tuple[int, int]] = []
        self.late_events = 0

    def take(self, window: WindowKinds) -> int:
        """The pane for these events."""
        pane = self._open.get(window.start)
        if pane is None:
            pane = self._open[window.start] = _OpenPane(self._find(window.start))
        pane.events += window.events
        pane.lines += window.lines
        if pane.number:
            self.late_events += window.events
        return pane.number

    def _find(self, start: int) -> int:
        last = self._db.execute(
            "SELECT number, state FROM panes WHERE start = ? ORDER BY number DESC LIMIT 1", (start,)
        ).fetchone()
        if last is not None and last["state"] == "open":
            return int(last["number"])
        number = 0 if last is None else int(last["number"]) + 1
        self._db.execute(
            "INSERT INTO panes (start, number, state, first_event_at, events, lines) VALUES (?, ?, 'open', ?, 0, 0)",
            (start, number, self._now),
        )
        self.opened.append((start, number))
        return number

    def save(self) -> None:
        """Add the sums to the rows."""
        self._db.executemany(
            "UPDATE panes SET events = events + ?, lines = lines + ? WHERE start = ? AND number = ?",
            [(pane.events, pane.lines, start, pane.number) for start, pane in self._open.items()],
        )


def _save_segment(db: sqlite3.Connection, one: EncodedSegment, state: FileState | None, panes: _Panes) -> None:
    segment = one.segment
    columns = rows.to_columns(segment, _SEGMENT_FIELDS) | {
        "file_id": segment.file_id if state is None else state.id,
        "windows": json.dumps([int(start) for start in segment.windows]),
        "lines": len(segment.shapes),
        "data_bytes": len(segment.data),
        "index_bytes": one.index_bytes,
        "spooled_bytes": one.spooled_bytes,
    }
    number = db.execute(_INSERT_SEGMENT, columns).lastrowid
    db.execute("INSERT INTO spool VALUES (?, ?, ?, ?)", (number, one.data, one.shapes, one.window_index))
    end = segment.offset + len(segment.data) + segment.lost_bytes
    if state is not None:
        end = min(end, state.position)  # a newline may have been added to the last line of the file
    tails, tails_start = _tails(segment)
    for window in one.windows:
        pane = panes.take(window)
        own_lines = window.lines
        if window.start == tails_start:
            own_lines -= sum(tail.lines for tail in tails)
        db.execute(
            "INSERT INTO segment_panes VALUES (?, ?, ?, ?, ?, ?)",
            (window.start, pane, number, window.events, window.lines, window.kinds.tobytes()),
        )
        db.executemany(
            _ADD_KINDS, [(window.start, pane, shape, events, lines) for shape, events, lines in window.kinds.tolist()]
        )
        db.execute(
            _ADD_RANGE,
            (
                *(window.start, segment.identity, segment.path, segment.generation),
                *(segment.offset, end, own_lines, window.events),
            ),
        )
    for tail in tails:
        tail_end = tail.offset + tail.size_bytes
        place = tails_start, tail.identity, tail.path, tail.generation, tail.offset, tail_end
        db.execute(_ADD_RANGE, (*place, tail.lines, 0))


def _tails(segment: Segment) -> tuple[tuple[Tail, ...], int | None]:
    """Where lines of a segment lie in other files, and the window of the event that they end; none if it is dropped."""
    if not segment.tails or segment.shapes[-1] != CONTINUES:
        return (), None
    return segment.tails, segment.windows[0 if segment.window_index is None else segment.window_index[-1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSegment:
    """A segment as its row has it, still compressed."""

    row: sqlite3.Row
    windows: tuple[int, ...]
    panes: tuple[int | None, ...]

    def decode(self) -> Segment:
        """Raises codec.CorruptSegmentError."""
        row = self.row
        return Segment(
            source=row["source"],
            file_id=row["file_id"],
            path=row["path"],
            identity=row["identity"],
            generation=row["generation"],
            offset=row["offset"],
            data=codec.decompress(row["data"], row["data_bytes"]),
            lost_bytes=row["lost_bytes"],
            shapes=codec.decode_shapes(row["shapes"], row["lines"]),
            windows=self.windows,
            window_index=codec.decode_index(row["window_index"], row["lines"], row["index_bytes"]),
            read_at=row["read_at"],
            anchor=row["anchor"],
            fallback=row["fallback"],
            time_rule=row["time_rule"],
        )


def pane_segments(db: sqlite3.Connection, pane: tuple[int, int]) -> list[int]:
    """Ids of the segments with events of a pane, in the order in which they are written."""
    return [row["segment"] for row in db.execute(PANE_SEGMENTS, pane)]


def panes_of(db: sqlite3.Connection, number: int, windows: Sequence[int]) -> tuple[int | None, ...]:
    """Beside a segment's windows: the pane that has the events, None where nothing is left to write."""
    panes = dict(_pairs(db, "SELECT start, pane FROM segment_panes WHERE segment = ?", number))
    return tuple(map(panes.get, windows))


def _pairs(db: sqlite3.Connection, sql: str, number: int) -> list[tuple[int, int]]:
    """Plain pairs: a segment of a slow file has thousands of windows."""
    cursor = db.cursor()
    cursor.row_factory = None
    return cursor.execute(sql, (number,)).fetchall()


def load(db: sqlite3.Connection, number: int) -> StoredSegment | None:
    """A segment; None if it was freed meanwhile."""
    row = db.execute("SELECT * FROM segments JOIN spool ON segment = id WHERE id = ?", (number,)).fetchone()
    if row is None:
        return None
    windows = tuple(json.loads(row["windows"]))
    return StoredSegment(row=row, windows=windows, panes=panes_of(db, number, windows))


def free(db: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """Delete those of the segments that no pane needs; which these were."""
    freed = db.execute(_FREE, (json.dumps(numbers),)).fetchall()
    db.execute("UPDATE books SET spool_bytes = spool_bytes - ?", (sum(one["spooled_bytes"] for one in freed),))
    return [one["id"] for one in freed]


_UPDATE_FILE = rows.update_sql("files", (name for name in rows.FILE_COLUMNS if name != "id"), "id = :id")
_INSERT_FILE = rows.insert_sql("files", rows.FILE_COLUMNS)

_SEGMENT_FIELDS = (
    *("source", "path", "identity", "generation", "offset", "lost_bytes"),
    *("read_at", "anchor", "fallback", "time_rule"),
)

_INSERT_SEGMENT = """
INSERT INTO segments (source, file_id, path, identity, generation, offset, lost_bytes, windows, lines, data_bytes,
    index_bytes, spooled_bytes, read_at, anchor, fallback, time_rule)
VALUES (:source, :file_id, :path, :identity, :generation, :offset, :lost_bytes, :windows, :lines, :data_bytes,
    :index_bytes, :spooled_bytes, :read_at, :anchor, :fallback, :time_rule)
"""

# The events of a block, as JSON: an object whose keys are the row ids of shapes.
# A signature counts from its first event on.
_COUNT_SIGNATURES = """
UPDATE books SET signatures = signatures + (SELECT count(DISTINCT s.root)
    FROM json_each(:events) met JOIN shapes s ON s.id = CAST(met.key AS INTEGER) JOIN classes c ON c.root = s.root
    WHERE c.events = 0)
"""

_COUNT_EVENTS = """
UPDATE shapes SET events = events + met.value, last_seen_at = :now
FROM json_each(:events) met WHERE shapes.id = CAST(met.key AS INTEGER)
"""

_NAME_SOURCE = """
INSERT OR IGNORE INTO shape_sources (shape, source) SELECT CAST(key AS INTEGER), :source FROM json_each(:events)
"""

_ADD_KINDS = """
INSERT INTO pane_kinds (start, pane, shape, events, lines) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET events = events + excluded.events, lines = lines + excluded.lines
"""

_ADD_RANGE = """
INSERT INTO window_files (start, identity, path, generation, first_byte, last_byte, lines, events)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET first_byte = min(first_byte, excluded.first_byte),
    last_byte = max(last_byte, excluded.last_byte), lines = lines + excluded.lines, events = events + excluded.events
"""

PANE_SEGMENTS = """
SELECT p.segment, p.kinds FROM segment_panes p JOIN segments s ON s.id = p.segment
WHERE p.start = ? AND p.pane = ? ORDER BY s.path, s.generation, s.offset, s.id
"""

_FREE = """
DELETE FROM segments
WHERE id IN (SELECT value FROM json_each(?)) AND NOT EXISTS (SELECT 1 FROM segment_panes WHERE segment = id)
RETURNING id, spooled_bytes
"""
