"""What a provider's response to one request says about each kind of event that was asked.

Invariants: every question gets exactly one verdict, in order, whatever the body is; the text of a response is read
strictly as JSON and believed only field by field (`core.verdict`). This module never raises on a body.
`Answer`, `Question`, `Verdict` and `request_body` are offered here too: asking and reading belong together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from enricher.core.prompt import question_key, request_body, single_text
from enricher.core.pseudonym import without_pseudonyms
from enricher.core.redact import clean
from enricher.core.skeleton import shape_of
from enricher.core.task import RESPONSES, Task
from enricher.core.verdict import (
    MENDS,
    Answer,
    Asked,
    Question,
    Shown,
    Status,
    Verdict,
    hole_values,
    judge,
    judge_small,
)

__all__ = [
    "MENDS",
    "MOST_TOKENS",
    "Answer",
    "Asked",
    "Question",
    "Reading",
    "Text",
    "Usage",
    "Verdict",
    "last_turn",
    "parse_json",
    "read_response",
    "read_text",
    "read_usage",
    "request_body",
]


MOST_TOKENS: Final = 10_000_000
"""Of one request: no model has a larger context. A count without sense uses up no month's budget with one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens billed. Cached and cache-written tokens are parts of the input; reasoning is part of the output."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A response, read. `model` is the one that the response names, "" if none."""

    verdicts: tuple[Verdict, ...]
    usage: Usage
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """The text of a response, or why there is none."""

    text: str = ""
    status: Status = "ok"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The text of a response if the status is ok, else why there is none; `model` is as in `Reading`."""

    status: Status
    text: str
    reason: str
    usage: Usage
    model: str


def read_response(task: Task, endpoint: str, body: object, questions: Sequence[Asked], *, sent: bytes = b"") -> Reading:
    """Read the body of a response with HTTP status 200. A body that is a string or bytes is taken as JSON.

    `sent` is the body of the request: it tells which hole has which value, and which pseudonym.

    "refused", "incomplete" and a text that is no JSON object hold for all its questions; the money is spent either way.
    """
    said = read_text(endpoint, body)
    return Reading(verdicts=_verdicts(task, said, questions, sent), usage=said.usage, model=said.model)


def read_text(endpoint: str, body: object) -> Text:
    """Find the text in the body of a response with HTTP status 200, without a code fence around it."""
    parsed = parse_json(body) if isinstance(body, str | bytes) else body
    if not isinstance(parsed, Mapping):
        return Text(status="invalid", text="", reason="the body is not a JSON object", usage=Usage(), model="")
    said = _said_responses(parsed) if endpoint == RESPONSES else _said_chat(parsed)
    model = parsed.get("model")
    return Text(
        status=said.status,
        text=_without_fence(said.text),
        reason=said.reason,
        usage=read_usage(parsed),
        model=clean(model)[:100] if isinstance(model, str) else "",
    )


def parse_json(text: str | bytes) -> object:
    """Parse JSON from outside; None for anything that is not JSON, is nested absurdly deep or not UTF-8."""
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed


def _verdicts(task: Task, said: Text, questions: Sequence[Asked], sent: bytes) -> tuple[Verdict, ...]:
    if said.status != "ok":
        return _all(questions, said.status, said.reason)
    root = parse_json(said.text)
    if not isinstance(root, Mapping):
        return _all(questions, "invalid", "the text is not a JSON object")
    if task.kind == "single":
        return tuple(judge_small(question, root, _values_shown(sent, question)) for question in questions)
    verdicts: list[Verdict] = []
    shown = parse_json(last_turn(sent))
    for number, question in enumerate(questions, start=1):
        key = question_key(number)
        if key in root:
            verdicts.append(judge(question, root[key], _shown(shown, key)))
        else:
            verdicts.append(Verdict(signature=question.signature, status="invalid", reason=f"{key} is missing"))
    return tuple(verdicts)


def _all(questions: Sequence[Asked], status: Status, reason: str) -> tuple[Verdict, ...]:
    bounded = without_pseudonyms(clean(reason[:1000]), {})[:200]
    return tuple(Verdict(signature=question.signature, status=status, reason=bounded) for question in questions)


def last_turn(sent: bytes) -> str:
    """Return the text of a request's last message, "" if there is none."""
    body = parse_json(sent)
    turns = _items(body.get("messages") or body.get("input")) if isinstance(body, Mapping) else []
    return _field(turns[-1], "content") if turns else ""


def _shown(told: object, key: str) -> Shown:
    """Return what a packed request told of the kind under this key."""
    mine = told.get(key) if isinstance(told, Mapping) else None
    lines = mine.get("examples") if isinstance(mine, Mapping) else None
    examples = tuple(line for line in lines if isinstance(line, str)) if isinstance(lines, list) else ()
    return Shown(template=_field(mine, "template"), examples=examples)


def _values_shown(sent: bytes, asked: Asked) -> tuple[str, ...]:
    """Find the holes' values in the line of a single request, by the kind's template or else the line's own.

    A merged kind's template has more holes than its line's own; then, without it, nothing is known of their order.
    """
    line = last_turn(sent)
    template = single_text(asked.template.partition("\0")[0]) or shape_of(line.encode("utf-8", "replace")).template
    values = hole_values(template, line)
    return values if len(values) == asked.holes else ()


def _without_fence(text: str) -> str:
    """Take off a Markdown code fence: providers that do not enforce a schema like to add one."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```"):
        return stripped[3:-3].removeprefix("json")
    return stripped


def _said_responses(body: Mapping[Any, Any]) -> _Said:
    """Read the shape of `/v1/responses`: reasoning items come first, a final answer is preferred to commentary."""
    status = body.get("status")
    if status == "failed":
        return _Said(status="invalid", reason=f"failed: {_field(body.get('error'), 'code')}")
    items = [item for item in _items(body.get("output")) if item.get("type") == "message"]
    final = [item for item in items if item.get("phase") == "final_answer"]
    parts = [part for item in final or items for part in _items(item.get("content"))]
    refusal = next((part for part in parts if part.get("type") == "refusal"), None)
    if refusal is not None:
        return _Said(status="refused", reason=_field(refusal, "refusal"))
    text = "".join(_field(part, "text") for part in parts if part.get("type") == "output_text")
    if status == "incomplete":
        return _incomplete(_field(body.get("incomplete_details"), "reason"))
    return _Said(text=text) if text else _Said(status="invalid", reason="no text in the response")


def _said_chat(body: Mapping[Any, Any]) -> _Said:
    choice = next(iter(_items(body.get("choices"))), {})
    message = choice.get("message")
    refusal, text, finish = _field(message, "refusal"), _field(message, "content"), choice.get("finish_reason")
    if refusal:
        return _Said(status="refused", reason=refusal)
    if finish in ("length", "content_filter"):
        return _incomplete(str(finish))
    return _Said(text=text) if text else _Said(status="invalid", reason="no text in the response")


def _incomplete(reason: str) -> _Said:
    # A filter is a refusal by other means: asking for more output would not help.
    return _Said(status="refused" if reason == "content_filter" else "incomplete", reason=reason)


def _items(value: object) -> list[Mapping[Any, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _field(value: object, key: str) -> str:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""


def read_usage(body: object) -> Usage:
    """Read the usage of a response of any endpoint; what is missing or no count is 0."""
    raw = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(raw, Mapping):
        return Usage()
    details = raw.get("input_tokens_details") or raw.get("prompt_tokens_details")
    total = _count(raw, "input_tokens") or _count(raw, "prompt_tokens")
    cached = min(_count(details, "cached_tokens"), total)
    return Usage(
        input_tokens=total,
        cached_tokens=cached,
        cache_write_tokens=min(_count(details, "cache_write_tokens"), total - cached),
        output_tokens=_count(raw, "output_tokens") or _count(raw, "completion_tokens"),
    )


def _count(raw: object, key: str) -> int:
    value = raw.get(key) if isinstance(raw, Mapping) else None
    return min(value, MOST_TOKENS) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
