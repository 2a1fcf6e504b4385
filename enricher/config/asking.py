"""When a model is asked, about what, whom, and at what price: `[window]` and the tables from `[task]` to `[budget]`."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from enricher.config.values import MOST, Plain, Seconds, Table, Usd
from enricher.core.loopback import is_loopback
from enricher.core.task import OnChange

_NO_SPACE: Final = re.compile(r"[!-~]+")


class WindowSettings(Table):
    """`[window]`."""

    length: Literal["1h", "1d"] = "1h"
    allowed_lateness_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    max_wait_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    digest: bool | Literal["counts"] = True

    @field_validator("digest", mode="before")
    @classmethod
    def _is_a_digest(cls, value: object) -> object:
        if not isinstance(value, bool) and value != "counts":
            raise ValueError('is true, false or "counts"')
        return value

    @property
    def length_seconds(self) -> int:
        """Length of a window in seconds."""
        return 3600 if self.length == "1h" else 86400


class TaskSettings(Table):
    """`[task]`."""

    file: Plain = "logs"
    on_change: OnChange = "keep"
    expire_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class EvaluationSettings(Table):
    """`[evaluation]`."""

    nightly_at: str = ""

    @field_validator("nightly_at")
    @classmethod
    def _is_a_time(cls, at: str) -> str:
        if at and not re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", at):
            raise ValueError('is a time of day in UTC, such as "03:00", or "" for never')
        return at

    @property
    def at_seconds(self) -> int | None:
        """Seconds after midnight; None for never."""
        hours, _, minutes = self.nightly_at.partition(":")
        return int(hours) * 3600 + int(minutes) * 60 if hours else None


class PrivacySettings(Table):
    """`[privacy]`."""

    mode: Literal["templates", "redacted", "raw"] = "redacted"


class ProviderSettings(Table):
    """`[provider]`."""

    type: Literal["openai", "local"] = "openai"
    base_url: str = "https://api.openai.com/v1"
    endpoint: Literal["/v1/responses", "/v1/chat/completions"] = "/v1/responses"
    model: Plain = "gpt-6-luna"
    reasoning_effort: Literal["", "none", "minimal", "low", "medium", "high"] = "none"
    request_timeout_seconds: Seconds = 600.0

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and _NO_SPACE.fullmatch(url)
        except ValueError:  # a bracket or a port that is none
            good = False
        if not good:
            raise ValueError("is an address such as https://api.openai.com/v1")
        if parts.username or parts.password:
            raise ValueError("holds a secret; keys come from the environment or a systemd credential")
        if parts.query or parts.fragment:
            raise ValueError("goes on behind a ? or #; that is no part of an API's address, and may hold a secret")
        return url.rstrip("/")

    @property
    def is_on_loopback(self) -> bool:
        """Whether what is sent stays on this host."""
        return is_loopback(urlsplit(self.base_url).hostname or "")


class BatchSettings(Table):
    """`[batch]`."""

    max_requests: Annotated[int, Field(ge=1, le=50_000)] = 50_000
    max_bytes: Annotated[int, Field(ge=100_000, le=209_715_200)] = 190_000_000
    max_tokens: Annotated[int, Field(ge=1_000, le=MOST)] = 100_000_000
    signatures_per_request: Annotated[int, Field(ge=1, le=100)] = 10
    poll_interval_seconds: Annotated[float, Field(ge=0.01, le=3600.0, allow_inf_nan=False)] = 60.0


class PriceSettings(Table):
    """`[prices]`: USD per million tokens, for models that the price table does not know."""

    input_usd: Usd
    cached_usd: Usd
    output_usd: Usd
    batch_input_usd: Usd
    batch_cached_usd: Usd
    batch_output_usd: Usd
    as_of: str

    @field_validator("as_of")
    @classmethod
    def _is_a_day(cls, day: str) -> str:
        try:
            return dt.date.fromisoformat(day).isoformat()
        except ValueError:
            raise ValueError('is a day, such as "2026-11-22"') from None


class BudgetSettings(Table):
    """`[budget]`."""

    daily_usd: Usd = 5.0
    monthly_usd: Usd = 100.0
    when_over: Literal["deliver", "hold"] = "deliver"
