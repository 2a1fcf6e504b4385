"""Whole lines out of a stream, in bounded memory whatever it holds.

An over-long line is cut; the rest of it is looked through for its end and counted, never kept.

Invariants: what is returned is a function of the content, the position and the limits; a read checks the bytes before
its position first, so that it never continues in other content. Must never: keep more than the limit and one line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.identity import MARKER_BYTES

if TYPE_CHECKING:
    from enricher.core.block import Tail
    from enricher.edges.source_files.streams import Stream

_LOOK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a read found after the position of a row."""

    changed: bool = False
    """The bytes before the position are not those that were read: nothing else here means anything."""
    data: bytes = b""
    """Whole lines; the last one may be cut, or ended here though the file does not end it."""
    length: int = 0
    lost_bytes: int = 0
    tail: bytes = b""
    """Seen after `length`, a line not ended yet (at most the limit of a line)."""
    marker: bytes = b""
    """The bytes that end at `length`."""
    looked_to: int = 0
    """Offset up to which the content was looked through."""
    at_end: bool = False
    tails: tuple[Tail, ...] = ()
    """Where those lines at the end of `data` lie that are of other files."""


def read_lines(
    stream: Stream,
    *,
    position: int,
    marker: bytes,
    held: bytes,
    limit_bytes: int,
    end: int | None,
    line_bytes: int,
    looked_to: int,
    to_the_last_byte: bool,
    is_quiet: bool = False,
) -> Reading:
    """Whole lines from `position` on: first `held`, read before, then up to `limit_bytes` of the stream.

    `end` bounds what is looked at; None: the end of the file. A line of more than `line_bytes` is cut there and ends
    the reading. Of one whose end was not found before, `looked_to` says how far it was looked for.
    `to_the_last_byte` takes a last line without a newline as a line, and so does a compressed stream that was ended, if
    it `is_quiet`: no other one is being added to it. OSError comes from the stream.
    """
    before = (marker + held)[-MARKER_BYTES:]
    start = position + len(held)
    # One byte more than a line may have, or a long line is taken for an unfinished one.
    limit = max(limit_bytes, line_bytes + 1)
    room = limit if end is None else max(0, min(limit, end - start))
    raw = stream.pread(len(before) + room, start - len(before))
    if not raw.startswith(before):
        return Reading(changed=True)
    seen_to = start - len(before) + len(raw)
    at_end = len(raw) < len(before) + limit
    to_the_last_byte |= is_quiet and stream.is_ended
    finish = at_end and to_the_last_byte
    data, tail = _lines_and_rest(held, raw, len(before), finish=finish)
    cut = _first_over_long(data, line_bytes)
    if cut is None and len(tail) > line_bytes:
        cut = len(data)
    if cut is not None:
        return _read_cut(
            stream,
            data + tail,
            cut + line_bytes,
            position=position,
            line_start=cut,
            marker=marker,
            end=end,
            looked_to=max(looked_to, seen_to),
            finish=to_the_last_byte,
            is_quiet=is_quiet,
        )
    return Reading(
        data=data if data.endswith(b"\n") or not data else data + b"\n",
        length=len(data),
        tail=tail,
        marker=(marker + data[-MARKER_BYTES:])[-MARKER_BYTES:],
        looked_to=seen_to,
        at_end=at_end,
    )


def _lines_and_rest(held: bytes, raw: bytes, at: int, *, finish: bool) -> tuple[bytes, bytes]:
    """Whole lines and what is behind them, of `held` and what is in `raw` from `at` on; all is lines where `finish`."""
    end = len(raw) if finish else raw.rfind(b"\n", at) + 1
    if end:
        return b"".join((held, memoryview(raw)[at:end])), raw[end:]  # one copy of megabytes, not two
    end = held.rfind(b"\n") + 1
    return held[:end], held[end:] + raw[at:]


def _first_over_long(text: bytes, line_bytes: int) -> int | None:
    """Where the first line of more than `line_bytes` starts, its newline not counted."""
    at = 0
    while len(text) - at > line_bytes:
        newline = text.rfind(b"\n", at, at + line_bytes + 1)
        if newline < 0:
            return at
        at = newline + 1
    return None


def _read_cut(
    stream: Stream,
    text: bytes,
    cut: int,
    *,
    position: int,
    line_start: int,
    marker: bytes,
    end: int | None,
    looked_to: int,
    finish: bool,
    is_quiet: bool,
) -> Reading:
    """A reading that ends with a cut line, or before it while the end of that line is not found."""
    newline = text.find(b"\n", cut)
    last = (marker + text)[-MARKER_BYTES:]
    at_end = False
    looked = position + len(text)
    if newline >= 0:
        line_end = position + newline + 1
        last = (marker + text[max(0, newline + 1 - MARKER_BYTES) : newline + 1])[-MARKER_BYTES:]
    else:
        looked = max(looked, looked_to - MARKER_BYTES)
        known = looked - position - line_start
        line_end, looked, last, at_end = _find_line_end(stream, looked, last, end, known)
        # Looking may have shown that the content is ended.
        if line_end < 0 and at_end and (finish or (is_quiet and stream.is_ended)):
            line_end = looked
    if line_end < 0:
        data = text[:line_start]
        return Reading(
            data=data,
            length=line_start,
            marker=(marker + data[-MARKER_BYTES:])[-MARKER_BYTES:],
            looked_to=looked,
            at_end=at_end,
        )
    lost = line_end - position - cut - (1 if newline >= 0 or last.endswith(b"\n") else 0)
    return Reading(
        data=text[:cut] + b"\n",
        length=line_end - position,
        lost_bytes=lost,
        marker=last,
        looked_to=line_end,
        at_end=at_end,
    )


def _find_line_end(stream: Stream, at: int, last: bytes, end: int | None, known: int) -> tuple[int, int, bytes, bool]:
    """(offset behind the next newline or -1, how far it was looked for, the bytes before that, end of content met)."""
    budget = stream.room_to_look(known)
    while budget > 0:
        wanted = min(_LOOK_BYTES, budget)
        room = wanted if end is None else min(wanted, end - at)
        block = stream.pread(room, at) if room > 0 else b""
        newline = block.find(b"\n")
        if newline >= 0:
            return at + newline + 1, at + newline + 1, (last + block[: newline + 1])[-MARKER_BYTES:], False
        at += len(block)
        last = (last + block)[-MARKER_BYTES:]
        if len(block) < wanted:
            return -1, at, last, True
        budget -= len(block)
    return -1, at, last, stream.looked_in_vain(at)
