"""What a JSON Schema says of the fields of an answer, in words, for a prompt.

Models behind a grammar never see the schema that binds them, and others follow better what the prompt says.
Invariant: a function of the schema alone, since it is part of what a task's hash is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from enricher.core.records.template import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEEPEST: Final = 4


def describe_fields(schema: Mapping[str, Any]) -> str:
    """Write a line for each property, those within it below: name, allowed values, description."""
    return "\n".join(_lines(schema, "", 0))


def _lines(schema: Mapping[str, Any], indent: str, depth: int) -> Iterator[str]:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or depth == _DEEPEST:
        return
    for name, field in properties.items():
        if not isinstance(field, dict):
            continue
        items = field.get("items")
        members = items if isinstance(items, dict) else {}
        told = [str(field.get("description") or "").strip() or str(members.get("description") or "").strip()]
        choices = field.get("enum") or members.get("enum")
        if isinstance(choices, list):
            told.append(f"{'Any of' if members.get('enum') else 'One of'}: {', '.join(map(to_text, choices))}.")
        said = " ".join(one for one in told if one)
        yield f"{indent}{name}: {said}" if said else f"{indent}{name}"
        yield from _lines(members or field, indent + "  ", depth + 1)
