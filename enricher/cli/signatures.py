"""The commands `signatures …`: arguments in, what `cataloguecommand` finds out."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from enricher import config as configuration
from enricher import show
from enricher.cli.options import ConfigOption, JsonOption
from enricher.cli.running import set_up_logging
from enricher.core.catalogue import Listing, Sort
from enricher.core.verdict import Severity

signatures_cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The catalogue of answers.")

_IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Signatures; a beginning will do.")]
_MOST_LISTED = 1_000_000


@signatures_cli.command(name="list")
def list_signatures(
    config: ConfigOption = None,
    *,
    severity: Annotated[Severity | None, typer.Option(help="Only those of this severity.")] = None,
    unanswered: Annotated[bool, typer.Option("--unanswered", help="Only those without an answer.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_LISTED, help="So many at most.")] = 50,
    sort: Annotated[Sort, typer.Option(help="Most events, newest, or gravest first.")] = "count",
    as_json: JsonOption = False,
) -> None:
    """List kinds of event with what is known of them."""
    from enricher import cataloguecommand as command

    settings, key = _settings(config)
    listing = Listing(limit=limit, sort=sort, severity=severity, is_unanswered=unanswered)
    found = asyncio.run(command.entries(settings, key, listing))
    if as_json:
        _print_json([command.entry_json(entry) for entry in found])
    else:
        command.print_entries(show.consoles()[0], found)


@signatures_cli.command(name="show")
def show_signature(
    signature: Annotated[str, typer.Argument(metavar="ID", help="Its id; a beginning will do.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a kind of event: its template, its answer, what was merged into it and why."""
    from enricher import cataloguecommand as command

    settings, key = _settings(config)
    found, examples = asyncio.run(command.detail(settings, key, signature))
    if as_json:
        _print_json(command.detail_json(found, examples))
    else:
        command.print_detail(show.consoles()[0], found, examples)


@signatures_cli.command(name="export")
def export_signatures(
    config: ConfigOption = None,
    *,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here, not to the terminal.")] = None,
) -> None:
    """Write every kind that has an answer, one JSON object a line, for another host to import."""
    from enricher import cataloguecommand as command

    settings, key = _settings(config)
    written = asyncio.run(command.export(settings, key, out))
    if out is not None:
        show.consoles()[0].print(f"{written:,} signatures written to {show.safe(str(out))}", soft_wrap=True)


@signatures_cli.command(name="import")
def import_signatures(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `enricher signatures export` wrote.")],
    config: ConfigOption = None,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Where there is an answer, keep it, even an older one.")] = False,
) -> None:
    """Take in the answers of another catalogue: they are used at no cost."""
    from enricher import cataloguecommand as command

    settings, _ = _settings(config)
    done = asyncio.run(command.import_file(settings, file, keep=keep))
    text = f"{done.taken:,} answers taken in, {done.replaced:,} of them for older ones; {done.kept:,} left as they were"
    show.consoles()[0].print(text)


@signatures_cli.command(name="forget")
def forget_signatures(
    ids: _IdsArgument = None,
    config: ConfigOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    task: Annotated[str | None, typer.Option(metavar="HASH", help="With --all: answers of this task version.")] = None,
) -> None:
    """Drop answers; their kinds are asked again when they are seen next."""
    from enricher import cataloguecommand as command

    settings, _ = _settings(config)
    number = asyncio.run(command.forget(settings, ids or (), every=every, task=task))
    show.consoles()[0].print(f"{number:,} signatures have no answer any more")


@signatures_cli.command(name="refresh")
def refresh_signatures(
    ids: _IdsArgument = None,
    config: ConfigOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Those answered longer ago, such as 30d.")
    ] = None,
) -> None:
    """Have kinds asked again, within budget, when they are seen next; the old answers serve until then."""
    from enricher import cataloguecommand as command

    settings, _ = _settings(config)
    number = asyncio.run(command.refresh(settings, ids or (), every=every, older_than=older_than))
    show.consoles()[0].print(f"{number:,} signatures are asked again when they are seen next")


def _settings(path: Path | None) -> tuple[configuration.Config, Any]:
    from enricher import cataloguecommand as command

    set_up_logging(quiet=True)
    settings = configuration.load_or_here(path)
    return settings, command.key_of(settings, config_path=path, environment=os.environ)


def _print_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=True))
