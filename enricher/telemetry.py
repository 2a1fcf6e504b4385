"""Every log event and every metric: one typed method per happening, and nowhere else.

A log event is a noun and a past verb; a metric has the prefix `enricher_`, base units, and labels out of small closed
sets, all of them at 0 from the start. No path, no id and no text of a log is ever a label. ERROR means that an operator
must act or that data was lost; nothing is logged per event.
"""

from __future__ import annotations

import logging
import platform
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

from enricher import __version__
from enricher.core.catalogue import REASONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import TextIO

    from prometheus_client import Metric

    from enricher.core.books import StoreSummary
    from enricher.core.ledger import LedgerBatch
    from enricher.ports import SkippedFile, SourceProgress

SKIP_REASONS: Final = (
    "unreadable", "binary", "directory", "not_regular", "vanished", "own_output", "compressed_unknown",
)  # fmt: skip
TIME_ORIGINS: Final = ("own", "previous", "fallback", "future")
PANE_STATES: Final = ("open", "closed", "done")
BATCH_STATES: Final = ("planned", "uploading", "creating", "open", "cancelling")
BATCH_OUTCOMES: Final = ("completed", "failed", "expired", "cancelled", "skipped")
REQUEST_OUTCOMES: Final = ("answered", "again", "split", "failed", "skipped")
EVENT_STATUSES: Final = (
    "ok", "cached", "pending", "invalid", "refused", "error", "expired", "skipped_budget", "skipped_policy",
)  # fmt: skip
DEAD_LETTER_REASONS: Final = ("corrupt",)
API_OPERATIONS: Final = ("upload", "create", "retrieve", "list", "cancel", "download", "delete")
API_RESULTS: Final = ("ok", "transient", "unclear", "auth", "not_found", "permanent")
CLOSE_HOWS: Final = ("complete", "forced")
DISCARDS: Final = ("blank", "dropped")


def configure_logging(*, stream: TextIO = sys.stderr, console: bool | None = None, level: int = logging.INFO) -> None:
    """Set structlog up: console lines on a terminal, JSON anywhere else."""
    console = stream.isatty() if console is None else console
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _escape_controls,
    ]
    if console:
        processors.append(structlog.dev.ConsoleRenderer(colors=stream.isatty()))
    else:
        processors.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _escape_controls(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401 - structlog's own signature
    """File names and provider texts are hostile: nothing in them may move a terminal's cursor."""
    return {
        key: value if not isinstance(value, str) or value.isprintable() else ascii(value)[1:-1]
        for key, value in event.items()
    }


class _Unnamed(Collector):
    """A metric that the registry does not check the name of.

    `enricher_batch_jobs` (a gauge) and `enricher_batch_jobs_total` (a counter) are one name to the registry, which
    thinks in OpenMetrics; in the text format that is served they are two.
    """

    def __init__(self, metric: Gauge) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return self._metric.collect()


class Metrics:
    """The metrics, on a registry of their own so that two of them never meet in one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        build = Gauge("enricher_build_info", "Version that runs", ["version", "python"], registry=registry)
        build.labels(__version__, platform.python_version()).set(1)
        self.ready = self._gauge("ready", "1 while the daemon is ready")
        self._reading()
        self._windows_and_signatures()
        self._batch_mode()
        self._writing()
        # the store and the process
        self.imbalance = self._gauge("accounting_imbalance_events", "Events read minus those accounted for; always 0")
        self.store_bytes = self._gauge("store_size_bytes", "Size of the store")
        self.spool_bytes = self._gauge("store_spool_bytes", "Bytes of the store that hold spooled events")
        self.loop_lag = self._gauge("event_loop_lag_seconds", "Longest the event loop was blocked in the last interval")

    def _counter(self, name: str, text: str, label: str = "", values: Sequence[str] = ()) -> Counter:
        made = Counter(f"enricher_{name}", text, [label] if label else [], registry=self._registry)
        for value in values:
            made.labels(value)
        return made

    def _gauge(self, name: str, text: str, label: str = "", values: Sequence[str] = ()) -> Gauge:
        made = Gauge(f"enricher_{name}", text, [label] if label else [], registry=self._registry)
        for value in values:
            made.labels(value)
        return made

    def _reading(self) -> None:
        self.read_events = self._counter("source_read_events_total", "Events read and made durable", "source")
        self.read_lines = self._counter("source_read_lines_total", "Lines read, blank and dropped ones too", "source")
        self.read_bytes = self._counter("source_read_bytes_total", "Bytes read and made durable", "source")
        self.lost_bytes = self._counter(
            "source_lost_bytes_total", "Bytes cut off over-long lines or lost in holes", "source"
        )
        self.discarded = self._counter("source_discarded_lines_total", "Lines that are no events", "reason", DISCARDS)
        self.skipped_files = self._counter(
            "source_skipped_files_total", "Files found and not read", "reason", SKIP_REASONS
        )
        self.rotations = self._counter("source_rotations_total", "Files met again under another name", "source")
        self.truncations = self._counter("source_truncations_total", "Files truncated or rewritten", "source")
        self.files = self._gauge("source_files", "Files of a source that are followed", "source")
        self.degraded_files = self._gauge(
            "source_degraded_files", "Files of a source that cannot be read now", "source"
        )
        self.unread_bytes = self._gauge("source_unread_bytes", "Bytes not read yet", "source")
        self.lag = self._gauge("source_lag_seconds", "Age of the oldest unread byte", "source")
        self.time_origins = self._counter(
            "source_event_time_lines_total", "Lines by where their time came from", "from", TIME_ORIGINS
        )

    def _windows_and_signatures(self) -> None:
        self.windows = self._gauge("windows", "Panes by state", "state", PANE_STATES)
        self.oldest_open = self._gauge("window_oldest_open_start_timestamp_seconds", "Start of the oldest open window")
        self.windows_closed = self._counter("windows_closed_total", "Panes closed", "how", CLOSE_HOWS)
        self.late_events = self._counter("late_events_total", "Events that opened or joined a late pane")
        self.clock_steps = self._counter(
            "clock_steps_total", "Times the wall clock left the monotonic clock by over 2 s"
        )
        self.signatures = self._gauge("signatures", "Signatures known")
        self.signature_hits = self._counter("signature_hits_total", "Events of a shape met before")
        self.breaker_open = self._gauge("breaker_open", "1 while nothing is paid for a source", "source")
        self.breaker_trips = self._counter("breaker_trips_total", "Times the breaker of a source opened", "source")
        self.coarse_lines = self._counter("breaker_coarse_lines_total", "Lines with a coarse signature", "source")
        self.kinds_asked = self._counter("kinds_asked_total", "Kinds of event asked about, by why", "reason", REASONS)
        self.signature_misses = self._counter("signature_misses_total", "Shapes met for the first time")

    def _batch_mode(self) -> None:
        self.batch_jobs = Gauge("enricher_batch_jobs", "Batches not done, by state", ["state"], registry=None)
        for state in BATCH_STATES:
            self.batch_jobs.labels(state)
        self._registry.register(_Unnamed(self.batch_jobs))
        self.batch_jobs_total = self._counter("batch_jobs_total", "Batches done, by outcome", "outcome", BATCH_OUTCOMES)
        self.oldest_batch = self._gauge("batch_oldest_open_timestamp_seconds", "Creation time of the oldest open batch")
        self.requests = self._counter("requests_total", "Requests by what became of them", "outcome", REQUEST_OUTCOMES)
        self.mended = self._counter("answers_mended_total", "Parts of answers that were mended")
        self.tokens = self._counter("api_tokens_total", "Tokens billed", "direction", ("input", "cached", "output"))
        self.api_calls = Counter(
            "enricher_api_calls_total", "Calls to the provider", ["operation", "result"], registry=self._registry
        )
        for operation in API_OPERATIONS:
            for result in API_RESULTS:
                self.api_calls.labels(operation, result)
        self.cost = self._counter("cost_usd_total", "Money booked")
        self.cost_avoided = self._counter(
            "cost_avoided_usd_total", "What asking each enriched event on demand would have cost more, estimated"
        )
        self.over_budget = self._counter("budget_refusals_total", "Batches held or skipped for the budget")

    def _writing(self) -> None:
        self.delivered = self._counter("sink_delivered_events_total", "Events a sink has taken", "sink")
        self.filtered = self._counter("sink_filtered_events_total", "Events left out by min_severity", "sink")
        self.pending = self._gauge("sink_pending_events", "Events a sink has not got yet", "sink")
        self.sink_failures = self._counter("sink_failures_total", "Parts a sink did not take", "sink")
        self.sink_seconds = Histogram(
            "enricher_sink_delivery_duration_seconds", "Time to deliver a part", ["sink"], registry=self._registry
        )
        self.event_statuses = self._counter(
            "events_total", "Events written, by enrichment status", "status", EVENT_STATUSES
        )
        self.dead_letters = self._counter(
            "dead_letter_events_total", "Events that could not be written", "reason", DEAD_LETTER_REASONS
        )


class Telemetry:
    """What happened, told once: each method writes its log event and moves its metrics."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self._log = structlog.get_logger()
        self.event_usd = 0.0
        """What asking one event on demand costs, estimated; set once the provider is known."""
        self._avoided_usd = self._booked_usd = 0.0

    def initialise(self, *, sources: Collection[str], sinks: Collection[str]) -> None:
        """Make every series exist at 0, so that a rate can be taken from the first scrape."""
        m = self.metrics
        for source in sources:
            for metric in (m.read_events, m.read_lines, m.read_bytes, m.lost_bytes, m.rotations, m.truncations):
                metric.labels(source)
            for counter in (m.breaker_trips, m.coarse_lines):
                counter.labels(source)
            for by_source in (m.files, m.degraded_files, m.unread_bytes, m.lag, m.breaker_open):
                by_source.labels(source)
        for sink in sinks:
            for counted in (m.delivered, m.filtered, m.sink_failures):
                counted.labels(sink)
            m.pending.labels(sink)
            m.sink_seconds.labels(sink)

    # -- the process

    def daemon_started(self, *, version: str, state_dir: str, provider: str, model: str, admin: str) -> None:
        """The daemon is up; READY=1 follows."""
        self.metrics.ready.set(1)
        self._log.info(
            "daemon_started", version=version, state_dir=state_dir, provider=provider, model=model, admin=admin
        )

    def daemon_stopped(self, *, reason: str) -> None:
        """The daemon has drained."""
        self.metrics.ready.set(0)
        self._log.info("daemon_stopped", reason=reason)

    def reload_refused(self, *, faults: Sequence[str]) -> None:
        """A reload found a faulty configuration; the old one stays."""
        self._log.error("reload_refused", faults=list(faults), hint="the running configuration stays in use")

    def reload_finished(self) -> None:
        """A reload took effect."""
        self._log.info("reload_finished")

    def demo_model_used(self, *, model: str) -> None:
        """Answers come from the small embedded model."""
        self._log.warning(
            "demo_model_used", model=model, hint="good enough to see the program work, not to page on; set a provider"
        )

    def clock_stepped(self, *, seconds: float) -> None:
        """The wall clock jumped against the monotonic clock."""
        self.metrics.clock_steps.inc()
        self._log.warning("clock_stepped", seconds=round(seconds, 3))

    def loop_lagged(self, *, seconds: float) -> None:
        """The event loop was late by this much at worst since the last call."""
        self.metrics.loop_lag.set(seconds)

    def store_failed(self, *, error: str, hint: str) -> None:
        """The store could not be written; the process ends."""
        self.metrics.ready.set(0)
        self._log.error("store_failed", error=error, hint=hint)

    # -- reading

    def block_committed(
        self,
        *,
        source: str,
        lines: int,
        events: int,
        size_bytes: int,
        blank: int,
        dropped: int,
        lost_bytes: int,
        origins: Mapping[str, int],
        late_events: int,
        new_shapes: int,
    ) -> None:
        """A block of a source is durable."""
        m = self.metrics
        m.read_lines.labels(source).inc(lines)
        m.read_events.labels(source).inc(events)
        m.read_bytes.labels(source).inc(size_bytes)
        m.lost_bytes.labels(source).inc(lost_bytes)
        m.discarded.labels("blank").inc(blank)
        m.discarded.labels("dropped").inc(dropped)
        m.late_events.inc(late_events)
        m.signature_misses.inc(new_shapes)
        m.signature_hits.inc(max(0, events - new_shapes))
        for origin, number in origins.items():
            m.time_origins.labels(origin).inc(number)

    def breaker_known(self, *, source: str, is_open: bool) -> None:
        """Where the breaker of a source stands at the start."""
        self.metrics.breaker_open.labels(source).set(is_open)

    def breaker_opened(self, *, source: str, skipped: int) -> None:
        """A source makes too many lines kinds of their own: nothing is paid for it until it is calm again."""
        self.metrics.breaker_open.labels(source).set(1)
        self.metrics.breaker_trips.labels(source).inc()
        self._log.error(
            "breaker_opened",
            source=source,
            skipped_signatures=skipped,
            hint="its new kinds go out coarse and as skipped_policy; see what it writes, or drop it",
        )

    def breaker_closed(self, *, source: str) -> None:
        """A source is calm again; its new kinds are asked about."""
        self.metrics.breaker_open.labels(source).set(0)
        self._log.info("breaker_closed", source=source)

    def lines_coarsened(self, *, source: str, lines: int) -> None:
        """Lines of a source whose breaker is open got a coarse signature."""
        self.metrics.coarse_lines.labels(source).inc(lines)

    def file_found(self, *, source: str, path: str) -> None:
        """A file is followed from now on."""
        self._log.info("file_found", source=source, path=path)

    def file_skipped(self, *, source: str, skipped: SkippedFile) -> None:
        """A file is not read; told once per file and reason."""
        self.metrics.skipped_files.labels(skipped.reason).inc()
        self._log.warning(
            "file_skipped",
            source=source,
            path=skipped.path.decode("utf-8", "backslashreplace"),
            reason=skipped.reason,
            detail=skipped.detail,
            hint=skipped.hint,
        )

    def file_rotated(self, *, source: str, path: str, new_path: str) -> None:
        """A known file was met under another name."""
        self.metrics.rotations.labels(source).inc()
        self._log.info("file_rotated", source=source, path=path, new_path=new_path)

    def file_truncated(self, *, source: str, path: str, old_position: int, new_size: int) -> None:
        """A file was truncated or rewritten; it is read from its start as a new generation."""
        self.metrics.truncations.labels(source).inc()
        self._log.warning(
            "file_truncated", source=source, path=path, old_position=old_position, new_size_bytes=new_size
        )

    def line_cut(self, *, source: str, path: str, lost_bytes: int) -> None:
        """A line was longer than the limit; its rest is lost and counted."""
        self._log.warning("line_cut", source=source, path=path, lost_bytes=lost_bytes)

    def source_progressed(self, *, source: str, progress: SourceProgress, now: float) -> None:
        """Where a source stands."""
        m = self.metrics
        m.files.labels(source).set(progress.files)
        m.degraded_files.labels(source).set(progress.degraded)
        m.unread_bytes.labels(source).set(progress.unread_bytes)
        oldest = progress.oldest_unread_at
        m.lag.labels(source).set(0 if oldest is None else max(0.0, now - oldest))

    # -- windows and plans

    def window_closed(self, *, window: str, pane: int, how: str, events: int, left_out: Sequence[str]) -> None:
        """A pane is closed; nothing enters it any more."""
        self.metrics.windows_closed.labels(how).inc()
        note = self._log.warning if how == "forced" or left_out else self._log.info
        note("window_closed", window=window, pane=pane, how=how, events=events, left_out=list(left_out))

    def plan_committed(
        self, *, signatures: int, requests: int, batches: int, estimated_usd: float, reasons: Mapping[str, int]
    ) -> None:
        """Requests and batches are in the ledger; `reasons` says why how many kinds are asked."""
        for reason, number in reasons.items():
            self.metrics.kinds_asked.labels(reason).inc(number)
        self._log.info(
            "plan_committed",
            signatures=signatures,
            requests=requests,
            batches=batches,
            estimated_usd=round(estimated_usd, 6),
            reasons=dict(reasons),
        )

    # -- batch mode

    def api_called(self, *, operation: str, result: str) -> None:
        """The provider was called."""
        self.metrics.api_calls.labels(operation, result).inc()

    def batch_uploaded(self, *, batch: LedgerBatch) -> None:
        """The input file is on the provider's side."""
        self._log.info("batch_uploaded", name=batch.name, input_file_id=batch.input_file_id, requests=batch.requests)

    def batch_created(self, *, batch: LedgerBatch, adopted: bool) -> None:
        """The batch exists; `adopted` when it was found in the provider's list after an unclear answer."""
        self._log.info("batch_created", name=batch.name, batch_id=batch.batch_id, adopted=adopted)

    def batch_waited(self, *, batch: LedgerBatch, reason: str, seconds: float, error: str = "", hint: str = "") -> None:
        """The batch must wait: budget, token_limit, transient, auth, unclear, cancelling."""
        if reason == "budget":
            self.metrics.over_budget.inc()
        note = self._log.error if reason == "auth" else self._log.warning
        note("batch_waited", name=batch.name, reason=reason, seconds=round(seconds, 1), error=error, hint=hint)

    def batch_ended(self, *, batch: LedgerBatch, outcomes: Mapping[str, int], mended: int) -> None:
        """A batch was collected and booked."""
        m = self.metrics
        m.batch_jobs_total.labels(batch.outcome or "failed").inc()
        for outcome, number in outcomes.items():
            m.requests.labels(outcome).inc(number)
        m.mended.inc(mended)
        m.tokens.labels("input").inc(batch.input_tokens)
        m.tokens.labels("cached").inc(batch.cached_tokens)
        m.tokens.labels("output").inc(batch.output_tokens)
        m.cost.inc(batch.cost_usd)
        self._booked_usd += batch.cost_usd
        self._log.info(
            "batch_ended",
            name=batch.name,
            batch_id=batch.batch_id,
            outcome=batch.outcome,
            requests=dict(outcomes),
            cost_usd=round(batch.cost_usd, 6),
            error=batch.error or "",
        )

    def batch_odd(self, *, batch: LedgerBatch, what: str, number: int) -> None:
        """An output file held what it should not: unknown or repeated custom_ids, malformed or missing lines."""
        self._log.warning("batch_odd", name=batch.name, what=what, number=number)

    # -- writing

    def part_delivered(
        self, *, sink: str, window: str, part: int, events: int, size_bytes: int, filtered: int, seconds: float
    ) -> None:
        """A sink has a part for good."""
        m = self.metrics
        m.delivered.labels(sink).inc(events)
        m.filtered.labels(sink).inc(filtered)
        m.sink_seconds.labels(sink).observe(seconds)
        self._log.info("part_delivered", sink=sink, window=window, part=part, events=events, size_bytes=size_bytes)

    def sink_failed(self, *, sink: str, error: str, hint: str, retry_in_seconds: float) -> None:
        """A sink did not take a part; it will be offered again."""
        self.metrics.sink_failures.labels(sink).inc()
        self._log.error("sink_failed", sink=sink, error=error, hint=hint, retry_in_seconds=round(retry_in_seconds, 1))

    def events_statused(self, *, statuses: Mapping[str, int]) -> None:
        """Events of a pane were given their final status."""
        for status, number in statuses.items():
            self.metrics.event_statuses.labels(status).inc(number)
        self._avoided_usd += (statuses.get("ok", 0) + statuses.get("cached", 0)) * self.event_usd
        saved = self._avoided_usd - self._booked_usd
        if saved > 0:
            # A counter only grows: what was booked is taken off before it is counted.
            self.metrics.cost_avoided.inc(saved)
            self._avoided_usd = self._booked_usd = 0.0

    def pane_finished(self, *, window: str, pane: int) -> None:
        """Every event of a pane is with every sink."""
        self._log.info("pane_finished", window=window, pane=pane)

    def manifest_written(self, *, window: str, final: bool) -> None:
        """A window's manifest lies beside its files."""
        self._log.debug("manifest_written", window=window, final=final)

    def events_dead_lettered(self, *, window: str, reason: str, events: int) -> None:
        """Events could not be written and were kept under the state directory."""
        self.metrics.dead_letters.labels(reason).inc(events)
        self._log.error("events_dead_lettered", window=window, reason=reason, events=events)

    def accounting_imbalanced(self, *, window: str, difference: int) -> None:
        """Lines read and lines accounted for differ: a defect."""
        self.metrics.imbalance.set(difference)
        self._log.error("accounting_imbalanced", window=window, difference=difference)

    # -- counts that the store keeps

    def summarised(self, *, summary: StoreSummary) -> None:
        """Set the gauges from the store's own counts."""
        m = self.metrics
        for state in PANE_STATES:
            m.windows.labels(state).set(summary.windows.get(state, 0))
        m.oldest_open.set(summary.oldest_open_window or 0)
        for state in BATCH_STATES:
            m.batch_jobs.labels(state).set(summary.batches.get(state, 0))
        m.oldest_batch.set(min((batch.created_at or 0.0 for batch in summary.open_batches), default=0.0))
        m.signatures.set(summary.signatures)
        for sink, pending in summary.pending_by_sink.items():
            m.pending.labels(sink).set(pending)
        m.store_bytes.set(summary.store_bytes)
        m.spool_bytes.set(summary.spool_bytes)
        m.imbalance.set(summary.read_events - summary.written_events - summary.pending_events - summary.dead_events)
