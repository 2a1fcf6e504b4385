"""The commands: arguments in, exit codes out. Each command builds its configuration and hands over to `app`.

Exit codes: 0 done, 1 failed, 64 usage, 73 state directory locked, 75 try again, 78 configuration. An error names what
was wrong, where, and what to do; a traceback is a bug. Signals become the stop event here and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from enricher import __version__, show
from enricher import config as configuration
from enricher.cli_signatures import signatures_cli
from enricher.errors import (
    AuthProviderError,
    ConfigError,
    EnricherError,
    LockedError,
    PermanentProviderError,
    StoreError,
    TryAgainError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from enricher.app import Progress
    from enricher.compose import Mode
    from enricher.config import Config
    from enricher.core.books import StoreSummary
    from enricher.telemetry import Telemetry

EXIT_FAILED, EXIT_USAGE, EXIT_LOCKED, EXIT_AGAIN, EXIT_CONFIG = 1, 64, 73, 75, 78

_T = TypeVar("_T")

# typer shows only this subclass of its usage errors.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]

cli = typer.Typer(
    name="enricher",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Enrich every log event, at the cost of one model request per kind of event.",
)
model_cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The embedded model.")
cli.add_typer(model_cli, name="model")
cli.add_typer(signatures_cli, name="signatures")

ConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="Configuration file (TOML).", show_default=False)
]
PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[PATH]...", help="Files and directories, instead of the configured sources."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> NoReturn:
    """Run the command line and exit."""
    _, err = show.consoles()
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except _ClickUsageError as fault:
        message = fault.format_message() if isinstance(fault, typer.BadParameter) else str(fault)
        show.error(err, UsageError(message, hint="enricher --help"))
        sys.exit(EXIT_USAGE)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(EXIT_AGAIN)
    except EnricherError as fault:
        show.error(err, fault)
        sys.exit(_exit_code(fault))
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)


def _exit_code(fault: EnricherError) -> int:
    match fault:
        case ConfigError() | AuthProviderError() | PermanentProviderError():
            return EXIT_CONFIG
        case UsageError():
            return EXIT_USAGE
        case LockedError():
            return EXIT_LOCKED
        case TryAgainError() | StoreError():
            return EXIT_AGAIN
        case _:
            return EXIT_FAILED


@cli.callback(invoke_without_command=True)
def _top(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False
) -> None:
    if version:
        typer.echo(f"enricher {__version__}")
        raise typer.Exit


# ---------------------------------------------------------------- the main job


@cli.command()
def run(config: ConfigOption = None) -> None:
    """Follow the configured sources until stopped: the daemon.

    SIGTERM drains, a second one leaves at once; SIGHUP checks the configuration file and restarts with it.
    """
    from enricher.telemetry import Telemetry  # noqa: PLC0415

    _logging(quiet=False)
    telemetry = Telemetry()
    settings: Config | None = configuration.load(config)
    while settings is not None:
        settings = asyncio.run(_until_stopped(partial(_serve, settings, config, telemetry)))
        if settings is not None:
            telemetry.reload_finished()


@cli.command()
def once(
    paths: PathsArgument = None,
    config: ConfigOption = None,
    *,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit, and exit 75 until the batches are done.")] = False,
) -> None:
    """Read what the files hold now, ask, wait, write everything; interrupted, it resumes."""
    from enricher.compose import Mode  # noqa: PLC0415

    out, err = show.consoles()
    _logging(quiet=err.is_terminal)
    settings = _with_paths(configuration.load_or_here(config), paths)
    summary = _once(settings, config, Mode(once=True, wait=not no_wait))
    out.print(
        f"{summary.written_events:,} events written to " + ", ".join(str(one.directory) for one in settings.sinks)
    )


@cli.command()
def demo(
    paths: PathsArgument = None,
    *,
    limit: Annotated[int, typer.Option(help="Ask about so many kinds of event at most.", min=1)] = 40,
    small: Annotated[bool, typer.Option("--small", help="Use the smaller embedded model.")] = False,
) -> None:
    """Enrich /var/log (or PATH) with the embedded model into ./enricher-demo, and show what was found."""
    from enricher import demo as demonstration  # noqa: PLC0415

    _logging(quiet=True)
    _check_paths(paths)
    asyncio.run(_until_stopped(lambda stop: demonstration.run(stop, paths=paths or [], limit=limit, small=small)))


@cli.command()
def plan(
    paths: PathsArgument = None,
    config: ConfigOption = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the files that would be uploaded.")
    ] = None,
    as_sent: Annotated[
        bool, typer.Option("--show", help="Print what would be uploaded, byte for byte, and nothing else.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show windows, signatures, requests, tokens and three costs; nothing is sent and no state is changed."""
    from enricher import dryrun  # noqa: PLC0415

    _logging(quiet=True)
    settings = _with_paths(configuration.load_or_here(config), paths)
    tell = sys.stdout.buffer.write if as_sent else None
    report = asyncio.run(dryrun.plan(settings, config_path=config, environment=os.environ, out=out, tell=tell))
    if as_sent:
        sys.stdout.buffer.flush()
    elif as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
    else:
        console, _ = show.consoles()
        dryrun.print_report(console, report, out)


@cli.command()
def evaluate(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A shipped task by name, or a path.")],
    dataset: Annotated[
        Path | None,
        typer.Argument(metavar="[DATASET]", help="Labelled lines (JSONL); else those shipped with the task."),
    ] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Ask a task about labelled lines, and show how well the answers agree; interrupted, it resumes."""
    from enricher import evaluation  # noqa: PLC0415 - only a command that runs pays for it

    out, err = show.consoles()
    _logging(quiet=err.is_terminal or as_json)
    settings = configuration.load_or_here(config)

    async def work(stop: asyncio.Event) -> evaluation.Evaluation:
        with show.progress(err) as bar:
            return await evaluation.evaluate(
                stop, settings, config_path=config, task=task, dataset=dataset, tell=_bar(bar)
            )

    result = asyncio.run(_until_stopped(work))
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        evaluation.print_evaluation(out, result)


@cli.command()
def validate(
    config: ConfigOption = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Do not call the provider.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration, the sources, permissions, the key, the provider and the sinks."""
    from enricher import checks  # noqa: PLC0415

    _logging(quiet=True)
    settings = configuration.load(config)
    findings = asyncio.run(checks.validate(settings, config_path=config, environment=os.environ, offline=offline))
    if as_json:
        typer.echo(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        console, _ = show.consoles()
        checks.print_findings(console, findings)
    faults = [f"{finding.subject}: {finding.text}" for finding in findings if finding.is_fault]
    if faults and as_json:
        raise typer.Exit(EXIT_CONFIG)
    if faults:
        raise ConfigError(
            [f"{len(faults)} of the checks above failed"], hint="mend them and run enricher validate again"
        )


@cli.command()
def status(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show files and lag, windows, batches, spend and sinks; reads beside a running daemon."""
    from enricher import checks  # noqa: PLC0415

    _logging(quiet=True)
    settings = configuration.load_or_here(config)
    report = asyncio.run(checks.status(settings))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        console, _ = show.consoles()
        checks.print_status(console, report)


# ---------------------------------------------------------------- the batch server and the embedded model


@cli.command(name="serve-batches")
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
) -> None:
    """Serve OpenAI's Files and Batches API over a model of yours, or over the embedded one.

    Clients need the key in ENRICHER_SERVER_KEY if it is set; the upstream gets the one in UPSTREAM_API_KEY.
    """
    from enricher import batchcommand  # noqa: PLC0415

    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise UsageError(f"--listen {listen}: is HOST:PORT, such as 127.0.0.1:8090")
    _logging(quiet=True)
    asyncio.run(
        _until_stopped(
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
    from enricher import batchcommand  # noqa: PLC0415

    batchcommand.pull(small=small, file=file, url=url)


@model_cli.command(name="list")
def model_list(*, as_json: JsonOption = False) -> None:
    """List the models that are known, and which are here."""
    from enricher import batchcommand  # noqa: PLC0415

    batchcommand.list_models(as_json=as_json)


# ---------------------------------------------------------------- shared by the commands above


def _logging(*, quiet: bool) -> None:
    from enricher.telemetry import configure_logging  # noqa: PLC0415 - costs what only some commands pay

    # Under a progress bar only what an operator must see; elsewhere every happening, as JSON.
    configure_logging(level=logging.ERROR if quiet else logging.INFO)


def _check_paths(paths: Sequence[Path] | None) -> None:
    missing = [path for path in paths or () if not path.exists()]
    if missing:
        raise UsageError(
            "\n".join(f"{path}: there is no such file or directory" for path in missing), hint="check the spelling"
        )


def _with_paths(config: Config, paths: Sequence[Path] | None) -> Config:
    if not paths:
        return config
    from enricher import compose  # noqa: PLC0415

    _check_paths(paths)
    return config.model_copy(update={"sources": (compose.source_of(paths, "paths"),)})


def _once(settings: Config, config_path: Path | None, mode: Mode) -> StoreSummary:
    from enricher import app  # noqa: PLC0415
    from enricher import provider as providers  # noqa: PLC0415
    from enricher.telemetry import Telemetry  # noqa: PLC0415

    provider = providers.choose(settings, environment=os.environ, config_path=config_path, now=app.wall_time())
    _, err = show.consoles()

    async def work(stop: asyncio.Event) -> StoreSummary:
        enricher = app.Enricher(config=settings, provider=provider, telemetry=Telemetry(), mode=mode)
        try:
            await enricher.open()
            with show.progress(err) as bar:
                return await enricher.once(stop, _bar(bar))
        finally:
            await enricher.close()

    return asyncio.run(_until_stopped(work))


def _bar(bar: Any) -> Callable[[Progress], None]:  # noqa: ANN401 - rich's Progress, imported by show alone
    task = bar.add_task("reading", total=None)

    def tell(progress: Progress) -> None:
        if progress.phase == "reading":
            total = progress.read_bytes + progress.unread_bytes
            bar.update(
                task, description=f"reading: {progress.events:,} events", completed=progress.read_bytes, total=total
            )
        else:
            note = f" ({show.safe(progress.note, limit=60)})" if progress.note else ""
            asked = progress.requests_total or None
            bar.update(task, description=f"asking{note}", completed=progress.requests_done, total=asked)

    return tell


async def _until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, _T]]) -> _T:
    """Run a command whose stop event SIGTERM and SIGINT set; a second one of either leaves at once."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop_or_leave, stop)
    return await work(stop)


def _stop_or_leave(stop: asyncio.Event) -> None:
    if stop.is_set():
        # Everything durable is in the store; whatever is half done is found there again.
        os._exit(EXIT_AGAIN)
    stop.set()


async def _serve(
    settings: Config, config_path: Path | None, telemetry: Telemetry, stop: asyncio.Event
) -> Config | None:
    """Run the daemon until it is stopped (None) or reloaded (the new configuration)."""
    from enricher import app, compose  # noqa: PLC0415
    from enricher import provider as providers  # noqa: PLC0415
    from enricher.edges.systemd import Notifier  # noqa: PLC0415

    reloaded: list[Config] = []

    def reload() -> None:
        try:
            fresh = configuration.load(config_path)
            providers.choose(fresh, environment=os.environ, config_path=config_path, now=app.wall_time())
        except ConfigError as fault:
            telemetry.reload_refused(faults=fault.faults)
            notifier.ready()
            return
        reloaded.append(fresh)
        notifier.reloading()
        stop.set()

    notifier = Notifier(os.environ)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    provider = providers.choose(settings, environment=os.environ, config_path=config_path, now=app.wall_time())
    enricher = app.Enricher(config=settings, provider=provider, telemetry=telemetry, mode=compose.Mode(once=False))
    try:
        await enricher.open()
        await enricher.run(stop, notifier)
    finally:
        await enricher.close()
    return reloaded[-1] if reloaded else None
