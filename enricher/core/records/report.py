"""What an evaluation's report says: the same tables in the terminal, in Markdown and in HTML; here also as Markdown.

Must never: compute a figure that `results` and `statistics` do not give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.records.confusion import Confusion, confusions
from enricher.core.records.report_text import between, chance, line, money, points, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.core.records.gate import Verdict
    from enricher.core.records.results import Comparison, Evaluation, Ranked

SIGNIFICANT: Final = 0.05
_SHOWN_FAILURES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a report."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    """Columns of figures, which are set to the right."""
    note: str = ""


def facts(evaluation: Evaluation, verdict: Verdict | None) -> tuple[tuple[str, str], ...]:
    """Give what a report begins with, by name."""
    costs = [one.result.cost for one in evaluation.ranking]
    priced = [cost.usd for cost in costs if cost.usd is not None]
    models = dict.fromkeys(one.result.cell.model for one in evaluation.ranking if one.result.cell.model is not None)
    asked, cached = sum(cost.asked for cost in costs), sum(cost.cached for cost in costs)
    rows = [
        ("task", line(evaluation.task)),
        ("data set", f"{line(evaluation.dataset)}, {_count(len(evaluation.cases), 'case')}"),
        ("matrix", f"{_count(len(evaluation.ranking), 'cell')}, {_count(evaluation.best.summary.repeats, 'repeat')}"),
        *([("model", line(", ".join(models)))] if models else []),
        ("cost", money(sum(priced)) if priced else money(None)),
        ("requests", f"{asked:,} asked, {cached:,} answered before"),
    ]
    if (scoring := evaluation.scoring) is not None:
        rows.append(("scoring", f"{money(scoring.usd)}: {scoring.asked:,} asked, {scoring.cached:,} answered before"))
    if verdict is not None:
        rows.append(("gate", "passed" if verdict.passed else "failed: " + "; ".join(map(line, verdict.reasons))))
    return tuple(rows)


def tables(evaluation: Evaluation, *, with_failures: bool = True) -> tuple[Table, ...]:
    """Give the tables that every form of the report has, the ranking first; those with nothing to say are left out.

    `with_failures`: also the first cases that the best cell did not pass.
    """
    found = [_ranking(evaluation), _differences(evaluation), _variances(evaluation)]
    found += [_failures(evaluation)] if with_failures else []
    return tuple(table for table in found if table.rows)


def confusion_tables(evaluation: Evaluation, one: Ranked) -> tuple[Table, ...]:
    """Give the confusion of a cell as tables."""
    return tuple(_confusion(found) for found in confusions(evaluation.scorers, evaluation.cases, one.result))


def _ranking(evaluation: Evaluation) -> Table:
    names = [scorer.name for scorer in evaluation.scorers] if len(evaluation.scorers) > 1 else []
    rows = tuple(
        (
            str(one.place),
            line(one.name),
            share(one.summary.mean),
            between(one.summary.mean_interval),
            share(one.summary.pass_rate),
            between(one.summary.pass_interval),
            *(share(one.by_scorer[name]) for name in names),
            f"{one.failed:,}",
            money(one.result.cost.usd),
        )
        for one in evaluation.ranking
    )
    columns = ("", "cell", "score", "95 %", "passed", "95 %", *map(line, names), "no answer", "cost")
    return Table(title="Cells, the best first", columns=columns, rows=rows, numbers=_all_but(columns, 1))


def _differences(evaluation: Evaluation) -> Table:
    columns = ("cell", "against", "points", "95 %", "p", "won, lost", "p passed", "would show", "so")
    return Table(
        title="Do they differ",
        columns=columns,
        rows=tuple(map(_difference, evaluation.comparisons)),
        numbers=_all_but(columns, 0, 1, 8),
        note=(
            "Points of the mean score over the same cases; p is that of a paired permutation test. Won and lost are "
            "cases that passed in one cell alone; p passed is that of McNemar's exact test. Both p after Holm's "
            "correction for all pairs. “Would show”: the least true difference that so many cases show 4 times in 5."
        ),
    )


def _difference(one: Comparison) -> tuple[str, ...]:
    difference = one.difference
    direction = "better" if difference.mean > 0 else "worse"
    return (
        line(one.one),
        line(one.other),
        points(difference.mean),
        f"{points(difference.interval.low)} to {points(difference.interval.high)}",
        chance(one.p_score),
        f"{difference.gained:,}, {difference.lost:,}",
        chance(one.p_pass),
        f"{difference.detectable * 100:.1f}",
        direction if one.p_score < SIGNIFICANT else "no difference shown",
    )


def _variances(evaluation: Evaluation) -> Table:
    columns = ("cell", "between cases", "between repeats")
    rows = tuple(
        (line(one.name), f"{variance.between**0.5 * 100:.1f}", f"{variance.within**0.5 * 100:.1f}")
        for one in evaluation.ranking
        if (variance := one.summary.variance) is not None
    )
    note = "Standard deviations of the score, in points: how much cases differ, and how much asking again changes."
    return Table(title="Where scores vary", columns=columns, rows=rows, numbers=_all_but(columns, 0), note=note)


def _failures(evaluation: Evaluation) -> Table:
    """List the first cases that the best cell did not pass, in any repeat."""
    rows = [
        (line(case.key, 80), line(failed[0].error or failed[0].score.reason))
        for case, repeats in zip(evaluation.cases, evaluation.best.result.answers, strict=True)
        if (failed := [one for one in repeats if not one.score.passed])
    ]
    more = len(rows) - _SHOWN_FAILURES
    title = f"Not passed in {line(evaluation.best.name)}" + (f" (and {more:,} more)" if more > 0 else "")
    return Table(title=title, columns=("case", "why"), rows=tuple(rows[:_SHOWN_FAILURES]))


def _confusion(found: Confusion) -> Table:
    rows = tuple(
        (line(label, 40), *(f"{count:,}" for count in counts))
        for label, counts in zip(found.labels, found.counts, strict=True)
    )
    columns = ("expected", *(line(name, 40) for name in found.columns))
    return Table(title=f"Answered, by {line(found.scorer)}", columns=columns, rows=rows, numbers=_all_but(columns, 0))


def _all_but(columns: Sequence[str], *texts: int) -> frozenset[int]:
    return frozenset(range(len(columns))) - set(texts)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def markdown(evaluation: Evaluation, verdict: Verdict | None) -> str:
    """Write the report as Markdown, for a pull request or a job's summary.

    Text from outside stands in code spans, where it is neither markup nor a link, nor calls on anybody.
    """
    mark = "" if verdict is None else " ✅" if verdict.passed else " ❌"
    parts = [f"## Evaluation of {_code(line(evaluation.task))}{mark}\n"]
    parts += [f"- {name}: {_code(value)}" for name, value in facts(evaluation, verdict)]
    shown = [*tables(evaluation), *confusion_tables(evaluation, evaluation.best)]
    parts += [_markdown_table(table) for table in shown]
    return "\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    head = "| " + " | ".join(map(_cell, table.columns)) + " |"
    rule = "|" + "|".join("--:" if at in table.numbers else "---" for at in range(len(table.columns))) + "|"
    rows = ["| " + " | ".join(map(_cell, row)) + " |" for row in table.rows]
    note = [f"\n{table.note}"] if table.note else []
    return "\n".join([f"\n### {_plain(table.title)}\n", head, rule, *rows, *note])


# Nothing of it is markup, within a line and within a word.
_HARMLESS: Final = re.compile(r"(?:[A-Za-z0-9 .,:;+%$?='·()“”-]|(?<=[A-Za-z0-9])_(?=[A-Za-z0-9]))*")
_FENCES: Final = re.compile("`+")


def _plain(text: str) -> str:
    """Leave alone what this program wrote itself, as far as letters tell; escape the rest by a code span."""
    return text if _HARMLESS.fullmatch(text) and "://" not in text and "www." not in text else _code(text)


def _cell(text: str) -> str:
    # A backslash right before would escape the escape.
    return _plain(text).replace("\\|", "\\ |").replace("|", "\\|")


def _code(text: str) -> str:
    fence = "`" * (1 + max((len(run) for run in _FENCES.findall(text)), default=0))
    space = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{space}{text}{space}{fence}" if text else ""
