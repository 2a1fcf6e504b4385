"""A text that is too long for one request, cut into passages that overlap.

A passage ends after a paragraph, else a sentence or line, else a word, else at least not within what a person sees as
one character, wherever the first of these is found in its second half.

Invariant: every character is in at least one passage; time grows with the text's length alone, with or without blanks
in it: no piece is counted that is longer than `max_tokens` can be, and few are counted for each passage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.records.clusters import boundary_after, boundary_before, is_boundary

if TYPE_CHECKING:
    from collections.abc import Callable

    from enricher.core.tokens import Counter

# Repetitions are bounded, so that no run of blanks or stops is read twice.
_BREAKS: Final = (
    re.compile(r"\n[^\S\n]{0,16}\n\s{0,16}"),
    re.compile(r"[.!?…][\"'”’»)\]]{0,3}\s{1,16}|[。！？｡।؟۔]|\n"),
    re.compile(r"\s{1,16}"),
)
_FIRST_CHARACTERS_PER_TOKEN: Final = 3
# Of nothing but blanks a token can hold more; such a passage is cut here.
_MAX_CHARACTERS_PER_TOKEN: Final = 32
_FULL_ENOUGH: Final = 0.9
_AIM: Final = 0.96
_MAX_PROBES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A part of a text, from character `start` to before `end`."""

    start: int
    end: int
    text: str
    tokens: int


def split(text: str, *, max_tokens: int, overlap_tokens: int, count: Counter) -> tuple[Passage, ...]:
    """Cut a text into passages of at most `max_tokens`, each beginning in the last `overlap_tokens` of the one before.

    A single character that alone counts more than `max_tokens` is a passage of its own. Raises ValueError where the
    overlap is more than half of a passage.
    """
    if max_tokens < 1 or not 0 <= overlap_tokens <= max_tokens // 2:
        raise ValueError(
            f"overlap_tokens must be from 0 to half of max_tokens ({max_tokens // 2}), not {overlap_tokens}"
        )
    passages: list[Passage] = []
    start = done = 0
    guess = max_tokens * _FIRST_CHARACTERS_PER_TOKEN
    while done < len(text):
        found = _passage(text, start, done, max_tokens, count, guess)
        if found is None:
            # The overlap fills the passage: it goes on without.
            start = done
            continue
        passages.append(found)
        done, guess = found.end, found.end - found.start
        start = _overlap(text, found, overlap_tokens, count)
    return tuple(passages)


def _passage(text: str, start: int, done: int, max_tokens: int, count: Counter, guess: int) -> Passage | None:
    """Cut the passage from `start`; None where none that fits goes beyond `done`, and `start` is before it."""
    length, _ = _longest(lambda size: text[start : start + size], len(text) - start, max_tokens, count, guess)
    limit = start + length
    while limit > done:
        end = _last_break(text, start, done, limit)
        if end is None:
            break
        tokens = count(text[start:end])
        if tokens <= max_tokens:
            return Passage(start=start, end=end, text=text[start:end], tokens=tokens)
        # Less text can be a token more: what was one token is cut.
        limit = end - 1
    if start < done:
        return None
    end = boundary_after(text, start + 1)
    if not is_boundary(text, end):
        end = max(end, limit)
    return Passage(start=start, end=end, text=text[start:end], tokens=count(text[start:end]))


def _overlap(text: str, passage: Passage, overlap_tokens: int, count: Counter) -> int:
    """Say where the next passage begins: at the first break in the overlap's first half."""
    end = passage.end
    most = (end - passage.start) // 2
    if not overlap_tokens or not most or end == len(text):
        return end
    guess = (end - passage.start) * overlap_tokens // max(passage.tokens, 1)
    length, _ = _longest(lambda size: text[end - size : end], most, overlap_tokens, count, guess)
    begin = end - length
    for pattern in _BREAKS:
        for match in pattern.finditer(text, begin, begin + length // 2):
            if is_boundary(text, match.end()):
                return match.end()
    return min(boundary_after(text, begin), end)


def _longest(piece: Callable[[int], str], most: int, budget: int, count: Counter, guess: int) -> tuple[int, int]:
    """Find about the most characters whose piece fits into the budget, and its tokens: (0, 0) where not even one does.

    "About": from `_FULL_ENOUGH` of the budget on it looks no further.
    """
    most = min(most, budget * _MAX_CHARACTERS_PER_TOKEN)
    fits, fits_tokens, over = 0, 0, most + 1
    probe = min(max(guess, 1), most)
    for number in range(1, 64):
        tokens = count(piece(probe))
        if tokens <= budget:
            fits, fits_tokens = probe, tokens
        else:
            over = probe
        is_enough = fits_tokens >= budget * _FULL_ENOUGH or (number >= _MAX_PROBES and fits)
        if over - fits <= 1 or is_enough:
            break
        probe = int(probe * budget * _AIM / max(tokens, 1))
        if number > _MAX_PROBES // 2 or not fits < probe < over:
            probe = (fits + over) // 2
    return fits, fits_tokens


def _last_break(text: str, start: int, done: int, limit: int) -> int | None:
    """Give the best place to cut after `done`, up to `limit`; None where a single cluster lies between."""
    if limit == len(text):
        return limit
    low = max(start + (limit - start + 1) // 2, done + 1)
    for pattern in _BREAKS:
        ends = [match.end() for match in pattern.finditer(text, low - 1, limit)]
        for end in reversed(ends):
            if end >= low and is_boundary(text, end):
                return end
    end = boundary_before(text, limit)
    return end if end > done else None
