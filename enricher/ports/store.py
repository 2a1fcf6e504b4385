"""The one durable place: registry, spool, ledger, answers and deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from enricher.core.account import Account
    from enricher.core.block import Block, FileState, Pane, SpooledSegment
    from enricher.core.books import Delivery, HeldBy, SinkTrouble, StoreSummary, WindowReport
    from enricher.core.breaker import Breaker
    from enricher.core.catalogue import Reuse
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

    async def past_identities(self, source: str) -> set[str]:
        """Identities of a source's files whose rows were let go in the last months: they are not given again."""

    async def forget_files(self, ids: Collection[int], now: float) -> None:
        """Let go of the registry rows of files that went long ago; their identities are kept for some months."""

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

    async def split_table(self, known: Revision) -> SplitTable | None:
        """The splits in force, with the shapes that they hold for now; None where nothing has changed since `known`.

        A signature is split when an answer comes that names one of its slots in `splits_on` (`core.split` says when),
        and is whole again when its answer is forgotten. The shapes that its children have are made by `intern_shapes`;
        such a kind is served by the parent's answer until it has one of its own.
        """

    async def matcher_table(self, known: int) -> MatcherTable | None:
        """The matchers of signatures that have an answer; None where there is none behind the revision `known`.

        A signature is widened when an answer comes that gives a wider template in `matches` (`core.matcher`), and those
        that were answered together and widened to one template are merged as by `commit_merges`.
        """

    async def save_splits(self, given: Sequence[Split], now: float) -> None:
        """Split these signatures, but for those that are split already."""

    async def reading_held_by(self) -> HeldBy | None:
        """Why nothing more should be read for now; None: read on. What is asked before each read.

        `disk`: there was no room left, and the store lives on what it had kept back. `spool`: it holds as much as it
        may. Both end as panes do.
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

    async def batches(self, states: Collection[BatchState], purpose: Purpose = "events") -> list[LedgerBatch]:
        """Batches of a purpose in those states, oldest first."""

    async def batch_requests(self, batch: int) -> list[LedgerRequest]:
        """Requests of a batch, in the order of its file."""

    async def save_batch(self, batch: LedgerBatch, surplus: Sequence[LedgerBatch] = ()) -> bool:
        """Write all fields of a batch; intents are saved with it before anything is sent.

        False, and nothing of it is written, if it is done by now: skipped or taken back since it was read.
        `surplus` are new ones that were found beside it: in the ledger with it, so that no crash lets them run on.
        """

    async def known_batches(self, ids: Collection[str]) -> set[str]:
        """Those of the provider's ids that a batch in the ledger has, or had when it was done."""

    async def skip_batch(self, batch: LedgerBatch, why: str, now: float) -> None:
        """A batch that is not to be sent is done with outcome `skipped`, its requests `skipped`.

        One that was sent, or may have been, is left as it is.
        """

    async def take_back(self, batches: Collection[int], requests: Collection[str], why: str, now: float) -> None:
        """Batches that were not sent are over, and what they and these requests, to be sent again, ask was never asked.

        What is asked about once, a window or lines of known meaning, is `skipped` instead; what was paid for before, in
        vain, is `failed`.
        """

    async def skip_digests(self, batch: LedgerBatch, why: str, now: float) -> int:
        """Over budget: a planned batch goes without its requests about windows, which are `skipped`.

        One that has no others is done with outcome `skipped`. Returns how many were left out.
        """

    async def cut_batch(self, batch: LedgerBatch, usd: float, state: RequestState, why: str, now: float) -> int:
        """Leave out of a planned batch what it has beyond so much money; those requests are in that state then.

        Returns how many they are; 0, and nothing is changed, where not even the first costs so little, and of a batch
        about records or labelled lines, which go together.
        """

    async def collect(self, batch: LedgerBatch, results: Sequence[RequestResult], now: float) -> None:
        """Answers first, then requests, money and the batch's end: once, however often it is repeated."""

    async def money(self, now: float) -> Money:
        """Booked today and this month (UTC), and reserved by batches that may be on the provider's side.

        What was booked later than now, under a clock that was ahead, counts: for as long as it takes to come, but if
        that is more than a day only for the day and month in which it is seen first.
        """

    async def reserved_tokens(self, model: str) -> int:
        """Input tokens of batches of a model that may be in the provider's queue."""

    async def token_limit(self, model: str, now: float) -> int | None:
        """The provider's queue limit as learned from its errors, as far as it is believed still (`core.job`)."""

    async def learn_token_limit(self, model: str, limit: int, now: float) -> None:
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
        """A sink has taken a part for good; `is_dead`: it lies among the dead letters for good, and is not offered."""

    async def deliveries(self, sink: str, start: int) -> list[Delivery]:
        """What a sink has taken of a window, by part number."""

    async def save_trouble(self, sink: str, trouble: SinkTrouble | None) -> None:
        """Why a sink takes nothing, for the operator; None for one that does again. `since` is kept from the first."""

    async def finish_pane(self, pane: tuple[int, int], now: float) -> None:
        """All decided, all parts with all sinks: the pane is done and its spool is freed."""

    async def window_report(self, start: int) -> WindowReport:
        """The books of a window, for its manifest."""

    async def latest_window(self) -> tuple[int, str, str] | None:
        """Start, task and model of the latest window whose first pane is closed or done."""

    async def window_kinds(self, start: int, *, windows: int, task: str, model: str) -> WindowKinds:
        """The kinds of a window with their answers under (task, model), and the counts of `windows` windows before."""

    async def account(self, start: int) -> Account | None:
        """What a model said of a window; None where it was not asked, has not answered, or said nothing usable."""

    async def untold_accounts(self, sink: str) -> list[int]:
        """Starts of windows, none of whose panes is open, that a sink has taken parts of but not the account."""

    async def account_told(self, sink: str, start: int) -> None:
        """A sink has taken the digest of a window with its account."""

    async def untold_batches(self, sink: str) -> dict[int, list[int]]:
        """By window, row ids of batches of it that ended after the sink had taken parts of the window.

        What they cost may not be in the manifest that it has.
        """

    async def batches_told(self, sink: str, start: int, batches: Sequence[int]) -> None:
        """A sink has taken a manifest of the window with these batches in it."""

    # -- labelled lines

    async def gold_day(self) -> GoldDay | None:
        """The latest day whose labelled lines were asked about, with the good answers; None where none ever was."""

    async def gold_score(self) -> Score | None:
        """The figures of the latest day that was scored."""

    async def save_gold_score(self, score: Score, now: float) -> None:
        """Keep a day's figures, the first that are given, and let go of the answers of days before."""

    # -- for the operator

    async def kinds_seen(self, task: str, model: str) -> list[KindSeen]:
        """Every signature that was ever read, with its answer under (task, model), newest first seen first."""

    async def summary(self, now: float) -> StoreSummary:
        """Counts for status and metrics."""

    async def bookings(self, *, by_day: bool) -> list[Booking]:
        """What was booked by task and model, on each UTC day or else for each window; both sum up to the same."""

    async def answered_events(self) -> list[Answered]:
        """How many events of each window were written with an answer."""

    async def lagging_files(self, limit: int) -> list[FileState]:
        """Up to `limit` files, those first that are furthest behind; files that are gone last."""
