"""Whether an answer fits its JSON Schema.

A schema comes from a file that somebody was given, or from whoever set up a task. Must never: fetch what it refers to,
as the library would from the network and from files of this host; a schema stands for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Mapping


def validator_of(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """Make the validator of a schema. Raises ValueError, with a line for its author, where it is none or not whole."""
    try:
        return jsonschema_rs.validator_for(dict(schema), retriever=_refuse)
    except (jsonschema_rs.ValidationError, ValueError) as fault:
        place = ".".join(map(str, getattr(fault, "instance_path", ())))
        raise ValueError((f"{place}: " if place else "") + str(fault).splitlines()[0][:200]) from None


def _refuse(_address: str) -> NoReturn:
    raise ValueError("only what stands in the schema itself may be referred to, as in #/$defs/NAME")
