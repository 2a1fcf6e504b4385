"""Options and arguments that several commands have, and what is done with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enricher.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.config import Config

ConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="Configuration file (TOML).", show_default=False)
]
PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[PATH]...", help="Files and directories, instead of the configured sources."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def check_paths(paths: Sequence[Path] | None) -> None:
    """Raise `UsageError` if one of them is not there."""
    missing = [path for path in paths or () if not path.exists()]
    if missing:
        raise UsageError(
            "\n".join(f"{path}: there is no such file or directory" for path in missing), hint="check the spelling"
        )


def with_paths(config: Config, paths: Sequence[Path] | None) -> Config:
    """The configuration, with these paths for its sources if there are any. Raises `UsageError` as `check_paths`."""
    if not paths:
        return config
    from enricher import compose

    check_paths(paths)
    return config.model_copy(update={"sources": (compose.source_of(paths, "paths"),)})
