r"""Values that tell no kinds apart taken out of JSON lines, a block at a time, so that known kinds cost a dict look-up.

Of each line that begins with ``{``, every string that is the value of a member becomes ``"0"``, unless the member's
name is one that a key looks at (`names.is_kept`); strings in lists become ``"0"`` too. A shape is made of what is left,
so that the fold can stand in front of the memos or not and no answer changes.

Invariants: idempotent; never looks across a newline; a line with an odd number of quotes stays as it is. Must never:
run Python code per line or per string.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.structured import names

if TYPE_CHECKING:
    import numpy.typing as npt

_QUOTE, _COLON, _BLANK, _NEWLINE, _OPEN = (np.uint8(ord(character)) for character in '": \n{')
_NAME_BYTES: Final = 24
"""A longer name is none that a key looks at."""


def fold_objects(collapsed: bytes) -> bytes:
    """Fold the JSON lines among lines of collapsed text."""
    if collapsed[:1] != b"{" and b"\n{" not in collapsed:
        return collapsed
    text = np.frombuffer(collapsed, dtype=np.uint8)
    opens, closes = _strings(collapsed, text)
    if not len(opens):
        return collapsed
    # Two bytes more, so that looking behind the last string is looking at something.
    padded = np.concatenate((text, np.zeros(3, dtype=np.uint8)))
    after = padded[closes + 1]
    is_name = (after == _COLON) | ((after == _BLANK) & (padded[closes + 2] == _COLON))
    before = padded[opens - 1]
    is_member = (before == _COLON) | ((before == _BLANK) & (padded[opens - 2] == _COLON))
    is_kept = is_name.copy()
    # The name of a member stands right before it; the first string of all has none.
    of_member = np.flatnonzero(is_member & ~is_name)
    named = of_member[of_member > 0]
    named = named[is_name[named - 1]]
    is_kept[named] = _kept_names(padded, opens[named - 1] + 1, closes[named - 1])
    dropped = np.flatnonzero(~is_kept & (closes - opens > 1))
    if not len(dropped):
        return collapsed
    return _without(text, opens[dropped] + 1, closes[dropped])


def _strings(collapsed: bytes, text: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the strings of JSON lines open and close."""
    plain = text
    if b"\\" in collapsed:
        plain = np.frombuffer(collapsed.replace(b"\\\\", b"__").replace(b'\\"', b"__"), dtype=np.uint8)
    quotes = np.flatnonzero(plain == _QUOTE)
    ends = np.append(np.flatnonzero(text == _NEWLINE), len(text))
    begins = np.concatenate((np.zeros(1, dtype=np.intp), ends[:-1] + 1))
    first = np.searchsorted(quotes, begins)
    counts = np.diff(np.append(first, len(quotes)))
    is_object = np.zeros(len(begins), dtype=np.bool_)
    inside = begins < len(text)
    is_object[inside] = text[begins[inside]] == _OPEN
    wanted = quotes[np.repeat(is_object & (counts % 2 == 0), counts)]
    return wanted[0::2], wanted[1::2]


def _kept_names(
    padded: npt.NDArray[np.uint8], begins: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    """Whether a key looks at each of these names."""
    kept = np.zeros(len(begins), dtype=np.bool_)
    short = np.flatnonzero(ends - begins <= _NAME_BYTES)
    if not len(short):
        return kept
    places = np.minimum(begins[short, None] + np.arange(_NAME_BYTES), len(padded) - 1)
    table = np.where(places < ends[short, None], padded[places], np.uint8(0))
    cells, which = np.unique(table.view(f"S{_NAME_BYTES}").ravel(), return_inverse=True)
    kept[short] = np.fromiter(map(_is_kept, cells.tolist()), np.bool_, len(cells))[which]
    return kept


@lru_cache(maxsize=8192)
def _is_kept(name: bytes) -> bool:
    return b"\\" in name or names.is_kept(name.decode("utf-8", "replace"))


def _without(text: npt.NDArray[np.uint8], begins: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]) -> bytes:
    """The text with one ``0`` for what stands between each begin and end."""
    steps = np.zeros(len(text) + 1, dtype=np.int8)
    steps[begins] = 1
    steps[ends] = -1
    kept = np.cumsum(steps[:-1], dtype=np.int8) == 0
    kept[begins] = True
    folded = text.copy()
    folded[begins] = ord("0")
    return np.compress(kept, folded).tobytes()
