"""The digest of a window: which kinds are new, gone, rising or falling, by counting, and the files that say so.

What changed is worked out from the counts of this window and of the up to `HISTORY_WINDOWS` before it; a model is only
asked what it means (`core.account`). A window may have two digests: one without the model's words, and the same with
them. Never here: text of a log beyond templates.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from enricher.core.redact import clean
from enricher.core.verdict import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.account import Account

HISTORY_WINDOWS: Final = 24
"""How many windows before this one say what is usual."""

LEAST_HISTORY: Final = 3
"""With fewer windows nothing is called unusual but what was never seen."""

LEAST_EVENTS: Final = 10
"""A kind that is rarer than this, in this window and usually, neither rises nor falls."""

_SIGMAS: Final = 4.0
# A kind that comes like a Poisson process with this mean stays away by chance once in a thousand windows.
_MISSED_MEAN: Final = -math.log(0.001)
_GRAVEST_KINDS: Final = 40

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
        gravest=tuple(sorted(grave, key=lambda kind: (_rank(kind), kind.events), reverse=True)[:_GRAVEST_KINDS]),
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


# An address with @ becomes a link in GitHub's Markdown however it is escaped.
_MARKDOWN: Final = str.maketrans(
    {char: "\\" + char for char in "\\`*_{}[]<>()#+!|~&"} | {"\n": " ", "\r": " ", "@": "\\(at\\)"}
)
_LINK: Final = re.compile(r"(?i)(:(?=//)|www(?=\.))")
_LIST: Final = re.compile(r"^([0-9]*)([-=.])")


def to_markdown(digest: Digest, account: Account | None = None) -> str:
    """`digest.md`: the same for a person. Text from logs and models is escaped: it can form no markup and no link."""
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
    escaped = _LINK.sub(r"\1\\", clean(text).translate(_MARKDOWN))
    return _LIST.sub(r"\1\\\2", escaped)
