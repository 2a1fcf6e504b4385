"""A round: several tasks are asked at once, each about rows that are held in memory, and none waits for another.

A batch may take a day: all are sent before any is waited for. Invariant: nothing is sent before all of a round was read
and its price, of all together, was compared with the budget. Never here: what is asked, what an answer is worth.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from enricher.core.records.results import Cost
from enricher.errors import EnricherError, TryAgainError
from enricher.records.budget import check_budget
from enricher.records.held import HeldReplies, Reply
from enricher.records.progress import JobProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enricher.core.records.task import RecordTask
    from enricher.records.engine import Engine
    from enricher.records.held import HeldRows
    from enricher.records.job import Job, Prepared

_OUTPUT: Final = "(evaluation)"
"""What `records status` calls where the answers go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A task, and the rows that it is asked about."""

    task: RecordTask
    rows: HeldRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """What came back for each row, and what it took."""

    rows: Sequence[Reply]
    cost: Cost
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Under:
    """A question that is under way."""

    job: Job
    prepared: Prepared
    output: HeldReplies
    is_priced: bool


class Rounds:
    """Asks rounds of questions, one after the other, out of one budget."""

    def __init__(
        self,
        engine: Engine,
        *,
        stop: asyncio.Event,
        tell: Callable[[JobProgress], None],
        budget_usd: float | None,
        wait: bool,
    ) -> None:
        self._engine = engine
        self._stop = stop
        self._tell = tell
        self._left_usd = budget_usd
        self._wait = wait
        self._progress: dict[int, JobProgress] = {}

    async def ask(self, questions: Sequence[Question]) -> list[Replies]:
        """Have all answered, in their order; no two may have the same task and model.

        Raises BudgetError, InputError, UsageError before anything is sent; then the provider's errors, and
        TryAgainError once all that can be sent was.
        """
        self._progress = {}
        under = []
        for number, question in enumerate(questions):
            if self._stop.is_set():
                raise TryAgainError("interrupted", hint="run the same command again: it goes on where it stopped")
            under.append(await self._prepare(number, question))
        money = await self._engine.store.money(self._engine.clock.now())
        check_budget([one.prepared.estimate for one in under], money, self._engine.config.budget, self._left_usd)
        await self._answer(under)
        return [await self._replies(one) for one in under]

    async def _prepare(self, number: int, question: Question) -> _Under:
        output = HeldReplies(_OUTPUT, question.task.fields)
        settings = self._engine.settings(question.task, wait=self._wait)
        job = self._engine.job(question.task, question.rows, output, settings, partial(self._told, number))
        prepared = await job.prepare()
        return _Under(job=job, prepared=prepared, output=output, is_priced=settings.prices is not None)

    async def _items(self, run: int) -> set[int]:
        records = self._engine.store.records
        found: set[int] = set()
        for number in await records.chunk_numbers(run):
            found.update((await records.chunk_index(run, number)).items.tolist())
        return found

    async def _answer(self, under: Sequence[_Under]) -> None:
        unfinished: list[TryAgainError] = []

        async def ask(one: _Under) -> None:
            # That one has to wait keeps no other from being sent.
            try:
                await one.job.ask(one.prepared.run, self._stop)
            except TryAgainError as error:
                unfinished.append(error)

        try:
            async with asyncio.TaskGroup() as group:
                for one in under:
                    group.create_task(ask(one))
        except* EnricherError as errors:
            # Those that go at once fail for one reason: a key, a model, a disk.
            raise _first(errors) from None
        if unfinished:
            first = unfinished[0]
            told = f"{len(unfinished)} of {len(under)} are not done yet: " if len(under) > 1 else ""
            raise TryAgainError(f"{told}{first}", hint=first.hint)

    async def _replies(self, one: _Under) -> Replies:
        run = one.prepared.run
        # Rows are let go of with the run; what they cost is asked before.
        paid = await self._engine.store.records.paid(run, await self._items(run.id))
        report = await one.job.write(run)
        if self._left_usd is not None:
            self._left_usd = max(self._left_usd - report.cost_usd, 0.0)
        cost = Cost(
            usd=paid.usd if one.is_priced else None,
            input_tokens=paid.input_tokens,
            output_tokens=paid.output_tokens,
            asked=report.asked,
            cached=paid.answered_before,
        )
        return Replies(rows=one.output.replies, cost=cost, notes=report.notes)

    def _told(self, number: int, progress: JobProgress) -> None:
        """Tell how far all of them are together."""
        self._progress[number] = progress
        all_of_them = self._progress.values()
        self._tell(
            JobProgress(
                phase=progress.phase,
                rows=sum(one.rows for one in all_of_them),
                done=sum(one.done for one in all_of_them),
                failed=sum(one.failed for one in all_of_them),
                total=sum(one.total for one in all_of_them),
                cost_usd=sum(one.cost_usd for one in all_of_them),
                note=next((one.note for one in all_of_them if one.note), ""),
            )
        )


def _first(errors: BaseExceptionGroup[EnricherError]) -> EnricherError:
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError  # a group is never empty
