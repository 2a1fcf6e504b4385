"""The configuration: one frozen object out of one TOML file, every fault of it reported at once.

`config/enricher.toml` shows every option at its default; a test compares the two. Secrets are never here: the key comes
from the environment or a systemd credential (`edges.credential`). Nothing is read lazily: what `load` returns is whole.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from enricher.core.loopback import is_loopback
from enricher.core.pattern import compile_pattern
from enricher.core.record_form import OWN_KEYS
from enricher.core.task import OnChange
from enricher.core.timestamp_formats import UserTime
from enricher.core.toml_reader import parse_toml
from enricher.errors import ConfigError
from enricher.wording import shown, told

SYSTEM_FILE = Path("/etc/enricher/enricher.toml")
_NO_SPACE = re.compile(r"[!-~]+")
_LONGEST_START = len("since:") + 9 + len("d")
SEVERITIES = ("trace", "debug", "info", "notice", "warning", "error", "critical", "fatal")

_HIGHEST_PORT = 65535
_MOST = 2**63 - 1  # what a whole number of TOML, and of JSON for most readers, may be


def _plain(text: str) -> str:
    """Text that something can be named by. Raises ValueError."""
    if not text.strip():
        raise ValueError("is empty")
    if not text.isprintable():
        raise ValueError("holds a control character")
    return text


def _path(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return Path(_plain(text)).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user whose home {text.partition('/')[0]} could be") from None


Plain = Annotated[str, AfterValidator(_plain)]
Strings = Annotated[tuple[Plain, ...], Field(strict=False)]
PathText = Annotated[Path, BeforeValidator(_path)]
NoneOrPath = Annotated[Path | None, BeforeValidator(lambda text: _path(text) if text != "" else None)]
Count = Annotated[int, Field(ge=0, le=_MOST)]
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
        return tuple(str(_path(pattern)) if pattern.startswith("~") else pattern for pattern in patterns)

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
                abs(value) <= _MOST if isinstance(value, int) else isinstance(value, float) and math.isfinite(value)
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
    max_tokens: Annotated[int, Field(ge=1_000, le=_MOST)] = 100_000_000
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


class SinkSettings(Table):
    """One `[[sinks]]` table."""

    id: Identifier
    type: Literal["file"] = "file"
    directory: PathText
    compress: Literal["none", "zstd", "gzip"] = "none"
    retention_days: Count = 0
    max_backlog_events: Count = 0
    group_readable: bool = False
    min_severity: Literal["trace", "debug", "info", "notice", "warning", "error", "critical", "fatal"] = "trace"


class StoreSettings(Table):
    """`[store]`."""

    max_spool_bytes: Count = 0
    reserve_bytes: Count = 67_108_864


class AdminSettings(Table):
    """`[admin]`."""

    listen: str = "127.0.0.1:9464"
    tls_certificate: NoneOrPath = None
    tls_key: NoneOrPath = None

    @field_validator("listen")
    @classmethod
    def _is_host_and_port(cls, listen: str) -> str:
        host, colon, port = listen.rpartition(":")
        if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > _HIGHEST_PORT:
            raise ValueError('is "HOST:PORT", such as "127.0.0.1:9464"; port 0 takes a free one')
        return listen

    @model_validator(mode="after")
    def _has_both_or_neither(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are set together or not at all")
        return self

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
    store: StoreSettings = Field(default_factory=StoreSettings)
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
        places = [sink.directory.absolute() for sink in self.sinks]
        for double in sorted({str(one) for one in places if places.count(one) > 1}):
            raise ValueError(f"sinks: two tables write to {double}, one over the other; give each its own directory")
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
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no such file"], hint="give the path with -c FILE") from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 at byte {error.start}"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise ConfigError([f"{path}: {error}"]) from None
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
        faults = [f"{origin}: {told(item, _options)}" for item in error.errors(include_url=False)]
        raise ConfigError(faults, hint="every option, at its default, is in config/enricher.toml") from None


def shipped_path(name: str) -> Path:
    """Where a file of `config/` lies or would lie, in the installed package or in the checkout."""
    packed = Path(__file__).parent / "shipped" / name
    return packed if packed.is_file() else Path(__file__).parent.parent / "config" / name


def shipped(name: str) -> str:
    """Text of a file of `config/`, from the installed package or from the checkout."""
    packed = resources.files("enricher").joinpath("shipped", name)
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return (Path(__file__).parent.parent / "config" / name).read_text(encoding="utf-8")


def shipped_names(directory: str, suffix: str) -> list[str]:
    """Names of the files of a directory of `config/` with this suffix, without it."""
    packed = resources.files("enricher").joinpath("shipped", directory)
    there = packed if packed.is_dir() else Path(__file__).parent.parent / "config" / directory
    return sorted(one.name.removesuffix(suffix) for one in there.iterdir() if one.name.endswith(suffix))


def _options(where: tuple[str | int, ...]) -> list[str]:
    """The options of the table at a place."""
    table: type[BaseModel] | None = Config
    for step in where:
        if isinstance(step, str) and table is not None:
            field = table.model_fields.get(step)
            kinds = () if field is None else (field.annotation, *get_args(field.annotation))
            table = next((one for one in kinds if isinstance(one, type) and issubclass(one, Table)), None)
    return [] if table is None else [*table.model_fields]
