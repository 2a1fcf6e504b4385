"""How the stages of the daemon take turns with doing nothing.

A stage that found work steps again at once. One that found none looks again after a tick; as long as nothing was
written to the store, which is where all its work comes from, only after some ticks, for what time alone makes due.

Invariant: a change wakes every stage that rests. Must never: know what a stage does.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TICK_SECONDS: Final = 0.5
"""How often a stage that found nothing looks again."""
_IDLE_TICKS: Final = 4


class Pacing:
    """Runs steps over and over until `end`."""

    def __init__(self, *, tick_seconds: float) -> None:
        self._tick_seconds = tick_seconds
        self._resting: set[asyncio.Future[None]] = set()
        self._changes = 0
        self._has_ended = False
        self._ending = asyncio.Event()

    def changed(self) -> None:
        """Something was written to the store: there may be work for anybody."""
        self._changes += 1
        for one in self._resting:
            _awake(one)

    def end(self) -> None:
        """Let every loop end after the step that it is in."""
        self._has_ended = True
        self._ending.set()
        self.changed()

    async def repeat(self, step: Callable[[], Awaitable[bool]], *, polls: bool = False) -> None:
        """Step until the end; without pause while there is work. One that `polls` looks for work at every tick."""
        while not self._has_ended:
            before = self._changes
            if await step():
                continue
            await self._tick()
            if before == self._changes and not polls:
                await self._rest((_IDLE_TICKS - 1) * self._tick_seconds)

    async def _tick(self) -> None:
        try:
            async with asyncio.timeout(self._tick_seconds):
                await self._ending.wait()
        except TimeoutError:
            return

    async def _rest(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        rested: asyncio.Future[None] = loop.create_future()
        over = loop.call_later(seconds, _awake, rested)
        self._resting.add(rested)
        try:
            await rested
        finally:
            over.cancel()
            self._resting.discard(rested)


def _awake(resting: asyncio.Future[None]) -> None:
    if not resting.done():
        resting.set_result(None)


async def wait(stop: asyncio.Event, seconds: float) -> None:
    """Do nothing for so long, or until `stop`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
