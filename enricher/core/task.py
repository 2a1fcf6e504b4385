"""A task: the prompt, the parameters and the limits with which kinds of event are asked about, parsed from TOML.

Invariant: `hash` changes if and only if something changes that can change an answer; it is part of the key under which
answers are kept. A task is only ever text handed in; this module reads no file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from enricher.core.toml_reader import TableReader, not_empty, one_of, parse_toml, within
from enricher.core.verdict import CATEGORIES, ORIGINS, OUTCOMES, SEVERITIES
from enricher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

RESPONSES: Final = "/v1/responses"
CHAT: Final = "/v1/chat/completions"
ENDPOINTS: Final = (RESPONSES, CHAT)

OnChange = Literal["keep", "reask"]
"""What becomes of answers of an older version of the task: they serve until a refresh, or their kinds are asked anew
when they are seen again. The version, `Task.hash`, is part of the key of an answer either way."""

_MAX_SIGNATURES: Final = 50
OWN_PARAMETERS: Final = frozenset(
    [
        "background",
        "input",
        "instructions",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "reasoning",
        "response_format",
        "store",
        "stream",
        "text",
        "tools",
    ]
)
"""Written by `to_body` itself: a task that sets them would send something else than it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """How kinds of event are asked about.

    kind "packed": several in one request, with enricher's own answer; "single": one line a request, with the small
    answer that `schema` describes.
    """

    name: str
    version: str
    kind: Literal["packed", "single"]
    system: str
    examples: tuple[tuple[str, str], ...] = ()
    """Pairs of a line and its answer as JSON, shown before every question."""
    endpoint: str | None = None
    """The only endpoint that it works with; None: any."""
    signatures_per_request: int = 1
    max_output_tokens: int
    """Limit of one kind's answer."""
    answer_tokens: int
    """What one kind's answer usually takes, measured: for estimates of cost."""
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    quality: str | None = None
    """A caution that goes out with every event, such as "demo"."""
    schema: Mapping[str, Any] | None = None
    hash: str = field(init=False)
    """16 hex digits of everything that can change an answer."""

    def __post_init__(self) -> None:
        # Once: every look at what waits compares it.
        object.__setattr__(self, "hash", self._hash())

    def _hash(self) -> str:
        schema: Any = [SEVERITIES, CATEGORIES, OUTCOMES, ORIGINS] if self.schema is None else dict(self.schema)
        parts = [self.version, self.kind, self.system, self.examples, dict(self.parameters), schema]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":"), default=str).encode()).hexdigest()[:16]


def parse_task(text: str, *, name: str) -> Task:
    """Read a task from TOML. Raises ConfigError with every fault; `name` is what messages call it."""
    try:
        document = parse_toml(text)
    except ValueError as fault:
        raise ConfigError([f"task {name}: {fault}"]) from None
    reader = TableReader(document)
    prompt = reader.table("prompt")
    schema = reader.take("schema", dict, None)
    task = Task(
        name=reader.take("name", str, name, not_empty),
        version=str(reader.take("version", (str, int), None, required=True)),
        kind="packed" if schema is None else "single",
        system=prompt.take("system", str, "", not_empty, required=True).strip(),
        examples=_examples(prompt.take("examples", list, []), reader.faults),
        endpoint=reader.take("endpoint", str, None, one_of(*ENDPOINTS)),
        signatures_per_request=reader.take(
            "signatures_per_request", int, 1 if schema else 10, within(1, _MAX_SIGNATURES)
        ),
        max_output_tokens=reader.take("max_output_tokens", int, 500, within(16, 100_000)),
        answer_tokens=reader.take("answer_tokens", int, 150, within(1, 100_000)),
        parameters=MappingProxyType(_parameters(reader.take("parameters", dict, {}), reader.faults)),
        quality=reader.take("quality", str, None),
        schema=schema,
    )
    reader.finish()
    prompt.finish()
    if schema is not None and task.signatures_per_request != 1:
        reader.faults.append(
            "signatures_per_request: a task with a [schema] of its own asks one at a time, so this must be 1"
        )
    if reader.faults:
        raise ConfigError(
            [f"task {name}: {fault}" for fault in reader.faults],
            hint="config/tasks/logs.toml shows what a task may say",
        )
    return task


def _parameters(table: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    faults += [f"parameters.{key}: set by enricher itself" for key in sorted(OWN_PARAMETERS & set(table))]
    return dict(table)


def _examples(entries: list[Any], faults: list[str]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for number, entry in enumerate(entries, start=1):
        line, answer = (entry.get("line"), entry.get("answer")) if isinstance(entry, dict) else (None, None)
        if not isinstance(line, str) or not isinstance(answer, str | dict) or set(entry) != {"line", "answer"}:
            faults.append(f"prompt.examples: number {number} must have a line and an answer, and nothing else")
        elif isinstance(answer, dict):
            pairs.append((line, json.dumps(answer, ensure_ascii=False, separators=(",", ":"), default=str)))
        else:
            pairs.append((line, answer))
    return tuple(pairs)
