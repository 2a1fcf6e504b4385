"""The ports: what the stages need of the outside, one Protocol each, with the contract of every method in prose.

An edge implements a port, `tests/fakes.py` holds a second implementation of each, and one contract suite per port runs
on both. A method that can fail says how; everything else may not raise. Values come from `core`.

Never here: an implementation, a default that hides a decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from enricher.core.block import Block, FileState, Pane, SpooledSegment
    from enricher.core.books import Delivery, StoreSummary, WindowReport
    from enricher.core.breaker import Breaker
    from enricher.core.catalogue import Detail, Entry, ExportedAnswer, Imported, Listing, Reuse, Selection
    from enricher.core.digest import WindowKinds
    from enricher.core.ledger import (
        BatchState,
        Kind,
        KindSeen,
        LedgerBatch,
        LedgerRequest,
        Money,
        Outcome,
        Part,
        RequestResult,
    )
    from enricher.core.merge import Merge
    from enricher.core.skeleton import Shape


class Clock(Protocol):
    """The only source of time for stages; tests move it by hand and never sleep."""

    def now(self) -> float:
        """Wall time, epoch seconds."""

    def monotonic(self) -> float:
        """Seconds that no clock step moves."""

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellation ends it at once."""


# ---------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Whole lines of one file that were read but not yet made durable; none, where only its row has news.

    `offset` is in the decompressed stream. `lines` ends with a newline unless `final` and the file does not; the
    source has added one then, which `length` does not count.
    """

    file: FileState
    """The registry row as it was before this chunk (its `partial` already belongs to `data`)."""
    data: bytes
    length: int
    """Bytes of the file that `data` stands for."""
    lost_bytes: int
    final: bool
    """Nothing may be held back: the file ended (rotated away, compressed, `once`) or was quiet for long enough."""
    fallback: float
    """Epoch seconds for events that have no time anywhere before: file mtime in `once`, read time in `run`."""
    read_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedFile:
    """A file that is not read, and why."""

    path: bytes
    reason: str
    """unreadable, binary, directory, not_regular, vanished, own_output, compressed_unknown: a closed list."""
    detail: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProgress:
    """How far a source is; what closing a window needs to know."""

    files: int
    degraded: int
    """Files that cannot be read now."""
    unread_bytes: int
    oldest_unread_at: float | None
    read_through: float | None
    """Wall time T such that every live file was read up to the size that it had at T (files unreadable for 15
    minutes left out); None before the first complete pass."""
    left_out: tuple[bytes, ...]
    """Paths left out of `read_through`."""
    exhausted: bool
    """`once` only: every file was read to its end."""


class Source(Protocol):
    """Where lines come from: one configured source."""

    id: str

    async def start(self, states: Sequence[FileState]) -> None:
        """Take the registry rows of this source; called once, before all else."""

    async def scan(self, now: float) -> Sequence[SkippedFile]:
        """Find files, recognise those known under a new name, notice truncation; returns files newly skipped.

        Called each poll. Never raises for what a file or directory does: that is a SkippedFile or a degraded file.
        """

    async def read(self, now: float, *, flush: bool) -> Sequence[Chunk]:
        """Up to 4 MiB of whole lines from one or more files, fairly; empty when nothing is worth a commit yet.

        Reads of less than 256 KiB wait in their file for up to 10 s unless `flush`. At most one chunk per file. A
        read moves nothing: the next one starts after what was `committed`, or again at the same place.
        """

    def accept(
        self, chunk: Chunk, taken: int, *, partial: bytes, anchor: float | None, learned: bool | None
    ) -> FileState:
        """The registry row to commit for a chunk of which the first `taken` bytes of its `length` became events.

        Pure bookkeeping; takes effect only with `committed`.
        """

    def committed(self, files: Sequence[FileState]) -> None:
        """The rows are durable (with their ids): positions move."""

    def progress(self, now: float) -> SourceProgress:
        """How far it is."""

    async def close(self) -> None:
        """Close every descriptor."""


# ---------------------------------------------------------------- the store


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReceipt:
    """What committing a block did."""

    files: tuple[FileState, ...]
    """The rows as committed, with their ids."""
    late_events: int
    """Events that went to a pane after pane 0."""
    panes_opened: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeRow:
    """A stored shape and the signature that it resolves to now."""

    id: int
    shape: Shape
    root: int
    """Row id of the shape whose id is the signature."""
    template: str
    """Of the signature: the merged one where shapes were merged."""


class Store(Protocol):
    """The one durable place: registry, spool, ledger, answers, deliveries. Every method is one transaction.

    All may raise StoreError; after one the caller stops and the process exits 75, since what was committed is then
    unknown. Everything is idempotent in the sense that repeating a call whose effect is already there changes nothing.
    """

    async def close(self) -> None:
        """Flush and release the lock."""

    # -- ingest

    async def files(self, source: str) -> list[FileState]:
        """Registry rows of a source."""

    async def shapes(self, ids: Collection[int] | None = None) -> list[ShapeRow]:
        """These shapes, or every one, in row-id order."""

    async def recent_shapes(self, limit: int, *, without: Collection[str]) -> list[ShapeRow]:
        """At most `limit` shapes, of none of the formats `without`, in row-id order.

        Those that shapes to come will most likely merge with: of classes that were merged last, then the newest.
        """

    async def find_shapes(self, shapes_seen: Sequence[Shape]) -> list[int | None]:
        """Row ids of the shapes, None for those that are new; makes none."""

    async def intern_shapes(self, shapes_seen: Sequence[Shape], now: float) -> list[int]:
        """Row ids of the shapes, made where they are new, in the order given.

        One that was skipped is no longer; a coarse one is skipped from the start.
        """

    async def skip_shapes(self, ids: Collection[int]) -> None:
        """Nothing is paid for these kinds: where they have no answer, their events are `skipped_policy`."""

    async def breakers(self) -> dict[str, Breaker]:
        """Where the breakers stand, by source, of those that were ever open."""

    async def save_breaker(self, source: str, breaker: Breaker) -> None:
        """A breaker has opened or closed."""

    async def commit_merges(self, merges_found: Sequence[Merge], now: float) -> None:
        """Append merges to the alias table (repeats change nothing).

        The members' signatures become that of the member that has an answer, else of the oldest. Where answers of
        the members disagree on severity or category nothing is merged, and the members are pinned: what would merge
        with one of them later stays apart, too.
        """

    async def commit_block(self, block: Block, now: float) -> BlockReceipt:
        """Positions, lines, merges and books of a block, all or nothing.

        Each window's events go to its open pane; where pane 0 is closed, to the open late pane, made if need be.
        """

    # -- plan

    async def open_panes(self) -> list[Pane]:
        """Panes not closed, oldest window first."""

    async def kinds(
        self, panes: Sequence[tuple[int, int]], task: str, model: str, now: float, *, reuse: Reuse = ...
    ) -> list[Kind]:
        """Signatures of the panes that are to be asked under (task, model), and that no live or again request carries.

        Those that no answer serves: their own, or a good one of another version of the task or one that was imported;
        and those of which the answer is to be renewed, by `reuse` or on request. By default answers serve for ever.
        Nor those that were skipped for want of money in the same window or a later one.
        Ordered by earliest window, then by events, most first, then by signature. `alone` and `tries` come from the
        ledger's earlier requests. With no panes given: those of every closed pane that is not done.
        """

    async def reasons(
        self, signatures: Sequence[str], task: str, model: str, now: float, *, reuse: Reuse
    ) -> dict[str, str]:
        """Why each of the signatures would be asked if it were seen now; those that would not be are left out."""

    async def samples(
        self, kind_shapes: Mapping[str, Sequence[int]], panes: Sequence[tuple[int, int]], per_kind: int
    ) -> dict[str, list[bytes]]:
        """Up to `per_kind` events (raw bytes, all lines) of each signature, from the spool."""

    async def commit_plan(
        self,
        *,
        closed: Mapping[tuple[int, int], str],
        requests: Sequence[LedgerRequest],
        batches: Sequence[tuple[LedgerBatch, Sequence[str]]],
        task: str,
        model: str,
        now: float,
    ) -> list[LedgerBatch]:
        """Close panes (value: complete or forced) and put planned batches with their request ids in the ledger.

        A request id that is there already (state `again`) is taken into its new batch. Returns the batches with ids.
        """

    async def next_part(self, window: int) -> int:
        """Number of the next batch file of a window: how many it has."""

    async def adopt_panes(self, panes: Sequence[tuple[int, int]], *, task: str, model: str) -> None:
        """Closed panes are answered under another task and model from now on."""

    async def requests_again(self) -> list[LedgerRequest]:
        """Requests to be sent again unchanged, bodies included."""

    # -- submit and track

    async def batches(self, states: Collection[BatchState]) -> list[LedgerBatch]:
        """Batches in those states, oldest first."""

    async def batch_requests(self, batch: int) -> list[LedgerRequest]:
        """Requests of a batch, in the order of its file."""

    async def save_batch(self, batch: LedgerBatch) -> None:
        """Write all fields of a batch; intents are saved with it before anything is sent."""

    async def skip_batch(self, batch: LedgerBatch, why: str, now: float) -> None:
        """Over budget: the batch is done with outcome `skipped`, its requests `skipped`."""

    async def collect(self, batch: LedgerBatch, results: Sequence[RequestResult], now: float) -> None:
        """Answers first, then requests, money and the batch's end: once, however often it is repeated."""

    async def money(self, now: float) -> Money:
        """Booked today and this month (UTC), and reserved by batches that may be on the provider's side."""

    async def reserved_tokens(self, model: str) -> int:
        """Input tokens of batches of a model that may be in the provider's queue."""

    async def token_limit(self, model: str) -> int | None:
        """The provider's queue limit as learned from its errors."""

    async def learn_token_limit(self, model: str, limit: int) -> None:
        """Remember it."""

    # -- write

    async def closed_panes(self) -> list[Pane]:
        """Panes closed and not done, oldest first."""

    async def undecided(self, pane: tuple[int, int]) -> list[Outcome]:
        """For each shape of a pane that no round has: its outcome as of now.

        `ok` (answered after the pane closed) or `cached` (answered before) with the answer that serves it, a final
        failure's status, `skipped_policy` (its source's breaker opened over it), `skipped_budget`, else `expired` (its
        last batch did, and it is asked again) or `pending`. Whether to write
        one of the last two is for the caller to say.
        """

    async def decide(self, pane: tuple[int, int], outcomes: Sequence[Outcome], *, events_per_part: int) -> list[Part]:
        """Fix a round: these shapes with these outcomes, cut into parts of at most `events_per_part` events.

        Returns the round's parts; [] for no outcomes.
        """

    async def parts(self, pane: tuple[int, int]) -> list[Part]:
        """Every part of the pane's rounds so far."""

    async def outcomes(self, pane: tuple[int, int], round_number: int) -> list[Outcome]:
        """What a round was fixed with."""

    def segments(self, pane: tuple[int, int]) -> AsyncIterator[SpooledSegment]:
        """Segments with events of the pane, in the order (path, generation, offset)."""

    async def delivered(
        self, sink: str, part: Part, *, sha256: str, size_bytes: int, events: int, lines: int, filtered: int, now: float
    ) -> None:
        """A sink has taken a part for good."""

    async def deliveries(self, sink: str, start: int) -> list[Delivery]:
        """What a sink has taken of a window, by part number."""

    async def finish_pane(self, pane: tuple[int, int], now: float) -> None:
        """All decided, all parts with all sinks: the pane is done and its spool is freed."""

    async def window_report(self, start: int) -> WindowReport:
        """The books of a window, for its manifest."""

    async def window_kinds(self, start: int, *, windows: int, task: str, model: str) -> WindowKinds:
        """The kinds of a window with their answers under (task, model), and the counts of `windows` windows before."""

    # -- for the operator

    async def kinds_seen(self, task: str, model: str) -> list[KindSeen]:
        """Every signature that was ever read, with its answer under (task, model), newest first seen first."""

    async def summary(self, now: float) -> StoreSummary:
        """Counts for status and metrics."""


class Catalogue(Protocol):
    """The answers, for the operator. Reading works beside a running daemon, writing takes the lock. StoreError."""

    async def entries(self, listing: Listing, task: str, model: str) -> list[Entry]:
        """Signatures with events or an answer, with the answer that serves them under (task, model)."""

    async def resolve(self, prefix: str, limit: int) -> list[str]:
        """Ids, of signatures or of what was merged into them, that begin so; at most `limit`, in order."""

    async def neighbours(self, wanted: str) -> list[str]:
        """Some ids that sort just before and just behind it."""

    async def detail(self, signature: str, task: str, model: str) -> Detail | None:
        """All about the signature that this id belongs to; None where nothing is known under it."""

    async def answered_page(self, after: str, limit: int, task: str, model: str) -> list[Entry]:
        """Signatures with a good answer, by id, behind `after`: the one that serves, else the newest of any."""

    async def count_answered(self) -> int:
        """How many signatures have a good answer."""

    async def import_answers(self, given: Sequence[ExportedAnswer], *, keep: bool, now: float) -> Imported:
        """Take answers in: of two under the same key the newer, or the one that is there where `keep`."""

    async def forget(self, selection: Selection) -> int:
        """Answers that are not used any more: their kinds are asked when they are seen next. How many signatures."""

    async def refresh(self, selection: Selection) -> int:
        """Have kinds asked again when they are seen next; the old answers serve until then. How many signatures."""


# ---------------------------------------------------------------- the batch provider


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBatch:
    """A batch as the provider shows it, with the odd spellings of providers taken out."""

    id: str
    status: str
    """Lower case; unknown words are passed on and are not terminal."""
    input_file_id: str | None
    output_file_id: str | None
    """None also where the provider said the empty string."""
    error_file_id: str | None
    created_at: float | None
    expires_at: float | None
    total: int
    completed: int
    failed: int
    errors: tuple[tuple[str, str, int | None], ...]
    """(code, message, line) of a batch that failed in validation."""
    metadata: Mapping[str, str]


class BatchClient(Protocol):
    """The six steps of batch mode as calls: serialise (core.batch), upload, create, poll, download, post-process.

    Errors: TransientProviderError (nothing happened, try later), UnclearProviderError (only from upload and create: it
    may have happened), AuthProviderError, NotFoundProviderError, PermanentProviderError. No call retries by itself.
    """

    async def upload(self, path: Path, name: str) -> str:
        """Upload an input file under a name that is unique for (window, part, attempt); returns its file id."""

    async def find_upload(self, name: str) -> str | None:
        """File id of an earlier upload with this name, newest first; None if the provider shows none."""

    async def create(self, *, input_file_id: str, endpoint: str, metadata: Mapping[str, str]) -> ProviderBatch:
        """Create the batch. Never retried inside: creating is not idempotent."""

    async def find_batch(self, *, job: str, input_file_id: str, since: float) -> list[ProviderBatch]:
        """Batches not older than `since` that carry our job id or input file: none, one, or surplus ones."""

    async def retrieve(self, batch_id: str) -> ProviderBatch:
        """The batch as it is now."""

    async def cancel(self, batch_id: str) -> ProviderBatch:
        """Ask to cancel; terminal only later."""

    async def download(self, file_id: str, path: Path) -> None:
        """Stream a file to `path` (temporary name, renamed when whole)."""

    async def delete_file(self, file_id: str) -> None:
        """Delete a file; a missing one is fine."""

    async def check(self, model: str) -> None:
        """Key and model are accepted (`validate`): AuthProviderError, PermanentProviderError otherwise."""

    async def close(self) -> None:
        """Close connections."""


class BatchFiles(Protocol):
    """Where input files wait for upload and downloads for reading: a directory under the state directory."""

    async def write(self, name: str, lines: Iterable[bytes]) -> Path:
        """Write an input file whole (temporary name, fsync, rename); the same name again replaces it. StoreError."""

    def path(self, name: str) -> Path:
        """Where a file of this name lies or would lie."""

    def read(self, name: str) -> Iterator[bytes]:
        """Chunks of a file, blocking: for a worker thread."""

    async def remove(self, names: Collection[str]) -> None:
        """Remove files; missing ones are fine."""


# ---------------------------------------------------------------- sinks


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a sink says of a part that it has taken."""

    sha256: str
    """Of the bytes as they lie there."""
    size_bytes: int


class Sink(Protocol):
    """Where enriched events go. Delivery is at least once; `event.id` is the upsert key."""

    id: str
    min_severity: str

    async def deliver(self, window: str, part: Part, chunks: AsyncIterator[bytes]) -> Taken:
        """Take a whole part: NDJSON in chunks of whole lines. All or nothing; the same part again replaces it.

        SinkError: try again later; nothing of the part counts.
        """

    async def manifest(self, window: str, manifest: bytes) -> None:
        """Take the window's manifest as it is now (JSON); replaces the one before. SinkError: try again."""

    async def digest(self, window: str, as_json: bytes, as_markdown: str) -> None:
        """Take the window's digest as it is now; replaces the one before. SinkError: try again."""

    async def retain(self, now: float) -> int:
        """Delete what is older than the sink's retention; returns how many windows went."""

    async def check(self) -> None:
        """Whether it could take a part now (`validate`, readiness). SinkError says why not."""

    async def close(self) -> None:
        """Release what it holds."""
