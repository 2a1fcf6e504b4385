"""Which labels were taken for which: for every scorer that compares one label exactly."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.records.measures import Exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.core.records.results import Case, CellResult
    from enricher.core.records.scorers import Scorer

NO_ANSWER: Final = "no answer"
OTHER: Final = "other"
_MAX_LABELS: Final = 20
_MAX_LABEL_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often each expected label (row) was answered with each label (column); both are `labels`, then the rest."""

    scorer: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    """`labels`, and `OTHER` and `NO_ANSWER` where there were such answers."""
    counts: tuple[tuple[int, ...], ...]


def confusions(scorers: Sequence[Scorer], cases: Sequence[Case], result: CellResult) -> tuple[Confusion, ...]:
    """Give the confusion of a cell for each scorer whose cases expect from 2 to 20 different labels."""
    found = (_confusion(scorer, cases, result) for scorer in scorers)
    return tuple(one for one in found if one is not None)


def _confusion(scorer: Scorer, cases: Sequence[Case], result: CellResult) -> Confusion | None:
    judge = scorer.judge
    if not isinstance(judge, Exact) or judge.field is None or judge.expected is None:
        return None
    expected = [_label(judge.expected.find(case.expected)) for case in cases]
    known = Counter(label for label in expected if label is not None)
    if None in expected or not 2 <= len(known) <= _MAX_LABELS:
        return None
    counts: Counter[tuple[str, str]] = Counter()
    for wanted, repeats in zip(expected, result.answers, strict=True):
        for one in repeats:
            said = NO_ANSWER if one.answer is None else _label(judge.field.find(one.answer))
            counts[wanted or "", said if said is not None and (said in known or said == NO_ANSWER) else OTHER] += 1
    labels = tuple(sorted(known, key=lambda label: (-known[label], label)))
    rest = [name for name in (OTHER, NO_ANSWER) if name not in known and any(said == name for _, said in counts)]
    columns = (*labels, *rest)
    return Confusion(
        scorer=scorer.name,
        labels=labels,
        columns=columns,
        counts=tuple(tuple(counts[label, said] for said in columns) for label in labels),
    )


def _label(found: Sequence[object]) -> str | None:
    """Give a value that can be a label as text; None for others, and for long texts, which are none."""
    value = found[0] if found else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) and len(value) <= _MAX_LABEL_CHARACTERS else None
