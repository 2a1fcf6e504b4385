"""The cells of an evaluation: every prompt with every model with every set of parameters, less what is left out.

    [matrix]
    models = ["gpt-6-luna", "gpt-6.1-terra"]  # default: the provider's
    repeats = 3                               # how often each case is asked in each cell

    [[matrix.prompts]]                        # default: the task's own
    name = "terse"
    system = "Answer with one word."

    [[matrix.parameters]]                     # default: the task's own
    temperature = 0.0

    [[matrix.exclude]]                        # also [[matrix.include]]: only what matches one of these
    model = "gpt-6.1-terra"
    prompt = "terse"

Invariant: a cell's id depends on what is asked in it and on nothing else: not on names, nor on the other cells.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from enricher.core.records.canonical import canonical
from enricher.core.records.template import parse_template
from enricher.core.task import OWN_PARAMETERS
from enricher.core.toml_reader import TableReader, not_empty, within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_CELLS: Final = 64
_MOST_CELLS: Final = 1_000
_MAX_REPEATS: Final = 100
OWN: Final = "task"
"""What the task's own prompt, model or parameters are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Texts that stand for the task's own in a cell; None: the task's."""

    name: str = OWN
    system: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Parameters that go before the task's own in a cell."""

    name: str = OWN
    values: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way to ask."""

    name: str
    """Of those of its axes that have several values."""
    prompt: Prompt
    model: str | None
    """None: the task's, or the provider's."""
    parameters: Parameters

    @property
    def id(self) -> str:
        """Return 16 hex digits of everything in it that can change an answer."""
        parts = [self.prompt.system, self.prompt.user, self.model, dict(self.parameters.values)]
        return hashlib.sha256(canonical(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Cells in the order of the axes, and how often each of them asks each case."""

    cells: tuple[Cell, ...]
    repeats: int = 1


def parse_matrix(reader: TableReader) -> Matrix:
    """Read the table `[matrix]`, and finish it; an empty one is a single cell. Faults go to the reader."""
    models = reader.take_list("models", str, (None,), not_empty)
    prompts = tuple(map(_prompt, reader.tables("prompts"))) or (Prompt(),)
    parameters = tuple(map(_parameters, reader.tables("parameters"))) or (Parameters(),)
    repeats = reader.take("repeats", int, 1, within(1, _MAX_REPEATS))
    max_cells = reader.take("max_cells", int, MAX_CELLS, within(1, _MOST_CELLS))
    if len(models) * len(prompts) * len(parameters) > _MOST_CELLS:
        reader.fault("models", f"more than {_MOST_CELLS} combinations: fewer models, prompts or parameters")
        return Matrix(cells=())
    cells = tuple(
        Cell(
            name=_name(prompts, models, parameters, at),
            prompt=prompts[at[0]],
            model=models[at[1]],
            parameters=parameters[at[2]],
        )
        for at in ((p, m, s) for p in range(len(prompts)) for m in range(len(models)) for s in range(len(parameters)))
    )
    _note_twins(cells, reader)
    include, exclude = (_selections(reader, key, cells) for key in ("include", "exclude"))
    kept = tuple(
        cell
        for cell in cells
        if (not include or any(_matches(one, cell) for one in include))
        and not any(_matches(one, cell) for one in exclude)
    )
    if not kept:
        reader.fault("exclude", "leaves no cell")
    if len(kept) > max_cells:
        reader.fault(
            "max_cells", f"there are {len(kept)} cells, more than {max_cells}: leave some out, or set it higher"
        )
    reader.finish()
    return Matrix(cells=kept, repeats=repeats)


def _prompt(reader: TableReader) -> Prompt:
    prompt = Prompt(
        name=reader.take("name", str, OWN, not_empty, required=True),
        system=reader.take("system", str, None, not_empty),
        user=reader.take("user", str, None, _names_column),
    )
    reader.finish()
    return prompt


def _names_column(user: str) -> str | None:
    return None if parse_template(user).columns else "names no column of a row: write {{text}} where it belongs"


def _parameters(reader: TableReader) -> Parameters:
    name = reader.take("name", str, None, not_empty)
    values = {key: reader.take(key, (str, int, float, bool, list, dict), None) for key in reader.left()}
    for key in sorted(OWN_PARAMETERS & set(values)):
        reader.fault(key, "set by enricher itself")
    shown = ", ".join(f"{key}={value if isinstance(value, str) else canonical(value)}" for key, value in values.items())
    return Parameters(name=name or shown or OWN, values=MappingProxyType(values))


def _name(
    prompts: Sequence[Prompt], models: Sequence[str | None], parameters: Sequence[Parameters], at: tuple[int, int, int]
) -> str:
    names = (
        prompts[at[0]].name if len(prompts) > 1 else None,
        models[at[1]] if len(models) > 1 else None,
        parameters[at[2]].name if len(parameters) > 1 else None,
    )
    chosen = [name for name in names if name is not None]
    return " · ".join(chosen) or models[at[1]] or prompts[at[0]].name


def _note_twins(cells: Sequence[Cell], reader: TableReader) -> None:
    by_id: dict[str, Cell] = {}
    by_name: dict[str, Cell] = {}
    for cell in cells:
        same = by_id.setdefault(cell.id, cell)
        if same is not cell:
            reader.fault("prompts", f"the cells {same.name!r} and {cell.name!r} would ask the same")
        elif by_name.setdefault(cell.name, cell) is not cell:
            reader.fault("prompts", f"two cells would be called {cell.name!r}")


@dataclass(frozen=True, slots=True)
class _Selection:
    prompt: str | None
    model: str | None
    parameters: str | None


def _selections(reader: TableReader, key: str, cells: Sequence[Cell]) -> list[_Selection]:
    found = []
    for one in reader.tables(key):
        selection = _Selection(*(one.take(axis, str, None, not_empty) for axis in ("prompt", "model", "parameters")))
        one.finish()
        if selection == _Selection(None, None, None):
            one.fault("prompt", "name a prompt, a model or parameters")
        elif any(_matches(selection, cell) for cell in cells):
            found.append(selection)
        else:
            one.fault("prompt", "matches no cell")
    return found


def _matches(selection: _Selection, cell: Cell) -> bool:
    return (
        selection.prompt in (None, cell.prompt.name)
        and selection.model in (None, cell.model)
        and selection.parameters in (None, cell.parameters.name)
    )
