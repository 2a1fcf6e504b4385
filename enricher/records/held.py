"""Rows and answers that are held in memory: an input and an output as those of files are, for an evaluation.

Never here: what a row or an answer is worth.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from enricher.ports.records import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ROWS_AT_ONCE: Final = 1_000


@dataclass(slots=True, kw_only=True)
class HeldRows:
    """Implements `ports.RecordInput` over rows that are there already."""

    name: str
    keys: Sequence[str]
    values: Sequence[Mapping[str, object]]
    key_column: str = ""
    text_column: str | None = None
    skipped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    _fingerprint: str = ""

    def columns(self) -> Sequence[str]:
        """Every column that a row has."""
        return tuple(dict.fromkeys(name for row in self.values for name in row))

    def fingerprint(self) -> str:
        """Of all that is in it: made once, since each cell of an evaluation asks for it."""
        if not self._fingerprint:
            hashed = hashlib.sha256()
            for row in zip(self.keys, self.values, strict=True):
                hashed.update(json.dumps(row, default=str).encode())
            self._fingerprint = hashed.hexdigest()[:32]
        return self._fingerprint

    def rows(self) -> Iterator[Rows]:
        """Every row, some at a time."""
        for first in range(0, len(self.keys), _ROWS_AT_ONCE):
            part = slice(first, first + _ROWS_AT_ONCE)
            yield Rows(keys=self.keys[part], values=self.values[part])

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back about one row."""

    answer: Mapping[str, Any] | None
    error: str = ""
    """Why there is no answer."""


class HeldReplies:
    """Implements `ports.RecordOutput`: keeps the answers to rows, in their order."""

    def __init__(self, name: str, fields: Sequence[str]) -> None:
        """`fields` are the columns that an answer fills."""
        self.name = name
        self.replies: list[Reply] = []
        self._fields = fields

    def begin(self, columns: Sequence[str]) -> None:
        """All columns but the answer's are in the input already."""
        del columns
        self.replies.clear()

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Keep the answers among these rows."""
        for row in rows:
            if row["status"] == "ok":
                self.replies.append(Reply({name: row[name] for name in self._fields if name in row}))
            else:
                self.replies.append(Reply(None, f"{row['status']}: {row['error']}"))

    def seal(self) -> str:
        """It lasts as long as the process."""
        return ""

    def finish(self) -> None:
        """It is whole."""

    def abandon(self) -> None:
        """Forget what was written."""
        self.replies.clear()
