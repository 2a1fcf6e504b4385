"""What a model may say about one kind of event, and how far what it said is believed.

An answer is data from outside twice over: log text went in, model text came out. So every text is cleaned, every word
of a closed list is checked, every slot name is checked against the holes, and what can be put right without asking
again is put right and counted. Invariant: an answer in a verdict is valid. This module never raises on an answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from enricher.core.attack import TECHNIQUES
from enricher.core.ecs import is_reserved
from enricher.core.matcher import accepted
from enricher.core.pseudonym import PSEUDONYM, stand_ins, without_pseudonyms
from enricher.core.redact import HOLE, clean

Severity = Literal["trace", "debug", "info", "notice", "warning", "error", "critical", "fatal"]
Category = Literal[
    "auth", "network", "database", "storage", "memory", "cpu", "config", "deploy", "dependency", "app_error",
    "scheduling", "security", "hardware", "audit", "performance", "lifecycle", "other",
]  # fmt: skip
Outcome = Literal["success", "failure", "unknown"]
Origin = Literal["your_code", "dependency", "upstream", "system", "config", "unknown"]
Mend = Literal[
    "slot_missing", "slot_extra", "slot_reserved", "slot_malformed", "slot_duplicate", "summary_slot", "text_cut",
    "text_cleaned", "tag_dropped", "technique_unknown", "technique_category", "confidence_clamped", "confidence_text",
    "field_dropped", "split_unknown", "matcher_dropped",
]  # fmt: skip
Status = Literal["ok", "invalid", "refused", "incomplete"]

SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
CATEGORIES: Final[tuple[str, ...]] = get_args(Category)
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
ORIGINS: Final[tuple[str, ...]] = get_args(Origin)
MENDS: Final[tuple[str, ...]] = get_args(Mend)

MAX_TAGS: Final = 8
_MAX_TEXT_CHARACTERS: Final = 240
# More of a text is never read: it is cut to the length above, and a summary of a megabyte costs no more than this.
_MAX_READ_CHARACTERS: Final = 4000
# A text of 240 characters may hold 80 references such as {1}, each written out as a slot name of up to 64.
_MAX_FILLED_CHARACTERS: Final = 6000

# Readers that make objects of dotted names must not be led to the prototype of all objects.
SLOT_NAME: Final = re.compile(
    r"(?=.{1,64}\Z)(?!(?:.*\.)?(?:__proto__|constructor|prototype)(?:\.|\Z))[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*"
)
"""What the name of a slot looks like."""
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}")
_OWN_NAME: Final = re.compile(r"p[0-9]+")
_TAG_PATTERN: Final = r"^[a-z0-9]+(?:-[a-z0-9]+)*$"
_TAG: Final = re.compile(_TAG_PATTERN)
_REFERENCE: Final = re.compile(r"\{([^{}]{1,80})\}|<([0-9]{1,3})>")

_Text = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_FILLED_CHARACTERS)]
_Tag = Annotated[str, StringConstraints(pattern=_TAG_PATTERN, max_length=40)]


class Answer(BaseModel):
    """What is known about a kind of event.

    `slots` names its holes in order; `{name}` in summary, hint and action stands for the value of the hole so named.
    `splits_on` is the one of them whose value would change the answer; `matches` is a wider template that it holds for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    severity: Severity
    category: Category
    outcome: Outcome | None = None
    summary: _Text
    slots: tuple[str, ...] = ()
    tags: Annotated[tuple[_Tag, ...], Field(max_length=MAX_TAGS)] = ()
    root_cause_hint: _Text | None = None
    root_cause_origin: Origin | None = None
    action: _Text | None = None
    technique: tuple[str, ...] = ()
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    splits_on: Annotated[str, StringConstraints(max_length=64)] | None = None
    matches: Annotated[str, StringConstraints(max_length=4000)] | None = None

    def to_json(self) -> str:
        """Write the answer for the store, without what is null or empty."""
        return self.model_dump_json(exclude_defaults=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; raises pydantic's ValidationError, a ValueError, on anything else."""
        return cls.model_validate_json(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One kind of event to ask about, with lines of it as read. They leave under pseudonyms unless `is_raw`."""

    signature: str
    template: str
    level: str
    program: str
    examples: tuple[str, ...] = ()
    is_raw: bool = False
    where: str = ""
    """What holds of a value in every event of the kind, such as "<2> is 500 to 599" or "http status 5xx"."""

    @property
    def holes(self) -> int:
        """Return the number of places whose value differs from event to event."""
        return self.template.count(HOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the reader of an answer must know of its question; only a single task's answer wants the template."""

    signature: str
    holes: int
    template: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the model was shown of a kind: the template with its holes numbered, and the lines under pseudonyms."""

    template: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer came to. The answer is there if and only if the status is ok; `reason` is for logs, bounded."""

    signature: str
    status: Status
    answer: Answer | None = None
    mended: tuple[Mend, ...] = ()
    reason: str = ""


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    """A part of the answer that cannot be mended."""


def judge(asked: Asked, raw: object, shown: Shown | None = None) -> Verdict:
    """Check and mend what the packed task's schema asks for. `shown` tells what its pseudonyms stand for."""
    mends: list[Mend] = []
    if not isinstance(raw, Mapping):
        return Verdict(signature=asked.signature, status="invalid", reason="the answer is not an object")
    try:
        answer = _to_answer(asked, _without_pseudonyms(raw, shown or Shown()), mends)
        answer = answer.model_copy(update={"matches": _matches(raw.get("matches"), shown or Shown(), mends)})
    except _Wrong as wrong:
        return Verdict(signature=asked.signature, status="invalid", reason=str(wrong))
    except ValidationError as fault:
        first = fault.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        return Verdict(signature=asked.signature, status="invalid", reason=f"{where}: {first['msg']}"[:200])
    return Verdict(signature=asked.signature, status="ok", answer=answer, mended=tuple(dict.fromkeys(mends)))


def judge_small(asked: Asked, raw: object, values: Sequence[str]) -> Verdict:
    """Check and mend the small answer of a task with a schema of its own: severity, category, summary, fields, hint.

    `values` are those of the holes in the line that was shown, empty if unknown. Their holes are named after the fields
    with these values, and in the texts they become `{name}`: the answer serves every event of the kind.
    """
    if not isinstance(raw, Mapping):
        return judge(asked, raw)
    fields = _fields(raw.get("fields"))
    slots = [_named(fields, value) for value in values]
    dropped = sum(value not in values for _, value in fields)
    small = {
        "severity": raw.get("severity"),
        "category": raw.get("category"),
        "summary": _generalised(raw.get("summary"), values),
        "slots": slots,
    }
    if raw.get("hint"):
        small["root_cause"] = {"hint": _generalised(raw["hint"], values), "origin": "unknown"}
    verdict = judge(asked, small)
    # A small answer that leaves a hole unnamed did what it was asked: it names what it finds worth naming.
    mended = tuple(mend for mend in verdict.mended if mend != "slot_missing")
    return Verdict(
        signature=verdict.signature,
        status=verdict.status,
        answer=verdict.answer,
        mended=(*mended, "field_dropped") if dropped and verdict.answer else mended,
        reason=verdict.reason,
    )


def _without_pseudonyms(raw: Mapping[object, object], shown: Shown) -> Mapping[object, object]:
    """Put `{number}` of its hole for each pseudonym in an answer's texts; a tag made of one is dropped."""
    holes = stand_ins(shown.template, shown.examples)

    def written(value: object, depth: int = 2) -> object:
        if isinstance(value, str):
            return without_pseudonyms(value[:_MAX_READ_CHARACTERS], holes, shown.template)
        if isinstance(value, Mapping) and depth:
            return {key: written(one, depth - 1) for key, one in value.items()}
        return value

    return {key: written(value) for key, value in raw.items()}


def _to_answer(asked: Asked, raw: Mapping[object, object], mends: list[Mend]) -> Answer:
    slots, references = _slots(raw.get("slots"), asked.holes, mends)
    cause = raw.get("root_cause")
    if cause is not None and not isinstance(cause, Mapping):
        raise _Wrong("root_cause: not an object")
    hint = _text(cause.get("hint"), references, mends, "root_cause.hint") if cause else None
    category = raw.get("category")
    return Answer.model_validate(
        {
            "severity": raw.get("severity"),
            "category": category,
            "outcome": raw.get("outcome"),
            "summary": _text(raw.get("summary"), references, mends, "summary"),
            "slots": slots,
            "tags": _tags(raw.get("tags"), mends),
            "root_cause_hint": hint,
            "root_cause_origin": cause.get("origin") if cause and hint else None,
            "action": _text(raw.get("action"), references, mends, "action"),
            "technique": _techniques(raw.get("technique"), category, mends),
            "confidence": _confidence(raw.get("confidence"), mends),
            "splits_on": _splits_on(raw.get("splits_on"), references, mends),
        }
    )


def _slots(raw: object, holes: int, mends: list[Mend]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return a name per hole, and what a text may write for each: the given name, the final name, the hole's number."""
    given = _list(raw, "slots")
    if len(given) > holes:
        mends.append("slot_extra")
    names: list[str] = []
    references: dict[str, str] = {}
    for number in range(1, holes + 1):
        wanted = given[number - 1] if number <= len(given) else None
        name = _slot_name(wanted, f"p{number}", names, mends)
        names.append(name)
        if isinstance(wanted, str):
            references.setdefault(wanted.strip(), name)
    for number, name in enumerate(names, start=1):
        references[name] = name
        references.setdefault(str(number), name)
    return tuple(names), references


def _slot_name(wanted: object, own: str, taken: Sequence[str], mends: list[Mend]) -> str:
    if not isinstance(wanted, str) or not wanted.strip():
        mends.append("slot_missing")
        return own
    name = wanted.strip().strip("{}").lower()
    if name == own:
        return own
    if not SLOT_NAME.fullmatch(name) or _OWN_NAME.fullmatch(name):
        mends.append("slot_malformed")
    elif is_reserved(name):
        mends.append("slot_reserved")
    elif name in taken:
        mends.append("slot_duplicate")
    else:
        return name
    return own


def _text(raw: object, references: Mapping[str, str], mends: list[Mend], where: str) -> str | None:
    if raw is None:
        return None
    if not isinstance(raw, str):
        raise _Wrong(f"{where}: not a text")
    # Line ends are common and harmless in model text: not counted as cleaning.
    cleaned = clean(raw)
    if len(cleaned) < len(raw):
        mends.append("text_cleaned")
    text = " ".join(cleaned.split())
    if len(text) > _MAX_TEXT_CHARACTERS:
        mends.append("text_cut")
        text = text[: _MAX_TEXT_CHARACTERS - 1].rpartition(" ")[0] or text[: _MAX_TEXT_CHARACTERS - 1]
        text = f"{text.rstrip(' ,;:.')}…"
    resolved = _with_slots(text, references)
    if resolved.count("{") + resolved.count("}") < text.count("{") + text.count("}"):
        mends.append("summary_slot")
    return resolved or None


def _with_slots(text: str, references: Mapping[str, str]) -> str:
    """Write each reference with its slot's final name; take the braces off everything else."""
    parts: list[str] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        parts.append(_without_braces(text[end : match.start()]))
        name = references.get((match[1] or match[2]).strip())
        parts.append(f"{{{name}}}" if name else _without_braces(match.group()))
        end = match.end()
    parts.append(_without_braces(text[end:]))
    return "".join(parts)


def _without_braces(text: str) -> str:
    return text.replace("{", "").replace("}", "")


def _tags(raw: object, mends: list[Mend]) -> tuple[str, ...]:
    given = _list(raw, "tags")
    good = [tag for tag in given if isinstance(tag, str) and len(tag) <= 40 and _TAG.fullmatch(tag)]
    good = [tag for tag in good if not PSEUDONYM.search(tag)]
    kept = tuple(dict.fromkeys(good))[:MAX_TAGS]
    if len(kept) < len(given):
        mends.append("tag_dropped")
    return kept


def _techniques(raw: object, category: object, mends: list[Mend]) -> tuple[str, ...]:
    given = _list(raw, "technique")
    if given and category != "security":
        mends.append("technique_category")
        return ()
    known = dict.fromkeys(name for name in given if isinstance(name, str) and name in TECHNIQUES)
    if len(known) < len(given):
        mends.append("technique_unknown")
    return tuple(known)


def _matches(raw: object, shown: Shown, mends: list[Mend]) -> str | None:
    if raw is None or raw in ("", shown.template):
        return None
    wider = accepted(clean(raw), shown.template, shown.examples) if isinstance(raw, str) else None
    if wider is None:
        mends.append("matcher_dropped")
    return wider


def _splits_on(raw: object, references: Mapping[str, str], mends: list[Mend]) -> str | None:
    if raw is None or raw == "":
        return None
    name = references.get(raw.strip().strip("{}<>")) if isinstance(raw, str) else None
    if name is None:
        mends.append("split_unknown")
    return name


def _confidence(raw: object, mends: list[Mend]) -> float | None:
    if raw is None:
        return None
    if isinstance(raw, str) and _NUMBER.fullmatch(raw.strip()):
        mends.append("confidence_text")
        raw = float(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or (isinstance(raw, float) and math.isnan(raw)):
        raise _Wrong("confidence: not a number")
    clamped = float(min(max(raw, 0), 1))
    if clamped != raw:
        mends.append("confidence_clamped")
    return clamped


def _list(raw: object, where: str) -> list[object]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise _Wrong(f"{where}: not a list")
    return raw


def _fields(raw: object) -> list[tuple[str, str]]:
    """Read the fields of a small answer: an object of values, or a list of objects with a name and a value."""
    if isinstance(raw, Mapping):
        pairs = list(raw.items())
    elif isinstance(raw, list):
        pairs = [(entry.get("name"), entry.get("value")) for entry in raw if isinstance(entry, Mapping)]
    else:
        pairs = []
    return [(str(name), str(value)) for name, value in pairs if name and value not in (None, "")]


def _named(fields: Sequence[tuple[str, str]], value: str) -> str | None:
    return next((name for name, found in fields if found == value), None)


def hole_values(template: str, line: str) -> tuple[str, ...]:
    """Find the holes' values in a line: its constant pieces from left to right; empty if they are not there."""
    pieces = template.split(HOLE)
    # Templates have single blanks.
    line = " ".join(line.split())
    if not line or len(pieces) == 1:
        return ()
    start = line.find(pieces[0])
    values: list[str] = []
    position = start + len(pieces[0])
    for piece in pieces[1:]:
        end = line.find(piece, position) if piece else len(line)
        if start < 0 or end < 0:
            return ()
        values.append(line[position:end])
        position = end + len(piece)
    if not pieces[0]:
        # The template starts with a hole, the line perhaps with a header that is not part of it.
        values[0] = values[0].rpartition(" ")[2]
    return tuple(values)


def _generalised(text: object, values: Sequence[str]) -> object:
    """Put `{number}` where a text repeats a hole's value; single characters are too common to be taken for one."""
    if not isinstance(text, str):
        return text
    general = _without_braces(text)
    for number, value in sorted(enumerate(values, start=1), key=lambda pair: -len(pair[1])):
        if len(value) > 1:
            general = re.sub(rf"(?<![\w{{]){re.escape(value)}(?![\w}}])", f"{{{number}}}", general)
    return general
