"""Plan: windows are closed; what nobody has an answer for is packed, priced and cut into batch files.

Finds open panes whose time has come, signatures of closed panes that have no answer and are in no live request, and
requests to be sent again; commits the closed panes with the requests and batches they need, in one transaction. Dear
things are decided here and nothing is sent: `enricher plan` shows the same without committing.

A kind whose answer serves and is only to be renewed goes in batches apart from those of kinds that have none, and in
smaller ones: where there is no money for all, the new come first.

Never here: calling the provider, looking at a line (the store gives examples, `core.examples` chooses, and where they
are put into a request their values get pseudonyms, unless the configuration says raw).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from enricher.core import batch as batch_lines
from enricher.core import digest, examples, job, pricing, window
from enricher.core.account import account_request
from enricher.core.answer import Question
from enricher.core.catalogue import Reuse
from enricher.core.ledger import BatchState, LedgerBatch, LedgerRequest, RequestState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from enricher.core.batch import Request
    from enricher.core.block import Pane
    from enricher.core.digest import WindowKinds
    from enricher.core.ledger import Kind
    from enricher.core.pricing import Prices
    from enricher.core.task import Task
    from enricher.ports import Clock, SourceProgress, Store
    from enricher.telemetry import Telemetry

_RENEWALS_PER_BATCH = 500
_UNSENT = (BatchState.PLANNED, BatchState.UPLOADING, BatchState.CREATING)
_NOT_DONE = (*_UNSENT, BatchState.OPEN, BatchState.CANCELLING)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """What plan needs of the configuration."""

    length_seconds: int
    allowed_lateness_seconds: float
    task: Task
    model: str
    endpoint: str
    reasoning_effort: str
    prices: Prices | None
    """None: nothing is charged (a provider on this host) or nothing is known."""
    privacy: Literal["templates", "redacted", "raw"]
    """What is sent of a line: nothing, its text with pseudonyms for values, or all of it."""
    signatures_per_request: int
    max_requests: int
    max_bytes: int
    max_tokens: int
    limit_kinds: int | None = None
    """Ask at most so many kinds in all (the demo); None: all."""
    gravest_first: bool = False
    reuse: Reuse = field(default_factory=Reuse)
    """When an answer that is there is asked for again."""
    digest: Task | None = None
    """How a window as a whole is asked about; None: it is not."""
    digest_within_seconds: float | None = None
    """Only windows that ended within so long are asked about; None: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What asking about some kinds takes; committed by `Plan`, only shown by `enricher plan`."""

    kinds: tuple[Kind, ...]
    requests: tuple[LedgerRequest, ...]
    files: tuple[tuple[LedgerRequest, ...], ...]
    """The requests, cut into batch files."""

    @property
    def estimated_usd(self) -> float:
        """Upper estimate of the money."""
        return sum(request.reserved_usd for request in self.requests)


class Plan:
    """The stage that closes windows and fixes what is asked."""

    def __init__(
        self,
        *,
        store: Store,
        progress: Callable[[float], Sequence[SourceProgress]],
        clock: Clock,
        telemetry: Telemetry,
        settings: PlanSettings,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._progress = progress
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._new_id = new_id
        self._overdue: dict[int, float] = {}
        self._out_of_reach: dict[int, float] = {}
        """By the start of a window: since when, by the monotonic clock, the wall clock has said that it is that."""
        self.asked_kinds = 0

    async def step(self) -> bool:
        """Close what is due and plan what is unanswered; whether anything was committed."""
        now = self._clock.now()
        to_resend = await self._current(await self._store.requests_again(), now)
        progress = self._progress(now)
        is_held = await self._store.reading_held_by() is not None
        closing = self._due(await self._store.open_panes(), progress, now, is_held=is_held)
        closed = {(pane.start, pane.number): how for pane, how in closing}
        panes = sorted({*closed, *await self._waiting()})
        kinds = await self._unanswered(panes, now) if panes else []
        again = [one for one in to_resend if job.is_due_again(one, now)]
        kinds = self._limited(kinds)
        if not closed and not kinds and not again:
            return False
        digests = await draft_digests(self._store, self._settings, self._told_of(closed, now))
        limit = await self._store.token_limit(self._settings.model, now)
        drafted = await draft(self._store, self._settings, kinds, panes, again, digests, limit=limit)
        batches = await self._batches(drafted, now)
        await self._store.commit_plan(
            closed=closed,
            requests=drafted.requests,
            batches=batches,
            task=self._settings.task.hash,
            model=self._settings.model,
            now=now,
        )
        self.asked_kinds += len(kinds)
        self._tell(closing, progress, drafted)
        return True

    async def _unanswered(self, panes: Sequence[tuple[int, int]], now: float) -> list[Kind]:
        settings = self._settings
        kinds = await self._store.kinds(panes, settings.task.hash, settings.model, now, reuse=settings.reuse)
        return askable(kinds, settings)

    def _told_of(self, closed: Iterable[tuple[int, int]], now: float) -> list[int]:
        """Windows, of those that close, that a digest is asked about."""
        within = self._settings.digest_within_seconds
        since = -math.inf if within is None else now - within - self._settings.length_seconds
        return [start for start, number in closed if number == 0 and start >= since]

    async def _waiting(self) -> list[tuple[int, int]]:
        """Closed panes that are asked about under the task and model of today.

        A pane keeps those it was closed with as long as the provider works on them; then it is asked about anew.
        """
        panes = await self._store.closed_panes()
        stale = [pane for pane in panes if not self._is_current(pane)]
        if stale:
            under_way = {(batch.task, batch.model) for batch in await self._store.batches(_NOT_DONE)}
            adopted = [pane for pane in stale if (pane.task, pane.model) not in under_way]
            if adopted:
                keys = [(pane.start, pane.number) for pane in adopted]
                await self._store.adopt_panes(keys, task=self._settings.task.hash, model=self._settings.model)
            stale = [pane for pane in stale if pane not in adopted]
        return [(pane.start, pane.number) for pane in panes if pane not in stale]

    async def _current(self, again: Sequence[LedgerRequest], now: float) -> list[LedgerRequest]:
        """Have what is not with the provider, and was made for another task, model or endpoint, planned anew.

        Returns what is to be sent again as it is.
        """
        unsent = await self._store.batches(_UNSENT)
        stale = [one.id for one in unsent if one.intent_at is None and not self._is_asked(one)]
        # A run that asks about no windows leaves what another has begun to ask about them.
        mine = [one for one in again if self._settings.digest is not None or not one.is_digest]
        elsewhere = [one.id for one in mine if not self._is_asked(one)]
        if stale or elsewhere:
            await self._store.take_back(stale, elsewhere, "the task, the model or the endpoint has changed", now)
        return [one for one in mine if self._is_asked(one)]

    def _is_asked(self, row: LedgerBatch | LedgerRequest) -> bool:
        return self._is_current(row) and row.endpoint == self._settings.endpoint

    def _is_current(self, row: Pane | LedgerBatch | LedgerRequest) -> bool:
        task: Task | None = self._settings.task
        if isinstance(row, LedgerRequest) and row.is_digest:
            task = self._settings.digest
        return task is not None and (row.task, row.model) == (task.hash, self._settings.model)

    def _limited(self, kinds: list[Kind]) -> list[Kind]:
        if self._settings.gravest_first:
            kinds = sorted(kinds, key=lambda kind: (-gravity(kind), -kind.events, kind.signature))
        if self._settings.limit_kinds is None:
            return kinds
        return kinds[: max(0, self._settings.limit_kinds - self.asked_kinds)]

    def _due(
        self, panes: Sequence[Pane], progress: Sequence[SourceProgress], now: float, *, is_held: bool
    ) -> list[tuple[Pane, str]]:
        length, mono = self._settings.length_seconds, self._clock.monotonic()
        exhausted = bool(progress) and all(one.exhausted for one in progress)
        read_through = _read_through(progress)
        starts = {pane.start for pane in panes}
        # Both clocks must be past the end: a wall clock that leaps and is put right closes nothing.
        self._overdue = {one: self._overdue.get(one, mono) for one in starts if now >= one + length}
        lost = {one for one in starts if window.is_out_of_reach(one, now)}
        self._out_of_reach = {one: self._out_of_reach.get(one, mono) for one in lost}
        due = []
        for pane in panes:
            if exhausted:
                due.append((pane, "complete"))
                continue
            verdict = window.close_verdict(
                window.WindowState(
                    start=pane.start, pane=pane.number, first_event_at=pane.first_event_at, events=pane.events
                ),
                window.Progress(
                    now=now,
                    past_end_seconds=mono - self._overdue.get(pane.start, mono),
                    read_through=read_through,
                    is_held=is_held,
                    out_of_reach_seconds=mono - self._out_of_reach.get(pane.start, mono),
                ),
                length_seconds=length,
                lateness_seconds=self._settings.allowed_lateness_seconds,
            )
            if verdict != "open":
                due.append((pane, verdict))
        return due

    async def _batches(self, drafted: Draft, now: float) -> list[tuple[LedgerBatch, list[str]]]:
        made = []
        parts: dict[int, int] = {}
        for requests in drafted.files:
            start = min(request.window for request in requests)
            if start not in parts:
                parts[start] = await self._store.next_part(start)
            part, attempt = parts[start], max(request.attempt for request in requests)
            parts[start] += 1
            name = batch_lines.file_name(window.window_id(start, self._settings.length_seconds), part, attempt)
            batch = LedgerBatch(
                id=0,
                name=name,
                job=self._new_id(),
                window=start,
                part=part,
                attempt=attempt,
                windows=len({request.window for request in requests}),
                task=self._settings.task.hash,
                model=self._settings.model,
                endpoint=self._settings.endpoint,
                state=BatchState.PLANNED,
                requests=len(requests),
                size_bytes=sum(len(request.body) for request in requests),
                tokens=sum(request.tokens for request in requests),
                reserved_usd=sum(request.reserved_usd for request in requests),
                digests=sum(request.is_digest for request in requests),
                planned_at=now,
            )
            made.append((batch, [request.id for request in requests]))
        return made

    def _tell(self, closing: Sequence[tuple[Pane, str]], progress: Sequence[SourceProgress], drafted: Draft) -> None:
        left_out = [path.decode("utf-8", "backslashreplace") for one in progress for path in one.left_out]
        for pane, how in closing:
            name = window.window_id(pane.start, self._settings.length_seconds)
            self._overdue.pop(pane.start, None)
            self._telemetry.window_closed(window=name, pane=pane.number, how=how, events=pane.events, left_out=left_out)
        if drafted.requests:
            self._telemetry.plan_committed(
                signatures=len(drafted.kinds),
                requests=len(drafted.requests),
                batches=len(drafted.files),
                estimated_usd=drafted.estimated_usd,
                reasons=Counter(kind.reason for kind in drafted.kinds),
                digests=sum(request.is_digest and request.attempt == 1 for request in drafted.requests),
            )


async def draft(
    store: Store,
    settings: PlanSettings,
    kinds: Sequence[Kind],
    panes: Sequence[tuple[int, int]],
    again: Sequence[LedgerRequest] = (),
    digests: Sequence[LedgerRequest] = (),
    *,
    limit: int | None = None,
) -> Draft:
    """Pack kinds into requests, price them, and cut them, with the others given, into batch files.

    `limit` is that of the provider's token queue, if it is known.
    """
    samples: Mapping[str, list[bytes]] = {}
    if settings.privacy != "templates" and kinds:
        samples = await store.samples({kind.signature: kind.shapes for kind in kinds}, panes, examples.CANDIDATES)
    is_raw = settings.privacy == "raw"
    fresh: dict[bool, list[LedgerRequest]] = {False: [], True: []}
    # A kind that sank a packed request is asked alone; the others share requests, but not with those to be renewed.
    for (renewed, alone), group in groupby(sorted(kinds, key=_packed_with), key=_packed_with):
        together = list(group)
        packed = batch_lines.pack(
            [_question(kind, samples.get(kind.signature, []), is_raw=is_raw) for kind in together],
            settings.task,
            model=settings.model,
            endpoint=settings.endpoint,
            reasoning_effort=settings.reasoning_effort,
            max_signatures=1 if alone else settings.signatures_per_request,
        )
        by_signature = {kind.signature: kind for kind in together}
        fresh[renewed] += [_ledger_request(settings, request, by_signature) for request in packed]
    first = [*(_resent(request) for request in again), *fresh[False], *digests]
    files = [
        *_cut(settings, first, settings.max_requests, limit),
        *_cut(settings, fresh[True], min(settings.max_requests, _RENEWALS_PER_BATCH), limit),
    ]
    return Draft(kinds=tuple(kinds), requests=(*first, *fresh[True]), files=tuple(files))


async def draft_digests(store: Store, settings: PlanSettings, starts: Sequence[int]) -> list[LedgerRequest]:
    """Requests about the windows, of these, in which something has changed that a model could explain."""
    requests: list[LedgerRequest] = []
    task = settings.digest
    for start in sorted(starts) if task is not None else ():
        kinds = await store.window_kinds(
            start, windows=digest.HISTORY_WINDOWS, task=settings.task.hash, model=settings.model
        )
        made = await asyncio.to_thread(_draft_digest, settings, start, kinds)
        requests += [made] if made is not None else []
    return requests


def _draft_digest(settings: PlanSettings, start: int, kinds: WindowKinds) -> LedgerRequest | None:
    """Runs in a worker thread: masking forty templates takes a while."""
    found = digest.compare(window.window_id(start, settings.length_seconds), kinds)
    if settings.digest is None or not found.is_worth_asking:
        return None
    return account_request(
        settings.digest,
        found,
        start=start,
        model=settings.model,
        endpoint=settings.endpoint,
        reasoning_effort=settings.reasoning_effort,
        prices=settings.prices,
    )


def askable(kinds: Sequence[Kind], settings: PlanSettings) -> list[Kind]:
    """The kinds that may be asked, as they may be: where templates alone leave, no value is told of.

    What a shape's own numbers say is a word of it, not a value.
    """
    if settings.privacy != "templates":
        return list(kinds)
    return [replace(kind, where="") if kind.where.startswith("<") else kind for kind in kinds if kind.reason != "split"]


def _packed_with(kind: Kind) -> tuple[bool, bool]:
    """Kinds of one value share requests: (an answer of it serves meanwhile, it is asked alone)."""
    return kind.reason not in ("new", "model_changed"), kind.alone


def _cut(
    settings: PlanSettings, requests: Sequence[LedgerRequest], max_requests: int, queue_limit: int | None
) -> list[tuple[LedgerRequest, ...]]:
    """Files that the provider's queue, as far as its limit is known, takes; what alone is over it goes alone."""
    most = settings.max_tokens if queue_limit is None else min(settings.max_tokens, queue_limit)
    groups = [[one for one in requests if one.tokens <= most], *([one] for one in requests if one.tokens > most)]
    files = [
        file
        for group in groups
        for file in batch_lines.cut(
            group,
            endpoint=settings.endpoint,
            max_requests=max_requests,
            max_bytes=settings.max_bytes,
            max_tokens=most if group is groups[0] else settings.max_tokens,
        )
    ]
    return [tuple(file) for file in files]


def gravity(kind: Kind) -> int:
    """How grave a kind looks before anyone was asked: by its level word, then by words that speak of failure."""
    level = kind.level.lower()
    if level[:4] in ("emer", "aler", "crit", "fata", "pani", "seve"):
        return 3
    if level[:3] == "err":
        return 2
    text = kind.template.lower()
    if level[:4] == "warn" or any(word in text for word in _GRAVE_WORDS):
        return 1
    return 0


_GRAVE_WORDS = (
    "fail", "error", "denied", "refused", "fatal", "panic", "corrupt", "timed out", "timeout", "unable", "cannot",
    "killed", "invalid", "segfault", "exception", "out of memory", "unauthor", "attack", "breach",
)  # fmt: skip


def _question(kind: Kind, lines: Sequence[bytes], *, is_raw: bool) -> Question:
    return Question(
        signature=kind.signature,
        template=kind.template,
        level=kind.level,
        program=kind.program,
        examples=tuple(line.decode("utf-8", "backslashreplace") for line in examples.choose(kind.template, lines)),
        is_raw=is_raw,
        where=kind.where,
    )


def _ledger_request(settings: PlanSettings, request: Request, kinds: Mapping[str, Kind]) -> LedgerRequest:
    mine = [kinds[signature] for signature in request.signatures]
    return LedgerRequest(
        id=request.id,
        task=settings.task.hash,
        model=settings.model,
        endpoint=settings.endpoint,
        signatures=request.signatures,
        templates=request.templates,
        body=request.body,
        tokens=request.tokens,
        reserved_usd=pricing.reserve(request.tokens, settings.task, len(mine), settings.prices),
        window=min(kind.window for kind in mine),
        state=RequestState.LIVE,
        attempt=1,
        tries=max(kind.tries for kind in mine),
    )


def _resent(request: LedgerRequest) -> LedgerRequest:
    """The same request once more: only its attempt, and so its custom_id, is new."""
    return replace(request, attempt=request.attempt + 1, state=RequestState.LIVE)


def _read_through(progress: Sequence[SourceProgress]) -> float:
    """The time through which every source was read; the beginning of time while one has not had a complete pass."""
    return min((-math.inf if one.read_through is None else one.read_through for one in progress), default=math.inf)
