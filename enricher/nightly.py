"""Nightly: the labelled lines of the task are planned once a day, and their answers are scored when all have come.

They go through submit and track as one batch like any other, under the same budget. What was asked and what was scored
is in the store: a restart on the same day asks nothing again. Never here: calling the provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from enricher.core import nightly
from enricher.core.ledger import BatchState, LedgerBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enricher.core.gold import Case
    from enricher.core.pricing import Prices
    from enricher.core.task import Task
    from enricher.ports import Clock, Store
    from enricher.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlySettings:
    """What nightly needs of the configuration."""

    at_seconds: int
    """How long after midnight UTC."""
    task: Task
    model: str
    endpoint: str
    reasoning_effort: str
    prices: Prices | None
    privacy: str
    signatures_per_request: int


class Nightly:
    """The stage that has the task judged."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        telemetry: Telemetry,
        settings: NightlySettings,
        cases: Sequence[Case],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._cases = cases
        self._new_id = new_id
        self._told = ""

    async def step(self) -> bool:
        """Score what has come and ask what is due; whether anything was committed."""
        latest = await self._store.gold_day()
        moved = latest is not None and await self._score(latest)
        day = nightly.due_day(self._clock.now(), self._settings.at_seconds)
        if day is None or (latest is not None and latest.day >= day):
            return moved
        await self._ask(day)
        return True

    async def _score(self, latest: nightly.GoldDay) -> bool:
        if latest.is_under_way or self._told == latest.day:
            return False
        self._told = latest.day
        score = await self._store.gold_score()
        # Nothing at all came where there was no money: that says nothing about the model.
        is_new = bool(latest.answers) and (score is None or score.day != latest.day)
        if is_new:
            score = nightly.score(self._cases, latest, task=self._settings.task.hash, model=self._settings.model)
            await self._store.save_gold_score(score, self._clock.now())
        if score is not None:
            self._telemetry.gold_scored(score=score)
        return is_new

    async def _ask(self, day: str) -> None:
        settings, now = self._settings, self._clock.now()
        requests = nightly.gold_requests(
            self._cases,
            day=day,
            task=settings.task,
            model=settings.model,
            endpoint=settings.endpoint,
            reasoning_effort=settings.reasoning_effort,
            prices=settings.prices,
            privacy=settings.privacy,
            signatures_per_request=settings.signatures_per_request,
        )
        start = nightly.day_start(day)
        batch = LedgerBatch(
            id=0,
            name=f"gold-{day}-p000-a1.jsonl",
            job=self._new_id(),
            window=start,
            part=await self._store.next_part(start),
            attempt=1,
            windows=0,
            task=settings.task.hash,
            model=settings.model,
            endpoint=settings.endpoint,
            state=BatchState.PLANNED,
            requests=len(requests),
            size_bytes=sum(len(request.body) for request in requests),
            tokens=sum(request.tokens for request in requests),
            reserved_usd=sum(request.reserved_usd for request in requests),
            planned_at=now,
        )
        await self._store.commit_plan(
            closed={},
            requests=requests,
            batches=[(batch, [request.id for request in requests])],
            task=settings.task.hash,
            model=settings.model,
            now=now,
        )
        self._telemetry.gold_asked(day=day, cases=len(self._cases), requests=len(requests))
