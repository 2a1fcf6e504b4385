"""Who a file is: three anchors, and the verdict on whether what lies at a path is what was read before.

The anchors are the inode with its generation or birth time, a fingerprint of the head, and the bytes before the
position. Each alone has a known way to fail: inodes are used again at once, heads are alike, endings repeat.

Invariants: the verdict is a pure function, and where it is unsure it says "another file", which repeats lines under the
same event ids instead of losing them. Must never: read more of a file than its head.
"""

from __future__ import annotations

import ctypes
import fcntl
import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os

    from enricher.core.block import FileState

HEAD_BYTES: Final = 1024
MARKER_BYTES: Final = 64
_STRONG_HEAD_BYTES: Final = 256
_WEAK_HEAD_BYTES: Final = 64
_HOLD_SECONDS: Final = 5.0

# Linux: FS_IOC_GETVERSION is _IOR('v', 1, long), though an int comes back.
_FS_IOC_GETVERSION: Final = 0x80087601
_AT_EMPTY_PATH: Final = 0x1000
_STATX_BTIME: Final = 0x800
_STATX_BYTES: Final = 256
_STATX_BTIME_OFFSET: Final = 80

_SUFFIXES: Final = re.compile(
    rb"(?:\.(?:gz|xz|bz2|zst|old|tmp|[0-9]{1,4})|[-.][0-9]{8}(?:[-T]?[0-9]{2,6})?|[-.][0-9]{4}-[0-9]{2}-[0-9]{2}|-[0-9]{10})$"
)


class Verdict(StrEnum):
    """What a file met on disk is to a row of the registry."""

    CONTINUE = "continue"  # the same file: read on after the position
    REWRITTEN = "rewritten"  # the same inode with other content: a new generation from its start
    ADOPT = "adopt"  # another inode with the same content: moved, copied or compressed; read on there
    OTHER = "other"  # not this file
    HOLD = "hold"  # too little is known yet to say


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was seen of a file that may be a known one."""

    path: bytes
    device: int
    inode: int
    birth: str
    head: bytes
    """Its first `HEAD_BYTES` bytes, decompressed; fewer only where it has no more."""
    before: bytes | None
    """The up to `MARKER_BYTES` bytes that end at the row's position; None where it ends before that."""
    quiet_seconds: float
    """How long it has not changed."""


def resume_verdict(row: FileState, seen: Sighting, *, original_gone: bool) -> Verdict:
    """Judge a file met on disk against a row.

    `original_gone`: no file holds the row's content at its path any more (missing, replaced, truncated). While the
    original lives, only a file named as a rotation of it can be its copy.
    """
    births_known = bool(row.birth and seen.birth)
    if births_known:
        # Whatever the device is called: a file system may have another number after each mount.
        same_inode = (row.inode, row.birth) == (seen.inode, seen.birth)
    else:
        same_inode = (row.device, row.inode) == (seen.device, seen.inode)
    if same_inode and not births_known and row.head_bytes < _WEAK_HEAD_BYTES:
        # Nothing but a number that is used again says that it is the same file: wait for a line to compare.
        if b"\n" not in seen.head and seen.quiet_seconds < _HOLD_SECONDS:
            return Verdict.HOLD
        same_inode = seen.path == row.path
    unchanged = has_head(row, seen.head) and seen.before == row.marker
    if same_inode:
        return Verdict.CONTINUE if unchanged else Verdict.REWRITTEN
    if not unchanged or row.head_bytes == 0 or not _is_telling(row, seen):
        return Verdict.OTHER
    return Verdict.ADOPT if original_gone or is_rotation_of(seen.path, row.path) else Verdict.OTHER


def has_head(row: FileState, head: bytes) -> bool:
    """Whether content with this head starts as the row's did."""
    return len(head) >= row.head_bytes and sha256(head[: row.head_bytes]).digest() == row.head_hash


def _is_telling(row: FileState, seen: Sighting) -> bool:
    """Whether equal heads say that the files are one: long ones, or those that are all there is.

    Of a file that is named as a rotation of the row's, all that was read is enough.
    """
    is_all_read = row.head_bytes >= row.position + len(row.partial) and is_rotation_of(seen.path, row.path)
    return row.head_bytes >= _STRONG_HEAD_BYTES or len(seen.head) == row.head_bytes or is_all_read


def logical_path(path: bytes) -> bytes:
    """The path without what rotation and compression append: `.1`, `.2.gz`, `-20261122`, `.old`."""
    directory, slash, name = path.rpartition(b"/")
    while (shorter := _SUFFIXES.sub(b"", name)) != name and shorter.strip(b"."):
        name = shorter
    # Most paths have nothing of it: no second copy of those is kept.
    return path if path.endswith(slash + name) else directory + slash + name


def is_rotation_of(path: bytes, original: bytes) -> bool:
    """Whether a path is that of a rotated or compressed file of the log that another path belongs to."""
    logical = logical_path(path)
    return path not in (original, logical) and logical == logical_path(original)


def file_identity(host: str, path: bytes, first_line: bytes, generation: int) -> str:
    """16 hex digits that a file keeps when it is renamed, copied and compressed: `FileState.identity`."""
    parts = (host.encode(), logical_path(path), first_line, b"%d" % generation)
    return sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()[:16]


def birth_of(descriptor: int) -> str:
    """The inode's generation, else its birth time, else nothing: what tells two users of one inode number apart."""
    try:
        (generation,) = struct.unpack_from("=I", fcntl.ioctl(descriptor, _FS_IOC_GETVERSION, bytes(8)))
    except OSError:
        generation = 0
    if generation:
        return f"g{generation}"
    born = _birth_time(descriptor)
    return f"b{born}" if born else ""


def _birth_time(descriptor: int) -> int:
    """Nanoseconds since the epoch, by statx(2), which this Python does not offer; 0 where it is not known."""
    statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if statx is None:
        return 0
    seen = ctypes.create_string_buffer(_STATX_BYTES)
    failed = statx(ctypes.c_int(descriptor), b"", ctypes.c_int(_AT_EMPTY_PATH), ctypes.c_uint(_STATX_BTIME), seen)
    (mask,) = struct.unpack_from("=I", seen.raw)
    if failed or not mask & _STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", seen.raw, _STATX_BTIME_OFFSET)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def is_same_inode(row: FileState, seen: os.stat_result) -> bool:
    """Whether a stat may be of the row's file."""
    return (row.device, row.inode) == (seen.st_dev, seen.st_ino)
