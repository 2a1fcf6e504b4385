"""Room on the disk of the store that is kept back: a file that is given up when the disk is full.

Deleting from a database takes room before it gives any: the log of the transaction. On a disk that others have filled,
what was delivered could not be deleted, and so the room that it takes would never come back. While the file is not
there nothing more is read, and it is made again as soon as the disk has room for it twice.

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
        """Whether it is not there for want of room, as far as was last looked."""

    def look(self) -> bool:
        """Look whether it is there, or could be made; whether so. Changes nothing on the disk."""
        self.is_given_up = self._size_bytes > 0 and not self._is_there() and not self._fits()
        return not self.is_given_up

    def make(self) -> bool:
        """Make it if it is missing and fits twice; whether it is there."""
        if self._size_bytes == 0:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        elif not self._is_there():
            self.is_given_up = not (self._fits() and self._allocate())
        else:
            self.is_given_up = False
        return not self.is_given_up

    def give_up(self) -> bool:
        """Give its room back to the disk; whether there was any to give."""
        if self._size_bytes == 0:
            return False
        self.is_given_up = True
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def free_bytes(self) -> int:
        """Room on the disk beside it, for who is not root; 0 where the disk does not say."""
        try:
            state = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return state.f_bavail * state.f_frsize

    def _is_there(self) -> bool:
        """A file that is shorter was being made when the process was killed, or is of another configuration."""
        try:
            return self._path.stat().st_size == self._size_bytes
        except OSError:
            return False

    def _fits(self) -> bool:
        return self.free_bytes() >= 2 * self._size_bytes

    def _allocate(self) -> bool:
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return False
        return True
