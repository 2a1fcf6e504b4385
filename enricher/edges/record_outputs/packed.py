"""The file of an output, compressed where its name says so.

The same content is the same bytes: no time and no name stands in the header. Must never: know what a row is.
"""

from __future__ import annotations

import contextlib
import gzip
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from enricher.edges.record_outputs.place import mapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enricher.edges.record_outputs.place import Place


class PackedFile:
    """A place that bytes are written to, through gzip or zstd where its name ends in `.gz` or `.zst`."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place
        self._packer: gzip.GzipFile | zstandard.ZstdCompressionWriter | BinaryIO | None = None

    @property
    def is_stream(self) -> bool:
        """What was written cannot be written again."""
        return self._place.is_stream

    def open(self) -> None:
        """Begin. OutputError where it cannot be, or something lies there."""
        self._place.open()
        self._pack()

    def _pack(self) -> None:
        file, name = self._place.file, self.name.lower()
        if name.endswith(".gz"):
            self._packer = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)
        elif name.endswith(".zst"):
            self._packer = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(file, closefd=False)
        else:
            self._packer = file

    @contextlib.contextmanager
    def again(self) -> Iterator[BinaryIO]:
        """What was written so far, to be read from its start, while it is written anew."""
        self._end()
        with self._place.again() as written:
            self._pack()
            with mapped(self.name):
                name = self.name.lower()
                if name.endswith(".gz"):
                    yield gzip.GzipFile(fileobj=written, mode="rb")  # type: ignore[misc]  # it has what is read with
                elif name.endswith(".zst"):
                    yield zstandard.ZstdDecompressor().stream_reader(written, closefd=False)
                else:
                    yield written

    def _end(self) -> None:
        packer, self._packer = self._packer, None
        assert packer is not None, "begin was not called"
        if isinstance(packer, gzip.GzipFile | zstandard.ZstdCompressionWriter):
            with mapped(self.name):
                packer.close()

    def write(self, data: bytes) -> None:
        """Write some more of it."""
        assert self._packer is not None
        with mapped(self.name):
            self._packer.write(data)
            if self._place.is_stream:
                self._packer.flush()  # somebody reads along

    def seal(self) -> str:
        """End the compression and make the file durable; returns its mark."""
        if self._packer is not None:
            self._end()
        return self._place.seal()

    def settle(self) -> None:
        """Put the file in its place."""
        self.seal()
        self._place.settle()

    def abandon(self) -> None:
        """Remove it; again, it does nothing."""
        packer, self._packer = self._packer, None
        self._place.abandon()
        if isinstance(packer, gzip.GzipFile | zstandard.ZstdCompressionWriter):
            # It still wants to write its end, to a file that is closed by now.
            with contextlib.suppress(OSError, ValueError):
                packer.close()
