"""Files and directories for this user alone: how every part of the program makes what it keeps.

What is kept holds log lines, answers and what they cost. So a file is 0600 and a directory 0700, whatever the umask and
whatever was there before, and no link is followed to a file. Never here: what a user asks to have written for others.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


def opener(path: str, flags: int, *, mode: int = FILE_MODE, dir_fd: int | None = None) -> int:
    """What to give `open` as its opener, to write. Raises OSError, for a link too, and for a file of another user."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    return _with_mode(descriptor, mode)


def make_directory(directory: Path, *, mode: int = DIRECTORY_MODE) -> None:
    """Make a directory, and with it those above it that are missing; one that is there is left as it is. OSError."""
    if directory.is_dir():
        return
    if not directory.parent.is_dir() and directory.parent != directory:
        make_directory(directory.parent, mode=mode)
    try:
        os.mkdir(directory, mode)  # noqa: PTH102 - Path.mkdir gives parents another mode
    except FileExistsError:  # by another process, or it is no directory
        if not directory.is_dir():
            raise
        return
    os.close(open_directory(directory, mode=mode))


def open_directory(path: Path | str, *, mode: int, dir_fd: int | None = None) -> int:
    """Open a directory that was just made, and give it its mode. Raises OSError, for a link too."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return _with_mode(os.open(path, flags, dir_fd=dir_fd), mode)


def _with_mode(descriptor: int, mode: int) -> int:
    """Set the mode that the umask, or somebody before, may have made another."""
    try:
        state = os.fstat(descriptor)
        now = stat.S_IMODE(state.st_mode)
        if now & 0o777 != mode:
            _set_mode(descriptor, now & ~0o777 | mode, is_ours=state.st_uid == os.geteuid())
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _set_mode(descriptor: int, mode: int, *, is_ours: bool) -> None:
    try:
        os.fchmod(descriptor, mode)
    except PermissionError:
        # A file system without modes, such as FAT, refuses to its owner too: who may read is told when it is mounted.
        if not is_ours:
            raise
