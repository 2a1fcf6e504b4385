"""How the bytes of a part are packed: not at all, with gzip, or with zstd.

The same lines are packed to the same bytes whenever that is, so that a part delivered again is the same part. Never
here: files.
"""

from __future__ import annotations

import gzip
import io
from typing import Literal, Protocol

import zstandard

Compression = Literal["none", "zstd", "gzip"]


class Packer(Protocol):
    """Packs one part."""

    def add(self, chunk: bytes) -> bytes:
        """Bytes to write now, which may be none."""

    def end(self) -> bytes:
        """The last bytes to write."""


class _Plain:
    def add(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""


class _Gzip:
    """gzip with no time and no name in its header: the same lines are the same bytes whenever they are written."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._file = gzip.GzipFile(fileobj=self._out, filename="", mode="wb", compresslevel=6, mtime=0)

    def add(self, chunk: bytes) -> bytes:
        self._file.write(chunk)
        return self._drained()

    def end(self) -> bytes:
        self._file.close()
        return self._drained()

    def _drained(self) -> bytes:
        packed = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return packed


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()

    def add(self, chunk: bytes) -> bytes:
        return self._compressor.compress(chunk)

    def end(self) -> bytes:
        return self._compressor.flush()


def packer(compress: Compression) -> Packer:
    """One for the next part."""
    if compress == "gzip":
        return _Gzip()
    return _Zstd() if compress == "zstd" else _Plain()
