"""`enricher plan`: read everything into a throw-away store, draft what would be asked, price it three ways.

Nothing is sent, and no state but a temporary directory is written. Kinds that the real store has an answer for are not
asked again; reading it does not disturb a running daemon.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enricher import private, show
from enricher import provider as providers
from enricher.compose import Mode, ingest_for, plan_settings, source_for
from enricher.core import batch as batch_lines
from enricher.core import pricing, window
from enricher.core.answer import Question, Usage
from enricher.core.merge import Merge
from enricher.core.split import NO_SPLITS
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import UsageError
from enricher.stages.plan import askable, draft, draft_digests
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

    from enricher.config import Config
    from enricher.core.batch import Request
    from enricher.core.ledger import Kind, LedgerRequest
    from enricher.core.pricing import Prices
    from enricher.core.task import Task
    from enricher.stages.plan import Draft, PlanSettings


_WHY = {
    "new": "no answer yet",
    "model_changed": "answered by another model",
    "task_changed": "the task has changed",
    "expired": "the answer is too old",
    "refresh": "a refresh was asked for",
    "split": "a value of theirs changes the answer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Tokens and money of the same events, asked one by one or once per kind; None where no price is known."""

    per_event: Usage
    deduplicated: Usage
    per_event_usd: float | None
    batch_usd: float | None
    deduplicated_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Kinds that answers of an older version of the task serve, and what asking them anew would take."""

    kinds: int
    requests: int
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """What asking about windows as a whole takes, beside their kinds of event: `run` does, and `once --digest`."""

    requests: int
    tokens: int
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Events that nothing is asked about, since their sources made too many lines kinds of their own."""

    events: int
    sources: tuple[str, ...]
    """Those whose breaker opened while they were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `enricher plan` shows."""

    events: int
    """All that were read."""
    skipped: Skipped
    windows: tuple[str, ...]
    signatures: int
    new_signatures: int
    requests: int
    files: tuple[str, ...]
    model: str
    as_of: str
    estimate: Estimate
    reasons: Mapping[str, int]
    """Why how many kinds are asked: `core.catalogue.REASONS`."""
    kept: Kept
    digests: Digests

    @property
    def tokens_per_signature(self) -> dict[str, int]:
        """Tokens of a kind that is asked, on average, with its share of what is the same in every request."""
        used, asked = self.estimate.deduplicated, max(1, self.new_signatures)
        return {"input": round(used.input_tokens / asked), "output": round(used.output_tokens / asked)}

    def to_json(self) -> dict[str, Any]:
        """The contract of `plan --json`."""
        cost = self.estimate
        return {
            "events": self.events,
            "skipped": {"events": self.skipped.events, "sources": list(self.skipped.sources)},
            "windows": list(self.windows),
            "signatures": self.signatures,
            "new_signatures": self.new_signatures,
            "requests": self.requests,
            "tokens": cost.deduplicated.input_tokens + cost.deduplicated.output_tokens,
            "input_tokens": cost.deduplicated.input_tokens,
            "output_tokens": cost.deduplicated.output_tokens,
            "tokens_per_signature": self.tokens_per_signature,
            "cost_usd": {
                "per_event": cost.per_event_usd,
                "batch": cost.batch_usd,
                "deduplicated": cost.deduplicated_usd,
            },
            "model": self.model,
            "prices_as_of": self.as_of,
            "files": list(self.files),
            "reasons": dict(self.reasons),
            "kept_on_change": {
                "signatures": self.kept.kinds,
                "requests": self.kept.requests,
                "cost_usd": self.kept.usd,
            },
            "digests": {
                "requests": self.digests.requests,
                "tokens": self.digests.tokens,
                "cost_usd": self.digests.usd,
            },
        }


async def plan(
    config: Config,
    *,
    config_path: Path | None,
    environment: Mapping[str, str],
    out: Path | None,
    tell: Callable[[bytes], object] | None = None,
    digest: bool = False,
) -> Report:
    """Draft the plan for everything that the sources hold now. Raises ConfigError, StoreError.

    `digest` puts what is asked about windows as a whole into what is written and told; it is priced either way.
    `tell` gets each line that would be uploaded, in order: ASCII, with escapes for what no terminal should see.
    """
    provider = providers.describe(config, environment=environment, config_path=config_path, now=time.time())
    settings = plan_settings(config, provider, Mode(once=True, digest=True))
    with tempfile.TemporaryDirectory(prefix="enricher-plan-") as directory:
        store = await SqliteStore.open(Path(directory))
        try:
            await _take_splits(config, store)
            await _read_all(config, store)
            now = time.time()
            panes = [(pane.start, pane.number) for pane in await store.open_panes()]
            kinds = await store.kinds(panes, settings.task.hash, settings.model, now) if panes else []
            why = askable(await _reasons(config, settings, kinds, now), settings)
            stale = [kind for kind in why if kind.reason == "task_changed" and settings.reuse.on_change == "keep"]
            fresh = [kind for kind in why if kind not in stale]
            digests = await draft_digests(store, settings, await _unclosed(config, panes))
            drafted = await draft(store, settings, fresh, panes, digests=digests if digest else ())
            kept = await draft(store, settings, stale, panes)
            skipped = await _skipped(store, kinds, now)
            names = _names(drafted, settings)
            if out is not None:
                await asyncio.to_thread(_write_files, out, names, drafted)
            if tell is not None:
                for line in (line for requests in drafted.files for line in _lines(requests)):
                    tell(line)
        finally:
            await store.close()
    prices = provider.prices
    return Report(
        events=sum(kind.events for kind in kinds) + skipped.events,
        skipped=skipped,
        windows=tuple(window.window_id(start, settings.length_seconds) for start in sorted({one[0] for one in panes})),
        signatures=len(kinds),
        new_signatures=len(fresh),
        requests=sum(not request.is_digest for request in drafted.requests),
        files=tuple(names),
        model=provider.model,
        as_of=prices.as_of if prices else "",
        estimate=estimate(kinds, _about_kinds(drafted), task=provider.task, prices=prices),
        reasons=Counter(kind.reason for kind in fresh),
        kept=Kept(
            kinds=len(stale),
            requests=len(kept.requests),
            usd=estimate(stale, kept.requests, task=provider.task, prices=prices).deduplicated_usd,
        ),
        digests=_digests(digests, settings),
    )


async def _skipped(store: SqliteStore, kinds: Sequence[Kind], now: float) -> Skipped:
    # Of a store without answers everything is asked about but what is skipped.
    read = (await store.summary(now)).read_events
    tripped = [source for source, breaker in (await store.breakers()).items() if breaker.trips]
    return Skipped(events=read - sum(kind.events for kind in kinds), sources=tuple(tripped))


def _about_kinds(drafted: Draft) -> list[LedgerRequest]:
    return [request for request in drafted.requests if not request.is_digest]


def _digests(requests: Sequence[LedgerRequest], settings: PlanSettings) -> Digests:
    answer_tokens = settings.digest.answer_tokens if settings.digest else 0
    used = Usage(input_tokens=sum(request.tokens for request in requests), output_tokens=answer_tokens * len(requests))
    return Digests(
        requests=len(requests),
        tokens=used.input_tokens + used.output_tokens,
        usd=pricing.cost(used, settings.prices, batch=True) if settings.prices else None,
    )


def estimate(
    kinds: Iterable[Kind], requests: Iterable[LedgerRequest | Request], *, task: Task, prices: Prices | None
) -> Estimate:
    """Price events asked one by one, and the requests that are really made."""
    static = batch_lines.static_tokens(task, 1)
    input_tokens = output_tokens = 0
    for kind in kinds:
        input_tokens += kind.events * (static + batch_lines.question_tokens(_question(kind), task))
        output_tokens += kind.events * task.answer_tokens
    per_event = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    made = list(requests)
    deduplicated = Usage(
        input_tokens=sum(request.tokens for request in made),
        output_tokens=sum(task.answer_tokens * len(request.signatures) for request in made),
    )
    costs = pricing.three_costs(per_event=per_event, deduplicated=deduplicated, prices=prices) if prices else None
    return Estimate(
        per_event=per_event,
        deduplicated=deduplicated,
        per_event_usd=costs.per_event_usd if costs else None,
        batch_usd=costs.batch_usd if costs else None,
        deduplicated_usd=costs.deduplicated_usd if costs else None,
    )


def pack_kinds(kinds: Iterable[Kind], task: Task, *, model: str, endpoint: str) -> list[Request]:
    """The requests that asking each kind once would take, without examples."""
    return batch_lines.pack(
        [_question(kind) for kind in kinds],
        task,
        model=model,
        endpoint=endpoint,
        max_signatures=task.signatures_per_request,
    )


def _question(kind: Kind) -> Question:
    return Question(
        signature=kind.signature,
        template=kind.template,
        level=kind.level,
        program=kind.program,
    )


def print_report(console: Console, report: Report, out: Path | None) -> None:
    """The report for a person."""
    windows = report.windows
    span = f"{len(windows):,}" + (f" ({windows[0]} to {windows[-1]})" if windows else "")
    cost, used, each = report.estimate, report.estimate.deduplicated, report.tokens_per_signature
    show.facts(
        console,
        [
            ("events", f"{report.events:,}"),
            ("windows", span),
            ("kinds of event", f"{report.signatures:,}, of which {report.new_signatures:,} have no answer yet"),
            (
                "asked because",
                ", ".join(f"{_WHY[why]}: {n:,}" for why, n in report.reasons.items()) or "nothing is asked",
            ),
            ("requests", f"{report.requests:,} in {len(report.files):,} batch files, to {report.model}"),
            ("tokens", f"{used.input_tokens:,} in and {used.output_tokens:,} out, estimated"),
            ("tokens per kind asked", f"{each['input']:,} in and {each['output']:,} out"),
            ("every event, on demand", show.usd(cost.per_event_usd)),
            ("every event, in batch", show.usd(cost.batch_usd)),
            ("every new kind once, in batch", show.usd(cost.deduplicated_usd)),
            (
                "what happened in windows",
                f"{report.digests.requests:,} more requests (run, once --digest), {show.usd(report.digests.usd)}",
            ),
            ("prices as of", report.as_of or "unknown: set [prices]"),
        ],
    )
    if report.skipped.events:
        console.print(
            f"{report.skipped.events:,} of the events are of sources that make too many lines kinds of their own"
            f" ({', '.join(map(show.safe, report.skipped.sources))}): nothing is asked about them, they go out as"
            " skipped_policy; see what is written there, or drop it",
            soft_wrap=True,
        )
    if report.kept.kinds:
        console.print(
            f"{report.kept.kinds:,} kinds have answers of an older version of the task, which serve; asking them anew"
            f' ([task] on_change = "reask", or enricher signatures refresh) takes {report.kept.requests:,} requests,'
            f" {show.usd(report.kept.usd)} in batch",
            soft_wrap=True,
        )
    if out is not None:
        console.print(f"{len(report.files)} files written to {out}", soft_wrap=True)


async def _take_splits(config: Config, store: SqliteStore) -> None:
    """Split in the throw-away store what is split in the real one."""
    if not (config.state_dir / SqliteStore.FILE_NAME).exists():
        return
    real = await SqliteStore.open(config.state_dir, read_only=True)
    try:
        table = await real.split_table(NO_SPLITS.revision)
        members = [(kind, await real.shapes(kind.shapes)) for kind in (table.kinds if table else ())]
    finally:
        await real.close()
    if table is None:
        return
    now = time.time()
    await store.save_splits([kind.split for kind in table.kinds], now)
    for kind, own in members:
        rows = await store.intern_shapes([row.shape for row in own], now)
        if len(rows) > 1:
            await store.commit_merges([Merge(members=tuple(rows), template=kind.split.template)], now)


async def _unclosed(config: Config, panes: Sequence[tuple[int, int]]) -> list[int]:
    """Windows that the real store has not closed: the others were asked about as a whole, if at all, when they did."""
    starts = {start for start, _ in panes}
    if (config.state_dir / SqliteStore.FILE_NAME).exists():
        real = await SqliteStore.open(config.state_dir, read_only=True)
        try:
            starts -= await real.closed_windows()
        finally:
            await real.close()
    return sorted(starts)


async def _read_all(config: Config, store: SqliteStore) -> None:
    telemetry = Telemetry()
    sources = [source_for(config, one, telemetry, once=True) for one in config.sources]
    ingest = ingest_for(config, store, sources, telemetry)
    await ingest.start()
    while not all(source.progress(time.time()).exhausted for source in sources):
        await ingest.step(flush=True)
    for source in sources:
        await source.close()


async def _reasons(config: Config, settings: PlanSettings, kinds: Sequence[Kind], now: float) -> list[Kind]:
    """The kinds that would be asked by the real store, each with why, those too that a changed task would ask anew."""
    if not (config.state_dir / SqliteStore.FILE_NAME).exists():
        return list(kinds)
    store = await SqliteStore.open(config.state_dir, read_only=True)
    try:
        names = [kind.signature for kind in kinds]
        reuse = replace(settings.reuse, on_change="reask")
        reasons = await store.reasons(names, settings.task.hash, settings.model, now, reuse=reuse)
    finally:
        await store.close()
    # A value that no run has met yet is new to the store as a kind, but its parent's answer serves.
    return [
        replace(kind, reason="split" if kind.where and reasons[kind.signature] == "new" else reasons[kind.signature])
        for kind in kinds
        if kind.signature in reasons
    ]


def _names(drafted: Draft, settings: PlanSettings) -> list[str]:
    names: list[str] = []
    parts: dict[int, int] = {}
    for requests in drafted.files:
        start = min(request.window for request in requests)
        part = parts.get(start, 0)
        parts[start] = part + 1
        names.append(batch_lines.file_name(window.window_id(start, settings.length_seconds), part, 1))
    return names


def _lines(requests: Iterable[LedgerRequest]) -> Iterator[bytes]:
    return (batch_lines.line(request, request.attempt, request.endpoint) for request in requests)


def _write_files(out: Path, names: list[str], drafted: Draft) -> None:
    try:
        # What a rule did not know for a secret is in them, and raw lines if so configured: for whoever asked alone.
        private.make_directory(out)
        for name, requests in zip(names, drafted.files, strict=True):
            with open(out / name, "wb", opener=private.opener) as file:
                file.writelines(_lines(requests))
    except OSError as error:
        raise UsageError(
            f"--out {out}: cannot be written: {error.strerror}", hint="name a directory of yours, or one to be made"
        ) from error
