"""The store in SQLite: registry, spool, ledger, answers and deliveries in one file, one transaction per method.

`SqliteStore.open(state_dir)` takes the lock of the directory and makes or migrates the store; with `read_only=True` it
only looks, beside a running daemon. What each method promises is said in `ports.Store`; here they go to the one thread
that owns the database (`connection`). Compressing, decompressing and counting happen in two other threads, outside any
transaction.

Never here: SQL.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from enricher.core.block import SpooledSegment
from enricher.core.catalogue import Reuse
from enricher.edges.store_sqlite import (
    accounts,
    aging,
    codec,
    dead_letters,
    delivery,
    gold,
    history,
    ledger,
    matchers,
    merges,
    plan,
    report,
    shapes,
    spending,
    splits,
    spool,
)
from enricher.edges.store_sqlite.connection import DATABASE_NAME, Connection
from enricher.edges.store_sqlite.listing import SqliteCatalogue
from enricher.edges.store_sqlite.record_store import SqliteRecords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from enricher.core.account import Account
    from enricher.core.block import Block, FileState, Pane
    from enricher.core.books import Delivery, HeldBy, SinkTrouble, StoreSummary, WindowReport
    from enricher.core.breaker import Breaker
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
        Purpose,
        RequestResult,
        RequestState,
    )
    from enricher.core.matcher import MatcherTable
    from enricher.core.merge import Merge
    from enricher.core.nightly import GoldDay, Score
    from enricher.core.skeleton import Shape
    from enricher.core.spending import Answered, Booking
    from enricher.core.split import Revision, Split, SplitTable
    from enricher.ports import BlockReceipt, ShapeRow

__all__ = ["SqliteStore"]

P = ParamSpec("P")
T = TypeVar("T")

_KEPT: Final = Reuse()

_SPOOL_FREE_AGAIN: Final = 0.9


class SqliteStore(SqliteCatalogue):
    """The `Store` port on a directory."""

    FILE_NAME: Final = DATABASE_NAME

    def __init__(self, connection: Connection, sinks: Collection[str], max_spool_bytes: int) -> None:
        self._db = connection
        self.records: Final = SqliteRecords(connection)
        self._sinks = tuple(sinks)
        self._max_spool_bytes = max_spool_bytes
        self._spool_is_full = False
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="store-codec")
        self._decoded = codec.DecodedSegments()

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        read_only: bool = False,
        sinks: Collection[str] = (),
        max_spool_bytes: int = 0,
        reserve_bytes: int = 0,
    ) -> SqliteStore:
        """Open the store of a state directory.

        `sinks`: ids that an event must reach to count as written; those that ever took something where none is given.
        `max_spool_bytes` and `reserve_bytes` hold reading back (`reading_held_by`); 0 does not.
        Raises LockedError if another process writes to it, StoreVersionError if it is newer than this program,
        StoreError if it cannot be used.
        """
        connection = await Connection.open(directory, read_only=read_only, reserve_bytes=reserve_bytes)
        return cls(connection, sinks, max_spool_bytes)

    @property
    def was_made(self) -> bool:
        """Whether there was no store before this one was opened."""
        return self._db.was_made

    async def close(self) -> None:
        """Flush and release the lock."""
        await self._db.close()
        self._workers.shutdown(wait=False)

    # -- ingest

    async def files(self, source: str) -> list[FileState]:
        """Registry rows of a source."""
        return await self._db.read(spool.files, source)

    async def past_identities(self, source: str) -> set[str]:
        """Identities of files whose rows were let go."""
        return await self._db.read(aging.past_identities, source)

    async def forget_files(self, ids: Collection[int], now: float) -> None:
        """Let go of the rows of files that are gone."""
        await self._db.write(aging.forget_files, ids, now)

    async def shapes(self, ids: Collection[int] | None = None) -> list[ShapeRow]:
        """These shapes, or every one, in row-id order."""
        return await self._db.read(shapes.shapes, ids)

    async def recent_shapes(self, limit: int, *, without: Collection[str]) -> list[ShapeRow]:
        """At most `limit` shapes, in row-id order: those that merges to come will most likely be with."""
        return await self._db.read(shapes.recent_shapes, limit, without)

    async def find_shapes(self, shapes_seen: Sequence[Shape]) -> list[int | None]:
        """Row ids of the shapes, None for those that are new."""
        return await self._db.read(shapes.find_shapes, shapes_seen)

    async def intern_shapes(self, shapes_seen: Sequence[Shape], now: float) -> list[int]:
        """Row ids of the shapes, made where they are new, in the order given."""
        return await self._db.write(shapes.intern_shapes, shapes_seen, now)

    async def commit_merges(self, merges_found: Sequence[Merge], now: float) -> None:
        """Append merges to the alias table; repeats change nothing."""
        await self._db.write(merges.commit_merges, merges_found, now)

    async def skip_shapes(self, ids: Collection[int]) -> None:
        """Nothing is paid for these kinds, unless they are met elsewhere or refreshed by name."""
        await self._db.write(shapes.skip_shapes, ids)

    async def breakers(self) -> dict[str, Breaker]:
        """Where the breakers stand, of the sources that ever had one open."""
        return await self._db.read(shapes.breakers)

    async def save_breaker(self, source: str, breaker: Breaker) -> None:
        """A breaker has opened or closed."""
        await self._db.write(shapes.save_breaker, source, breaker)

    async def split_table(self, known: Revision) -> SplitTable | None:
        """The splits in force; None where nothing has changed since the revision `known`."""
        return await self._db.read(splits.split_table, known)

    async def matcher_table(self, known: int) -> MatcherTable | None:
        """The matchers in force; None where there is none behind the revision `known`."""
        return await self._db.read(matchers.matcher_table, known)

    async def save_splits(self, given: Sequence[Split], now: float) -> None:
        """Split these signatures, but for those that are split already."""
        await self._db.write(splits.save_splits, given, now)

    async def reading_held_by(self) -> HeldBy | None:
        """Why nothing more should be read for now; the spool holds until a tenth of it is free again."""
        if not await self._db.has_room():
            return "disk"
        if self._max_spool_bytes:
            limit = self._max_spool_bytes * (_SPOOL_FREE_AGAIN if self._spool_is_full else 1.0)
            self._spool_is_full = await self._db.read(report.spool_bytes) >= limit
        return "spool" if self._spool_is_full else None

    async def commit_block(self, block: Block, now: float) -> BlockReceipt:
        """Positions, lines, merges and books of a block, all or nothing."""
        encoded = await self._work(codec.encode, block.segments)
        return await self._db.write(spool.commit_block, block, encoded, now)

    # -- plan

    async def open_panes(self) -> list[Pane]:
        """Panes not closed, oldest window first."""
        return await self._db.read(plan.panes_in, "open")

    async def kinds(
        self,
        panes: Sequence[tuple[int, int]],
        task: str,
        model: str,
        now: float,
        *,
        reuse: Reuse = _KEPT,
    ) -> list[Kind]:
        """Signatures of the panes to ask about; for no panes, of all that are closed and not done."""
        return await self._db.read(plan.kinds, panes, task, model, now, reuse)

    async def reasons(
        self, signatures: Sequence[str], task: str, model: str, now: float, *, reuse: Reuse
    ) -> dict[str, str]:
        """Why each of the signatures would be asked if it were seen now; those that would not be are left out."""
        return await self._db.read(plan.reasons, signatures, task, model, now, reuse)

    async def samples(
        self, kind_shapes: Mapping[str, Sequence[int]], panes: Sequence[tuple[int, int]], per_kind: int
    ) -> dict[str, list[bytes]]:
        """Up to `per_kind` events of each signature, spread over the segments, without the last newline."""
        sampling = plan.Sampling(shapes=kind_shapes, panes=frozenset(panes), per_kind=per_kind)
        for number, kinds in await self._db.read(plan.sample_segments, panes):
            if sampling.wants(plan.shapes_in(kinds)):
                found = await self._segment(number)
                if found is not None:
                    await self._work(sampling.feed, found.segment, found.panes)
        return sampling.samples

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
        """Close panes and put planned batches with their request ids in the ledger."""
        return await self._db.write(
            plan.commit_plan, closed=closed, requests=requests, batches=batches, task=task, model=model, now=now
        )

    async def next_part(self, window: int) -> int:
        """Number of the next batch file of a window."""
        return await self._db.read(plan.next_part, window)

    async def adopt_panes(self, panes: Sequence[tuple[int, int]], *, task: str, model: str) -> None:
        """Closed panes are answered under another task and model from now on."""
        await self._db.write(plan.adopt_panes, panes, task, model)

    async def requests_again(self) -> list[LedgerRequest]:
        """Requests to be sent again unchanged, bodies included."""
        return await self._db.read(plan.requests_again)

    # -- submit and track

    async def batches(self, states: Collection[BatchState], purpose: Purpose = "events") -> list[LedgerBatch]:
        """Batches of a purpose in those states, oldest first."""
        return await self._db.read(ledger.batches, states, purpose)

    async def batch_requests(self, batch: int) -> list[LedgerRequest]:
        """Requests of a batch, in the order of its file; bodies of those that are over are gone."""
        return await self._db.read(plan.batch_requests, batch)

    async def save_batch(self, batch: LedgerBatch, surplus: Sequence[LedgerBatch] = ()) -> bool:
        """Write all fields of a batch, unless it is done already, and with it new ones that were found beside it."""
        return await self._db.write(ledger.save_batch, batch, surplus)

    async def known_batches(self, ids: Collection[str]) -> set[str]:
        """Those of the provider's ids that a batch has or had."""
        return await self._db.read(ledger.known_batches, ids)

    async def skip_batch(self, batch: LedgerBatch, why: str, now: float) -> None:
        """A batch that was not sent is done with outcome `skipped`, its requests `skipped`."""
        await self._db.write(ledger.skip_batch, batch, why, now)

    async def take_back(self, batches: Collection[int], requests: Collection[str], why: str, now: float) -> None:
        """Batches that were not sent are over, and what they and these requests ask was never asked."""
        await self._db.write(ledger.take_back, batches, requests, why, now)

    async def skip_digests(self, batch: LedgerBatch, why: str, now: float) -> int:
        """Leave the requests about windows out of a planned batch; returns how many there were."""
        return await self._db.write(accounts.skip_digests, batch, why, now)

    async def cut_batch(self, batch: LedgerBatch, usd: float, state: RequestState, why: str, now: float) -> int:
        """Leave out of a planned batch what it has beyond so much money; returns how many requests that were."""
        return await self._db.write(ledger.cut_batch, batch, usd, state, why, now)

    async def collect(self, batch: LedgerBatch, results: Sequence[RequestResult], now: float) -> None:
        """Answers, requests, money and the batch's end, once."""
        await self._db.write(ledger.collect, batch, results, now)

    async def money(self, now: float) -> Money:
        """Booked today and this month (UTC), and reserved."""
        if not self._db.read_only and await self._db.read(ledger.is_booked_ahead, now):
            await self._db.write(ledger.book_as_of, now)
        return await self._db.read(ledger.money, now)

    async def reserved_tokens(self, model: str) -> int:
        """Input tokens of batches of a model, from the intent to upload to the end."""
        return await self._db.read(ledger.reserved_tokens, model)

    async def token_limit(self, model: str, now: float) -> int | None:
        """The provider's queue limit as learned from its errors, as far as it is believed still."""
        return await self._db.read(ledger.token_limit, model, now)

    async def learn_token_limit(self, model: str, limit: int, now: float) -> None:
        """Remember it."""
        await self._db.write(ledger.learn_token_limit, model, limit, now)

    # -- write

    async def closed_panes(self) -> list[Pane]:
        """Panes closed and not done, oldest first."""
        return await self._db.read(plan.panes_in, "closed")

    async def undecided(self, pane: tuple[int, int]) -> list[Outcome]:
        """The outcome, as of now, of each shape of a pane that no round has."""
        return await self._db.read(delivery.undecided, pane)

    async def decide(self, pane: tuple[int, int], outcomes: Sequence[Outcome], *, events_per_part: int) -> list[Part]:
        """Fix a round and cut it into parts."""
        return await self._db.write(delivery.decide, pane, outcomes, events_per_part)

    async def parts(self, pane: tuple[int, int]) -> list[Part]:
        """Every part of the pane's rounds so far."""
        return await self._db.read(delivery.parts, pane)

    async def outcomes(self, pane: tuple[int, int], round_number: int) -> list[Outcome]:
        """What a round was fixed with; nothing once the pane is done."""
        return await self._db.read(delivery.outcomes, pane, round_number)

    async def segments(self, pane: tuple[int, int]) -> AsyncIterator[SpooledSegment]:
        """Segments with events of the pane, in the order (path, generation, offset), one in memory at a time.

        One that cannot be read any more is left out, and kept as it is among the dead letters.
        """
        for number in await self._db.read(spool.pane_segments, pane):
            found = await self._segment(number)
            if found is not None:
                yield found

    async def delivered(
        self,
        sink: str,
        part: Part,
        *,
        sha256: str,
        size_bytes: int,
        events: int,
        lines: int,
        filtered: int,
        now: float,
        is_dead: bool = False,
    ) -> None:
        """A sink has taken a part for good, or it lies among the dead letters for good."""
        await self._db.write(
            delivery.delivered,
            sink,
            part,
            sha256=sha256,
            size_bytes=size_bytes,
            events=events,
            lines=lines,
            filtered=filtered,
            now=now,
            is_dead=is_dead,
        )

    async def deliveries(self, sink: str, start: int) -> list[Delivery]:
        """What a sink has taken of a window, by part number."""
        return await self._db.read(delivery.deliveries, sink, start)

    async def save_trouble(self, sink: str, trouble: SinkTrouble | None) -> None:
        """Why a sink takes nothing; None for one that does again."""
        await self._db.write(delivery.save_trouble, sink, trouble)

    async def finish_pane(self, pane: tuple[int, int], now: float) -> None:
        """The pane is done and its spool is freed. StoreError where events of it are in no part that a sink has."""
        self._decoded.forget(await self._db.write(delivery.finish_pane, pane, now))
        await self._db.write(aging.let_windows_go, now)
        await self._db.give_back()

    async def window_report(self, start: int) -> WindowReport:
        """The books of a window, for its manifest."""
        return await self._db.read(report.window_report, start)

    async def latest_window(self) -> tuple[int, str, str] | None:
        """Start, task and model of the latest window whose first pane is closed or done."""
        return await self._db.read(history.latest_window)

    async def closed_windows(self) -> set[int]:
        """Starts of the windows whose first pane is closed or done: nothing more is asked about them as a whole."""
        return await self._db.read(history.closed_windows)

    async def window_kinds(self, start: int, *, windows: int, task: str, model: str) -> WindowKinds:
        """The kinds of a window with their answers under (task, model), and the counts of `windows` windows before."""
        return await self._db.read(history.window_kinds, start, windows=windows, task=task, model=model)

    async def account(self, start: int) -> Account | None:
        """What a model said of a window."""
        return await self._db.read(accounts.account, start)

    async def untold_accounts(self, sink: str) -> list[int]:
        """Windows that the sink has events of, and not the account."""
        return await self._db.read(accounts.untold_accounts, sink)

    async def untold_batches(self, sink: str) -> dict[int, list[int]]:
        """By window, the batches that ended after the sink was told of it."""
        return await self._db.read(delivery.untold_batches, sink)

    async def batches_told(self, sink: str, start: int, batches: Sequence[int]) -> None:
        """The sink has a manifest with these."""
        await self._db.write(delivery.batches_told, sink, start, batches)

    async def account_told(self, sink: str, start: int) -> None:
        """The sink has the account."""
        await self._db.write(accounts.account_told, sink, start)

    async def gold_day(self) -> GoldDay | None:
        """The latest day whose labelled lines were asked about."""
        return await self._db.read(gold.gold_day)

    async def gold_score(self) -> Score | None:
        """The figures of the latest day that has any."""
        return await self._db.read(gold.gold_score)

    async def save_gold_score(self, score: Score, now: float) -> None:
        """Keep a day's figures."""
        await self._db.write(gold.save_gold_score, score, now)

    def on_change(self, tell: Callable[[], object]) -> None:
        """Have `tell` called after each write."""
        self._db.on_change = tell

    # -- for the operator

    async def kinds_seen(self, task: str, model: str) -> list[KindSeen]:
        """Every signature that was ever read, with its answer under (task, model), newest first seen first."""
        return await self._db.read(shapes.kinds_seen, task, model)

    async def summary(self, now: float) -> StoreSummary:  # noqa: ARG002 (the port's: these are counts, not rates)
        """Counts for status and metrics."""
        return await self._db.read(report.summary, self._sinks, self._db.file_bytes, self._db.free_bytes)

    async def bookings(self, *, by_day: bool) -> list[Booking]:
        """What was booked by task and model, on each UTC day or else for each window."""
        return await self._db.read(spending.bookings_by_day if by_day else spending.bookings_by_window)

    async def answered_events(self) -> list[Answered]:
        """How many events of each window were written with an answer."""
        return await self._db.read(spending.answered_events)

    async def lagging_files(self, limit: int) -> list[FileState]:
        """Up to `limit` files, those first that are furthest behind; files that are gone last."""
        return await self._db.read(report.lagging_files, limit)

    # -- inside

    async def _segment(self, number: int) -> SpooledSegment | None:
        """A segment of the spool; None if it was freed or had to be buried."""
        segment = self._decoded.get(number)
        if segment is not None:
            panes = await self._db.read(spool.panes_of, number, segment.windows)
            if not any(pane is not None for pane in panes):
                return None
        else:
            stored = await self._db.read(spool.load, number)
            if stored is None:
                return None
            try:
                segment = await self._work(stored.decode)
            except codec.CorruptSegmentError:
                if not self._db.read_only:
                    await self._db.write(dead_letters.bury, number)
                return None
            self._decoded.keep(number, segment)
            panes = stored.panes
        return SpooledSegment(id=number, segment=segment, panes=panes)

    async def _work(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, partial(work, *args, **kwargs))
