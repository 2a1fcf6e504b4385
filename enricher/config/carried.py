"""The files of `config/` that the package carries: the configuration that shows every option, tasks, alerts."""

from __future__ import annotations

import errno
import os
from importlib import resources
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parent.parent
_CHECKOUT: Final = _PACKAGE.parent / "config"


def shipped_path(name: str) -> Path:
    """Where a file of `config/` lies or would lie, in the installed package or in the checkout."""
    packed = _PACKAGE / "shipped" / name
    return packed if packed.is_file() else _CHECKOUT / name


def shipped(name: str) -> str:
    """Text of a file of `config/`, from the installed package or from the checkout. OSError where there is none.

    A name may come out of a task file of somebody else's; one that leads out of the directory names nothing.
    """
    if ".." in name.split("/") or name.startswith("/") or not name.isprintable():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    packed = resources.files("enricher").joinpath("shipped", name)
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return (_CHECKOUT / name).read_text(encoding="utf-8")


def shipped_names(directory: str, suffix: str) -> list[str]:
    """Names of the files of a directory of `config/` with this suffix, without it."""
    packed = resources.files("enricher").joinpath("shipped", directory)
    there = packed if packed.is_dir() else _CHECKOUT / directory
    return sorted(one.name.removesuffix(suffix) for one in there.iterdir() if one.name.endswith(suffix))
