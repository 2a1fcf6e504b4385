"""The batch server as one object: `/v1/files`, `/v1/batches`, what is passed on to the backend, and the books.

Speaks OpenAI's shapes to any client of its Files and Batches API. All state lies in one directory, held by one server
at a time; a server that was killed goes on when it is started again. Also served: `/healthz` without a key, and
`/_server/ledger`, which shows that nothing is asked twice.
"""

from __future__ import annotations

import asyncio
import hmac
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import BadContentDispositionHeader, BadContentDispositionParam, web

from enricher import private
from enricher.batchserver.batches import BatchRegister
from enricher.batchserver.disk import DirectoryLock, DiskThreads
from enricher.batchserver.files import FileShelf
from enricher.batchserver.routes import Routes
from enricher.batchserver.runner import BatchRunner
from enricher.batchserver.scripted import ScriptedFaults
from enricher.batchserver.shapes import RefusedError, to_error_body
from enricher.batchserver.webhooks import Webhooks
from enricher.connections import MALFORMED, BoundedServer
from enricher.core.loopback import is_loopback, is_our_host
from enricher.errors import ConfigError, EnricherError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from enricher.batchserver.backend import Backend
    from enricher.batchserver.settings import ServerSettings
    from enricher.ports import Clock

# A request that is passed on, or the fields of a batch; uploads are streamed and have their own limit.
MAX_BODY_BYTES = 32 * 1024 * 1024
_HTTP_GRACE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSnapshot:
    """What a status line shows. `requests_done` of `requests_total` are those of batches that have not ended.

    `trouble` says why answers cannot be written now, null if they can.
    """

    batches_by_status: dict[str, int]
    requests_done: int
    requests_total: int
    trouble: str | None


class BatchServer:
    """A batch server over one backend; `start` and `close` once each, in one event loop."""

    def __init__(self, settings: ServerSettings, backend: Backend, clock: Clock) -> None:
        self._settings = settings
        self._backend = backend
        self._clock = clock
        self._lock = DirectoryLock(settings.state_dir)
        self._disk = DiskThreads()
        self._shelf = FileShelf(settings.state_dir / "files", self._disk)
        self._register = BatchRegister(settings.state_dir / "batches", self._disk)
        self._app: web.AppRunner | None = None
        self._http: web.ServerRunner | None = None
        self._faults: ScriptedFaults | None = None
        self._runner: BatchRunner | None = None
        self._webhooks = None if settings.webhooks is None else Webhooks(settings.webhooks, clock)

    async def start(self) -> str:
        """Open the state, go on with half-done batches, listen; return the base URL, `http://HOST:PORT/v1`.

        Raises `LockedError` if another server holds the state directory, `StoreError` if the state cannot be read,
        `ConfigError` if it cannot listen, and what the backend's `start` raises.
        """
        await asyncio.to_thread(self._open_state)
        try:
            await self._backend.start()
            self._faults = ScriptedFaults(self._settings.faults, self._register)
            if self._webhooks is not None:
                await self._webhooks.start()
            self._runner = BatchRunner(
                self._settings, self._register, self._shelf, self._backend, self._faults, self._clock, self._webhooks
            )
            await self._shelf.drop_expired(self._clock.now())
            url = await self._listen(self._faults, self._runner)
            self._runner.start()
        except BaseException:
            await self.close()
            raise
        return url

    def _open_state(self) -> None:
        try:
            # Requests and answers may hold log lines.
            private.make_directory(self._settings.state_dir)
            self._lock.take()
            self._shelf.open()
            self._register.open()
        except OSError as error:
            self._lock.release()
            raise ConfigError(
                [f"{error.filename or self._settings.state_dir}: {error.strerror}"],
                hint="the state directory must be writable",
            ) from error
        except BaseException:
            self._lock.release()
            raise

    async def _listen(self, faults: ScriptedFaults, runner: BatchRunner) -> str:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_answer_errors, self._check_key])
        for category in (BadContentDispositionHeader, BadContentDispositionParam):
            # Each time another text of a client's, which would stand on our standard error.
            warnings.filterwarnings("ignore", category=category)
        patience = self._settings.silent_seconds
        routes = Routes(self._register, self._shelf, runner, self._backend, faults, self._clock, patience)
        routes.add_to(app)
        self._app = web.AppRunner(app)
        await self._app.setup()
        routed = self._app.server
        assert routed is not None  # after setup
        bounded = BoundedServer(
            routed.request_handler,
            request_factory=routed.request_factory,
            most=self._settings.max_connections,
            head_seconds=self._settings.head_seconds,
        )
        self._http = web.ServerRunner(bounded, shutdown_timeout=_HTTP_GRACE_SECONDS)
        await self._http.setup()
        host, port = self._settings.host, self._settings.port
        try:
            await web.TCPSite(self._http, host, port).start()
        except OSError as error:
            raise ConfigError(
                [f"cannot listen on {host}:{port}: {error.strerror}"],
                hint="give another address, or port 0 for a free one",
            ) from error
        port = self._http.addresses[0][1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"

    async def close(self) -> None:
        """Stop within two seconds and leave the state resumable; may be called twice."""
        if self._faults is not None:
            self._faults.close()
        if self._http is not None:
            await self._http.cleanup()
            self._http = None
        if self._app is not None:
            await self._app.cleanup()
            self._app = None
        if self._runner is not None:
            await self._runner.close()
        if self._webhooks is not None:
            await self._webhooks.close()
        await self._backend.close()
        await self._disk.close()
        self._lock.release()

    def snapshot(self) -> ServerSnapshot:
        """Return the counts of this moment."""
        if self._runner is None:
            return ServerSnapshot(batches_by_status={}, requests_done=0, requests_total=0, trouble=None)
        batches = [self._runner.view(batch_id) for batch_id in self._register.records]
        live = [batch.request_counts for batch in batches if not batch.status.is_terminal]
        return ServerSnapshot(
            batches_by_status=dict(Counter(str(batch.status) for batch in batches)),
            requests_done=sum(counts.completed + counts.failed for counts in live),
            requests_total=sum(counts.total for counts in live),
            trouble=self._runner.trouble(),
        )

    @web.middleware
    async def _check_key(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        key = self._settings.api_key
        if request.path == "/healthz":
            return await handler(request)
        if key is None:
            if is_loopback(self._settings.host):
                _refuse_pages(request)
            return await handler(request)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise RefusedError(
                401, "You didn't provide an API key. Send it as a bearer token in the Authorization header."
            )
        if not hmac.compare_digest(given.strip().encode("utf-8", "replace"), key.encode()):
            raise RefusedError(401, f"Incorrect API key provided: {given[:3]}***.", code="invalid_api_key")
        return await handler(request)


def _refuse_pages(request: web.Request) -> None:
    """Turn away what a page sends that a browser on this host shows: nothing else guards what is served without a key.

    A page can point a name of its own here, and so read files with log lines; from where it is, it can have work done.
    """
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if not is_our_host(host):
        raise RefusedError(421, "Ask for an address or localhost, not for another name, or set a key.")
    if origin is not None and origin.partition("://")[2] != host:
        raise RefusedError(403, "No page of another origin may ask for anything without a key.")


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    headers: dict[str, str] = {}
    body: dict[str, Any]
    try:
        return await handler(request)
    except RefusedError as refusal:
        status, body, headers = refusal.status, refusal.body, refusal.headers
    except web.HTTPException as error:
        status = error.status
        body = to_error_body(f"{error.reason} ({request.method} {request.path[:200]})", status=status)
        headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    except MALFORMED:
        status, body = 400, to_error_body("The body is not encoded as the head of the request says.", status=400)
    except EnricherError as error:
        status, body = 500, to_error_body(str(error), status=500, code="backend_failed")
    except OSError as error:
        status = 500
        body = to_error_body(f"The server cannot use its disk: {error.strerror or error}", status=status)
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers)
