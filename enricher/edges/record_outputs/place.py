"""The place of an output: a file that is written beside it and takes its name when it is whole.

Invariants: until `settle` returns nothing at the place has changed, and after it the new file is durable; two runs do
not write one output; what a killed run left beside it, the next one takes over. A pipe or a device is written
directly, since nothing takes its name. Must never: know what is written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
from typing import TYPE_CHECKING, BinaryIO

from enricher.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Place:
    """Where one output goes: a path, or standard output (None)."""

    def __init__(self, path: Path | None, name: str, *, overwrite: bool) -> None:
        self.name = name
        # A link stays, and what it leads to is replaced.
        self._path = None if path is None else path.resolve()
        self._overwrite = overwrite
        self._temporary: Path | None = None
        self._file: BinaryIO | None = None
        self._mark: str | None = None
        self.is_stream = self._path is None or is_special(self._path)
        """Nothing can be taken back, or written at another place than the end."""

    def check(self) -> None:
        """OutputError where something lies there that is not to be replaced, or nothing can be written."""
        if self.is_stream:
            return
        assert self._path is not None
        with mapped(self.name):
            if self._path.is_dir():
                raise OutputError(f"{self.name} is a directory", hint="name a file in it")
            if self._path.exists() and not self._overwrite:
                raise OutputError(f"{self.name} exists", hint="give --overwrite to replace it, or another name")
            check_directory(self._path)

    def open(self) -> BinaryIO:
        """The file to write; truncated, and held against another run."""
        self.check()
        with mapped(self.name):
            if self._path is None:
                self._file = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
            elif self.is_stream:
                self._file = self._path.open("wb")
            else:
                temporary = self._path.with_name(f".{self._path.name}.part")
                self._file, self._temporary = self._held(temporary), temporary
        return self._file

    def _held(self, temporary: Path) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            # The user's own file: as readable as whatever else is made under this umask.
            descriptor = os.open(temporary, flags, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between the two the run that held it may have given it its final name.
                if os.path.samestat(os.fstat(descriptor), temporary.stat()):
                    os.ftruncate(descriptor, 0)
                    return os.fdopen(descriptor, "w+b")
            except FileNotFoundError:
                pass
            except BlockingIOError as error:
                os.close(descriptor)
                raise OutputError(
                    f"another process is writing {self.name}", hint="wait until it has ended, or give another name"
                ) from error
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def again(self) -> BinaryIO:
        """What was written so far, to be read from its start and closed; `file` is a new one in its stead."""
        assert self._file is not None
        assert self._temporary is not None, "a stream has no second pass"
        with mapped(self.name):
            written = self._file
            written.flush()
            written.seek(0)
            self._temporary.unlink()
            self._file = self._held(self._temporary)
        return written

    @property
    def file(self) -> BinaryIO:
        """What is written to since `open`."""
        assert self._file is not None
        return self._file

    def seal(self) -> str:
        """Make what was written durable; returns its mark, which giving it its name does not change."""
        if self._mark is not None:
            return self._mark
        with mapped(self.name):
            self.file.flush()
            if self._temporary is None:
                self._mark = ""
            else:
                os.fsync(self.file.fileno())
                self._keep_mode(self.file)
                self._mark = mark_of(os.fstat(self.file.fileno()))
        return self._mark

    def settle(self) -> None:
        """Make what was written durable and give it its name."""
        self.seal()
        file, temporary = self.file, self._temporary
        with mapped(self.name):
            if temporary is not None and self._path is not None:
                if self._path.exists() and not self._overwrite:
                    raise OutputError(f"{self.name} was made by another process meanwhile", hint="give another name")
                temporary.rename(self._path)
                self._temporary = None
                _sync_directory(self._path.parent)
            self._file = None
            file.close()

    def _keep_mode(self, file: BinaryIO) -> None:
        """Let a file that is replaced stay as private, or as public, as it was."""
        assert self._path is not None
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(file.fileno(), stat.S_IMODE(self._path.stat().st_mode))

    def abandon(self) -> None:
        """Remove what was written; again, it does nothing."""
        file, self._file = self._file, None
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if file is not None:
            # What could not be written cannot be flushed either, and nobody wants it.
            with contextlib.suppress(OSError):
                file.close()


def mark_of(state: os.stat_result) -> str:
    """Tell a file from what another process has made of it, or put in its place: by its size and time."""
    return f"{state.st_size}:{state.st_mtime_ns}"


@contextlib.contextmanager
def mapped(name: str) -> Iterator[None]:
    """OSError of what is done inside as OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{name} cannot be written: {error.strerror or error}", hint=_hint(error)) from error


def check_directory(path: Path) -> None:
    """Whether a file can be made beside a path. OSError."""
    path.parent.stat()
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, which is written directly."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hint(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "make room on its file system and run the command again: nothing is paid for twice"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "let the user that runs this write there, or give another place"
        case errno.ENOENT | errno.ENOTDIR:
            return "make its directory first (mkdir -p), or give another place"
        case errno.EPIPE:
            return "whatever read it has ended: run the command again, nothing is paid for twice"
        case _:
            return "see that it can be written, and run the command again"
