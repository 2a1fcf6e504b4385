"""What happens to events on their way out: parts, sinks, final statuses, dead letters."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from enricher.telemetry.money import MoneyTold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.telemetry.making import Maker

EVENT_STATUSES: Final = (
    "ok", "cached", "pending", "invalid", "refused", "error", "expired", "skipped_budget", "skipped_policy",
)  # fmt: skip
DEAD_LETTER_REASONS: Final = ("backlog", "corrupt")


class WritingTold(MoneyTold):
    """Events that leave."""

    def __init__(self, maker: Maker) -> None:
        super().__init__(maker)
        self._delivered = maker.counter("sink_delivered_events_total", "Events a sink has taken", "sink")
        self._filtered = maker.counter("sink_filtered_events_total", "Events left out by min_severity", "sink")
        self._failures = maker.counter("sink_failures_total", "Parts a sink did not take", "sink")
        self._seconds = maker.histogram("sink_delivery_duration_seconds", "Time to deliver a part", "sink")
        self._statuses = maker.counter("events_total", "Events written, by enrichment status", "status", EVENT_STATUSES)
        self._dead: Counter[str] = Counter()
        self._dead_letters = maker.counter(
            "dead_letter_events_total", "Events that could not be written", "reason", DEAD_LETTER_REASONS
        )

    def part_delivered(
        self, *, sink: str, window: str, part: int, events: int, size_bytes: int, filtered: int, seconds: float
    ) -> None:
        """A sink has a part for good."""
        self._delivered.labels(sink).inc(events)
        self._filtered.labels(sink).inc(filtered)
        self._seconds.labels(sink).observe(seconds)
        self._log.info("part_delivered", sink=sink, window=window, part=part, events=events, size_bytes=size_bytes)

    def sink_failed(self, *, sink: str, error: str, hint: str, retry_in_seconds: float) -> None:
        """A sink did not take a part; it will be offered again."""
        self._failures.labels(sink).inc()
        self._log.error("sink_failed", sink=sink, error=error, hint=hint, retry_in_seconds=round(retry_in_seconds, 1))

    def events_statused(self, *, statuses: Mapping[str, int]) -> None:
        """Events of a pane were given their final status."""
        for status, number in statuses.items():
            self._statuses.labels(status).inc(number)
        self._avoid(statuses.get("ok", 0) + statuses.get("cached", 0))

    def pane_finished(self, *, window: str, pane: int) -> None:
        """Every event of a pane is with every sink."""
        self._log.info("pane_finished", window=window, pane=pane)

    def manifest_written(self, *, window: str, final: bool) -> None:
        """A window's manifest lies beside its files."""
        self._log.debug("manifest_written", window=window, final=final)

    def dead_letters_counted(self, *, dead_letters: Mapping[str, int]) -> None:
        """How many events were ever put among the dead letters, by reason, as the store has it."""
        for reason, events in dead_letters.items():
            if more := events - self._dead[reason]:
                self._dead[reason] = events
                self._dead_letters.labels(reason).inc(more)
                self._log.error("events_dead_lettered", reason=reason, events=more, in_all=events)

    def part_dead_lettered(self, *, sink: str, window: str, part: int, events: int) -> None:
        """A sink refused too much for too long: a part is kept for the operator, and offered no more."""
        self._log.error("part_dead_lettered", sink=sink, window=window, part=part, events=events)
