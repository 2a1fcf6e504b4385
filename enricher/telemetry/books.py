"""What the store has counted itself: panes, batches, kinds, events that wait, and whether the books are even."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from enricher.core.ledger import Purpose
from enricher.telemetry.making import Told

if TYPE_CHECKING:
    from enricher.core.books import StoreSummary
    from enricher.telemetry.making import Maker

PANE_STATES: Final = ("open", "closed", "done")
BATCH_STATES: Final = ("planned", "uploading", "creating", "open", "cancelling")


class BooksTold(Told):
    """Gauges that are set from the store's own counts."""

    def __init__(self, maker: Maker) -> None:
        super().__init__(maker)
        self._windows = maker.gauge("windows", "Panes by state", "state", PANE_STATES)
        self._oldest_open = maker.gauge("window_oldest_open_start_timestamp_seconds", "Start of the oldest open window")
        self._batches = maker.gauge_beside_its_counter(
            "batch_jobs", "Batches not done, by state", "state", BATCH_STATES
        )
        self._oldest_batch = maker.gauge(
            "batch_oldest_open_timestamp_seconds", "When the oldest batch that is not done was planned"
        )
        self._batches_fail_since = maker.gauge(
            "batch_failing_since_timestamp_seconds", "Since when some batch comes no further; 0: all do"
        )
        self._signatures = maker.gauge("signatures", "Signatures known")
        self._pending = maker.gauge("sink_pending_events", "Events a sink has not got yet", "sink")
        self._sink_fails_since = maker.gauge(
            "sink_failing_since_timestamp_seconds", "Since when a sink takes nothing; 0: it does", "sink"
        )
        self._store_bytes = maker.gauge("store_size_bytes", "Size of the store")
        self._spool_bytes = maker.gauge("store_spool_bytes", "Bytes of the store that hold spooled events")
        self._free_bytes = maker.gauge("store_free_bytes", "Room left on the disk of the store")
        self._booked = maker.gauge(
            "booked_usd", "Money booked in the store since it was made, by any process", "purpose", get_args(Purpose)
        )
        self._booked_tokens = maker.gauge(
            "booked_tokens", "Tokens booked in the store since it was made", "direction", ("input", "cached", "output")
        )
        self._imbalance = maker.gauge("accounting_imbalance_events", "Events read minus those accounted for; always 0")

    def summarised(self, *, summary: StoreSummary) -> None:
        """Set the gauges from the store's own counts."""
        for state in PANE_STATES:
            self._windows.labels(state).set(summary.windows.get(state, 0))
        self._oldest_open.set(summary.oldest_open_window or 0)
        for state in BATCH_STATES:
            self._batches.labels(state).set(summary.batches.get(state, 0))
        waiting = (*summary.open_batches, *summary.waiting_batches)
        self._oldest_batch.set(min((batch.planned_at for batch in waiting), default=0.0))
        self._batches_fail_since.set(min((trouble.since for trouble in summary.batch_troubles), default=0.0))
        self._signatures.set(summary.signatures)
        for sink, pending in summary.pending_by_sink.items():
            self._pending.labels(sink).set(pending)
            trouble = summary.sink_troubles.get(sink)
            self._sink_fails_since.labels(sink).set(0.0 if trouble is None else trouble.since)
        self._store_bytes.set(summary.store_bytes)
        self._spool_bytes.set(summary.spool_bytes)
        self._free_bytes.set(summary.free_bytes)
        for purpose, usd in summary.booked_usd.items():
            self._booked.labels(purpose).set(usd)
        self._booked_tokens.labels("input").set(summary.input_tokens)
        self._booked_tokens.labels("cached").set(summary.cached_tokens)
        self._booked_tokens.labels("output").set(summary.output_tokens)
        left = summary.written_events + summary.pending_events + summary.dead_events
        self._imbalance.set(summary.read_events - left)

    def accounting_imbalanced(self, *, window: str, difference: int) -> None:
        """Lines read and lines accounted for differ: a defect."""
        self._imbalance.set(difference)
        self._log.error("accounting_imbalanced", window=window, difference=difference)
