"""Read: the rows of an input become chunks in the store, and what cannot be read or asked about is known by its row.

Invariants: one chunk is in memory; nothing is sent before the whole input was read. Never here: a provider.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.records.chunking import Chunker
from enricher.errors import InputError, TryAgainError, UsageError
from enricher.records.writing import COUNTED_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from enricher.core.records.item import Asking
    from enricher.core.records.ledger import Chunk, Run
    from enricher.core.records.task import RecordTask
    from enricher.ports import RecordInput, RecordStore, Rows

_SHOWN_KEYS: Final = 3
_CHUNKS_PER_COMMIT: Final = 4


def check_columns(task: RecordTask, given: RecordInput) -> None:
    """Refuse an input that lacks a column which the task's prompt names. Raises UsageError, InputError."""
    columns = given.columns()
    missing = [name for name in task.columns if name not in columns]
    if columns and missing:
        raise UsageError(
            f"{given.name}: has no column {missing[0]!r}, which the task {task.name!r} puts into its prompt"
            f" (it has: {', '.join(columns)})",
            hint="name the column that holds it:  --column " + f"{missing[0]}=COLUMN",
        )


async def read_input(
    store: RecordStore,
    run: Run,
    given: RecordInput,
    asking: Asking,
    tell: Callable[[int], None],
    stop: asyncio.Event | None = None,
) -> Run:
    """Read an input to its end into chunks of the run. Returns the run as it is then; `tell` gets the rows so far.

    Raises InputError where the input cannot be read or has a key twice, TryAgainError when `stop` was set.
    """
    reader = _Reader(given, asking)
    rows = faults = items = text_bytes = 0
    batches = given.rows()
    while chunks := await asyncio.to_thread(reader.next_chunks, batches):
        await store.add_chunks(run.id, chunks)
        rows += sum(len(one.keys) for one in chunks)
        faults += sum(len(one.faults) for one in chunks)
        items += sum(len(one.index.items) for one in chunks)
        text_bytes += sum(int(one.index.sizes.sum()) for one in chunks)
        tell(rows)
        if stop is not None and stop.is_set():
            raise TryAgainError("interrupted while reading", hint="nothing was sent; run the same command again")
    await asyncio.to_thread(reader.check_keys)
    return replace(
        run,
        state="asking",
        columns=tuple(reader.columns),
        key_column=given.key_column,
        rows=rows,
        faults=faults,
        items=items,
        text_bytes=text_bytes,
        tokens_per_byte=reader.tokens_per_byte,
    )


class _Reader:
    """Turns batches of rows into chunks, and remembers 8 bytes of each key."""

    def __init__(self, given: RecordInput, asking: Asking) -> None:
        self._given = given
        self._chunker = Chunker(asking)
        self._number = 0
        self._hashes: list[NDArray[np.int64]] = []
        self.columns: dict[str, None] = dict.fromkeys(given.columns())

    @property
    def tokens_per_byte(self) -> float:
        return self._chunker.tokens_per_byte

    def next_chunks(self, batches: Iterator[Rows]) -> list[Chunk]:
        """The next few chunks; none at the end."""
        made: list[Chunk] = []
        while len(made) < _CHUNKS_PER_COMMIT and (rows := next(batches, None)) is not None:
            made.append(self._chunk(rows))
        return made

    def _chunk(self, rows: Rows) -> Chunk:
        known = self.columns
        for row in rows.values:
            if not known.keys() >= row.keys():
                known.update(dict.fromkeys(row))
        if self._given.key_column:
            self._hashes.append(_hashed(rows.keys))
        chunk = self._chunker.chunk(self._number, rows.keys, rows.values, rows.faults)
        self._number += 1
        return chunk

    def check_keys(self) -> None:
        """Refuse an input in which a key stands twice: which of the rows an answer belongs to could not be told."""
        hashes = np.concatenate(self._hashes) if self._hashes else np.empty(0, dtype=np.int64)
        values, counts = np.unique(hashes, return_counts=True)
        doubles = set(values[counts > 1].tolist())
        if not doubles:
            return
        seen: dict[str, int] = {}
        repeated: list[str] = []
        row = 0
        for rows in self._given.rows():
            for key, hashed in zip(rows.keys, _hashed(rows.keys).tolist(), strict=True):
                row += 1
                if hashed in doubles:
                    if key in seen:
                        repeated.append(f"{key!r} in rows {seen[key]:,} and {row:,}")
                    seen.setdefault(key, row)
        if repeated:
            more = f", and {len(repeated) - _SHOWN_KEYS:,} more" if len(repeated) > _SHOWN_KEYS else ""
            raise InputError(
                f"{self._given.name}: a key is there twice: {'; '.join(repeated[:_SHOWN_KEYS])}{more}",
                hint=f"take another key column (--key COLUMN), or count the rows: --key '' (as {COUNTED_KEY!r})",
            )


def _hashed(keys: Sequence[str]) -> NDArray[np.int64]:
    # Python's own hash would do, but for its seed, with which what is found would differ from run to run.
    digest = hashlib.blake2b
    joined = b"".join([digest(key.encode("utf-8", "surrogatepass"), digest_size=8).digest() for key in keys])
    return np.frombuffer(joined, dtype=np.int64)
