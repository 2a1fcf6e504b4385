"""Text out of a row or an answer, written so that it can be compared, or shown within a message.

Both are hostile: `comparable` takes linear time, and what `shown` gives is short and has nothing in it that a terminal
or a log would act on.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from enricher.core.records.canonical import canonical
from enricher.core.redact import clean

_SHOWN: Final = 80
# NFKC leaves these apart: quotation marks, apostrophes, dashes. What is not seen goes, since it is often lost on the
# way: the soft hyphen, zero-width characters and marks of direction.
_MARKS: Final[dict[int, str | None]] = {
    **dict.fromkeys(map(ord, "“”„‟«»″‶〝〞〟＂"), '"'),
    **dict.fromkeys(map(ord, "‘’‚‛′‵‹›´`＇"), "'"),
    **dict.fromkeys(map(ord, "‐‑‒–—―−﹘﹣－"), "-"),
    **dict.fromkeys([0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), 0xFEFF]),
}
_BLANKS: Final = re.compile(r"\s+")


def comparable(text: str) -> str:
    """Write a text so that quotations of it are found: NFKC, one blank for many, plain quotation marks and dashes."""
    if not text.isascii():
        # Marks first, since NFKC takes some of them apart; what it makes of others is a mark again.
        text = unicodedata.normalize("NFKC", text.translate(_MARKS)).translate(_MARKS)
    return _BLANKS.sub(" ", text.replace("`", "'")).strip()


def shown(value: object) -> str:
    """Show a value of JSON in quotation marks, cut to some words."""
    text = clean((value if isinstance(value, str) else canonical(value))[: _SHOWN * 4])
    text = "".join(char if char.isprintable() else " " for char in text)
    return f"“{text}”" if len(text) <= _SHOWN else f"“{text[: _SHOWN - 1]}…”"
