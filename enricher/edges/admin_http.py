"""The admin address: /metrics, /healthz, /readyz, /status.

Read-only, and nothing of a log's text is shown: whoever can reach it learns counts, states and file names.

Connections are bounded in number and in time (`enricher.connections`), so that a scrape always gets through. On
loopback the Host header must be an address or localhost: a page in a browser on this host could else point a name of
its own here and read along.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from enricher.connections import HEAD_SECONDS, IDLE_SECONDS, BoundedServer
from enricher.core.loopback import is_loopback
from enricher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

MAX_CONNECTIONS: Final = 64


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
        head_seconds: float = HEAD_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._host = host
        self._port = port
        self._registry = registry
        self._status = status
        self._unready = unready
        self._refresh = refresh
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
            self._answer, most=MAX_CONNECTIONS, head_seconds=self._head_seconds, idle_seconds=self._idle_seconds
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
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if is_loopback(self._host) and not _is_our_host(request.headers.get("Host", "")):
            return web.Response(text="ask for an address or localhost, not for another name\n", status=421)
        if page is None:
            return web.Response(text=f"there are {', '.join(self._pages)}\n", status=404)
        if request.method not in ("GET", "HEAD"):
            return web.Response(text="this address only shows\n", status=405, headers={"Allow": "GET, HEAD"})
        return await page()

    async def _metrics(self) -> web.Response:
        await self._refresh()
        # The plain text format only: see telemetry._Unnamed.
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self) -> web.Response:
        reasons = self._unready()
        return web.Response(text="\n".join(reasons or ["ready"]) + "\n", status=503 if reasons else 200)

    async def _status_json(self) -> web.Response:
        return web.Response(text=json.dumps(await self._status(), indent=2) + "\n", content_type="application/json")


def _is_our_host(header: str) -> bool:
    """Whether a Host header is an address or localhost; without one (HTTP/1.0) no browser is asking."""
    if not header:
        return True
    try:
        name = urlsplit(f"//{header}").hostname or ""
        if name == "localhost":
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
