"""Clock on the real one."""

from __future__ import annotations

import asyncio
import time


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
