"""Evaluate: a task is asked about labelled rows in every cell of its matrix, and its answers are scored and compared.

The cells are jobs on the engine of records: same ledger, budget and cache, so that what was asked once, in an
evaluation or a run, is not asked again. Whatever would make the evaluation useless is said before anything is asked.
Never here: a score, a figure, a report; `core.records` has them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from enricher import config as configuration
from enricher.core.records.assessment import task_in
from enricher.core.records.gate import Gate, judge
from enricher.core.records.results import Answered, CellResult, read_baseline
from enricher.core.records.results import evaluate as rank
from enricher.core.records.scorers import score_case
from enricher.edges.record_inputs import open_input
from enricher.errors import ConfigError, UsageError
from enricher.records.api import silent
from enricher.records.dataset import check_expected, read_dataset
from enricher.records.engine import choose_provider, find_configuration, open_engine
from enricher.records.order import Order, load_record_task
from enricher.records.rounds import Question, Rounds
from enricher.records.scoring import Answer, Scoring, read_judges, total

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from enricher.config import Config
    from enricher.core.records.assessment import Assessment
    from enricher.core.records.gate import Verdict
    from enricher.core.records.matrix import Cell
    from enricher.core.records.results import Baseline, Evaluation
    from enricher.core.records.scorers import Outside
    from enricher.core.records.task import RecordTask
    from enricher.records.dataset import Dataset
    from enricher.records.engine import Engine
    from enricher.records.progress import JobProgress
    from enricher.records.rounds import Replies

SEED: Final = 1
MAX_AT_ONCE: Final = 512
"""Cells times repeats: each is a batch of its own, or several, that is asked for again and again until it is done."""
MAX_ANSWERS: Final = 500_000
"""All are held in memory, with their scores."""


class Tried(TypedDict, total=False):
    """What may be said of an evaluation: keywords of both calls."""

    options: Mapping[str, object]
    """Of the task, by name, as of a run."""
    columns: Mapping[str, str]
    """Under which column of the data set lies what a prompt calls otherwise."""
    key: str | None
    """The column that names a case, as of a run."""
    baseline: Path | None
    """Instead of what the gate compares with."""
    making: Path | None
    """A baseline that is to be written: where the gate names the same one, it need not be there yet."""
    seed: int
    """Of the resampling behind intervals and p values; the same gives the same figures."""
    budget_usd: float | None
    """Refuse what all cells together would likely cost more, before anything is sent. None: what `[budget]` leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is asked for: the keywords of `Tried`, and what they are about."""

    task: str
    dataset: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    baseline: Path | None = None
    making: Path | None = None
    seed: int = SEED
    budget_usd: float | None = None
    wait: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What came out."""

    evaluation: Evaluation
    verdict: Verdict | None
    """None where the task has no gate."""
    notes: tuple[str, ...] = ()
    """What a person should know."""


async def evaluate_async(
    task: str,
    dataset: str | Path | None = None,
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = silent,
    stop: asyncio.Event | None = None,
    wait: bool = True,
    **keywords: Unpack[Tried],
) -> Evaluated:
    """Ask a task about labelled rows in every cell of its matrix, and compare the cells.

        found = await records.evaluate_async("mood.toml", "labelled.jsonl", budget_usd=5)

    `dataset` is any input that a run takes, with what is expected of each row; None takes the labelled rows that come
    with a shipped task. `config`, `tell`, `stop` and `wait` are as of `run_async`, and so is what ends it midway: what
    was answered in a cell is kept, and not asked again.

    Raises ConfigError (BudgetError among them), UsageError, InputError, LockedError, StoreError, the provider's errors,
    and TryAgainError when `stop` was set, or while the provider works if `wait` is False.
    """
    trial = Trial(task=task, dataset=None if dataset is None else str(dataset), wait=wait, **keywords)
    settings, config_path = find_configuration(config)
    record_task, assessment = _task(trial)
    gate, baseline, notes = await asyncio.to_thread(_gate, assessment.gate, trial)
    cells = assessment.matrix.cells
    asked = list(dict.fromkeys(name for cell in cells for name in task_in(record_task, cell).columns))
    found = await asyncio.to_thread(_dataset, trial, asked)
    check_expected(found, assessment.scorers)
    _check_size(found, assessment)
    judges = read_judges(assessment.scorers, found.rows.columns(), _judging_task)
    async with open_engine(settings, choose_provider(settings, config_path, wait=trial.wait)) as engine:
        models = _models(engine, record_task, cells)
        rounds = Rounds(engine, stop=stop or asyncio.Event(), tell=tell, budget_usd=trial.budget_usd, wait=trial.wait)
        replies = await rounds.ask(
            [
                Question(task=task_in(record_task, cell, repeat), rows=found.rows)
                for cell in cells
                for repeat in range(assessment.matrix.repeats)
            ]
        )
        answers = [Answer(case, reply) for one in replies for case, reply in zip(found.cases, one.rows, strict=True)]
        outside, scoring = await Scoring(assessment.scorers, judges, found.name).ask(rounds, answers)
    results = _results(assessment, models, found, replies, outside)
    evaluation = await asyncio.to_thread(
        rank, record_task.name, found.name, found.cases, assessment.scorers, results, seed=trial.seed, scoring=scoring
    )
    notes += tuple(dict.fromkeys(note for one in replies for note in one.notes))
    verdict = None if gate == Gate() else judge(gate, evaluation, baseline, seed=trial.seed)
    return Evaluated(evaluation=evaluation, verdict=verdict, notes=notes)


def evaluate(
    task: str,
    dataset: str | Path | None = None,
    *,
    config: Config | Path | None = None,
    tell: Callable[[JobProgress], None] = silent,
    wait: bool = True,
    **keywords: Unpack[Tried],
) -> Evaluated:
    """Do as `evaluate_async`, and block until it is done.

    >>> found = evaluate("evaluate")
    >>> sorted(cell.name for cell in found.evaluation.ranking)
    ['explained', 'terse']
    >>> 0 <= found.evaluation.best.summary.mean <= 1
    True
    """
    return asyncio.run(evaluate_async(task, dataset, config=config, tell=tell, wait=wait, **keywords))


def _shipped_dataset(task: str) -> Path:
    """Say where the labelled rows lie that come with a shipped task. Raises UsageError where none do."""
    path = configuration.shipped_path(f"tasks/{task}.gold.jsonl")
    if not path.is_file():
        raise UsageError(
            f"no labelled rows are shipped for the task {task!r}", hint=f"enricher evaluate {task} DATASET"
        )
    return path


def _task(trial: Trial) -> tuple[RecordTask, Assessment]:
    order = Order(task=trial.task, input="", output="", options=trial.options, columns=trial.columns)
    task = load_record_task(order)
    if task.assessment is None:
        raise ConfigError(
            [f"task {trial.task}: does not say how it is evaluated"],
            hint="give it [[scorers]], and [matrix] and [gate] if wanted: config/tasks/evaluate.toml shows how",
        )
    matrix = task.assessment.matrix
    if len(matrix.cells) * matrix.repeats > MAX_AT_ONCE:
        asked = f"{len(matrix.cells)} cells, {matrix.repeats} times each"
        raise ConfigError(
            [f"task {trial.task}: {asked}, are more than {MAX_AT_ONCE} questions about each case"],
            hint="leave out cells, or take fewer repeats",
        )
    return task, task.assessment


def _judging_task(name: str) -> RecordTask:
    return load_record_task(Order(task=name, input="", output=""))


def _gate(gate: Gate, trial: Trial) -> tuple[Gate, Baseline | None, tuple[str, ...]]:
    """Read the baseline that a gate compares with. Raises UsageError for one that is not there or is none."""
    if trial.baseline is not None:
        gate = replace(gate, no_worse_than=str(trial.baseline))
        if gate.baseline_file is None:
            raise UsageError(
                f"{trial.baseline}: a baseline's name ends in .json", hint="--write-baseline FILE.json makes one"
            )
    if gate.baseline_file is None:
        return gate, None, ()
    path = Path(gate.baseline_file)
    if trial.making is not None and not path.exists() and path.absolute() == trial.making.absolute():
        note = f"{path} is not there yet: nothing was compared with it, and it is written now"
        return replace(gate, no_worse_than=None, max_drop=None), None, (note,)
    try:
        return gate, read_baseline(path.read_text(encoding="utf-8")), ()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{path}: is no baseline that can be read: {reason}", hint=f"--write-baseline {path} makes one"
        ) from None


def _dataset(trial: Trial, asked: Sequence[str]) -> Dataset:
    shipped = None if trial.dataset is not None else _shipped_dataset(trial.task)
    given = open_input(trial.dataset or str(shipped), key=trial.key)
    try:
        # Where the program lies says nothing about its rows.
        return read_dataset(given, asked=asked, name=given.name if shipped is None else shipped.name)
    finally:
        given.close()


def _check_size(dataset: Dataset, assessment: Assessment) -> None:
    count = len(dataset.cases) * len(assessment.matrix.cells) * assessment.matrix.repeats
    if count > MAX_ANSWERS:
        raise UsageError(
            f"{dataset.name}: {len(dataset.cases):,} cases in {len(assessment.matrix.cells)} cells,"
            f" {assessment.matrix.repeats} times each, are {count:,} answers, more than {MAX_ANSWERS:,}",
            hint="take a sample of the cases, fewer cells or fewer repeats",
        )


def _models(engine: Engine, task: RecordTask, cells: Sequence[Cell]) -> list[str]:
    """Say whom each cell asks. Raises ConfigError where two would ask the same one the same, known only now."""
    models: list[str] = []
    asked: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        variant = task_in(task, cell)
        model = engine.settings(variant).model
        same = asked.setdefault((variant.hash, model), cell)
        if same is not cell:
            raise ConfigError(
                [f"task {task.name}: the cells {same.name!r} and {cell.name!r} would ask {model} the same"],
                hint="leave one of them out with [[matrix.exclude]], or change it",
            )
        models.append(model)
    return models


def _results(
    assessment: Assessment,
    models: Sequence[str],
    dataset: Dataset,
    replies: Sequence[Replies],
    outside: Sequence[Outside],
) -> list[CellResult]:
    """Score the answers of every cell; `outside` has one for each answer of each of its repeats in turn."""
    results = []
    repeats, count = assessment.matrix.repeats, len(dataset.cases)
    for number, (cell, model) in enumerate(zip(assessment.matrix.cells, models, strict=True)):
        own = range(number * repeats, (number + 1) * repeats)
        answers = [
            [_answered(assessment, case.expected, replies[one], at, outside[one * count + at]) for one in own]
            for at, case in enumerate(dataset.cases)
        ]
        results.append(
            CellResult(cell=replace(cell, model=model), answers=answers, cost=total([replies[one] for one in own]))
        )
    return results


def _answered(
    assessment: Assessment, expected: Mapping[str, Any], replies: Replies, at: int, outside: Outside
) -> Answered:
    reply = replies.rows[at]
    score = score_case(assessment.scorers, expected, reply.answer, outside)
    return Answered(answer=reply.answer, score=score, error=reply.error)
