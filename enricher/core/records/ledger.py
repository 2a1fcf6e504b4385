"""The rows that batch mode over records keeps: a run, its chunks of rows, and what is known of items.

Values only. A chunk is to records what a block is to events: some thousands of rows that are read, kept and looked at
together; the items of its rows are numpy arrays, so that a million of them are compared in a few operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

ITEM_REF: Final = np.dtype(
    [("item", "<i8"), ("chunk", "<u4"), ("row", "<u4"), ("passage", "<u2"), ("attempt", "<u2"), ("tries", "u1")]
)
"""A request of a batch: the item, where its text comes from, and the number of its sending."""

REDUCE: Final = 0xFFFF
"""The passage of an item that asks about the answers to all passages of its row."""

MAX_PASSAGES: Final = 0xFFFE

RunState = Literal["reading", "asking", "done", "left"]
"""left: its input changed, or it was begun anew; its answers stay."""

Fault = tuple[str, str]
"""(status, reason) of a row that is not asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One reading of an input for a task, to its output."""

    id: int
    """Row id; 0 before it is stored."""
    job: str
    """By which the same command finds it again: a hash of task, model, input and output."""
    task: str
    model: str
    endpoint: str
    input: str
    output: str
    fingerprint: str
    """Of the input, when it was read; "" where only reading tells."""
    columns: tuple[str, ...] = ()
    key_column: str = ""
    state: RunState = "reading"
    rows: int = 0
    items: int = 0
    """Of its rows; the same one may be among them more than once."""
    faults: int = 0
    """Rows that are not asked about."""
    text_bytes: int = 0
    """Of all its items as they are sent."""
    tokens_per_byte: float = 0.5
    """Of its texts, from above, as a sample of them was counted."""
    began_at: float = 0.0
    ended_at: float | None = None
    mark: str = ""
    """The output as it was left, and before that as it is about to be: marks that its vendor gives it, with spaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverview:
    """A run, for the operator."""

    run: Run
    task_name: str
    under_way: int
    """Requests in batches that are not done."""
    cost_usd: float

    def to_json(self) -> dict[str, object]:
        """For `records status`."""
        run = self.run
        return {
            "run": run.id,
            "task": self.task_name,
            "model": run.model,
            "state": run.state,
            "input": run.input,
            "output": run.output,
            "rows": run.rows,
            "faults": run.faults,
            "under_way": self.under_way,
            "cost_usd": self.cost_usd,
            "began_at": _iso(run.began_at),
            "ended_at": None if run.ended_at is None else _iso(run.ended_at),
        }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Which items the rows of a chunk have: `counts[n]` of them belong to row n, in order."""

    counts: NDArray[np.uint16]
    items: NDArray[np.int64]
    sizes: NDArray[np.uint32]
    """Bytes of each item's text as it stands in a line."""

    def part(self, first: int, end: int) -> Index:
        """Return the index of some of its rows."""
        before, own = int(self.counts[:first].sum()), int(self.counts[first:end].sum())
        items = slice(before, before + own)
        return Index(counts=self.counts[first:end], items=self.items[items], sizes=self.sizes[items])

    @property
    def rows(self) -> NDArray[np.uint32]:
        """Return the row of each item."""
        return np.repeat(np.arange(len(self.counts), dtype=np.uint32), self.counts)

    @property
    def passages(self) -> NDArray[np.uint16]:
        """Return which passage of its row each item is, from 0."""
        firsts = np.repeat(np.cumsum(self.counts, dtype=np.int64) - self.counts, self.counts)
        return (np.arange(len(self.items)) - firsts).astype(np.uint16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Rows of an input, with their items."""

    number: int
    keys: Sequence[str]
    values: Sequence[Mapping[str, object]]
    faults: Mapping[int, Fault]
    index: Index

    def part(self, first: int, end: int) -> Chunk:
        """Return some of its rows as a chunk."""
        if first == 0 and end >= len(self.keys):
            return self
        return Chunk(
            number=self.number,
            keys=self.keys[first:end],
            values=self.values[first:end],
            faults={at - first: fault for at, fault in self.faults.items() if first <= at < end},
            index=self.index.part(first, end),
        )


# Of these there are millions: tuples and structs of msgspec are made in a third of the time of anything else.


class Known(NamedTuple):
    """What is known of an item."""

    item: int
    status: str
    """ok, again (it is to be sent once more), or why there is no answer: invalid, refused, error, expired, too_long."""
    attempt: int
    tries: int
    run: int
    """The run in which it was last asked."""


class Answered(msgspec.Struct, gc=False):
    """The answer to an item, or why there is none."""

    status: str
    body: bytes
    """JSON of the answer, or a vector; why there is none, in UTF-8, unless the status is ok."""

    @property
    def reason(self) -> str:
        """Return why there is no answer."""
        return "" if self.status == "ok" else self.body.decode("utf-8", "replace")


class ItemResult(msgspec.Struct, gc=False):
    """What became of an item in a batch: a row of the ledger."""

    item: int
    status: str
    attempt: int
    tries: int
    body: bytes
    """The answer; why there is none, in UTF-8, unless the status is ok."""


class Paid(NamedTuple):
    """What was paid for items, whenever that was."""

    usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    answered_before: int = 0
    """Items that were answered for another run."""


FINAL: Final = frozenset({"ok", "invalid", "refused", "error", "expired", "too_long"})
"""Statuses of items that are not asked again in their run."""
