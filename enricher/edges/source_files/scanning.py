"""One look at the disk: which files are known, renamed, rewritten, new, or gone.

Three passes over what `looking` has looked at: files known by their inode are seen again; inodes not known are met, and
may be a known file moved, copied or compressed; known files seen nowhere are traced in their directory before they are
given up.

Invariants: a row is never given up because a directory could not be read, and a file that cannot be read is tried again
at each scan. Must never: read lines, or raise for what a file does.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.beside import Beside
from enricher.edges.source_files.copies import Copies
from enricher.edges.source_files.identity import (
    HEAD_BYTES,
    MARKER_BYTES,
    birth_of,
    is_same_inode,
    logical_path,
)
from enricher.edges.source_files.known import Key, Known, key_of
from enricher.edges.source_files.moving import Stranger, adopt, find_copy, find_inode, find_missed
from enricher.edges.source_files.strangers import Strangers
from enricher.edges.source_files.streams import PLAIN, binary_reason, codec_of, open_stream
from enricher.edges.source_files.tracking import (
    QUIET_SECONDS,
    ROTATED_SECONDS,
    Descriptors,
    Tracked,
    new_row,
    open_file,
    with_head,
)

if TYPE_CHECKING:
    from enricher.edges.source_files.comparing import Comparing
    from enricher.edges.source_files.discovery import Findings
    from enricher.edges.source_files.looking import Look, Looker
    from enricher.edges.source_files.notices import Notices
    from enricher.telemetry import Telemetry

_TELLING_BYTES: Final = 10
"""So much of a file tells its codec."""
UTF8_BOM: Final = b"\xef\xbb\xbf"

_Places = list[tuple[bytes, os.stat_result]]


class Scanner:
    """Brings what is known of a source's files up to what is on disk."""

    def __init__(
        self,
        *,
        known: Known,
        notices: Notices,
        looker: Looker,
        comparing: Comparing,
        descriptors: Descriptors,
        telemetry: Telemetry,
        skip_older_than: float | None,
        once: bool,
        line_bytes: int,
    ) -> None:
        self.first_run = False
        self.done_at: float | None = None
        """When it was last done, be it a sweep or a glance."""
        self._known = known
        self._notices = notices
        self._looker = looker
        self._descriptors = descriptors
        self._telemetry = telemetry
        self._comparing = comparing
        self.copies = Copies(known=known, descriptors=descriptors, comparing=comparing, once=once)
        self._skip_older_than = skip_older_than
        self._once = once
        self._line_bytes = line_bytes
        self._blind: set[bytes] = set()
        self._found: list[bytes] = []
        """To be told of together, once there are no more."""
        self.strangers = Strangers()
        self._tried: set[bytes] = set()
        """Paths of files that had their turn and could not be met: each scan tries them, and nobody waits for them."""

    def clock_set(self, seconds: float, now: float) -> None:
        """The wall clock was set: what is remembered by it was as long ago as before."""
        self._known.clock_set(seconds, now)
        self.done_at = None if self.done_at is None else self.done_at + seconds
        self._looker.clock_set(seconds)
        self.strangers.clock_set(seconds)

    def is_idle(self, now: float) -> bool:
        """Whether a scan would find nothing to look at; costs next to nothing."""
        return not self.strangers and self._looker.is_idle(now)

    def scan(self, now: float) -> None:
        """Look at the disk, wherever it may have changed."""
        if self.done_at is None and not self._once:
            self._known.begin(now)
        in_place: set[Tracked] = set()
        look = self._looker.look(now, lambda path, stat: self._sift(path, stat, in_place, now))
        self._notice(look)
        if look.is_whole:
            self._tried &= look.findings.files.keys()
        found: dict[Key, _Places] = {}
        for path, stat in look.findings.files.items():
            found.setdefault((stat.st_dev, stat.st_ino), []).append((path, stat))
        if look.is_whole:
            self.copies.keep(found)
        absent = self._known.displaced() if look.is_whole else []
        for file in absent:
            self._known.give_up(file, now)
        for file in look.files:
            if file in in_place:
                continue
            places = found.get(key_of(file)) if self._known.is_current(file) else None
            if places is not None and self._see(file, places, now, is_sweep=look.is_whole):
                del found[key_of(file)]
            else:
                absent.append(file)
        for key, places in found.items():
            if not self._is_known_elsewhere(key, places, now):
                self._meet_in_turn(*places[0], now)
        self._known.settle(once=self._once)  # what was read makes room
        for path, end in self.strangers.take(len(self._known.unsettled)).items():
            seen = self._looker.file_at(path)
            if seen is not None and not self._is_known_elsewhere((seen.st_dev, seen.st_ino), [(path, seen)], now):
                self._meet(path, seen, now, end)
        self._trace(absent, look.findings, now)
        for file in self._known.stirred:
            file.lasts &= file.degraded_since is None  # else nothing was seen of it
            if file.present and file.degraded_since is None:
                file.unread_since = (file.unread_since or now) if file.unread else None
                file.aim(now, before=self.done_at)
        self._known.settle(once=self._once)
        self._known.stirred.clear()
        self.done_at = now
        if look.is_whole:
            self._known.forget(now, is_directory=os.path.isdir)
            self._notices.forget(is_there=os.path.lexists)
        self.first_run = False
        if self._found and not self.strangers:
            self._telemetry.files_found(source=self._known.source, paths=self._found)
            self._found.clear()

    @property
    def scanned_at(self) -> float | None:
        """When all there is was last looked at."""
        return self._looker.swept_at

    def _notice(self, look: Look) -> None:
        """Remember and tell what cannot be read, and what is not."""
        findings = look.findings
        unreadable = {skipped.path for skipped in findings.skipped if skipped.reason == "unreadable"}
        if look.is_whole:
            self._blind = set(findings.blind)
            self._notices.unreadable = unreadable
        else:
            self._blind = (self._blind - findings.entered - findings.gone) | set(findings.blind)
            self._notices.unreadable = (self._notices.unreadable - findings.entered - findings.gone) | unreadable
        for skipped in findings.skipped:
            self._notices.tell(skipped.path, skipped.reason, skipped.detail, skipped.hint)

    def _is_known_elsewhere(self, key: Key, places: _Places, now: float) -> bool:
        """Whether an inode is one of a file that was not looked for: it came from elsewhere, or has two names."""
        file = self._known.with_inode(key)
        if file is None:
            return False
        there = _stat(file.path)
        if there is not None and is_same_inode(file.row, there):
            places = [*places, (file.path, there)]
        return self._see(file, places, now, is_sweep=False)

    def _sift(self, path: bytes, stat: os.stat_result, in_place: set[Tracked], now: float) -> bool:
        """Whether a file that a sweep has found is where it was, or waits, and needs no further regard.

        A sweep may find hundreds of thousands: what is seen to at once is not held in memory until the end of it.
        """
        key = stat.st_dev, stat.st_ino
        file = self._known.at(path)
        if file is not None and self._known.with_inode(key) is file:
            if not self._see(file, [(path, stat)], now, is_sweep=True):
                return False
            in_place.add(file)
            return True
        return not self._known.has(key) and self._may_wait(path, stat, now)

    # -- files known by their inode

    def _see(self, file: Tracked, places: _Places, now: float, *, is_sweep: bool) -> bool:
        """A known inode was found. False if it turns out to be another file, which is then met as one."""
        stat = places[0][1]
        if file.path not in [path for path, _ in places]:
            self._known.rename(file, places[0][0])
        if file.outside or file.deleted:
            self._known.stir(file)
        file.outside = file.deleted = False
        if is_sweep and file.checked is not None and not file.is_as_checked(stat):
            self._looker.changed(file)
        return self._comparing.check(file, stat, now)

    # -- files not known

    def _try_again(self, path: bytes) -> None:
        self._tried.add(path)
        self._looker.look_again(path)

    def _meet_in_turn(self, path: bytes, stat: os.stat_result, now: float) -> None:
        if not self._may_wait(path, stat, now):
            self._meet(path, stat, now)

    def _may_wait(self, path: bytes, stat: os.stat_result, now: float) -> bool:
        """Whether nothing is to be done now with an inode that no live row has: it is to be let alone, or has its turn.

        What may go on with a log that is known does not wait, or that log would be given up meanwhile.
        """
        if stat.st_size == 0 or self._notices.is_ignored(stat):
            return True
        if path in self._tried or (path not in self.strangers and self._known.of_log(logical_path(path))):
            return False
        self.strangers.add(path, stat, now, is_old=self._is_old(stat, now))
        return True

    def _is_old(self, stat: os.stat_result, now: float) -> bool:
        """Whether what a file holds counts as read."""
        skipped = self._skip_older_than if self.first_run else None
        return skipped is not None and now - stat.st_mtime >= skipped

    def _meet(self, path: bytes, stat: os.stat_result, now: float, end: tuple[int, int] | None = None) -> None:
        """An inode that no live row has. If it is that of `end`, its first so many bytes count as read."""
        if self.copies.is_waiting(stat, now):
            self._try_again(path)
            return
        try:
            descriptor = open_file(path)
        except FileNotFoundError:
            self._notices.tell(path, "vanished", "it went away before it was opened", "nothing to do: it was counted")
            return
        except OSError as error:
            self._cannot_meet(path, error)
            return
        file = None
        try:
            file = self._meet_open(path, descriptor, stat, now, end)
        except OSError as error:
            self._cannot_meet(path, error)
        if file is None:
            if not self._notices.is_ignored(stat):
                self._try_again(path)
            os.close(descriptor)
        else:
            self._descriptors.keep(file, descriptor)

    def _cannot_meet(self, path: bytes, error: OSError) -> None:
        self._notices.unreadable.add(path)
        self._notices.cannot_read(path, error)
        self._try_again(path)

    def _meet_open(
        self, path: bytes, descriptor: int, seen: os.stat_result, now: float, end: tuple[int, int] | None
    ) -> Tracked | None:
        """The file that is followed from now on; None if it is not to be read, or not yet."""
        stat = os.fstat(descriptor)
        # Another file may have taken the place of what was found there, a known one too, or a link that leads where it
        # may not: that is judged anew.
        if not os.path.samestat(stat, seen) or self._known.has((stat.st_dev, stat.st_ino)):
            return None
        begin = os.pread(descriptor, HEAD_BYTES, 0)
        is_short = len(begin) < _TELLING_BYTES and b"\n" not in begin
        if is_short and not self._once and self._known.quiet_seconds(stat.st_mtime, now) < QUIET_SECONDS:
            return None
        codec = codec_of(begin)
        if codec.startswith("("):
            hint = "decompress it, or exclude it"
            self._notices.ignore(path, stat, "compressed_unknown", f"it is {codec} data", hint)
            return None
        stream = open_stream(descriptor, codec)
        stranger = Stranger(
            path=path,
            stat=stat,
            birth=birth_of(descriptor),
            codec=codec,
            stream=stream,
            head=stream.pread(HEAD_BYTES, 0),
        )
        if not self._is_text(stranger):
            return None
        adopted = adopt(self._known, self.copies, self._descriptors, stranger, now, given_up=None)
        if adopted is True:
            return None
        file = adopted or self._follow_new(stranger, now, end)
        if not self._known.has(key_of(file)):
            self._known.add(file)
        self._comparing.saw(file, stat, stranger.head, now)
        return file

    def _is_text(self, stranger: Stranger) -> bool:
        path, stat, stream, head = stranger.path, stranger.stat, stranger.stream, stranger.head
        if stream.damage:
            hint = "restore it from a copy, or exclude it"
            self._notices.ignore(path, stat, "unreadable", f"it is damaged: {stream.damage}", hint)
            return False
        if head.startswith(b"\x00"):
            text_start = stream.text_start(0)
            if text_start is None:
                hint = "it is looked at again when it changes"
                self._notices.ignore(path, stat, "binary", "it holds only NUL bytes", hint)
                return False
            head = stream.pread(HEAD_BYTES, text_start)
        reason = binary_reason(head)
        if reason is not None:
            self._notices.ignore(path, stat, "binary", *reason)
            return False
        return bool(head)

    def _follow_new(self, stranger: Stranger, now: float, end: tuple[int, int] | None) -> Tracked:
        stat, head = stranger.stat, stranger.head
        row = new_row(self._known.source, stranger.path, stat, stranger.birth, stranger.codec)
        start = len(UTF8_BOM) if head.startswith(UTF8_BOM) else 0
        row = with_head(replace(row, position=start, marker=head[:start]), head)
        file = Tracked(row=row, path=row.path, looked_to=start)
        # Its lines may wait in it; who finds it rotated away after a restart must know that it is ours.
        file.dirty = not self._once
        if end is not None and end[0] == stat.st_ino:
            self._start_at(end[1], file, stranger, now)
        elif self._is_old(stat, now):
            self._start_at(stat.st_size, file, stranger, now)
        self._found.append(row.path)
        return file

    def _start_at(self, end: int, file: Tracked, stranger: Stranger, now: float) -> None:
        """Take what was there at first as read; a line that is not ended yet still counts as new."""
        file.dirty = file.started_inside = True
        file.row = with_head(file.row, stranger.head)
        if file.row.codec != PLAIN:
            file.gone_at, file.done = now, True
            return
        stream, size = stranger.stream, min(end, stranger.stat.st_size)
        begin = max(file.row.position, size - self._line_bytes)
        last = stream.pread(size - begin, begin)
        newline = last.rfind(b"\n") + 1
        position = begin + newline if newline or begin == file.row.position else begin + len(last)
        marker = stream.pread(min(MARKER_BYTES, position), max(0, position - MARKER_BYTES))
        file.row = replace(file.row, position=position, marker=marker)
        file.looked_to = position

    # -- files not found

    def _trace(self, absent: list[Tracked], findings: Findings, now: float) -> None:
        """Known files were found at none of the paths that the patterns match, or their content was replaced."""
        beside = Beside()
        at_home = {file for file in absent if file.path == file.home}
        left, lost = [], []
        for file in absent:
            if self._is_elsewhere(file, findings, now):
                continue
            if file in at_home:
                left.append(file)
            if not file.present or not (self._is_followed(file, beside, now) or self._is_held(file, now)):
                self._known.release(file)
                lost.append(file)
        # Only now is it known of which inodes others have the numbers.
        for file in lost:
            if self._known.is_current(file):
                continue  # it went on in its copy when that of another was looked for
            if not find_copy(self._known, self.copies, self._descriptors, beside, file, now) and file.present:
                self._known.give_up(file, now)
        for file in left:
            for path, stat in find_missed(self._known, file, beside):
                self._meet(path, stat, now)

    def _is_elsewhere(self, file: Tracked, findings: Findings, now: float) -> bool:
        """Whether a file was met in this scan under its new name, or lies where nothing can be seen."""
        there = findings.files.get(file.path)
        if file.present and there is not None and is_same_inode(file.row, there) and self._known.is_current(file):
            return True
        if any(file.path.startswith(blind.rstrip(b"/") + b"/") for blind in self._blind):
            file.degraded_since = file.degraded_since or now
            self._known.stir(file)
            return True
        return False

    def _is_followed(self, file: Tracked, beside: Beside, now: float) -> bool:
        """Whether it is in its directory under a name that no pattern matches; given up when drained and left alone."""
        stat = None
        if file.outside:
            stat = _stat(file.path)
        if stat is None or not is_same_inode(file.row, stat):
            place = find_inode(file, beside)
            stat = None if place is None else _stat(place)
            if place is None or stat is None or not is_same_inode(file.row, stat):
                file.outside = False
                return False
            if place != file.path:
                self._known.rename(file, place)
        if not file.outside:
            file.outside, file.left_at = True, now
        self._known.stir(file)
        if not self._comparing.check(file, stat, now):
            return False
        drained = file.is_read_to(file.size) and not file.row.partial and not file.dirty
        # A log that was quiet when it was rotated may have a writer that does not know of it, too.
        if drained and now - max(file.changed_at, file.left_at) >= ROTATED_SECONDS:
            self._known.give_up(file, now)
        return True

    def _is_held(self, file: Tracked, now: float) -> bool:
        """Whether a deleted file is still open here with something to read or to wait for."""
        stat = self._descriptors.stat(file)
        if stat is None:
            return False
        # Nothing leads to what it may hold instead; and a copy of what it held would be taken for one of this.
        if (stat.st_size, stat.st_mtime) != (file.proven, file.mtime) and self._comparing.is_truncated(file, now):
            return False
        self._known.saw(file, stat, now)
        file.deleted, file.checked = True, None
        self._known.stir(file)
        return bool(file.row.partial or file.unread or file.looked_to > file.read_end or not file.is_quiet(now))


def _stat(path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
