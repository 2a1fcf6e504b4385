"""The content of one file, of standard input or of a pipe: decompressed, in UTF-8, in blocks.

Invariants: what is compressed is told by its first bytes, not by its name, and never held at once; what is cut off in
the midst of a member is an error and not an end. A byte that is not of the encoding becomes one that is not UTF-8, so
that it costs the row that it is in and no other. Must never: know what a row is.
"""

from __future__ import annotations

import codecs
import gzip
import os
import stat
import sys
import zlib
from itertools import chain
from typing import TYPE_CHECKING, Final

import zstandard

from enricher.edges.record_inputs.encodings import LONGEST_MARK, checked_encoding, marked_encoding
from enricher.edges.record_inputs.fingerprints import fingerprint_of
from enricher.edges.record_inputs.refusals import cannot_read
from enricher.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

BLOCK_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
# A block of zstd is at most 128 KiB and may be four bytes long: a step of input makes 32 MiB at the most.
_ZSTD_STEP_BYTES: Final = 1 << 10
_ZSTD_WINDOW_BYTES: Final = 128 << 20
_NOT_OF_THE_ENCODING: Final = "\udcff"
"""A lone surrogate, which no text in UTF-8 has: a row with one is not read."""


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _NOT_OF_THE_ENCODING, error.end


codecs.register_error("enricher.mark", _mark_undecodable)


class Content:
    """The bytes of a file by its path, or of standard input (None)."""

    def __init__(self, path: Path | None, name: str, *, encoding: str = "utf-8") -> None:
        self.name = name
        self.encoding = checked_encoding(encoding)
        self._path = path
        self._file = self._open()
        state = os.fstat(self._file.fileno())
        self.is_read_once = not stat.S_ISREG(state.st_mode)
        """A pipe or a terminal: there is no second time."""
        self._is_begun = False

    def _open(self) -> BufferedReader:
        if self._path is None:
            return open(sys.stdin.fileno(), "rb", closefd=False)
        try:
            return self._path.open("rb")
        except OSError as error:
            raise cannot_read(self.name, error) from error

    def fingerprint(self) -> str:
        """Changes with the file's size, time or identity; "" for a pipe."""
        return "" if self.is_read_once or self._path is None else fingerprint_of((self._path,), self.name)

    def blocks(self) -> Iterator[bytes]:
        """The content from its start, without a byte order mark."""
        if self._is_begun:
            if self.is_read_once:
                raise InputError(
                    f"{self.name} can be read only once, and was read",
                    hint="write it into a file, and give that",
                )
            self._file.close()
            self._file = self._open()
        self._is_begun = True
        try:
            yield from self._decoded(self._decompressed())
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise InputError(
                f"{self.name} is damaged or cut off: {error}",
                hint="fetch it again, or see that its writer has finished",
            ) from error
        except OSError as error:
            raise cannot_read(self.name, error) from error

    def _decompressed(self) -> Iterator[bytes]:
        head = self._file.peek(len(_ZSTD))
        if head.startswith(_ZSTD):
            yield from _zstd_blocks(self._file)
            return
        source = gzip.GzipFile(fileobj=self._file, mode="rb") if head.startswith(_GZIP) else self._file
        while block := source.read(BLOCK_BYTES):
            yield block

    def _decoded(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        head = b""
        for block in blocks:
            head += block
            if len(head) >= LONGEST_MARK:
                break
        marked, length = marked_encoding(head)
        encoding, head = marked or self.encoding, head[length:]
        if encoding == "utf-8":
            if head:
                yield head
            yield from blocks
            return
        decoder = codecs.getincrementaldecoder(encoding)("enricher.mark")
        for block in chain((head,), blocks):
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._file.close()


def _zstd_blocks(file: BufferedReader) -> Iterator[bytes]:
    """Frame after frame. The library's own reader takes a frame that is cut off for one that has ended."""
    parts: list[bytes] = []
    size = 0
    frame = None
    while data := file.read(_ZSTD_STEP_BYTES):
        while data:
            if frame is None:
                frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
            parts.append(frame.decompress(data))
            size += len(parts[-1])
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
        if size >= BLOCK_BYTES:
            whole = b"".join(parts)
            for start in range(0, size, BLOCK_BYTES):
                yield whole[start : start + BLOCK_BYTES]
            parts, size = [], 0
    if frame is not None:
        raise EOFError("it ends in the midst of a zstd frame")
    if size:
        yield b"".join(parts)
