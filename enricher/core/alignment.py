"""Which hole of a template is which of an earlier one: names given to the holes of what was asked, for what it became.

While a batch is out, and long after, a signature's template grows: words become holes, neighbouring holes become one.
The names that came with the answer stay with the holes that they were given to; a hole that is new has none. A name in
the wrong place would put one user's address in another's field, so that a hole whose place is in doubt has none either.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from functools import lru_cache

from enricher.core.skeleton import HOLE, HOLE_TEXT, TOKEN

_MOST_TOKENS = 512
"""Of a template whose places are compared: what takes time with the square of them must be bounded."""


@lru_cache(maxsize=4096)
def aligned(slots: tuple[str, ...], asked: str, template: str) -> tuple[str, ...]:
    """Names for the holes of `template`, "" for one without, given those for the holes of `asked`.

    Where `asked` is not known (""), the names are taken in order.
    """
    if not asked or asked == template:
        return slots
    before, after = _tokens(asked), _tokens(template)
    names = iter(slots)
    name_of = {at: next(names, "") for at, token in enumerate(before) if token == HOLE}
    place_of = _places(before, after)
    return tuple(name_of.get(place_of.get(at, -1), "") for at, token in enumerate(after) if token == HOLE)


def _places(before: list[str], after: list[str]) -> dict[int, int]:
    """Places of tokens before, by their places after."""
    if len(before) == len(after):
        return {at: at for at in range(len(after))}
    if max(len(before), len(after)) > _MOST_TOKENS:
        return {}
    # Equal runs with a word in them: holes alone are all alike.
    runs = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return {
        run.b + step: run.a + step
        for run in runs
        if any(token != HOLE for token in before[run.a : run.a + run.size])
        for step in range(run.size)
    }


def _tokens(template: str) -> list[str]:
    return TOKEN.findall(template.partition("\0")[0].replace(HOLE_TEXT, HOLE))
