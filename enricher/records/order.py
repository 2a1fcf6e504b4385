"""An order: what a job over records is asked for, as a program says it with keywords or a person with options.

Never here: reading rows, a store, a provider.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from enricher import config as configuration
from enricher.core.records.task import RECORDS, parse_record_task
from enricher.edges.language_py3langid import language_detector
from enricher.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.core.records.address import TableFormat
    from enricher.core.records.task import RecordTask

_INTO = "/"
_NAMED = "name one of them, or a path that ends in .toml"


class Asked(TypedDict, total=False):
    """What may be said of the task and the input: keywords of every call."""

    model: str | None
    """Instead of the one that the task or the configuration names."""
    options: Mapping[str, object]
    """Of the task, by name: `{"labels": ["invoice", "contract"]}`."""
    schema: Mapping[str, object] | None
    """JSON Schema of the answer, instead of the task's."""
    columns: Mapping[str, str]
    """Under which of the input's columns lies what the task's prompt calls otherwise: `{"text": "body"}`."""
    key: str | None
    """The column that names a row; "" counts rows. None: `id` where every row has one."""
    query: str | None
    """What to ask an input that is a database."""
    input_format: TableFormat | None
    """jsonl, csv, tsv or parquet, where the name does not tell."""


class Written(Asked, total=False):
    """What may be said of the output and the money besides: keywords of the calls that ask."""

    output_format: TableFormat | None
    """As `input_format`."""
    budget_usd: float | None
    """Refuse what would likely cost more, before anything is sent. None: what `[budget]` leaves."""
    overwrite: bool
    """Replace what lies where the output goes. What an earlier job has left there may always be replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for: the keywords of `Written`, and what they are about."""

    task: str
    """A shipped task by name, or a path of a TOML file."""
    input: str
    output: str
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    query: str | None = None
    input_format: TableFormat | None = None
    output_format: TableFormat | None = None
    budget_usd: float | None = None
    overwrite: bool = False
    wait: bool = True


def is_path(task: str) -> bool:
    """Whether a task is named by its file, and not as one that is shipped."""
    return _INTO in task or task.endswith(".toml")


def is_about_records(task: str) -> bool:
    """Whether a task is one about records, or else about events. Raises ConfigError for one that there is not."""
    if not is_path(task) and task not in (names := configuration.shipped_names("tasks", ".toml")):
        raise ConfigError([f"no task named {task!r} is shipped (there are: {', '.join(names)})"], hint=_NAMED)
    text = _text_of(task) if is_path(task) else configuration.shipped(f"tasks/{task}.toml")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError([f"task {task}: not TOML: {fault}"]) from fault
    return document.get("use") == "records" or not document.keys().isdisjoint({"matrix", "scorers", "gate"})


def load_record_task(order: Order) -> RecordTask:
    """Read the task of an order. Raises ConfigError with every fault."""
    return parse_record_task(
        _task_text(order.task),
        name=order.task,
        options=order.options,
        schema=order.schema,
        columns=order.columns,
        detect=language_detector(),
    )


def _task_text(name: str) -> str:
    if not is_path(name):
        shipped = configuration.shipped_names("tasks", ".toml")
        texts = {one: configuration.shipped(f"tasks/{one}.toml") for one in shipped}
        names = [one for one, text in texts.items() if tomllib.loads(text).get("use") == RECORDS]
        if name in names:
            return texts[name]
        raise ConfigError(
            [f"no task about records named {name!r} is shipped (there are: {', '.join(names)})"], hint=_NAMED
        )
    return _text_of(name)


def _text_of(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from None


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` pairs: a value is TOML, or text as it is. Raises UsageError."""
    return {name: _value(value) for name, value in _pairs(pairs, "--set NAME=VALUE").items()}


def parse_columns(pairs: list[str]) -> dict[str, str]:
    """Read `NAME=COLUMN` pairs. Raises UsageError."""
    return _pairs(pairs, "--column NAME=COLUMN")


def _pairs(pairs: list[str], form: str) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{form.partition(' ')[0]} {pair}: is not of the form {form}")
        found[name.strip()] = value
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - a value of TOML
    with contextlib.suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"value = {text}")["value"]
    return text


def read_schema(path: Path) -> Mapping[str, Any]:
    """Read a JSON Schema. Raises UsageError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: is no JSON Schema that can be read: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: is no JSON Schema: it is no object")
    return found
