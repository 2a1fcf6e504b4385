"""What the events of each kind are written with: kept from page to page and round to round, since making it is dear.

A kind here is a shape in a source. Invariant: what is kept changes no record: whatever was made for other events serves
these, or is made anew. Never here: an event, or anything that keeps a page in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from enricher.core.record_form import literal, make_form
from enricher.core.record_types import TypedKinds
from enricher.core.record_values import ALWAYS, Finder

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Collection, Mapping

    from enricher.core.ledger import Outcome
    from enricher.core.record_form import Form, Scalar
    from enricher.core.record_values import Pick
    from enricher.core.structured.reading import Reader

_MOST_KEPT: Final = 4_096
"""Forms that are kept though no event of the round at hand needs them: a form takes a few kilobytes."""


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A form with what it was made of, and the last finder of its events."""

    made_of: tuple[object, ...]
    form: Form
    finder: Finder | None = None


class KnownKinds:
    """Forms and finders that outlive the round that needed them first, because the next hour has the same kinds."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], _Kept] = {}

    def forget_others(self, shapes: Collection[int]) -> None:
        """Let go of what a round with these shapes does not need, if there is much of it."""
        if len(self._kept) > _MOST_KEPT:
            self._kept = {key: kept for key, kept in self._kept.items() if key[1] in shapes}

    def form(
        self,
        source: str,
        outcome: Outcome,
        *,
        level: tuple[str, int] | None,
        fields: Mapping[str, Scalar],
        quality: Mapping[str, str],
    ) -> Form:
        """The form of an outcome's events from a source (`make_form`)."""
        made_of = (outcome, level, fields, quality)
        kept = self._kept.get((source, outcome.shape))
        if kept is None or kept.made_of != made_of:
            form = make_form(outcome, level=level, fields=fields, quality=quality)
            kept = self._kept[source, outcome.shape] = _Kept(made_of=made_of, form=form)
        return kept.form

    def finder(
        self,
        source: str,
        shape: int,
        form: Form,
        *,
        blanks: bytes,
        first: bytes,
        example: Callable[[], bytes],
        is_in_doubt: bool,
    ) -> Finder:
        """A finder for the events of a form in one page: the last one again, if it would do.

        `first` is the shape's first line in the page, `example` gives another one for a finder that must be made.
        Where nothing says that it would not do, the blanks are enough: most finders fit, and to try each in each page
        takes as long as to find the values of the events.
        """
        kept = self._kept[source, shape]
        if kept.finder is None or not kept.finder.would_do(blanks, first if is_in_doubt else None):
            examples = first, example()
            kept.finder = Finder(form.template, form.groups, blanks=blanks, examples=examples, types=form.types)
        return kept.finder


class Kinds:
    """What the events of each kind in a page are written with, by shape.

    `fields` are those that all records of the round have, each with a comma before it.
    """

    def __init__(self, fields: bytes) -> None:
        self._start = b'%b%b"' + literal(fields)
        self.finders: dict[int, Finder] = {}
        self.patterns: dict[int, re.Pattern[bytes]] = {}
        self.others: dict[int, list[re.Pattern[bytes]]] = {}
        """What is tried where those fit not, made when first needed."""
        self.picks: dict[int, Pick] = {}
        self.formats: dict[int, bytes] = {}
        """Each takes the head, the message, then the values as the kind's pattern finds them."""
        self.typed_formats: dict[int, bytes] = {}
        """The same for values that are all of their types, before one is found not to be."""
        self.plain: dict[int, bytes] = {}
        """The same for an event without values."""
        self.readers: dict[int, Reader] = {}
        """Of the kinds that are structured; behind the message, their formats take the fields."""
        self.forms: dict[int, Form] = {}
        self.starts: dict[int, bytes] = {}
        """What stands in a format before that which a form says."""
        self.doubted: set[int] = set()
        """Kinds of which a line did not fit, so that it was looked whether their finder does."""
        self.unsure: set[int] = set()
        """Kinds in which a match may find a value that is not as its type is written."""

    @cached_property
    def typed(self) -> TypedKinds:
        """What the values of all these kinds are converted with."""
        return TypedKinds(self.forms, self.starts)

    def add_reader(self, shape: int, reader: Reader, finder: Finder, *, form: Form) -> None:
        """Write the events of a kind that is structured."""
        self.readers[shape] = reader
        self.finders[shape] = finder
        self.patterns[shape] = ALWAYS
        self.picks[shape] = tuple
        self._add_form(shape, form, start=self._start + b"%b")

    def add(self, shape: int, finder: Finder, *, form: Form) -> None:
        """Write the events of a kind that is text."""
        self.finders[shape] = finder
        self.patterns[shape] = finder.pattern
        self.picks[shape] = finder.pick
        if not finder.is_sure:
            self.unsure.add(shape)
        self._add_form(shape, form, start=self._start)
        if finder.strangers:
            places = [at for at in form.spares if form.groups[at] in finder.strangers]
            self.formats[shape] = self._start + form.format_without(places)

    def _add_form(self, shape: int, form: Form, *, start: bytes) -> None:
        self.forms[shape] = form
        self.starts[shape] = start
        self.formats[shape] = self.typed_formats[shape] = start + form.format
        self.plain[shape] = start + form.plain
