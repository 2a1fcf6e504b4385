"""What a task says of being evaluated: the cells to ask it in, how its answers are marked, and what is good enough.

The tables `[matrix]`, `[[scorers]]` and `[gate]` of a task. What is expected of a row stands in the row: in its column
`expected`, an object; or, without such a column, in those columns that are neither its key nor put into the prompt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from enricher.core.records.gate import Gate, parse_gate
from enricher.core.records.matrix import Cell, Matrix, parse_matrix
from enricher.core.records.results import Case
from enricher.core.records.scorers import Scorer, parse_scorers
from enricher.core.records.template import parse_template

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from enricher.core.records.task import RecordTask
    from enricher.core.toml_reader import TableReader

EXPECTED: Final = "expected"
"""The column of a data set that says what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """How a task is evaluated."""

    matrix: Matrix
    scorers: tuple[Scorer, ...]
    gate: Gate


def parse_assessment(reader: TableReader) -> Assessment | None:
    """Take the tables of an evaluation from a task's; None where there is none of them. Faults go to the reader."""
    if not {"matrix", "scorers", "gate"} & set(reader.left()):
        return None
    tables = reader.tables("scorers")
    if not tables:
        reader.fault("scorers", "an evaluation needs one at least")
    found = Assessment(
        matrix=parse_matrix(reader.table("matrix")),
        scorers=parse_scorers(tables),
        gate=parse_gate(reader.table("gate")),
    )
    for key, name in found.gate.cells.items():
        if found.matrix.cells and not any(cell.name == name for cell in found.matrix.cells):
            there = ", ".join(repr(cell.name) for cell in found.matrix.cells)
            reader.fault(f"gate.{key}", f"there is no cell {name!r} (there are: {there})")
    return found


def task_in(task: RecordTask, cell: Cell, repeat: int = 0) -> RecordTask:
    """Give the task as it is asked in a cell; the first time it is one that may have been asked anywhere."""
    prompt = cell.prompt
    return replace(
        task,
        system=task.system if prompt.system is None else prompt.system.strip(),
        user=task.user if prompt.user is None else parse_template(prompt.user),
        model=cell.model or task.model,
        parameters=MappingProxyType({**task.parameters, **cell.parameters.values}),
        salt=f"repeat {repeat}" if repeat else "",
    )


def case_of(key: str, values: Mapping[str, object], *, not_expected: Collection[str]) -> Case:
    """Read what a row expects; `not_expected` are its key's column and those put into the prompt.

    An array or object may be written as JSON, as a table without types has it.
    """
    if EXPECTED in values:
        whole = _from_text(values[EXPECTED])
        expected = whole if isinstance(whole, dict) else {EXPECTED: whole}
    else:
        expected = {name: _from_text(value) for name, value in values.items() if name not in not_expected}
    return Case(key=key, expected=expected, values={name: value for name, value in values.items() if name != EXPECTED})


def _from_text(value: object) -> Any:  # noqa: ANN401 - a value of JSON
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
