"""Which lines of a kind are shown to the model: few, and as different in their holes as the lines at hand allow.

Invariant: the choice is a pure function of the template and the lines in their order, and takes work in proportion to
their number. Two lines show what varies; a third to a fifth is only taken where it shows a new sort of value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from enricher.core.extract import compile_extractor
from enricher.core.skeleton import HOLE_TEXT, message_start

if TYPE_CHECKING:
    from collections.abc import Sequence

CANDIDATES: Final = 24
"""Lines of a kind to choose from; more hardly ever hold another sort of value, and each has to be read."""
MOST: Final = 5
_ENOUGH: Final = 2
_MAX_BYTES: Final = 3_000
_MAX_VALUES: Final = 64


def choose(template: str, lines: Sequence[bytes]) -> tuple[bytes, ...]:
    """Choose at most `MOST` lines, the first one always, each next one the farthest from those chosen.

    The distance of two lines is the number of holes with different values; values of different sorts (a number, zero,
    a word, nothing) count double. A line equal in all holes is not chosen, nor one that makes it too much text.
    """
    if not lines:
        return ()
    values = [_values(template, line) for line in lines[:CANDIDATES]]
    chosen = [0]
    nearest = [_distance(values[0], other) for other in values]
    size = len(lines[0])
    while len(chosen) < min(MOST, len(values)):
        best = max(range(len(values)), key=lambda at: (nearest[at], -at))
        size += len(lines[best])
        is_new = all(_sorts(values[best]) != _sorts(values[at]) for at in chosen)
        if not nearest[best] or size > _MAX_BYTES or (len(chosen) >= _ENOUGH and not is_new):
            break
        chosen.append(best)
        nearest = [min(before, _distance(values[best], other)) for before, other in zip(nearest, values, strict=True)]
    return tuple(lines[at] for at in chosen)


def _values(template: str, line: bytes) -> tuple[bytes, ...]:
    """Return what is in the holes; the words of a line that does not match its kind's template."""
    start = message_start(line)
    match = compile_extractor(template).match(line, start) if HOLE_TEXT in template else None
    found = match.groups() if match else line[start:].split()
    return tuple(value or b"" for value in found[:_MAX_VALUES])


def _distance(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    differing = sum(
        (first != second) + (_sort(first) != _sort(second)) for first, second in zip(one, other, strict=False)
    )
    return differing + 2 * abs(len(one) - len(other))


def _sorts(values: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(map(_sort, values))


def _sort(value: bytes) -> str:
    if not value:
        return "nothing"
    if not value.strip(b"0.x"):
        return "zero"
    if value.translate(None, b"0123456789.,+-%") == b"":
        return "number"
    return "word" if value.isalpha() else "other"
