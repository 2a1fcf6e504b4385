"""What a scorer looks at: one class for each kind of measure, all alike in what they are asked and what they say.

Invariant: any expectation and any answer gives a number from 0 to 1, and none raises. Must never: ask a model.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from enricher.core.records.canonical import canonical
from enricher.core.records.quoting import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.pattern import LinePattern
    from enricher.core.records.paths import Path

_MISSING: Final = object()
_SHOWN_MEMBERS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A case and an answer to it."""

    expected: Mapping[str, Any]
    answer: Mapping[str, Any]
    vectors: tuple[Sequence[float], Sequence[float]] | None = None
    """Embeddings of the text that was expected and of the one that was answered, for `Embedding`."""
    judgement: object = None
    """The answer of a judging model, for `Judged`."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A score before the threshold, and what there is to say of it."""

    value: float
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


class Judge(Protocol):
    """How one kind of scorer measures; a `Scorer` adds its name, weight and threshold."""

    @property
    def compares_with(self) -> tuple[Path, ...] | None:
        """Places of what is expected, () for all of it; None for what can do without an expectation."""

    def measure(self, pair: Pair) -> Measure:
        """Measure an answer that there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """The whole answer, or what stands at one place of it, is what was expected; 1 and 1.0 are the same."""

    field: Path | None = None
    expected: Path | None = None
    ignore_case: bool = False

    @property
    def compares_with(self) -> tuple[Path, ...]:
        """As `Judge.compares_with`."""
        return () if self.expected is None else (self.expected,)

    def measure(self, pair: Pair) -> Measure:
        """As `Judge.measure`."""
        wanted, got = _at(self.expected, pair.expected), _at(self.field, pair.answer)
        if self.field is None:
            # A case may say less than an answer: what it does not name is not asked.
            got = {key: pair.answer[key] for key in pair.expected if key in pair.answer}
        if wanted is _MISSING or got is _MISSING:
            return _missing(wanted)
        return _verdict(self._same(wanted, got), wanted, got)

    def _same(self, wanted: object, got: object) -> bool:
        if self.ignore_case and isinstance(wanted, str) and isinstance(got, str):
            return _folded(wanted) == _folded(got)
        if isinstance(wanted, str) and not isinstance(got, str):
            # A table without types has `5` and `true` as text.
            return wanted.strip() == canonical(got)
        return canonical(wanted) == canonical(got)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Several places of the answer, each what was expected: the share of them that is."""

    fields: tuple[Path, ...]

    @property
    def compares_with(self) -> tuple[Path, ...]:
        """As `Judge.compares_with`."""
        return self.fields

    def measure(self, pair: Pair) -> Measure:
        """As `Judge.measure`."""
        parts: dict[str, float] = {}
        reasons = []
        for path in self.fields:
            one = Exact(field=path, expected=path).measure(pair)
            parts[str(path)] = one.value
            if one.reason:
                reasons.append(f"{path}: {one.reason}")
        return Measure(sum(parts.values()) / len(parts), "; ".join(reasons), MappingProxyType(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class SetF1:
    """Two lists as sets: the harmonic mean of precision and recall; two empty ones agree fully."""

    field: Path
    expected: Path

    @property
    def compares_with(self) -> tuple[Path, ...]:
        """As `Judge.compares_with`."""
        return (self.expected,)

    def measure(self, pair: Pair) -> Measure:
        """As `Judge.measure`."""
        wanted, got = _members(_at(self.expected, pair.expected)), _members(_at(self.field, pair.answer))
        if not wanted and not got:
            return Measure(1.0)
        common = len(wanted.keys() & got.keys())
        missing = [shown(value) for key, value in wanted.items() if key not in got]
        extra = [shown(value) for key, value in got.items() if key not in wanted]
        reasons = [f"missing {_some(missing)}"] if missing else []
        reasons += [f"not expected {_some(extra)}"] if extra else []
        return Measure(2 * common / (len(wanted) + len(got)), ", ".join(reasons))


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    r"""Something in the text at a place matches; `\w` and its kin mean ASCII. A text too long for it does not pass."""

    field: Path
    text: str
    pattern: LinePattern

    @property
    def compares_with(self) -> None:
        """As `Judge.compares_with`."""
        return

    def measure(self, pair: Pair) -> Measure:
        """As `Judge.measure`."""
        texts = self.field.strings(pair.answer)
        if not texts:
            return Measure(0.0, "the answer has no text there")
        for text in texts:
            data = text.encode("utf-8", "replace")
            if len(data) > self.pattern.reach_bytes:
                return Measure(
                    0.0, f"{len(data)} bytes are more than the {self.pattern.reach_bytes} a pattern may read"
                )
            if self.pattern.is_in(data):
                return Measure(1.0)
        return Measure(0.0, f"{shown(texts[0])} does not match {shown(self.text)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric:
    """A number is near enough: within `absolute`, or within `relative` times what was expected; else 0."""

    field: Path
    expected: Path
    absolute: float = 0.0
    relative: float = 0.0

    @property
    def compares_with(self) -> tuple[Path, ...]:
        """As `Judge.compares_with`."""
        return (self.expected,)

    def measure(self, pair: Pair) -> Measure:
        """As `Judge.measure`."""
        wanted, got = _at(self.expected, pair.expected), _at(self.field, pair.answer)
        if wanted is _MISSING or got is _MISSING:
            return _missing(wanted)
        one, other = _number(wanted), _number(got)
        if one is None or other is None:
            return Measure(0.0, f"{shown(wanted if one is None else got)} is no number")
        is_near = abs(one - other) <= max(self.absolute, self.relative * abs(one))
        return Measure(1.0) if is_near else Measure(0.0, f"{other:g}, expected {one:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """The cosine of the angle between two texts' embeddings; below 0 it is 0."""

    field: Path
    expected: Path
    model: str
    """Which model embeds them."""

    @property
    def compares_with(self) -> tuple[Path, ...]:
        """As `Judge.compares_with`."""
        return (self.expected,)

    def texts(self, expected: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[str, str] | None:
        """Give what must be embedded to compare an answer; None where either text is missing or empty."""
        wanted, got = self.expected.strings(expected), self.field.strings(answer)
        return (wanted[0], got[0]) if wanted and got and wanted[0].strip() and got[0].strip() else None

    def measure(self, pair: Pair) -> Measure:
        """As `Judge.measure`."""
        if self.texts(pair.expected, pair.answer) is None:
            return Measure(0.0, "there is no text to compare")
        if pair.vectors is None:
            return Measure(0.0, "no embedding was given")
        value = cosine(*pair.vectors)
        if value is None:
            return Measure(0.0, "the embeddings cannot be compared")
        return Measure(max(0.0, value), f"similarity {value:.3f}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A number in a judging model's answer, brought from its scale to 0 to 1."""

    task: str
    score: Path
    reason: Path
    low: float
    high: float

    @property
    def compares_with(self) -> None:
        """As `Judge.compares_with`."""
        return

    def measure(self, pair: Pair) -> Measure:
        """As `Judge.measure`; a judgement that cannot be read, or is beyond the scale, counts 0."""
        if pair.judgement is None:
            return Measure(0.0, "the judge gave no answer")
        found = self.score.find(pair.judgement)
        number = _number(found[0]) if found else None
        if number is None or isinstance(found[0], str):
            return Measure(0.0, f"the judge's answer has no number at {self.score}")
        if not self.low <= number <= self.high:
            return Measure(0.0, f"the judge said {number:g}, which is not from {self.low:g} to {self.high:g}")
        said = self.reason.strings(pair.judgement)
        reason = f"the judge said {number:g} of {self.high:g}" + (f": {shown(said[0])}" if said else "")
        return Measure((number - self.low) / (self.high - self.low), reason)


def cosine(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Give the cosine of the angle between two vectors, -1 to 1; None where it has none: lengths, zeros, no numbers."""
    if len(one) != len(other):
        return None
    # Brought to a length near 1 first, so that nothing overflows.
    sizes = [max(map(abs, vector), default=0.0) for vector in (one, other)]
    if not all(size and math.isfinite(size) for size in sizes):
        return None
    a, b = ([member / size for member in vector] for vector, size in zip((one, other), sizes, strict=True))
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    value = dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    return max(-1.0, min(1.0, value)) if math.isfinite(value) else None


def _at(path: Path | None, document: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a value of JSON
    """Give the value at a place: the list of all for a path with `[]`, `_MISSING` for no such place."""
    if path is None:
        return dict(document)
    found = path.find(document)
    if "[]" in path.steps:
        return found
    return found[0] if found else _MISSING


def _members(value: object) -> dict[str, object]:
    if value is _MISSING or value is None:
        return {}
    members = value if isinstance(value, list | tuple) else [value]
    return {canonical(member): member for member in members}


def _number(value: object) -> float | None:
    """Read a number, also one that is written as text, as tables of cases have them."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _missing(wanted: object) -> Measure:
    return Measure(0.0, "the case expects nothing there" if wanted is _MISSING else "the answer has nothing there")


def _verdict(is_same: bool, wanted: object, got: object) -> Measure:  # noqa: FBT001 - what was found out
    return Measure(1.0) if is_same else Measure(0.0, f"{shown(got)}, expected {shown(wanted)}")


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN_MEMBERS
    return ", ".join(names[:_SHOWN_MEMBERS]) + (f" and {more} more" if more > 0 else "")
