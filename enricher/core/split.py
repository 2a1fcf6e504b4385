"""A kind of event split by one slot: where an answer says that a value changes it, the values get kinds of their own.

A split makes of a signature at most `MOST_CHILDREN` children, one for each bucket of the slot's values: a range of
numbers, or a word. A child is a shape of the format `SPLIT_FORMAT` with the parent's template and level, so that it is
counted, sampled, asked and written like any other kind; its id is a hash of parent, slot and bucket. Which child an
event belongs to is told when it is read, from its first line. What has no bucket, and what comes behind the limit,
stays with the parent.

Invariants: `bucket_of` is a pure function with few results for numbers; a word that redaction would hide is no bucket,
and a slot that names a person, an address, a secret or an identifier is never split by; a child is never split again.
Never here: an event (`core.split_events`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from enricher.core.extract import holes
from enricher.core.pseudonym import Pseudonyms
from enricher.core.skeleton import HOLE, HOLE_TEXT, SPLIT_FORMAT, TRACE_FORMAT, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.core.verdict import Answer

MOST_CHILDREN: Final = 16
"""Of one signature: each costs a request."""

_MOST_CHARACTERS: Final = 40

_NUMBER = re.compile(r"([-+]?[0-9]{1,15})(\.[0-9]{1,15})?\s?([A-Za-z%°]{0,8})")
_WORD = re.compile(r"[A-Za-z][A-Za-z_\-]{0,31}")
_HIDDEN_SLOT = re.compile(
    r"(?:^|[._])(?:user|users|username|account|owner|email|mail|ip|address|addr|mac|host|hostname|domain|password|passwd"
    r"|secret|token|credential|card|iban|phone|session|id|pid|ppid|uid|gid|uuid|hash|full_name|path|url|uri|query)"
    r"(?:[._]|$)|[a-z](?:_id|ip|addr)$|^name$|(?:first|last|display|customer|person)_?name"
)
_STATUS = re.compile(r"status")
_EXIT = re.compile(r"exit|return|retval|retcode|(?:^|[._])rc$")
_ERRNO = re.compile(r"errno|err(?:or)?[._]?(?:code|number|no)$")
_SCALE = re.compile(r"temp|celsius|percent|pct|usage|utili[sz]ation|level|ratio|health|capacity")
_MOST_ERRNO: Final = 255
_TENS_UP_TO: Final = 100
_MOST_DIGITS: Final = 6


Revision = tuple[int, int, int]
"""Of the table of splits and of that of merges, and how many split signatures were ever read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A signature that is split. `hole` is the slot's number in the template as it was asked, from 1."""

    signature: str
    level: str
    program: str
    slot: str
    hole: int
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitKind:
    """A split with the row ids of the shapes that it holds for, and of its children by their buckets."""

    split: Split
    shapes: tuple[int, ...]
    children: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTable:
    """The splits in force at a revision."""

    revision: Revision
    kinds: tuple[SplitKind, ...]


NO_SPLITS: Final = SplitTable(revision=(0, 0, 0), kinds=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What holds of every event of a child: the slot's hole, from 1, has a value in the bucket."""

    parent: str
    slot: str
    hole: int
    bucket: str

    @property
    def where(self) -> str:
        """The condition as a request says it, of the hole with this number."""
        return f"<{self.hole}> is {self.bucket}"


def split_of(answer: Answer, shape: Shape, template: str, signature: str) -> Split | None:
    """The split that an answer asks for; None for none, and where its slots are not those of the template.

    `shape` and `template` are those of the signature; traces and events that are asked one by one are never split.
    """
    if answer.splits_on is None or answer.splits_on not in answer.slots or is_hidden(answer.splits_on):
        return None
    is_plain = not shape.format.startswith(TRACE_FORMAT) and shape.format != SPLIT_FORMAT and "\0" not in template
    if not is_plain or "\0" in shape.skeleton or holes(template) != len(answer.slots):
        return None
    return Split(
        signature=signature,
        level=shape.level,
        program=shape.program,
        slot=answer.splits_on,
        hole=answer.slots.index(answer.splits_on) + 1,
        template=template,
    )


def is_hidden(slot: str) -> bool:
    """Whether the slot's values are such as must not leave the host, or tell one thing from another, not kinds."""
    return _HIDDEN_SLOT.search(slot) is not None


@lru_cache(maxsize=4096)
def bucket_of(slot: str, value: str) -> str | None:
    """The bucket of a slot's value: a range of numbers as text, or a word in lower case; None for a value with none."""
    text = value.strip().strip("\"'")
    if not text or len(text) > _MOST_CHARACTERS:
        return None
    number = _NUMBER.fullmatch(text)
    if number is not None:
        span = _range(slot, int(number[1]), is_whole=not (number[2] or "").strip(".0"), unit=number[3])
        return f"{span} {number[3]}".strip()
    if _WORD.fullmatch(text) is None:
        return None
    told = f"{slot}={text}"
    return text.lower() if Pseudonyms().redact([told]) == (told,) else None


def _range(slot: str, number: int, *, is_whole: bool, unit: str) -> str:
    if number < 0:
        return "below 0" if not _EXIT.search(slot) else "not 0"
    if number == 0:
        return "0" if is_whole else "above 0 and below 1"
    if is_whole and not unit:
        if _EXIT.search(slot):
            return "not 0"
        if _STATUS.search(slot) and 100 <= number < 600:
            return f"{number // 100}00 to {number // 100}99"
        if _ERRNO.search(slot) and number <= _MOST_ERRNO:
            return str(number)
    if unit in ("%", "C", "°C") or _SCALE.search(slot):
        if number >= _TENS_UP_TO:
            return f"{_TENS_UP_TO} and more"
        return f"{number // 10 * 10} to {number // 10 * 10 + 9}" if number >= 10 else "1 to 9"
    digits = len(str(number))
    if digits > _MOST_DIGITS:
        return f"{10**_MOST_DIGITS} and more"
    return f"{10 ** (digits - 1)} to {10**digits - 1}"


def child_shape(split: Split, bucket: str) -> Shape:
    """The shape of a child; behind a NUL, which no template holds, stands what makes its id."""
    condition = "\0".join((str(split.hole), split.signature, split.slot, bucket))
    return Shape(
        format=SPLIT_FORMAT,
        level=split.level,
        program=split.program,
        skeleton=f"{split.template.replace(HOLE_TEXT, HOLE)}\0{condition}",
    )


def condition_of(shape: Shape) -> Condition | None:
    """What holds of the events of a shape; None if it is no child."""
    if shape.format != SPLIT_FORMAT:
        return None
    _, hole, parent, slot, bucket = shape.skeleton.split("\0")
    return Condition(parent=parent, slot=slot, hole=int(hole), bucket=bucket)
