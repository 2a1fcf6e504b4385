"""Runs of lines whose times stand in the same columns and agree to the minute, found without Python seeing a line.

A line is *regular* when every regular expression would read it as it reads the template line: the same bytes or digits
in the same columns up to the end of the time, and the same byte after it. Regular lines that follow each other and have
the same minute make a run, and one look at its first line is a look at all of them. Every other line is *odd* and a run
of its own. Nothing here knows what the columns mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from enricher.core.timestamp_formats import REACH_BYTES

if TYPE_CHECKING:
    import re

    import numpy.typing as npt

_WORD_BYTES = 8
_MOST_COLUMNS = 96
_SMALL_BYTES = 65_536
# What would carry a time on if something else followed it than follows it in the template line.
_GOES_ON = {b"+", b"-", b"Z", b"U", b"G"}
_DIGITS_TO_ZERO = bytes(ord("0") if chr(byte) in "0123456789" else byte for byte in range(256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The first line of every run, per line whether it is odd, and the bytes of the columns, a row per line."""

    firsts: npt.NDArray[np.intp]
    is_odd: npt.NDArray[np.bool_]
    cells: npt.NDArray[np.uint8]
    seconds: slice
    """The columns of the second; empty where the runs agree to the second."""
    fraction: slice


def line_starts(data: bytes) -> npt.NDArray[np.intp]:
    """Where each line of a block begins, and at last its length; the block must end in a newline."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    starts = np.empty(len(ends) + 1, np.intp)
    starts[0] = 0
    np.add(ends, 1, out=starts[1:])
    return starts


def gather(data: bytes, at: npt.NDArray[np.intp], width: int) -> bytes:
    """`width` bytes from each place of `data`, in ascending order; past the end of the data there are newlines."""
    rows = np.ndarray((max(0, len(data) - width + 1),), dtype=f"V{width}", buffer=data, strides=(1,))
    inside = int(np.searchsorted(at, len(rows)))
    # What reaches over the end is put together apart, rather than copying the data to make it longer.
    over = [data[place : place + width].ljust(width, b"\n") for place in at[inside:].tolist()]
    return rows[at[:inside]].tobytes() + b"".join(over)


def find_runs(
    data: bytes, starts: npt.NDArray[np.intp], template: re.Match[bytes], *, seconds_width: int, anchor: bytes
) -> Runs | None:
    """The runs of the lines at `starts` (see line_starts), measured against the template line's match of its format.

    `seconds_width` bytes at the end of the template's first group are not compared between lines (0: all are). `anchor`
    is where the columns begin: at the line's start, or at its first `[`. None when this template can vouch for no line.
    """
    line = template.string
    shift = 0 if anchor == b"" else line.find(anchor)
    end = template.end() - shift
    line = line[shift:]
    after = line[end : end + 1]
    if shift < 0 or shift > template.start(1) or end + 3 > _MOST_COLUMNS or after in _GOES_ON or after.isdigit():
        return None
    width = -(-(end + 3) // _WORD_BYTES) * _WORD_BYTES
    if (
        len(starts) * width > 2 * len(data) + _SMALL_BYTES
    ):  # lines shorter than the columns: the rows would not fit memory
        return None
    at, is_odd = (starts[:-1], np.zeros(len(starts) - 1, np.bool_)) if anchor == b"" else _brackets(data, starts, width)
    rows = gather(data, at, width)
    moment, fraction, suffix = (slice(*(place - shift for place in template.span(group))) for group in (1, 2, 3))
    seconds = slice(moment.stop - 2 if seconds_width else moment.stop, moment.stop)
    key, kind = bytearray(width), bytearray(b"\xff" * (end + 1) + bytes(width - end - 1))
    for same in (slice(moment.start, moment.stop - seconds_width), suffix if template[3] else slice(0, 0)):
        key[same] = b"\xff" * (same.stop - same.start)
        kind[same] = bytes(same.stop - same.start)
    cells = np.frombuffer(rows, np.uint8).reshape(len(at), width)
    is_odd |= _differs(rows, (line + b"\n" * width)[:width], bytes(kind)) | _goes_on(cells, end, after)
    if seconds_width:
        is_odd |= cells[:, seconds.start] > ord("5")
    return Runs(
        firsts=_firsts(rows, bytes(key), is_odd),
        is_odd=is_odd,
        cells=cells,
        seconds=seconds,
        fraction=fraction if template[2] else slice(0, 0),
    )


def _brackets(
    data: bytes, starts: npt.NDArray[np.intp], width: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Where each line has its first `[`, and which lines are odd: those without, or without an IPv4 address in front.

    An address in front keeps a line from having any of the formats that stand at the line's start. Odd, too, are lines
    whose columns reach farther in than a time is looked for.
    """
    places = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("["))
    at = np.append(places, len(data))[np.searchsorted(places, starts[:-1])]
    head = np.frombuffer(gather(data, starts[:-1], 4), np.uint8).reshape(-1, 4)
    digit, dot = _is_digit(head), head == ord(".")
    is_address = digit[:, 0] & (dot[:, 1] | (digit[:, 1] & (dot[:, 2] | (digit[:, 2] & dot[:, 3]))))
    is_odd = (at >= starts[1:]) | (at - starts[:-1] + width > REACH_BYTES) | ~is_address
    return np.where(is_odd, starts[:-1], at), is_odd


def _firsts(rows: bytes, key: bytes, is_odd: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    words = np.frombuffer(rows, np.uint64).reshape(len(is_odd), -1)
    mask = np.frombuffer(key, np.uint64)
    begins = is_odd.copy()
    begins[0] = True
    begins[1:] |= is_odd[:-1]
    for column in np.flatnonzero(mask):
        begins[1:] |= ((words[1:, column] ^ words[:-1, column]) & mask[column]) != 0
    return np.flatnonzero(begins)


def _differs(rows: bytes, template: bytes, mask: bytes) -> npt.NDArray[np.bool_]:
    """Whether a row is not as the template where the mask says so; a digit of the template stands for any digit.

    Eight bytes at a time: what a byte and the template's differ in may be 0 or, where that has a "0" for a digit, up to
    9. Adding what lacks to 128 brings anything more to the byte's highest bit. A sum runs over into the next byte only
    where the difference had that bit already, so that the row differs anyhow.
    """
    zeroed = template.translate(_DIGITS_TO_ZERO)
    lacks = bytes(
        (118 if byte == ord("0") else 127) if is_compared else 0 for byte, is_compared in zip(zeroed, mask, strict=True)
    )
    same, lacking = np.frombuffer(zeroed, np.uint64), np.frombuffer(lacks, np.uint64)
    highest = np.frombuffer(mask, np.uint64) & np.uint64(0x8080808080808080)
    words = np.frombuffer(rows, np.uint64).reshape(-1, len(same))
    differs = np.zeros(len(words), np.bool_)
    for column in np.flatnonzero(highest):
        difference = words[:, column] ^ same[column]
        difference |= difference + lacking[column]
        difference &= highest[column]
        differs |= difference != 0
    return differs


def _goes_on(cells: npt.NDArray[np.uint8], end: int, after: bytes) -> npt.NDArray[np.bool_] | np.bool_:
    """Whether a line's time may go on where the template's ends: with a fraction, or after a blank with an offset."""
    first, second = cells[:, end + 1], cells[:, end + 2]
    if after in {b".", b",", b":"}:
        return _is_digit(first)
    if after != b" ":
        return np.False_
    signed = ((first == ord("+")) | (first == ord("-"))) & _is_digit(second)
    named = ((first == ord("U")) & (second == ord("T"))) | ((first == ord("G")) & (second == ord("M")))
    return np.asarray(signed | named | (first == ord("Z")))


def texts(runs: Runs, heads: list[str], sizes: npt.NDArray[np.intp]) -> bytes:
    r"""`heads` (all of one length, one per run), second and fraction of each line, `Z\n`; of odd lines anything."""
    wide = np.frombuffer("".join(heads).encode("latin-1"), np.uint8).reshape(len(heads), -1)
    head = wide.shape[1]
    second = head + runs.seconds.stop - runs.seconds.start
    digits = runs.fraction.stop - runs.fraction.start
    width = second + (1 + -(-digits // 3) * 3 if digits else 0) + 2
    rows = np.full((len(runs.is_odd), width), ord("0"), np.uint8)
    rows[:, :head] = np.repeat(wide, sizes, axis=0)
    rows[:, head:second] = runs.cells[:, runs.seconds]
    if digits:
        rows[:, second] = ord(".")
        rows[:, second + 1 : second + 1 + digits] = runs.cells[:, runs.fraction]
    rows[:, -2] = ord("Z")
    rows[:, -1] = ord("\n")
    return rows.tobytes()


def _is_digit(column: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (column - np.uint8(ord("0"))) < 10
