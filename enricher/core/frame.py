r"""Lines that are a known line but for one new word: their shapes by putting the word in (between L2 and L3).

What a message tells is mostly said in words that come again; a word that no line had before is a name. The line without
it is its frame: the shape of the first line of a frame is taken apart by `core.skeleton`, those of all others come out
of it by a look-up. That the one equals the other rests on what a plain word is: letters that no rule of a header, a
skeleton or a structured line looks for, with nothing around it that makes it a part of something longer. Such words
differ for these rules in their length only, which is a part of the frame wherever a rule counts characters.

Invariant: `shape_of` gives what `collapsed_shape` and `rules_for` give, so that frames can be forgotten at any time.
Must never: learn a word from a line that was not taken apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from enricher.core.meaning import Rules, rules_for
from enricher.core.skeleton import ACCOUNTS, GUARDED_WORDS, Shape, collapsed_shape

_LEAST_LETTERS: Final = 4
_MOST_LETTERS: Final = 24
_HEXADECIMAL: Final = b"abcdef"
_LONGEST_LINE: Final = 300
"""With a word of any length it is shorter than what a header is read from."""

# What may stand on either side of a plain word: no rule reads on across it into the word.
_EDGES: Final = b"=()[]\"',;:"
_TO_BLANKS: Final = bytes.maketrans(_EDGES, b" " * len(_EDGES))
_OF_KEY: Final = (b"=", b" =")
_PRIORITY: Final = ord("<")  # begins a line of RFC 5424
_UNMARKED: Final = bytes(set(range(256)) - set(b"\n\"'[](){"))  # all but what `_is_counted` looks at

_WORD_BYTES: Final = 120  # of a word in a set, beside its letters
_FRAME_BYTES: Final = 700  # of a frame with its shape, beside its line
_TEXT_FORMAT: Final = "text"

_SOUGHT: Final = (
    """
    trace finest finer fine verbose debug config info information informational notice note warn warning error severe
    crit critical alert emerg emergency panic dpanic fatal stdout stderr
    null none true false value http https grpcs response code with msecs msec secs seconds bytes
    errors failures user rhost host login account username reason cause message stat status result outcome action event
    level severity exception verdict name type time file node iface domain client server addr address
    """
)  # fmt: skip
RESERVED: Final = frozenset(word.encode() for word in (*_SOUGHT.split(), *GUARDED_WORDS, *ACCOUNTS))
"""Words that a rule looks for: they are never put in for another."""
_NAMES_OF_NUMBERS: Final = (
    b"status",
    b"code",
    b"value",
    b"exit",
    b"exited",
    b"errno",
    b"return",
    b"returned",
    b"returns",
)
"""What the name of a number that carries meaning may end with, whatever letters stand before it (`core.meaning`)."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """The shape of a frame's first line, what stands around its new word in the skeleton, and what numbers there say.

    `around` is None where the word is behind a hole: then the shape is that of every line of the frame.
    """

    shape: Shape
    around: tuple[str, str] | None
    rules: Rules


class Frames:
    """The frames of one source. `most_bytes` bounds what words and frames take, roughly; too many are forgotten."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._words: set[bytes] = set()
        self._frames: dict[bytes, _Frame] = {}

    def shape_of(self, collapsed: bytes) -> tuple[Shape, Rules]:
        """The shape of what `key_of` gave for a line, and the rules that tell lines of it apart."""
        words = set(collapsed.translate(_TO_BLANKS).split())
        new = words - self._words
        if len(new) != 1:
            return self._taken_apart(collapsed, words)
        (word,) = new
        key = _frame_key(collapsed, word)
        if not key:
            return self._taken_apart(collapsed, words)
        frame = self._frames.get(key)
        if frame is None:
            # The word is not learnt: it is new in the frames of other lines too.
            shape, rules = self._taken_apart(collapsed, words - new)
            if (made := _framed(shape, rules, word.decode())) is not None:
                self._frames[key] = made
                self._bytes += _FRAME_BYTES + 2 * len(key)
            return shape, rules
        shape, around = frame.shape, frame.around
        if around is None:
            return shape, frame.rules
        made_shape = Shape(
            format=shape.format,
            level=shape.level,
            program=shape.program,
            skeleton=f"{around[0]}{word.decode()}{around[1]}",
            around=around,
        )
        return made_shape, frame.rules

    def _taken_apart(self, collapsed: bytes, words: set[bytes]) -> tuple[Shape, Rules]:
        if self._bytes > self._most_bytes:
            self._words.clear()
            self._frames.clear()
            self._bytes = 0
        new = words - self._words
        self._words |= new
        self._bytes += sum(map(len, new)) + _WORD_BYTES * len(new)
        shape = collapsed_shape(collapsed)
        return shape, rules_for(shape, collapsed)


def _frame_key(collapsed: bytes, word: bytes) -> bytes:
    """The line without the word; empty where the word is not a plain one or the line may be more than text."""
    if not (is_plain(word) and len(collapsed) <= _LONGEST_LINE):
        return b""
    key = collapsed.replace(word, b"\n")  # which no line holds
    if len(key) + len(word) != len(collapsed) + 1 or key.startswith(_OF_KEY, key.index(b"\n") + 1):
        return b""
    counted = _is_counted(key.translate(None, _UNMARKED))
    if counted is None or key[0] == _PRIORITY:
        return b""
    return b"%d%b" % (len(word), key) if counted else key


def is_plain(word: bytes) -> bool:
    """Whether no rule tells the word from another of as many letters."""
    return (
        word.islower()
        and word.isalpha()
        and _LEAST_LETTERS <= len(word) <= _MOST_LETTERS
        and word not in RESERVED
        and word.strip(_HEXADECIMAL) != b""
        and not word.endswith(_NAMES_OF_NUMBERS)
    )


@lru_cache(maxsize=4096)
def _is_counted(marks: bytes) -> bool | None:
    """Whether a word may stand in quotes or brackets, whose insides are counted; None for what may be an object."""
    before = marks[: marks.index(b"\n")]
    if b"{" in marks:
        return None
    return (
        b'"' in marks
        or b"'" in marks
        or before.rfind(b"[") > before.rfind(b"]")
        or before.rfind(b"(") > before.rfind(b")")
    )


def _framed(shape: Shape, rules: Rules, word: str) -> _Frame | None:
    """What lines with another word in this one's place have; None where it is in more of the shape than the message."""
    if shape.format != _TEXT_FORMAT or word in shape.program or word in shape.level:
        return None
    around = shape.skeleton.split(word)
    if len(around) > 2:
        return None
    return _Frame(shape, (around[0], around[1]) if len(around) == 2 else None, rules)
