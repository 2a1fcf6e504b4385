"""The admin address: /metrics, /healthz, /readyz, /status, and /webhooks/openai where a secret for it is set.

Read-only but for the webhooks, which only hint. Counts are shown to whoever can reach the address, as every exporter
does, until there is a token: then only to who has it. What names files, errors or kinds of event (/status, and why
/readyz says no) is shown on loopback or to who has the token. /healthz and whether it is ready stay open: those who ask
for that, in front of a load balancer or in an orchestrator, are given no secrets.

Connections are bounded in number and in time (`enricher.connections`), so that a scrape always gets through. Without a
token the Host header must be an address or localhost on loopback: a page in a browser on this host could else
point a name of its own here and read along.
"""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from enricher.connections import HEAD_SECONDS, IDLE_SECONDS, BoundedServer
from enricher.core.loopback import is_loopback, is_our_host
from enricher.errors import ConfigError, EnricherError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

MAX_CONNECTIONS: Final = 64
WEBHOOKS: Final = "/webhooks/openai"
_LINGERING_SECONDS: Final = 1.0


class AdminServer:
    """The HTTP server of the daemon."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        status: Callable[[], Awaitable[dict[str, Any]]],
        unready: Callable[[], list[str]],
        refresh: Callable[[], Awaitable[None]],
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        webhooks: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None,
        head_seconds: float = HEAD_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._host = host
        self._port = port
        self._registry = registry
        self._status = status
        self._unready = unready
        self._refresh = refresh
        self._token = None if token is None else token.encode()
        self._tls = tls
        self._webhooks = webhooks
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self._runner: web.ServerRunner | None = None
        self._pages = {
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/status": self._status_json,
        }

    async def start(self) -> str:
        """Listen; returns the address. Raises ConfigError if it is taken or not ours."""
        server = BoundedServer(
            self._answer,
            most=MAX_CONNECTIONS,
            tls=self._tls,
            head_seconds=self._head_seconds,
            idle_seconds=self._idle_seconds,
            # Bodies stay packed, if they came so; the rest of a refused one is read, so that its sender sees why.
            auto_decompress=False,
            lingering_time=_LINGERING_SECONDS,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                [f"admin.listen: cannot listen on {self._host}:{self._port}: {error.strerror}"],
                hint="is another enricher running, or is the port taken? set [admin] listen",
            ) from None
        host, port = self._runner.addresses[0][:2]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == WEBHOOKS and self._webhooks is not None:
            return await self._webhooks(request)
        if self._token is None and is_loopback(self._host) and not is_our_host(request.headers.get("Host", "")):
            return web.Response(text="ask for an address or localhost, not for another name\n", status=421)
        page = self._pages.get(request.path)
        if page is None:
            return web.Response(text=f"there are {', '.join(self._pages)}\n", status=404)
        if request.method not in ("GET", "HEAD"):
            return web.Response(text="this address only shows\n", status=405, headers={"Allow": "GET, HEAD"})
        try:
            return await page(request)
        except EnricherError as error:
            # The store, mostly; what is wrong with it is in the log.
            return web.Response(text=f"{type(error).__name__}\n", status=503)

    def _may_read(self, request: web.BaseRequest) -> bool:
        """Whether who asks may see more than counts."""
        if self._token is None:
            return is_loopback(self._host)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)
        return is_right and scheme.lower() == "bearer"

    def _refused(self) -> web.Response:
        if self._token is None:
            return web.Response(text="shown on loopback, or to who has the token; none is set\n", status=403)
        text = "needs the token: Authorization: Bearer ...\n"
        return web.Response(text=text, status=401, headers={"WWW-Authenticate": 'Bearer realm="enricher"'})

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        if self._token is not None and not self._may_read(request):
            return self._refused()
        await self._refresh()
        # The plain text format only: see telemetry._Unnamed.
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.BaseRequest) -> web.Response:
        reasons = self._unready()
        if reasons and not self._may_read(request):
            reasons = ["not ready, reasons withheld"]
        return web.Response(text="\n".join(reasons or ["ready"]) + "\n", status=503 if reasons else 200)

    async def _status_json(self, request: web.BaseRequest) -> web.Response:
        if not self._may_read(request):
            return self._refused()
        return web.Response(text=json.dumps(await self._status(), indent=2) + "\n", content_type="application/json")
