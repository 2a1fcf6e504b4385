"""What scorers need from outside: embeddings of texts and the answers of judging models, asked as all else is.

Each is asked once, whichever cells and scorers want it, and its answer is kept like any other. Never here: a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from enricher.core.records.measures import Embedding, Judged
from enricher.core.records.results import Cost
from enricher.core.records.scorers import Outside
from enricher.core.records.task import EMBEDDINGS, VECTOR_FIELD, RecordTask
from enricher.core.records.template import parse_template
from enricher.errors import ConfigError
from enricher.records.held import HeldRows
from enricher.records.rounds import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from enricher.core.records.results import Case
    from enricher.core.records.scorers import Scorer
    from enricher.records.held import Reply
    from enricher.records.rounds import Replies, Rounds

_EXPECTED: Final = "expected"
_ANSWER: Final = "answer"
"""Columns that a judging task may put into its prompt, beside those of the case."""

_Measure = TypeVar("_Measure", Embedding, Judged)


def read_judges(
    scorers: Sequence[Scorer], columns: Collection[str], load: Callable[[str], RecordTask]
) -> dict[str, RecordTask]:
    """Read the judging tasks that scorers name, by that name; `columns` are those of a case. Raises ConfigError."""
    there = {*columns, _EXPECTED, _ANSWER}
    judges = {judged.task: load(judged.task) for _, judged in _of(scorers, Judged)}
    for name, task in judges.items():
        missing = [column for column in task.columns if column not in there]
        if missing:
            raise ConfigError(
                [f"task {name}: judges by the column {missing[0]!r}, which a case has not"],
                hint=f"a judging task may name {', '.join(sorted(there))}",
            )
    return judges


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is to be scored, and the case that it is one to."""

    case: Case
    reply: Reply


class Scoring:
    """Asks for what scorers need; nothing where none needs any."""

    def __init__(self, scorers: Sequence[Scorer], judges: Mapping[str, RecordTask], dataset: str) -> None:
        self._embeddings = _of(scorers, Embedding)
        self._judged = _of(scorers, Judged)
        self._judges = judges
        self._dataset = dataset

    async def ask(self, rounds: Rounds, answers: Sequence[Answer]) -> tuple[list[Outside], Cost | None]:
        """Ask about answers; returns what there is for each of them, and what it took. Raises as `Rounds.ask`."""
        if not self._embeddings and not self._judged:
            return [Outside()] * len(answers), None
        texts = {
            model: self._texts(model, answers) for model in dict.fromkeys(one.model for _, one in self._embeddings)
        }
        to_judge = [at for at, one in enumerate(answers) if one.reply.answer is not None]
        judged = self._rows([answers[at] for at in to_judge])
        # The same task may be named in two ways.
        judges = {(task.hash, task.model): task for task in self._judges.values()}
        questions = [
            *(Question(task=embedding_task(model), rows=self._held(texts[model])) for model in texts),
            *(Question(task=task, rows=judged) for task in judges.values()),
        ]
        replies = await rounds.ask(questions)
        vectors = {
            model: {text: one.answer[VECTOR_FIELD] for text, one in zip(found, back.rows, strict=True) if one.answer}
            for (model, found), back in zip(texts.items(), replies, strict=False)
        }
        said = {
            key: dict(zip(to_judge, one.rows, strict=True))
            for key, one in zip(judges, replies[len(texts) :], strict=True)
        }
        judgements = {name: said[task.hash, task.model] for name, task in self._judges.items()}
        outside = [
            Outside(vectors=self._vectors(one, vectors), judgements=self._judgements(at, judgements))
            for at, one in enumerate(answers)
        ]
        return outside, total(replies)

    def _texts(self, model: str, answers: Iterable[Answer]) -> list[str]:
        """Every text that a model is to embed, once."""
        measures = [measure for _, measure in self._embeddings if measure.model == model]
        pairs = (
            measure.texts(one.case.expected, one.reply.answer)
            for one in answers
            if one.reply.answer is not None
            for measure in measures
        )
        return list(dict.fromkeys(text for pair in pairs if pair is not None for text in pair))

    def _held(self, texts: Sequence[str]) -> HeldRows:
        return HeldRows(
            name=f"{self._dataset} (texts to compare)",
            keys=[str(number) for number in range(1, len(texts) + 1)],
            values=[{"text": text} for text in texts],
        )

    def _rows(self, answers: Sequence[Answer]) -> HeldRows:
        return HeldRows(
            name=f"{self._dataset} (answers to judge)",
            keys=[str(number) for number in range(1, len(answers) + 1)],
            values=[
                {**one.case.values, _EXPECTED: dict(one.case.expected), _ANSWER: dict(one.reply.answer or {})}
                for one in answers
            ],
        )

    def _vectors(
        self, one: Answer, vectors: Mapping[str, Mapping[str, Sequence[float]]]
    ) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
        found = {}
        for name, measure in self._embeddings:
            pair = None if one.reply.answer is None else measure.texts(one.case.expected, one.reply.answer)
            known = vectors[measure.model]
            if pair is not None and pair[0] in known and pair[1] in known:
                found[name] = (known[pair[0]], known[pair[1]])
        return found

    def _judgements(self, at: int, judgements: Mapping[str, Mapping[int, Reply]]) -> dict[str, object]:
        found = {name: judgements[judged.task].get(at) for name, judged in self._judged}
        return {name: reply.answer for name, reply in found.items() if reply is not None and reply.answer is not None}


def embedding_task(model: str) -> RecordTask:
    """Give the task of embedding texts with a model."""
    return RecordTask(
        name=f"embeddings of {model}",
        version="1",
        endpoint=EMBEDDINGS,
        model=model,
        system="",
        user=parse_template("{{text}}"),
        max_output_tokens=0,
        answer_tokens=0,
    )


def total(replies: Iterable[Replies]) -> Cost:
    """Sum up what several questions took; without a price of one of them, there is none of all."""
    costs = [one.cost for one in replies]
    amounts = [one.usd for one in costs if one.usd is not None]
    return Cost(
        usd=sum(amounts) if len(amounts) == len(costs) else None,
        input_tokens=sum(one.input_tokens for one in costs),
        output_tokens=sum(one.output_tokens for one in costs),
        asked=sum(one.asked for one in costs),
        cached=sum(one.cached for one in costs),
    )


def _of(scorers: Sequence[Scorer], kind: type[_Measure]) -> list[tuple[str, _Measure]]:
    return [(scorer.name, scorer.judge) for scorer in scorers if isinstance(scorer.judge, kind)]
