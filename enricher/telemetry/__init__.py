"""Every log event and every metric: one typed method per happening, and nowhere else.

A log event is a noun and a past verb; a metric has the prefix `enricher_`, base units, and labels out of small closed
sets, all of them at 0 from the start. No path, no id and no text of a log is ever a label. ERROR means that an operator
must act or that data was lost; nothing is logged per event, and what may happen to a source any number of times has a
few lines in a minute, which say how many there would have been. The happenings are kept by where they happen, a file
each.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from enricher.telemetry.batches import BatchesTold, PlanTold
from enricher.telemetry.books import BooksTold
from enricher.telemetry.logs import configure_logging, log_within_a_program
from enricher.telemetry.making import Maker
from enricher.telemetry.process import ProcessTold
from enricher.telemetry.reading import FilesTold, ReadingTold
from enricher.telemetry.writing import WritingTold

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["Telemetry", "configure_logging", "log_within_a_program"]


class Telemetry(ProcessTold, FilesTold, ReadingTold, PlanTold, BatchesTold, WritingTold, BooksTold):
    """What happened, told once: each method writes its log event and moves its metrics.

    The metrics are on a registry of their own, so that two of them never meet in one process. The log is structlog's,
    or the one that is given.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        log: Any = None,  # noqa: ANN401 - structlog's
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._maker = Maker(self.registry, log, monotonic)
        super().__init__(self._maker)

    def initialise(self, *, sources: Collection[str], sinks: Collection[str]) -> None:
        """Make every series exist at 0, so that a rate can be taken from the first scrape."""
        self._maker.begin("source", sources)
        self._maker.begin("sink", sinks)
