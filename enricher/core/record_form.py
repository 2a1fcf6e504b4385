"""What all events of one kind are written with: made once per outcome, so that an event costs a match and a format.

A form is the text of a record behind its `message` and its window: constant text, with places for values in it.
`plain` is the same record for an event whose text the template does not fit. Keys never collide: what the source says
wins over what the model says, and a name that is taken or not on the list of ECS goes under `enrichment.fields.`, as
does a value that is not of its field's type.
Never here: an event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from enricher.core import ecs
from enricher.core.alignment import aligned
from enricher.core.extract import holes
from enricher.core.field_types import FieldType
from enricher.core.verdict import SEVERITIES, Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from enricher.core.ledger import Outcome, StoredAnswer

Scalar = str | int | float | bool

OWN_KEYS: Final = frozenset(
    {
        "@timestamp", "event.id", "host.name", "log.file.path", "log.flags", "log.level", "log.offset",
        "log.record.template", "message", "severity_number", "tags", "threat.technique.id",
    }
)  # fmt: skip
"""Keys that are ours whether or not a record has them; everything under `enrichment.` is too."""

_SLOT: Final = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the events of one outcome from one source are written."""

    plain: bytes
    """Format of the fields, each with its comma before it, and of the end, for an event without values."""
    format: bytes
    """The same with a `%b` for each value."""
    groups: tuple[int, ...]
    """Which hole's value each `%b` is; from 1. None where no value is written anywhere, and `plain` serves all."""
    types: tuple[FieldType, ...]
    """Beside `groups`: what each value is written as; one that is filled into a text is a string there."""
    template: str
    pieces: tuple[bytes, ...]
    """What `format` is made of."""
    spares: Mapping[int, tuple[int, bytes]]
    """By the place of a value that has a type: which piece it stands in, and that piece for one that is not of it."""

    def format_without(self, misfits: Iterable[int]) -> bytes:
        """Give `format` for an event in which the values at these places are not of their types."""
        pieces = list(self.pieces)
        for place in misfits:
            at, spare = self.spares[place]
            pieces[at] = spare
        return b"".join(pieces)


def quoted(text: str) -> bytes:
    """A JSON string with its quotes."""
    return msgspec.json.encode(text)


def literal(text: bytes) -> bytes:
    """Text that stays itself in a format."""
    return text.replace(b"%", b"%%")


def is_below(outcome: Outcome, min_severity: str) -> bool:
    """Whether an outcome has an answer that `min_severity` leaves out."""
    answer = readable(outcome.answer)
    return answer is not None and SEVERITIES.index(answer.severity) < SEVERITIES.index(min_severity)


def readable(stored: StoredAnswer | None) -> Answer | None:
    """The answer as stored; None also where this version cannot read it."""
    if stored is None:
        return None
    try:
        return Answer.from_json(stored.body)
    except ValueError:
        return None


def make_form(
    outcome: Outcome,
    *,
    level: tuple[str, int] | None,
    fields: Mapping[str, Scalar],
    quality: Mapping[str, str],
) -> Form:
    """Put together what is constant in the records of an outcome.

    `fields` are the static ones of the source, `level` the one logged, `quality` the caution of a task by its hash.
    """
    answer = readable(outcome.answer)
    # Where every event is asked, what stands behind a NUL tells shapes apart and is no part of the text.
    template = outcome.template.partition("\0")[0]
    status = "invalid" if outcome.answer is not None and answer is None else outcome.status
    static = {key: value for key, value in fields.items() if key not in OWN_KEYS and not key.startswith("enrichment.")}
    slots = aligned(answer.slots, outcome.answer.template, template) if answer and outcome.answer else ()
    writer = _Writer(slots=slots)
    for key, value in static.items():
        writer.value(key, value)
    if level is not None:
        writer.value("log.level", level[0])
        writer.value("severity_number", level[1])
    writer.value("log.record.template", template)
    writer.value("enrichment.signature", outcome.signature)
    writer.value("enrichment.status", status)
    if answer is not None and outcome.answer is not None:
        _write_answer(writer, outcome.answer, answer, quality)
        _write_slots(writer, slots, holes(template), taken=frozenset(static) | OWN_KEYS)
    return writer.form(template)


def _write_answer(writer: _Writer, stored: StoredAnswer, answer: Answer, quality: Mapping[str, str]) -> None:
    writer.value("enrichment.severity", answer.severity)
    writer.value("enrichment.category", answer.category)
    if answer.outcome is not None:
        writer.value("enrichment.outcome", answer.outcome)
    writer.text("enrichment.summary", answer.summary)
    if answer.confidence is not None:
        writer.value("enrichment.confidence", answer.confidence)
    writer.value("enrichment.model", stored.served_model or stored.model)
    writer.value("enrichment.batch_id", stored.batch_id)
    writer.value("enrichment.task", stored.task)
    if stored.origin == "imported":
        writer.value("enrichment.origin", stored.origin)
    if stored.task in quality:
        writer.value("enrichment.quality", quality[stored.task])
    if answer.tags:
        writer.value("tags", answer.tags)
    if answer.root_cause_hint is not None:
        writer.text("enrichment.root_cause.hint", answer.root_cause_hint)
    if answer.root_cause_origin is not None:
        writer.value("enrichment.root_cause.origin", answer.root_cause_origin)
    if answer.action is not None:
        writer.text("enrichment.action", answer.action)
    if answer.technique:
        writer.value("threat.technique.id", answer.technique)


def _write_slots(writer: _Writer, slots: Sequence[str], number: int, *, taken: frozenset[str]) -> None:
    used = set(taken)
    for group, name in enumerate(slots[:number], start=1):
        if not name:
            continue
        listed = name in ecs.FIELDS and not ecs.is_reserved(name) and name not in used
        spare = f"enrichment.fields.{name}"
        while spare in used:
            spare = f"{spare}.{group}"
        used |= {name, spare} if listed else {spare}
        writer.slot(
            name if listed else spare, group, kind=ecs.FIELDS[name] if listed else FieldType.STRING, spare=spare
        )


class _Writer:
    """Collects the two formats of a form side by side."""

    def __init__(self, *, slots: Sequence[str]) -> None:
        self._group_of = {name: group for group, name in reversed(list(enumerate(slots, start=1))) if name}
        self._plain = bytearray()
        self._format = bytearray()
        """The piece that is being written."""
        self._pieces: list[bytes] = []
        self._spares: dict[int, tuple[int, bytes]] = {}
        self._groups: list[int] = []
        self._types: list[FieldType] = []

    def value(self, key: str, value: Scalar | Sequence[str]) -> None:
        """A field that is the same in all events."""
        self._both(b"," + quoted(key) + b":" + msgspec.json.encode(value))

    def slot(self, key: str, group: int, *, kind: FieldType, spare: str) -> None:
        """A field with an event's own value, where there is one; with the key `spare` if that is not of the type."""
        if kind is not FieldType.STRING:
            self._cut()
            self._spares[len(self._groups)] = len(self._pieces), _slot(spare, FieldType.STRING)
        self._format += _slot(key, kind)
        self._place(group, kind)
        if kind is not FieldType.STRING:
            self._cut()

    def text(self, key: str, text: str) -> None:
        """A sentence with `{slot}` names; where there is no value, the bare name keeps it readable."""
        self._both(b"," + quoted(key) + b':"')
        for index, piece in enumerate(_SLOT.split(text)):
            if index % 2 == 0:
                self._both(quoted(piece)[1:-1])
            elif piece in self._group_of:
                self._plain += literal(quoted(piece)[1:-1])
                self._format += b"%b"
                self._place(self._group_of[piece], FieldType.STRING)
            else:
                self._both(quoted("{" + piece + "}")[1:-1])
        self._both(b'"')

    def form(self, template: str) -> Form:
        """The form of a template's events."""
        self._both(b"}\n")
        self._cut()
        has_values = 0 < max(self._groups, default=0) <= holes(template)
        plain = bytes(self._plain)
        pieces = tuple(self._pieces) if has_values else (plain,)
        return Form(
            plain=plain,
            format=b"".join(pieces),
            groups=tuple(self._groups) if has_values else (),
            types=tuple(self._types) if has_values else (),
            template=template,
            pieces=pieces,
            spares=self._spares if has_values else {},
        )

    def _place(self, group: int, kind: FieldType) -> None:
        self._groups.append(group)
        self._types.append(kind)

    def _cut(self) -> None:
        self._pieces.append(bytes(self._format))
        self._format.clear()

    def _both(self, piece: bytes) -> None:
        text = literal(piece)
        self._plain += text
        self._format += text


def _slot(key: str, kind: FieldType) -> bytes:
    """The format of a field with a value."""
    return b"," + literal(quoted(key)) + (b':"%b"' if kind.is_quoted else b":%b")
