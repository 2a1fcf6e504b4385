"""The clocks: wall and monotonic, and waiting."""

from __future__ import annotations

from typing import Final, Protocol

CLOCK_STEP_SECONDS: Final = 1.0
"""A wall clock that is this far from where the monotonic one would have it was set; less is adjusted all the time."""


class Clock(Protocol):
    """The only source of time for stages; tests move it by hand and never sleep."""

    def now(self) -> float:
        """Wall time, epoch seconds."""

    def monotonic(self) -> float:
        """Seconds that no clock step moves."""

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellation ends it at once."""
