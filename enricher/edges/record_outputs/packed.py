"""The file of an output, compressed where its name says so.

The same content is the same bytes: no time and no name stands in the header. Must never: know what a row is.
"""

from __future__ import annotations

import contextlib
import gzip
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from enricher.edges.record_outputs.place import mapped
from enricher.errors import OutputError

if TYPE_CHECKING:
    from enricher.edges.record_outputs.place import Place


class PackedFile:
    """A place that bytes are written to, through gzip or zstd where its name ends in `.gz` or `.zst`."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place
        self._packer: gzip.GzipFile | zstandard.ZstdCompressionWriter | BinaryIO | None = None

    def open(self) -> None:
        """Begin. OutputError where it cannot be, or something lies there."""
        file = self._place.open()
        if self.name.lower().endswith(".gz"):
            self._packer = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)
        elif self.name.lower().endswith(".zst"):
            compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
            self._packer = compressor.stream_writer(file, closefd=False)
        else:
            self._packer = file

    def write(self, data: bytes) -> None:
        """Write some more of it."""
        assert self._packer is not None
        with mapped(self.name):
            self._packer.write(data)
            if self._place.is_stream:
                self._packer.flush()  # somebody reads along

    def settle(self) -> None:
        """End the compression and put the file in its place."""
        packer, self._packer = self._packer, None
        if packer is None:
            raise OutputError(f"{self.name} was not begun")
        if isinstance(packer, gzip.GzipFile | zstandard.ZstdCompressionWriter):
            with mapped(self.name):
                packer.close()
        self._place.settle()

    def abandon(self) -> None:
        """Remove it; again, it does nothing."""
        packer, self._packer = self._packer, None
        self._place.abandon()
        if isinstance(packer, gzip.GzipFile | zstandard.ZstdCompressionWriter):
            # It still wants to write its end, to a file that is closed by now.
            with contextlib.suppress(OSError, ValueError):
                packer.close()
