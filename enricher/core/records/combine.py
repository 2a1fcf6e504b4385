r"""How the answers for the passages of one long text become the answer for the text.

Either a rule for each field, or one more request that is asked over the answers (`Reduce`); asking is not done here.

    [combine.fields]
    labels = "union"
    sentiment = "vote"
    summary = { rule = "concatenate", separator = "\n\n" }

    [combine.reduce]
    system = "You are given answers for the parts of one document, in order. ..."

Invariant: what the rules give has the types that the task's JSON Schema allows, if the answers had them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from enricher.core.records.canonical import canonical
from enricher.core.records.schema_types import ANY, allowed_types, properties
from enricher.core.toml_reader import TableReader, not_empty, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from enricher.core.tokens import Counter

Rule = Literal["vote", "union", "concatenate", "max", "min", "mean", "any", "all", "first"]
RULES: Final[tuple[str, ...]] = get_args(Rule)

_NUMBERS: Final = frozenset({"number", "integer"})
# What a rule can join; a field that may also be null is fine, since null is no answer.
_FITS: Final[dict[str, frozenset[str]]] = {
    "vote": ANY, "first": ANY, "union": frozenset({"array"}), "concatenate": frozenset({"string", "array"}),
    "max": _NUMBERS, "min": _NUMBERS, "mean": frozenset({"number"}),
    "any": frozenset({"boolean"}), "all": frozenset({"boolean"}),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """How the values of one field are joined."""

    rule: Rule
    separator: str = "\n"
    """Between texts that are concatenated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce:
    """A second request over the answers, which gives the answer; its schema is the task's."""

    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Combine:
    """Rules by field, or a `Reduce`."""

    fields: Mapping[str, FieldRule] = field(default_factory=lambda: MappingProxyType({}))
    reduce: Reduce | None = None


def parse_combine(reader: TableReader, schema: Mapping[str, Any] | None) -> Combine:
    """Read the table `[combine]` of a task, and finish it. Faults go to the reader; the result counts without any.

    Every property that the schema lists must have a rule, and one that can join what it allows.
    """
    rules, request = reader.take("fields", dict, None), reader.take("reduce", dict, None)
    reader.finish()
    if (rules is None) == (request is None):
        reader.faults.append(f"{reader.prefix}fields: give either a rule for each field, or [combine.reduce]")
        return Combine()
    if request is not None:
        within = TableReader(request, reader.faults, f"{reader.prefix}reduce.")
        system = within.take("system", str, "", not_empty, required=True)
        within.finish()
        return Combine(reduce=Reduce(system=system.strip()))
    names = TableReader(rules, reader.faults, f"{reader.prefix}fields.")
    known = None if schema is None else properties(schema)
    for name in sorted(set(known or ()) - set(rules)):
        names.fault(name, f"has no rule; one of {', '.join(_fitting((known or {})[name], schema or {}))} would fit it")
    fields: dict[str, FieldRule] = {}
    for name in names.left():
        rule = _field_rule(names, name)
        if rule is None:
            continue
        if known is not None and name not in known:
            names.fault(name, "the task's schema has no such field")
        elif known is not None and rule.rule not in (fitting := _fitting(known[name], schema or {})):
            names.fault(name, f"{rule.rule} cannot join what the schema allows; {', '.join(fitting)} can")
        fields[name] = rule
    return Combine(fields=MappingProxyType(fields))


def _field_rule(names: TableReader, name: str) -> FieldRule | None:
    value = names.take(name, (str, dict), None)
    if value is None:
        return None
    reader = TableReader({"rule": value} if isinstance(value, str) else value, names.faults, f"{names.prefix}{name}.")
    rule: Rule | None = reader.take("rule", str, None, one_of(*RULES), required=True)
    separator = reader.take("separator", str, "\n")
    if rule is not None and rule != "concatenate" and isinstance(value, dict) and "separator" in value:
        reader.fault("separator", f"{rule} has no separator")
    reader.finish()
    return None if rule is None else FieldRule(rule=rule, separator=separator)


def _fitting(schema: object, whole: Mapping[str, Any]) -> list[str]:
    types = allowed_types(schema, whole)
    if not types - {"null"}:
        return ["vote", "first"]
    # "mean" of whole numbers is none, so a field of integers does not fit it, but one of any numbers does.
    return [rule for rule in RULES if types & ANY == ANY or types - {"null"} <= _FITS[rule]]


def combine(fields: Mapping[str, FieldRule], answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the answers of a text's passages, in their order. Raises ValueError without any.

    A value that is missing or null does not count; a field without any other is null.
    """
    if not answers:
        raise ValueError("there is no answer to combine")
    joined: dict[str, Any] = {}
    for name, rule in fields.items():
        values = [answer[name] for answer in answers if answer.get(name) is not None]
        joined[name] = _joined(rule, values) if values else None
    return joined


def _joined(rule: FieldRule, values: list[Any]) -> Any:  # noqa: ANN401 - a value of JSON
    match rule.rule:
        case "concatenate" if isinstance(values[0], list):
            return [member for value in values for member in value]
        case "concatenate":
            return rule.separator.join(value for value in values if value)
        case "union":
            return unique([member for value in values for member in value])
        case "mean":
            return sum(values) / len(values)
        case simple:
            return _SIMPLE[simple](values)


def vote(values: Sequence[Any]) -> Any:  # noqa: ANN401 - a value of JSON
    """Give the value that most agree on; of equally many, the one that stands first."""
    counts: dict[str, int] = {}
    firsts: dict[str, Any] = {}
    for value in values:
        key = canonical(value)
        counts[key] = counts.get(key, 0) + 1
        firsts.setdefault(key, value)
    return firsts[max(counts, key=counts.__getitem__)]


def unique(members: Sequence[Any]) -> list[Any]:
    """Leave out what stands before already; order is kept."""
    firsts: dict[str, Any] = {}
    for member in members:
        firsts.setdefault(canonical(member), member)
    return list(firsts.values())


_SIMPLE: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "vote": vote, "first": lambda values: values[0], "max": max, "min": min, "any": any, "all": all,
}  # fmt: skip


def reduce_text(answers: Sequence[Mapping[str, Any]]) -> str:
    """Write the answers as what a second request is asked about: one JSON object a line, numbered by its part."""
    return "\n".join(
        json.dumps({"part": number, "answer": dict(answer)}, ensure_ascii=False, separators=(",", ":"), default=str)
        for number, answer in enumerate(answers, start=1)
    )


def reduce_groups(
    answers: Sequence[Mapping[str, Any]], *, max_tokens: int, count: Counter
) -> tuple[tuple[Mapping[str, Any], ...], ...]:
    """Share the answers, in order, among as few requests as hold them; several groups are reduced again afterwards.

    A group but the last holds two answers at least, even where these are more than `max_tokens`, so that every round
    halves them; a single answer needs no request.
    """
    groups: list[tuple[Mapping[str, Any], ...]] = []
    group: list[Mapping[str, Any]] = []
    used = 0
    for answer in answers:
        tokens = count(reduce_text([answer])) + 1
        if len(group) > 1 and used + tokens > max_tokens:
            groups.append(tuple(group))
            group, used = [], 0
        group.append(answer)
        used += tokens
    return (*groups, tuple(group)) if group else ()
