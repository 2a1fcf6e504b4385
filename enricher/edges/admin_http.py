"""The admin address: /metrics, /healthz, /readyz, /status.

Read-only, and nothing of a log's text is shown: whoever can reach it learns counts, states and file names.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from enricher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry


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
    ) -> None:
        self._host = host
        self._port = port
        self._registry = registry
        self._status = status
        self._unready = unready
        self._refresh = refresh
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen; returns the address. Raises ConfigError if it is taken or not ours."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/status", self._status_json),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
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
        return f"http://{host}:{port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        await self._refresh()
        # The plain text format only: see telemetry._Unnamed.
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = self._unready()
        return web.Response(text="\n".join(reasons or ["ready"]) + "\n", status=503 if reasons else 200)

    async def _status_json(self, _request: web.Request) -> web.Response:
        return web.Response(text=json.dumps(await self._status(), indent=2) + "\n", content_type="application/json")
