"""`enricher demo`: the main job over this machine's logs with the embedded model, and a look at what it found.

The same stages as everywhere, in a directory of their own, with small batches so that answers are seen as they come.
A second demo reads only what is new, and shows the last result where nothing is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from enricher import app, private, show
from enricher import provider as providers
from enricher.compose import Mode, source_of
from enricher.config import AdminSettings, BatchSettings, Config, SinkSettings, SourceSettings
from enricher.core.answer import Answer
from enricher.core.ledger import Kind
from enricher.dryrun import estimate, pack_kinds
from enricher.once import Once, Progress
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.progress import Progress as Bar

    from enricher.core.ledger import KindSeen
    from enricher.provider import Provider

DIRECTORY = Path("enricher-demo")
_LOGS = Path("/var/log")
_FEW_LINES = 1_000
_REQUESTS_PER_BATCH = 2
_ROWS = 12
_SEVERITY_ORDER = ("fatal", "critical", "error", "warning", "notice", "info", "debug", "trace")


async def run(stop: asyncio.Event, *, paths: Sequence[Path], limit: int, small: bool) -> None:
    """Enrich, then show. Raises ConfigError if the model is not here, TryAgainError when interrupted."""
    out, err = show.consoles()
    config = _config(await _sources(paths, out))
    weights = "qwen2.5-coder-0.5b" if small else None
    provider = providers.choose(
        config, environment={}, config_path=None, now=app.wall_time(), embedded_only=True, weights_name=weights
    )
    mode = Mode(once=True, limit_kinds=limit, gravest_first=True, requests_per_batch=_REQUESTS_PER_BATCH)
    enricher = app.Enricher(config=config, provider=provider, telemetry=Telemetry(), mode=mode)
    try:
        await enricher.open()
        known = {kind.signature for kind in await enricher.kinds_seen() if kind.answer is not None}
        with show.progress(err) as bar:
            summary = await Once(enricher).run(stop, _teller(bar, err, known))
            seen = await enricher.kinds_seen()
        _show(out, config, provider, seen, known, summary.requests.get("answered", 0))
    finally:
        await enricher.close()


def _config(sources: tuple[SourceSettings, ...]) -> Config:
    return Config(
        state_dir=DIRECTORY / "state",
        sources=sources,
        sinks=(SinkSettings(id="files", directory=DIRECTORY / "enriched"),),
        batch=BatchSettings(poll_interval_seconds=1.0),
        admin=AdminSettings(listen="127.0.0.1:0"),
    )


async def _sources(paths: Sequence[Path], out: Console) -> tuple[SourceSettings, ...]:
    if paths:
        return (source_of(paths, "paths"),)
    sources = [source_of([_LOGS], "varlog")]
    if shutil.which("journalctl") and not await asyncio.to_thread(_has_lines, _LOGS, _FEW_LINES):
        out.print(f"{_LOGS} holds few lines: the journal's last 24 hours are read too")
        sources.append(source_of([await asyncio.to_thread(_export_journal)], "journal"))
    return tuple(sources)


def _has_lines(directory: Path, wanted: int) -> bool:
    """Whether the files below a directory hold so many text lines."""
    seen = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            try:
                # A pipe would be waited for, perhaps for ever.
                if not path.is_file():
                    continue
                with path.open("rb") as file:
                    data = file.read(1 << 20)
            except OSError:
                continue
            if b"\0" not in data[:1024]:
                seen += data.count(b"\n")
            if seen >= wanted:
                return True
    return False


def _export_journal() -> Path:
    """Append what the journal holds beyond the last export to a file, and return the file."""
    directory = DIRECTORY / "journal"
    private.make_directory(directory)
    path, cursor = directory / "journal.log", directory / "cursor"
    command = ["journalctl", "--quiet", "--no-pager", "--output=short-iso", f"--cursor-file={cursor}"]
    if not cursor.exists():
        command.append("--since=-24h")
    with open(path, "ab", opener=private.opener) as file:
        subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=False, timeout=60, umask=0o077)  # noqa: S603 - ours
    return path


def _teller(bar: Bar, err: Console, known: set[str]) -> Callable[[Progress], None]:
    task = bar.add_task("starting", total=None)
    shown = set(known)

    def tell(progress: Progress) -> None:
        if progress.phase == "reading":
            total = progress.read_bytes + progress.unread_bytes
            bar.update(
                task, description=f"reading: {progress.events:,} events", completed=progress.read_bytes, total=total
            )
            return
        bar.update(
            task,
            description="asking the model",
            completed=progress.requests_done,
            total=progress.requests_total or None,
        )
        for kind in progress.answered:
            if kind.signature not in shown and kind.answer is not None:
                shown.add(kind.signature)
                row = _row(kind)
                text = show.safe(f"{row['severity']:<8} {kind.events:>7,} x  {row['summary']}", limit=err.width - 1)
                bar.console.print(text, style=show.severity_style(str(row["severity"])))

    return tell


def _row(kind: KindSeen) -> dict[str, object]:
    stored = kind.answer
    answer = Answer.from_json(stored.body) if stored is not None and stored.status == "ok" else None
    return {
        "severity": answer.severity if answer else stored.status if stored else "not asked",
        "events": kind.events,
        "category": answer.category if answer else "",
        "summary": answer.summary if answer else "",
        "template": f"{kind.program}: {kind.template}" if kind.program else kind.template,
    }


def _gravity(kind: KindSeen) -> tuple[int, int]:
    severity = str(_row(kind)["severity"])
    rank = _SEVERITY_ORDER.index(severity) if severity in _SEVERITY_ORDER else len(_SEVERITY_ORDER)
    return rank, -kind.events


def _show(
    out: Console, config: Config, provider: Provider, seen: Sequence[KindSeen], known: set[str], requests: int
) -> None:
    answered = [kind for kind in seen if kind.answer is not None]
    gravest = sorted(answered, key=_gravity)[:_ROWS]
    show.kinds(out, "the most severe kinds of event", [_row(kind) for kind in gravest])
    fresh = [kind for kind in answered if kind.signature not in known]
    shown = {kind.signature for kind in gravest}
    others = [kind for kind in fresh or answered if kind.signature not in shown]
    newest = sorted(others, key=lambda kind: -kind.first_seen_at)[:_ROWS]
    title = "the newest kinds besides" if fresh else "nothing new since the last demo; its newest kinds of event"
    if newest:
        show.kinds(out, title, [_row(kind) for kind in newest])
    elif not fresh:
        out.print("nothing new since the last demo")
    events = sum(kind.events for kind in seen)
    covered = sum(kind.events for kind in answered)
    rows = [
        ("output", f"{config.sinks[0].directory}/*/events-*.jsonl"),
        ("requests asked", f"{requests:,} so far, of {provider.model} on this host"),
        ("events enriched", f"{covered:,} of {events:,}, of {len(answered):,} kinds of {len(seen):,}"),
    ]
    rows += _costs(config, seen)
    show.facts(out, rows)
    out.print(
        "answers of the embedded model are good enough to see the program work, not to page on"
        " (enrichment.quality = demo)",
        soft_wrap=True,
    )


def _costs(config: Config, seen: Sequence[KindSeen]) -> list[tuple[str, str]]:
    """What the same events would have cost with the default model, asked in three ways."""
    task = providers.load_task(config, None)
    prices = providers.find_prices(config, app.wall_time())
    kinds = [
        Kind(
            signature=kind.signature,
            shapes=(),
            template=kind.template,
            level=kind.level,
            program=kind.program,
            events=kind.events,
            window=0,
            pane=0,
        )
        for kind in seen
    ]
    requests = pack_kinds(kinds, task, model=config.provider.model, endpoint=config.provider.endpoint)
    cost = estimate(kinds, requests, task=task, prices=prices)
    model = config.provider.model
    return [
        ("every event on demand", f"{show.usd(cost.per_event_usd)} with {model}, estimated"),
        ("every event in batch", show.usd(cost.batch_usd)),
        ("every kind once in batch", show.usd(cost.deduplicated_usd)),
        ("prices as of", prices.as_of if prices else "unknown"),
    ]
