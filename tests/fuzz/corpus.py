"""The seeds of each target: files of lines `{"data": …, "why": …}`, each byte of the data as the character of its code.

What a fuzzer found is added here with the name of what it broke, and runs from then on with the tests.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TARGETS = ("timestamps", "signatures", "multiline", "results", "settings")
DIRECTORY = Path(__file__).parent / "corpus"


def check_of(target: str) -> Callable[[bytes], None]:
    """The function of a target that takes any bytes."""
    check: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.{target}").check
    return check


def seeds(target: str) -> list[tuple[str, bytes]]:
    """Why each seed is there, and the seed."""
    text = (DIRECTORY / f"{target}.jsonl").read_text(encoding="utf-8")
    entries = [json.loads(line) for line in text.splitlines()]
    return [(entry["why"], entry["data"].encode("latin-1")) for entry in entries]


def as_line(why: str, data: bytes) -> str:
    """A seed as it stands in the file."""
    return json.dumps({"why": why, "data": data.decode("latin-1")}, ensure_ascii=False)
