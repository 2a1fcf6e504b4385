r"""What must not leave the host, or must not reach a terminal, taken out of text.

Invariants: `mask_template` keeps every hole (`<*>`) in its order, is idempotent and takes linear time; `clean` leaves
no control, escape, bidirectional or invisible character. Neither raises on any text, and neither decides what is sent.

The skeleton of an event holds no number and no varying word by construction; what is masked here is what a constant
part can still carry: `core.secret` and `core.personal` say what and where. Lines are for `core.pseudonym`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from enricher.core.instructions import looks_like_instructions
from enricher.core.personal import mark_personal
from enricher.core.secret import mark_secrets

if TYPE_CHECKING:
    from enricher.core.sensitive import Kind

__all__ = ["HOLE", "SECRET", "clean", "looks_like_instructions", "mask_template"]

HOLE: Final = "<*>"
"""A place of a template whose value differs from event to event."""

SECRET: Final = "<secret>"  # noqa: S105 - the mark that replaces a secret

# Terminal escape sequences: CSI, OSC and its kin up to their end (or the end of the text), two-character ones.
_ESCAPE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)?|\x1b[ -~]?"
)


def _table() -> dict[int, str]:
    gone = [*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0]
    gone += [*range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]
    gone += [*range(0xFE00, 0xFE10), *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0FFF)]
    table = dict.fromkeys(gone, "")
    table |= dict.fromkeys([0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029], " ")
    # A lone half of a surrogate pair cannot be written as UTF-8.
    table |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    return table


_INVISIBLE: Final = _table()


def clean(text: str) -> str:
    """Take out control, escape, bidirectional, zero-width and tag characters; line ends and tabs become a blank."""
    if text.isascii() and text.isprintable():
        return text
    return _ESCAPE.sub("", text).translate(_INVISIBLE)


# A mark that stands in a template in a value's place.
MARKS: Final = re.compile(r"<(?:secret|email|user|ip|mac|card|iban|id|phone|host)>")


WORD: Final = re.compile(r"\w(?:[\w.@+-]*\w)?")
SHORTEST_NAME: Final = 3
"""A shorter name would be found in other words' places."""
_MAX_PASSES: Final = 8


def mask_template(text: str, program: str = "") -> str:
    """Replace secrets and personal data in a template that leaves this host by marks such as `<secret>` and `<user>`.

    The name before a value stays (`password=<secret>`), and so does every hole, so that slots keep their numbers.
    `program` is what stood before the message: in `user: alice joined` it is what tells that alice is one.
    """
    cleaned = clean(text)
    if program:
        before, separator, masked = _masked(f"{clean(program)}: {cleaned}").partition(": ")
        if separator and HOLE not in before and masked.count(HOLE) == cleaned.count(HOLE):
            cleaned = masked
    return _masked(cleaned)


def _masked(text: str) -> str:
    names: set[str] = set()

    def mark(value: str, kind: Kind) -> str:
        marked = _mark(value, kind)
        if kind == "user" and marked == "<user>" and len(value) >= SHORTEST_NAME:
            names.add(value)
        return marked

    # What a mark uncovers is masked in the next pass; there is hardly ever anything.
    for _ in range(_MAX_PASSES):
        before, text = text, mark_personal(mark_secrets(text, mark), mark)
        if names:
            text = WORD.sub(lambda match: "<user>" if match.group() in names else match.group(), text)
        if text == before:
            break
    return text


def _mark(value: str, kind: Kind) -> str:
    """Return the mark and the value's holes; a value that is nothing but holes and marks says nothing and stays."""
    if not MARKS.sub("", value.replace(HOLE, "")).strip("\"'"):
        return value
    name = "ip" if kind.endswith("-ip") else kind
    return f"<{name}>" + HOLE * value.count(HOLE)
