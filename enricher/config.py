"""The configuration: one frozen object out of one TOML file, every fault of it reported at once.

`config/enricher.toml` shows every option at its default; a test compares the two. Secrets are never here: the key comes
from the environment or a systemd credential (`edges.credential`). Nothing is read lazily: what `load` returns is whole.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from enricher.core.loopback import is_loopback
from enricher.core.pattern import compile_pattern
from enricher.core.record_form import OWN_KEYS
from enricher.core.task import OnChange
from enricher.errors import ConfigError

SYSTEM_FILE = Path("/etc/enricher/enricher.toml")
SEVERITIES = ("trace", "debug", "info", "notice", "warning", "error", "critical", "fatal")

Strings = Annotated[tuple[str, ...], Field(strict=False)]
PathText = Annotated[Path, BeforeValidator(lambda text: Path(text).expanduser() if isinstance(text, str) else text)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Table(BaseModel):
    """A TOML table: unknown keys are refused, values are of their TOML type, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    include: Strings = Field(min_length=1)
    exclude: Strings = ()
    start: str = "beginning"
    timezone: str = "UTC"
    time_pattern: TimePattern | None = None
    multiline: MultilineSettings = Field(default_factory=lambda: MultilineSettings.model_validate("auto"))
    ask: Literal["kind", "event"] = "kind"
    drop: Strings = ()
    fields: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @field_validator("start")
    @classmethod
    def _is_a_start(cls, start: str) -> str:
        if not re.fullmatch(r"beginning|end|since:[1-9][0-9]*[smhd]", start):
            raise ValueError('is "beginning", "end", or "since:" with a number and s, m, h or d, such as "since:24h"')
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
    def _are_free(cls, fields: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
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

    file: str = "logs"
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
    model: str = Field(default="gpt-6-luna", min_length=1)
    reasoning_effort: Literal["", "none", "minimal", "low", "medium", "high"] = "none"
    request_timeout_seconds: Seconds = 600.0

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is an address such as https://api.openai.com/v1")
        if parts.username or parts.password:
            raise ValueError("holds a secret; keys come from the environment or a systemd credential")
        return url.rstrip("/")

    @property
    def is_on_loopback(self) -> bool:
        """Whether what is sent stays on this host."""
        return is_loopback(urlsplit(self.base_url).hostname or "")


class BatchSettings(Table):
    """`[batch]`."""

    max_requests: Annotated[int, Field(ge=1, le=50_000)] = 50_000
    max_bytes: Annotated[int, Field(ge=100_000, le=209_715_200)] = 190_000_000
    max_tokens: Annotated[int, Field(ge=1_000)] = 100_000_000
    signatures_per_request: Annotated[int, Field(ge=1, le=100)] = 10
    poll_interval_seconds: Seconds = 60.0


class PriceSettings(Table):
    """`[prices]`: USD per million tokens, for models that the price table does not know."""

    input_usd: Annotated[float, Field(ge=0)]
    cached_usd: Annotated[float, Field(ge=0)]
    output_usd: Annotated[float, Field(ge=0)]
    batch_input_usd: Annotated[float, Field(ge=0)]
    batch_cached_usd: Annotated[float, Field(ge=0)]
    batch_output_usd: Annotated[float, Field(ge=0)]
    as_of: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")


class BudgetSettings(Table):
    """`[budget]`."""

    daily_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    monthly_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 100.0
    when_over: Literal["deliver", "hold"] = "deliver"


class SinkSettings(Table):
    """One `[[sinks]]` table."""

    id: Identifier
    type: Literal["file"] = "file"
    directory: PathText
    compress: Literal["none", "zstd", "gzip"] = "none"
    retention_days: Annotated[int, Field(ge=0)] = 0
    min_severity: Literal["trace", "debug", "info", "notice", "warning", "error", "critical", "fatal"] = "trace"


class AdminSettings(Table):
    """`[admin]`."""

    listen: str = "127.0.0.1:9464"

    @field_validator("listen")
    @classmethod
    def _is_host_and_port(cls, listen: str) -> str:
        host, colon, port = listen.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > 65535:
            raise ValueError('is "HOST:PORT", such as "127.0.0.1:9464"; port 0 takes a free one')
        return listen

    @property
    def host(self) -> str:
        """Address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port to listen on; 0 for a free one."""
        return int(self.listen.rpartition(":")[2])


def _default_sources() -> tuple[SourceSettings, ...]:
    include = ("/var/log/**/*.log", "/var/log/syslog", "/var/log/messages")
    return (SourceSettings(id="varlog", include=include),)


def _default_sinks() -> tuple[SinkSettings, ...]:
    return (SinkSettings(id="files", directory=Path("/var/lib/enricher/enriched")),)


class Config(Table):
    """The whole configuration."""

    state_dir: PathText = Path("/var/lib/enricher")
    sources: Annotated[tuple[SourceSettings, ...], Field(strict=False)] = Field(default_factory=_default_sources)
    window: WindowSettings = Field(default_factory=WindowSettings)
    task: TaskSettings = Field(default_factory=TaskSettings)
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    privacy: PrivacySettings = Field(default_factory=PrivacySettings)
    provider: ProviderSettings = Field(default_factory=ProviderSettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    prices: PriceSettings | None = None
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    sinks: Annotated[tuple[SinkSettings, ...], Field(strict=False)] = Field(default_factory=_default_sinks)
    admin: AdminSettings = Field(default_factory=AdminSettings)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        for name, tables in (("sources", self.sources), ("sinks", self.sinks)):
            if not tables:
                raise ValueError(f"{name}: there is none; add a [[{name}]] table")
            ids = [table.id for table in tables]
            for double in sorted({one for one in ids if ids.count(one) > 1}):
                raise ValueError(f"{name}: two tables have the id {double!r}; an id is where state is kept under")
        return self


def load(path: Path | None) -> Config:
    """Read a configuration file; None takes `/etc/enricher/enricher.toml` if it is there, else the defaults.

    Raises ConfigError with one line per fault, each naming its key.
    """
    if path is None:
        if not SYSTEM_FILE.exists():
            return Config()
        path = SYSTEM_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no such file"], hint="give the path with -c FILE") from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 at byte {error.start}"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from None
    return parse(document, origin=str(path))


def load_or_here(path: Path | None) -> Config:
    """Read the configuration as `load` does; without any file, state and output lie in the working directory."""
    if path is not None or SYSTEM_FILE.exists():
        return load(path)
    sink = SinkSettings(id="files", directory=Path("enriched"))
    return Config(state_dir=Path("enricher-state"), sinks=(sink,))


def parse(document: dict[str, Any], *, origin: str) -> Config:
    """Build the configuration from a TOML document. Raises ConfigError as `load` does."""
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        faults = [f"{origin}: {_fault(item)}" for item in error.errors(include_url=False)]
        raise ConfigError(faults, hint="every option, at its default, is in config/enricher.toml") from None


def shipped(name: str) -> str:
    """Text of a file of `config/`, from the installed package or from the checkout."""
    packed = resources.files("enricher").joinpath("shipped", name)
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return (Path(__file__).parent.parent / "config" / name).read_text(encoding="utf-8")


# pydantic speaks of Python's types; the reader wrote TOML.
_EXPECTED = {
    "tuple_type": "is a list",
    "is_instance_of": "is a path in quotes",
    "dict_type": "is a table",
    "model_type": "is a table",
    "string_type": "is text in quotes",
    "int_type": "is a whole number",
    "float_type": "is a number",
    "bool_type": "is true or false",
    "string_pattern_mismatch": "has the wrong form",
    "too_short": "needs at least one entry",
}


def _fault(item: Any) -> str:  # noqa: ANN401 - pydantic's error dictionary, read here and nowhere else
    where = ""
    for step in item["loc"]:
        where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else str(step)
    kind = item["type"]
    if kind == "extra_forbidden":
        return f"{where}: there is no such option"
    if kind == "missing":
        return f"{where}: is missing"
    message = item["msg"].removeprefix("Value error, ")
    if kind == "value_error" or not where:
        return f"{where}: {message}" if where else message
    value = item["input"]
    shown = repr(value) if isinstance(value, (str, int, float, bool)) else type(value).__name__
    expected = _EXPECTED.get(kind) or message.replace("Input should be", "is")
    return f"{where}: {expected}, not {shown}"
