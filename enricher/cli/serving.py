"""The commands of the batch server, `serve-batches`, and of the embedded model, `model …`."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from enricher.cli.options import JsonOption
from enricher.cli.running import set_up_logging, until_stopped
from enricher.core.loopback import is_host
from enricher.errors import UsageError

model_cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The embedded model.")


def serve_batches(
    *,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address; port 0 takes a free one.")
    ] = "127.0.0.1:8090",
    state: Annotated[Path, typer.Option(metavar="DIR", help="Where files and batches are kept.")] = Path(
        "batchserver-state"
    ),
    upstream: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1."),
    ] = None,
    upstream_model: Annotated[str | None, typer.Option(metavar="NAME", help="Model to ask for instead.")] = None,
    schema_only: Annotated[
        bool,
        typer.Option("--schema-only", help="Answer with instances of each request's schema: to try the transport."),
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Lines in work at once.")] = 4,
    enqueued_tokens: Annotated[int | None, typer.Option(min=1, help="Limit of queued input tokens per model.")] = None,
    window_seconds: Annotated[float, typer.Option(min=0.1, help="When a batch expires.")] = 86_400.0,
    faults: Annotated[Path | None, typer.Option(metavar="FILE", help="Script of what goes wrong.")] = None,
    webhook_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where to tell that a batch has ended, signed as OpenAI does.")
    ] = None,
) -> None:
    """Serve OpenAI's Files and Batches API over a model of yours, or over the embedded one.

    Clients need the key in ENRICHER_SERVER_KEY if it is set; the upstream gets the one in UPSTREAM_API_KEY; webhooks
    are signed with ENRICHER_WEBHOOK_SECRET.
    """
    from enricher import batchcommand

    host, colon, port = listen.rpartition(":")
    if not colon or not is_host(host) or not re.fullmatch("[0-9]{1,5}", port):
        raise UsageError(f"--listen {listen}: is HOST:PORT, such as 127.0.0.1:8090")
    set_up_logging(quiet=True)
    asyncio.run(
        until_stopped(
            lambda stop: batchcommand.serve(
                stop,
                host=host,
                port=int(port),
                state=state,
                upstream=upstream,
                upstream_model=upstream_model,
                schema_only=schema_only,
                concurrency=concurrency,
                enqueued_tokens=enqueued_tokens,
                window_seconds=window_seconds,
                faults=faults,
                webhook_url=webhook_url,
                environment=os.environ,
            )
        )
    )


@model_cli.command(name="pull")
def model_pull(
    *,
    small: Annotated[bool, typer.Option("--small", help="The 0.5B model: smaller, and weaker.")] = False,
    file: Annotated[Path | None, typer.Option(help="Take the weights from this file.")] = None,
    url: Annotated[str | None, typer.Option(help="Take the weights from this address.")] = None,
) -> None:
    """Fetch the weights of the embedded model, whatever the source, and check them by their hash."""
    from enricher import batchcommand

    batchcommand.pull(small=small, file=file, url=url)


@model_cli.command(name="list")
def model_list(*, as_json: JsonOption = False) -> None:
    """List the models that are known, and which are here."""
    from enricher import batchcommand

    batchcommand.list_models(as_json=as_json)
