"""The commands `serve-batches` and `model`: the batch server on its own, and the weights of the embedded model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from enricher import show
from enricher.batchserver import model_weights
from enricher.batchserver.backend_http import HttpBackend
from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.faults import FaultScript
from enricher.batchserver.model_process import ModelProcess, ModelSettings, spare_threads
from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings
from enricher.batchserver.webhooks import WebhookTarget
from enricher.core.loopback import is_loopback
from enricher.core.webhook import to_key
from enricher.edges.clock_system import SystemClock
from enricher.errors import ConfigError, UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping
    from pathlib import Path

    from enricher.batchserver.backend import Backend


async def serve(
    stop: asyncio.Event,
    *,
    host: str,
    port: int,
    state: Path,
    upstream: str | None,
    upstream_model: str | None,
    schema_only: bool,
    concurrency: int,
    enqueued_tokens: int | None,
    window_seconds: float,
    faults: Path | None,
    webhook_url: str | None,
    environment: Mapping[str, str],
) -> None:
    """Serve until stopped; one line on standard output tells the address as soon as it listens."""
    if upstream and schema_only:
        raise UsageError("--upstream and --schema-only exclude each other", hint="give one of them")
    key = environment.get("ENRICHER_SERVER_KEY") or None
    if key is None and not is_loopback(host):
        raise UsageError(
            f"--listen {host}: everyone who reaches that address could use the model behind it",
            hint="set ENRICHER_SERVER_KEY, or listen on 127.0.0.1",
        )
    webhooks = _webhooks(webhook_url, environment)
    clock = SystemClock()
    backend: Backend
    if schema_only:
        backend = SchemaBackend(clock)
    elif upstream:
        backend = HttpBackend(
            upstream,
            clock=clock,
            concurrency=concurrency,
            api_key=environment.get("UPSTREAM_API_KEY") or None,
            model=upstream_model,
        )
    else:
        backend, concurrency = _embedded(), 1
    settings = ServerSettings(
        state_dir=state,
        concurrency=concurrency,
        host=host,
        port=port,
        api_key=key,
        enqueued_token_limit=enqueued_tokens,
        completion_window_seconds=window_seconds,
        faults=FaultScript.from_file(faults) if faults else None,
        webhooks=webhooks,
    )
    server = BatchServer(settings, backend, clock)
    base_url = await server.start()
    try:
        out, _ = show.consoles()
        out.print(json.dumps({"base_url": base_url, "models": await backend.models()}), soft_wrap=True)
        await stop.wait()
    finally:
        await server.close()


def _webhooks(url: str | None, environment: Mapping[str, str]) -> WebhookTarget | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a bracket or a port that is none
        good = False
    if not good or parts.username or parts.password:
        raise UsageError(
            "--webhook-url: is an address such as https://logs.example/webhooks/openai, without a password"
        )
    _, err = show.consoles()

    def lost(batch_id: str, reason: str) -> None:
        hint = "is the address right, the secret its own, and its certificate known? (one of your own: SSL_CERT_FILE=)"
        show.error(err, UsageError(f"--webhook-url {url} was not told of {batch_id}: {reason}", hint=hint))

    try:
        return WebhookTarget(url=url, key=to_key(environment.get("ENRICHER_WEBHOOK_SECRET", "")), lost=lost)
    except ValueError as error:
        raise UsageError(
            f"ENRICHER_WEBHOOK_SECRET: {error}",
            hint="make one:  echo whsec_$(openssl rand -base64 32)   and give it to the receiver, too",
        ) from None


def _embedded() -> ModelProcess:
    weights = model_weights.installed()
    if weights is None:
        raise ConfigError(
            ["the embedded model is not here yet"],
            hint="fetch it:  enricher model pull   or name an endpoint of yours:  --upstream URL",
        )
    path = model_weights.model_dir() / weights.file_name
    return ModelProcess(ModelSettings(file=path, name=weights.name, threads=spare_threads()))


def pull(*, small: bool, file: Path | None, url: str | None) -> None:
    """Fetch weights with a progress bar; says the size first."""
    out, err = show.consoles()
    weights = model_weights.SMALL_WEIGHTS if small else model_weights.DEFAULT_WEIGHTS
    directory = model_weights.model_dir()
    if any(one.weights.name == weights.name and one.is_checked for one in model_weights.holdings()):
        out.print(f"{weights.name} is here: {directory / weights.file_name}", soft_wrap=True)
        return
    size = weights.size_bytes / 1e9
    out.print(f"fetching {weights.name} ({size:.2f} GB, {weights.licence}) into {directory}", soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(weights.name, total=weights.size_bytes)

        def told(done_bytes: int, total_bytes: int, note: str) -> None:
            bar.update(task, completed=done_bytes, total=total_bytes, description=show.safe(note, limit=60))

        path = model_weights.pull(weights, directory=directory, progress=told, file=file, url=url)
    out.print(f"{weights.name} is here, its hash is right: {path}", soft_wrap=True)


def list_models(*, as_json: bool) -> None:
    """Print the known models and which are here."""
    out, _ = show.consoles()
    rows = model_weights.holdings()
    if as_json:
        document = [
            {
                "name": one.weights.name,
                "path": str(one.path),
                "size_bytes": one.weights.size_bytes,
                "here": one.is_checked,
                "licence": one.weights.licence,
                "sha256": one.weights.sha256,
                "test_only": one.weights.is_test_only,
            }
            for one in rows
        ]
        out.print(json.dumps(document, indent=2), soft_wrap=True)
        return
    show.grid(
        out,
        "models",
        ("name", "size", "here", "licence", "for"),
        [
            (
                one.weights.name,
                f"{one.weights.size_bytes / 1e9:.2f} GB",
                "yes" if one.is_checked else "no",
                one.weights.licence,
                "tests of the transport" if one.weights.is_test_only else "demos",
            )
            for one in rows
        ],
    )
