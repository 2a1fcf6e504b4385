"""Who answers: the choice of a provider, and what comes with it (client, task, prices, privacy).

First that holds: a configuration that names the embedded model or an address on this host; a key in the systemd
credential; a key in OPENAI_API_KEY; a pulled model; else an error with the two commands to type. Nothing is ever
downloaded here and no other port is ever probed.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enricher import config as configuration
from enricher.core import batch as batch_lines
from enricher.core import pricing
from enricher.core.answer import Usage
from enricher.core.task import parse_task
from enricher.edges.credential import PROVIDER_KEY, read_secret
from enricher.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.batchserver.model_weights import Weights
    from enricher.batchserver.server import BatchServer
    from enricher.config import Config
    from enricher.core.pricing import Prices
    from enricher.core.task import Task
    from enricher.ports import BatchClient, Clock
    from enricher.telemetry import Telemetry

NO_PROVIDER_HINT = "set a key:  export OPENAI_API_KEY=...   or fetch the embedded model:  enricher model pull"
_QUESTION_TOKENS = 40
"""Input tokens of one question, measured over packed requests of templates."""

LOCAL_TASK = "logs-local"
DIGEST_TASK = "digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who is asked, with what, and at what price. Nothing is connected yet."""

    kind: str
    """openai or local."""
    base_url: str
    """Empty for the embedded model until its server has started."""
    endpoint: str
    model: str
    task: Task
    prices: Prices | None
    """None: the model is in no price table."""
    reasoning_effort: str
    poll_interval_seconds: float
    key: str | None = None
    weights: Weights | None = None

    def __repr__(self) -> str:
        """Without the key."""
        return f"Provider(kind={self.kind!r}, base_url={self.base_url!r}, model={self.model!r})"


def choose(
    config: Config,
    *,
    environment: Mapping[str, str],
    config_path: Path | None,
    now: float,
    embedded_only: bool = False,
    weights_name: str | None = None,
) -> Provider:
    """Choose the provider. Raises ConfigError, with the way out, if there is none or its task is faulty."""
    from enricher.batchserver import model_weights  # noqa: PLC0415 - only a choice that gets here needs it

    settings = config.provider
    if not embedded_only and settings.type != "local":
        key = read_secret(PROVIDER_KEY, environment)
        if key is not None or settings.is_on_loopback:
            return _openai(config, key or "none", config_path, now)
    wanted = model_weights.WEIGHTS.get(weights_name) if weights_name else None
    weights = model_weights.installed() if wanted is None else _if_installed(wanted)
    if weights is None:
        if embedded_only or settings.type == "local":
            command = "enricher model pull" + (" --small" if wanted is model_weights.SMALL_WEIGHTS else "")
            raise ConfigError(["the embedded model is not here yet"], hint=f"fetch it:  {command}")
        raise ConfigError(["there is no provider: no key is set and no model was pulled"], hint=NO_PROVIDER_HINT)
    task = parse_task(configuration.shipped(f"tasks/{LOCAL_TASK}.toml"), name=LOCAL_TASK)
    return Provider(
        kind="local",
        base_url="",
        endpoint=task.endpoint or "/v1/chat/completions",
        model=weights.name,
        task=task,
        prices=pricing.FREE,
        reasoning_effort="",
        poll_interval_seconds=min(config.batch.poll_interval_seconds, 1.0),
        weights=weights,
    )


def check_lasting(provider: Provider) -> None:
    """Raise UsageError for one that ends with this process: nobody could come for its answers later."""
    if provider.kind == "local":
        raise UsageError(
            "the embedded model works only while a process waits for it",
            hint="wait for it, or give the model a server of its own: enricher serve-batches",
        )


def describe(config: Config, *, environment: Mapping[str, str], config_path: Path | None, now: float) -> Provider:
    """Who would be asked, for a plan that asks nobody: the configured one even where its key is not set yet."""
    if config.provider.type == "local":
        return choose(config, environment=environment, config_path=config_path, now=now)
    return _openai(config, "none", config_path, now)


def load_task(config: Config, config_path: Path | None) -> Task:
    """Read the task that the configuration names: a shipped one, or a file beside the configuration file."""
    name = config.task.file
    if name == DIGEST_TASK:
        raise ConfigError(
            ["task.file: the task 'digest' is about windows, not about kinds of event"], hint='is it "logs"?'
        )
    if "/" not in name and not name.endswith(".toml"):
        try:
            return parse_task(configuration.shipped(f"tasks/{name}.toml"), name=name)
        except FileNotFoundError:
            raise ConfigError([f"task.file: no task named {name!r} is shipped"], hint='is it "logs"?') from None
    path = (config_path.parent if config_path else Path()) / name
    try:
        return parse_task(path.read_text(encoding="utf-8"), name=name)
    except OSError as error:
        hint = f"put it there, where the daemon's user may read it, or set [task] file (it is {name!r})"
        raise ConfigError([f"task.file: {path}: cannot be read: {error.strerror}"], hint=hint) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"task.file: {path}: is not UTF-8 at byte {error.start}"]) from None


def find_prices(config: Config, now: float, *, model: str | None = None) -> Prices | None:
    """Prices of a model, or the configured one: the configuration's, none on this host, else the bundled table's.

    Another model than the configured one has the configuration's only where the table does not know it.
    """
    configured = pricing.Prices(**config.prices.model_dump()) if config.prices is not None else None
    at = dt.datetime.fromtimestamp(now, dt.UTC)
    wanted, base_url = model or config.provider.model, config.provider.base_url
    is_another = wanted != config.provider.model and not config.provider.is_on_loopback
    known = pricing.prices_for(wanted, None, base_url=base_url, at=at) if is_another else None
    return known or pricing.prices_for(wanted, configured, base_url=base_url, at=at)


def event_usd(task: Task, prices: Prices) -> float:
    """What asking about one event on demand costs, estimated by an average question."""
    tokens = batch_lines.static_tokens(task, 1) + _QUESTION_TOKENS
    usage = Usage(input_tokens=tokens, output_tokens=task.answer_tokens)
    return pricing.cost(usage, prices, batch=False)


def connect(provider: Provider, *, base_url: str, timeout_seconds: float, telemetry: Telemetry) -> BatchClient:
    """Open a client; the openai package is imported here and not before: it costs 0.8 s of CPU."""
    from enricher.edges.batch_openai import OpenAIBatchClient  # noqa: PLC0415

    return OpenAIBatchClient(
        base_url=base_url, api_key=provider.key or "none", timeout_seconds=timeout_seconds, telemetry=telemetry
    )


def embedded_server(provider: Provider, *, state_dir: Path, clock: Clock) -> BatchServer:
    """Build the batch server over the embedded model; not started yet."""
    from enricher.batchserver.model_process import ModelProcess, ModelSettings, spare_threads  # noqa: PLC0415
    from enricher.batchserver.model_weights import model_dir  # noqa: PLC0415
    from enricher.batchserver.server import BatchServer  # noqa: PLC0415
    from enricher.batchserver.settings import ServerSettings  # noqa: PLC0415

    assert provider.weights is not None
    backend = ModelProcess(
        ModelSettings(
            file=model_dir() / provider.weights.file_name, name=provider.weights.name, threads=spare_threads()
        )
    )
    return BatchServer(ServerSettings(state_dir=state_dir, concurrency=1), backend, clock)


def _openai(config: Config, key: str, config_path: Path | None, now: float) -> Provider:
    settings = config.provider
    task = load_task(config, config_path)
    return Provider(
        kind="openai",
        base_url=settings.base_url,
        endpoint=task.endpoint or settings.endpoint,
        model=settings.model,
        task=task,
        prices=find_prices(config, now),
        reasoning_effort=settings.reasoning_effort,
        poll_interval_seconds=config.batch.poll_interval_seconds,
        key=key,
    )


def _if_installed(weights: Weights) -> Weights | None:
    from enricher.batchserver.model_weights import holdings  # noqa: PLC0415

    return next((one.weights for one in holdings() if one.weights.name == weights.name and one.is_checked), None)
