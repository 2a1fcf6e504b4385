"""How figures are written in a report, and how text from data sets and models gets into one.

Invariant: what `visible` gives has no character that moves or hides others, or that XML forbids; what was there is
still told, as `⟨U+202E⟩`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from enricher.core.records.statistics import Interval

MAX_CHARACTERS: Final = 4_000

# Controls but for tab and line feed, marks of direction, zero-width characters, fillers, tags, halves of surrogate
# pairs, and code points that are no characters.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    + "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 17))
    + "\U000e0000-\U000e0fff]"
)


def visible(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Write out what cannot be seen, and cut what is long, saying how long it was."""
    shown = _HIDDEN.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text[:limit].replace("\r\n", "\n"))
    return shown if len(text) <= limit else f"{shown}… ({len(text):,} characters)"


def line(text: str, limit: int = 200) -> str:
    """Write a text on one line."""
    return " ".join(visible(text, limit).split())


def document(value: object, limit: int = MAX_CHARACTERS) -> str:
    """Write a value of JSON for people, a text as it is."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return visible(text, limit)


def share(value: float) -> str:
    """Write 0 to 1 in percent, so that what is not all is never called 100 %."""
    return "100 %" if value == 1 else f"{min(value, 0.9994):.1%}".replace("%", " %")


def between(interval: Interval) -> str:
    """Write an interval of shares."""
    return f"{interval.low * 100:.1f} to {interval.high * 100:.1f}"


def points(value: float) -> str:
    """Write a difference of shares, in points of percent."""
    return f"{value * 100:+.1f}"


def money(amount: float | None) -> str:
    """Write an amount of US dollars with the digits that it needs."""
    if amount is None:
        return "no price"
    if amount == 0:
        return "$0"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0")


def chance(p_value: float) -> str:
    """Write a p value."""
    return "below 0.0001" if p_value < 0.0001 else f"{p_value:.4f}" if p_value < 0.1 else f"{p_value:.2f}"
