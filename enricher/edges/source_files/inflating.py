"""What unpacks a member of a compressed file, in one form for all codecs: bounded steps over bytes as they come.

Invariants: a step gives no more than it was asked for, whatever a few bytes unfold to; what is held of what was
unpacked is bounded, and known from the member's header. A block that has a checksum of its own gives nothing before
that was found right, as far as the bound allows: gzip and zstd have one for the whole member, and xz in general, too:
what is damaged there may give a rubbish line before it is known to be. Never here: files, members that follow, what
damage means.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Final, Protocol

import zstandard

ZSTD_SKIPPED: Final = tuple(bytes((low,)) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
"""Frames that hold no content: indexes, the marks of parallel compressors."""
HEADER_BYTES: Final = 32
"""Of a member: enough to tell how much memory it needs."""
_MEBIBYTE: Final = 1024 * 1024
_MAX_DICTIONARY_BYTES: Final = 128 * _MEBIBYTE
_CHECKED_BYTES: Final = 2 * _MEBIBYTE
"""Of a block of bzip2, which is 900,000 bytes, and more only where a byte is repeated four times and more."""
_STEP_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 512
_SMALL_WINDOWS: Final = {"gzip": 32 * 1024, "bzip2": 4 * _MEBIBYTE + _CHECKED_BYTES}


class Inflater(Protocol):
    """What zlib, bz2 and lzma have in common, brought to one form."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended and all of it was given."""

    @property
    def needs_input(self) -> bool:
        """Whether there is no more to give before more is told."""

    @property
    def unused_data(self) -> bytes:
        """What was told beyond the end of the member."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take what is told; give no more than so many bytes. zlib.error, OSError, LZMAError, ZstdError for damage."""


class _Gunzip:
    """`zlib`'s object with the manners of `bz2`'s: it keeps its own unconsumed input."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def needs_input(self) -> bool:
        return not self._object.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + data, max_length)


class _Bunzip2:
    """`bz2`'s object, which gives a block when its checksum was found right.

    A block that is damaged is unpacked to its letters in another order, as many lines of rubbish, and that they are
    wrong is known at its end. It is told in pieces of which hardly any holds two ends of blocks: when one and nothing
    more has come out, a block has ended and was good. One that unfolds to more than is held back is given as it comes.
    """

    def __init__(self) -> None:
        self._object = bz2.BZ2Decompressor()
        self._input = bytearray()
        self._held = bytearray()
        self._good = b""
        self._given = 0
        self._is_drained = True

    @property
    def eof(self) -> bool:
        return self._object.eof and self._given == len(self._good)

    @property
    def needs_input(self) -> bool:
        return self._given == len(self._good) and self._is_drained and not self._input and not self._object.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data + bytes(self._input)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._input += data
        while self._given == len(self._good) and not self._object.eof and (self._input or not self._is_drained):
            self._step()
        output = self._good[self._given : self._given + max_length]
        self._given += len(output)
        return output

    def _step(self) -> None:
        piece = b""
        if self._is_drained:
            piece = bytes(self._input[:_PIECE_BYTES])
            del self._input[:_PIECE_BYTES]
        text = self._object.decompress(piece, _STEP_BYTES)
        self._held += text
        # It says that it needs input before all has come out of what it has.
        self._is_drained = not text and self._object.needs_input
        if self._is_drained or self._object.eof or len(self._held) > _CHECKED_BYTES:
            self._good, self._given = bytes(self._held), 0
            self._held.clear()


class _Unzstd:
    """A frame of zstd with the manners of `bz2`'s object: block by block, since one is at most 128 KiB of content."""

    def __init__(self) -> None:
        self._object = zstandard.ZstdDecompressor(max_window_size=_MAX_DICTIONARY_BYTES).decompressobj()
        self._input = bytearray()
        self._output = b""
        self._is_begun = self._is_last = self._is_over = False
        self._trailer = 0
        self._skipped = 0
        """Bytes of a frame without content still to come."""

    @property
    def eof(self) -> bool:
        return self._is_over and not self._output

    @property
    def needs_input(self) -> bool:
        return not self._output and not self._is_over and self._unit() is None

    @property
    def unused_data(self) -> bytes:
        return bytes(self._input) if self._is_over else b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._input += data
        while not self._output and not self._is_over and (length := self._unit()) is not None:
            unit = bytes(self._input[:length])
            del self._input[:length]
            self._take(unit)
        output, self._output = self._output[:max_length], self._output[max_length:]
        return output

    def _take(self, unit: bytes) -> None:
        if self._skipped:
            self._skipped -= len(unit)
            self._is_over = not self._skipped
        elif not self._is_begun and unit.startswith(ZSTD_SKIPPED):
            self._skipped = int.from_bytes(unit[4:8], "little")
            self._is_over = not self._skipped
        else:
            self._output = self._object.decompress(unit)
            if not self._is_begun:
                self._is_begun = True
                self._trailer = 4 if unit[4] & 4 else 0  # a checksum
            elif self._is_last or unit[0] & 1:
                self._is_over = self._is_last or not self._trailer
                self._is_last = True

    def _unit(self) -> int | None:
        """Length of the next whole header, block, checksum, or of what is there to skip; None if it is not there."""
        have = self._input
        if self._skipped:
            return min(self._skipped, len(have)) or None
        if self._is_last:
            length = self._trailer
        elif self._is_begun:
            header = int.from_bytes(have[:3], "little")
            is_repeated = header >> 1 & 3 == 1  # one byte, so many times
            length = 3 + (1 if is_repeated else header >> 3)
        elif have.startswith(ZSTD_SKIPPED):
            length = 8
        else:
            flags = have[4] if len(have) > 4 else 0
            is_single = flags >> 5 & 1
            length = 5 + (1 - is_single) + (0, 1, 2, 4)[flags & 3] + (is_single, 2, 4, 8)[flags >> 6]
        return length if 3 <= length <= len(have) else None


def window_bytes(codec: str, head: bytes) -> int:
    """How much of what it unpacked a member that begins so needs: as its header says, else the most that it may."""
    if codec in _SMALL_WINDOWS:
        return _SMALL_WINDOWS[codec]
    if codec == "zstd":
        try:
            return min(zstandard.get_frame_parameters(head).window_size, _MAX_DICTIONARY_BYTES)
        except zstandard.ZstdError:
            return _MAX_DICTIONARY_BYTES
    # The header of the first block: its length, flags, one filter, LZMA2 with one byte of properties.
    if head[13:16] == b"\x00\x21\x01" and len(head) > 16 and head[16] < 40:
        return min((2 | head[16] & 1) << (head[16] // 2 + 11), _MAX_DICTIONARY_BYTES)
    return _MAX_DICTIONARY_BYTES


def inflater_for(codec: str, window_bytes: int) -> Inflater:
    """What unpacks a member of such a file, which holds no more than so many bytes of what was."""
    if codec == "gzip":
        return _Gunzip()
    if codec == "zstd":
        return _Unzstd()
    if codec == "bzip2":
        return _Bunzip2()
    # A block that needs more than the first has said is damage: what is held would be more than was reckoned with.
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=window_bytes + _MEBIBYTE)
