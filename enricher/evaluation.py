"""`enricher evaluate`: a task asked about labelled lines, and how well its answers agree.

The lines go the way of every log line, through the same stages, the Batch API and the same validation, in a directory
of their own under the state directory: what was answered once is not paid for again, and an interrupted evaluation
goes on. Nothing here judges; `core.gold` does.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from enricher import app, private, show
from enricher import config as configuration
from enricher import provider as providers
from enricher.compose import Mode, gold_file, source_of
from enricher.config import AdminSettings, SinkSettings
from enricher.core.gold import Agreement, Case, Given, agreement, read_cases
from enricher.errors import ConfigError, UsageError
from enricher.once import Once, Progress
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

    from enricher.config import Config

_SHOWN_DISAGREEMENTS: Final = 20
_ANSWERED: Final = frozenset({"ok", "cached"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What came out."""

    task: str
    model: str
    dataset: str
    cases: tuple[Case, ...]
    given: tuple[Given | None, ...]
    agreement: Agreement
    cost_usd: float

    def to_json(self) -> dict[str, Any]:
        """For programs; `disagreements` hold the lines."""
        figures = asdict(self.agreement)
        figures["disagreements"] = [
            {
                "line": self.cases[at].line,
                "accepted": {"severity": self.cases[at].severity, "category": self.cases[at].category},
                "given": None if (one := self.given[at]) is None else asdict(one),
            }
            for at in self.agreement.disagreements
        ]
        return {"task": self.task, "model": self.model, "dataset": self.dataset, **figures, "cost_usd": self.cost_usd}


async def evaluate(
    stop: asyncio.Event,
    config: Config,
    *,
    config_path: Path | None,
    task: str,
    dataset: Path | None,
    tell: Callable[[Progress], None],
) -> Evaluation:
    """Ask about every case and compare. Raises UsageError, ConfigError, TryAgainError, the provider's errors."""
    text, name = _dataset(task, dataset)
    try:
        cases = read_cases(text)
    except ValueError as error:
        raise UsageError(
            f"{name}: {error}", hint='a case is {"line": "…", "severity": ["…"], "category": ["…"]}'
        ) from None
    config = config.model_copy(update={"task": config.task.model_copy(update={"file": task})})
    provider = providers.choose(config, environment=os.environ, config_path=config_path, now=app.wall_time())
    # Another prompt, model or set is another evaluation; the same one goes on where it stopped.
    key = hashlib.sha256(f"{text}\0{provider.task.hash}\0{provider.model}".encode()).hexdigest()[:16]
    directory = config.state_dir / "evaluate" / key
    lines = directory / "cases.log"
    _write_once(lines, b"".join(case.line.encode() + b"\n" for case in cases))
    config = config.model_copy(
        update={
            "state_dir": directory / "state",
            "sources": (source_of([lines], "cases"),),
            "sinks": (SinkSettings(id="files", directory=directory / "answers"),),
            "admin": AdminSettings(listen="127.0.0.1:0"),
        }
    )
    enricher = app.Enricher(config=config, provider=provider, telemetry=Telemetry(), mode=Mode(once=True))
    try:
        await enricher.open()
        summary = await Once(enricher).run(stop, tell)
    finally:
        await enricher.close()
    given = _read_answers(directory / "answers", cases)
    return Evaluation(
        task=provider.task.name,
        model=provider.model,
        dataset=name,
        cases=cases,
        given=given,
        agreement=agreement(cases, given),
        cost_usd=summary.cost_usd,
    )


def _dataset(task: str, dataset: Path | None) -> tuple[str, str]:
    """The text of the set, and what to call it: a file, or the one shipped with the task."""
    if dataset is None:
        name = gold_file(task)
        try:
            return configuration.shipped(f"tasks/{name}"), name
        except OSError:
            raise UsageError(
                f"no labelled lines are shipped for the task {task!r}", hint=f"enricher evaluate {task} DATASET.jsonl"
            ) from None
    try:
        return dataset.read_text(encoding="utf-8"), str(dataset)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"{dataset}: cannot be read: {reason}") from None


def _write_once(path: Path, data: bytes) -> None:
    if path.exists():
        return
    try:
        private.make_directory(path.parent)
        temporary = path.with_name(path.name + ".tmp")
        with open(temporary, "wb", opener=private.opener) as file:
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        raise ConfigError([f"state_dir: cannot write to {path.parent}: {error.strerror}"]) from None


def _read_answers(directory: Path, cases: tuple[Case, ...]) -> tuple[Given | None, ...]:
    """The answer to each case, found by where its line begins."""
    found: dict[int, Given] = {}
    for part in sorted(directory.glob("*/events-*.jsonl")):
        with part.open("rb") as file:
            for line in file:
                event = json.loads(line)
                if event["enrichment.status"] in _ANSWERED:
                    found[event["log.offset"]] = Given(
                        severity=event["enrichment.severity"],
                        category=event["enrichment.category"],
                        summary=event["enrichment.summary"],
                    )
    offset, given = 0, []
    for case in cases:
        given.append(found.get(offset))
        offset += len(case.line.encode()) + 1
    return tuple(given)


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the figures and the first disagreements."""
    figures = evaluation.agreement
    severity = f"{figures.severity_exact:.0%} exact, {figures.severity_accepted:.0%} accepted"
    attention = f"{figures.attention_accuracy:.0%} right, {figures.attention_recall:.0%} of what needs a look was found"
    show.facts(
        console,
        [
            ("task, model", f"{evaluation.task}, {evaluation.model}"),
            ("labelled lines", f"{figures.cases} of {evaluation.dataset}, {figures.answered:.0%} answered"),
            ("severity", f"{severity}, {figures.severity_near:.0%} within one step"),
            ("category", f"{figures.category_accepted:.0%} accepted"),
            ("attention", attention),
            ("cost", show.usd(evaluation.cost_usd)),
        ],
    )
    rows = []
    for at in figures.disagreements[:_SHOWN_DISAGREEMENTS]:
        case, one = evaluation.cases[at], evaluation.given[at]
        said = "no answer" if one is None else f"{one.severity} {one.category}"
        rows.append((f"{'/'.join(case.severity)} {'/'.join(case.category)}", said, case.line))
    if rows:
        more = len(figures.disagreements) - len(rows)
        title = "answered otherwise" + (f" (and {more} more: --json shows all)" if more else "")
        show.grid(console, title, ("accepted", "given", "line"), rows)
