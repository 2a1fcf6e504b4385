"""Files and directories for this user alone: how every part of the program makes what it keeps.

What is kept holds log lines, answers and what they cost. So a file is 0600 and a directory 0700, whatever the umask and
whatever was there before, no link is followed to a file, and a directory into which somebody else may write holds no
state of ours. Never here: what a user asks to have written for others.
"""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING, Final

from enricher.errors import StoreError

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


def check_owner(directory: Path, state: os.stat_result) -> None:
    """Raise StoreError where somebody else could put files in the place of ours: as ssh does with its keys.

    `state` is that of the directory as it was opened.

    Who writes here, or renames what leads here, chooses what is read as our state and where raw lines are written.
    """
    name, user = shlex.quote(str(directory)), os.geteuid()
    if state.st_uid not in (0, user):
        raise StoreError(
            f"{directory}: belongs to user {state.st_uid}, and enricher runs as user {user}",
            hint=f"run it as that user, or give the directory away: chown -R {user} {name}",
        )
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreError(
            f"{directory}: may be written by others (mode {state.st_mode & 0o7777:04o})",
            hint=f"take that away: chmod go-w {name}",
        )
    for parent in directory.resolve().parents:
        mode = parent.stat().st_mode
        # In a directory such as /tmp nobody renames what is not theirs.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise StoreError(
                f"{directory}: lies in {parent}, in which anybody may rename it (mode {mode & 0o7777:04o})",
                hint=f"take that away (chmod o-w {shlex.quote(str(parent))}), or use another directory",
            )


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
