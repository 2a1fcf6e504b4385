"""What clients may hold of a server of ours: connections, bounded in number and in time.

Whoever can reach an address can open connections there and send nothing, or half a head, or read no answer. A
connection is either in service, while its handler works, or it is waited for: then it has a time by which the head of
its next request must be here, and what is late is cut off. Where there are too many, the one that was waited for
longest goes, so that who asks gets through. Never here: how long a service may take, or a body on its way; the handler
says that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.web_protocol import RequestHandler

HEAD_SECONDS: Final = 10.0
"""How long the head of a first request may take."""
IDLE_SECONDS: Final = 90.0
"""How long what is left of an answer and the head of the next request may take: scrapers come once a minute."""

MALFORMED: Final = (HttpProcessingError, web.RequestPayloadError)
"""What reading a request raises where it is no HTTP, or its body is not encoded as its head says."""


class _OurFaultsOnly(logging.Filter):
    """Malformed requests are answered; no client fills our log with them, nor an operator's screen."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], MALFORMED))


_LOGGER: Final = logging.getLogger(__name__)
_LOGGER.addFilter(_OurFaultsOnly())


class BoundedServer(web.Server):
    """The connections of one address; a site takes it through `web.ServerRunner`."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        most: int,
        head_seconds: float = HEAD_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        **options: Any,  # noqa: ANN401 - those of web.Server
    ) -> None:
        super().__init__(self._serve, access_log=None, logger=_LOGGER, **options)
        self._answer = handler
        self._most = most
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self._transports: dict[RequestHandler, asyncio.Transport] = {}
        self._waited_for: dict[RequestHandler, asyncio.TimerHandle] = {}
        """Those not in service, the one that was waited for longest first."""

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection, in the place of the one that was waited for longest if there are too many."""
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        self._wait_for(handler, self._head_seconds)
        if len(self._transports) > self._most:
            late = next(iter(self._waited_for))
            self._stop_waiting(late)
            self._transports.pop(late).abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        self._transports.pop(handler, None)
        self._stop_waiting(handler)
        super().connection_lost(handler, exc)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = request.protocol
        self._stop_waiting(handler)
        try:
            return await self._answer(request)
        finally:
            self._wait_for(handler, self._idle_seconds)

    def _wait_for(self, handler: RequestHandler, seconds: float) -> None:
        if (transport := self._transports.get(handler)) is not None:
            self._waited_for[handler] = asyncio.get_running_loop().call_later(seconds, transport.abort)

    def _stop_waiting(self, handler: RequestHandler) -> None:
        if (timer := self._waited_for.pop(handler, None)) is not None:
            timer.cancel()
