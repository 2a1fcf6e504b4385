"""The files that a source knows: those that it follows, and those that are gone and may come back.

Invariants: an inode belongs to one followed file; an identity is given once. Must never: look at the disk.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.groups import Groups
from enricher.edges.source_files.identity import file_identity, has_head, logical_path
from enricher.edges.source_files.streams import PLAIN
from enricher.edges.source_files.tracking import QUIET_SECONDS, Tracked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from enricher.core.block import FileState
    from enricher.edges.source_files.tracking import Descriptors
    from enricher.telemetry import Telemetry

_FORGET_SECONDS: Final = 7 * 86400.0
_FORGET_UNSEEN_SECONDS: Final = 90 * 86400.0
"""The same where its directory is gone, too: a disk that is not mounted may be mounted again."""

_MAX_ALIKE: Final = 64
"""So many of the files that start alike, of other logs, are looked at for one that was moved: the latest."""

Key = tuple[int, int]


def readable(path: bytes) -> str:
    """A path as text."""
    return path.decode("utf-8", "backslashreplace")


class Heads:
    """Files by how they start, so that one that was moved is found among all that are known.

    A head only grows while a file is the same: it is found by what it was when the file was entered.
    """

    def __init__(self) -> None:
        self._files = Groups[Tracked]()
        self._lengths: set[int] = set()

    def add(self, file: Tracked) -> None:
        """Take in a file, if its head is known."""
        if file.row.head_bytes:
            file.found_by = file.row.head_hash
            self._files.add(file.found_by, file)
            self._lengths.add(file.row.head_bytes)

    def discard(self, file: Tracked) -> None:
        """Forget a file."""
        if file.found_by:
            self._files.remove(file.found_by, file)

    def alike(self, head: bytes) -> Iterator[Tracked]:
        """The latest of the files that start as this one does."""
        for length in [length for length in self._lengths if length <= len(head)]:
            yield from self._files.of(sha256(head[:length]).digest())[-_MAX_ALIKE:]


class Known:
    """Tracked files: by inode and by path while they are followed, and by what tells them again when they are gone.

    `unsettled` are those that something is to be done with; the others are as they were when they were last looked at,
    and cost nothing until something is seen of them. `stirred` are those of which something was seen or done since the
    last scan: of ten thousand that wait for their turn only these are gone over.
    """

    def __init__(self, *, source: str, host: str, descriptors: Descriptors, telemetry: Telemetry) -> None:
        self.source = source
        self.stirred: dict[Tracked, None] = {}
        self.unsettled: dict[Tracked, None] = {}
        """In the order in which they were last read, those that waited longest first."""
        self._host = host
        self._descriptors = descriptors
        self._telemetry = telemetry
        self._current: dict[int, dict[int, Tracked]] = {}
        self._followed = 0
        self._places: dict[bytes, dict[bytes, Tracked]] = {}
        self._logs = Groups[Tracked]()
        self._heads = Heads()
        self._identities: set[str] = set()
        self._forgotten: list[int] = []
        self._clock_set_at = -math.inf

    def __iter__(self) -> Iterator[Tracked]:
        return iter(self._logs)

    def __len__(self) -> int:
        """How many are followed."""
        return self._followed

    def take(self, rows: Sequence[FileState], past_identities: Collection[str] = ()) -> None:
        """Start from the registry."""
        self._identities.update(past_identities)
        for row in sorted(rows, key=lambda row: (row.gone_at is None, row.id)):
            file = Tracked(row=row, path=row.path, size=row.size_seen, mtime=row.mtime_seen, gone_at=row.gone_at)
            file.looked_to = file.read_end
            # A row that was drained as compressed says gone; the file may well be there still.
            file.present = row.gone_at is None or row.codec != PLAIN
            self._enter(file)
            if file.present:
                self._follow(file)
            self._identities.add(row.identity)
        for file in self._logs:
            # An inode of a row that ended may have been used again since.
            file.present &= self.is_current(file)

    def _enter(self, file: Tracked) -> None:
        self._logs.add(file.home, file)
        self._heads.add(file)
        self.stir(file)

    def _follow(self, file: Tracked) -> None:
        inodes = self._current.setdefault(file.row.device, {})
        self._followed += file.row.inode not in inodes
        inodes[file.row.inode] = file
        displaced = self._places.setdefault(os.path.dirname(file.path), {}).get(file.path)
        if displaced is not None and displaced is not file:
            self.stir(displaced)  # two at one path: one of them was moved away, which is seen to next
        self._places[os.path.dirname(file.path)][file.path] = file

    def _leave(self, file: Tracked) -> None:
        directory = os.path.dirname(file.path)
        places = self._places.get(directory, {})
        if places.get(file.path) is file:
            del places[file.path]
            if not places:
                del self._places[directory]
        if self.is_current(file):
            del self._current[file.row.device][file.row.inode]
            self._followed -= 1

    def present(self) -> list[Tracked]:
        """The files that are followed."""
        return [file for file in self._logs if file.present]

    def displaced(self) -> list[Tracked]:
        """Files of the registry that another one has the inode of, though nothing says that they are gone.

        A process that ended between the two commits leaves them; what they were is to be found out again.
        """
        return [file for file in self._logs if not file.present and file.gone_at is None]

    def at(self, path: bytes) -> Tracked | None:
        """The file that is followed at a path."""
        return self._places.get(os.path.dirname(path), {}).get(path)

    def within(self, directory: bytes) -> list[Tracked]:
        """The files that are followed in a directory."""
        return list(self._places.get(directory, {}).values())

    def of_log(self, home: bytes) -> list[Tracked]:
        """All files of a log, the rotated ones and those that are gone too."""
        return self._logs.of(home)

    def is_current(self, file: Tracked) -> bool:
        """Whether its inode is its own still."""
        return self.with_inode(key_of(file)) is file

    def has(self, key: Key) -> bool:
        """Whether an inode is followed."""
        return self.with_inode(key) is not None

    def with_inode(self, key: Key) -> Tracked | None:
        """The file that is followed in an inode."""
        device, inode = key
        return self._current.get(device, {}).get(inode)

    def add(self, file: Tracked) -> None:
        """Follow a new file."""
        self._enter(file)
        self._follow(file)

    def stir(self, file: Tracked) -> None:
        """Something is to be done with a file."""
        self.unsettled[file] = self.stirred[file] = None

    def settle(self, *, once: bool) -> None:
        """Leave alone what nothing is to be done with."""
        for file in self.stirred:
            if file in self.unsettled and file.is_settled(once=once):
                del self.unsettled[file]
                file.rests()

    def served(self, file: Tracked) -> None:
        """A file had its turn: it is the last of the unsettled now."""
        self.unsettled.pop(file, None)
        self.stir(file)

    def rename(self, file: Tracked, path: bytes) -> None:
        """A file was met under another name."""
        self._telemetry.file_rotated(source=self.source, path=readable(file.path), new_path=readable(path))
        is_followed = self.is_current(file)
        if is_followed:
            self._leave(file)
        file.path = path
        if is_followed:
            self._follow(file)
        file.renamed = file.dirty = True
        self.stir(file)

    def move(self, file: Tracked, row: FileState) -> None:
        """Go on with a file in another inode: its copy, or its compressed twin; or in its own, back again."""
        self._descriptors.close(file)
        self._leave(file)
        if file.path != row.path:
            self.rename(file, row.path)
        file.row = row
        file.dirty = True
        file.gone_at, file.lost_bytes, file.done = None, 0, False
        file.looked_to = file.read_end
        file.checked = file.degraded_since = None
        self._follow(file)
        self.stir(file)

    def give_up(self, file: Tracked, now: float) -> None:
        """The content is gone; what the row still holds is read from there."""
        file.lost_bytes = max(0, file.size - file.read_end) if file.row.codec == PLAIN and not file.done else 0
        file.present = file.deleted = file.outside = False
        if file.gone_at is None:
            file.gone_at = now
            file.dirty = True
        self._descriptors.close(file)
        self.release(file)
        self.stir(file)

    def release(self, file: Tracked) -> None:
        """A file is not where it was: the number of its inode may be another's by now."""
        self._leave(file)

    def forget(self, now: float, *, is_directory: Callable[[bytes], bool]) -> None:
        """Let go of what went a week ago, and of its row; later where nobody can see whether it is back."""
        old = [file for file in self._logs if _is_forgotten(file, now, _FORGET_SECONDS)]
        seen = {path: is_directory(path) for path in {os.path.dirname(file.path) for file in old}}
        for file in old:
            if not (seen[os.path.dirname(file.path)] or _is_forgotten(file, now, _FORGET_UNSEEN_SECONDS)):
                continue
            if file.row.id:
                self._forgotten.append(file.row.id)
            self.unsettled.pop(file, None)
            self.stirred.pop(file, None)
            self._logs.remove(file.home, file)
            self._heads.discard(file)

    def take_forgotten(self) -> list[int]:
        """Rows that were let go since the last time."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def begin(self, now: float) -> None:
        """Nobody watched the wall clock until now: it may have been set since the files were written to.

        So none is quiet before it was seen to be. `once`, which waits for nobody, takes their word.
        """
        self._clock_set_at = now
        for file in self._logs:
            file.changed_at = now

    def clock_set(self, seconds: float, now: float) -> None:
        """The wall clock was set by so much, and says `now` since."""
        self._clock_set_at = now
        for file in self._logs:
            file.clock_set(seconds)

    def saw(self, file: Tracked, stat: os.stat_result, now: float) -> None:
        """Take over what stat says of a file."""
        file.seen(stat, now, quiet_seconds=self.quiet_seconds(stat.st_mtime, now))

    def quiet_seconds(self, mtime: float, now: float) -> float:
        """How long ago a file was written to that says so itself.

        It was dated by the clock as it was then. So for as long as makes a file quiet after the clock was set, or may
        have been, that says nothing, and the file may be in the middle of being written. A date far ahead is that of a
        wrong clock, and nothing to wait for.
        """
        if abs(now - self._clock_set_at) < QUIET_SECONDS:
            return 0.0
        return abs(now - mtime)

    def alike(self, path: bytes, head: bytes) -> Iterable[Tracked]:
        """Files that start as this one does; first those of the same logical path, of which most was read.

        The more was read, the more is known to be equal where a position fits.
        """
        name = logical_path(path)
        found = dict.fromkeys(self.of_log(name)) | dict.fromkeys(self._heads.alike(head))
        alike = [file for file in found if file.row.head_bytes and _starts_alike(file, head)]
        return sorted(
            alike, key=lambda file: (logical_path(file.path) == name, file.row.position, file.row.id), reverse=True
        )

    def identify(self, file: Tracked, first_line: bytes) -> None:
        """Give a file its identity, once its first line is known: the first generation that nobody else has."""
        generation = 0
        while (identity := file_identity(self._host, file.path, first_line, generation)) in self._identities:
            generation += 1
        self._identities.add(identity)
        file.row = replace(file.row, identity=identity, generation=generation)


def _starts_alike(file: Tracked, head: bytes) -> bool:
    """Whether content starts so as a file did; or as one that is followed does, as far as both are known."""
    known = file.head[: len(head)]
    return has_head(file.row, head) or (file.present and bool(known) and known == head[: len(known)])


def key_of(file: Tracked) -> Key:
    """The inode of a file."""
    return file.row.device, file.row.inode


def _is_forgotten(file: Tracked, now: float, seconds: float) -> bool:
    settled = not file.present and not file.dirty and not file.row.partial and not file.lost_bytes
    return settled and file.gone_at is not None and now - file.gone_at > seconds
