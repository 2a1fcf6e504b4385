"""Values of JSON as text that is equal exactly where they are: for votes, sets and comparisons.

Never raises on what a JSON parser gives.
"""

from __future__ import annotations

import json


def canonical(value: object) -> str:
    """Write a value of JSON so that equal ones are equal text; 1 and 1.0 are."""
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


def _plain(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    return value
