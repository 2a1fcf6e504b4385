"""The commands that enrich: `run`, `once`, `demo`."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enricher import config as configuration
from enricher import show
from enricher.cli.options import ConfigOption, PathsArgument, check_paths, with_paths
from enricher.cli.running import Hangups, leave_within, set_up_logging, to_bar, until_stopped
from enricher.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from enricher.access import Access
    from enricher.compose import Mode
    from enricher.config import Config
    from enricher.core.books import StoreSummary
    from enricher.edges.systemd import Notifier
    from enricher.telemetry import Telemetry

_LEAVE_SECONDS: Final = 2.0
"""How long threads may go on after everything is closed: with the drain, a stop takes less than 10 s."""


def run(config: ConfigOption = None) -> None:
    """Follow the configured sources until stopped: the daemon.

    SIGTERM drains, a second one leaves at once; SIGHUP checks the configuration file and restarts with it.
    """
    from enricher.telemetry import Telemetry

    set_up_logging(quiet=False)
    hangups = Hangups()
    settings = configuration.load(config)
    asyncio.run(until_stopped(partial(_serve, settings, config, Telemetry(), hangups)))


async def _serve(
    settings: Config, config_path: Path | None, telemetry: Telemetry, hangups: Hangups, stop: asyncio.Event
) -> None:
    """Run the daemon until it is stopped, and again with each new configuration.

    One loop for all of it, as its end takes the handlers of signals away: nobody heard them until the next one ran.
    """
    from enricher.edges.systemd import Notifier

    fresh: Config | None = settings
    while fresh is not None:
        fresh = await _live(fresh, config_path, telemetry, Notifier(os.environ), hangups, stop)
        if stop.is_set():
            break  # it drained for a reload when it was told to stop
        if fresh is not None:
            telemetry.reload_finished()
    leave_within(_LEAVE_SECONDS)


async def _live(
    settings: Config,
    config_path: Path | None,
    telemetry: Telemetry,
    notifier: Notifier,
    hangups: Hangups,
    stop: asyncio.Event,
) -> Config | None:
    """Run the daemon with one configuration, until it is stopped (None) or has another one to run with."""
    from enricher import app, compose
    from enricher import provider as providers
    from enricher.access import read_access
    from enricher.daemon import Daemon

    def checked(candidate: Config) -> tuple[providers.Provider, Access]:
        provider = providers.choose(candidate, environment=os.environ, config_path=config_path, now=app.wall_time())
        return provider, read_access(candidate.admin, os.environ)

    def reload() -> Config | None:
        try:
            fresh = configuration.load(config_path)
            checked(fresh)
        except ConfigError as fault:
            telemetry.reload_refused(faults=fault.faults)
            notifier.ready()
            return None
        notifier.reloading()
        return fresh

    provider, access = checked(settings)
    enricher = app.Enricher(config=settings, provider=provider, telemetry=telemetry, mode=compose.Mode(once=False))
    ending = asyncio.Event()
    awaiting_end = asyncio.create_task(_await_end(stop, hangups, reload, ending))
    try:
        await enricher.open()
        await Daemon(enricher).run(ending, notifier, access)
    finally:
        await enricher.close()
        awaiting_end.cancel()
    return await awaiting_end


async def _await_end(
    stop: asyncio.Event, hangups: Hangups, reload: Callable[[], Config | None], ending: asyncio.Event
) -> Config | None:
    """Set `ending` when the daemon is stopped (None), or hung up and `reload` found a configuration to go on with."""
    stopped = asyncio.create_task(stop.wait())
    hung_up = asyncio.create_task(hangups.next())
    try:
        while True:
            await asyncio.wait((stopped, hung_up), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                return None
            if (fresh := reload()) is not None:
                return fresh
            hung_up = asyncio.create_task(hangups.next())
    finally:
        ending.set()
        stopped.cancel()
        hung_up.cancel()


def once(
    paths: PathsArgument = None,
    config: ConfigOption = None,
    *,
    digest: Annotated[
        bool, typer.Option("--digest", help="Also ask what happened in each window, for its digest.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit, and exit 75 until the batches are done.")] = False,
) -> None:
    """Read what the files hold now, ask, wait, write everything; interrupted, it resumes."""
    from enricher.compose import Mode

    out, err = show.consoles()
    set_up_logging(quiet=err.is_terminal)
    settings = with_paths(configuration.load_or_here(config), paths)
    summary = _once(settings, config, Mode(once=True, wait=not no_wait, digest=digest))
    out.print(
        f"{summary.written_events:,} events written to " + ", ".join(str(one.directory) for one in settings.sinks)
    )
    for note in _left_unasked(summary):
        out.print(note, soft_wrap=True)


def _left_unasked(summary: StoreSummary) -> list[str]:
    """Why some of what was written has no answer."""
    notes = []
    if summary.open_breakers:
        names = ", ".join(sorted(summary.open_breakers))
        notes.append(f"new kinds were not asked (skipped_policy): the breaker is open for {show.safe(names)}")
    if skipped := summary.requests.get("skipped"):
        notes.append(f"{skipped:,} requests were not sent (skipped_budget): see [budget] and enricher status")
    if failed := summary.requests.get("failed"):
        notes.append(f"{failed:,} requests failed: see enricher signatures list --unanswered")
    return notes


def _once(settings: Config, config_path: Path | None, mode: Mode) -> StoreSummary:
    from enricher import app
    from enricher import provider as providers
    from enricher.once import Once
    from enricher.telemetry import Telemetry

    provider = providers.choose(settings, environment=os.environ, config_path=config_path, now=app.wall_time())
    if not mode.wait:
        providers.check_lasting(provider)
    if mode.digest and provider.kind == "local":
        raise UsageError(
            "--digest: the embedded model is asked about one kind of event at a time, not about windows",
            hint="digest.json and digest.md are written without it, by counting",
        )
    _, err = show.consoles()

    async def work(stop: asyncio.Event) -> StoreSummary:
        enricher = app.Enricher(config=settings, provider=provider, telemetry=Telemetry(), mode=mode)
        try:
            await enricher.open()
            with show.progress(err) as bar:
                return await Once(enricher).run(stop, to_bar(bar))
        finally:
            await enricher.close()

    return asyncio.run(until_stopped(work))


def demo(
    paths: PathsArgument = None,
    *,
    limit: Annotated[int, typer.Option(help="Ask about so many kinds of event at most.", min=1)] = 40,
    small: Annotated[bool, typer.Option("--small", help="Use the smaller embedded model.")] = False,
) -> None:
    """Enrich /var/log (or PATH) with the embedded model into ./enricher-demo, and show what was found."""
    from enricher import demo as demonstration

    set_up_logging(quiet=True)
    check_paths(paths)
    asyncio.run(until_stopped(lambda stop: demonstration.run(stop, paths=paths or [], limit=limit, small=small)))
