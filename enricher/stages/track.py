"""Track: open batches are polled; terminal ones are collected, their answers validated, their money booked once.

`poll` asks where a batch stands; `collect` downloads the output and the error file, in every terminal state, and the
workload gives each request of the batch exactly one fate. The answers and the end of the batch are one commit:
collecting again after a crash finds the same files and books nothing twice.

Never here: sending anything that costs money.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from enricher.core import job
from enricher.core.collecting import Ending
from enricher.core.job import Step
from enricher.core.ledger import BatchState
from enricher.errors import (
    AuthProviderError,
    BatchFileError,
    NotFoundProviderError,
    PermanentProviderError,
    ProviderError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from enricher.core.collecting import Collected
    from enricher.core.ledger import LedgerBatch
    from enricher.ports import BatchClient, BatchFiles, Clock, ProviderBatch, Store, Workload
    from enricher.telemetry import Telemetry

_RESULTS = ("output", "error")
"""What the files that come back are called beside the one that went out."""

_MAX_HINTS = 1_000
"""Hints kept for batches that are not ours, or not known to be yet: a webhook may overtake the answer to a create."""

_HINTED_POLL_SECONDS = 60.0
"""When a batch is polled again at the latest that was said to have ended and had not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSettings:
    """What track needs of the configuration."""

    poll_interval_seconds: float


class Track:
    """The stage that follows batches to their end."""

    def __init__(
        self,
        *,
        store: Store,
        client: BatchClient,
        files: BatchFiles,
        clock: Clock,
        telemetry: Telemetry,
        settings: TrackSettings,
        workload: Workload,
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._client = client
        self._files = files
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._workload = workload
        self._jitter = jitter
        self._looks_again = False
        self._hints: dict[str, None] = {}
        """Ids of batches that were said to have ended, in the order in which that was said."""
        self._refusal: ProviderError | None = None
        """A batch ended for a reason that an operator must mend (an unknown model)."""
        self._held: dict[int, ProviderError | BatchFileError] = {}
        """By batch that is open: what an operator must mend before it goes on (a key, a proxy, a full disk)."""
        self.progress: dict[int, tuple[int, int]] = {}
        """Requests done and in all of each open batch, as last polled: for a progress bar."""

    @property
    def blocked(self) -> ProviderError | BatchFileError | None:
        """What an operator must mend, of any batch; None if all goes on."""
        return self._refusal or next(iter(self._held.values()), None)

    def look_again(self) -> None:
        """Poll every batch at the next step: the wall clock was set, and waits end at a time of it."""
        self._looks_again = True

    def look_at(self, batch_id: str) -> None:
        """Poll this batch at the next step, or as soon as it is open: somebody said that it has ended."""
        self._hints[batch_id] = None
        if len(self._hints) > _MAX_HINTS:
            del self._hints[next(iter(self._hints))]

    async def step(self) -> bool:
        """Poll what is due and collect what has ended; whether anything ended."""
        moved = False
        at_once, self._looks_again = self._looks_again, False
        batches = await self._store.batches((BatchState.OPEN, BatchState.CANCELLING), self._workload.purpose)
        for batch in filter(self._workload.takes, batches):
            hinted = batch.batch_id in self._hints
            if hinted or at_once or job.next_step(batch, self._clock.now()) is Step.POLL:
                self._hints.pop(batch.batch_id or "", None)
                moved |= await self._poll(job.within_reach(batch, self._clock.now()), hinted=hinted)
        return moved

    async def _poll(self, batch: LedgerBatch, *, hinted: bool) -> bool:
        assert batch.batch_id is not None
        collecting = False
        try:
            seen = await self._client.retrieve(batch.batch_id)
            self._held = {key: why for key, why in self._held.items() if not isinstance(why, AuthProviderError)}
            if not batch.is_surplus:
                self.progress[batch.id] = (seen.completed + seen.failed, max(seen.total, batch.requests))
            if batch.looks and not batch.is_surplus:
                await self._look_beside(batch)
            after = job.after_poll(batch, seen.status, self._clock.now())
            collecting = after is Step.COLLECT
            if not collecting:
                # What could not be fetched last time is no nearer for the batch being known.
                self._held.pop(batch.id, None)
            if after is Step.CANCEL:
                await self._cancel(batch, seen)
                return False
            if collecting:
                self.progress.pop(batch.id, None)
                return await self._end(batch, seen)
        except NotFoundProviderError as error:
            return await self._not_found(batch, error)
        except (ProviderError, BatchFileError) as error:
            await self._hold(batch, error, collecting=collecting)
            return False
        wait = self._settings.poll_interval_seconds
        due = self._clock.now() + (min(wait, _HINTED_POLL_SECONDS) if hinted else wait)
        await self._store.save_batch(replace(job.went_well(batch, seen.status), next_at=due))
        return False

    async def _look_beside(self, batch: LedgerBatch) -> None:
        """An earlier create, which was unclear, may be in the provider's list by now: late, after it was made again."""
        try:
            listed = await self._client.find_batch(job=batch.job, input_file_id=batch.input_file_id or "")
        except ProviderError:
            return  # some have no list; else the next poll looks again
        known = await self._store.known_batches([one.id for one in listed])
        beside = [job.surplus(batch, one.id) for one in listed if one.id not in known]
        if beside:
            await self._store.save_batch(batch, beside)
            for one in beside:
                self._telemetry.batch_surplus(batch=one)

    async def _cancel(self, batch: LedgerBatch, seen: ProviderBatch) -> None:
        """Ask to cancel: in the ledger first, so that one which is never let through is given up in time as well."""
        now = self._clock.now()
        due = now + self._settings.poll_interval_seconds
        batch = replace(job.cancelling(batch, now), status=seen.status, next_at=due, failures=0)
        await self._store.save_batch(batch)
        try:
            await self._client.cancel(seen.id)
        except ProviderError as error:
            await self._hold(batch, error, collecting=False)

    async def _end(self, batch: LedgerBatch, seen: ProviderBatch) -> bool:
        if seen.status == "failed" and not seen.output_file_id and not batch.is_surplus:
            codes = {code for code, _, _ in seen.errors}
            text = "; ".join(f"{code}: {message}" for code, message, _ in seen.errors[:3]) or "failed without a reason"
            if codes & job.TOKEN_LIMIT_CODES:
                return await self._queue_was_full(batch, seen, text)
            if refusal := _refusal(codes, text):
                return await self._refused(batch, refusal)
        return await self.collect(batch, seen)

    async def collect(self, batch: LedgerBatch, seen: ProviderBatch) -> bool:
        """Fetch both files of a batch that has ended, and have the workload decide each request and commit."""
        names = []
        for suffix, file_id in zip(_RESULTS, (seen.output_file_id, seen.error_file_id), strict=True):
            if file_id:
                name = f"{batch.name}.{suffix}"
                most = job.most_result_bytes(batch)
                await self._client.download(file_id, self._files.path(name), max_bytes=most)
                names.append(name)
        done = replace(
            batch,
            state=BatchState.DONE,
            status=seen.status,
            outcome=_outcome(seen.status),
            error="; ".join(message for _, message, _ in seen.errors[:3]) or None,
        )
        chunks = (chunk for name in names for chunk in (*self._files.read(name), b"\n"))
        ending = Ending(status=seen.status, errors=seen.errors)
        done, collected = await self._workload.collect(done, ending, chunks)
        self._tell(done, collected)
        self._refusal = _no_credit(collected.no_credit) if collected.no_credit else None
        self._forget(batch)
        await self._clean_up(batch, seen, names)
        return True

    def _tell(self, batch: LedgerBatch, collected: Collected) -> None:
        self._telemetry.batch_ended(batch=batch, outcomes=collected.outcomes, mended=collected.mended)
        for what, number in collected.odd:
            if number:
                self._telemetry.batch_odd(batch=batch, what=what, number=number)

    def _forget(self, batch: LedgerBatch) -> None:
        self._held.pop(batch.id, None)

    async def _queue_was_full(self, batch: LedgerBatch, seen: ProviderBatch, text: str) -> bool:
        """Nothing ran: the same file again later, or smaller ones where the queue is smaller than the file."""
        self._forget(batch)
        limit = job.token_limit_in(text)
        if limit is not None:
            await self._store.learn_token_limit(batch.model, limit, self._clock.now())
        if job.is_too_large(batch, limit):
            self._tell(*await self._workload.lose(replace(batch, state=BatchState.DONE, outcome="failed", error=text)))
            await self._clean_up(batch, seen, ())
            return True
        wait = job.backoff_seconds(
            batch.failures, first=2 * self._settings.poll_interval_seconds, jitter=self._jitter()
        )
        now, hint = self._clock.now(), job.QUEUE_HINT
        await self._store.save_batch(job.queue_was_full(batch, text, hint=hint, now=now, wait=wait))
        self._telemetry.batch_waited(batch=batch, reason="token_limit", seconds=wait, error=text, hint=hint)
        return False

    async def _refused(self, batch: LedgerBatch, refusal: ProviderError) -> bool:
        """Nothing ran and nothing was charged: the same file goes out again once the operator has mended it."""
        self._refusal = refusal
        self._forget(batch)
        wait, text = job.MAX_BACKOFF_SECONDS, str(refusal)
        now = self._clock.now()
        await self._store.save_batch(job.queue_was_full(batch, text, hint=refusal.hint, now=now, wait=wait))
        self._telemetry.batch_waited(batch=batch, reason="auth", seconds=wait, error=text, hint=refusal.hint)
        return False

    async def _not_found(self, batch: LedgerBatch, error: ProviderError) -> bool:
        if not job.is_lost(batch, self._clock.now()):
            await self._hold(batch, error, collecting=False)
            return False
        done = replace(batch, state=BatchState.DONE, outcome="failed", error=str(error))
        self._tell(*await self._workload.lose(done))
        self._forget(batch)
        await self._files.remove([batch.name, *(f"{batch.name}.{suffix}" for suffix in _RESULTS)])
        return True

    async def _hold(self, batch: LedgerBatch, error: ProviderError | BatchFileError, *, collecting: bool) -> None:
        """Look at the batch again later; `collecting`: it has ended, and its files could not be fetched."""
        if isinstance(error, AuthProviderError | PermanentProviderError | BatchFileError):
            self._held[batch.id] = error
        most = job.MAX_BACKOFF_SECONDS
        if collecting and isinstance(error, PermanentProviderError):
            most = job.MAX_COLLECT_BACKOFF_SECONDS
        first = min(self._settings.poll_interval_seconds, 30.0)
        asked = error.retry_after_seconds if isinstance(error, ProviderError) else None
        wait = asked or job.backoff_seconds(batch.failures, first=first, jitter=self._jitter(), most=most)
        now = self._clock.now()
        await self._store.save_batch(job.held_back(batch, str(error), hint=error.hint, now=now, wait=wait))
        self._telemetry.batch_waited(batch=batch, reason=error.reason, seconds=wait, error=str(error), hint=error.hint)

    async def _clean_up(self, batch: LedgerBatch, seen: ProviderBatch, names: Sequence[str]) -> None:
        """Files are copies by now. One that cannot be deleted expires at the provider; the call is counted."""
        await self._files.remove([batch.name, *names])
        # The input file of a surplus batch is that of the one beside it.
        input_file_id = None if batch.is_surplus else seen.input_file_id
        for file_id in (input_file_id, seen.output_file_id, seen.error_file_id):
            if file_id:
                try:
                    await self._client.delete_file(file_id)
                except ProviderError:
                    return


def _refusal(codes: Collection[str], text: str) -> ProviderError | None:
    """What an operator must mend, where a batch failed for that."""
    if job.CREDIT_CODES & set(codes):
        return _no_credit(text)
    if job.CONFIGURATION_CODES & set(codes):
        hint = "set [provider] model and endpoint to what the provider offers, then restart"
        return PermanentProviderError(text, hint=hint, code="model_not_found")
    return None


def _no_credit(text: str) -> ProviderError:
    return AuthProviderError(text, hint=job.CREDIT_HINT, code="insufficient_quota")


def _outcome(status: str) -> str:
    """The provider's word among the outcomes that are counted; a batch given up while cancelling is cancelled."""
    return {"completed": "completed", "failed": "failed", "expired": "expired"}.get(status, "cancelled")
