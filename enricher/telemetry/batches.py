"""What happens between a closed window and its answers: plans, calls to the provider, batches, money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from enricher.core.catalogue import REASONS
from enricher.core.nightly import day_start
from enricher.telemetry.making import Told
from enricher.telemetry.money import MoneyTold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.ledger import LedgerBatch
    from enricher.core.nightly import Score
    from enricher.telemetry.making import Maker

BATCH_OUTCOMES: Final = ("completed", "failed", "expired", "cancelled", "skipped")
REQUEST_OUTCOMES: Final = ("answered", "again", "split", "failed", "skipped")
API_OPERATIONS: Final = ("upload", "create", "retrieve", "list", "cancel", "download", "delete")
API_RESULTS: Final = ("ok", "transient", "unclear", "auth", "not_found", "permanent")
DIGEST_EVENTS: Final = ("answered", "again", "failed", "skipped")
GOLD_MEASURES: Final = ("answered", "severity", "category", "attention")
CLOSE_HOWS: Final = ("complete", "forced")


class PlanTold(Told):
    """Windows that close, and what is asked about them."""

    def __init__(self, maker: Maker) -> None:
        super().__init__(maker)
        self._closed = maker.counter("windows_closed_total", "Panes closed", "how", CLOSE_HOWS)
        self._asked = maker.counter("kinds_asked_total", "Kinds of event asked about, by why", "reason", REASONS)
        self._windows_asked = maker.counter("digests_asked_total", "Windows asked about as a whole")

    def window_closed(self, *, window: str, pane: int, how: str, events: int, left_out: Sequence[str]) -> None:
        """A pane is closed; nothing enters it any more."""
        self._closed.labels(how).inc()
        note = self._log.warning if how == "forced" or left_out else self._log.info
        note("window_closed", window=window, pane=pane, how=how, events=events, left_out=list(left_out))

    def plan_committed(
        self,
        *,
        signatures: int,
        requests: int,
        batches: int,
        estimated_usd: float,
        reasons: Mapping[str, int],
        digests: int = 0,
    ) -> None:
        """Requests and batches are in the ledger; `reasons` says why how many kinds are asked, `digests` of windows."""
        self._windows_asked.inc(digests)
        for reason, number in reasons.items():
            self._asked.labels(reason).inc(number)
        self._log.info(
            "plan_committed",
            signatures=signatures,
            requests=requests,
            batches=batches,
            estimated_usd=round(estimated_usd, 6),
            reasons=dict(reasons),
            digests=digests,
        )


class BatchesTold(MoneyTold):
    """Calls to the provider, and batches from upload to their end."""

    def __init__(self, maker: Maker) -> None:
        super().__init__(maker)
        self._ended = maker.counter("batch_jobs_total", "Batches done, by outcome", "outcome", BATCH_OUTCOMES)
        self._requests = maker.counter("requests_total", "Requests by what became of them", "outcome", REQUEST_OUTCOMES)
        self._mended = maker.counter("answers_mended_total", "Parts of answers that were mended")
        self._tokens = maker.counter("api_tokens_total", "Tokens billed", "direction", ("input", "cached", "output"))
        self._api_calls = maker.counter_by_two(
            "api_calls_total", "Calls to the provider", {"operation": API_OPERATIONS, "result": API_RESULTS}
        )
        self._digests = maker.counter(
            "digests_total", "Requests about windows, by what happened", "event", DIGEST_EVENTS
        )
        self._gold = maker.gauge(
            "gold_agreement_ratio", "Labelled lines answered as labelled", "measure", GOLD_MEASURES
        )
        self._gold_day = maker.gauge("gold_day_timestamp_seconds", "Day of the labelled lines scored last")
        self._over_budget = maker.counter("budget_refusals_total", "Batches held or skipped for the budget")

    def api_called(self, *, operation: str, result: str) -> None:
        """The provider was called."""
        self._api_calls.labels(operation, result).inc()

    def batch_uploaded(self, *, batch: LedgerBatch) -> None:
        """The input file is on the provider's side."""
        self._log.info("batch_uploaded", name=batch.name, input_file_id=batch.input_file_id, requests=batch.requests)

    def batch_created(self, *, batch: LedgerBatch, adopted: bool) -> None:
        """The batch exists; `adopted` when it was found in the provider's list after an unclear answer."""
        self._log.info("batch_created", name=batch.name, batch_id=batch.batch_id, adopted=adopted)

    def batch_surplus(self, *, batch: LedgerBatch) -> None:
        """Another batch asks the same: it is cancelled, and what it cost until then is booked."""
        self._log.warning("batch_surplus", name=batch.name, batch_id=batch.batch_id)

    def batch_waited(self, *, batch: LedgerBatch, reason: str, seconds: float, error: str = "", hint: str = "") -> None:
        """It must wait: budget, token_limit, transient, unclear, file; for an operator: auth, permanent, disk."""
        if reason == "budget":
            self._over_budget.inc()
        note = self._log.error if reason in {"auth", "permanent", "disk"} else self._log.warning
        note("batch_waited", name=batch.name, reason=reason, seconds=round(seconds, 1), error=error, hint=hint)

    def batch_ended(self, *, batch: LedgerBatch, outcomes: Mapping[str, int], mended: int) -> None:
        """A batch was collected and booked."""
        self._ended.labels(batch.outcome or "failed").inc()
        for outcome, number in outcomes.items():
            self._requests.labels(outcome).inc(number)
        self._mended.inc(mended)
        self._tokens.labels("input").inc(batch.input_tokens)
        self._tokens.labels("cached").inc(batch.cached_tokens)
        self._tokens.labels("output").inc(batch.output_tokens)
        self._book(batch.cost_usd)
        self._log.info(
            "batch_ended",
            name=batch.name,
            batch_id=batch.batch_id,
            outcome=batch.outcome,
            requests=dict(outcomes),
            cost_usd=round(batch.cost_usd, 6),
            error=batch.error or "",
        )

    def digest_ended(self, *, window: str, outcome: str, error: str) -> None:
        """A model was asked about a window: answered, failed, or to be asked again."""
        self._digests.labels(outcome).inc()
        self._log.info("digest_ended", window=window, outcome=outcome, error=error)

    def digests_skipped(self, *, batch: LedgerBatch, number: int) -> None:
        """A batch goes without its requests about windows, for the budget."""
        self._digests.labels("skipped").inc(number)
        self._log.warning("digests_skipped", name=batch.name, number=number, reason="budget")

    def gold_asked(self, *, day: str, cases: int, requests: int) -> None:
        """The labelled lines of the task are asked about."""
        self._log.info("gold_asked", day=day, cases=cases, requests=requests)

    def gold_scored(self, *, score: Score) -> None:
        """How well the answers agree with the labels; told again at a start."""
        for measure in GOLD_MEASURES:
            self._gold.labels(measure).set(getattr(score, measure))
        self._gold_day.set(day_start(score.day))
        self._log.info("gold_scored", **score.to_json())

    def batch_odd(self, *, batch: LedgerBatch, what: str, number: int) -> None:
        """An output file held what it should not: unknown or repeated custom_ids, malformed or missing lines."""
        self._log.warning("batch_odd", name=batch.name, what=what, number=number)
