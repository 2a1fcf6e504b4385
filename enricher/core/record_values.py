r"""The values of many events of one kind at once, and bytes of a log as the inside of JSON strings.

The dear step of naming values is finding where the message begins (`message_start`). It is done for the first line of
each header that differs in more than the values of its digits; lines with the same header are cut at the same place and
matched in one call. Nothing is remembered from call to call: what comes out is a function of what goes in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.skeleton import message_start

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_VALUE_BYTES: Final = 1024
"""A value is cut here: its whole text is in `message`, and a long line must not be written four times."""

MAX_HEADERS: Final = 8
"""Headers remembered per kind; a file with more of them (a host per line) is looked at line by line."""

_ZEROED: Final = bytes.maketrans(b"123456789", b"000000000")
_C1_CONTROL: Final = re.compile(rb"\xc2([\x80-\x9f])")

Values = tuple[bytes, ...]


def find_starts(lines: Sequence[bytes], *, anywhere: bool) -> list[int]:
    """Where the message begins in each of the first lines of events of one kind.

    `anywhere`: the kind's template begins with a hole, which would take a header for its value.
    """
    # With every digit 0: lines that begin alike here have their headers and messages at the same places.
    zeroed_lines = b"\n".join(lines).translate(_ZEROED).split(b"\n")
    starts = [0] * len(lines)
    left = list(range(len(lines)))
    for _ in range(MAX_HEADERS):
        if not left:
            break
        start = message_start(lines[left[0]])
        header = zeroed_lines[left[0]][:start]
        # No header at all fits every line, which is told from a misfit only if the template begins with a word.
        fits = left if header or not anywhere else left[:1]
        others = [at for at in fits if not zeroed_lines[at].startswith(header)]
        if not others and len(fits) == len(lines):
            return [start] * len(lines)
        known = set(fits).difference(others)
        for at in known:
            starts[at] = start
        left = [at for at in left if at not in known]
    for at in left:
        starts[at] = message_start(lines[at])
    return starts


def find_values(pattern: re.Pattern[bytes], lines: Sequence[bytes], starts: Sequence[int]) -> list[Values | None]:
    """The values of each line's message; None where the pattern does not fit.

    `pattern` begins with `^`, is MULTILINE, and matches a whole line with its newline (`core.extract`).
    """
    messages = [line[start:] for line, start in zip(lines, starts, strict=True)]
    found = pattern.findall(b"\n".join(messages))
    if len(found) == len(lines):
        # Each line matches once at most, so each has. A single group is not given as a tuple.
        return [(value,) for value in found] if pattern.groups == 1 else found
    return [_exact_values(pattern, line, start) for line, start in zip(lines, starts, strict=True)]


def _exact_values(pattern: re.Pattern[bytes], line: bytes, start: int) -> Values | None:
    match = pattern.match(line[start:])
    if match is None and (exact := message_start(line)) != start:
        match = pattern.match(line[exact:])
    return None if match is None else match.groups()


def escape_values(values: Sequence[bytes]) -> list[bytes]:
    """Values as the insides of JSON strings, each cut to a bounded length."""
    return escape(b"\n".join(map(_cut, values))).split(b"\n")


def _cut(value: bytes) -> bytes:
    if len(value) <= MAX_VALUE_BYTES:
        return value
    end = MAX_VALUE_BYTES
    while end > MAX_VALUE_BYTES - 3 and value[end] & 0xC0 == 0x80:  # never inside a character
        end -= 1
    return value[:end] + "…".encode()


def escape(data: bytes) -> bytes:
    r"""The inside of JSON strings of many lines at once; newlines stay, so that line n stays line n.

    Bytes that are no UTF-8 become `\xNN` as text; every control character, C1 ones too, becomes an escape.
    """
    try:
        data.decode()
    except UnicodeDecodeError:
        data = data.decode("utf-8", "backslashreplace").encode()
    data = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    text = np.frombuffer(data, dtype=np.uint8)
    for control in np.unique(text[text < ord(" ")]).tolist():
        if control != ord("\n"):
            data = data.replace(bytes((control,)), b"\\u%04x" % control)
    data = data.replace(b"\x7f", b"\\u007f")
    if b"\xc2" in data:
        data = _C1_CONTROL.sub(lambda match: b"\\u%04x" % match[1][0], data)
    return data
