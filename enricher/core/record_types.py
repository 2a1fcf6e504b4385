"""Values of events as the types of their fields want them, and other formats where a value is not of its type.

Such a value stays the text that it is, in a field of the same name under `enrichment.fields.`: an index would refuse
the whole record for it. Nearly all values are written as their fields want them, and the pattern that finds them knows
(`core.record_values`); what comes here is the rest, looked at a column at a time, and one by one where that fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.core.field_types import FieldType, all_fit, converted, none_fits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from enricher.core.record_form import Form
    from enricher.core.record_values import Values


class TypedKinds:
    """The kinds of a page by shape: their forms, and what stands in their formats before that."""

    def __init__(self, forms: Mapping[int, Form], starts: Mapping[int, bytes]) -> None:
        self._forms = forms
        self._starts = starts
        self._formats: dict[tuple[int, tuple[int, ...]], bytes] = {}

    def fit(self, rows: Iterable[int], shapes: Sequence[int], formats: list[bytes], values: list[Values]) -> None:
        """Convert the values of the events at `rows` where they need it, and exchange formats where one cannot be."""
        rows_of: dict[int, list[int]] = {}
        for at in rows:
            if values[at]:
                rows_of.setdefault(shapes[at], []).append(at)
        for shape, own in rows_of.items():
            strangers: list[int] = []
            misfits: dict[int, list[int]] = {}
            for place, kind in enumerate(self._forms[shape].types):
                if kind is FieldType.STRING:
                    continue
                column = [values[at][place] for at in own]
                if none_fits(column, kind):
                    strangers.append(place)
                elif not all_fit(column, kind):
                    _convert(own, place, kind, values, misfits)
            if strangers:
                spared = self._format_without(shape, tuple(strangers))
                for at in own:
                    formats[at] = spared
            for at, places in misfits.items():
                formats[at] = self._format_without(shape, (*strangers, *places))

    def _format_without(self, shape: int, misfits: tuple[int, ...]) -> bytes:
        known = self._formats.get((shape, misfits))
        if known is None:
            known = self._starts[shape] + self._forms[shape].format_without(misfits)
            self._formats[shape, misfits] = known
        return known


def _convert(
    rows: Sequence[int], place: int, kind: FieldType, values: list[Values], misfits: dict[int, list[int]]
) -> None:
    """Convert the values at one place in the events of a kind, and note which cannot be."""
    for at in rows:
        value = values[at][place]
        found = converted(value, kind)
        if found is None:
            misfits.setdefault(at, []).append(place)
        elif found != value:
            values[at] = (*values[at][:place], found, *values[at][place + 1 :])
