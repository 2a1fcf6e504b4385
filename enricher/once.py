"""One run to the end: read, ask, wait, write, one stage after the other, until nothing is left to do.

It may be killed at any instruction: the next run goes on where this one was. Must never: decide what a stage decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from enricher.core.ledger import BatchState
from enricher.errors import AuthProviderError, BatchFileError, TryAgainError
from enricher.pacing import TICK_SECONDS, wait
from enricher.status import HELD

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from enricher.app import Enricher
    from enricher.core.books import StoreSummary
    from enricher.core.ledger import KindSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is, for a progress bar."""

    phase: str
    """reading, asking, writing."""
    events: int
    read_bytes: int = 0
    unread_bytes: int = 0
    requests_done: int = 0
    requests_total: int = 0
    note: str = ""
    """Why it does not go on, if it does not."""
    answered: Sequence[KindSeen] = ()
    """For a demo: the kinds seen so far, with their answers."""


class Once:
    """The run over an `Enricher` that is open."""

    def __init__(self, app: Enricher) -> None:
        self._app = app

    async def run(self, stop: asyncio.Event, tell: Callable[[Progress], None]) -> StoreSummary:
        """Read to the end, ask, wait, write. Raises TryAgainError when interrupted, or when told not to wait.

        Raises the provider's error where an operator must act first (a refused key, an unknown model), after
        everything that needs no answer was written.
        """
        return await self._ask(await self._read(stop, tell), stop, tell)

    async def _read(self, stop: asyncio.Event, tell: Callable[[Progress], None]) -> int:
        """Read to the end; how many events that gave."""
        app = self._app
        events = most_unread = 0
        while not stop.is_set():
            events += await app.ingest.step(flush=True)
            progress = app.source_progress(app.clock.now())
            unread = sum(one.unread_bytes for one in progress)
            most_unread = max(most_unread, unread)
            tell(Progress(phase="reading", events=events, read_bytes=most_unread - unread, unread_bytes=unread))
            if all(one.exhausted for one in progress):
                break
            if app.ingest.held_by is not None:
                raise TryAgainError(
                    f"{app.config.state_dir}: {unread:,} bytes are not read yet: {HELD[app.ingest.held_by]}",
                    hint="make room, or raise [store] max_spool_bytes, and run the same command again",
                )
        return events

    async def _ask(self, events: int, stop: asyncio.Event, tell: Callable[[Progress], None]) -> StoreSummary:
        """Ask, wait and write, until all is written."""
        app = self._app
        while not stop.is_set():
            moved = await app.plan.step()
            moved |= await app.submit.step()
            moved |= await app.track.step()
            if app.mode.limit_kinds is not None:
                await self._release_pending()
            moved |= await app.write.step()
            summary = await app.store.summary(app.clock.now())
            answered = await app.kinds_seen() if app.mode.limit_kinds is not None else ()
            tell(self._asking(events, summary, answered))
            if not summary.windows.get("open") and not summary.windows.get("closed"):
                # Everything is written; answers that are only renewed may be under way still.
                unsent = moved and summary.batches.get(BatchState.PLANNED, 0)
                if not unsent and not await self._is_waited_for(summary, moved=moved):
                    return summary
            if not moved:
                await self._raise_if_stuck(summary)
                await wait(stop, min(TICK_SECONDS, app.provider.poll_interval_seconds))
        raise TryAgainError("interrupted", hint="run the same command again: it goes on where it stopped")

    async def _is_waited_for(self, summary: StoreSummary, *, moved: bool) -> bool:
        """Whether answers are to come or to be written; accounts of windows are waited for only where asked for."""
        if any(self._app.mode.digest or batch.digests < batch.requests for batch in summary.open_batches):
            return True
        if not self._app.mode.digest:
            return False
        return moved or any([await self._app.store.untold_accounts(sink.id) for sink in self._app.sinks])

    def _asking(self, events: int, summary: StoreSummary, answered: Sequence[KindSeen]) -> Progress:
        done, total = (sum(counts) for counts in zip((0, 0), *self._app.track.progress.values(), strict=True))
        ended = summary.requests.get("answered", 0) + summary.requests.get("failed", 0)
        live = sum(batch.requests for batch in summary.open_batches)
        return Progress(
            phase="asking",
            events=events,
            requests_done=ended + done,
            requests_total=ended + max(total, live, summary.requests.get("live", 0)),
            note=next((batch.error for batch in summary.open_batches if batch.error), ""),
            answered=answered,
        )

    async def _release_pending(self) -> None:
        """In a demo, what was not asked is written as pending as soon as all that was asked is answered."""
        summary = await self._app.store.summary(self._app.clock.now())
        if not any(summary.requests.get(state) for state in ("live", "again")):
            self._app.write.release_pending()

    async def _raise_if_stuck(self, summary: StoreSummary) -> None:
        blocked = self._app.submit.blocked or self._app.track.blocked
        # A refused key and a disk block what is open as well; anything else lets open batches come to their end.
        stops_all = isinstance(blocked, AuthProviderError | BatchFileError)
        if blocked is not None and (stops_all or not summary.batches.get("open")):
            raise blocked
        if self._app.mode.wait:
            return
        under_way = summary.batches.get("open", 0) + summary.batches.get("cancelling", 0)
        unsent = await self._app.store.batches((BatchState.PLANNED, BatchState.UPLOADING, BatchState.CREATING))
        text = f"{under_way} batches are with the provider"
        if unsent:
            reasons = "; ".join(sorted({batch.error for batch in unsent if batch.error}))
            text += f", {len(unsent)} are not sent yet: {reasons or 'they wait'}"
        raise TryAgainError(text, hint="run the same command again later: it goes on from here")
