"""Whether an evaluation is good enough to let a pipeline go on.

    [gate]
    cell = "best"            # or a cell's name, or "all"
    min_score = 0.8          # of the mean
    min_pass_rate = 0.9
    by = "mean"              # "lower": the lower end of the confidence interval must reach it
    no_worse_than = "terse"  # another cell, or a baseline file (.json) of an earlier evaluation
    max_drop = 0.02          # and the mean may not fall by more than this

Worse is a cell whose mean difference lies below 0 with its whole confidence interval: noise alone stops no pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from enricher.core.records.statistics import Difference, compare
from enricher.core.toml_reader import NUMBER, TableReader, not_empty, one_of, within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.records.results import Baseline, Evaluation, Ranked

BEST: Final = "best"
ALL: Final = "all"
BASELINE_SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is asked of an evaluation; nothing by default."""

    cell: str = BEST
    min_score: float | None = None
    min_pass_rate: float | None = None
    by: Literal["mean", "lower"] = "mean"
    no_worse_than: str | None = None
    max_drop: float | None = None

    @property
    def baseline_file(self) -> str | None:
        """Return the path of the baseline that it compares with, None for a cell or nothing."""
        name = self.no_worse_than
        return name if name is not None and name.endswith(BASELINE_SUFFIX) else None

    @property
    def cells(self) -> Mapping[str, str]:
        """Return the cells that it names, by the option that does."""
        named = {} if self.cell in (BEST, ALL) else {"cell": self.cell}
        other = None if self.baseline_file else self.no_worse_than
        return named if other is None else {**named, "no_worse_than": other}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the evaluation passes, and every reason why not."""

    passed: bool
    reasons: tuple[str, ...] = ()


def parse_gate(reader: TableReader) -> Gate:
    """Read the table `[gate]`, and finish it. Faults go to the reader."""
    gate = Gate(
        cell=reader.take("cell", str, BEST, not_empty),
        min_score=reader.take("min_score", NUMBER, None, within(0, 1)),
        min_pass_rate=reader.take("min_pass_rate", NUMBER, None, within(0, 1)),
        by=reader.take("by", str, "mean", one_of("mean", "lower")),
        no_worse_than=reader.take("no_worse_than", str, None, not_empty),
        max_drop=reader.take("max_drop", NUMBER, None, within(0, 1)),
    )
    if gate.max_drop is not None and gate.no_worse_than is None:
        reader.fault("max_drop", "is of no use without no_worse_than")
    reader.finish()
    return gate


def judge(gate: Gate, evaluation: Evaluation, baseline: Baseline | None, *, seed: int) -> Verdict:
    """Hold an evaluation against its gate; `baseline` is what was read from `gate.baseline_file`."""
    if gate.cell == ALL:
        chosen: Sequence[Ranked] = evaluation.ranking
    elif gate.cell == BEST:
        chosen = [evaluation.best]
    else:
        chosen = [one for one in evaluation.ranking if one.name == gate.cell]
    if not chosen:
        return Verdict(passed=False, reasons=(f"there is no cell {gate.cell!r}",))
    reasons = [
        reason for one in chosen for reason in (*_thresholds(gate, one), *_worse(gate, one, evaluation, baseline, seed))
    ]
    return Verdict(passed=not reasons, reasons=tuple(reasons))


def _thresholds(gate: Gate, one: Ranked) -> list[str]:
    summary = one.summary
    is_mean = gate.by == "mean"
    figures = (
        ("score", gate.min_score, summary.mean if is_mean else summary.mean_interval.low),
        ("pass rate", gate.min_pass_rate, summary.pass_rate if is_mean else summary.pass_interval.low),
    )
    what = "" if is_mean else "lower end of the "
    return [
        f"{one.name}: the {what}{name} is {value:.3f}, below {least:g}"
        for name, least, value in figures
        if least is not None and value < least
    ]


def _worse(gate: Gate, one: Ranked, evaluation: Evaluation, baseline: Baseline | None, seed: int) -> list[str]:
    name = gate.no_worse_than
    if name is None or name == one.name:
        return []
    difference = (
        _against_file(one, evaluation, baseline, seed)
        if gate.baseline_file
        else _against_cell(one, evaluation, name, seed)
    )
    if isinstance(difference, str):
        return [f"{one.name}: {difference}"]
    reasons = []
    if difference.interval.high < 0:
        ends = f"{difference.interval.low:+.3f} to {difference.interval.high:+.3f}"
        reasons.append(f"{one.name}: worse than {name}: {difference.mean:+.3f} ({ends})")
    elif gate.max_drop is not None and difference.mean < -gate.max_drop:
        reasons.append(f"{one.name}: {-difference.mean:.3f} below {name}, more than {gate.max_drop:g}")
    return reasons


def _against_cell(one: Ranked, evaluation: Evaluation, name: str, seed: int) -> Difference | str:
    other = evaluation.find(name)
    if other is None:
        return f"there is no cell {name!r} to compare with"
    return compare(one.result.scores, other.result.scores, one.result.passes, other.result.passes, seed=seed)


def _against_file(one: Ranked, evaluation: Evaluation, baseline: Baseline | None, seed: int) -> Difference | str:
    """Compare over the cases that both have: at least half of the evaluation's, else the two have little in common."""
    cells = {} if baseline is None else baseline.cells
    before = cells.get(one.name) or (next(iter(cells.values())) if len(cells) == 1 else None)
    if before is None:
        return f"the baseline has no cell of this name, but {', '.join(map(repr, cells)) or 'none'}"
    shared = [(at, before[case.key]) for at, case in enumerate(evaluation.cases) if case.key in before]
    if 2 * len(shared) < len(evaluation.cases):
        return f"the baseline has {len(shared)} of the {len(evaluation.cases)} cases: make a new one"
    scores, passes = one.result.scores, one.result.passes
    return compare(
        [scores[at] for at, _ in shared],
        [old[0] for _, old in shared],
        [passes[at] for at, _ in shared],
        [old[1] for _, old in shared],
        seed=seed,
    )
