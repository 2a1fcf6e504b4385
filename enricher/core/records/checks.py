"""What an answer is checked against beyond its schema: the row that it was given for.

    [[checks]]
    kind = "quotes"            # what is quoted stands in the row
    path = "evidence[].quote"
    column = "text"

    [[checks]]
    kind = "length"            # also unit = "words", and min_ratio / max_ratio to a column
    path = "summary"
    max = 500

A check whose `when` is empty or false is none: `when = "{{options.language}}"`.

Invariant: pure, in time proportional to the answer and the row, whatever either holds. A place that an answer lacks
is the schema's business and no fault here; a reason has nothing in it that a terminal or a log would act on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from enricher.core.pattern import LinePattern, compile_pattern
from enricher.core.records.canonical import canonical
from enricher.core.records.language import MIN_LETTERS, LanguageDetector, guess, is_alike, primary
from enricher.core.records.paths import Path, parse_path, path_fault
from enricher.core.records.quoting import comparable, shown
from enricher.core.toml_reader import NUMBER, not_empty, one_of, within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from enricher.core.toml_reader import TableReader

_MAX: Final = 2**31


class Check(Protocol):
    """One check of an answer."""

    def fault(self, answer: Mapping[str, Any], values: Mapping[str, object]) -> str | None:
        """Say what is wrong with the answer to a row, None for nothing; `values` is the row by column."""


def first_fault(checks: Sequence[Check], answer: Mapping[str, Any], values: Mapping[str, object]) -> str | None:
    """Give the reason of the first check that the answer fails, None where it passes all."""
    for check in checks:
        reason = check.fault(answer, values)
        if reason is not None:
            return reason
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotes:
    """Every text at the path stands in the column's text, as `comparable` writes both, in whichever case.

    Models begin a quotation with a capital letter: that is no reason to pay for another answer.
    """

    path: Path
    column: str

    def fault(self, answer: Mapping[str, Any], values: Mapping[str, object]) -> str | None:
        """As `Check.fault`."""
        quotes = self.path.strings(answer)
        if not quotes:
            return None
        text = comparable(_text(values.get(self.column))).casefold()
        for quote in quotes:
            wanted = comparable(quote).casefold()
            if not wanted:
                return f"{self.path}: a quotation is empty"
            if wanted not in text:
                return f"{self.path}: {shown(quote)} does not stand in {self.column}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Texts at the path are from `least` to `most` long, or as many times as long as the column's text."""

    path: Path
    unit: Literal["characters", "words"]
    least: float = 0
    most: float = float("inf")
    column: str | None = None
    """What `least` and `most` are multiples of the length of; None: they are lengths."""

    def fault(self, answer: Mapping[str, Any], values: Mapping[str, object]) -> str | None:
        """As `Check.fault`."""
        whole = 1 if self.column is None else self._measure(_text(values.get(self.column)))
        for text in self.path.strings(answer):
            length = self._measure(text)
            if not self.least * whole <= length <= self.most * whole:
                return f"{self.path}: {length} {self.unit}, but {self._wanted(whole)}"
        return None

    def _measure(self, text: str) -> int:
        return len(text) if self.unit == "characters" else len(text.split())

    def _wanted(self, whole: int) -> str:
        bounds = [f"at least {self.least:g}"] if self.least else []
        bounds += [f"at most {self.most:g}"] if self.most < float("inf") else []
        times = "" if self.column is None else f" times the {whole} of {self.column}"
        return f"{' and '.join(bounds)}{times} {'is' if len(bounds) == 1 else 'are'} asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """Texts at the path are in one of the languages, or in that of the column; judged only where that is sure."""

    path: Path
    detect: LanguageDetector
    languages: tuple[str, ...] = ()
    column: str | None = None
    """What the text's language is to be that of."""
    min_letters: int = MIN_LETTERS

    def fault(self, answer: Mapping[str, Any], values: Mapping[str, object]) -> str | None:
        """As `Check.fault`."""
        wanted = self.languages
        if self.column is not None:
            of_column = guess(_text(values.get(self.column)), self.detect, min_letters=self.min_letters)
            if of_column is None:
                return None
            wanted = (of_column.code,)
        for text in self.path.strings(answer):
            found = guess(text, self.detect, min_letters=self.min_letters)
            if found is not None and not any(is_alike(found.code, code) for code in wanted):
                where = "" if self.column is None else f" as {self.column}"
                return (
                    f"{self.path}: in {found.code}, not in {' or '.join(wanted)}{where} ({found.probability:.0%} sure)"
                )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """An array at the path has no member twice; or, for a path such as `items[].id`, all of its values differ."""

    path: Path

    def fault(self, answer: Mapping[str, Any], values: Mapping[str, object]) -> str | None:  # noqa: ARG002 - as the others
        """As `Check.fault`."""
        found = self.path.find(answer)
        for members in [one for one in found if isinstance(one, list)] or [found]:
            seen: set[str] = set()
            for member in members:
                key = canonical(member)
                if key in seen:
                    return f"{self.path}: {shown(member)} stands there twice"
                seen.add(key)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Among:
    """Every value at the path is at another path of the answer, too: each label has its evidence."""

    path: Path
    of: Path

    def fault(self, answer: Mapping[str, Any], values: Mapping[str, object]) -> str | None:  # noqa: ARG002 - as the others
        """As `Check.fault`."""
        there = set(map(canonical, self.of.find(answer)))
        for value in self.path.find(answer):
            if canonical(value) not in there:
                return f"{self.path}: {shown(value)} is not in {self.of}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    r"""Texts at the path have the pattern in them, or have not; `\w` and its kin mean ASCII in it."""

    path: Path
    text: str
    pattern: LinePattern
    is_absent: bool = False

    def fault(self, answer: Mapping[str, Any], values: Mapping[str, object]) -> str | None:  # noqa: ARG002 - as the others
        """As `Check.fault`."""
        for text in self.path.strings(answer):
            data = text.encode("utf-8", "replace")
            if len(data) > self.pattern.reach_bytes:
                return f"{self.path}: {len(data)} bytes are more than the {self.pattern.reach_bytes} a pattern may read"
            if self.pattern.is_in(data) == self.is_absent:
                does = "must not match" if self.is_absent else "does not match"
                return f"{self.path}: {shown(text)} {does} {self.text}"
        return None


def parse_checks(
    readers: Sequence[TableReader], *, columns: Sequence[str] | None, detect: LanguageDetector | None
) -> tuple[Check, ...]:
    """Read the tables `[[checks]]` of a task, and finish them. Faults go to the readers; the result counts without any.

    `columns` are those that a row is known to have, None where that is not known; `detect` is None where the extra
    `language` is not installed.
    """
    checks: list[Check] = []
    for reader in readers:
        if not reader.take("when", (str, list, bool, int, float), True):
            continue
        kind = reader.take("kind", str, None, one_of(*_KINDS), required=True)
        if kind is None:
            continue
        before = len(reader.faults)
        text = reader.take("path", str, "_", path_fault, required=True)
        check = _KINDS[kind](_Given(reader, parse_path(text), columns, detect))
        reader.finish()
        if len(reader.faults) == before and check is not None:
            checks.append(check)
    return tuple(checks)


@dataclass(frozen=True, slots=True)
class _Given:
    """What a check is read from."""

    reader: TableReader
    path: Path
    columns: Sequence[str] | None
    detect: LanguageDetector | None

    def column(self, key: str, *, required: bool = False) -> str | None:
        name: str | None = self.reader.take(key, str, None, not_empty, required=required)
        if name is not None and self.columns is not None and name not in self.columns:
            self.reader.fault(key, f"there is no column {name!r}; there are {', '.join(self.columns)}")
        return name


def _quotes(given: _Given) -> Check:
    return Quotes(path=given.path, column=given.column("column", required=True) or "")


def _length(given: _Given) -> Check:
    reader = given.reader
    unit = reader.take("unit", str, "characters", one_of("characters", "words"))
    column = given.column("column")
    suffix = "" if column is None else "_ratio"
    kind, most = (int, _MAX) if column is None else (NUMBER, 1000.0)
    low, high = (reader.take(f"{name}{suffix}", kind, None, within(0, most)) for name in ("min", "max"))
    if low is None and high is None and not set(reader.left()) & {"min", "max", "min_ratio", "max_ratio"}:
        reader.fault(f"max{suffix}", f"give min{suffix}, max{suffix} or both")
    if low is not None and high is not None and low > high:
        reader.fault(f"max{suffix}", f"must not be below min{suffix}")
    for name in {"min", "max", "min_ratio", "max_ratio"} & set(reader.left()):
        reader.take(name, NUMBER, None)
        reader.fault(name, "a ratio needs a column" if column is None else f"with a column, write {name}_ratio")
    bounds = (0 if low is None else low, float("inf") if high is None else high)
    return Length(path=given.path, unit=unit, least=bounds[0], most=bounds[1], column=column)


def _language(given: _Given) -> Check | None:
    reader = given.reader
    languages = reader.take_list("languages", str, (), not_empty)
    column = given.column("same_as")
    min_letters = reader.take("min_letters", int, MIN_LETTERS, within(1, _MAX))
    if bool(languages) == (column is not None):
        reader.fault("languages", "give either languages or same_as, a column")
    if given.detect is None:
        reader.fault("kind", "language needs an extra package: pip install 'enricher[language]'")
        return None
    unknown = [code for code in languages if primary(code) not in given.detect.languages]
    if unknown:
        reader.fault("languages", f"not known to the detector: {', '.join(unknown)}; codes are those of ISO 639, as en")
    return Language(path=given.path, detect=given.detect, languages=languages, column=column, min_letters=min_letters)


def _unique(given: _Given) -> Check:
    return Unique(path=given.path)


def _among(given: _Given) -> Check:
    of = given.reader.take("of", str, "_", path_fault, required=True)
    return Among(path=given.path, of=parse_path(of))


def _pattern(given: _Given) -> Check | None:
    text = given.reader.take("pattern", str, None, not_empty, required=True)
    is_absent = given.reader.take("absent", bool, False)
    if text is None:
        return None
    try:
        return Pattern(path=given.path, text=text, pattern=compile_pattern(text), is_absent=is_absent)
    except ValueError as error:
        given.reader.fault("pattern", str(error))
        return None


_KINDS: Final[dict[str, Callable[[_Given], Check | None]]] = {
    "quotes": _quotes, "length": _length, "language": _language, "unique": _unique, "among": _among,
    "pattern": _pattern,
}  # fmt: skip


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
