"""Tells somebody that a batch has ended, as OpenAI does: a signed webhook, sent again a bounded number of times.

It is a hint: one that is not taken, or that the server's own end overtakes, is lost, and whoever polls misses nothing.
Since nobody would notice, who set the server up is told why.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from enricher.core.webhook import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from enricher.batchserver.shapes import Batch
    from enricher.ports import Clock

MAX_ATTEMPTS: Final = 6
FIRST_WAIT_SECONDS: Final = 1.0
"""Doubled after each attempt: half a minute in all."""
_ATTEMPT_SECONDS: Final = 10.0
_MAX_UNDER_WAY: Final = 1_000
_SHOWN_BYTES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """Where webhooks go, what they are signed with, and who hears of those that nobody took: (batch's id, reason)."""

    url: str
    key: bytes = field(repr=False)
    lost: Callable[[str, str], None] = field(default=lambda _batch_id, _reason: None, repr=False)


class Webhooks:
    """Sends webhooks beside everything else; `start` and `close` once each."""

    def __init__(self, target: WebhookTarget, clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the session; nobody need be there yet."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ATTEMPT_SECONDS))

    async def close(self) -> None:
        """Give up what is not delivered yet."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def tell(self, batch: Batch) -> None:
        """Begin to tell that this batch has ended; dropped where a thousand are under way."""
        if len(self._under_way) < _MAX_UNDER_WAY:
            task = asyncio.create_task(self._deliver(batch))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _deliver(self, batch: Batch) -> None:
        event = {
            "id": f"evt_{secrets.token_hex(12)}",
            "object": "event",
            "type": f"batch.{batch.status}",
            "created_at": int(self._clock.now()),
            "data": {"id": batch.id},
        }
        webhook_id, body = f"wh_{secrets.token_hex(12)}", msgspec.json.encode(event)
        wait = FIRST_WAIT_SECONDS
        for attempt in range(1, MAX_ATTEMPTS + 1):
            refusal = await self._send(webhook_id, body)
            if not refusal:
                return
            if attempt == MAX_ATTEMPTS:
                self._target.lost(batch.id, refusal)
                return
            await self._clock.sleep(wait)
            wait *= 2

    async def _send(self, webhook_id: str, body: bytes) -> str:
        """Send it once, dated and signed anew; why it was not taken, empty if it was, which only a 2xx says."""
        assert self._session is not None, "start() comes first"
        timestamp = int(self._clock.now())
        headers = {
            ID_HEADER: webhook_id,
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: sign(self._target.key, webhook_id=webhook_id, timestamp=timestamp, body=body),
            "Content-Type": "application/json",
        }
        try:
            async with self._session.post(
                self._target.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return ""
                said = (await response.content.read(_SHOWN_BYTES)).decode("utf-8", "replace")
                return f"answered {response.status}: {said.strip()}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return str(error) or type(error).__name__
