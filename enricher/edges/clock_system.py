"""Clocks on the real one: as it is, and as it is once it has not been set for a while."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from enricher.ports import CLOCK_STEP_SECONDS

if TYPE_CHECKING:
    from enricher.ports import Clock

BELIEVED_AFTER_SECONDS: Final = 3600.0
"""How long a wall clock that was set must go on undisturbed before it is believed."""


class SystemClock:
    """The machine's own clock. Implements `ports.Clock`."""

    def now(self) -> float:
        """Wall time, epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that no clock step moves; suspended time counts."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SettledClock:
    """A clock whose wall time goes on as it did for an hour after it was set: for money and deadlines.

    Implements `ports.Clock`. A wall clock that leaps ten years and is put right would else open another day's budget,
    have every batch that is under way cancelled, and date what it books so that no day's budget ever comes after it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()
        self._other: tuple[float, float] | None = None
        """Where the wall clock was set to, and since when: its offset and a monotonic time."""

    def now(self) -> float:
        """Wall time, epoch seconds, as it was before it was set within the last hour."""
        mono = self._clock.monotonic()
        offset = self._clock.now() - mono
        if abs(offset - self._offset) <= CLOCK_STEP_SECONDS:
            self._offset, self._other = offset, None
        elif self._other is None or abs(offset - self._other[0]) > CLOCK_STEP_SECONDS:
            self._other = (offset, mono)
        elif mono - self._other[1] >= BELIEVED_AFTER_SECONDS:
            self._offset, self._other = offset, None
        return mono + self._offset

    def monotonic(self) -> float:
        """Seconds that no clock step moves."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._clock.sleep(seconds)
