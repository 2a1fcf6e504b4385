"""How metrics are made, and what every part of the telemetry is built on.

A metric has the prefix `enricher_` and labels out of small closed sets. Whatever its label can be, its series is there
at 0 from the start: closed sets when the metric is made, sources and sinks as soon as they are known.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections import deque
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import structlog
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from prometheus_client import CollectorRegistry, Metric


LINES_IN_A_MINUTE: Final = 20
_MINUTE_SECONDS: Final = 60.0


class _Unnamed(Collector):
    """A metric that the registry does not check the name of.

    `enricher_batch_jobs` (a gauge) and `enricher_batch_jobs_total` (a counter) are one name to the registry, which
    thinks in OpenMetrics; in the text format that is served they are two.
    """

    def __init__(self, metric: Gauge) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return self._metric.collect()


class Sparing:
    """Lets so many lines of log about one thing through in a minute, and counts those in between.

    A program that truncates its log, or writes lines without end, does so a thousand times a minute: each is counted
    in a metric, and a thousand lines would hide all others.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lines: dict[tuple[str, str], deque[float]] = {}
        self._left_out: Counts[tuple[str, str]] = Counts()

    def take(self, event: str, about: str) -> int | None:
        """How many lines were left out before this one; None where this one is to be left out, too."""
        key, now = (event, about), self._monotonic()
        told = self._lines.setdefault(key, deque(maxlen=LINES_IN_A_MINUTE))
        if len(told) == LINES_IN_A_MINUTE and now < told[0] + _MINUTE_SECONDS:
            self._left_out[key] += 1
            return None
        told.append(now)
        return self._left_out.pop(key, 0)


class Maker:
    """Makes metrics on one registry; one label at most, whose closed set of values is given or told later."""

    def __init__(
        self,
        registry: CollectorRegistry,
        log: Any = None,  # noqa: ANN401 - structlog's loggers
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.log: Any = structlog.get_logger() if log is None else log
        self.sparing = Sparing(monotonic)
        self.registry = registry
        self._open: dict[str, list[Counter | Gauge | Histogram]] = {}

    def counter(self, name: str, text: str, label: str = "", values: Sequence[str] = ()) -> Counter:
        """Make a counter; its name ends in `_total`."""
        made = Counter(f"enricher_{name}", text, [label] if label else [], registry=self.registry)
        self._begin(made, label, values)
        return made

    def gauge(self, name: str, text: str, label: str = "", values: Sequence[str] = ()) -> Gauge:
        """Make a gauge."""
        made = Gauge(f"enricher_{name}", text, [label] if label else [], registry=self.registry)
        self._begin(made, label, values)
        return made

    def gauge_beside_its_counter(self, name: str, text: str, label: str, values: Sequence[str]) -> Gauge:
        """Make a gauge whose name with `_total` is a counter's."""
        made = Gauge(f"enricher_{name}", text, [label], registry=None)
        self._begin(made, label, values)
        self.registry.register(_Unnamed(made))
        return made

    def counter_by_two(self, name: str, text: str, labels: Mapping[str, Sequence[str]]) -> Counter:
        """Make a counter with two labels, in the order given, with the closed sets of their values."""
        made = Counter(f"enricher_{name}", text, [*labels], registry=self.registry)
        for values in product(*labels.values()):
            made.labels(*values)
        return made

    def histogram(self, name: str, text: str, label: str) -> Histogram:
        """Make a histogram."""
        made = Histogram(f"enricher_{name}", text, [label], registry=self.registry)
        self._begin(made, label, ())
        return made

    def _begin(self, made: Counter | Gauge | Histogram, label: str, values: Sequence[str]) -> None:
        for value in values:
            made.labels(value)
        if label and not values:
            self._open.setdefault(label, []).append(made)

    def begin(self, label: str, values: Collection[str]) -> None:
        """Make the series of these values exist, at 0, of every metric with this label."""
        for made in self._open.get(label, ()):
            for value in values:
                made.labels(value)


class Told:
    """What each part of the telemetry has: a log, and a place for its metrics to be made in `__init__`."""

    def __init__(self, maker: Maker) -> None:
        self._log: Any = maker.log
        self._sparing = maker.sparing

    def _tell_sparingly(self, note: Callable[..., None], event: str, source: str, **more: object) -> None:
        """Tell of what may happen to a source any number of times; `not_told` is how often it did without a line."""
        not_told = self._sparing.take(event, source)
        if not_told is not None:
            note(event, source=source, **more, **({"not_told": not_told} if not_told else {}))
