"""How often a stage that finds nothing to do looks again."""

from __future__ import annotations

import asyncio

from enricher import pacing
from enricher.pacing import Pacing


class Stage:
    """Counts its steps; each finds nothing once `work` is used up."""

    def __init__(self, work: int = 0) -> None:
        self.work = work
        self.steps = 0
        self.stepped = asyncio.Event()

    async def step(self) -> bool:
        self.steps += 1
        self.stepped.set()
        self.work -= 1
        return self.work >= 0

    async def next(self) -> None:
        async with asyncio.timeout(10):
            await self.stepped.wait()
        self.stepped.clear()


async def rested(paces: Pacing) -> None:
    async with asyncio.timeout(10):
        while not paces._resting:  # noqa: ASYNC110 - nobody tells that a stage rests
            await asyncio.sleep(0)


async def test_a_stage_steps_while_there_is_work_and_rests_until_something_changes(monkeypatch):
    monkeypatch.setattr(pacing, "_IDLE_TICKS", 1_000_000)
    paces, stage = Pacing(tick_seconds=0.001), Stage(work=3)
    async with asyncio.TaskGroup() as group:
        group.create_task(paces.repeat(stage.step))
        await rested(paces)
        assert stage.steps == 4
        stage.stepped.clear()
        paces.changed()
        await stage.next()
        await rested(paces)
        assert stage.steps == 5
        paces.end()
    assert stage.steps == 5


async def test_a_stage_that_polls_never_rests(monkeypatch):
    monkeypatch.setattr(pacing, "_IDLE_TICKS", 1_000_000)
    paces, stage = Pacing(tick_seconds=0.001), Stage()
    async with asyncio.TaskGroup() as group:
        group.create_task(paces.repeat(stage.step, polls=True))
        for _ in range(5):
            await stage.next()
        paces.end()
    assert stage.steps >= 5


async def test_time_alone_wakes_a_stage_after_some_ticks():
    paces, stage = Pacing(tick_seconds=0.001), Stage()
    async with asyncio.TaskGroup() as group:
        group.create_task(paces.repeat(stage.step))
        for _ in range(3):
            await stage.next()
        paces.end()
    assert stage.steps >= 3
