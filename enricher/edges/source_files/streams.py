"""The content of files by offset, plain or compressed.

A compressed stream only goes forward, and starts again when asked for what lies behind. At the end of a file that is
still written it waits, and goes on there.

Invariants: what a compressed file makes of a few bytes is never held at once, and ends where it is more than any log
makes of so many; damage ends the content and is said, not raised. Must never: know what a line is.
"""

from __future__ import annotations

import errno
import lzma
import os
import zlib
from typing import TYPE_CHECKING, Final, Protocol

import zstandard

from enricher.edges.source_files.identity import HEAD_BYTES, MARKER_BYTES
from enricher.edges.source_files.inflating import HEADER_BYTES, ZSTD_SKIPPED, inflater_for, window_bytes

if TYPE_CHECKING:
    from enricher.edges.source_files.inflating import Inflater

PLAIN: Final = "plain"
_MAGICS: Final = (
    (b"\x1f\x8b\x08", "gzip"), (b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"),
    *((magic, "zstd") for magic in ZSTD_SKIPPED),
)  # fmt: skip
_UNKNOWN_MAGICS: Final = (
    (b"PK\x03\x04", "zip"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x1f\x9d", "compress"), (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"LZIP", "lzip"), (b"\x89LZO\x00", "lzop"), (b"\xff\x06\x00\x00sNaPpY", "snappy"),
)  # fmt: skip
_STEP_BYTES: Final = 64 * 1024
_LOOK_BYTES: Final = 1024 * 1024
_PLAIN_LOOK_BYTES: Final = 64 * 1024 * 1024
_MAX_LOOK_BYTES: Final = 1024 * 1024 * 1024
_MAX_FOLD: Final = 1000
"""Times that a file may unfold to its own size, once `_MAX_LOOK_BYTES` came out of it. A day of one line again and
again, with its times, is packed to a 200th; gzip's best of nothing but equal bytes is a 1030th, zstd's a 30,000th."""
_CONTROL: Final = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b")) + b"\x7f"
_SNIFF_BYTES: Final = 1024
_MAGIC_BYTES: Final = 6


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

    damage: str
    """Why compressed data could not be decompressed further: the content ends there."""

    @property
    def held_bytes(self) -> int:
        """How much of the content behind is kept, at most, to unpack what is to come."""

    @property
    def is_ended(self) -> bool:
        """Whether it was read to where its compressor ended it. Plain content is never known to be ended."""

    def goes_on(self) -> bool:
        """Whether what the file has got since can be read from it."""

    def pread(self, size: int, offset: int) -> bytes:
        """`size` bytes, fewer only at the end. OSError when it cannot be read."""

    def text_start(self, offset: int) -> int | None:
        """Offset of the first byte at or after `offset` that is no NUL; None if there is none."""

    def room_to_look(self, known: int) -> int:
        """How far this read may look for the end of a line of which so many bytes are known to be without it."""

    def looked_in_vain(self, offset: int) -> bool:
        """There was no end of a line in that room: whether the content ends here, at the offset."""


class PlainStream:
    """A file as it is."""

    damage = ""
    is_ended = False
    held_bytes = 0

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

    def goes_on(self) -> bool:
        """Reading moves nothing, so there is nothing to start again."""
        return True

    def room_to_look(self, known: int) -> int:  # noqa: ARG002
        """The same each time: the next read looks on."""
        return _PLAIN_LOOK_BYTES

    def looked_in_vain(self, offset: int) -> bool:  # noqa: ARG002
        """What is behind it is looked at later."""
        return False

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


class _Raw:
    """A descriptor with a place of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0
        self._last = b""

    @property
    def read_bytes(self) -> int:
        """How many bytes were read."""
        return self._at

    def read(self) -> bytes:
        """Some bytes; b"" at the end of what is there now."""
        data = os.pread(self._descriptor, _STEP_BYTES, self._at)
        self._at += len(data)
        self._last = (self._last + data[-MARKER_BYTES:])[-MARKER_BYTES:]
        return data

    def is_as_it_was(self) -> bool:
        """Whether the last bytes that were read are still there."""
        last = self._last
        return os.pread(self._descriptor, len(last), self._at - len(last)) == last


class _Members:
    """The members of a compressed file one after the other, as one stream of bounded reads.

    What is not there yet, in the middle of a member or between two, is waited for: a later read goes on with it.
    """

    def __init__(self, codec: str, raw: _Raw) -> None:
        self._codec = codec
        self._raw = raw
        self._inflater: Inflater | None = None
        self._rest = b""
        self._is_begun = False
        self._window_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What the member that is being unpacked keeps of what was."""
        return 0 if self._inflater is None else self._window_bytes

    @property
    def is_ended(self) -> bool:
        """Whether what was read ends where a member does."""
        is_between = self._inflater is None and self._is_begun
        return is_between and not any(magic.startswith(self._rest) for magic, _ in _MAGICS if self._rest)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end of what is there."""
        while True:
            if self._inflater is None and not self._next_member():
                return b""
            inflater = self._inflater
            assert inflater is not None
            data, self._rest = self._rest, b""
            if inflater.needs_input and not data:
                data = self._raw.read()
                if not data:
                    return b""
            text = inflater.decompress(data, size)
            if inflater.eof:
                self._inflater, self._rest = None, inflater.unused_data
            if text:
                return text

    def _next_member(self) -> bool:
        while len(rest := self._rest.lstrip(b"\x00")) < _MAGIC_BYTES and (more := self._raw.read()):
            self._rest = rest + more
        self._rest = rest
        # What follows the last member is padding or rubbish: gzip(1) ignores it, too.
        if not rest or (self._is_begun and codec_of(rest) != self._codec):
            return False
        self._window_bytes = window_bytes(self._codec, rest[:HEADER_BYTES])
        self._inflater, self._is_begun = inflater_for(self._codec, self._window_bytes), True
        return True


class CompressedStream:
    """Decompressed content. It goes forward; what lies behind costs decompressing again from the start."""

    def __init__(self, descriptor: int, codec: str) -> None:
        self._descriptor = descriptor
        self._codec = codec
        self.damage = ""
        self._end: int | None = None
        """Where what is still to come is not content any more; None where the file itself says it."""
        self._rewind()

    def _rewind(self) -> None:
        self._at = 0
        self._first = b""
        self._recent = b""
        self._raw = _Raw(self._descriptor)
        self._source = _Members(self._codec, self._raw)

    @property
    def held_bytes(self) -> int:
        """By the header of the member that is being unpacked."""
        return self._source.held_bytes

    @property
    def is_ended(self) -> bool:
        """Whether it was read to where the last member ends."""
        return bool(self.damage) or self._source.is_ended

    def goes_on(self) -> bool:
        """Whether the file is what it was as far as it was read."""
        return not self.damage and self._raw.is_as_it_was()

    def room_to_look(self, known: int) -> int:
        """All at once: coming back to a line means decompressing again what is before it."""
        return max(0, _MAX_LOOK_BYTES - known)

    def looked_in_vain(self, offset: int) -> bool:
        """What has no end of a line for so long is no log."""
        self.damage, self._end = f"a line of more than {_MAX_LOOK_BYTES:,} bytes", offset
        return True

    def pread(self, size: int, offset: int) -> bytes:
        """Decompress up to `offset`, then `size` bytes more."""
        if offset + size <= len(self._first):
            return self._first[offset : offset + size]  # looked at again and again, and no reason to start again
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
        if self._end is None and self._at >= _MAX_LOOK_BYTES and self._at > _MAX_FOLD * self._raw.read_bytes:
            self.damage, self._end = f"it unfolds to more than {_MAX_FOLD:,} times its size, as no log does", self._at
        if self._end is not None and (size := min(size, self._end - self._at)) <= 0:
            return b""
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
        if len(self._first) < HEAD_BYTES:
            self._first = (self._first + data)[:HEAD_BYTES]
        # So that the marker before the next read is still at hand.
        self._recent = data[-_STEP_BYTES:] if len(data) >= _STEP_BYTES else (self._recent + data)[-_STEP_BYTES:]
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
