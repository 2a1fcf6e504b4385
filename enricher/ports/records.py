"""Where records come from, where they go, and where they are kept meanwhile: whole rows, in order.

Inputs and outputs block: they are called from a worker thread, one call at a time, so that a million rows cost no
switch of tasks. Their values are those of JSON: text, numbers, booleans, None, lists and mappings of these.

Never here: what a task makes of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from enricher.core.ledger import LedgerBatch
    from enricher.core.records.ledger import Answered, Chunk, Index, ItemResult, Known, Paid, Run, RunOverview

MAX_BATCH_ROWS: Final = 8192
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""About how much text an input gives at once; a single row may be larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of an input, in its order: at most `MAX_BATCH_ROWS`, about `MAX_BATCH_BYTES` of text."""

    keys: Sequence[str]
    """What each row is found again by: its key column as text, the path of a document, else its number from 1."""
    values: Sequence[Mapping[str, object]]
    """Each row by column, the key's among them; empty for a row that could not be read."""
    faults: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """By place in this batch: (status, reason) of rows that are not asked about: `unreadable` (no UTF-8, no JSON, an
    encrypted PDF) or `empty` (a document without text)."""


class RecordInput(Protocol):
    """An input of records: a directory of documents, a table, the answer to a query."""

    name: str
    """What messages call it: the path or address as given, without a password."""
    key_column: str
    """The column that `Rows.keys` are taken from; "" where rows are counted."""
    text_column: str | None
    """A column that is read and not written again, since the input keeps it: a document's text. None in tables."""
    skipped: Mapping[str, int]
    """Files that were passed over, since they are no documents of a known format: how many by suffix, in parentheses
    what is no plain file (`(link)`, `(hidden)`). Empty for tables."""

    def columns(self) -> Sequence[str]:
        """Columns of the rows, as far as the first of them tell; () for no rows. Raises InputError."""

    def fingerprint(self) -> str:
        """Changes when the content may have changed, at little cost (sizes and times); "" where only reading tells."""

    def rows(self) -> Iterator[Rows]:
        """Every row from the first, in an order that is the same each time for the same content.

        Raises InputError, which names the file and the line, where nothing after it can be read; a row that cannot be
        read is one of `faults` and costs no other row. Holds little more than a batch.
        """

    def close(self) -> None:
        """Close files and connections; also in the midst of `rows`."""


class RecordOutput(Protocol):
    """Where rows go: a file or a table that appears whole, when `finish` has returned, or not at all.

    Only what is no file (standard output, a pipe, a device) shows each row as it is written.
    """

    name: str
    """What messages call it."""

    def begin(self, columns: Sequence[str]) -> None:
        """Columns that rows will have, the key's first and `status` and `error` last. Raises OutputError."""

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Take rows in order; a column that a row lacks is empty in it, one that `begin` did not name comes last.

        Raises OutputError; then `abandon` it.
        """

    def seal(self) -> str:
        """Everything was written: make it durable, beside its place. Again, it does nothing.

        Returns by what it will be known for what this run has written, once it is in its place; "" where that cannot be
        told before. Raises OutputError; then `abandon` it.
        """

    def finish(self) -> None:
        """Put it in its place, and seal it before where that was not done. Raises OutputError; then `abandon` it."""

    def abandon(self) -> None:
        """Leave nothing behind of what was written since `begin`; what lay there before is untouched."""


class RecordStore(Protocol):
    """The durable place of batch mode over records, in the same store and ledger. Every method is one transaction.

    All may raise StoreError. What is asked and answered is kept by item, for ever; rows until their output is written.
    """

    async def begin_run(self, run: Run) -> int:
        """Store a new run; earlier ones of its job that are not done are left: what was not sent is not sent."""

    async def leave_runs(self, job: str) -> None:
        """Give up runs of a job that are not done: what was not sent is not sent, what was is still collected."""

    async def save_run(self, run: Run) -> None:
        """Write all fields of a run."""

    async def end_run(self, run: Run) -> None:
        """Its output is written: its rows are let go of."""

    async def latest_run(self, job: str) -> Run | None:
        """The latest run of a job."""

    async def overview(self, limit: int) -> list[RunOverview]:
        """Runs with what they cost, newest first."""

    async def spent(self, run: int) -> tuple[int, float]:
        """Requests that were sent for a run, one that was sent again counted again, and USD paid for them."""

    async def wrote(self, output: str, marks: Collection[str]) -> bool:
        """Whether a run has left the output under one of these marks, or was about to: then it may be replaced."""

    async def name_task(self, task: str, name: str, version: str, now: float) -> None:
        """Keep what a task's hash was called, for reports."""

    async def task_names(self) -> Mapping[str, str]:
        """What the tasks that were ever asked are called, by hash."""

    async def earlier_keys(self, name: str, limit: int) -> list[tuple[str, str]]:
        """Under which (task hash, model) a task of this name was asked, latest first."""

    async def has_answers(self, task: str, model: str) -> bool:
        """Whether a batch under this task and model was ever answered."""

    async def add_chunks(self, run: int, chunks: Sequence[Chunk]) -> None:
        """Keep chunks of a run; the same numbers again replace them."""

    async def chunk_numbers(self, run: int) -> list[int]:
        """The chunks of a run, in order."""

    async def chunk_index(self, run: int, number: int) -> Index:
        """Which items a chunk has; without its rows."""

    async def chunk(self, run: int, number: int) -> Chunk:
        """A chunk with its rows."""

    async def known(self, items: Collection[int]) -> Mapping[int, Known]:
        """What is known of items, of those of which anything is."""

    async def answers(self, items: Sequence[int]) -> Sequence[Answered | None]:
        """The answer to each of some items, or why there is none; None where it was never asked."""

    async def paid(self, run: Run, items: Collection[int]) -> Paid:
        """What was paid for the items of a run.

        All that its job has sent for the same input, retries among it; and of other batches that answered some of these
        items, their share.
        """

    async def live_items(self) -> NDArray[np.int64]:
        """Items that batches which are not done ask about, sorted."""

    async def plan_batches(
        self, run: int, batches: Sequence[tuple[LedgerBatch, NDArray[np.void]]]
    ) -> list[LedgerBatch]:
        """Put planned batches in the ledger with what they ask (`ITEM_REF`); returns them with their ids."""

    async def batch_items(self, batch: int) -> tuple[int, NDArray[np.void]]:
        """The run that a batch belongs to, and what it asks, in the order of its file."""

    async def collect(self, batch: LedgerBatch, results: Sequence[ItemResult], now: float) -> None:
        """Answers, money and a batch's end: once, however often it is repeated. An answer that is ok stays."""
