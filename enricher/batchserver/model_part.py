"""The growing file of a pull: `NAME.part`, with the running hash of all that it holds.

Invariant: the hash always covers exactly the first `size_bytes` bytes of the file, also those that an earlier, broken
pull wrote. Only `finish` gives the file its real name, and only its caller knows that the hash was right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Self

from enricher.batchserver.model_sources import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from enricher.batchserver.model_sources import Source

# (bytes done, bytes in all, what is going on); what it raises ends the pull, which can be taken up again later.
Progress = Callable[[int, int, str], None]

_BLOCK_BYTES = 1 << 20
_CHECKING = "checking what is there"


class GrowingFile:
    """Bytes of one file as they arrive; a context manager that keeps what it has when it is left early."""

    def __init__(self, target: Path, full_bytes: int, progress: Progress) -> None:
        self._target = target
        self._path = target.with_name(target.name + ".part")
        self._full_bytes = full_bytes
        self._progress = progress
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0

    def __enter__(self) -> Self:
        self._stream = open_shared(self._path, "a+b")
        self.size_bytes = min(self._stream.seek(0, os.SEEK_END), self._full_bytes)
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def fill_from(self, source: Source, sha256: str) -> None:
        """Complete the file from `source`; raises SourceError if it cannot, or if the hash is not `sha256`.

        A wrong hash is tried once more from the first byte when an earlier pull had written some of the file.
        """
        while True:
            start = self._take_rest(source)
            found = self._hash.hexdigest()
            if found == sha256:
                return
            self._cut_to(0)
            if start == 0:
                raise SourceError(f"{source.label} has SHA-256 {found}, expected {sha256}: not used")

    def finish(self) -> None:
        """Make the bytes durable, then give the file its real name."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._path.replace(self._target)

    def _take_rest(self, source: Source) -> int:
        """Append what is missing and give the offset that `source` began at."""
        if self.size_bytes == self._full_bytes:
            self._cut_to(self.size_bytes)
            return self.size_bytes
        start, blocks = source.read_from(self.size_bytes)
        with contextlib.closing(blocks):
            self._cut_to(start)
            for block in blocks:
                self._append(block, source.label)
        if self.size_bytes != self._full_bytes:
            raise SourceError(f"{source.label} ended after {self.size_bytes} of {self._full_bytes} bytes")
        return start

    def _cut_to(self, size_bytes: int) -> None:
        """Keep the first bytes only, and hash those that this run has not seen."""
        self.size_bytes = size_bytes
        if self._hashed_bytes > size_bytes:
            self._hash, self._hashed_bytes = hashlib.sha256(), 0
        self._stream.truncate(size_bytes)
        self._stream.seek(self._hashed_bytes)
        while self._hashed_bytes < size_bytes:
            block = self._stream.read(_BLOCK_BYTES)
            self._hash.update(block)
            self._hashed_bytes += len(block)
            self._progress(self._hashed_bytes, self._full_bytes, _CHECKING)

    def _append(self, block: bytes, note: str) -> None:
        if self.size_bytes + len(block) > self._full_bytes:
            self._cut_to(0)
            raise SourceError(f"{note} gives more than {self._full_bytes} bytes")
        self._stream.write(block)
        self._hash.update(block)
        self.size_bytes += len(block)
        self._hashed_bytes = self.size_bytes
        self._progress(self.size_bytes, self._full_bytes, note)


def open_shared(path: Path, mode: str) -> IO[bytes]:
    """Open a file to write that others may read, as far as the umask lets them, and never write to. Raises OSError."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | os.O_NOFOLLOW, 0o644)
        found = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if found & 0o022:  # of a pull before
            os.fchmod(descriptor, found & ~0o022)
        return descriptor

    return open(path, mode, opener=opener)


def hash_file(path: Path, progress: Progress) -> str:
    """Give the SHA-256 of a file in hex, reporting on the way; raises OSError."""
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            progress(done, size, _CHECKING)
    return digest.hexdigest()
