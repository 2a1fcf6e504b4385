"""What clients may hold of a server of ours: connections, bounded in number and in time.

Whoever can reach an address can open connections there and send nothing, or half a head, or read no answer. A
connection is either in service, while its handler works, or it is waited for: then it has a time by which the head of
its next request must be here, and what is late is cut off. Where there are too many, the one that was waited for
longest goes, so that who asks gets through. A connection that is still being encrypted counts, too: each of them holds
a quarter of a megabyte. Never here: how long a service may take, or a body on its way; the handler says that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    import ssl
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
        tls: ssl.SSLContext | None = None,
        **options: Any,  # noqa: ANN401 - those of web.Server
    ) -> None:
        super().__init__(self._serve, access_log=None, logger=_LOGGER, **options)
        self._answer = handler
        self._most = most
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self._tls = tls
        self._transports: dict[asyncio.BaseProtocol, asyncio.Transport] = {}
        self._waited_for: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        """Those not in service, the one that was waited for longest first."""

    def __call__(self) -> RequestHandler:
        """What a connection begins with: a handshake where there is TLS."""
        if self._tls is None:
            return self.serving()
        return _Handshake(self, self._tls)  # type: ignore[return-value]  # what `serving` makes takes its place

    def serving(self) -> RequestHandler:
        """What reads requests off a connection."""
        return super().__call__()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection for requests."""
        super().connection_made(handler, transport)
        self.take(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        self.forget(handler)
        super().connection_lost(handler, exc)

    def take(self, protocol: asyncio.BaseProtocol, transport: asyncio.Transport) -> None:
        """Count a connection, in the place of the one that was waited for longest if there are too many."""
        self._transports[protocol] = transport
        self._wait_for(protocol, self._head_seconds)
        if len(self._transports) > self._most:
            late = next(iter(self._waited_for))
            self._stop_waiting(late)
            # Not at once: it may be the one that is just being made, which would stumble over its own end.
            asyncio.get_running_loop().call_soon(self._transports.pop(late).abort)

    def forget(self, protocol: asyncio.BaseProtocol) -> None:
        """Count a connection no more."""
        self._transports.pop(protocol, None)
        self._stop_waiting(protocol)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = request.protocol
        self._stop_waiting(handler)
        try:
            return await self._answer(request)
        except RuntimeError:
            # What the library says of a body whose connection is gone, as at a stop: nobody is there to be answered.
            if request.transport is not None:
                raise
            return web.Response(status=400)
        finally:
            self._wait_for(handler, self._idle_seconds)

    def _wait_for(self, protocol: asyncio.BaseProtocol, seconds: float) -> None:
        if (transport := self._transports.get(protocol)) is not None:
            self._waited_for[protocol] = asyncio.get_running_loop().call_later(seconds, transport.abort)

    def _stop_waiting(self, protocol: asyncio.BaseProtocol) -> None:
        if (timer := self._waited_for.pop(protocol, None)) is not None:
            timer.cancel()


class _Handshake(asyncio.Protocol):
    """A connection until it is encrypted.

    asyncio would encrypt it before it tells of it: what does not get that far could be neither counted nor cut off.
    """

    def __init__(self, server: BoundedServer, context: ssl.SSLContext) -> None:
        self._server = server
        self._context = context
        self._early = bytearray()
        """What was decrypted before it was handed over."""
        self._encrypting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._server.take(self, transport)
        self._encrypting = asyncio.get_running_loop().create_task(self._encrypt(transport))

    def data_received(self, data: bytes) -> None:
        self._early += data

    async def _encrypt(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(transport, self, self._context, server_side=True)
        except OSError:
            return  # not TLS, an old version of it, or cut off
        finally:
            self._server.forget(self)
        if encrypted is None:  # closed in the middle
            return
        handler = self._server.serving()
        encrypted.set_protocol(handler)
        handler.connection_made(encrypted)
        if self._early:
            handler.data_received(bytes(self._early))
