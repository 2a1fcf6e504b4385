"""Write: rows and answers are joined, in the order of the input, and the output appears whole.

Never here: deciding what an answer is worth; asking for one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from enricher.core.records.combine import combine
from enricher.core.records.ledger import Answered
from enricher.core.records.response import unpack_vector
from enricher.core.records.task import RESERVED_FIELDS, VECTOR_FIELD
from enricher.errors import TryAgainError
from enricher.records.planning import reduction_texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence

    from enricher.core.records.item import Asking
    from enricher.core.records.ledger import Chunk, Run
    from enricher.core.records.task import RecordTask
    from enricher.ports import RecordOutput, RecordStore

COUNTED_KEY: Final = "row"
"""The key's column where rows are counted."""
_ROWS_WITH_VECTORS: Final = 256
"""A chunk of vectors is 50 MB, and numbers that are objects take eight times that."""
_STATUS: Final = itemgetter("status")
_PENDING: Final = Answered("pending", b"not answered yet")


class Joined:
    """The columns of an output, and how a row gets its values."""

    def __init__(self, task: RecordTask, columns: Sequence[str], *, key_column: str, text_column: str | None) -> None:
        self._task = task
        self.key = key_column or COUNTED_KEY
        self._key_column = key_column
        kept = [name for name in columns if name not in (key_column, text_column)]
        taken = {self.key, *task.fields, *RESERVED_FIELDS}
        self._names = {name: f"input.{name}" if name in taken else name for name in kept}
        # Rows that go out with the columns that they came with, in that order: most of them.
        is_as_is = bool(key_column) and text_column is None and all(new == old for old, new in self._names.items())
        self._as_is = (key_column, *kept) if is_as_is else None
        self.columns: tuple[str, ...] = (self.key, *self._names.values(), *task.fields, *RESERVED_FIELDS)
        self.rows_at_once: Final = _ROWS_WITH_VECTORS if task.kind == "vector" else None
        """How many are looked up and made before they are written; None: all of a chunk."""
        self._decode = msgspec.json.Decoder().decode

    def row(self, key: str, values: Mapping[str, object], found: Sequence[Answered]) -> dict[str, object]:
        """Join a row with the answers to its passages, or to it as a whole; the first that is none says why."""
        row = dict(values) if tuple(values) == self._as_is else self._renamed(key, values)
        for one in found:
            if one.status != "ok":
                row["status"] = "pending" if one.status == "again" else one.status
                row["error"] = one.reason
                return row
        row.update(self._answer(found))
        row["status"], row["error"] = "ok", None
        return row

    def _renamed(self, key: str, values: Mapping[str, object]) -> dict[str, object]:
        row: dict[str, object] = {self.key: values.get(self._key_column, key)}
        for name, value in values.items():
            if name in self._names:
                row[self._names[name]] = value
        return row

    def faulty(self, key: str, values: Mapping[str, object], status: str, reason: str) -> dict[str, object]:
        """Join a row that was not asked about with the reason."""
        return self.row(key, values, [Answered(status, reason.encode("utf-8", "replace"))])

    def _answer(self, found: Sequence[Answered]) -> Mapping[str, object]:
        if self._task.kind == "vector":
            return {VECTOR_FIELD: unpack_vector(found[0].body)}
        if len(found) == 1:
            answer: dict[str, Any] = self._decode(found[0].body)
            return answer
        assert self._task.long is not None
        return combine(self._task.long.combine.fields, [self._decode(one.body) for one in found])


@dataclass(frozen=True, slots=True)
class Written:
    """What the rows of an output came to."""

    statuses: Counter[str] = field(default_factory=Counter)
    """Rows by status."""
    reasons: dict[str, str] = field(default_factory=dict)
    """By each status but ok: the key of its first row, and why that has it."""


async def write_output(
    store: RecordStore,
    run: Run,
    output: RecordOutput,
    joined: Joined,
    reducing: Asking | None,
    sealed: Callable[[str], Awaitable[None]],
    ended: Callable[[], Awaitable[None]],
    stop: asyncio.Event | None = None,
) -> Written:
    """Write every row of a run. `sealed` gets the output's mark just before it has its name, `ended` is called after.

    Raises OutputError, TryAgainError when `stop` was set, and leaves nothing of a part behind then. Cancelled, it ends
    what a thread is about to write, and an output that has its name is one that has `ended`.
    """
    written = Written()

    async def finish() -> None:
        if mark := await asyncio.to_thread(output.seal):
            await sealed(mark)
        await asyncio.to_thread(output.finish)
        await ended()

    try:
        await _to_its_end(asyncio.to_thread(output.begin, joined.columns))
        for number in await store.chunk_numbers(run.id):
            chunk = await store.chunk(run.id, number)
            step = joined.rows_at_once or max(len(chunk.keys), 1)
            for first in range(0, len(chunk.keys), step):
                part = chunk.part(first, first + step)
                found = await _answers(store, part, reducing)
                await _to_its_end(asyncio.to_thread(_write_part, output, joined, part, found, written))
                _go_on_unless(stop)
        await _to_its_end(finish())
    except BaseException:
        output.abandon()
        raise
    return written


def _go_on_unless(stop: asyncio.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise TryAgainError("interrupted while writing", hint="every answer is kept; run the same command again")


async def _to_its_end(work: Coroutine[object, object, None]) -> None:
    """Await work that must not be left in the middle; cancelled meanwhile, this is so afterwards."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen; that it was cancelled is what counts
        raise


async def _answers(store: RecordStore, chunk: Chunk, reducing: Asking | None) -> Sequence[Sequence[Answered]]:
    """The answers to each row of a chunk: to its passages, or the one that a second request gave."""
    index = chunk.index
    found = [one or _PENDING for one in await store.answers(index.items.tolist())]
    if bool((index.counts == 1).all()):
        return [(one,) for one in found]
    ends = np.cumsum(index.counts, dtype=np.int64).tolist()
    rows: list[Sequence[Answered]] = [
        found[end - count : end] for end, count in zip(ends, index.counts.tolist(), strict=True)
    ]
    if reducing is None:
        return rows
    for row, text in (await reduction_texts(store, index)).items():
        if text is not None:
            (answer,) = await store.answers([reducing.item(text)])
            rows[row] = [answer or _PENDING]
    return rows


def _write_part(
    output: RecordOutput,
    joined: Joined,
    part: Chunk,
    found: Sequence[Sequence[Answered]],
    written: Written,
) -> None:
    rows = list(_rows(joined, part, found))
    statuses = Counter(map(str, map(_STATUS, rows)))
    for status in statuses.keys() - {"ok", *written.reasons}:
        first = next(row for row in rows if row["status"] == status)
        key, error = f"{first[joined.key]}: ", str(first["error"])
        # Of documents, and of rows without a key, the reason begins with the place that they are named by.
        written.reasons[status] = error if error.startswith(key) else key + error
    written.statuses.update(statuses)
    output.write(rows)


def _rows(joined: Joined, chunk: Chunk, found: Sequence[Sequence[Answered]]) -> Iterator[dict[str, object]]:
    faults = chunk.faults
    for at, (key, values, answers) in enumerate(zip(chunk.keys, chunk.values, found, strict=True)):
        fault = faults.get(at) if faults else None
        yield joined.row(key, values, answers) if fault is None else joined.faulty(key, values, *fault)
