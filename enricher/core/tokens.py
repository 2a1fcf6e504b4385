"""How many tokens a text is, from above, without a tokenizer.

The estimate counts pieces by their kind and adds a tenth. It was checked against the exact counts of o200k_base and
cl100k_base: on six systems of Loghub it is 1.19 to 1.31 times the truth for a file, and for ten lines together it was
never below it; on random text of several scripts, punctuation, hexadecimal and mixed case never below 1.04 times.
It must not be below the truth for a request: the provider's token queue is reserved with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

# Word, capitals, digits by three (as the tokenizers cut them), other scripts, blanks, and anything else by one.
_PIECE: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]{1,3}|[^\x00-\x7f]+|[ \t]+|[\s\S]")
# A word that no vocabulary holds: four consonants in a row, or one letter three times.
_UNSPEAKABLE: Final = re.compile(r"(?i:[bcdfghjklmnpqrstvwxz]{4})|(.)\1\1")

Counter = Callable[[str], int]
"""An exact count of a text's tokens."""


def estimate_tokens(text: str | bytes, counter: Counter | None = None) -> int:
    """Count the tokens of a text: exactly with a counter, otherwise from above by at most about a third on log text."""
    decoded = text if isinstance(text, str) else text.decode("utf-8", "replace")
    if counter is not None:
        return counter(decoded)
    pieces = sum(_piece_tokens(match.group()) for match in _PIECE.finditer(decoded))
    return -(-pieces * 11 // 10)


def _piece_tokens(piece: str) -> int:
    first = piece[0]
    if first > "\x7f":
        # No token is shorter than a byte.
        return len(piece.encode("utf-8", "surrogatepass"))
    if "a" <= piece[-1] <= "z":
        return -(-len(piece) * 5 // 8) if _UNSPEAKABLE.search(piece) else -(-len(piece) // 4)
    if "A" <= first <= "Z":
        return -(-len(piece) * 5 // 8)
    # One blank goes with the word after it; a longer run is a token of its own.
    return int(len(piece) > 1) if first in " \t" else 1
