"""The body of a request: what a provider is sent about some kinds of event, and in what form it must answer.

Invariants: all that is the same in every request of a task comes first, so that providers can cache it; text from logs
is only ever a JSON string in the last message; secrets and personal data in constant text are always masked, and those
of examples have pseudonyms unless the question says that it is asked raw; the output length is always limited; nothing
is asked to be stored.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from enricher.core.pseudonym import Pseudonyms
from enricher.core.redact import HOLE, clean, mask_template
from enricher.core.skeleton import message_start
from enricher.core.task import CHAT, RESPONSES, Task
from enricher.core.verdict import CATEGORIES, ORIGINS, OUTCOMES, SEVERITIES, Question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A longer constant text says no more about its kind; holes after it are named p1, p2, … when the answer is read.
_MAX_TEMPLATE_CHARACTERS: Final = 4000
_MAX_EXAMPLE_BYTES: Final = 1000
_MAX_EXAMPLES: Final = 5
# What a small model reads of a line: more only costs it time.
_MAX_SINGLE_CHARACTERS: Final = 400
_MAX_WORD_CHARACTERS: Final = 80
# Each hole costs a slot name on top of an answer's usual length.
_HOLE_OUTPUT_TOKENS: Final = 16


def request_body(
    task: Task,
    questions: Sequence[Question],
    *,
    model: str,
    endpoint: str,
    reasoning_effort: str | None = None,
) -> dict[str, Any]:
    """Build the body of one request for `/v1/responses` or `/v1/chat/completions`.

    `reasoning_effort` is the provider's setting and goes before the task's; an empty string sends none. It is put where
    the endpoint wants it. A task of kind "single" takes exactly one question.
    """
    if not questions or (task.kind == "single" and len(questions) != 1):
        raise ValueError(f"task {task.name!r} cannot ask {len(questions)} questions in one request")
    return to_body(
        task,
        turns=[*_example_turns(task), {"role": "user", "content": user_text(task, questions)}],
        schema=response_schema(task, len(questions)),
        max_tokens=max_output_tokens(task, questions),
        model=model,
        endpoint=endpoint,
        reasoning_effort=reasoning_effort,
    )


class Instructed(Protocol):
    """What a body needs of a task, about events or about records."""

    @property
    def system(self) -> str:
        """Return the instructions."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return what is passed through to the provider."""


def to_body(
    task: Instructed,
    *,
    turns: Sequence[Mapping[str, str]],
    schema: Mapping[str, Any] | None,
    max_tokens: int,
    model: str,
    endpoint: str,
    reasoning_effort: str | None,
) -> dict[str, Any]:
    """Put a task's instructions, the turns behind them and the schema of the answer in an endpoint's form.

    Without a schema the answer is any text.
    """
    own = dict(task.parameters)
    effort = own.pop("reasoning_effort", "")
    if reasoning_effort is not None:
        effort = reasoning_effort
    form: dict[str, Any] = {"name": "answer", "strict": True, "schema": schema}
    if endpoint == RESPONSES:
        head = {"model": model, "store": False, "max_output_tokens": max_tokens, **own}
        if effort:
            head["reasoning"] = {"effort": effort}
        if schema is not None:
            head["text"] = {"format": {"type": "json_schema", **form}}
        return {**head, "instructions": task.system, "input": [*turns]}
    if endpoint != CHAT:
        raise ValueError(f"endpoint {endpoint!r} is none of {RESPONSES}, {CHAT}")
    head = {"model": model, "max_completion_tokens": max_tokens, **own}
    if effort:
        head["reasoning_effort"] = effort
    if schema is not None:
        head["response_format"] = {"type": "json_schema", "json_schema": form}
    return {**head, "messages": [{"role": "system", "content": task.system}, *turns]}


def max_output_tokens(task: Task, questions: Sequence[Question]) -> int:
    """Return the limit of a request's output tokens: what it can cost at most."""
    holes = sum(_shown(question.template, question.program).count(HOLE) for question in questions)
    return task.max_output_tokens * len(questions) + _HOLE_OUTPUT_TOKENS * holes


def response_schema(task: Task, count: int) -> dict[str, Any]:
    """Return the strict JSON Schema of the answer: one required property for each of `count` questions."""
    if task.schema is not None:
        return dict(task.schema)
    keys = [question_key(number) for number in range(1, count + 1)]
    return {
        "type": "object",
        "properties": {key: {"$ref": "#/$defs/kind"} for key in keys},
        "required": keys,
        "additionalProperties": False,
        "$defs": {"kind": answer_schema()},
    }


def question_key(number: int) -> str:
    """Return the property under which the question with this number, from 1, is asked and answered."""
    return f"s{number}"


def answer_schema() -> dict[str, Any]:
    """Return the schema of the answer for one kind. Slots come before the summary, which uses their names."""
    text = {"type": "string"}
    nullable = {"type": ["string", "null"]}
    cause = _object({"hint": text, "origin": {"type": "string", "enum": list(ORIGINS)}})
    return _object(
        {
            "slots": {"type": "array", "items": text},
            "summary": text,
            "category": {"type": "string", "enum": list(CATEGORIES)},
            "severity": {"type": "string", "enum": list(SEVERITIES)},
            "outcome": {"type": "string", "enum": list(OUTCOMES)},
            "tags": {"type": "array", "items": text},
            "root_cause": {"anyOf": [cause, {"type": "null"}]},
            "action": nullable,
            "technique": {"anyOf": [{"type": "array", "items": text}, {"type": "null"}]},
            "confidence": {"type": "number"},
            "splits_on": nullable,
            "matches": nullable,
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def user_text(task: Task, questions: Sequence[Question]) -> str:
    """Return the last message: the questions as JSON, or the one line of a single task."""
    examples = _shown_examples(questions)
    if task.kind == "single":
        return single_text(_first_line(questions[0], examples[0]))
    shown = {
        question_key(number): _shown_question(question, lines)
        for number, (question, lines) in enumerate(zip(questions, examples, strict=True), start=1)
    }
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def single_text(line: str) -> str:
    """Return a line as a single task shows it. Small models end their own JSON string at a double quote of the line."""
    return clean(line)[:_MAX_SINGLE_CHARACTERS].replace('"', "'")


def _first_line(question: Question, examples: Sequence[str]) -> str:
    program = mask_template(question.program)
    text = examples[0] if examples else _shown(question.template, question.program)
    return f"{program}: {text}" if program else text


def _shown_examples(questions: Sequence[Question]) -> list[list[str]]:
    """Return what is shown of each question's lines; a value that two questions share has one pseudonym."""
    lines = [[_headless(line) for line in question.examples[:_MAX_EXAMPLES]] for question in questions]
    if not any(lines):
        return lines
    # What stands before a message tells what is in it: `user: alice has joined`.
    asked = [
        f"{question.program}: {one}"
        for question, own in zip(questions, lines, strict=True)
        if not question.is_raw
        for one in own
    ]
    pseudonyms = Pseudonyms([*(question.template for question in questions), *asked])
    redacted = iter(pseudonyms.redact(asked))
    return [
        [_cut(clean(one) if question.is_raw else next(redacted).partition(": ")[2]) for one in own]
        for question, own in zip(questions, lines, strict=True)
    ]


def _cut(line: str) -> str:
    """Bound a line in bytes, at a character's end."""
    if len(line.encode()) <= _MAX_EXAMPLE_BYTES:
        return line
    return line.encode()[:_MAX_EXAMPLE_BYTES].decode("utf-8", "ignore") + "…"


def _headless(line: str) -> str:
    """Return an example's message: when and on which host it was written is not what is asked about."""
    raw = line.encode("utf-8", "replace")
    start = message_start(raw)
    return raw[start:].decode("utf-8", "replace") if start else line


def shown_question(question: Question) -> dict[str, Any]:
    """Return what a packed request tells of one kind, cleaned and bounded."""
    return _shown_question(question, _shown_examples([question])[0])


def _shown_question(question: Question, examples: Sequence[str]) -> dict[str, Any]:
    template = _shown(question.template, question.program)
    shown: dict[str, Any] = {"template": _numbered(template), "holes": template.count(HOLE)}
    if question.where:
        shown["where"] = question.where
    if question.program:
        shown["program"] = mask_template(question.program)[:_MAX_WORD_CHARACTERS]
    if question.level:
        shown["level"] = clean(question.level)[:_MAX_WORD_CHARACTERS]
    # A line that says what the template says already would only cost tokens.
    told = [line for line in dict.fromkeys(examples) if " ".join(line.split()) != template]
    if told:
        shown["examples"] = told
    return shown


@lru_cache(maxsize=4096)
def _shown(template: str, program: str) -> str:
    # Behind a NUL stands what a trace is known by (`core.naming`).
    cleaned = mask_template(template.replace("\0", "\n"), program)
    if len(cleaned) <= _MAX_TEMPLATE_CHARACTERS:
        return cleaned
    # A hole that the cut runs through would be shown as text; `<*` cannot end a whole one.
    cut = cleaned[:_MAX_TEMPLATE_CHARACTERS]
    return cut.removesuffix("<").removesuffix("<*") + "…"


def _numbered(template: str) -> str:
    first, *rest = template.split(HOLE)
    return first + "".join(f"<{number}>{piece}" for number, piece in enumerate(rest, start=1))


def _example_turns(task: Task) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    for line, answer in task.examples:
        turns += [{"role": "user", "content": single_text(line) if task.kind == "single" else line}]
        turns += [{"role": "assistant", "content": answer}]
    return turns
