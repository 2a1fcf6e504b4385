"""Submit: planned batch -> input file -> upload -> create -> open.

Finds batches that are planned, uploading or creating; does one step of each; commits it. The intent is in the ledger
before anything is sent, so that a crash between the provider's yes and our commit leaves a batch that is looked for,
never one that is created blindly again. Money and the provider's token queue are reserved by being in those states.

Never here: what a request says (`core.answer`), when a batch ends (`track`).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from enricher.core import job, pricing
from enricher.core.job import Step
from enricher.core.ledger import BatchState, RequestState
from enricher.core.pricing import BudgetVerdict
from enricher.errors import (
    NOT_THE_API,
    AuthProviderError,
    BatchFileError,
    NotFoundProviderError,
    PermanentProviderError,
    ProviderError,
    TransientProviderError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enricher.core.ledger import LedgerBatch, Money
    from enricher.ports import BatchClient, BatchFiles, Clock, ProviderBatch, Store, Workload
    from enricher.telemetry import Telemetry

_WORKING = (BatchState.PLANNED, BatchState.UPLOADING, BatchState.CREATING)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSettings:
    """What submit needs of the configuration."""

    daily_usd: float
    monthly_usd: float
    hold_when_over: bool
    poll_interval_seconds: float


class Submit:
    """The stage that hands batches to the provider."""

    def __init__(
        self,
        *,
        store: Store,
        client: BatchClient,
        files: BatchFiles,
        clock: Clock,
        telemetry: Telemetry,
        settings: SubmitSettings,
        workload: Workload,
        jitter: Callable[[], float],
        turn: asyncio.Lock | None = None,
    ) -> None:
        """Those that go at once on one store share `turn`: money and room in the queue are looked for, then taken."""
        self._store = store
        self._client = client
        self._files = files
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._workload = workload
        self._jitter = jitter
        self._turn = turn or asyncio.Lock()
        self._begun = False
        self.blocked: ProviderError | BatchFileError | None = None
        """Why nothing can be submitted until an operator acts: a refused key, an unknown model, a full disk."""

    def look_again(self) -> None:
        """Try what waits at the next step: the wall clock was set, and waits end at a time of it."""
        self._begun = False

    async def step(self) -> bool:
        """Move each batch on by one step; whether anything moved."""
        moved = False
        for batch in await self._own_batches():
            # A restart is what an operator does who has mended something: what waits is tried at once.
            moved |= await self._step(batch, at_once=not self._begun)
        self._begun = True
        return moved

    async def _own_batches(self) -> list[LedgerBatch]:
        batches = await self._store.batches(_WORKING, self._workload.purpose)
        return [batch for batch in batches if self._workload.takes(batch)]

    async def _step(self, batch: LedgerBatch, *, at_once: bool) -> bool:
        todo = job.next_step(batch, self._clock.now(), at_once=at_once)
        try:
            match todo:
                case Step.WAIT:
                    return False
                case Step.RESERVE:
                    async with self._turn:
                        moved = await self._reserve(batch)
                case Step.FIND_UPLOAD:
                    moved = await self._find_upload(batch)
                case Step.UPLOAD:
                    moved = await self._upload(batch)
                case Step.FIND_BATCH:
                    moved = await self._find_batch(batch)
                case Step.CREATE:
                    moved = await self._create(batch)
                case Step.POLL | Step.CANCEL | Step.COLLECT:
                    raise AssertionError(todo)  # next_step gives these for states that are not ours
                case _:
                    assert_never(todo)
        except ProviderError as error:
            await self._failed(batch, todo, error)
            return False
        except BatchFileError as error:
            await self._hold_for_disk(batch, error)
            return False
        if self.blocked is not None and todo is not Step.RESERVE:
            self.blocked = None
        return moved

    async def _reserve(self, batch: LedgerBatch) -> bool:
        now = self._clock.now()
        money = await self._store.money(now)
        verdict = pricing.budget_verdict(
            booked_today_usd=money.today_usd,
            booked_month_usd=money.month_usd,
            reserved_usd=money.reserved_usd,
            next_usd=batch.reserved_usd,
            daily_usd=self._settings.daily_usd,
            monthly_usd=self._settings.monthly_usd,
        )
        if verdict is not BudgetVerdict.WITHIN:
            return await self._over_budget(batch, money, now)
        if not await self._queue_has_room(batch):
            return False
        taken = replace(batch, state=BatchState.UPLOADING, intent_at=None, next_at=0.0, error=None, hint="")
        await self._store.save_batch(taken)
        return True

    async def _over_budget(self, batch: LedgerBatch, money: Money, now: float) -> bool:
        """Leave out what there is no money for, hold or skip; whether the batch is another, or done, now."""
        if batch.digests:
            # Events wait for answers about kinds: what is said of windows is left out first.
            skipped = await self._store.skip_digests(batch, "over budget", now)
            self._telemetry.digests_skipped(batch=batch, number=skipped)
            return True
        holds, daily, monthly = self._settings.hold_when_over, self._settings.daily_usd, self._settings.monthly_usd
        # Held is what a later day has the money for; for what is more than any has, none would come.
        if not holds or batch.reserved_usd > min(daily, monthly):
            left = pricing.left_usd(money, daily_usd=daily, monthly_usd=monthly)
            state = RequestState.AGAIN if holds else RequestState.SKIPPED
            if cut := await self._store.cut_batch(batch, left, state, "over budget", now):
                text = f"{cut} of {batch.requests} requests {'wait' if holds else 'are skipped'}: over budget"
                self._telemetry.batch_waited(batch=batch, reason="budget", seconds=0, error=text)
                return True
        if holds:
            hint = "it goes out when a later UTC day or month has the money, or with a higher [budget]"
            await self._wait(batch, "budget", self._settings.poll_interval_seconds, "over budget", hint)
            return False
        await self._store.skip_batch(batch, "over budget", now)
        self._telemetry.batch_waited(batch=batch, reason="budget", seconds=0, error="skipped: over budget")
        return True

    async def _queue_has_room(self, batch: LedgerBatch) -> bool:
        limit = await self._store.token_limit(batch.model, self._clock.now())
        reserved = await self._store.reserved_tokens(batch.model)
        # A batch larger than the whole limit goes when the queue is empty: the provider's count may be lower than ours.
        if limit is None or reserved == 0 or reserved + batch.tokens <= limit:
            return True
        hint = "it goes out when batches before it have ended"
        await self._wait(
            batch, "token_limit", 2 * self._settings.poll_interval_seconds, "the token queue is full", hint
        )
        return False

    async def _upload(self, batch: LedgerBatch) -> bool:
        path = await self._files.write(batch.name, self._workload.lines(batch))
        intended = replace(batch, intent_at=self._clock.now())
        if not await self._is_to_be_sent(intended):
            return False
        file_id = await self._client.upload(path, batch.upload_name)
        await self._uploaded(intended, file_id)
        return True

    async def _is_to_be_sent(self, intended: LedgerBatch) -> bool:
        """Have the intent in the ledger, unless the plan has ended the batch since it was read."""
        if await self._store.save_batch(intended):
            return True
        await self._files.remove([intended.name])
        return False

    async def _find_upload(self, batch: LedgerBatch) -> bool:
        file_id = await self._client.find_upload(batch.upload_name)
        if file_id is None:
            await self._store.save_batch(replace(batch, intent_at=None, next_at=0.0))
        else:
            await self._uploaded(batch, file_id)
        return True

    async def _uploaded(self, batch: LedgerBatch, file_id: str) -> None:
        uploaded = replace(
            batch,
            state=BatchState.CREATING,
            input_file_id=file_id,
            intent_at=None,
            looks=0,
            failures=0,
            next_at=0.0,
            failing_since=None,
            error=None,
            hint="",
        )
        await self._store.save_batch(uploaded)
        self._telemetry.batch_uploaded(batch=uploaded)

    async def _create(self, batch: LedgerBatch) -> bool:
        assert batch.input_file_id is not None
        now = self._clock.now()
        # The wait is that of the first look that counts, should nobody be there to hear the answer.
        intended = replace(batch, intent_at=now, looks=0, next_at=now + self._backoff(0, None))
        if not await self._is_to_be_sent(intended):
            return False
        try:
            made = await self._client.create(
                input_file_id=batch.input_file_id, endpoint=batch.endpoint, metadata=self._metadata(batch)
            )
        except (NotFoundProviderError, PermanentProviderError) as error:
            if _is_about_the_file(error):
                await self._file_not_there(intended, error)
                return False
            raise
        await self._opened(replace(intended, looks=batch.looks), made, adopted=False)
        return True

    async def _find_batch(self, batch: LedgerBatch) -> bool:
        assert batch.input_file_id is not None
        listed = await self._client.find_batch(job=batch.job, input_file_id=batch.input_file_id)
        # One that was surplus to an earlier create of the same file is booked by itself.
        known = await self._store.known_batches([one.id for one in listed])
        found = [one for one in listed if one.id not in known]
        if not found:
            now = self._clock.now()
            looked = job.looked_in_vain(batch, now, until=now + self._backoff(batch.looks, None))
            return looked != batch and await self._store.save_batch(looked)
        await self._opened(replace(batch, looks=max(1, batch.looks)), found[0], surplus=found[1:], adopted=True)
        return True

    async def _opened(
        self, batch: LedgerBatch, made: ProviderBatch, *, surplus: Sequence[ProviderBatch] = (), adopted: bool
    ) -> None:
        now = self._clock.now()
        opened = replace(
            batch,
            state=BatchState.OPEN,
            batch_id=made.id,
            status=made.status,
            intent_at=None,
            created_at=made.created_at or now,
            expires_at=job.deadline(created_at=made.created_at, expires_at=made.expires_at, now=now),
            next_at=0.0,
            error=None,
            hint="",
        )
        beside = [job.surplus(opened, one.id) for one in surplus]
        await self._store.save_batch(opened, beside)
        self._telemetry.batch_created(batch=opened, adopted=adopted)
        for one in beside:
            self._telemetry.batch_surplus(batch=one)

    async def _file_not_there(self, batch: LedgerBatch, error: ProviderError) -> None:
        """Right after an upload a provider may not know its own file; after some minutes it is uploaded again."""
        now = self._clock.now()
        wait = self._backoff(batch.failures, error)
        held = job.held_back(replace(batch, intent_at=None), str(error), hint=error.hint, now=now, wait=wait)
        if batch.failures * self._settings.poll_interval_seconds >= job.FILE_PATIENCE_SECONDS or batch.failures >= 8:
            held = replace(held, state=BatchState.UPLOADING, input_file_id=None, failures=0)
        await self._store.save_batch(held)
        self._telemetry.batch_waited(batch=batch, reason="file", seconds=wait, error=str(error))

    async def _failed(self, batch: LedgerBatch, todo: Step, error: ProviderError) -> None:
        """A call failed: what the ledger holds already says what to look for; only the time to wait is new."""
        now = self._clock.now()
        current = next((one for one in await self._own_batches() if one.id == batch.id), batch)
        wait = self._backoff(current.failures, error)
        has_no_list = todo in _LOOKS and _is_about_the_list(error)
        if has_no_list and todo is Step.FIND_BATCH:
            current = job.looked_in_vain(current, now, until=now + wait)
        elif has_no_list or (
            todo not in _LOOKS
            and isinstance(error, TransientProviderError | AuthProviderError | PermanentProviderError)
        ):
            # The provider said no before doing anything: there is nothing to look for. A look that failed says nothing.
            current = replace(current, intent_at=None)
        if error.code in job.TOKEN_LIMIT_CODES and await self._learn_limit(current, error):
            return
        if isinstance(error, AuthProviderError | PermanentProviderError) and not has_no_list:
            self.blocked = error
        await self._store.save_batch(job.held_back(current, str(error), hint=error.hint, now=now, wait=wait))
        self._telemetry.batch_waited(
            batch=current, reason=error.reason, seconds=wait, error=str(error), hint=error.hint
        )

    async def _hold_for_disk(self, batch: LedgerBatch, error: BatchFileError) -> None:
        """Its file could not be written or read: what the ledger says of the batch stays true."""
        current = next((one for one in await self._own_batches() if one.id == batch.id), batch)
        wait = self._backoff(current.failures, None)
        self.blocked = error
        now = self._clock.now()
        await self._store.save_batch(job.held_back(current, str(error), hint=error.hint, now=now, wait=wait))
        self._telemetry.batch_waited(
            batch=current, reason=error.reason, seconds=wait, error=str(error), hint=error.hint
        )

    async def _learn_limit(self, batch: LedgerBatch, error: ProviderError) -> bool:
        """Remember the queue's limit; whether that was the end of a batch that is larger, and is cut anew."""
        limit = job.token_limit_in(str(error))
        if limit is not None:
            await self._store.learn_token_limit(batch.model, limit, self._clock.now())
        if not job.is_too_large(batch, limit):
            return False
        done, collected = await self._workload.lose(
            replace(batch, state=BatchState.DONE, outcome="failed", error=str(error))
        )
        self._telemetry.batch_ended(batch=done, outcomes=collected.outcomes, mended=0)
        await self._files.remove([batch.name])
        if batch.input_file_id is not None:
            # One that cannot be deleted expires at the provider.
            with contextlib.suppress(ProviderError):
                await self._client.delete_file(batch.input_file_id)
        return True

    async def _wait(self, batch: LedgerBatch, reason: str, seconds: float, text: str, hint: str) -> None:
        await self._store.save_batch(replace(batch, next_at=self._clock.now() + seconds, error=text, hint=hint))
        if batch.error != text:
            self._telemetry.batch_waited(batch=batch, reason=reason, seconds=seconds, error=text, hint=hint)

    def _backoff(self, failures: int, error: ProviderError | None) -> float:
        if error is not None and error.retry_after_seconds is not None:
            return error.retry_after_seconds
        first = min(self._settings.poll_interval_seconds, 30.0)
        return job.backoff_seconds(failures, first=first, jitter=self._jitter())

    @staticmethod
    def _metadata(batch: LedgerBatch) -> dict[str, str]:
        return {
            "window": batch.name.partition("-p")[0],
            "part": str(batch.part),
            "attempt": str(batch.attempt),
            "windows": str(batch.windows),
            "job": batch.job,
        }


_LOOKS = (Step.FIND_UPLOAD, Step.FIND_BATCH)


def _is_about_the_list(error: ProviderError) -> bool:
    """Whether a provider refuses to list for good, so that nothing can be looked for there."""
    return isinstance(error, NotFoundProviderError) or (
        isinstance(error, PermanentProviderError) and error.code != NOT_THE_API
    )


def _is_about_the_file(error: ProviderError) -> bool:
    text = str(error).lower()
    return isinstance(error, NotFoundProviderError) or ("file" in text and ("find" in text or "found" in text))
