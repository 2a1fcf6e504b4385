"""The state directory: whose it is, and the one process that holds it.

Must never: use a directory in which somebody else can put a file in the place of ours.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

from enricher import private
from enricher.errors import LockedError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME: Final = "lock"

_HINT: Final = "give it to the user that enricher runs as, or set another state_dir"
_HINTS: Final = {
    errno.EROFS: "its file system is read-only: see the kernel's log, and mount it for writing",
    errno.ENOSPC: "make room on its file system",
    errno.EDQUOT: "make room in the quota of the user that enricher runs as",
}


def lock_directory(directory: Path) -> int:
    """Make the directory (0700) if need be and lock it for this process; closing the descriptor returned releases it.

    Raises LockedError naming the holder, StoreError where the directory cannot be used or is not safe from others.
    """
    try:
        private.make_directory(directory)
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            private.check_owner(directory, os.fstat(opened))
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(LOCK_NAME, flags, 0o600, dir_fd=opened)
        finally:
            os.close(opened)
    except OSError as error:
        raise StoreError(
            f"{directory}: cannot be used as state directory: {error.strerror}",
            hint=_HINTS.get(error.errno or 0, _HINT),
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise StoreError(f"{directory}: cannot be locked: {error.strerror}") from error
        hint = f"stop process {holder}, or use another state_dir"
        raise LockedError(f"{directory}: is in use by process {holder}", hint=hint) from error
    # Who holds it is only for messages: a disk that is full, or worse, must not keep the store from being opened.
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
