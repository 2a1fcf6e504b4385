"""A task about records: prompt, schema, limits, and what is done with long texts and with answers, parsed from TOML.

Invariant: `hash` changes if and only if something changes that can change the answer to an item; it is part of every
item's id. What is done with answers afterwards (combining, columns) is not in it. Only text is handed in, no file read.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from enricher.core.records.assessment import Assessment, parse_assessment
from enricher.core.records.checks import Check, parse_checks
from enricher.core.records.combine import Combine, parse_combine, unique
from enricher.core.records.field_text import describe_fields
from enricher.core.records.template import OPTION_PREFIX, Template, parse_template, put_options
from enricher.core.records.validator import validator_of
from enricher.core.task import CHAT, OWN_PARAMETERS, RESPONSES
from enricher.core.toml_reader import TableReader, not_empty, one_of, within
from enricher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.records.language import LanguageDetector

RECORDS: Final = "records"
"""What a task about records says that it is of use for."""

EMBEDDINGS: Final = "/v1/embeddings"
MODERATIONS: Final = "/v1/moderations"
ENDPOINTS: Final = (RESPONSES, CHAT, EMBEDDINGS, MODERATIONS)

Kind = Literal["answer", "vector", "moderation"]
"""What comes back: an object that fits the schema, a vector, or scores by category."""

TEXT_FIELD: Final = "text"
"""The only field of an answer for which a task asks no schema."""
VECTOR_FIELD: Final = "embedding"

RESERVED_FIELDS: Final = ("status", "error")
"""Columns that every output row has of its own."""

_WIDEST_VECTOR: Final = 4096
"""That models in use give where nothing is said."""

_FIELDS_PLACE: Final = "{{fields}}"
_MODERATION_FIELDS: Final = ("flagged", "categories", "scores")
_KINDS: Final[Mapping[str, Kind]] = {EMBEDDINGS: "vector", MODERATIONS: "moderation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Long:
    """How texts that are too long for one request are cut."""

    column: str
    max_tokens: int
    overlap_tokens: int
    combine: Combine


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTask:
    """What is asked about each row, and what is done with the answer."""

    name: str
    version: str
    endpoint: str | None
    """The only endpoint that it works with; None: `/v1/responses` or `/v1/chat/completions`, as the provider's."""
    model: str | None
    """The model that it asks; None: the provider's."""
    system: str
    user: Template
    """For vectors and moderations, the whole input."""
    max_output_tokens: int
    answer_tokens: int
    """What an answer usually takes, measured: for estimates of cost."""
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    schema: Mapping[str, Any] | None = None
    """Of the answer; None: text, under `TEXT_FIELD`."""
    checks: Sequence[Check] = ()
    long: Long | None = None
    assessment: Assessment | None = None
    """How it is evaluated."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """As they were put into prompt, schema and checks."""
    salt: str = ""
    """Set where the same is to be asked anew, as an evaluation that repeats itself does."""

    @property
    def kind(self) -> Kind:
        """Return what comes back."""
        return _KINDS.get(self.endpoint or "", "answer")

    @property
    def hash(self) -> str:
        """Return 16 hex digits of everything that can change the answer to an item, but for the model and its text.

        How a row becomes that text is among it: a batch is made by whoever runs the task of its hash, from the rows.
        """
        schema = None if self.schema is None else dict(self.schema)
        cut = None if self.long is None else [self.long.column, self.long.max_tokens, self.long.overlap_tokens]
        parts: list[object] = [self.version, self.kind, self.system, dict(self.parameters), schema]
        parts += [self.max_output_tokens, self.user.source, cut, self.salt]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":"), default=str).encode()).hexdigest()[:16]

    @property
    def vector_bytes(self) -> int:
        """Return what a vector takes as it is kept, at most where its task does not say; 0 where none comes back."""
        if self.kind != "vector":
            return 0
        given = self.parameters.get("dimensions")
        return 4 * (given if isinstance(given, int) and given > 0 else _WIDEST_VECTOR)

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the columns that an answer fills."""
        if self.kind == "vector":
            return (VECTOR_FIELD,)
        if self.kind == "moderation":
            return _MODERATION_FIELDS
        return (TEXT_FIELD,) if self.schema is None else tuple(self.schema["properties"])

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of a row that are put into the prompt, each once."""
        return tuple(dict.fromkeys(self.user.columns))


def parse_record_task(
    text: str,
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    schema: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    detect: LanguageDetector | None = None,
) -> RecordTask:
    """Read a task from TOML; `options` and `schema` go before its own. Raises ConfigError with every fault.

    `columns` says in which columns of the input lies what the task calls otherwise; `detect` tells languages, for
    checks of them.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError([f"task {name}: not TOML: {fault}"]) from fault
    faults: list[str] = []
    chosen = _options(document.pop("options", {}), options or {}, faults)
    if schema is not None:
        document["schema"] = dict(schema)
    put_columns(document, columns or {}, faults)
    reader = TableReader(put_fields(put_options(document, chosen, faults)), faults)
    reader.take("use", str, RECORDS, one_of(RECORDS))
    endpoint = reader.take("endpoint", str, None, one_of(*ENDPOINTS))
    prompt = reader.table("prompt")
    asks_text = _KINDS.get(endpoint or "", "answer") == "answer"
    found_schema = _schema(reader.take("schema", dict, None), faults)
    task = RecordTask(
        name=reader.take("name", str, name, not_empty),
        version=str(reader.take("version", (str, int), "", required=True)),
        endpoint=endpoint,
        model=reader.take("model", str, None, not_empty),
        system=prompt.take("system", str, "", not_empty, required=asks_text).strip(),
        user=parse_template(prompt.take("user", str, "{{text}}", not_empty)),
        max_output_tokens=reader.take("max_output_tokens", int, 500, within(1, 100_000)) if asks_text else 0,
        answer_tokens=reader.take("answer_tokens", int, 100, within(0, 100_000)) if asks_text else 0,
        parameters=MappingProxyType(_parameters(reader.take("parameters", dict, {}), faults)),
        schema=found_schema,
        checks=parse_checks(reader.tables("checks"), columns=None, detect=detect),
        long=_long(reader, found_schema),
        assessment=parse_assessment(reader),
        options=MappingProxyType(chosen),
    )
    prompt.finish()
    reader.finish()
    faults += _misfits(task)
    if faults:
        raise ConfigError(
            [f"task {name}: {fault}" for fault in dict.fromkeys(faults)],
            hint="config/tasks/classify.toml shows what a task about records may say, evaluate.toml how to judge it",
        )
    return task


def put_columns(document: dict[str, Any], columns: Mapping[str, str], faults: list[str]) -> None:
    """Have a task read the input's own columns: in its prompt, where texts are cut, and where answers are checked."""
    read: dict[str, None] = {}
    prompt, matrix = document.get("prompt"), document.get("matrix")
    for one in (prompt, *_tables(matrix.get("prompts") if isinstance(matrix, dict) else None)):
        if isinstance(one, dict) and isinstance(one.get("user"), str):
            template = parse_template(one["user"])
            read |= dict.fromkeys(name for name in template.columns if not name.startswith(OPTION_PREFIX))
            names = tuple(columns.get(name, name) for name in template.columns)
            one["user"] = Template(template.texts, names).source
    if columns and not (isinstance(prompt, dict) and isinstance(prompt.get("user"), str)):
        document["prompt"] = {
            **(prompt if isinstance(prompt, dict) else {}),
            "user": "{{" + columns.get("text", "text") + "}}",
        }
    reads = ", ".join(read or ("text",))
    faults += [
        f"it reads no column {name!r} (it reads: {reads})" for name in columns if name not in (read or ("text",))
    ]
    for table in (document.get("long"), *_tables(document.get("checks"))):
        for key in ("column", "same_as"):
            if isinstance(table, dict) and isinstance(table.get(key), str):
                table[key] = columns.get(table[key], table[key])
    long = document.get("long")
    if isinstance(long, dict) and "column" not in long and "text" in columns:
        long["column"] = columns["text"]


def put_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Put what the schema says of the answer's fields into the prompts, where {{fields}} stands."""
    schema, matrix = document.get("schema"), document.get("matrix")
    told = describe_fields(schema if isinstance(schema, dict) else {})
    for one in (document.get("prompt"), *_tables(matrix.get("prompts") if isinstance(matrix, dict) else None)):
        if isinstance(one, dict) and isinstance(one.get("system"), str):
            one["system"] = one["system"].replace(_FIELDS_PLACE, told)
    return document


def _tables(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _options(own: object, given: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    if not isinstance(own, dict):
        faults.append("options: must be a table")
        return dict(given)
    unknown = [name for name in given if name not in own]
    faults += [f"there is no option {name!r} (there are: {', '.join(own) or 'none'})" for name in unknown]
    chosen = own | {name: value for name, value in given.items() if name in own}
    for name, value in chosen.items():
        if isinstance(own[name], list) and isinstance(value, str):
            # As a person types it: a, b, c.
            value = chosen[name] = [one.strip() for one in value.split(",") if one.strip()]  # noqa: PLW2901 - of here on a list
        if type(value) is not type(own[name]) and not (isinstance(value, int) and isinstance(own[name], float)):
            faults.append(f"{OPTION_PREFIX}{name}: must be of the type of its default, {own[name]!r}")
    return chosen


def _parameters(table: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    faults += [f"parameters.{key}: set by enricher itself" for key in sorted(OWN_PARAMETERS & set(table))]
    return dict(table)


def _schema(schema: Mapping[str, Any] | None, faults: list[str]) -> Mapping[str, Any] | None:
    """Check what a provider's strict mode wants of a schema, and that it is one at all."""
    if schema is None:
        return None
    try:
        validator_of(schema)
    except ValueError as fault:
        faults.append(f"schema: {fault}")
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, dict) or not properties:
        faults.append('schema: must have type = "object" and properties')
        return None
    faults += [f"schema: {name!r} is a column that every row has" for name in RESERVED_FIELDS if name in properties]
    faults += _choice_faults(schema, "schema")
    return schema


def _choice_faults(schema: object, place: str) -> list[str]:
    """Find lists of allowed values that providers refuse, as options that a person typed make them."""
    if isinstance(schema, list):
        return [fault for at, one in enumerate(schema) for fault in _choice_faults(one, f"{place}[{at}]")]
    if not isinstance(schema, dict):
        return []
    faults = [fault for key, one in schema.items() if key != "enum" for fault in _choice_faults(one, f"{place}.{key}")]
    choices = schema.get("enum")
    if isinstance(choices, list) and len(unique(choices)) < max(len(choices), 1):
        faults.append(f"{place}.enum: " + ("has a value twice" if choices else "has no value"))
    return faults


def _long(reader: TableReader, schema: Mapping[str, Any] | None) -> Long | None:
    combine_table = reader.take("combine", dict, None)
    if "long" not in reader.left():
        if combine_table is not None:
            reader.fault("combine", "is of no use without [long]")
        return None
    table = reader.table("long")
    max_tokens = table.take("max_tokens", int, 4000, within(16, 190_000))
    found = Long(
        column=table.take("column", str, "text", not_empty),
        max_tokens=max_tokens,
        overlap_tokens=table.take("overlap_tokens", int, min(100, max_tokens // 2), within(0, max_tokens // 2)),
        combine=parse_combine(TableReader(combine_table or {}, reader.faults, "combine."), schema),
    )
    table.finish()
    return found


def _misfits(task: RecordTask) -> list[str]:
    """Find what fits no task of its kind, once its parts are read."""
    faults = []
    if task.kind != "answer":
        given = {"schema": task.schema, "checks": task.checks, "combine": task.long}
        faults += [f"{name}: of no use with endpoint {task.endpoint}" for name, value in given.items() if value]
    elif not task.columns:
        faults.append("prompt.user: names no column of a row: write {{text}} where it belongs")
    if any(name.startswith(OPTION_PREFIX) for name in task.columns):
        faults.append("prompt.user: an option is left in it")
    if task.long and task.long.column not in task.columns:
        faults.append(f"long.column: {task.long.column!r} is not in prompt.user")
    return faults
