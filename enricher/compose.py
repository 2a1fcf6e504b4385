"""Stages and edges out of a configuration: the pieces that `app`, `dryrun` and `checks` put together."""

from __future__ import annotations

import platform
import resource
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from enricher.access import exposures
from enricher.config import SourceSettings, shipped
from enricher.core.catalogue import Reuse
from enricher.core.gold import read_cases
from enricher.core.keying import KeyingRule
from enricher.core.task import parse_task
from enricher.edges.clock_system import SystemClock
from enricher.edges.source_files import MAX_DESCRIPTORS, FilesSource
from enricher.errors import ConfigError
from enricher.nightly import Nightly, NightlySettings
from enricher.provider import DIGEST_TASK
from enricher.stages.ingest import Ingest, IngestSource
from enricher.stages.plan import PlanSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from enricher.access import Access
    from enricher.config import AdminSettings, Config
    from enricher.core.gold import Case
    from enricher.core.task import Task
    from enricher.edges.admin_http import AdminServer
    from enricher.edges.store_sqlite import SqliteStore
    from enricher.provider import Provider
    from enricher.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What differs between the commands that read, ask and write."""

    once: bool
    wait: bool = True
    limit_kinds: int | None = None
    gravest_first: bool = False
    digest: bool = False
    """For `once`: whether a model is asked about windows, too."""
    requests_per_batch: int | None = None
    """Smaller batches than configured, so that answers are seen as they come (the demo)."""


def source_of(paths: Sequence[Path], source_id: str) -> SourceSettings:
    """A source of exactly these files and directories; their names are no patterns."""
    # A bracket of one character stands for that character.
    literal = [str(path.absolute()).translate({ord(char): f"[{char}]" for char in "*?[{"}) for path in paths]
    return SourceSettings(id=source_id, include=tuple(literal))


def source_for(config: Config, settings: SourceSettings, telemetry: Telemetry, *, once: bool) -> FilesSource:
    """Build a source; what the daemon itself writes is never read."""
    own = [config.state_dir, *(sink.directory for sink in config.sinks)]
    return FilesSource(
        settings.id,
        settings.include,
        settings.exclude,
        start=settings.start,
        once=once,
        own_directories=[path.absolute() for path in own],
        host=platform.node(),
        telemetry=telemetry,
        max_descriptors=_descriptors_each(len(config.sources)),
    )


def _descriptors_each(sources: int) -> int:
    """How many files a source may have open: all of them half of what the process may, and the rest is for others."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return MAX_DESCRIPTORS
    return max(_LEAST_DESCRIPTORS, min(MAX_DESCRIPTORS, most // 2 // max(1, sources)))


def ingest_for(config: Config, store: SqliteStore, sources: Sequence[FilesSource], telemetry: Telemetry) -> Ingest:
    """Build the first stage over sources that stand beside the configuration's."""
    feeds = []
    for settings, source in zip(config.sources, sources, strict=True):
        pattern = settings.time_pattern
        rule = KeyingRule(
            length_seconds=config.window.length_seconds,
            zone=settings.timezone,
            time_pattern=(pattern.regex, pattern.format) if pattern else None,
            drop=settings.drop,
            ask_events=settings.ask == "event",
            multiline=settings.multiline.rule,
        )
        feeds.append(IngestSource(source=source, rule=rule))
    return Ingest(store=store, sources=feeds, clock=SystemClock(), telemetry=telemetry)


def admin_for(
    settings: AdminSettings,
    access: Access,
    telemetry: Telemetry,
    *,
    status: Callable[[], Awaitable[dict[str, Any]]],
    unready: Callable[[], list[str]],
    refresh: Callable[[], Awaitable[None]],
    wake: Callable[[str], None],
) -> AdminServer:
    """Build the admin address, and say what can be read there that may not be meant to; `wake` gets ids of batches."""
    # Only the daemon serves HTTP.
    from enricher.edges.admin_http import AdminServer  # noqa: PLC0415 - only the daemon serves HTTP
    from enricher.edges.webhook_http import WebhookDoor  # noqa: PLC0415 - as above

    for text, hint in exposures(settings, access):
        telemetry.admin_exposed(text=text, hint=hint)
    door = None
    if access.webhook_key is not None:
        door = WebhookDoor(key=access.webhook_key, now=SystemClock().now, wake=wake, telemetry=telemetry)
    return AdminServer(
        host=settings.host,
        port=settings.port,
        registry=telemetry.registry,
        status=status,
        unready=unready,
        refresh=refresh,
        token=access.token,
        tls=access.tls,
        webhooks=None if door is None else door.answer,
    )


_LEAST_DESCRIPTORS: Final = 4

DIGEST_WITHIN_SECONDS: Final = 24 * 3600.0
"""How recently a window must have ended for the daemon to have it explained. An account is about what is going on now:
a first start over a month of logs would otherwise ask 720 of them. `once --digest` asks about every window.
"""


def plan_settings(config: Config, provider: Provider, mode: Mode) -> PlanSettings:
    """What plan needs, from the configuration, the provider and the command."""
    return PlanSettings(
        length_seconds=config.window.length_seconds,
        allowed_lateness_seconds=config.window.allowed_lateness_seconds,
        task=provider.task,
        model=provider.model,
        endpoint=provider.endpoint,
        reasoning_effort=provider.reasoning_effort,
        prices=provider.prices,
        # The embedded model is a part of this program: what it sees goes nowhere.
        privacy="raw" if provider.kind == "local" else config.privacy.mode,
        signatures_per_request=min(config.batch.signatures_per_request, provider.task.signatures_per_request)
        if provider.task.kind == "single"
        else config.batch.signatures_per_request,
        max_requests=mode.requests_per_batch or config.batch.max_requests,
        max_bytes=config.batch.max_bytes,
        max_tokens=config.batch.max_tokens,
        limit_kinds=mode.limit_kinds,
        gravest_first=mode.gravest_first,
        reuse=reuse_of(config),
        digest=digest_task(config, provider, mode),
        digest_within_seconds=None if mode.once else DIGEST_WITHIN_SECONDS,
    )


def digest_task(config: Config, provider: Provider, mode: Mode) -> Task | None:
    """How windows are asked about: by the daemon unless the configuration says no, by `once` where it was told to.

    Not with the embedded model: its context and its task are for one kind at a time.
    """
    wanted = mode.digest if mode.once else config.window.digest is True
    if not wanted or provider.kind == "local":
        return None
    return parse_task(shipped(f"tasks/{DIGEST_TASK}.toml"), name=DIGEST_TASK)


def nightly_for(config: Config, provider: Provider, store: SqliteStore, telemetry: Telemetry) -> Nightly | None:
    """Build the stage that has the task judged; None where nobody wants it. ConfigError without labelled lines."""
    at_seconds, task = config.evaluation.at_seconds, provider.task
    if at_seconds is None:
        return None
    planned = plan_settings(config, provider, Mode(once=False))
    return Nightly(
        store=store,
        clock=SystemClock(),
        telemetry=telemetry,
        settings=NightlySettings(
            at_seconds=at_seconds,
            task=task,
            model=provider.model,
            endpoint=provider.endpoint,
            reasoning_effort=provider.reasoning_effort,
            prices=provider.prices,
            privacy=planned.privacy,
            signatures_per_request=planned.signatures_per_request,
        ),
        cases=gold_cases(task),
        new_id=lambda: uuid.uuid4().hex,
    )


def gold_file(task: str) -> str:
    """Name of the labelled lines that come with a task; that for a local model says less of the same lines."""
    return f"{task.removesuffix('-local')}.gold.jsonl"


def gold_cases(task: Task) -> tuple[Case, ...]:
    """The labelled lines that come with a task. Raises ConfigError where there are none."""
    try:
        return read_cases(shipped(f"tasks/{gold_file(task.name)}"))
    except OSError:
        raise ConfigError(
            [f"evaluation.nightly_at: no labelled lines come with the task {task.name!r}"], hint='set it to ""'
        ) from None


def reuse_of(config: Config) -> Reuse:
    """How long answers serve, from the configuration."""
    days = config.task.expire_days
    return Reuse(on_change=config.task.on_change, expire_seconds=days * 86400 if days else None)
