"""The whole configuration, out of its file: every fault of it reported at once, each with the option's name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from enricher.config.asking import (
    BatchSettings,
    BudgetSettings,
    EvaluationSettings,
    PriceSettings,
    PrivacySettings,
    ProviderSettings,
    TaskSettings,
    WindowSettings,
)
from enricher.config.delivery import AdminSettings, SinkSettings, StoreSettings
from enricher.config.sources import SourceSettings
from enricher.config.values import PathText, Table
from enricher.core.toml_reader import parse_toml
from enricher.errors import ConfigError
from enricher.wording import told

SYSTEM_FILE: Final = Path("/etc/enricher/enricher.toml")


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


def _options(where: tuple[str | int, ...]) -> list[str]:
    """The options of the table at a place."""
    table: type[BaseModel] | None = Config
    for step in where:
        if isinstance(step, str) and table is not None:
            field = table.model_fields.get(step)
            kinds = () if field is None else (field.annotation, *get_args(field.annotation))
            table = next((one for one in kinds if isinstance(one, type) and issubclass(one, Table)), None)
    return [] if table is None else [*table.model_fields]
