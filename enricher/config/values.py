"""What may stand in a table of the configuration: a table, and the kinds of value that several tables have.

A value is refused in words that go on from the option's name. Must never: look whether a path or a host is there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MOST: Final = 2**63 - 1
"""What a whole number of TOML, and of JSON for most readers, may be."""


def _plain(text: str) -> str:
    """Text that something can be named by. Raises ValueError."""
    if not text.strip():
        raise ValueError("is empty")
    if not text.isprintable():
        raise ValueError("holds a control character")
    return text


def path_of(text: object) -> object:
    """Text as a path, a home directory in it found. Raises ValueError."""
    if not isinstance(text, str):
        return text
    try:
        return Path(_plain(text)).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user whose home {text.partition('/')[0]} could be") from None


Plain = Annotated[str, AfterValidator(_plain)]
Strings = Annotated[tuple[Plain, ...], Field(strict=False)]
PathText = Annotated[Path, BeforeValidator(path_of)]
NoneOrPath = Annotated[Path | None, BeforeValidator(lambda text: path_of(text) if text != "" else None)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text):
        raise ValueError(f"is 1 to 64 letters, digits, dots, dashes and underscores, not {text!r}")
    return text


Identifier = Annotated[str, AfterValidator(_identifier)]


class Table(BaseModel):
    """A TOML table: unknown keys are refused, values are of their TOML type, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
