"""How well answers agree with labelled lines: the gold set of a task, and the figures it gives.

A case is a log line with the severities and categories that a careful engineer would accept, the best one first.
Nothing here asks a model or reads a file; a line without an answer counts against every figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import pydantic

from enricher.core.verdict import SEVERITIES, Category, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

ATTENTION: Final = SEVERITIES.index("warning")
"""From this severity on a person should look."""

_MAX_LINE_CHARACTERS: Final = 10_000


class Case(pydantic.BaseModel):
    """One labelled line; what is accepted, the best first."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    line: Annotated[str, pydantic.Field(min_length=1, max_length=_MAX_LINE_CHARACTERS, pattern=r"^[^\n\r]*\S[^\n\r]*$")]
    severity: Annotated[tuple[Severity, ...], pydantic.Field(min_length=1, strict=False)]
    category: Annotated[tuple[Category, ...], pydantic.Field(min_length=1, strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was answered for a case."""

    severity: Severity
    category: Category
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Shares of all cases, 0 to 1; `disagreements` are the places of cases that were answered otherwise, or not."""

    cases: int
    answered: float
    severity_exact: float
    """The best severity."""
    severity_accepted: float
    """One of those accepted."""
    severity_near: float
    """At most one step from one of those accepted."""
    category_accepted: float
    attention_accuracy: float
    """Said rightly whether a person should look, by the best severity."""
    attention_recall: float
    """Of the cases that a person should look at, those that were found."""
    disagreements: tuple[int, ...]


def read_cases(text: str) -> tuple[Case, ...]:
    """Cases out of JSON Lines. Raises ValueError, which names the line, for anything that is none."""
    cases: list[Case] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            cases.append(Case.model_validate_json(line))
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the line"
            raise ValueError(f"line {number}: {place}: {first['msg']}") from None
    if not cases:
        raise ValueError("there is no case in it")
    return tuple(cases)


def agreement(cases: Sequence[Case], given: Sequence[Given | None]) -> Agreement:
    """Compare answers, None where there is none, with their cases."""
    exact = accepted = near = category = attention = found = 0
    disagreements = []
    due = sum(_steps(case.severity[0]) >= ATTENTION for case in cases)
    for at, (case, one) in enumerate(zip(cases, given, strict=True)):
        if one is None:
            disagreements.append(at)
            continue
        said = _steps(one.severity)
        exact += one.severity == case.severity[0]
        accepted += one.severity in case.severity
        near += min(abs(said - _steps(severity)) for severity in case.severity) <= 1
        category += one.category in case.category
        is_due = _steps(case.severity[0]) >= ATTENTION
        attention += (said >= ATTENTION) == is_due
        found += said >= ATTENTION and is_due
        if one.severity not in case.severity or one.category not in case.category:
            disagreements.append(at)
    total = len(cases)
    return Agreement(
        cases=total,
        answered=sum(one is not None for one in given) / total,
        severity_exact=exact / total,
        severity_accepted=accepted / total,
        severity_near=near / total,
        category_accepted=category / total,
        attention_accuracy=attention / total,
        attention_recall=found / due if due else 1.0,
        disagreements=tuple(disagreements),
    )


def _steps(severity: Severity) -> int:
    return SEVERITIES.index(severity)
