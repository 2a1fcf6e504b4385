"""The data set of an evaluation: labelled rows, all held in memory, and what is expected of each.

Never here: asking. What is of no use to an evaluation is refused before anything is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.records.assessment import EXPECTED, case_of
from enricher.errors import InputError, UsageError
from enricher.records.held import HeldRows

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from enricher.core.records.results import Case
    from enricher.core.records.scorers import Scorer
    from enricher.ports import RecordInput

MAX_CASES: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Cases, and their rows as a task is asked about them: without what is expected."""

    name: str
    cases: tuple[Case, ...]
    rows: HeldRows


def read_dataset(given: RecordInput, *, asked: Collection[str], name: str) -> Dataset:
    """Read a data set whole; `asked` are the columns that any prompt has. Raises InputError, UsageError."""
    columns = given.columns()
    missing = [column for column in asked if column not in columns]
    if columns and missing:
        raise UsageError(
            f"{name}: has no column {missing[0]!r}, which a prompt names (it has: {', '.join(columns)})",
            hint=f"name the column that holds it:  --column {missing[0]}=COLUMN",
        )
    cases: list[Case] = []
    for rows in given.rows():
        for at, (status, reason) in sorted(rows.faults.items()):
            raise InputError(
                f"{name}: the case {rows.keys[at]!r} is {status}: {reason}", hint="mend it or leave it out"
            )
        not_expected = {given.key_column, given.text_column or "", *asked}
        cases += [
            case_of(key, values, not_expected=not_expected) for key, values in zip(rows.keys, rows.values, strict=True)
        ]
        if len(cases) > MAX_CASES:
            raise InputError(f"{name}: has more than {MAX_CASES:,} cases", hint="take a sample of them")
    if not cases:
        raise InputError(f"{name}: has no cases")
    held = HeldRows(
        name=name,
        keys=[case.key for case in cases],
        values=[case.values for case in cases],
        key_column=given.key_column,
        text_column=given.text_column,
    )
    return Dataset(name=name, cases=tuple(cases), rows=held)


def check_expected(dataset: Dataset, scorers: Sequence[Scorer]) -> None:
    """Refuse scorers that compare with what no case has. Raises UsageError."""
    for scorer in scorers:
        places = scorer.judge.compares_with
        if places is None:
            continue
        for place in places or (None,):
            if any(case.expected if place is None else place.find(case.expected) for case in dataset.cases):
                continue
            what = "anything" if place is None else f"anything at {str(place)!r}"
            raise UsageError(
                f"{dataset.name}: no case expects {what}, with which the scorer {scorer.name!r} compares",
                hint=f"give each row a column {EXPECTED!r}, an object, or one for each field that is expected",
            )
