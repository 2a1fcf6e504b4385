"""Which types a JSON Schema allows at a place, as far as it says so: to refuse a rule that can never fit an answer.

Not a validator: keywords that narrow a type further are not looked at. A place of which nothing is known allows any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})

_MAX_DEPTH: Final = 16
_PREFIX: Final = "#/$defs/"
_TYPE_OF: Final[dict[type, str]] = {
    str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object", type(None): "null",
}  # fmt: skip


def properties(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give the schemas of an object's members by name; None where the schema lists none."""
    found = _resolved(schema, schema).get("properties")
    return found if isinstance(found, dict) else None


def allowed_types(schema: object, whole: Mapping[str, Any], depth: int = 0) -> frozenset[str]:
    """Name the types that a part of a schema allows; `whole` is what its references are looked up in."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return ANY
    schema = _resolved(schema, whole)
    if "const" in schema or isinstance(schema.get("enum"), list):
        members = [schema["const"]] if "const" in schema else schema["enum"]
        return frozenset(_TYPE_OF.get(type(member), "null") for member in members)
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset([named])
    if isinstance(named, list):
        return frozenset(one for one in named if isinstance(one, str))
    for keyword in ("anyOf", "oneOf"):
        if isinstance(schema.get(keyword), list):
            return frozenset().union(*(allowed_types(one, whole, depth + 1) for one in schema[keyword]))
    return ANY


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        definitions = whole.get("$defs")
        if not isinstance(reference, str) or not reference.startswith(_PREFIX) or not isinstance(definitions, dict):
            break
        target = definitions.get(reference.removeprefix(_PREFIX))
        if not isinstance(target, dict):
            break
        schema = target
    return schema
