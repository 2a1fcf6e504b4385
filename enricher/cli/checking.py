"""The commands that look and change nothing: `plan`, `validate`, `status`, `cost`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from enricher import config as configuration
from enricher import show
from enricher.cli.options import ConfigOption, JsonOption, PathsArgument, with_paths
from enricher.cli.running import EXIT_CONFIG, set_up_logging
from enricher.core.spending import BY
from enricher.errors import ConfigError, UsageError


def plan(
    paths: PathsArgument = None,
    config: ConfigOption = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the files that would be uploaded.")
    ] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Put what `run` asks about whole windows among what is shown or written.")
    ] = False,
    as_sent: Annotated[
        bool, typer.Option("--show", help="Print what would be uploaded, byte for byte, and nothing else.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show windows, signatures, requests, tokens and three costs; nothing is sent and no state is changed."""
    from enricher import dryrun

    set_up_logging(quiet=True)
    settings = with_paths(configuration.load_or_here(config), paths)
    tell = sys.stdout.buffer.write if as_sent else None
    report = asyncio.run(
        dryrun.plan(settings, config_path=config, environment=os.environ, out=out, tell=tell, digest=digest)
    )
    if as_sent:
        sys.stdout.buffer.flush()
    elif as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
    else:
        console, _ = show.consoles()
        dryrun.print_report(console, report, out)


def validate(
    config: ConfigOption = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Do not call the provider.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration, the sources, permissions, the key, the provider and the sinks."""
    from enricher import checks

    set_up_logging(quiet=True)
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


def status(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show files and lag, windows, batches, spend and sinks; reads beside a running daemon."""
    from enricher import checks

    set_up_logging(quiet=True)
    settings = configuration.load_or_here(config)
    report = asyncio.run(checks.status(settings))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        console, _ = show.consoles()
        checks.print_status(console, report)


def cost(
    config: ConfigOption = None,
    *,
    by: Annotated[str, typer.Option("--by", metavar="|".join(BY), help="What a row is about; days are UTC.")] = "day",
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show what was spent on events and records, and what it would have cost otherwise; reads beside a daemon."""
    from enricher import costcommand

    set_up_logging(quiet=True)
    grouped = next((one for one in BY if one == by), None)
    if grouped is None:
        raise UsageError(f"--by {by}: is none of {', '.join(BY)}")
    if as_json and as_csv:
        raise UsageError("--json and --csv: one of them", hint="leave one out")
    found = asyncio.run(costcommand.report(configuration.load_or_here(config), config_path=config, by=grouped))
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    elif as_csv:
        typer.echo(found.to_csv(), nl=False)
    else:
        console, _ = show.consoles()
        costcommand.print_report(console, found)
