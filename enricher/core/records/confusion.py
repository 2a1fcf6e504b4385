"""Which labels were taken for which: for every scorer that compares one label exactly."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.records.measures import Exact

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
    """`labels`, and `OTHER` and `NO_ANSWER` where there were such, in parentheses where a label is called so."""
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
    other, no_answer = _unlike(OTHER, known), _unlike(NO_ANSWER, known)
    counts: Counter[tuple[str, str]] = Counter()
    for wanted, repeats in zip(expected, result.answers, strict=True):
        for one in repeats:
            said = _label(judge.field.find(one.answer)) if one.answer is not None else None
            column = no_answer if one.answer is None else said if said is not None and said in known else other
            counts[wanted or "", column] += 1
    labels = tuple(sorted(known, key=lambda label: (-known[label], label)))
    columns = (*labels, *(name for name in (other, no_answer) if any(said == name for _, said in counts)))
    return Confusion(
        scorer=scorer.name,
        labels=labels,
        columns=columns,
        counts=tuple(tuple(counts[label, said] for said in columns) for label in labels),
    )


def _unlike(name: str, labels: Collection[str]) -> str:
    """A heading that no label has: what was taken for something else would be counted as right under its own."""
    while name in labels:
        name = f"({name})"
    return name


def _label(found: Sequence[object]) -> str | None:
    """Give a value that can be a label as text; None for others, and for long texts, which are none."""
    value = found[0] if found else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) and len(value) <= _MAX_LABEL_CHARACTERS else None
