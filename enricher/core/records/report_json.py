"""An evaluation as JSON, for programs: every figure of the report, and of each case what it scored.

Must never: compute a figure that `results` and `statistics` do not give.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enricher.core.records.gate import Verdict
    from enricher.core.records.results import Comparison, Cost, Evaluation, Ranked


def to_json(evaluation: Evaluation, verdict: Verdict | None) -> dict[str, Any]:
    """Give what `json.dumps` takes; money and prices that are not known are null."""
    return {
        "task": evaluation.task,
        "dataset": evaluation.dataset,
        "cases": len(evaluation.cases),
        "repeats": evaluation.best.summary.repeats,
        "cells": [_cell(one) for one in evaluation.ranking],
        "comparisons": [_comparison(one) for one in evaluation.comparisons],
        "scoring": None if evaluation.scoring is None else _cost(evaluation.scoring),
        "gate": None if verdict is None else {"passed": verdict.passed, "reasons": list(verdict.reasons)},
        "not_passed": [
            {"case": case.key, "cell": one.name, "repeat": repeat, "reason": answered.error or answered.score.reason}
            for one in evaluation.ranking
            for case, answers in zip(evaluation.cases, one.result.answers, strict=True)
            for repeat, answered in enumerate(answers)
            if not answered.score.passed
        ],
    }


def _cell(one: Ranked) -> dict[str, Any]:
    return {
        "place": one.place,
        "name": one.name,
        "score": one.summary.mean,
        "score_interval": asdict(one.summary.mean_interval),
        "pass_rate": one.summary.pass_rate,
        "pass_interval": asdict(one.summary.pass_interval),
        "by_scorer": dict(one.by_scorer),
        "no_answer": one.failed,
        **_cost(one.result.cost),
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "cost_usd": cost.usd,
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
        "asked": cost.asked,
        "cached": cost.cached,
    }


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        "cell": one.one,
        "against": one.other,
        "difference": one.difference.mean,
        "interval": asdict(one.difference.interval),
        "p_score": one.p_score,
        "p_pass": one.p_pass,
        "won": one.difference.gained,
        "lost": one.difference.lost,
    }
