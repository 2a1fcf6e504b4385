"""Where a text may be cut without tearing what a person sees as one character.

After Unicode's extended grapheme clusters (UAX #29), by what the standard library knows of characters. It joins more
than that standard in rare cases and tears nothing that it joins, except in a cluster of over `LONGEST` code points,
which nobody wrote to be read.
"""

from __future__ import annotations

import unicodedata
from typing import Final

LONGEST: Final = 64
"""Code points of a cluster that is still kept whole."""

_JOINER: Final = "\u200d"
_VIRAMA_CLASS: Final = 9
# Continue a cluster though they are no marks by category: vowel signs AM, halfwidth sound marks, the non-joiner.
_CONTINUES: Final = frozenset("\u0e33\u0eb3\uff9e\uff9f\u200c\u200d")
# Signs before a number, and letters that are written onto the next: the classes Prepend of Unicode 16.
_PREPENDS: Final = frozenset(
    chr(code)
    for code in (
        *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0xD4E, 0x110BD, 0x110CD, 0x111C2, 0x111C3, 0x113D1,
        0x1193F, 0x11941, 0x11A3A, *range(0x11A84, 0x11A8A), 0x11D46, 0x11F02,
    )
)  # fmt: skip


def is_boundary(text: str, at: int) -> bool:
    """Say whether no cluster reaches over this place; both ends of the text are boundaries."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before < "\u0300" and after < "\u0300":
        return not (before == "\r" and after == "\n")
    if before in "\r\n" or unicodedata.category(before) == "Cc":
        return True
    if _continues(after) or before == _JOINER or before in _PREPENDS:
        return False
    if _is_regional(before) and _is_regional(after):
        # Flags are pairs: a boundary only after an even number of them.
        return _regionals_before(text, at) % 2 == 0
    if unicodedata.combining(before) == _VIRAMA_CLASS:
        return unicodedata.category(after) != "Lo"
    return not _is_one_syllable(before, after)


def boundary_before(text: str, at: int) -> int:
    """Give the nearest boundary at or before a place; the place itself in the midst of an endless cluster."""
    return next((one for one in range(at, max(at - LONGEST, -1), -1) if is_boundary(text, one)), at)


def boundary_after(text: str, at: int) -> int:
    """Give the nearest boundary at or after a place; the place itself in the midst of an endless cluster."""
    return next((one for one in range(at, min(at + LONGEST, len(text) + 1)) if is_boundary(text, one)), at)


def _continues(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Mn", "Me", "Mc")
        or char in _CONTINUES
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\U000e0020" <= char <= "\U000e007f"
    )


def _is_regional(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _regionals_before(text: str, at: int) -> int:
    count = 0
    while count < at and count < LONGEST and _is_regional(text[at - 1 - count]):
        count += 1
    return count


def _is_one_syllable(before: str, after: str) -> bool:
    """Say whether Hangul goes on: leading, vowel and trailing jamo, and syllables that lack their trailing one."""
    if not "\u1100" <= after <= "\ud7ff":
        return False
    is_lead = "\u1100" <= before <= "\u115f" or "\ua960" <= before <= "\ua97c"
    is_syllable = "\uac00" <= before <= "\ud7a3"
    is_open = is_syllable and (ord(before) - 0xAC00) % 28 == 0
    is_vowel = "\u1160" <= before <= "\u11a7" or "\ud7b0" <= before <= "\ud7c6"
    is_trail = "\u11a8" <= before <= "\u11ff" or "\ud7cb" <= before <= "\ud7fb"
    if "\u1160" <= after <= "\u11a7" or "\ud7b0" <= after <= "\ud7c6":
        return is_lead or is_vowel or is_open
    if "\u11a8" <= after <= "\u11ff" or "\ud7cb" <= after <= "\ud7fb":
        return is_vowel or is_trail or is_syllable
    return is_lead and ("\u1100" <= after <= "\u115f" or "\ua960" <= after <= "\ua97c" or "\uac00" <= after <= "\ud7a3")
