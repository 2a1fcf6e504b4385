"""The directory of a file sink and the windows in it, by descriptor: what lies there, and how a file is replaced.

Who may write in the directory may put a link in the place of a window or of a file at any time. So a window is opened
once, as a directory and through no link, and all that is done in it is done to what was opened. Never here: what is in
a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from enricher import private
from enricher.core.manifest import SUFFIXES, part_name
from enricher.core.window import DAY_SECONDS, window_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TEMPORARY: Final = ".tmp"
_PART_NAME: Final = re.compile(r"\.?events-\d{3,}\.jsonl(\.zst|\.gz)?(\.tmp)?")
_OUR_NAMES: Final = re.compile(_PART_NAME.pattern + r"|\.?(manifest\.json|digest\.json|digest\.md)(\.tmp)?")


class Windows:
    """The directory of a sink. Every method raises OSError."""

    def __init__(self, directory: Path, *, group_readable: bool) -> None:
        self._directory = directory
        self._modes = (0o640, 0o750) if group_readable else (private.FILE_MODE, private.DIRECTORY_MODE)
        self._is_clean = False

    def enter(self, name: str) -> Window:
        """Open a window, which is made if need be; what was begun in any before this process is removed first."""
        file_mode, directory_mode = self._modes
        private.make_directory(self._directory, mode=directory_mode)
        root = _open(self._directory)
        try:
            if not self._is_clean:
                self._remove_leftovers(root)
                self._is_clean = True
            try:
                opened = _open(name, root)
            except FileNotFoundError:
                os.mkdir(name, directory_mode, dir_fd=root)
                opened = private.open_directory(name, mode=directory_mode, dir_fd=root)
                os.fsync(root)
        except BaseException:
            os.close(root)
            raise
        return Window(name=name, root=root, opened=opened, file_mode=file_mode)

    def remove_before(self, limit: float) -> int:
        """Delete the windows of before `limit` (epoch seconds) in which all is ours; how many."""
        if not self._directory.is_dir():
            return 0
        removed = 0
        with _opened(self._directory) as root:
            for name in _windows(root):
                with _opened(name, root) as window:
                    is_old = _is_older(name, window, limit)
                    for one in os.listdir(window) if is_old else ():
                        os.unlink(one, dir_fd=window)
                if is_old:
                    os.rmdir(name, dir_fd=root)
                    removed += 1
        return removed

    @staticmethod
    def _remove_leftovers(root: int) -> None:
        for name in _windows(root):
            with _opened(name, root) as window:
                for one in os.listdir(window):
                    if one.endswith(_TEMPORARY) and _OUR_NAMES.fullmatch(one):
                        os.unlink(one, dir_fd=window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window's directory, open until it is closed. Every method raises OSError."""

    name: str
    root: int
    opened: int
    file_mode: int

    def begin(self, name: str) -> BinaryIO:
        """Open a new file, to be put in the place of `name`."""
        temporary = f".{name}{_TEMPORARY}"
        self._unlink(temporary)
        opener = partial(private.opener, mode=self.file_mode, dir_fd=self.opened)
        return cast("BinaryIO", open(temporary, "xb", opener=opener))

    def replace(self, name: str) -> None:
        """Let what was begun and synced be `name`, for good."""
        os.rename(f".{name}{_TEMPORARY}", name, src_dir_fd=self.opened, dst_dir_fd=self.opened)
        os.fsync(self.opened)
        found = os.stat(self.name, dir_fd=self.root, follow_symlinks=False)
        if not os.path.samestat(found, os.fstat(self.opened)):  # nobody would find there what was written
            raise OSError(errno.ESTALE, "replaced by somebody else while it was written to")

    def give_up(self, name: str) -> None:
        """Remove what was begun."""
        self._unlink(f".{name}{_TEMPORARY}")

    def remove_other_compressions(self, number: int, name: str) -> None:
        """A part delivered again after `compress` was changed must not lie there twice."""
        for compress in SUFFIXES:
            other = part_name(number, compress)
            if other != name:
                self._unlink(other)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.opened)
        os.close(self.root)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.opened)


def _open(path: Path | str, root: int | None = None) -> int:
    """Open a directory; the sink's own may be a link, a window may not."""
    no_link = 0 if root is None else os.O_NOFOLLOW
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | no_link, dir_fd=root)


@contextlib.contextmanager
def _opened(path: Path | str, root: int | None = None) -> Iterator[int]:
    descriptor = _open(path, root)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _windows(root: int) -> list[str]:
    with os.scandir(root) as entries:
        names = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
    return [name for name in names if _start_of(name) is not None]


def _start_of(name: str) -> int | None:
    """Start of the window that a directory is named after; None for a directory of somebody else's."""
    try:
        return window_start(name)
    except ValueError:
        return None


def _is_older(name: str, window: int, limit: float) -> bool:
    """Whether a window and all its files are from before `limit`, and all its files are ours."""
    start = _start_of(name)
    if start is None or start + DAY_SECONDS > limit:
        return False
    with os.scandir(window) as entries:
        for entry in entries:
            state = entry.stat(follow_symlinks=False)
            if not _OUR_NAMES.fullmatch(entry.name) or not stat.S_ISREG(state.st_mode) or state.st_mtime > limit:
                return False
    return True
