"""What is read: `[[sources]]`."""

from __future__ import annotations

import math
import re
from typing import Any, Final, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from enricher.config.values import MOST, Identifier, Strings, Table, path_of
from enricher.core.pattern import compile_pattern
from enricher.core.record_form import OWN_KEYS
from enricher.core.timestamp_formats import UserTime
from enricher.wording import shown

_LONGEST_START: Final = len("since:") + 9 + len("d")


class TimePattern(Table):
    """A pattern of the user's for the time of a line."""

    regex: str
    """Regular expression with a group named `time`."""
    format: str
    """How to read that group: strptime directives."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, regex: str) -> str:
        if "time" not in compile_pattern(regex).regex.groupindex:
            raise ValueError("needs a group named time: (?P<time>...)")
        return regex

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        UserTime.from_text(self.regex, self.format)
        return self


class MultilineSettings(Table):
    """Which lines make one event: built-in rules, none, or a pattern of the user's."""

    mode: Literal["auto", "off"] = "auto"
    start: str | None = None
    """A line with this starts an event, any other continues one."""
    continues: str | None = None
    """A line with this continues the event before it."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_word_or_a_table(cls, value: object) -> object:
        if isinstance(value, dict):
            if len(value.keys() & {"start", "continues"}) != 1 or "mode" in value:
                raise ValueError('is "auto", "off", { start = "REGEX" } or { continues = "REGEX" }')
            return value
        if value not in ("auto", "off"):
            raise ValueError('is "auto", "off", { start = "REGEX" } or { continues = "REGEX" }')
        return {"mode": value}

    @field_validator("start", "continues")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            compile_pattern(pattern)
        return pattern

    @property
    def rule(self) -> tuple[str, str | None]:
        """As `core.keying` takes it: `auto`, `off`, `start` or `continues`, and the pattern."""
        if self.start is not None:
            return "start", self.start
        return (self.mode, None) if self.continues is None else ("continues", self.continues)


class SourceSettings(Table):
    """One `[[sources]]` table."""

    id: Identifier
    type: Literal["files"] = "files"
    include: Strings
    exclude: Strings = ()
    start: str = "beginning"
    timezone: str = "UTC"
    time_pattern: TimePattern | None = None
    multiline: MultilineSettings = Field(default_factory=lambda: MultilineSettings.model_validate("auto"))
    ask: Literal["kind", "event"] = "kind"
    drop: Strings = ()
    fields: dict[str, Any] = Field(default_factory=dict)

    @field_validator("include")
    @classmethod
    def _are_some(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if not patterns:
            raise ValueError("needs at least one path or glob")
        return tuple(str(path_of(pattern)) if pattern.startswith("~") else pattern for pattern in patterns)

    @field_validator("start")
    @classmethod
    def _is_a_start(cls, start: str) -> str:
        if not re.fullmatch(r"beginning|end|since:[1-9][0-9]*[smhd]", start):
            raise ValueError('is "beginning", "end", or "since:" with a number and s, m, h or d, such as "since:24h"')
        if len(start) > _LONGEST_START:
            raise ValueError('is longer ago than there are files: "beginning" takes all of them')
        return start

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"no time zone is named {name!r}; use an IANA name such as Europe/Berlin")
        ZoneInfo(name)
        return name

    @field_validator("fields")
    @classmethod
    def _are_free(cls, fields: dict[str, Any]) -> dict[str, str | int | float | bool]:
        for name, value in fields.items():
            if not name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} is no name for a field")
            is_written = isinstance(value, str | bool) or (
                abs(value) <= MOST if isinstance(value, int) else isinstance(value, float) and math.isfinite(value)
            )
            if not is_written:
                raise ValueError(f"{shown(name)} is text, a finite number, true or false, not {shown(value)}")
        taken = [name for name in fields if name in OWN_KEYS or name.startswith("enrichment.")]
        if taken:
            raise ValueError(f"{taken[0]!r} is written by enricher itself; choose another name")
        return fields

    @field_validator("drop")
    @classmethod
    def _compile_all(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            compile_pattern(pattern)
        return patterns
