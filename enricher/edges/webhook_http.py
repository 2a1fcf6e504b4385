"""POST /webhooks/openai: a hint of the provider that a batch has ended.

It comes from the open internet, through a proxy that passes this one path, and proves itself by its signature. It can
do one thing: have the batch that it names polled now. Lost, forged, repeated or too early, it changes nothing else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from enricher.core.webhook import ID_HEADER, MAX_BODY_BYTES, SeenIds, ended_batch, fault_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from enricher.telemetry import Telemetry

BODY_SECONDS: Final = 10.0


class WebhookDoor:
    """Takes webhooks and hands on the ids of batches."""

    def __init__(
        self, *, key: bytes, now: Callable[[], float], wake: Callable[[str], None], telemetry: Telemetry
    ) -> None:
        self._key = key
        self._now = now
        self._wake = wake
        self._telemetry = telemetry
        self._seen = SeenIds()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one webhook: 200 whatever is made of it, if it is genuine, since anything else is sent again."""
        if request.method != "POST":
            return web.Response(text="webhooks are posted here\n", status=405, headers={"Allow": "POST"})
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(request)
        except TimeoutError:
            return self._refused("slow", "the body took too long\n", 408)
        if body is None:
            return self._refused("large", f"at most {MAX_BODY_BYTES:,} bytes\n", 413)
        now = self._now()
        if fault := fault_of(self._key, request.headers, body, now=now):
            return self._refused(fault, f"{_TEXTS[fault]}\n", 400)
        if not self._seen.is_new(request.headers[ID_HEADER], now=now):
            self._telemetry.webhook_received(result="duplicate")
        elif (batch_id := ended_batch(body)) is None:
            self._telemetry.webhook_received(result="ignored")
        else:
            self._telemetry.webhook_received(result="accepted", batch_id=batch_id)
            self._wake(batch_id)
        return web.Response(text="thank you\n")

    def _refused(self, reason: str, text: str, status: int) -> web.Response:
        self._telemetry.webhook_received(result="refused", reason=reason, at=self._now())
        response = web.Response(text=text, status=status)
        response.force_close()  # what may still come is not waited for
        return response


_TEXTS: Final = {
    "unsigned": "webhook-id, webhook-timestamp or webhook-signature is missing or malformed",
    "untimely": "the timestamp is too far from the time here",
    "forged": "the signature is not that of this webhook under our secret",
}


async def _read(request: web.BaseRequest) -> bytes | None:
    """The body; None as soon as it is longer than one may be."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)
