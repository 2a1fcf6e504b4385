"""What `enricher validate` and `enricher status` look at, beside a running daemon and without changing anything."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enricher import provider as providers
from enricher import show
from enricher.access import exposures, read_access
from enricher.compose import gold_cases, source_for
from enricher.core.digest import CHANGES
from enricher.edges.store_sqlite import SqliteStore
from enricher.edges.store_sqlite.directory import LOCK_NAME
from enricher.errors import ConfigError, CredentialError, EnricherError, ProviderError
from enricher.status import HELD, status_of
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from enricher.config import Config

_FILES_SHOWN = 20
_LOW_SPACE_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    text: str
    is_fault: bool = False
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


async def validate(
    config: Config, *, config_path: Path | None, environment: Mapping[str, str], offline: bool
) -> list[Finding]:
    """Look at everything that could stop the daemon later; every fault is found at once."""
    findings = [Finding(subject="configuration", text=str(config_path) if config_path else "built-in defaults")]
    findings += await _sources(config)
    findings += _directories(config)
    findings += _admin(config, environment, offline=offline)
    findings += await _provider(config, config_path, environment, offline=offline)
    return findings


async def _sources(config: Config) -> list[Finding]:
    findings = []
    now = time.time()
    for settings in config.sources:
        source = source_for(config, settings, Telemetry(), once=True)
        await source.start([], None)
        skipped = await source.scan(now)
        progress = source.progress(now)
        await source.close()
        subject = f"source {settings.id}"
        text = f"{progress.files} files, {progress.unread_bytes:,} bytes"
        hint = "" if progress.files else "no file matches: check include, exclude and permissions"
        findings.append(Finding(subject=subject, text=text, hint=hint))
        findings += [
            Finding(
                subject=subject,
                text=f"{one.path.decode('utf-8', 'backslashreplace')} is not read: {one.detail or one.reason}",
                hint=one.hint,
            )
            for one in skipped
        ]
    return findings


def _directories(config: Config) -> list[Finding]:
    findings = []
    wanted = [("state directory", config.state_dir), *((f"sink {one.id}", one.directory) for one in config.sinks)]
    for subject, directory in wanted:
        there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            hint = "run as the daemon's user, or change the directory or its owner"
            findings.append(Finding(subject=subject, text=f"{there} is not writable", is_fault=True, hint=hint))
            continue
        free = shutil.disk_usage(there).free
        low = free < _LOW_SPACE_BYTES
        hint = "free some space: spooled events and answers must fit" if low else ""
        text = f"{directory}: {free // (1024 * 1024):,} MiB free"
        findings.append(Finding(subject=subject, text=text, is_fault=low, hint=hint))
    return findings


def _admin(config: Config, environment: Mapping[str, str], *, offline: bool) -> list[Finding]:
    try:
        access = read_access(config.admin, environment)
    except ConfigError as error:
        # Offline is what a unit runs before a reload, to which systemd 252 does not show the credentials of its daemon.
        is_fault = not (offline and isinstance(error, CredentialError))
        return [Finding(subject="admin", text=str(error), is_fault=is_fault, hint=error.hint)]
    text = f"{config.admin.listen}, {'TLS' if access.tls else 'no TLS'}, {'a token' if access.token else 'no token'}"
    text += f", {'webhooks' if access.webhook_key else 'no webhooks'}"
    found = [Finding(subject="admin", text=text)]
    return found + [Finding(subject="admin", text=text, hint=hint) for text, hint in exposures(config.admin, access)]


async def _provider(
    config: Config, config_path: Path | None, environment: Mapping[str, str], *, offline: bool
) -> list[Finding]:
    try:
        provider = providers.choose(config, environment=environment, config_path=config_path, now=time.time())
    except ConfigError as error:
        # Offline is what a unit runs before each start: a host may get its key or model later, and `run` says so then.
        return [Finding(subject="provider", text=str(error), is_fault=not offline, hint=error.hint)]
    where = provider.base_url or "the embedded model on this host"
    findings = [Finding(subject="provider", text=f"{provider.model} at {where}, endpoint {provider.endpoint}")]
    if provider.prices is None:
        hint = "set [prices], or budgets cannot be held"
        findings.append(Finding(subject="prices", text=f"no price is known for {provider.model}", hint=hint))
    if config.evaluation.nightly_at:
        try:
            gold_cases(provider.task)
        except ConfigError as error:
            findings.append(Finding(subject="evaluation", text=str(error), is_fault=True, hint=error.hint))
    if offline or provider.kind == "local":
        return findings
    client = providers.connect(provider, base_url=provider.base_url, timeout_seconds=20.0, telemetry=Telemetry())
    try:
        await client.check(provider.model)
    except ProviderError as error:
        findings.append(Finding(subject="provider", text=str(error), is_fault=True, hint=error.hint))
    else:
        findings.append(Finding(subject="provider", text="the key and the model are accepted"))
    finally:
        await client.close()
    return findings


def print_findings(console: Console, findings: list[Finding]) -> None:
    """One line per finding, and the way out below it."""
    for finding in findings:
        mark = "FAULT" if finding.is_fault else "note " if finding.hint else "ok   "
        console.print(f"{mark}  {show.safe(finding.subject)}: {show.safe(finding.text)}", soft_wrap=True)
        if finding.hint:
            console.print(f"       try: {show.safe(finding.hint)}", soft_wrap=True)


async def status(config: Config) -> dict[str, Any]:
    """The store's counts, read beside a running daemon. Raises EnricherError where there is no store yet."""
    if not config.state_dir.exists():
        raise EnricherError(
            f"{config.state_dir}: nothing was run here yet", hint="give the configuration of the daemon with -c FILE"
        )
    store = await SqliteStore.open(
        config.state_dir,
        read_only=True,
        sinks=[one.id for one in config.sinks],
        max_spool_bytes=config.store.max_spool_bytes,
        reserve_bytes=config.store.reserve_bytes,
    )
    try:
        report = await status_of(store, time.time(), length_seconds=config.window.length_seconds)
    finally:
        await store.close()
    budget = {"daily_usd": config.budget.daily_usd, "monthly_usd": config.budget.monthly_usd}
    return {"process": _holder(config.state_dir), "budget": budget, **report}


def _holder(state_dir: Path) -> int | None:
    """The process that has the state directory, as far as this one can see: nothing is locked to find out."""
    try:
        lock = os.open(state_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe is not waited for
        with os.fdopen(lock, "rb") as handle:
            pid = int(handle.read(20))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"enricher" in command else None


def print_status(console: Console, report: Mapping[str, Any]) -> None:
    """The report for a person."""
    events, tokens = report["events"], report["tokens"]
    held, free = report["reading_held_by"], report["free_bytes"]
    show.facts(
        console,
        [
            ("process", "none" if report["process"] is None else str(report["process"])),
            ("events", ", ".join(f"{number:,} {name}" for name, number in events.items())),
            ("windows", _counts(report["windows"]) + f"; oldest open: {report['oldest_open_window'] or 'none'}"),
            ("signatures", f"{report['signatures']:,}"),
            ("breakers open", ", ".join(report["open_breakers"]) or "none"),
            ("answers", _counts(report["answers"])),
            ("requests", _counts(report["requests"])),
            ("batches", _counts(report["batches"])),
            ("tokens", _counts(tokens)),
            ("spent", _spent(report)),
            ("reading", "goes on" if held is None else f"stopped: {HELD[held]}"),
            ("store", f"{report['store_bytes']:,} bytes, of which spool {report['spool_bytes']:,}; {free:,} free"),
            ("sinks", ", ".join(f"{name}: {n:,} events pending" for name, n in report["pending_by_sink"].items())),
            *((f"sink {name} fails", _trouble(one)) for name, one in report["sink_troubles"].items()),
            *((f"{_batches(one['batches'])} stuck", _trouble(one)) for one in report["batch_troubles"]),
            *_gold(report["gold"]),
        ],
    )
    _print_digest(console, report["digest"])
    _print_batches(console, [*report["open_batches"], *report["waiting_batches"]])
    _print_files(console, report["files"])


def _print_digest(console: Console, digest: Mapping[str, Any] | None) -> None:
    if digest is not None and digest["changes"]:
        changed = ", ".join(f"{digest[change]:,} {change}" for change in CHANGES if digest[change])
        rows = [
            (one["change"], f"{one['events']:,}", f"{one['usual']:,.1f}", one["severity"] or "", one["template"])
            for one in digest["changes"]
        ]
        if (account := digest["account"]) is not None:
            said = (("", "headline"), ("", "what_happened"), ("likely cause: ", "likely_cause"), ("next: ", "action"))
            console.print(f"{digest['window']}, as {show.safe(account['model'], limit=100)} sees it:", soft_wrap=True)
            for name, key in said:
                if account[key]:
                    console.print(f"  {name}{show.safe(account[key])}", soft_wrap=True)
        title = f"{digest['window']}: {changed}"
        show.grid(console, title, ("change", "events", "usual", "severity", "kind"), rows)


def _print_batches(console: Console, batches: Sequence[Mapping[str, Any]]) -> None:
    if batches:
        under_way = [
            (one["name"], _time(one["planned_at"]), one["state"], one["status"] or "", str(one["requests"]), _note(one))
            for one in batches
        ]
        columns = ("file", "planned", "state", "provider says", "requests", "note")
        show.grid(console, "batches under way", columns, under_way)


def _print_files(console: Console, known: Sequence[Mapping[str, Any]]) -> None:
    # What is behind is what the reader looks for.
    files = sorted((one for one in known if not one["gone"]), key=lambda one: (-(one["lag_bytes"] or 0), one["path"]))
    if files:
        places = [
            (one["path"], f"{one['position']:,}", "" if one["lag_bytes"] is None else f"{one['lag_bytes']:,}")
            for one in files[:_FILES_SHOWN]
        ]
        title = (
            "files"
            if len(files) <= len(places)
            else f"files (the {_FILES_SHOWN} that are furthest behind; more with --json)"
        )
        show.grid(console, title, ("path", "read", "unread"), places)
    else:
        console.print("no file is followed: enricher validate says which are found, and why others are not read")


def _trouble(trouble: Mapping[str, Any]) -> str:
    """Why something does not go on, since when, and the way out."""
    return f"since {_time(trouble['since'])}: {trouble['error']}" + (
        f"; try: {trouble['hint']}" if trouble["hint"] else ""
    )


def _note(batch: Mapping[str, Any]) -> str:
    """Why a batch waits; what stands in the way of several is said once, above."""
    error: str = batch["error"] or ""
    return f"{error}; {batch['hint']}" if error and batch["failing_since"] is None and batch["hint"] else error


def _batches(number: int) -> str:
    return "a batch is" if number == 1 else f"{number:,} batches are"


def _time(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat(timespec="seconds")


def _gold(score: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """How the labelled lines were answered, where they were asked."""
    if score is None:
        return []
    shares = ", ".join(f"{name} {score[name]:.0%}" for name in ("severity", "category", "attention"))
    return [
        ("labelled lines", f"{shares} right of {score['cases']:,}, {score['answered']:.0%} answered, {score['day']}")
    ]


def _spent(report: Mapping[str, Any]) -> str:
    """What was paid, and how much of the budget that is."""
    money, budget = report["money"], report["budget"]
    text = f"{show.usd(report['cost_usd'])}; today {show.usd(money['today_usd'])} of {show.usd(budget['daily_usd'])}"
    text += f", this month {show.usd(money['month_usd'])} of {show.usd(budget['monthly_usd'])}"
    return text + (f", and {show.usd(money['reserved_usd'])} reserved" if money["reserved_usd"] else "")


def _counts(counts: Mapping[str, int], *, unit: str = "") -> str:
    return ", ".join(f"{number:,} {name}{unit}" for name, number in counts.items() if number) or "none"
