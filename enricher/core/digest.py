"""The digest of a window: which kinds are new, gone, rising or falling, by counting, and what a model makes of it.

What changed is worked out from the counts of this window and of the up to `HISTORY_WINDOWS` before it; a model is only
asked what it means, and may name none but the kinds that it was shown. A window may have two digests: one without the
model's words, and the same with them. Never here: text of a log beyond masked templates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
import pydantic

from enricher.core.redact import clean, mask_template
from enricher.core.verdict import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HISTORY_WINDOWS: Final = 24
"""How many windows before this one say what is usual."""

LEAST_HISTORY: Final = 3
"""With fewer windows nothing is called unusual but what was never seen."""

LEAST_EVENTS: Final = 10
"""A kind that is rarer than this, in this window and usually, neither rises nor falls."""

_SIGMAS: Final = 4.0
# A kind that comes like a Poisson process with this mean stays away by chance once in a thousand windows.
_MISSED_MEAN: Final = -math.log(0.001)
_SHOWN_KINDS: Final = 40
_TEMPLATE_CHARACTERS: Final = 300
_TEXT_CHARACTERS: Final = 600

Change = Literal["new", "vanished", "rising", "falling"]
CHANGES: Final[tuple[Change, ...]] = ("new", "vanished", "rising", "falling")


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCount:
    """A kind of event in a window, with what is known of it; the last four are None while it has no answer."""

    signature: str
    template: str
    level: str
    program: str
    events: int
    severity: str | None = None
    category: str | None = None
    summary: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowKinds:
    """What the store knows for a digest."""

    counts: tuple[KindCount, ...]
    """The kinds of the window."""
    history: tuple[Mapping[str, int], ...]
    """Events by signature of the windows before it, the latest last."""
    gone: Mapping[str, KindCount]
    """By signature, the kinds that occur in the history alone; their `events` are 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A kind whose count is not what it usually is."""

    kind: KindCount
    change: Change
    usual: float
    """Its mean over the windows before; 0.0 for a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What happened in a window, by counting."""

    window: str
    events: int
    kinds: int
    history_windows: int
    """How many windows before it the counts were compared with."""
    changes: tuple[Changed, ...]
    """Gravest first, then by how much changed."""
    gravest: tuple[KindCount, ...]
    """What is worst in the window, changed or not: warnings and above."""

    @property
    def is_worth_asking(self) -> bool:
        """Whether there is anything that a model could explain."""
        return any(changed.change != "falling" for changed in self.changes)


class Account(pydantic.BaseModel):
    """What a model says about a window; `cites` are signature ids that it was given."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    headline: Annotated[str, pydantic.Field(min_length=1)]
    what_happened: Annotated[str, pydantic.Field(min_length=1)]
    likely_cause: str | None
    action: str | None
    cites: tuple[str, ...]


def compare(window: str, kinds: WindowKinds) -> Digest:
    """Compare a window's counts with those of up to `HISTORY_WINDOWS` windows before it.

    A count is unusual where it lies outside four standard deviations (at least those of a Poisson process) and has at
    least doubled or halved.
    """
    counts, past = kinds.counts, kinds.history[-HISTORY_WINDOWS:]
    changes: list[Changed] = []
    for kind in counts:
        series = [one.get(kind.signature, 0) for one in past]
        usual = sum(series) / len(series) if series else 0.0
        if not any(series):
            changes.append(Changed(kind=kind, change="new", usual=0.0))
        elif (change := _change(kind.events, series, usual)) is not None:
            changes.append(Changed(kind=kind, change=change, usual=usual))
    here = {kind.signature for kind in counts}
    for signature, kind in kinds.gone.items():
        series = [one.get(signature, 0) for one in past]
        if signature not in here and _is_missed(series):
            changes.append(Changed(kind=kind, change="vanished", usual=sum(series) / len(series)))
    grave = [kind for kind in counts if kind.severity is not None and _rank(kind) >= SEVERITIES.index("warning")]
    return Digest(
        window=window,
        events=sum(kind.events for kind in counts),
        kinds=len(counts),
        history_windows=len(past),
        changes=tuple(sorted(changes, key=_weight, reverse=True)),
        gravest=tuple(sorted(grave, key=lambda kind: (_rank(kind), kind.events), reverse=True)[:_SHOWN_KINDS]),
    )


def _change(events: int, series: Sequence[int], usual: float) -> Change | None:
    if len(series) < LEAST_HISTORY or max(events, usual) < LEAST_EVENTS:
        return None
    variance = sum((one - usual) ** 2 for one in series) / (len(series) - 1)
    spread = _SIGMAS * math.sqrt(max(variance, usual, 1.0))
    if events > usual + spread and events >= 2 * usual:
        return "rising"
    return "falling" if events < usual - spread and events <= usual / 2 else None


def _is_missed(series: Sequence[int]) -> bool:
    """Whether a kind came so regularly that its absence says something."""
    if len(series) < LEAST_HISTORY:
        return False
    return sum(map(bool, series)) >= 0.9 * len(series) and sum(series) / len(series) >= _MISSED_MEAN


def _rank(kind: KindCount) -> int:
    return -1 if kind.severity is None else SEVERITIES.index(kind.severity)


def _weight(changed: Changed) -> tuple[int, float, str]:
    ratio = abs(math.log((changed.kind.events + 1) / (changed.usual + 1)))
    return _rank(changed.kind), ratio * math.log(changed.kind.events + changed.usual + 2), changed.kind.signature


# ---------------------------------------------------------------- what a model is asked, and its answer


def question(digest: Digest) -> str:
    """What a model is shown of a window: kinds, counts and known answers as JSON, bounded, masked."""
    changed = [
        {**_shown(one.kind), "change": one.change, "usual_events": round(one.usual, 1)}
        for one in digest.changes[:_SHOWN_KINDS]
    ]
    told = {one["id"] for one in changed}
    document = {
        "window": digest.window,
        "events": digest.events,
        "kinds": digest.kinds,
        "compared_with_windows": digest.history_windows,
        "changed": changed,
        "gravest": [_shown(kind) for kind in digest.gravest if kind.signature not in told][: _SHOWN_KINDS // 2],
    }
    return msgspec.json.encode(document).decode()


def _shown(kind: KindCount) -> dict[str, Any]:
    shown = {
        "id": kind.signature,
        "events": kind.events,
        "template": mask_template(kind.template)[:_TEMPLATE_CHARACTERS],
        "program": mask_template(kind.program)[:_TEMPLATE_CHARACTERS],
        "level": clean(kind.level),
        "severity": kind.severity,
        "category": kind.category,
        "summary": kind.summary,
    }
    return {key: value for key, value in shown.items() if value not in (None, "")}


def account_schema(digest: Digest) -> dict[str, Any]:
    """The strict JSON Schema of the answer: only ids that were shown can be cited."""
    text, nullable = {"type": "string"}, {"type": ["string", "null"]}
    ids = sorted(_citable(digest))
    properties = {
        "headline": text,
        "what_happened": text,
        "likely_cause": nullable,
        "action": nullable,
        "cites": {"type": "array", "items": {"type": "string", "enum": ids} if ids else text},
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_account(text: str, digest: Digest) -> Account:
    """Check a model's answer. Raises ValueError where it is none; ids that were not shown are dropped from `cites`.

    Texts are cleaned and cut: they are shown on terminals and written into Markdown.
    """
    try:
        account = Account.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}") from None
    known = _citable(digest)
    return Account(
        headline=_bounded(account.headline) or "-",
        what_happened=_bounded(account.what_happened) or "-",
        likely_cause=_bounded(account.likely_cause),
        action=_bounded(account.action),
        cites=tuple(dict.fromkeys(one for one in account.cites if one in known)),
    )


def _citable(digest: Digest) -> set[str]:
    shown = [one.kind for one in digest.changes[:_SHOWN_KINDS]] + list(digest.gravest)
    return {kind.signature for kind in shown}


def _bounded(text: str | None) -> str | None:
    cut = clean(text or "").strip()[:_TEXT_CHARACTERS]
    return cut or None


# ---------------------------------------------------------------- what is written


def to_json(digest: Digest, account: Account | None = None) -> bytes:
    """`digest.json`: counts first, the model's account last, null while there is none."""
    document: dict[str, Any] = {
        "window": digest.window,
        "events": digest.events,
        "kinds": digest.kinds,
        "history_windows": digest.history_windows,
    }
    for change in CHANGES:
        document[change] = [to_row(one) for one in digest.changes if one.change == change]
    document["account"] = None if account is None else account.model_dump(mode="json")
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def to_row(changed: Changed) -> dict[str, Any]:
    """A changed kind as JSON."""
    kind = changed.kind
    return {
        "signature": kind.signature,
        "template": kind.template,
        "events": kind.events,
        "usual": round(changed.usual, 1),
        "severity": kind.severity,
        "category": kind.category,
        "summary": kind.summary,
    }


_MARKDOWN: Final = str.maketrans({char: "\\" + char for char in "\\`*_{}[]<>()#+!|~"} | {"\n": " ", "\r": " "})


def to_markdown(digest: Digest, account: Account | None = None) -> str:
    """`digest.md`: the same for a person. Text from logs and models is escaped: it can form no markup."""
    lines = [f"# {digest.window}: {digest.events:,} events of {digest.kinds:,} kinds", ""]
    if account is not None:
        lines += [f"**{_plain(account.headline)}**", "", _plain(account.what_happened), ""]
        lines += [f"Likely cause: {_plain(account.likely_cause)}", ""] if account.likely_cause else []
        lines += [f"Next: {_plain(account.action)}", ""] if account.action else []
        lines += ["About " + ", ".join(account.cites) + ".", ""] if account.cites else []
    lines += [f"Compared with the {digest.history_windows} windows before.", ""]
    for change in CHANGES:
        rows = [one for one in digest.changes if one.change == change]
        if rows:
            lines += [f"## {change.capitalize()} ({len(rows)})", "", "| events | usual | severity | kind |"]
            lines += ["|---:|---:|---|---|", *map(_markdown_row, rows), ""]
    return "\n".join(lines)


def _markdown_row(changed: Changed) -> str:
    kind = changed.kind
    about = _plain(kind.summary or kind.template)
    return f"| {kind.events:,} | {changed.usual:,.1f} | {kind.severity or '-'} | {about} ({kind.signature}) |"


def _plain(text: str) -> str:
    return clean(text).translate(_MARKDOWN)
