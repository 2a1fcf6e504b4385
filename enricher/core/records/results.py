"""What came out of an evaluation: every answer with its score, the cells ranked, and which of them really differ.

Invariant: the same answers and seed give the same figures. Must never: ask a model or read a file; a baseline comes in
as the text that an earlier evaluation gave.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from enricher.core.records.statistics import Difference, Summary, compare, holm, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.records.matrix import Cell
    from enricher.core.records.scorers import CaseScore, Scorer

# Beyond so many cells each is compared with the best alone: of pairs of all, none would be left significant.
_ALL_PAIRS: Final = 6
_BASELINE_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the data set."""

    key: str
    expected: Mapping[str, Any]
    values: Mapping[str, object]
    """The row, as its reader sees it in a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came back for one case in one repeat, and what it is worth."""

    answer: Mapping[str, Any] | None
    score: CaseScore
    error: str = ""
    """Why there is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a cell took; `usd` None where the model has no price."""

    usd: float | None = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    asked: int = 0
    cached: int = 0
    """Answers that were there from an earlier run, and were not asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """One cell's answers, by case and repeat, in the order of the cases."""

    cell: Cell
    answers: Sequence[Sequence[Answered]]
    cost: Cost = field(default_factory=Cost)

    @property
    def scores(self) -> list[list[float]]:
        """Return scores by case and repeat."""
        return [[one.score.value for one in case] for case in self.answers]

    @property
    def passes(self) -> list[list[bool]]:
        """Return passed or not, by case and repeat."""
        return [[one.score.passed for one in case] for case in self.answers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A cell in its place, the best first."""

    place: int
    result: CellResult
    summary: Summary
    by_scorer: Mapping[str, float]
    """Mean score of each scorer."""
    failed: int
    """Answers that there are not."""

    @property
    def name(self) -> str:
        """Return the cell's name."""
        return self.result.cell.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much better one cell is than another."""

    one: str
    other: str
    difference: Difference
    p_score: float
    """The difference's, after Holm's correction for all pairs that were compared; so is `p_pass`."""
    p_pass: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that a report shows."""

    task: str
    dataset: str
    cases: tuple[Case, ...]
    scorers: tuple[Scorer, ...]
    ranking: tuple[Ranked, ...]
    comparisons: tuple[Comparison, ...]
    scoring: Cost | None = None
    """What embeddings and judging models took, which is no cell's; None where no scorer asks for any."""

    @property
    def best(self) -> Ranked:
        """Return the first cell."""
        return self.ranking[0]

    def find(self, name: str) -> Ranked | None:
        """Give the cell of a name."""
        return next((one for one in self.ranking if one.name == name), None)


def evaluate(
    task: str,
    dataset: str,
    cases: Sequence[Case],
    scorers: Sequence[Scorer],
    results: Sequence[CellResult],
    *,
    seed: int,
    scoring: Cost | None = None,
) -> Evaluation:
    """Rank the cells and compare them. Raises ValueError where a cell has not an answer, or None, for every case.

    The better mean score goes first, then the better pass rate, then what costs less, then the order of the matrix.
    """
    summed = [(result, summarise(result.scores, result.passes)) for result in results]
    summed.sort(key=lambda one: (-one[1].mean, -one[1].pass_rate, _price(one[0])))
    ranking = tuple(
        Ranked(
            place=place,
            result=result,
            summary=summary,
            by_scorer=_by_scorer(result, scorers),
            failed=sum(one.answer is None for case in result.answers for one in case),
        )
        for place, (result, summary) in enumerate(summed, start=1)
    )
    pairs = list(combinations(ranking, 2)) if len(ranking) <= _ALL_PAIRS else [(ranking[0], one) for one in ranking[1:]]
    compared = [
        compare(one.result.scores, other.result.scores, one.result.passes, other.result.passes, seed=seed)
        for one, other in pairs
    ]
    p_scores, p_passes = holm([one.p_score for one in compared]), holm([one.p_pass for one in compared])
    comparisons = tuple(
        Comparison(one=one.name, other=other.name, difference=difference, p_score=p_score, p_pass=p_pass)
        for (one, other), difference, p_score, p_pass in zip(pairs, compared, p_scores, p_passes, strict=True)
    )
    return Evaluation(
        task=task,
        dataset=dataset,
        cases=tuple(cases),
        scorers=tuple(scorers),
        ranking=ranking,
        comparisons=comparisons,
        scoring=scoring,
    )


def _price(result: CellResult) -> float:
    return float("inf") if result.cost.usd is None else result.cost.usd


def _by_scorer(result: CellResult, scorers: Sequence[Scorer]) -> dict[str, float]:
    every = [one.score.scores for case in result.answers for one in case]
    return {scorer.name: sum(scores[at].value for scores in every) / len(every) for at, scorer in enumerate(scorers)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """An earlier evaluation's scores and passes, by cell and key of the case, each by repeat."""

    cells: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[bool]]]]


def write_baseline(evaluation: Evaluation) -> str:
    """Write what a later evaluation can be compared with, as JSON."""
    cells = {
        one.name: {
            case.key: {"scores": scores, "passes": passes}
            for case, scores, passes in zip(evaluation.cases, one.result.scores, one.result.passes, strict=True)
        }
        for one in evaluation.ranking
    }
    document = {"version": _BASELINE_VERSION, "task": evaluation.task, "dataset": evaluation.dataset, "cells": cells}
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n"


def read_baseline(text: str) -> Baseline:
    """Read what `write_baseline` wrote. Raises ValueError for anything else."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    if not isinstance(document, dict) or document.get("version") != _BASELINE_VERSION:
        raise ValueError(f"it is no baseline of version {_BASELINE_VERSION}")
    try:
        cells = {
            name: {key: _repeats(case["scores"], case["passes"]) for key, case in cases.items()}
            for name, cases in document["cells"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError("its scores cannot be read") from error
    return Baseline(cells=cells)


def _repeats(scores: list[float], passes: list[bool]) -> tuple[list[float], list[bool]]:
    if not scores or len(scores) != len(passes) or not all(0 <= score <= 1 for score in scores):
        raise ValueError("a score is beyond its scale")
    return [float(score) for score in scores], [passed is True for passed in passes]
