"""The content of files by offset, plain or compressed.

A compressed stream only goes forward, and starts again when asked for what lies behind.

Invariants: what a compressed file makes of a few bytes is never held at once; damage ends the content and is said, not
raised. Must never: know what a line is.
"""

from __future__ import annotations

import bz2
import errno
import io
import lzma
import os
import zlib
from typing import TYPE_CHECKING, Final, Protocol

import zstandard

from enricher.edges.source_files.identity import MARKER_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PLAIN: Final = "plain"
_MAGICS: Final = ((b"\x1f\x8b\x08", "gzip"), (b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"))
_UNKNOWN_MAGICS: Final = (
    (b"PK\x03\x04", "zip"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x1f\x9d", "compress"), (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"LZIP", "lzip"), (b"\x89LZO\x00", "lzop"), (b"\xff\x06\x00\x00sNaPpY", "snappy"),
)  # fmt: skip
_STEP_BYTES: Final = 64 * 1024
_LOOK_BYTES: Final = 1024 * 1024
_MAX_DICTIONARY_BYTES: Final = 128 * 1024 * 1024
_CONTROL: Final = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b")) + b"\x7f"
_SNIFF_BYTES: Final = 1024


def codec_of(head: bytes) -> str:
    """The codec that the first bytes of a file show; a name in parentheses for one that is not read."""
    for magic, codec in _MAGICS:
        if head.startswith(magic):
            return codec
    return next((f"({codec})" for magic, codec in _UNKNOWN_MAGICS if head.startswith(magic)), PLAIN)


def binary_reason(head: bytes) -> tuple[str, str] | None:
    """Why content that starts so is no text, and what to do; None for text. NULs at the very start are a hole."""
    head = head[:_SNIFF_BYTES].lstrip(b"\x00")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16 text", "only UTF-8 and other byte encodings are read: convert it, or exclude it"
    hint = "only text is read: exclude it; journals and login records have tools of their own (journalctl, last)"
    if b"\x00" in head:
        return "it holds NUL bytes", hint
    controls = len(head) - len(head.translate(None, _CONTROL))
    if controls > 0.3 * len(head):
        return "more than 30 % of its first bytes are control characters", hint
    return None


class Stream(Protocol):
    """Content of a file by offset."""

    look_bytes: int
    """How far one read may look for the end of an over-long line; the next read goes on there."""
    damage: str
    """Why compressed data could not be decompressed further: the content ends there."""

    def pread(self, size: int, offset: int) -> bytes:
        """`size` bytes, fewer only at the end. OSError when it cannot be read."""

    def text_start(self, offset: int) -> int | None:
        """Offset of the first byte at or after `offset` that is no NUL; None if there is none."""


class PlainStream:
    """A file as it is."""

    look_bytes = 64 * 1024 * 1024
    damage = ""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, size: int, offset: int) -> bytes:
        """Read at an offset; moves nothing."""
        data = os.pread(self._descriptor, size, offset)
        if not data or len(data) == size:
            return data
        parts = [data]
        got = len(data)
        while got < size and (data := os.pread(self._descriptor, size - got, offset + got)):
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def text_start(self, offset: int) -> int | None:
        """Skip holes by the file system's word, written NULs by reading them."""
        while True:
            try:
                offset = os.lseek(self._descriptor, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return None
            block = os.pread(self._descriptor, _LOOK_BYTES, offset)
            if not block:
                return None
            if text := block.lstrip(b"\x00"):
                return offset + len(block) - len(text)
            offset += len(block)


class _Raw(io.RawIOBase):
    """A descriptor as a file object with a place of its own."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        got = os.preadv(self._descriptor, [buffer], self._at)
        self._at += got
        return got


class _Inflater(Protocol):
    """What zlib, bz2 and lzma have in common, brought to one form."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


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


def _inflater(codec: str) -> _Inflater:
    if codec == "gzip":
        return _Gunzip()
    if codec == "bzip2":
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MAX_DICTIONARY_BYTES)


class _Members:
    """The members of a gzip, bzip2 or xz file one after the other, as one stream of bounded reads."""

    def __init__(self, codec: str, raw: _Raw) -> None:
        self._codec = codec
        self._raw = raw
        self._inflater: _Inflater | None = None
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end of what is there."""
        while True:
            if (self._inflater is None or self._inflater.eof) and not self._next_member():
                return b""
            inflater = self._inflater
            assert inflater is not None
            data, self._rest = self._rest, b""
            if inflater.needs_input and not data:
                data = self._raw.read(_STEP_BYTES) or b""
                if not data:
                    return b""
            text = inflater.decompress(data, size)
            if text:
                return text

    def _next_member(self) -> bool:
        rest = self._inflater.unused_data if self._inflater is not None else b""
        first = self._inflater is None
        rest = rest.lstrip(b"\x00") or (self._raw.read(_STEP_BYTES) or b"").lstrip(b"\x00")
        # What follows the last member is padding or rubbish: gzip(1) ignores it, too.
        if not rest or not (first or codec_of(rest) == self._codec):
            return False
        self._inflater, self._rest = _inflater(self._codec), rest
        return True


class CompressedStream:
    """Decompressed content. It goes forward; what lies behind costs decompressing again from the start."""

    # Coming back to an over-long line means decompressing all that is before it: better to find its end at once.
    look_bytes = 1 << 62

    def __init__(self, descriptor: int, codec: str) -> None:
        self._descriptor = descriptor
        self._codec = codec
        self.damage = ""
        self._rewind()

    def _rewind(self) -> None:
        raw = _Raw(self._descriptor)
        self._at = 0
        self._recent = b""
        self._source: _Members | zstandard.ZstdDecompressionReader
        if self._codec == "zstd":
            decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_DICTIONARY_BYTES)
            self._source = decompressor.stream_reader(
                io.BufferedReader(raw), read_size=_STEP_BYTES, read_across_frames=True
            )
        else:
            self._source = _Members(self._codec, raw)

    def pread(self, size: int, offset: int) -> bytes:
        """Decompress up to `offset`, then `size` bytes more."""
        if offset < self._at - len(self._recent):
            self._rewind()
        while self._at < offset and self._forward(min(_LOOK_BYTES, offset - self._at)):
            pass
        behind = self._at - offset
        parts = [self._recent[len(self._recent) - behind :][:size]] if behind > 0 else []
        wanted = size - sum(map(len, parts))
        while self._at >= offset and wanted > 0 and (data := self._forward(wanted)):
            parts.append(data)
            wanted -= len(data)
        return b"".join(parts)

    def _forward(self, size: int) -> bytes:
        try:
            data = self._source.read(size)
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            self.damage = str(error)
            return b""
        except OSError as error:
            if error.errno is not None:
                raise
            self.damage = str(error)  # so does bz2 say "Invalid data stream"
            return b""
        self._at += len(data)
        # So that the marker before the next read is still at hand.
        self._recent = data[-_STEP_BYTES:] if len(data) >= MARKER_BYTES else (self._recent + data)[-_STEP_BYTES:]
        return data

    def text_start(self, offset: int) -> int | None:
        """Read on to the first byte that is no NUL."""
        while block := self.pread(_LOOK_BYTES, offset):
            if text := block.lstrip(b"\x00"):
                return offset + len(block) - len(text)
            offset += len(block)
        return None


def open_stream(descriptor: int, codec: str) -> Stream:
    """The content of an open file."""
    return PlainStream(descriptor) if codec == PLAIN else CompressedStream(descriptor, codec)
