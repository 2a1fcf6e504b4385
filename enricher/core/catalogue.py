"""The catalogue of answers as values: when an answer serves, why a kind is asked again, what is exported and imported.

Invariants: what `to_line` writes `parse_export` reads back to the same value; an export holds no line of a log, only
templates and answers; nothing is taken in that could not have come from `core.verdict`. A faulty file is refused whole,
with every fault and its line number.

Never here: reading a file, a query.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from enricher.core.attack import TECHNIQUES
from enricher.core.ecs import is_reserved
from enricher.core.redact import clean, mask_template
from enricher.core.verdict import SEVERITIES, SLOT_NAME, Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from enricher.core.ledger import StoredAnswer
    from enricher.core.task import OnChange

EXPORT_FORMAT: Final = "enricher-signatures"
EXPORT_VERSION: Final = 1
MAX_FAULTS: Final = 20
"""Faults of a file that are told; more of them help nobody."""

Reason = Literal["new", "model_changed", "task_changed", "expired", "refresh", "split"]
"""Why a kind is asked: it has no answer, or none of this model; its answer is of another version of the task, is too
old, or was to be refreshed; it was split off a kind that has one. In the last four cases the answer that is there
serves until the new one is."""
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
Sort = Literal["count", "new", "severity"]
Origin = Literal["asked", "imported"]

_MAX_LEVEL: Final = 200
_MAX_PROGRAM: Final = 2_000
_MAX_TEMPLATE: Final = 20_000

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE: Final = re.compile(r"([1-9][0-9]{0,5})([smhdw])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """How long an answer serves. `expire_seconds` None: for ever."""

    on_change: OnChange = "keep"
    expire_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A signature of the catalogue: over all shapes that were merged into it."""

    signature: str
    format: str
    level: str
    program: str
    template: str
    events: int
    """Events of it that were ever read."""
    shapes: int
    first_seen_at: float
    last_seen_at: float | None
    """None if it was only ever numbered, in a block that did not come to be."""
    is_skipped: bool
    """It came from a source whose breaker was open: nothing is paid for it."""
    answer: StoredAnswer | None
    """The one that serves; None if there is none that is current."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A shape that was merged into a signature."""

    signature: str
    template: str
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A row of the alias table: shapes merged, or kept apart for the reason given."""

    number: int
    members: tuple[str, ...]
    template: str
    root: str
    at: float
    refused: str
    """Empty where the merge was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A signature that was split off another: its events have a value of this bucket in the slot."""

    signature: str
    slot: str
    bucket: str
    shape: int
    """Row id, to sample events by."""
    events: int
    answer: StoredAnswer | None
    """Its own; None where the parent's serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRevision:
    """A row of the table of splits. `slot` is empty where the split was ended."""

    number: int
    slot: str
    template: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MatcherRevision:
    """A wider template that the model gave: what fits it joins the signature unasked."""

    number: int
    signature: str
    template: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """All that the store knows of a signature."""

    entry: Entry
    sources: tuple[str, ...]
    members: tuple[Member, ...]
    """The most frequent first."""
    revisions: tuple[Revision, ...]
    answers: tuple[StoredAnswer, ...]
    """Every answer it ever had, newest first."""
    shapes: tuple[int, ...]
    """Row ids of the members, to sample events by."""
    parent: tuple[str, str, str] | None = None
    """Of a signature that was split off: (signature that it comes from, slot, bucket)."""
    splits: tuple[SplitRevision, ...] = ()
    """Newest first."""
    parts: tuple[Part, ...] = ()
    """What was split off it, the most frequent first."""
    matchers: tuple[MatcherRevision, ...] = ()
    """Newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What `signatures list` asks for."""

    limit: int
    sort: Sort = "count"
    severity: str | None = None
    is_unanswered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import came to."""

    taken: int
    replaced: int
    """Of those taken: where an older answer stood."""
    kept: int
    """Not taken, since what was there is newer, the same, or to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Signatures to forget or to refresh: those named, or all of a task version, or all older than a time."""

    signatures: tuple[str, ...] = ()
    task: str | None = None
    """Hash of a task version."""
    answered_before: float | None = None


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Time = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


class _Header(_Strict):
    format: Literal["enricher-signatures"]
    version: Literal[1]
    exported_at: _Time
    signatures: _Count


class ExportedAnswer(_Strict):
    """One line of an export: a signature that has an answer."""

    signature: _Hash
    level: Annotated[str, Field(max_length=_MAX_LEVEL)]
    program: Annotated[str, Field(max_length=_MAX_PROGRAM)]
    template: Annotated[str, Field(max_length=_MAX_TEMPLATE)]
    events: _Count
    first_seen_at: _Time
    last_seen_at: _Time | None
    task: _Name
    model: _Name
    served_model: Annotated[str, Field(max_length=200)]
    batch_id: Annotated[str, Field(max_length=200)]
    answered_at: _Time
    origin: Origin
    answer: Answer

    def to_line(self) -> bytes:
        """One line of JSON."""
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"


def export_header(signatures: int, now: float) -> bytes:
    """Write the first line of an export: what the file is, its version, and how many lines follow."""
    header = _Header(format="enricher-signatures", version=1, exported_at=now, signatures=signatures)
    return header.model_dump_json().encode() + b"\n"


def exported(entry: Entry) -> ExportedAnswer | None:
    """Make the line of a signature; None where there is nothing to pass on."""
    answer = entry.answer
    if answer is None or answer.status != "ok":
        return None
    return ExportedAnswer.model_construct(
        signature=entry.signature,
        level=mask_template(entry.level)[:_MAX_LEVEL],
        program=mask_template(entry.program)[:_MAX_PROGRAM],
        template=mask_template(answer.template or entry.template)[:_MAX_TEMPLATE],
        events=entry.events,
        first_seen_at=entry.first_seen_at,
        last_seen_at=entry.last_seen_at,
        task=answer.task,
        model=answer.model,
        served_model=answer.served_model,
        batch_id=answer.batch_id,
        answered_at=answer.answered_at,
        origin=answer.origin,
        answer=Answer.from_json(answer.body),
    )


def parse_export(lines: Iterable[bytes]) -> tuple[list[ExportedAnswer], list[str]]:
    """Read an export: its answers, and its faults ("line 7: …", about `MAX_FAULTS` at most); with a fault, use none."""
    found: list[ExportedAnswer] = []
    faults: list[str] = []
    promised: int | None = None
    number = 0
    for number, line in enumerate(lines, start=1):
        if len(faults) >= MAX_FAULTS:
            faults.append(f"line {number}: not looked at any more, after {MAX_FAULTS} faults")
            return found, faults
        try:
            if number == 1:
                promised = _header(line).signatures
            elif line.strip():
                found.append(_answer(line))
        except ValueError as fault:
            faults.append(f"line {number}: {_told(fault)}")
            if number == 1:
                return found, faults
    if number == 0:
        faults.append("line 1: missing: the file is empty")
    elif promised is not None and not faults and promised != len(found):
        faults.append(f"line {number}: the file ends after {len(found)} signatures, its first line says {promised}")
    return found, faults


def _header(line: bytes) -> _Header:
    try:
        return _Header.model_validate_json(line)
    except ValidationError as fault:
        given = _version_given(line)
        if given is not None:
            raise ValueError(f"version {given} of the format; this enricher reads version {EXPORT_VERSION}") from fault
        raise ValueError(
            f'not the first line of an export, which says "format": "{EXPORT_FORMAT}" ({_told(fault)})'
        ) from fault


def _version_given(line: bytes) -> object:
    """The version that the line says where it is of our format but of a version that is not ours."""
    try:
        document: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("format") != EXPORT_FORMAT:
        return None
    version = document.get("version")
    return None if version == EXPORT_VERSION or not isinstance(version, int) else version


def _answer(line: bytes) -> ExportedAnswer:
    read = ExportedAnswer.model_validate_json(line)
    fault = fault_of(read.answer)
    if fault:
        raise ValueError(fault)
    return read


def fault_of(answer: Answer) -> str:
    """What no answer of a model could be after `core.verdict` has read it; "" where there is nothing.

    A file from elsewhere is as hostile as a model's answer: its texts reach terminals and stores, its slots are keys.
    """
    texts = {
        "summary": answer.summary,
        "root_cause_hint": answer.root_cause_hint,
        "action": answer.action,
    }
    for name, text in texts.items():
        if text is not None and clean(text) != text:
            return f"answer.{name}: holds characters that must not reach a terminal"
    for slot in answer.slots:
        if not SLOT_NAME.fullmatch(slot) or is_reserved(slot):
            return f"answer.slots: {slot[:80]!r} cannot be the name of a slot"
    unknown = [name for name in answer.technique if name not in TECHNIQUES]
    return f"answer.technique: {unknown[0][:40]!r} is no technique of ATT&CK" if unknown else ""


def _told(fault: ValueError) -> str:
    if not isinstance(fault, ValidationError):
        return str(fault)
    first = fault.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return clean(f"{where}: {first['msg']}" if where else first["msg"])[:300]


def parse_age(text: str) -> float:
    """Read a length of time such as 30d or 12h: seconds. Raises ValueError."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no length of time such as 30d (s, m, h, d, w)")
    return float(int(match[1]) * _UNITS[match[2]])


def disagreement(answers: Sequence[tuple[str, str]]) -> str:
    """Why kinds with answers of these (severity, category) must stay apart; "" if they may be one."""
    severities = sorted({severity for severity, _ in answers}, key=SEVERITIES.index)
    categories = sorted({category for _, category in answers})
    differing = [("severity", severities), ("category", categories)]
    return "; ".join(f"{name} is {' or '.join(values)}" for name, values in differing if len(values) > 1)


def nearest(wanted: str, names: Iterable[str]) -> list[str]:
    """The names that share the longest beginning with what was wanted, the nearest first, at most three."""
    return sorted(set(names), key=lambda name: (-_shared(wanted, name), name))[:3]


def _shared(one: str, other: str) -> int:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length
