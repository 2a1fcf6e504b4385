"""Known files under new names: renamed, copied, compressed, back from the dead.

Invariant: a file is taken for a known one only on the word of `identity.resume_verdict`. Must never: read lines.
"""

from __future__ import annotations

import os
import stat as modes
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from enricher.edges.source_files.beside import Beside, followed
from enricher.edges.source_files.identity import (
    HEAD_BYTES,
    MARKER_BYTES,
    Sighting,
    Verdict,
    birth_of,
    is_rotation_of,
    is_same_inode,
    resume_verdict,
)
from enricher.edges.source_files.known import key_of
from enricher.edges.source_files.streams import PLAIN, Stream, codec_of, open_stream
from enricher.edges.source_files.tracking import Descriptors, Tracked, open_file

if TYPE_CHECKING:
    from enricher.core.block import FileState
    from enricher.edges.source_files.copies import Copies
    from enricher.edges.source_files.known import Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """An open file whose inode is not known."""

    path: bytes
    stat: os.stat_result
    birth: str
    codec: str
    stream: Stream
    head: bytes


def sight(seen: Stranger, row: FileState, *, quiet_seconds: float) -> Sighting:
    """What an open file, which is that quiet, shows of the anchors of a row."""
    before = seen.stream.pread(len(row.marker), row.position - len(row.marker)) if row.marker else b""
    is_plain = row.codec == PLAIN == seen.codec
    shrunk = len(before) < len(row.marker) or (is_plain and not _holds(seen, row))
    return Sighting(
        path=seen.path,
        device=seen.stat.st_dev,
        inode=seen.stat.st_ino,
        birth=seen.birth,
        head=seen.head,
        before=None if shrunk else before,
        quiet_seconds=quiet_seconds,
    )


def _holds(seen: Stranger, row: FileState) -> bool:
    """Whether a plain file has what the row holds back where it was read."""
    end, last = row.position + len(row.partial), row.partial[-MARKER_BYTES:]
    return seen.stat.st_size >= end and seen.stream.pread(len(last), end - len(last)) == last


def adopt(
    known: Known, copies: Copies, descriptors: Descriptors, stranger: Stranger, now: float, *, given_up: Tracked | None
) -> Tracked | bool:
    """The known file that a stranger is or goes on for; True if it is to wait, False if it is none.

    A file that is known, or was known and is `given_up`, moves to the stranger. A new one is not known yet.
    """
    there: list[Tracked] = []
    gone: list[Tracked] = []
    for original in known.alike(stranger.path, stranger.head):
        (there if original is not given_up and _is_there(original, descriptors) else gone).append(original)
    # Those that are there first: a copy of what goes on is no sequel of an older copy that is gone.
    for original in there:
        judged = copies.judge(stranger, original, now)
        if judged is not False:
            return judged
        # Only now: while the two were compared the one may have been truncated of which the other is the copy.
        if copies.comparing.is_truncated(original, now):
            return True  # once that is seen to it is clear
    was_read = copies.read_within(stranger, given_up, now)
    if was_read is not None:
        return was_read
    for original in gone:
        quiet = known.quiet_seconds(stranger.stat.st_mtime, now)
        verdict = resume_verdict(original.row, sight(stranger, original.row, quiet_seconds=quiet), original_gone=True)
        # It may be back as it was: an unmounted disk, a directory that could not be entered.
        if verdict not in (Verdict.ADOPT, Verdict.CONTINUE):
            continue
        row = replace(
            original.row,
            path=stranger.path,
            device=stranger.stat.st_dev,
            inode=stranger.stat.st_ino,
            birth=stranger.birth,
            codec=stranger.codec,
            gone_at=None,
        )
        known.move(original, row)
        return original
    return False


def find_inode(file: Tracked, beside: Beside) -> bytes | None:
    """The path that a file has now, in its directory or in that to which its link leads."""
    found = _with_inode(file, beside)
    # It may have been renamed again since the directory was listed.
    return _with_inode(file, beside) if found is None and beside.renew(file.path) else found


def _with_inode(file: Tracked, beside: Beside) -> bytes | None:
    for path in beside.with_inode(file):
        try:
            if is_same_inode(file.row, followed(path)) and _is_born_as(file, path):
                return path
        except OSError:
            continue
    return None


def _is_born_as(file: Tracked, path: bytes) -> bool:
    """Whether a number is not that of a file of before, which another one has now."""
    descriptor = open_file(path)
    try:
        return birth_of(descriptor) == file.row.birth
    finally:
        os.close(descriptor)


def find_copy(
    known: Known, copies: Copies, descriptors: Descriptors, beside: Beside, file: Tracked, now: float
) -> bool:
    """Go on with a file in its copy under a rotated name beside it, compressed too. False if there is none."""
    if not file.row.head_bytes:
        return False
    found = _in_copy(known, copies, descriptors, beside, file, now)
    return found or (beside.renew(file.path) and _in_copy(known, copies, descriptors, beside, file, now))


def _in_copy(known: Known, copies: Copies, descriptors: Descriptors, beside: Beside, file: Tracked, now: float) -> bool:
    for path in beside.of_log(file.path):
        try:
            stat = followed(path)
            is_other = modes.S_ISREG(stat.st_mode) and not known.has((stat.st_dev, stat.st_ino))
            if is_other and _goes_on_in(known, copies, descriptors, file, path, now):
                return True
        except OSError:
            continue
    return False


def find_missed(known: Known, file: Tracked, beside: Beside) -> list[tuple[bytes, os.stat_result]]:
    """Rotated files of a log that nobody knows and that changed after the one that left its place.

    The log was rotated again before it was looked at: none of these was ever seen under a name that a pattern matches.
    """
    missed = []
    for path in beside.of_log(file.home):
        try:
            stat = followed(path)
        except OSError:
            continue
        is_newer = modes.S_ISREG(stat.st_mode) and stat.st_mtime >= file.mtime
        if is_newer and is_rotation_of(path, file.home) and not known.has((stat.st_dev, stat.st_ino)):
            missed.append((path, stat))
    return missed


def _goes_on_in(known: Known, copies: Copies, descriptors: Descriptors, file: Tracked, path: bytes, now: float) -> bool:
    descriptor = open_file(path)
    adopted: Tracked | bool = False
    try:
        stat = os.fstat(descriptor)
        codec = codec_of(os.pread(descriptor, HEAD_BYTES, 0))
        if codec.startswith("(") or known.has((stat.st_dev, stat.st_ino)):
            return False
        stream = open_stream(descriptor, codec)
        stranger = Stranger(
            path=path,
            stat=stat,
            birth=birth_of(descriptor),
            codec=codec,
            stream=stream,
            head=stream.pread(HEAD_BYTES, 0),
        )
        adopted = adopt(known, copies, descriptors, stranger, now, given_up=file)
        if isinstance(adopted, bool) or not known.has(key_of(adopted)):
            # A copy of yet another file; no pattern matches it.
            adopted = False
            copies.forget(stat)
            return False
        adopted.starts_with(stranger.head)
        known.saw(adopted, stat, now)
        adopted.was_checked(stat)
        adopted.outside = True
        descriptors.keep(adopted, descriptor)
        return adopted is file
    finally:
        if adopted is False:
            os.close(descriptor)


def _is_there(file: Tracked, descriptors: Descriptors) -> bool:
    """Whether a file can be read: its inode lies at its path, now and not only at the last scan, or it is open."""
    if not file.present or descriptors.stat(file) is not None:
        return file.present
    try:
        return is_same_inode(file.row, os.stat(file.path))
    except OSError:
        return False
