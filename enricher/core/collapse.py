"""Digits and hexadecimal words folded over whole blocks of bytes (levels L1 and L2 of a signature).

A number rarely says what kind of event a line is, so every run of digits becomes one ``0``, and every word of
hexadecimal digits (``0x7f3a``, a UUID's parts, a hash) becomes one ``0`` too. Both work on megabytes with a few
passes of C code, and both keep newlines, so that line n stays line n.

Invariants: ``collapse`` and ``collapse_hex`` are idempotent, never look across a newline, and ``collapse_line`` gives
for one line what the two give for a block. Must never: run Python code per line or per word.
"""

from __future__ import annotations

import re

import numpy as np

_ZERO = np.uint8(ord("0"))
_TEN = np.uint8(10)
_LOW_BITS = np.uint8(0x0F)  # what a digit's byte (0x30 to 0x39) has above '0'

_HEX_LETTER, _DIGIT, _LETTER = 1, 2, 4
_HEX_WORD = _HEX_LETTER | _DIGIT


def _byte_class(byte: int) -> int:
    if byte in b"0123456789":
        return _DIGIT
    if byte in b"abcdefABCDEF":
        return _HEX_LETTER
    # A byte of a multi-byte character counts as a letter; '_' and every other byte separates words.
    return _LETTER if byte > 127 or chr(byte).isalpha() else 0


_FOLDED = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
_DROPPED = b"\xff"  # marks digits to be dropped, with all its bits set; UTF-8 never holds it
_CLASSES = bytes(map(_byte_class, range(256)))

_NO_WORD_BEFORE = rb"(?<![0-9A-Za-z\x80-\xff])"
_NO_WORD_AFTER = rb"(?![0-9A-Za-z\x80-\xff])"
_FOLDED_WORD = re.compile(
    _NO_WORD_BEFORE + rb"(?:[0-9]++[xX][0-9A-Fa-f]*+|[A-Fa-f]*+[0-9][0-9A-Fa-f]*+)" + _NO_WORD_AFTER + rb"|[0-9]++"
)


def collapse(data: bytes) -> bytes:
    """Every run of digits becomes one ``0``; all other bytes, newlines included, stay. About 2 ns per byte."""
    if not data:
        return data
    if _DROPPED in data:
        return _collapse_any(data)
    cells = bytearray(data)
    text = np.frombuffer(cells, dtype=np.uint8)
    digit = (text - _ZERO) < _TEN
    repeated = np.logical_and(digit[1:], digit[:-1]).view(np.uint8)
    np.negative(repeated, out=repeated)
    np.bitwise_or(text[1:], repeated, out=text[1:])
    return bytes(cells.translate(_FOLDED, _DROPPED))


def _collapse_any(data: bytes) -> bytes:
    """The same for data that holds the byte that marks what is dropped; half as fast."""
    text = np.frombuffer(data, dtype=np.uint8)
    digit = (text - _ZERO) < _TEN
    kept = np.empty(text.size, dtype=np.bool_)
    kept[0] = True
    np.logical_and(digit[1:], digit[:-1], out=kept[1:])
    np.logical_not(kept[1:], out=kept[1:])
    # Clearing the low bits turns each digit into '0' without a table, so the compiler can use vector instructions.
    folded = digit.view(np.uint8) * _LOW_BITS
    np.invert(folded, out=folded)
    np.bitwise_and(text, folded, out=folded)
    return np.compress(kept, folded).tobytes()


def collapse_hex(data: bytes) -> bytes:
    """In collapsed text, every word of hexadecimal digits with at least one ``0`` in it becomes one ``0``.

    A word is a run of letters and digits; ``0x`` may stand before it. Five times the cost of `collapse`: for missed
    lines.
    """
    if b"0" not in data:
        return data
    text = np.frombuffer(data, dtype=np.uint8)
    classes = np.frombuffer(data.translate(_CLASSES), dtype=np.uint8).copy()
    in_word = np.zeros(text.size + 2, dtype=np.bool_)
    np.not_equal(classes, 0, out=in_word[1:-1])
    edges = np.flatnonzero(in_word[1:] != in_word[:-1])
    starts, ends = edges[0::2], edges[1::2]
    # The x of 0x counts as a hexadecimal letter, there only.
    after_zero = starts[(ends - starts >= 2) & (classes[starts] == _DIGIT)] + 1
    classes[after_zero[(text[after_zero] | 0x20) == ord("x")]] = _HEX_LETTER
    # Gaps between words are of class 0, so reducing from start to start sees the word alone.
    hexadecimal = np.bitwise_or.reduceat(classes, starts) == _HEX_WORD
    if not hexadecimal.any():
        return data
    starts, ends = starts[hexadecimal], ends[hexadecimal]
    steps = np.zeros(text.size + 1, dtype=np.int8)
    steps[starts] = 1
    steps[ends] -= 1
    kept = np.cumsum(steps[:-1], dtype=np.int8) == 0
    kept[starts] = True
    folded = text.copy()
    folded[starts] = _ZERO
    return np.compress(kept, folded).tobytes()


def collapse_line(line: bytes, *, limit_bytes: int) -> bytes:
    """The first `limit_bytes` of ``collapse_hex(collapse(line))``, without the fixed cost of whole-block calls."""
    if len(line) > 8 * limit_bytes:
        return collapse_hex(collapse(line))[:limit_bytes]
    return _FOLDED_WORD.sub(b"0", line)[:limit_bytes]


def raw_offset(line: bytes, collapsed_offset: int) -> int:
    """Where in the raw line the byte stands that `collapse_line` moved to `collapsed_offset`."""
    removed = 0
    for match in _FOLDED_WORD.finditer(line):
        if match.start() - removed >= collapsed_offset:
            break
        removed += match.end() - match.start() - 1
    return min(collapsed_offset + removed, len(line))
