"""Room on the disk of the store that is kept back: a file that is given up when the disk is full.

Deleting from a database takes room before it gives any: the log of the transaction. On a disk that others have filled,
what was delivered could not be deleted, and so the room that it takes would never come back. Given up, the file is
empty: then nothing more is read, also after a restart, until the disk has room for it twice and it is made again. On a
disk that never had so much room there is none, and reading goes on until the disk is full.

Must never: raise for a disk that is full or broken; the store finds that out by itself.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_NAME: Final = "reserve"


class Reserve:
    """The file `reserve` of a state directory; of no bytes, there is none and none is missed."""

    def __init__(self, directory: Path, size_bytes: int) -> None:
        self._path = directory / RESERVE_NAME
        self._size_bytes = size_bytes
        self.is_given_up = False
        """Whether its room was given up and is not to be had again, as far as was last looked."""

    def look(self) -> None:
        """Look whether it is given up for good. Changes nothing on the disk."""
        self.is_given_up = self._size_bytes > 0 and self._size() == 0 and not self._fits()

    def make(self) -> None:
        """Make it, if it is missing or was given up, and fits twice."""
        if self._size_bytes == 0:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return
        size = self._size()
        if size != self._size_bytes and self._fits() and self._allocate():
            size = self._size_bytes
        self.is_given_up = size == 0

    def give_up(self) -> bool:
        """Give its room back to the disk; whether there was any to give."""
        if not self._size():
            return False
        try:
            os.truncate(self._path, 0)
        except OSError:
            return False
        self.is_given_up = True
        return True

    def free_bytes(self) -> int:
        """Room on the disk beside it, for who is not root; 0 where the disk does not say."""
        try:
            state = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return state.f_bavail * state.f_frsize

    def _size(self) -> int | None:
        """Bytes of the file; None if there is none. Another size than ours is of another configuration."""
        try:
            return self._path.stat().st_size
        except OSError:
            return None

    def _fits(self) -> bool:
        return self.free_bytes() >= 2 * self._size_bytes

    def _allocate(self) -> bool:
        """Under another name first: a process that is killed meanwhile must not leave what looks like less."""
        new = self._path.with_name(f"{RESERVE_NAME}.new")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(new, flags, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
            new.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            return False
        return True
