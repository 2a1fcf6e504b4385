"""One look at the disk: which files are known, renamed, rewritten, new, or gone.

Three passes: files known by their inode are seen again; inodes not known are met, and may be a known file moved, copied or
compressed; known files seen nowhere are traced in their directory before they are given up.

Invariants: a row is never given up because a directory could not be read, and a file that cannot be read is tried again
at each scan. Must never: read lines, or raise for what a file does.
"""

from __future__ import annotations

import os
import stat as modes
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.discovery import Findings
from enricher.edges.source_files.identity import (
    HEAD_BYTES,
    Sighting,
    Verdict,
    birth_of,
    file_identity,
    has_head,
    is_same_inode,
    logical_path,
    resume_verdict,
)
from enricher.edges.source_files.reader import PLAIN, Stream, binary_reason, codec_of, open_stream
from enricher.edges.source_files.tracking import (
    ROTATED_SECONDS,
    Descriptors,
    ReplacedError,
    Tracked,
    new_row,
    open_file,
    with_head,
)
from enricher.ports import SkippedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from enricher.core.block import FileState
    from enricher.edges.source_files.discovery import Discovery
    from enricher.telemetry import Telemetry

_CHEAP_WALK_SECONDS: Final = 0.02
_WALK_SHARE: Final = 20
_MAX_WALK_INTERVAL_SECONDS: Final = 60.0
_FORGET_SECONDS: Final = 7 * 86400.0
_SHORTEST_MAGIC_TEXT: Final = 10
_UTF8_BOM: Final = b"\xef\xbb\xbf"

_Key = tuple[int, int]


class Scanner:
    """The files of a source as they are on disk."""

    def __init__(
        self,
        *,
        source: str,
        host: str,
        discovery: Discovery,
        descriptors: Descriptors,
        telemetry: Telemetry,
        skip_older_than: float | None,
        once: bool,
        line_bytes: int,
    ) -> None:
        self.files: list[Tracked] = []
        self.unreadable: set[bytes] = set()
        """Files and directories that could not be read and of which nothing is known."""
        self.scanned_at: float | None = None
        self._source = source
        self._host = host
        self._discovery = discovery
        self._descriptors = descriptors
        self._telemetry = telemetry
        self._skip_older_than = skip_older_than
        self._once = once
        self._line_bytes = line_bytes
        self._first_run = False
        self._current: dict[_Key, Tracked] = {}
        self._identities: set[str] = set()
        self._ignored: dict[_Key, tuple[int, float]] = {}
        self._told: set[tuple[bytes, str]] = set()
        self._news: list[SkippedFile] = []
        self._blind: tuple[bytes, ...] = ()
        self._next_walk = 0.0

    def take(self, rows: Sequence[FileState]) -> None:
        """Start from the registry."""
        self._first_run = not rows
        for row in sorted(rows, key=lambda row: (row.gone_at is None, row.id)):
            file = Tracked(row=row, path=row.path, size=row.size_seen, mtime=row.mtime_seen, gone_at=row.gone_at)
            file.looked_to = file.read_end
            # A row that was drained as compressed says gone; the file may well be there still.
            file.present = row.gone_at is None or row.codec != PLAIN
            self.files.append(file)
            self._current[row.device, row.inode] = file
            self._identities.add(row.identity)

    def scan(self, now: float) -> list[SkippedFile]:
        """Look at the disk; returns what is skipped and was not told before."""
        findings = self._look()
        found: dict[_Key, list[tuple[bytes, os.stat_result]]] = {}
        for path, stat in findings.files.items():
            found.setdefault((stat.st_dev, stat.st_ino), []).append((path, stat))
        absent = []
        for file in [file for file in self.files if file.present]:
            key = (file.row.device, file.row.inode)
            places = found.get(key) if self._current.get(key) is file else None
            if places is None:
                absent.append(file)
            elif self._see(file, places, now):
                del found[key]
            else:
                absent.append(file)
        for key, places in found.items():
            self._meet(key, places[0][0], places[0][1], now)
        for file in absent:
            if not file.present or file.path not in findings.files or self._current.get(_key(file)) is not file:
                self._trace(file, now)
        for file in self.files:
            if file.present:
                file.unread_since = (file.unread_since or now) if file.unread else None
                file.aim(now)
        self.files = [file for file in self.files if not _is_forgotten(file, now)]
        self._first_run = False
        self.scanned_at = now
        news, self._news = self._news, []
        return news

    # -- looking

    def _look(self) -> Findings:
        """Walk, or while a walk is dear and all known files are where they were, only stat those."""
        begun = time.monotonic()
        if begun < self._next_walk:
            findings = self._look_at_known()
            if findings is not None:
                return findings
        findings = self._discovery.walk()
        took = time.monotonic() - begun
        pause = 0.0 if took < _CHEAP_WALK_SECONDS else min(_WALK_SHARE * took, _MAX_WALK_INTERVAL_SECONDS)
        self._next_walk = begun + pause
        self._blind = tuple(findings.blind)
        self.unreadable = {skipped.path for skipped in findings.skipped if skipped.reason == "unreadable"}
        for skipped in findings.skipped:
            self.tell(skipped.path, skipped.reason, skipped.detail, skipped.hint)
        return findings

    def _look_at_known(self) -> Findings | None:
        findings = Findings()
        for file in self.files:
            if not file.present or file.outside or file.deleted:
                continue
            try:
                stat = os.stat(file.path)
            except OSError:
                return None
            if not is_same_inode(file.row, stat):
                return None
            findings.files[file.path] = stat
        return findings

    def tell(self, path: bytes, reason: str, detail: str, hint: str) -> None:
        """Report a file that is not read, once per reason."""
        if (path, reason) not in self._told:
            self._told.add((path, reason))
            self._news.append(SkippedFile(path=path, reason=reason, detail=detail, hint=hint))

    # -- files known by their inode

    def _see(self, file: Tracked, places: list[tuple[bytes, os.stat_result]], now: float) -> bool:
        """A known inode was found. False if it turns out to be another file, which is then met as one."""
        stat = places[0][1]
        paths = [path for path, _ in places]
        if file.path not in paths:
            self._rename(file, paths[0])
        file.outside = False
        return self._check(file, stat, now)

    def _rename(self, file: Tracked, path: bytes) -> None:
        self._telemetry.file_rotated(source=self._source, path=readable(file.path), new_path=readable(path))
        file.path = path
        file.renamed = file.dirty = True
        self._told.discard((path, "unreadable"))

    def _check(self, file: Tracked, stat: os.stat_result, now: float) -> bool:
        """Compare a file that has changed with its row; False if it is another one now."""
        state = (stat.st_size, stat.st_mtime)
        if file.checked == state and file.degraded_since is None:
            return True
        row = file.row
        if row.codec != PLAIN:
            if file.checked is None and row.gone_at is not None and state == (row.size_seen, row.mtime_seen):
                file.checked, file.done = state, True
                return True
            # Decompressors do not go on behind an end that they have met.
            self._descriptors.close(file)
        try:
            stream = self._descriptors.stream(file)
            seen = self._sight(file.path, stat, self._descriptors.birth(file), stream, row, now)
        except (ReplacedError, FileNotFoundError):
            return True
        except OSError as error:
            self.degrade(file, error, now)
            return True
        verdict = resume_verdict(row, seen, original_gone=False)
        if verdict in (Verdict.REWRITTEN, Verdict.OTHER, Verdict.ADOPT):
            self._give_up_rewritten(file, stat, now)
            return False
        if verdict is Verdict.CONTINUE:
            if file.done and row.codec != PLAIN:
                file.done, file.gone_at, file.dirty = False, None, True
            file.seen(stat, now)
            file.head = seen.head
            file.checked = state
            file.degraded_since = None
            if self._once and file.end is None:
                file.end = stat.st_size
        return True

    def _sight(
        self, path: bytes, stat: os.stat_result, birth: str, stream: Stream, row: FileState, now: float
    ) -> Sighting:
        head = stream.pread(HEAD_BYTES, 0)
        before = stream.pread(len(row.marker), row.position - len(row.marker)) if row.marker else b""
        end = row.position + len(row.partial)
        shrunk = len(before) < len(row.marker) or (row.codec == PLAIN == codec_of(head) and stat.st_size < end)
        return Sighting(
            path=path,
            device=stat.st_dev,
            inode=stat.st_ino,
            birth=birth,
            head=head,
            before=None if shrunk else before,
            quiet_seconds=max(0.0, now - stat.st_mtime),
        )

    def _give_up_rewritten(self, file: Tracked, stat: os.stat_result, now: float) -> None:
        self._telemetry.file_truncated(
            source=self._source, path=readable(file.path), old_position=file.row.position, new_size=stat.st_size
        )
        del self._current[_key(file)]
        self._give_up(file, now)

    def _give_up(self, file: Tracked, now: float) -> None:
        """The content is gone; what the row still holds is read from there."""
        file.lost_bytes = max(0, file.size - file.read_end) if file.row.codec == PLAIN and not file.done else 0
        file.present = file.deleted = file.outside = False
        if file.gone_at is None:
            file.gone_at = now
            file.dirty = True
        self._descriptors.close(file)
        if self._current.get(_key(file)) is file:
            del self._current[_key(file)]

    def degrade(self, file: Tracked, error: OSError, now: float) -> None:
        """A known file cannot be read now; it is tried again at each scan."""
        if file.degraded_since is None:
            file.degraded_since = now
        self._descriptors.close(file)
        self._cannot_read(file.path, error)

    def _cannot_read(self, path: bytes, error: OSError) -> None:
        detail = (error.strerror or type(error).__name__).lower()
        self.tell(path, "unreadable", detail, "let the daemon's user read it (group adm on Debian), or exclude it")

    # -- files not known

    def _meet(self, key: _Key, path: bytes, stat: os.stat_result, now: float) -> None:
        """An inode that no live row has."""
        if stat.st_size == 0 or self._ignored.get(key) == (stat.st_size, stat.st_mtime):
            return
        try:
            descriptor = open_file(path)
        except FileNotFoundError:
            self.tell(path, "vanished", "it went away before it was opened", "nothing to do: it was counted")
            return
        except OSError as error:
            self.unreadable.add(path)
            self._cannot_read(path, error)
            return
        kept = False
        try:
            kept = self._meet_open(path, descriptor, now)
        except OSError as error:
            self.unreadable.add(path)
            self._cannot_read(path, error)
        finally:
            if not kept:
                os.close(descriptor)

    def _meet_open(self, path: bytes, descriptor: int, now: float) -> bool:
        """Whether the descriptor was kept, for a file that is followed now."""
        stat = os.fstat(descriptor)
        if not modes.S_ISREG(stat.st_mode):
            return False
        begin = os.pread(descriptor, HEAD_BYTES, 0)
        if len(begin) < _SHORTEST_MAGIC_TEXT and b"\n" not in begin and not self._once and now - stat.st_mtime < 5:  # noqa: PLR2004 - the 5 s that identity holds
            return False
        codec = codec_of(begin)
        if codec.startswith("("):
            self._ignore(path, stat, "compressed_unknown", f"it is {codec} data", "decompress it, or exclude it")
            return False
        stream = open_stream(descriptor, codec)
        head = stream.pread(HEAD_BYTES, 0)
        if not self._is_text(path, stat, stream, head):
            return False
        birth = birth_of(descriptor)
        file = self._adopt(path, stat, birth, codec, stream, head, now)
        if file is None:
            file = self._follow_new(new_row(self._source, path, stat, birth, codec), stat, stream, head, now)
        file.head = head
        file.seen(stat, now)
        file.checked = (stat.st_size, stat.st_mtime)
        if self._once and codec == PLAIN:
            file.end = stat.st_size
        self._current[_key(file)] = file
        self._descriptors.keep(file, descriptor)
        self._told.discard((path, "unreadable"))
        return True

    def _is_text(self, path: bytes, stat: os.stat_result, stream: Stream, head: bytes) -> bool:
        if stream.damage:
            self._ignore(path, stat, "unreadable", f"damaged: {stream.damage}", "restore it from a copy, or exclude it")
            return False
        if head.startswith(b"\x00"):
            text_start = stream.text_start(0)
            if text_start is None:
                self._ignore(path, stat, "binary", "it holds only NUL bytes", "it is looked at again when it changes")
                return False
            head = stream.pread(HEAD_BYTES, text_start)
        reason = binary_reason(head)
        if reason is not None:
            self._ignore(path, stat, "binary", *reason)
            return False
        return bool(head)

    def _ignore(self, path: bytes, stat: os.stat_result, reason: str, detail: str, hint: str) -> None:
        self._ignored[stat.st_dev, stat.st_ino] = (stat.st_size, stat.st_mtime)
        self.tell(path, reason, detail, hint)

    def _follow_new(self, row: FileState, stat: os.stat_result, stream: Stream, head: bytes, now: float) -> Tracked:
        start = len(_UTF8_BOM) if head.startswith(_UTF8_BOM) else 0
        file = Tracked(row=replace(row, position=start, marker=head[:start]), path=row.path, looked_to=start)
        if self._first_run and self._skip_older_than is not None and now - stat.st_mtime >= self._skip_older_than:
            self._start_at_end(file, stat, stream, head, now)
        self.files.append(file)
        self._telemetry.file_found(source=self._source, path=readable(row.path))
        return file

    def _start_at_end(self, file: Tracked, stat: os.stat_result, stream: Stream, head: bytes, now: float) -> None:
        """Take what is there as read; a line that is not ended yet still counts as new."""
        file.dirty = file.started_inside = True
        if file.row.codec != PLAIN:
            file.gone_at, file.done = now, True
            file.row = with_head(file.row, head)
            return
        begin = max(file.row.position, stat.st_size - self._line_bytes)
        last = stream.pread(stat.st_size - begin, begin)
        newline = last.rfind(b"\n") + 1
        position = begin + newline if newline or begin == file.row.position else begin + len(last)
        marker = stream.pread(min(64, position), max(0, position - 64))
        file.row = with_head(replace(file.row, position=position, marker=marker), head)
        file.looked_to = position

    # -- known files under new names

    def _adopt(
        self, path: bytes, stat: os.stat_result, birth: str, codec: str, stream: Stream, head: bytes, now: float
    ) -> Tracked | None:
        """The known file that an unknown inode is, moved, copied or compressed."""
        for original in self._alike(path, head):
            row = original.row
            seen = self._sight(path, stat, birth, stream, row, now)
            gone = not original.present or not _is_in_place(original)
            verdict = resume_verdict(row, seen, original_gone=gone)
            # A file that was given up may be back as it was: an unmounted disk, a directory that could not be entered.
            if not (verdict is Verdict.ADOPT or (verdict is Verdict.CONTINUE and not original.present)):
                continue
            moved = replace(
                row, path=path, device=stat.st_dev, inode=stat.st_ino, birth=birth, codec=codec, gone_at=None
            )
            if not gone:
                file = Tracked(
                    row=replace(moved, id=0), path=path, dirty=True, renamed=True, looked_to=original.read_end
                )
                self.files.append(file)
                return file
            self._descriptors.close(original)
            if self._current.get(_key(original)) is original:
                del self._current[_key(original)]
            self._rename(original, path)
            original.row = moved
            original.gone_at, original.lost_bytes, original.done = None, 0, False
            original.looked_to = original.read_end
            original.checked = None
            original.degraded_since = None
            return original
        return None

    def _alike(self, path: bytes, head: bytes) -> Iterable[Tracked]:
        """Files that start like this one, those of the same logical path and the latest first."""
        alike = [file for file in self.files if file.row.position and has_head(file.row, head)]
        name = logical_path(path)
        return sorted(alike, key=lambda file: (logical_path(file.path) == name, file.row.id), reverse=True)

    def _trace(self, file: Tracked, now: float) -> None:
        """A known file was found at none of the paths that the patterns match."""
        if any(file.path.startswith(blind + b"/") for blind in self._blind):
            if file.degraded_since is None:
                file.degraded_since = now
            return
        if file.present and (self._is_followed(file, now) or self._is_held(file, now)):
            return
        if file.present or file.gone_at == now:
            if self._find_copy(file, now):
                return
            if file.present:
                self._give_up(file, now)

    def _is_followed(self, file: Tracked, now: float) -> bool:
        """Whether it is in its directory under a name that no pattern matches."""
        if not file.outside:
            place = self._find_inode(file)
            if place is None:
                return False
            self._rename(file, place)
            file.outside = True
        try:
            stat = os.stat(file.path)
        except OSError:
            file.outside = False
            return False
        if not is_same_inode(file.row, stat):
            file.outside = False
            return self._is_followed(file, now)
        if not self._check(file, stat, now):
            return True
        if file.is_read_to(file.size) and not file.row.partial and now - file.changed_at >= ROTATED_SECONDS:
            self._give_up(file, now)
        return True

    def _find_inode(self, file: Tracked) -> bytes | None:
        for entry in _neighbours(file.path):
            try:
                if entry.inode() == file.row.inode and is_same_inode(file.row, entry.stat()):
                    return entry.path
            except OSError:
                continue
        return None

    def _is_held(self, file: Tracked, now: float) -> bool:
        """Whether a deleted file is still open here with something to read or to wait for."""
        stat = self._descriptors.stat(file)
        if stat is None:
            return False
        file.seen(stat, now)
        file.deleted = True
        waiting = file.row.partial or file.unread or not file.is_quiet(now)
        return bool(waiting)

    def _find_copy(self, file: Tracked, now: float) -> bool:
        """Look for its content under a rotated name in its directory, compressed too."""
        if not file.row.position:
            return False
        name = logical_path(file.path)
        for entry in _neighbours(file.path):
            try:
                stat = entry.stat()
                key = (stat.st_dev, stat.st_ino)
                if logical_path(entry.path) != name or key in self._current or not modes.S_ISREG(stat.st_mode):
                    continue
                if self._is_copy(file, entry.path, now):
                    return True
            except OSError:
                continue
        return False

    def _is_copy(self, file: Tracked, path: bytes, now: float) -> bool:
        descriptor = open_file(path)
        kept = False
        try:
            stat = os.fstat(descriptor)
            codec = codec_of(os.pread(descriptor, HEAD_BYTES, 0))
            if codec.startswith("("):
                return False
            stream = open_stream(descriptor, codec)
            head = stream.pread(HEAD_BYTES, 0)
            adopted = self._adopt(path, stat, birth_of(descriptor), codec, stream, head, now)
            if adopted is None:
                return False
            adopted.head = head
            adopted.seen(stat, now)
            adopted.outside = True
            self._current[_key(adopted)] = adopted
            self._descriptors.keep(adopted, descriptor)
            kept = True
            return adopted is file
        finally:
            if not kept:
                os.close(descriptor)

    # -- names for what is read

    def identify(self, file: Tracked, first_line: bytes) -> None:
        """Give a file its identity, once its first line is known: the first generation that nobody else has."""
        generation = 0
        while (identity := file_identity(self._host, file.path, first_line, generation)) in self._identities:
            generation += 1
        self._identities.add(identity)
        file.row = replace(file.row, identity=identity, generation=generation)


def readable(path: bytes) -> str:
    """A path as text."""
    return path.decode("utf-8", "backslashreplace")


def _key(file: Tracked) -> _Key:
    return file.row.device, file.row.inode


def _neighbours(path: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(os.path.dirname(path) or b"/") as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_in_place(file: Tracked) -> bool:
    """Whether a file's own inode still lies at its path, now and not only at the last scan."""
    try:
        return is_same_inode(file.row, os.stat(file.path))
    except OSError:
        return False


def _is_forgotten(file: Tracked, now: float) -> bool:
    settled = not file.present and not file.dirty and not file.row.partial and not file.lost_bytes
    return settled and file.gone_at is not None and now - file.gone_at > _FORGET_SECONDS
