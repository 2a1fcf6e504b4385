"""Paths into an answer: `summary`, `invoice.total`, `evidence[].quote`, where `[]` is each member of an array.

A path finds what is there and nothing where a part of it is missing; it never raises on an answer, whatever it holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_NAME: Final = re.compile(r"[^.\[\]\s][^.\[\]]*")
EACH: Final = "[]"


@dataclass(frozen=True, slots=True)
class Path:
    """Where in an answer; `str` gives it as it was written."""

    steps: tuple[str, ...]
    """Names of members, and `EACH`, which is none."""

    def __str__(self) -> str:
        return ".".join(self.steps).replace("." + EACH, EACH)

    def find(self, answer: object) -> list[Any]:
        """Give every value that stands at this place, in order; none where there is no such place."""
        found: list[Any] = [answer]
        for step in self.steps:
            if step == EACH:
                found = [member for value in found if isinstance(value, list | tuple) for member in value]
            else:
                found = [value[step] for value in found if isinstance(value, dict) and step in value]
        return found

    def strings(self, answer: object) -> list[str]:
        """Give every string at this place, or in an array that stands there."""
        texts: list[str] = []
        for value in self.find(answer):
            members = value if isinstance(value, list | tuple) else [value]
            texts += [one for one in members if isinstance(one, str)]
        return texts


def parse_path(text: str) -> Path:
    """Read a path. Raises ValueError, for its author, where it is none."""
    steps: list[str] = []
    for part in text.split("."):
        name = part.removesuffix(EACH)
        if not _NAME.fullmatch(name):
            raise ValueError(f"{text!r} is no path: write names with dots between, and [] for each member of an array")
        steps.append(name)
        if name != part:
            steps.append(EACH)
    return Path(tuple(steps))


def path_fault(text: str) -> str | None:
    """Say why a text is no path, None where it is one."""
    try:
        parse_path(text)
    except ValueError as error:
        return str(error)
    return None
