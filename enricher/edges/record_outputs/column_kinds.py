"""What kind of values a column holds, told by its values, and which kind holds those of two.

Whole numbers become numbers with a fraction where that loses nothing; a column of anything else that differs is text,
and so are mappings, as JSON. Lists have elements of one kind, else they are text, too. Lists of numbers that are as
long as each other and no shorter than a vector are a vector. Never here: the types of any library.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Leaf = Literal["nothing", "boolean", "integer", "long", "number", "text"]

_EXACT_IN_NUMBERS: Final = 1 << 53
_MAX_LONG: Final = 1 << 63
_SHORTEST_VECTOR: Final = 16


@dataclass(frozen=True, slots=True)
class Kind:
    """Of a column. An `integer` is exact as a `number`, a `long` need not be."""

    leaf: Leaf
    is_list: bool = False
    is_vector: bool = False


NOTHING: Final = Kind("nothing")
TEXT: Final = Kind("text")


def kind_of(values: Sequence[object]) -> Kind:
    """The kind that holds all of these."""
    types = set(map(type, values)) - {NoneType}
    if types != {list}:
        leaf = _leaf(types, values)
        return TEXT if leaf is None else Kind(leaf)
    lists = [value for value in values if isinstance(value, list)]
    leaf = _leaf(set(map(type, chain.from_iterable(lists))) - {NoneType}, chain.from_iterable(lists))
    if leaf is None:
        return TEXT
    lengths = set(map(len, lists))
    return Kind(
        leaf, is_list=True, is_vector=leaf == "number" and len(lengths) == 1 and min(lengths) >= _SHORTEST_VECTOR
    )


def _leaf(types: set[type], values: Iterable[object]) -> Leaf | None:
    if not types:
        return "nothing"
    if types == {bool}:
        return "boolean"
    if types == {str}:
        return "text"
    if not types <= {int, float}:
        return None
    longest = max((abs(value) for value in values if isinstance(value, int)), default=0) if int in types else 0
    if float in types:
        return "number" if longest <= _EXACT_IN_NUMBERS else None
    if longest >= _MAX_LONG:
        return None
    return "integer" if longest <= _EXACT_IN_NUMBERS else "long"


def wider(known: Kind, found: Kind) -> Kind:
    """The kind that holds the values of both. What is a vector stays one."""
    if found in (known, NOTHING):
        return known
    if known == NOTHING:
        return found
    leaf = _wider_leaf(known.leaf, found.leaf)
    if known.is_list != found.is_list or leaf is None:
        return TEXT
    is_first = known.leaf == "nothing"
    is_vector = leaf == "number" and (found.is_vector if is_first else known.is_vector)
    return Kind(leaf, is_list=known.is_list, is_vector=is_vector)


def _wider_leaf(one: Leaf, other: Leaf) -> Leaf | None:
    match {one, other}:
        case both if len(both) == 1:
            return one
        case both if "nothing" in both:
            return one if other == "nothing" else other
        case both if both == {"integer", "long"}:
            return "long"
        case both if both == {"integer", "number"}:
            return "number"
        case _:
            return None
