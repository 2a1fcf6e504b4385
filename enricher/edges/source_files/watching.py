"""What the kernel says has changed: inotify on directories, as a hint where to look first.

Directories are watched, never single files: one watch tells of all the files in it. Polling stays the truth: a hint may
be missing (another host wrote to a shared disk, memory was mapped, a link leads elsewhere), and when the queue of the
kernel has overflowed, all that is said is that nothing is known.

Invariants: an event that happened before `take` is in what it returns, or `overflowed` is set; a directory that cannot
be watched is no error. Must never: look at a file, or wait.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

_MODIFY: Final = 0x2
_ATTRIB: Final = 0x4
_MOVED: Final = 0x40 | 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_SELF: Final = 0x400 | 0x800
_UNMOUNTED: Final = 0x2000
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLY_DIRECTORIES: Final = 0x01000000
_NOT_UNLINKED: Final = 0x04000000
_WATCHED: Final = _MODIFY | _ATTRIB | _MOVED | _CREATE | _DELETE | _SELF | _ONLY_DIRECTORIES | _NOT_UNLINKED
_STIRRING: Final = _MOVED | _CREATE | _DELETE
_LOST: Final = _SELF | _UNMOUNTED | _IGNORED
_EVENT: Final = struct.Struct("=iIII")
_BUFFER_BYTES: Final = 64 * 1024
_MAX_EVENT_BYTES: Final = 512


@dataclass(slots=True)
class Hints:
    """Where something happened since the last time."""

    named: set[bytes] = field(default_factory=set)
    """Paths of files that were written to, or whose attributes changed."""
    stirred: set[bytes] = field(default_factory=set)
    """Directories in which names came or went."""
    overflowed: bool = False
    """Anything may have happened anywhere."""

    def __bool__(self) -> bool:
        return self.overflowed or bool(self.named or self.stirred)

    def add(self, later: Hints) -> None:
        """Take in what was heard later."""
        self.named |= later.named
        self.stirred |= later.stirred
        self.overflowed |= later.overflowed


class Watcher:
    """An inotify instance; without one, where the machine has none left to give, it never hints anything."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._paths: dict[int, set[bytes]] = {}
        self._watches: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def watch(self, directory: bytes) -> bool:
        """Watch a directory; False if that cannot be. One that is watched already may be another directory by now."""
        if self._descriptor < 0:
            return False
        watch = int(self._libc.inotify_add_watch(self._descriptor, directory, _WATCHED))
        before = self._watches.get(directory, watch)
        if before != watch:
            self._forget(directory)
        if watch < 0:
            return False
        self._watches[directory] = watch
        self._paths.setdefault(watch, set()).add(directory)
        return True

    def keep(self, directories: Collection[bytes]) -> None:
        """Watch no others than these any more."""
        for directory in [path for path in self._watches if path not in directories]:
            self._forget(directory)

    def _forget(self, directory: bytes) -> None:
        watch = self._watches.pop(directory)
        paths = self._paths.get(watch)
        if paths is not None:
            paths.discard(directory)
            if not paths:
                del self._paths[watch]
                self._libc.inotify_rm_watch(self._descriptor, watch)

    def take(self) -> Hints:
        """What happened since the last time; returns at once."""
        hints = Hints()
        while self._descriptor >= 0:
            try:
                events = os.read(self._descriptor, _BUFFER_BYTES)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                hints.overflowed |= error.errno != errno.EAGAIN
                break
            self._sort(events, hints)
            if len(events) < _BUFFER_BYTES - _MAX_EVENT_BYTES:  # what comes while we read is for the next time
                break
        return hints

    def _sort(self, events: bytes, hints: Hints) -> None:
        at = 0
        while at < len(events):
            watch, mask, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                hints.overflowed = True
                continue
            paths = self._paths.get(watch)
            if paths is None:
                continue
            if mask & _LOST:
                hints.stirred |= paths
                if mask & _IGNORED:
                    for path in self._paths.pop(watch):
                        self._watches.pop(path, None)
            elif mask & _STIRRING or not length:
                hints.stirred |= paths
            if length:
                name = events[at - length : at].rstrip(b"\0")
                hints.named.update(os.path.join(path, name) for path in paths)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._paths.clear()
        self._watches.clear()
