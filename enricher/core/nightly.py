"""The labelled lines of a task, asked once a day through the ledger, and the figures that come of it.

Each case is a question like any kind of event; its signature is `gold:DAY:CASE`, so that the ledger alone tells whether
a day was asked. Invariant: a case is found again by its line, whatever became of the set since. Never here: a clock.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from enricher.core import batch, pricing
from enricher.core.gold import Given, agreement
from enricher.core.ledger import GOLD_PREFIX, LedgerRequest, RequestState
from enricher.core.skeleton import shape_of
from enricher.core.verdict import Answer, Question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.gold import Case
    from enricher.core.pricing import Prices
    from enricher.core.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldDay:
    """The latest day whose labelled lines were asked about."""

    day: str
    is_under_way: bool
    answers: Mapping[str, str]
    """Bodies of the good answers, by case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well a day's answers agree with the labels: shares of all cases, 0 to 1."""

    day: str
    task: str
    model: str
    cases: int
    answered: float
    severity: float
    """One of the severities accepted."""
    category: float
    attention: float
    """Said rightly whether a person should look."""

    def to_json(self) -> dict[str, Any]:
        """For the store and the status."""
        return asdict(self)


def due_day(now: float, at_seconds: int) -> str | None:
    """The UTC day whose lines are due: from `at_seconds` after midnight on; None before."""
    moment = datetime.fromtimestamp(now, UTC)
    since_midnight = moment.hour * 3600 + moment.minute * 60 + moment.second
    return f"{moment:%Y-%m-%d}" if since_midnight >= at_seconds else None


def day_start(day: str) -> int:
    """Midnight of a day, in epoch seconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def case_id(line: str) -> str:
    """What a case is found again by."""
    return hashlib.sha256(line.encode()).hexdigest()[:16]


def gold_requests(
    cases: Sequence[Case],
    *,
    day: str,
    task: Task,
    model: str,
    endpoint: str,
    reasoning_effort: str,
    prices: Prices | None,
    privacy: str,
    signatures_per_request: int,
) -> list[LedgerRequest]:
    """Build the requests of a day, each line shown as `privacy` shows lines of a log."""
    unique = {case_id(case.line): case.line for case in cases}
    questions = []
    for name, line in unique.items():
        shape = shape_of(line.encode())
        question = Question(
            signature=f"{GOLD_PREFIX}{day}:{name}",
            template=shape.template,
            level=shape.level,
            program=shape.program,
            examples=() if privacy == "templates" else (line,),
            is_raw=privacy == "raw",
        )
        questions.append(question)
    packed = batch.pack(
        questions,
        task,
        model=model,
        endpoint=endpoint,
        reasoning_effort=reasoning_effort,
        max_signatures=signatures_per_request,
    )
    return [
        LedgerRequest(
            id=request.id,
            task=task.hash,
            model=model,
            endpoint=endpoint,
            signatures=request.signatures,
            templates=request.templates,
            body=request.body,
            tokens=request.tokens,
            reserved_usd=pricing.reserve(request.tokens, task, len(request.signatures), prices),
            window=day_start(day),
            state=RequestState.LIVE,
            attempt=1,
            tries=0,
        )
        for request in packed
    ]


def score(cases: Sequence[Case], found: GoldDay, *, task: str, model: str) -> Score:
    """Compare a day's answers with the labels; a case without an answer counts against every figure."""
    given = [_given(found.answers.get(case_id(case.line))) for case in cases]
    figures = agreement(cases, given)
    return Score(
        day=found.day,
        task=task,
        model=model,
        cases=figures.cases,
        answered=figures.answered,
        severity=figures.severity_accepted,
        category=figures.category_accepted,
        attention=figures.attention_accuracy,
    )


def _given(body: str | None) -> Given | None:
    if body is None:
        return None
    answer = Answer.from_json(body)
    return Given(severity=answer.severity, category=answer.category, summary=answer.summary)


def score_from_json(text: str) -> Score:
    """Read back what the store keeps."""
    return Score(**json.loads(text))
