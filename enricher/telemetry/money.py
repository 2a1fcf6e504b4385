"""What was paid, and what asking about every event would have cost more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.telemetry.making import Told

if TYPE_CHECKING:
    from enricher.telemetry.making import Maker


class MoneyTold(Told):
    """Money booked by batches, and avoided by events that were answered."""

    def __init__(self, maker: Maker) -> None:
        super().__init__(maker)
        self._cost = maker.counter("cost_usd_total", "Money booked")
        self._cost_avoided = maker.counter(
            "cost_avoided_usd_total", "What asking each enriched event on demand would have cost more, estimated"
        )
        self.event_usd = 0.0
        """What asking one event on demand costs, estimated; set once the provider is known."""
        self._avoided_usd = self._booked_usd = 0.0

    def price_unknown(self, *, model: str) -> None:
        """Nothing that is asked can be priced: no budget holds it."""
        self._log.warning("price_unknown", model=model, hint="set [prices], or no budget is held")

    def _book(self, usd: float) -> None:
        self._cost.inc(usd)
        self._booked_usd += usd

    def _avoid(self, events: int) -> None:
        self._avoided_usd += events * self.event_usd
        saved = self._avoided_usd - self._booked_usd
        if saved > 0:
            # A counter only grows: what was booked is taken off before it is counted.
            self._cost_avoided.inc(saved)
            self._avoided_usd = self._booked_usd = 0.0
