"""What happens to the process: start, reload, stop, and what stands in its way."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from enricher import __version__
from enricher.telemetry.making import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.telemetry.making import Maker


WEBHOOK_RESULTS: Final = ("accepted", "duplicate", "refused", "ignored")

_REFUSALS_APART_SECONDS: Final = 60.0
"""Anybody may send what is refused: all of it is counted, and this seldom one of them logged."""

_REFUSAL_HINTS: Final = {
    "untimely": "is the clock of this host right?",
    "forged": "is OPENAI_WEBHOOK_SECRET, or the credential openai-webhook-secret, that of this endpoint?",
}


class ProcessTold(Told):
    """The process."""

    def __init__(self, maker: Maker) -> None:
        super().__init__(maker)
        build = Gauge("enricher_build_info", "Version that runs", ["version", "python"], registry=maker.registry)
        build.labels(__version__, platform.python_version()).set(1)
        self._ready = maker.gauge("ready", "1 while the daemon is ready")
        self._clock_steps = maker.counter(
            "clock_steps_total", "Times the wall clock left the monotonic clock by over 2 s"
        )
        self._reload_refused = maker.gauge(
            "reload_refused", "1 while the last reload was refused and an older configuration is in use"
        )
        self._loop_lag = maker.gauge(
            "event_loop_lag_seconds", "Longest the event loop was blocked in the last interval"
        )
        self._webhooks = maker.counter(
            "webhooks_total", "Webhooks received, by what was made of them", "result", WEBHOOK_RESULTS
        )
        self._refusal_told_at = 0.0

    def daemon_started(self, *, version: str, state_dir: str, provider: str, model: str, admin: str) -> None:
        """The daemon is up; READY=1 follows."""
        self._log.info(
            "daemon_started", version=version, state_dir=state_dir, provider=provider, model=model, admin=admin
        )

    def admin_exposed(self, *, text: str, hint: str) -> None:
        """More can be read at the admin address, or on the way to it, than may be meant."""
        self._log.warning("admin_exposed", text=text, hint=hint)

    def webhook_received(self, *, result: str, batch_id: str = "", reason: str = "", at: float = 0.0) -> None:
        """A webhook came: accepted (for this batch), duplicate, ignored, or refused (for this reason, at this time)."""
        self._webhooks.labels(result).inc()
        if result == "accepted":
            self._log.info("webhook_accepted", batch_id=batch_id)
        elif result == "refused" and abs(at - self._refusal_told_at) >= _REFUSALS_APART_SECONDS:
            self._refusal_told_at = at
            self._log.warning("webhook_refused", reason=reason, hint=_REFUSAL_HINTS.get(reason, ""))

    def readiness_changed(self, *, ready: bool) -> None:
        """What /readyz says now, looked at whenever the numbers are refreshed."""
        self._ready.set(ready)

    def daemon_stopped(self, *, reason: str) -> None:
        """The daemon has drained."""
        self._ready.set(0)
        self._log.info("daemon_stopped", reason=reason)

    def reload_refused(self, *, faults: Sequence[str]) -> None:
        """A reload found a faulty configuration; the old one stays."""
        self._reload_refused.set(1)
        self._log.error(
            "reload_refused",
            faults=list(faults),
            hint="the running configuration stays in use; mend the file and reload, or the next start will fail",
        )

    def reload_finished(self) -> None:
        """A reload took effect."""
        self._reload_refused.set(0)
        self._log.info("reload_finished")

    def demo_model_used(self, *, model: str) -> None:
        """Answers come from the small embedded model."""
        self._log.warning(
            "demo_model_used", model=model, hint="good enough to see the program work, not to page on; set a provider"
        )

    def clock_stepped(self, *, seconds: float) -> None:
        """The wall clock jumped against the monotonic clock."""
        self._clock_steps.inc()
        self._log.warning(
            "clock_stepped", seconds=round(seconds, 3), hint="is the time of this host kept by one program, and right?"
        )

    def loop_lagged(self, *, seconds: float) -> None:
        """The event loop was late by this much at worst since the last call."""
        self._loop_lag.set(seconds)

    def store_made(self, *, state_dir: str, beside: Sequence[str]) -> None:
        """There was no store; `beside` names what lies there of one that was, in which case it is lost."""
        if not beside:
            self._log.info("store_made", state_dir=state_dir)
            return
        self._log.error(
            "store_made",
            state_dir=state_dir,
            beside=list(beside),
            hint="the store that was here is gone: put it back, or all files are read and asked about again",
        )

    def store_failed(self, *, error: str, hint: str) -> None:
        """The store could not be written; the process ends."""
        self._ready.set(0)
        self._log.error("store_failed", error=error, hint=hint)
