"""A job: an input is read, asked about and written, on the ledger and the stages that events have.

    read ──► estimate, budget ──► plan ──► submit ──► track ──► write
                                    └──────────┴─────────┴── until nothing is open

Interrupted anywhere, the same command goes on: what was read is in the store, what was sent is in the ledger, what was
answered is kept by item. Invariant: nothing is sent before the whole input was read and its price was compared with
the budget. Never here: how a row is read, asked or written.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from enricher.core.ledger import BatchState
from enricher.core.records.item import Asking
from enricher.core.records.ledger import FINAL, Run
from enricher.errors import AuthProviderError, BatchFileError, InputError, TryAgainError, UsageError
from enricher.records.budget import check_budget, check_price
from enricher.records.planning import Estimate, Planner, PlanSettings
from enricher.records.probing import Probe
from enricher.records.progress import JobProgress, Report
from enricher.records.reading import check_columns, read_input
from enricher.records.workload import RecordBatches
from enricher.records.writing import Joined, write_output
from enricher.stages.submit import Submit, SubmitSettings
from enricher.stages.track import Track, TrackSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enricher.config import Config
    from enricher.core.ledger import LedgerBatch
    from enricher.core.pricing import Prices
    from enricher.core.records.task import RecordTask
    from enricher.ports import BatchClient, BatchFiles, Clock, RecordInput, RecordOutput, RecordStore, Store
    from enricher.telemetry import Telemetry

_UNDER_WAY: Final = (
    BatchState.PLANNED,
    BatchState.UPLOADING,
    BatchState.CREATING,
    BatchState.OPEN,
    BatchState.CANCELLING,
)
_WITH_PROVIDER: Final = (BatchState.OPEN, BatchState.CANCELLING)
_TICK_SECONDS: Final = 0.5
_MOST_VECTOR_BYTES: Final = 12 * 1024 * 1024
"""The answers to a batch are kept, and looked at, as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An input that was read, and what asking about it takes."""

    run: Run
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What a job needs of the configuration and the command line."""

    model: str
    endpoint: str
    reasoning_effort: str
    prices: Prices | None
    poll_interval_seconds: float
    budget_usd: float | None = None
    """At most so much for this job; None: what `[budget]` leaves."""
    wait: bool = True
    marks: Callable[[], Sequence[str]] = tuple
    """Says what lies where the output goes, () for nothing: a later run replaces it if it is still that."""


class Job:
    """One task over one input to one output."""

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        records: RecordStore,
        client: BatchClient,
        files: BatchFiles,
        clock: Clock,
        telemetry: Telemetry,
        task: RecordTask,
        given: RecordInput,
        output: RecordOutput,
        settings: JobSettings,
        tell: Callable[[JobProgress], None],
        turn: asyncio.Lock,
        sending: asyncio.Semaphore,
    ) -> None:
        """Jobs that go at once share `turn`, in which each takes what another could, and the places for `sending`."""
        self._config = config
        self._store = store
        self._records = records
        self._client = client
        self._clock = clock
        self._task = task
        self._given = given
        self._output = output
        self._settings = settings
        self._tell = tell
        self._files = files
        self._sending = sending
        self._asking = self._asks(task)
        reduce = task.long.combine.reduce if task.long else None
        self._reducing = None if reduce is None else self._asks(replace(task, system=reduce.system, long=None))
        self._planner = Planner(
            store=records,
            ledger=store,
            asking=self._asking,
            reducing=self._reducing,
            settings=plan_settings(config, settings.prices, task),
            new_id=_new_id,
            turn=turn,
        )
        self._build_stages(client, files, telemetry, turn)
        self._chunks: dict[int, list[int]] = {}
        """Of the run that this is about."""
        self._open_chunks: set[int] = set()
        self._statuses: Counter[str] = Counter()
        self._cost_usd = 0.0
        self._warnings: list[str] = []

    def _build_stages(self, client: BatchClient, files: BatchFiles, telemetry: Telemetry, turn: asyncio.Lock) -> None:
        config, poll = self._config, self._settings.poll_interval_seconds
        self._workload = RecordBatches(
            store=self._records,
            clock=self._clock,
            asking=self._asking,
            reducing=self._reducing,
            prices=self._settings.prices,
            ended=self._batch_ended,
        )
        jitter = random.SystemRandom().random
        self._submit = Submit(
            store=self._store,
            client=client,
            files=files,
            clock=self._clock,
            telemetry=telemetry,
            settings=SubmitSettings(
                daily_usd=config.budget.daily_usd,
                monthly_usd=config.budget.monthly_usd,
                hold_when_over=True,
                poll_interval_seconds=poll,
            ),
            workload=self._workload,
            jitter=jitter,
            turn=turn,
        )
        self._track = Track(
            store=self._store,
            client=client,
            files=files,
            clock=self._clock,
            telemetry=telemetry,
            settings=TrackSettings(poll_interval_seconds=poll),
            workload=self._workload,
            jitter=jitter,
        )

    def _asks(self, task: RecordTask) -> Asking:
        settings = self._settings
        return Asking(
            task, model=settings.model, endpoint=settings.endpoint, reasoning_effort=settings.reasoning_effort
        )

    @property
    def id(self) -> str:
        """By which the same order finds its runs again."""
        named = [self._task.hash, self._settings.model, self._given.name, self._output.name, self._given.key_column]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]

    @property
    def text_column(self) -> str | None:
        """A column of the input that is not written again."""
        return self._given.text_column

    async def run(self, stop: asyncio.Event) -> Report:
        """Do all of it. Raises BudgetError, InputError, OutputError, TryAgainError, the provider's errors."""
        run = await self._prepare_within_budget(stop)
        await self.ask(run, stop)
        return await self.write(run, stop)

    async def _prepare_within_budget(self, stop: asyncio.Event | None = None) -> Run:
        check_price(self._settings.model, self._settings.prices, self._settings.budget_usd)
        prepared = await self.prepare(stop)
        money = await self._store.money(self._clock.now())
        check_budget([prepared.estimate], money, self._config.budget, self._settings.budget_usd)
        return prepared.run

    # -- in several processes: one sends, others look how far it is, and one writes

    async def send(self) -> Run:
        """Read the input and hand over what is asked, without waiting for answers.

        Raises as `run`; TryAgainError where nothing could be handed over.
        """
        run = await self._prepare_within_budget()
        await self._probe(run)
        if not await self.go_on(run):
            batches = await self._under_way()
            if not any(one.state in _WITH_PROVIDER for one in batches):
                why = next((one.error for one in batches if one.error), "the provider does not take them")
                raise TryAgainError(f"nothing could be sent yet: {why}", hint="submit it again: it goes on from here")
        return run

    async def take_up(self, run_id: int) -> Run:
        """The run that another process has read. Raises UsageError where this is no longer the one that counts."""
        run = await self._records.latest_run(self.id)
        if run is None:
            raise UsageError("nothing of this was submitted from this state directory")
        if run.id != run_id or run.state not in ("asking", "done"):
            raise UsageError("it was submitted again since", hint="take the handle that the last submit returned")
        self._track.look_again()
        await self._give_up_elsewhere()
        self._chunks = {run.id: await self._records.chunk_numbers(run.id)}
        return run

    async def is_answered(self, run: Run) -> bool:
        """Do what can be done at once; whether everything is answered, or given up. Raises the provider's errors.

        What a killed process did not come to ask again is looked for only when nothing is under way: it takes a look at
        every item.
        """
        if not await self.go_on(run):
            return False
        self._open_chunks = set(self._chunks[run.id])
        return await self.go_on(run)

    async def collect(self, run: Run) -> Report:
        """Write the rows with their answers. Raises TryAgainError where some are still asked, else as `write`."""
        if not await self.is_answered(run):
            raise _still_asked(await self._under_way(), hint="collect it later")
        return await self.write(run)

    # -- reading

    async def prepare(self, stop: asyncio.Event | None = None) -> Prepared:
        """Read the input and say what asking takes; nothing is sent. Raises InputError, UsageError, TryAgainError."""
        await self._give_up_elsewhere()
        await asyncio.to_thread(check_columns, self._task, self._given)
        run = await self._read(stop)
        chunks = await self._records.chunk_numbers(run.id)
        self._chunks = {run.id: chunks}
        self._open_chunks = set(chunks)
        return Prepared(run=run, estimate=await self._planner.estimate(run, chunks))

    async def _read(self, stop: asyncio.Event | None) -> Run:
        """Read the input, unless the run that is under way has read the same."""
        fingerprint = await asyncio.to_thread(self._given.fingerprint)
        before = await self._records.latest_run(self.id)
        if before is not None and before.state == "asking" and fingerprint and before.fingerprint == fingerprint:
            return before
        now = self._clock.now()
        run = Run(
            id=0,
            job=self.id,
            task=self._task.hash,
            model=self._settings.model,
            endpoint=self._settings.endpoint,
            input=self._given.name,
            output=self._output.name,
            fingerprint=fingerprint,
            began_at=now,
        )
        run = replace(run, id=await self._records.begin_run(run))
        await self._records.name_task(self._task.hash, self._task.name, self._task.version, now)
        try:
            run = await read_input(
                self._records,
                run,
                self._given,
                self._asking,
                lambda rows: self._tell(JobProgress(phase="reading", rows=rows)),
                stop,
            )
        except (InputError, TryAgainError):
            # What was read of it is of no use to anybody.
            await self._records.leave_runs(self.id)
            raise
        await self._records.save_run(run)
        self._warnings += _change(before, run)
        return run

    # -- asking

    async def _probe(self, run: Run) -> None:
        probe = Probe(
            store=self._store,
            records=self._records,
            client=self._client,
            clock=self._clock,
            asking=self._asking,
            prices=self._settings.prices,
            warn=self._warnings.append,
            planner=self._planner,
        )
        probed = await probe.probe(run)
        if probed is not None:
            self._statuses[probed.status] += 1
            self._cost_usd += probed.cost_usd

    def _batch_ended(self, batch: LedgerBatch, run: int | None, statuses: Counter[str], open_chunks: set[int]) -> None:
        if run in self._chunks:
            self._open_chunks |= open_chunks
        elif open_chunks or statuses.keys() - {"ok"}:
            # Chunks are numbered anew in each run: what another one has asked may stand in any of this one's.
            self._open_chunks |= {number for numbers in self._chunks.values() for number in numbers}
        self._statuses += statuses
        self._cost_usd += batch.cost_usd

    async def ask(self, run: Run, stop: asyncio.Event) -> None:
        """Have everything answered that is open. Raises TryAgainError, the provider's errors."""
        if not stop.is_set():
            await self._probe(run)
        while not stop.is_set():
            moved = await self._step(run)
            batches = await self._under_way()
            if not batches and not self._open_chunks:
                return
            self._tell(self._asked(run, batches))
            if not moved and not self._open_chunks:
                self._raise_if_stuck(batches)
                if not self._settings.wait:
                    raise _still_asked(batches, hint="run the same command again later: it goes on from here")
                await _wait(stop, min(_TICK_SECONDS, self._settings.poll_interval_seconds))
        raise TryAgainError("interrupted", hint="run the same command again: it goes on where it stopped")

    async def go_on(self, run: Run) -> bool:
        """Do what can be done at once; whether nothing is under way any more. Raises the provider's errors."""
        while True:
            moved = await self._step(run)
            batches = await self._under_way()
            if not batches and not self._open_chunks:
                return True
            if not moved and not self._open_chunks:
                self._tell(self._asked(run, batches))
                self._raise_if_blocked(batches)
                return False

    async def _give_up_elsewhere(self) -> None:
        """Have what no batch was made of yet, for an endpoint that is not asked any more, planned for this one."""
        for batch in await self._under_way():
            is_unsent = batch.state not in _WITH_PROVIDER and batch.intent_at is None
            if is_unsent and batch.endpoint != self._asking.endpoint:
                await self._workload.lose(
                    replace(batch, state=BatchState.DONE, outcome="failed", error="another endpoint is asked")
                )
                await self._files.remove([batch.name])

    async def _step(self, run: Run) -> bool:
        """Plan what is open, and move each batch on by one step; whether anything moved."""
        moved = False
        if self._open_chunks:
            chunks, self._open_chunks = self._open_chunks, set()
            moved = bool(await self._planner.plan(run, chunks, self._clock.now()))
        async with self._sending:
            moved |= await self._submit.step()
        return await self._track.step() or moved

    async def _under_way(self) -> list[LedgerBatch]:
        return [one for one in await self._store.batches(_UNDER_WAY, "records") if self._workload.takes(one)]

    def _asked(self, run: Run, batches: list[LedgerBatch]) -> JobProgress:
        under_way = sum(one.requests for one in batches)
        polled = sum(done for done, _ in self._track.progress.values())
        ended = sum(count for status, count in self._statuses.items() if status in FINAL)
        return JobProgress(
            phase="asking",
            rows=run.rows,
            done=self._statuses["ok"] + polled,
            failed=ended - self._statuses["ok"],
            total=ended + under_way,
            cost_usd=self._cost_usd,
            note=next((one.error for one in batches if one.error), ""),
        )

    def _raise_if_blocked(self, batches: list[LedgerBatch]) -> None:
        is_open = any(one.state in _WITH_PROVIDER for one in batches)
        blocked = self._submit.blocked or self._track.blocked
        # A refused key blocks what is open as well, as does a disk; anything else lets open batches come to their end.
        if blocked is not None and (isinstance(blocked, AuthProviderError | BatchFileError) or not is_open):
            raise blocked

    def _raise_if_stuck(self, batches: list[LedgerBatch]) -> None:
        self._raise_if_blocked(batches)
        unsent = [one for one in batches if one.state is BatchState.PLANNED]
        if unsent and len(unsent) == len(batches) and all(one.error == "over budget" for one in unsent):
            raise TryAgainError(
                f"[budget] leaves nothing for the other {sum(one.requests for one in unsent):,} requests",
                hint="run the same command again tomorrow, or raise the budget: it goes on from here",
            )

    # -- writing

    async def write(self, run: Run, stop: asyncio.Event | None = None) -> Report:
        """Write the rows with their answers. Raises OutputError, TryAgainError."""
        self._tell(JobProgress(phase="writing", rows=run.rows, cost_usd=self._cost_usd))
        joined = Joined(self._task, run.columns, key_column=run.key_column, text_column=self._given.text_column)
        sealed, ended = partial(self._sealed, run), partial(self._end, run)
        written = await write_output(self._records, run, self._output, joined, self._reducing, sealed, ended, stop)
        asked, cost_usd = await self._records.spent(run.id)
        return Report(
            task=self._task.name,
            model=self._settings.model,
            input=self._given.name,
            output=self._output.name,
            rows=run.rows,
            statuses=dict(written.statuses),
            reasons=written.reasons,
            asked=asked,
            cost_usd=cost_usd,
            notes=(*self._warnings, *self._notes()),
        )

    def _notes(self) -> list[str]:
        notes = []
        if self._given.skipped:
            files = ", ".join(f"{count:,} {what}" for what, count in sorted(self._given.skipped.items()))
            notes.append(f"files passed over: {files}")
        if self._settings.prices is None:
            notes.append(f"no price of {self._settings.model} is known: no budget was held; set [prices]")
        return notes

    async def _sealed(self, run: Run, mark: str) -> None:
        """The output is about to get its name: killed just then, this run knows it for its own, or what was there."""
        await self._records.save_run(replace(run, mark=" ".join((*self._settings.marks(), mark))))

    async def _end(self, run: Run) -> None:
        """The output has its name; what it looks like is kept, so that a later run may replace it."""
        mark = " ".join(self._settings.marks())
        await self._records.end_run(replace(run, state="done", ended_at=self._clock.now(), mark=mark))


def plan_settings(config: Config, prices: Prices | None, task: RecordTask) -> PlanSettings:
    """Limits of batch files, from the configuration; of vectors, as many as are held in memory when they come."""
    batch = config.batch
    most = _MOST_VECTOR_BYTES // task.vector_bytes if task.vector_bytes else batch.max_requests
    return PlanSettings(
        max_requests=max(1, min(batch.max_requests, most)),
        max_bytes=batch.max_bytes,
        max_tokens=batch.max_tokens,
        prices=prices,
    )


def _new_id() -> str:
    return uuid.uuid4().hex


def _change(before: Run | None, run: Run) -> list[str]:
    """What is to be told of an input that is not as it was when an unfinished run read it."""
    if before is None or before.state != "asking" or not run.fingerprint or before.fingerprint == run.fingerprint:
        return []
    text = f"{run.input} has changed since it was read: it has {run.rows:,} rows, and had {before.rows:,}"
    return [text + "; it was read again, and rows that are as they were keep their answers"]


def _still_asked(batches: list[LedgerBatch], *, hint: str) -> TryAgainError:
    sent = sum(one.requests for one in batches if one.state in _WITH_PROVIDER)
    requests = "1 request is" if sent == 1 else f"{sent:,} requests are"
    plural = "" if len(batches) == 1 else "es"
    return TryAgainError(f"{requests} with the provider, in {len(batches)} batch{plural}", hint=hint)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
