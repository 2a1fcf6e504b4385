"""The clocks: wall and monotonic, and waiting."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The only source of time for stages; tests move it by hand and never sleep."""

    def now(self) -> float:
        """Wall time, epoch seconds."""

    def monotonic(self) -> float:
        """Seconds that no clock step moves."""

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellation ends it at once."""
