"""How good an answer is, measured against what was expected: scores from 0 to 1, and passed or not.

    [[scorers]]
    kind = "set_f1"
    field = "labels"           # a path into the answer; `expected` is one into the case, the same path by default
    threshold = 0.8            # passed from this score on
    weight = 1                 # in the score of the case

Invariant: pure; any answer, also none, gets a score and a reason, and none raises. Must never: ask a model. What an
embedding or a judging model says is handed in (`Outside`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from enricher.core.pattern import compile_pattern
from enricher.core.records.measures import Embedding, Exact, Fields, Judged, Numeric, Pair, Regex, SetF1
from enricher.core.records.paths import Path, parse_path, path_fault
from enricher.core.toml_reader import NUMBER, finite, not_empty, one_of, within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from enricher.core.records.measures import Judge
    from enricher.core.toml_reader import TableReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a scorer says of one answer."""

    name: str
    value: float
    """0 to 1."""
    passed: bool
    reason: str
    """In words; "" where there is nothing to say of a full score."""
    parts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Scores by field, for a scorer that looks at several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What was asked for elsewhere, for one answer, by the name of the scorer that needs it."""

    vectors: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=lambda: MappingProxyType({}))
    """Embeddings of what was expected and of what was answered."""
    judgements: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Answers of judging models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """One measure of an evaluation."""

    name: str
    kind: str
    judge: Judge
    threshold: float = 1.0
    weight: float = 1.0

    def score(
        self, expected: Mapping[str, Any], answer: Mapping[str, Any] | None, outside: Outside | None = None
    ) -> Score:
        """Score an answer; None is that of a row that failed, and scores 0."""
        if answer is None:
            return Score(name=self.name, value=0.0, passed=False, reason="there is no answer")
        given = outside or Outside()
        vectors, judgement = given.vectors.get(self.name), given.judgements.get(self.name)
        measure = self.judge.measure(Pair(expected=expected, answer=answer, vectors=vectors, judgement=judgement))
        return Score(
            name=self.name,
            value=measure.value,
            passed=measure.value >= self.threshold,
            reason=measure.reason,
            parts=measure.parts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """What all scorers say of one answer: their weighted mean, and whether every one that has a weight passed."""

    value: float
    passed: bool
    scores: tuple[Score, ...]

    @property
    def reason(self) -> str:
        """Say why it did not pass, scorer by scorer."""
        return "; ".join(f"{one.name}: {one.reason}" for one in self.scores if not one.passed and one.reason)


def score_case(
    scorers: Sequence[Scorer],
    expected: Mapping[str, Any],
    answer: Mapping[str, Any] | None,
    outside: Outside | None = None,
) -> CaseScore:
    """Score one answer to one case by every scorer."""
    scores = tuple(scorer.score(expected, answer, outside) for scorer in scorers)
    weights = [scorer.weight for scorer in scorers]
    value = sum(one.value * weight for one, weight in zip(scores, weights, strict=True)) / sum(weights)
    passed = all(one.passed for one, weight in zip(scores, weights, strict=True) if weight)
    return CaseScore(value=min(value, 1.0), passed=passed, scores=scores)


def parse_scorers(readers: Sequence[TableReader]) -> tuple[Scorer, ...]:
    """Read the tables `[[scorers]]`, and finish them. Faults go to the readers; the result counts without any."""
    scorers: list[Scorer] = []
    for reader in readers:
        kind = reader.take("kind", str, None, one_of(*_KINDS), required=True)
        if kind is None:
            continue
        before = len(reader.faults)
        judge, default = _KINDS[kind](reader)
        field_name = "" if kind in ("fields", "judge") else str(getattr(judge, "field", None) or "")
        scorer = Scorer(
            name=reader.take("name", str, f"{kind} {field_name}".strip(), not_empty),
            kind=kind,
            judge=judge,
            threshold=reader.take("threshold", NUMBER, default, within(0, 1)),
            weight=reader.take("weight", NUMBER, 1.0, within(0, 1000)),
        )
        if any(scorer.name == other.name for other in scorers):
            reader.fault("name", f"two scorers are called {scorer.name!r}; give this one another name")
        reader.finish()
        if len(reader.faults) == before:
            scorers.append(scorer)
    if scorers and not any(scorer.weight for scorer in scorers):
        readers[0].fault("weight", "must not be 0 for every scorer")
    return tuple(scorers)


def _path(reader: TableReader, key: str, default: Path | None = None, *, required: bool = False) -> Path:
    text: str | None = reader.take(key, str, None, path_fault, required=required)
    return (default or _NOWHERE) if text is None else parse_path(text)


_EMBEDDING_MODEL: Final = "text-embedding-3-small"
_NOWHERE: Final = Path(("_",))


def _pair(reader: TableReader) -> tuple[Path, Path]:
    place = _path(reader, "field", required=True)
    return place, _path(reader, "expected", place)


def _exact(reader: TableReader) -> tuple[Judge, float]:
    ignore_case = reader.take("ignore_case", bool, False)
    if not {"field", "expected"} & set(reader.left()):
        return Exact(ignore_case=ignore_case), 1.0
    place, expected = _pair(reader)
    return Exact(field=place, expected=expected, ignore_case=ignore_case), 1.0


def _fields(reader: TableReader) -> tuple[Judge, float]:
    texts = reader.take_list("fields", str, ("_",), path_fault, required=True)
    if len(set(texts)) < len(texts):
        reader.fault("fields", "a field stands there twice")
    return Fields(fields=tuple(parse_path(text) for text in texts)), 1.0


def _set_f1(reader: TableReader) -> tuple[Judge, float]:
    place, expected = _pair(reader)
    return SetF1(field=place, expected=expected), 1.0


def _regex(reader: TableReader) -> tuple[Judge, float]:
    place = _path(reader, "field", required=True)
    text = reader.take("pattern", str, "x", not_empty, required=True)
    try:
        pattern = compile_pattern(text)
    except ValueError as error:
        reader.fault("pattern", str(error))
        pattern = compile_pattern("x")
    return Regex(field=place, text=text, pattern=pattern), 1.0


def _numeric(reader: TableReader) -> tuple[Judge, float]:
    place, expected = _pair(reader)
    absolute = reader.take("absolute", NUMBER, 0.0, within(0, 1e300))
    relative = reader.take("relative", NUMBER, 0.0, within(0, 1))
    return Numeric(field=place, expected=expected, absolute=absolute, relative=relative), 1.0


def _embedding(reader: TableReader) -> tuple[Judge, float]:
    place, expected = _pair(reader)
    model = reader.take("model", str, _EMBEDDING_MODEL, not_empty)
    return Embedding(field=place, expected=expected, model=model), 0.8


def _judge(reader: TableReader) -> tuple[Judge, float]:
    low, high = (reader.take(key, NUMBER, default, finite) for key, default in (("min", 1), ("max", 5)))
    if low >= high:
        reader.fault("max", "must be above min")
    task = reader.take("task", str, "", not_empty, required=True)
    score, reason = _path(reader, "score", Path(("score",))), _path(reader, "reason", Path(("reason",)))
    return Judged(task=task, score=score, reason=reason, low=low, high=high), 0.5


_KINDS: Final[dict[str, Callable[[TableReader], tuple[Judge, float]]]] = {
    "exact": _exact, "fields": _fields, "set_f1": _set_f1, "regex": _regex, "numeric": _numeric,
    "embedding": _embedding, "judge": _judge,
}  # fmt: skip
