"""Templates of the model's own: where it says which words of a kind are values, the kinds to come join unasked.

Merging makes a hole when several words were seen in one place. A model may know from one: it gives the template again
with ``<*>`` for words that vary. That is taken only where it is the template that was shown, word for word, but for
free words in such places; where every line that was shown still fits; and where enough words stay to tell it by. A word
that changes what an operator does is never given up (`is_free`). Tokens are compared one by one: no text of a model
ever becomes a pattern, and nothing can be matched slowly.

Invariant: a shape that joins differs from the matcher's kind in words of its open places alone. Never here: what
happens to classes that join (the store's merges: answers that disagree keep them apart).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.extract import compile_extractor
from enricher.core.merge import TELLING_WORDS, Merge
from enricher.core.redact import MARKS
from enricher.core.skeleton import GUARDED_WORDS, HOLE, HOLE_TEXT, TOKEN, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.core.verdict import Answer

MOST_OPEN: Final = 4
"""Places that one matcher may open."""
_MOST_CHARACTERS: Final = 2_000
_ANY_HOLE = re.compile(r"<(?:\*|[0-9]{1,3})>|\{[\w.]{1,64}\}")
_PARTS = re.compile(r"[.\-/\\$]")
_OWN_NAMES: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """Takes shapes of one context into the signature of the shape `row`: those with free words in its open places."""

    row: int
    format: str
    level: str
    program: str
    template: str
    open: tuple[int, ...]
    """Places of tokens, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatcherTable:
    """The matchers in force at a revision of their table."""

    revision: int
    matchers: tuple[Matcher, ...]


NO_MATCHERS: Final = MatcherTable(revision=0, matchers=())


def is_free(word: str) -> bool:
    """Whether a word may vary: it is a word, none of its parts says what happened, and it is no state in capitals."""
    if not (word[0].isalnum() or word[0] == "_") or (len(word) > 2 and word.isupper()):
        return False
    return not any(part.lower() in GUARDED_WORDS for part in _PARTS.split(word))


def accepted(text: str, shown: str, examples: Sequence[str]) -> str | None:
    """The template that a model gave, with ``<*>`` for its holes, if it holds for what it was shown; else None."""
    if len(text) > _MOST_CHARACTERS or MARKS.search(shown):
        return None
    template = _ANY_HOLE.sub(HOLE_TEXT, shown)
    wider = opened(template, _ANY_HOLE.sub(HOLE_TEXT, text))
    if wider is None:
        return None
    pattern = compile_extractor(wider[0])
    return wider[0] if all(pattern.match(line.encode("utf-8", "replace")) for line in examples) else None


def opened(template: str, wider: str) -> tuple[str, tuple[int, ...]] | None:
    """A template with the places open that a wider one opens, and these; None where that is not a wider one of it."""
    own = list(TOKEN.finditer(template.replace(HOLE_TEXT, HOLE)))
    given = TOKEN.findall(wider.replace(HOLE_TEXT, HOLE))
    if len(own) != len(given):
        return None
    places = tuple(at for at, (match, token) in enumerate(zip(own, given, strict=True)) if match[0] != token)
    if not 0 < len(places) <= MOST_OPEN or any(given[at] != HOLE or not is_free(own[at][0]) for at in places):
        return None
    words = sum(token[0].isalnum() for token in given)
    if words < max(TELLING_WORDS, len(places)):
        return None
    text, end = "", 0
    source = template.replace(HOLE_TEXT, HOLE)
    for at in places:
        text += source[end : own[at].start()] + HOLE
        end = own[at].end()
    return (text + source[end:]).replace(HOLE, HOLE_TEXT), places


def widened(answer: Answer, template: str, places: Sequence[int]) -> Answer:
    """The answer to a template for the one with these places open: their holes get names that nothing else has."""
    names = iter(answer.slots)
    own = (name for number in range(1, _OWN_NAMES) if (name := f"p{number}") not in answer.slots)
    slots = []
    for at, token in enumerate(TOKEN.findall(template.replace(HOLE_TEXT, HOLE))):
        if at in places:
            slots.append(next(own))
        elif token == HOLE:
            slots.append(next(names, next(own)))
    return answer.model_copy(update={"slots": tuple(slots)})


class Matchers:
    """Finds the signature that a new shape belongs to; a look-up costs by the matchers of its context alone."""

    def __init__(self, table: MatcherTable) -> None:
        self.revision = table.revision
        self._matchers: dict[tuple[str, str, str, int], list[tuple[Matcher, list[str]]]] = defaultdict(list)
        for one in table.matchers:
            tokens = TOKEN.findall(one.template.replace(HOLE_TEXT, HOLE))
            self._matchers[one.format, one.level, one.program, len(tokens)].append((one, tokens))

    def merge(self, row: int, shape: Shape) -> Merge | None:
        """The merge of a new shape into the signature that takes it in; None where none does."""
        if not self._matchers:
            return None
        tokens = TOKEN.findall(shape.skeleton)
        for matcher, own in self._matchers.get((shape.format, shape.level, shape.program, len(tokens)), ()):
            if matcher.row != row and _fits(own, matcher.open, tokens):
                return Merge(members=tuple(sorted((matcher.row, row))), template=matcher.template)
        return None


def _fits(own: Sequence[str], places: Sequence[int], tokens: Sequence[str]) -> bool:
    return all(
        mine == token or (mine == HOLE and at in places and is_free(token))
        for at, (mine, token) in enumerate(zip(own, tokens, strict=True))
    )
