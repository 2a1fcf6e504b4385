"""Log files as a source: the port's methods over a scanner, a reader and the descriptors.

Invariants: positions move in `committed` alone, so that what was read and not committed is read again; a busy file
never keeps one of another log waiting; file I/O runs in a worker thread. Must never: raise for what a file does.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enricher.core.block import MAX_BLOCK_BYTES, MAX_LINE_BYTES, Tail
from enricher.edges.source_files.discovery import Discovery
from enricher.edges.source_files.handover import Handover
from enricher.edges.source_files.identity import HEAD_BYTES, MARKER_BYTES
from enricher.edges.source_files.known import Known, readable
from enricher.edges.source_files.looking import Looker
from enricher.edges.source_files.notices import Notices
from enricher.edges.source_files.progress import NO_PROGRESS, measure
from enricher.edges.source_files.reader import Reading, read_lines
from enricher.edges.source_files.scanning import UTF8_BOM, Scanner
from enricher.edges.source_files.streams import PLAIN, Stream
from enricher.edges.source_files.tracking import Descriptors, ReplacedError, Tracked, with_head
from enricher.edges.source_files.watching import Watcher
from enricher.ports import Chunk

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence

    from enricher.core.block import FileState
    from enricher.edges.source_files.handover import Sequel
    from enricher.ports import Joined, SkippedFile, SourceProgress
    from enricher.telemetry import Telemetry

WORTH_READING_BYTES: Final = 256 * 1024
"""Less than this waits in its file for more."""
_LINGER_SECONDS: Final = 2.0
_MAX_LINGER_SECONDS: Final = 10.0
_SMALL_READS_PER_SECOND: Final = 500
"""So many files with little to read may make a row each; more of them wait longer."""
MAX_DESCRIPTORS: Final = 256
"""Files that a source has open at a time, where the process may have as many."""
_MAX_COMPRESSED: Final = 2
"""Compressed files read at a time: each holds a decompressor, whose dictionary may be large."""
_MAX_CHUNKS: Final = 1000
_MAX_BESIDE_BUSY: Final = 250
"""Files with little to read in one turn with a busy one: each costs a millisecond, and the busy one waits meanwhile."""
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class _Read:
    """What lies behind a chunk that was handed out."""

    file: Tracked
    chunk: Chunk
    reading: Reading
    drained: bool
    """The file ends with it for good."""
    size: int
    """Of the file on disk, then."""


class FilesSource:
    """Files below directories, followed by identity; implements `ports.Source`.

    `start`: what to do with what is there at the very first run: `beginning`, `end`, or `since:24h` (files changed
    since then). `once`: what the files hold when they are first seen, to the end. `own_directories` are never read.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the port's own word
        include: Sequence[str],
        exclude: Sequence[str],
        *,
        start: str,
        once: bool,
        own_directories: Sequence[str | os.PathLike[str]],
        host: str,
        telemetry: Telemetry,
        max_line_bytes: int = MAX_LINE_BYTES,
        max_descriptors: int = MAX_DESCRIPTORS,
    ) -> None:
        self.id = id
        self._once = once
        self._linger_seconds = _LINGER_SECONDS
        self._line_bytes = max_line_bytes
        self._telemetry = telemetry
        self._descriptors = Descriptors(max_descriptors)
        self._notices = Notices()
        self._known = Known(source=id, host=host, descriptors=self._descriptors, telemetry=telemetry)
        # What there is when it begins is all that `once` wants: nobody needs to tell it of changes.
        self._watcher = None if once else Watcher()
        self._looker = Looker(
            known=self._known,
            discovery=Discovery(include, exclude, own_directories, Path.cwd(), watcher=self._watcher),
            watcher=self._watcher,
            telemetry=telemetry,
        )
        self._scanner = Scanner(
            known=self._known,
            notices=self._notices,
            looker=self._looker,
            descriptors=self._descriptors,
            telemetry=telemetry,
            skip_older_than=_skip_older_than(start),
            once=once,
            line_bytes=max_line_bytes,
        )
        self._handover = Handover(
            known=self._known, descriptors=self._descriptors, once=once, line_bytes=max_line_bytes
        )
        self._turn = 0
        self._reads: dict[int, _Read] = {}
        self._accepted: dict[FileState, _Read] = {}
        self._progress = NO_PROGRESS

    async def start(
        self, states: Sequence[FileState], joined: Joined | None, past_identities: Collection[str] = ()
    ) -> None:
        """Take the registry rows of this source."""
        self._handover.joined = joined
        self._scanner.first_run = not (states or past_identities)
        self._known.take(states, past_identities)

    def clock_set(self, seconds: float, now: float) -> None:
        """Let all that is remembered by the wall clock be as long ago as before."""
        self._scanner.clock_set(seconds, now)
        self._progress = self._measure(now)

    async def scan(self, now: float) -> Sequence[SkippedFile]:
        """Look at the disk."""
        if self._scanner.is_idle(now):
            return ()
        await asyncio.to_thread(self._scanner.scan, now)
        self._progress = self._measure(now)
        return self._notices.take()

    async def read(self, now: float, *, flush: bool) -> Sequence[Chunk]:
        """Up to 4 MiB of whole lines, and chunks without lines for rows that have other news."""
        if not self._known.unsettled:
            return ()
        chunks = await asyncio.to_thread(self._read, now, flush=flush)
        self._progress = self._measure(now)
        return chunks

    def accept(
        self, chunk: Chunk, taken: int, *, partial: bytes, anchor: float | None, learned: bool | None
    ) -> FileState:
        """The row after the first `taken` bytes of a chunk became events; what was seen behind it joins `partial`."""
        read = self._reads[id(chunk)]
        file, row, reading = read.file, chunk.file, read.reading
        whole = taken == chunk.length
        state = replace(
            row,
            path=file.path,
            position=row.position + taken,
            marker=reading.marker
            if whole
            else (row.marker + chunk.data[max(0, taken - MARKER_BYTES) : taken])[-MARKER_BYTES:],
            partial=partial + reading.tail,
            anchor=anchor,
            learned=learned,
            size_seen=file.size,
            mtime_seen=file.mtime,
            gone_at=chunk.read_at if read.drained else file.gone_at,
        )
        state = with_head(state, file.head)
        self._accepted[replace(state, id=0)] = read
        return state

    def committed(self, files: Sequence[FileState]) -> None:
        """Positions move."""
        for state in files:
            read = self._accepted.pop(replace(state, id=0), None)
            if read is None:
                continue
            file = read.file
            file.row = state
            file.starts_with(file.head)
            file.dirty = state.path != file.path
            file.looked_to = max(file.looked_to, file.read_end, read.reading.looked_to)
            if read.reading.at_end:
                file.emptied = read.size
            if read.drained:
                file.done, file.gone_at = True, state.gone_at
            if self._once and read.chunk.final:
                file.done = True
            if not file.present and read.chunk.lost_bytes and not read.chunk.data:
                file.lost_bytes = 0
            if read.chunk.lost_bytes and read.chunk.data:
                self._telemetry.line_cut(source=self.id, path=readable(file.path), lost_bytes=read.chunk.lost_bytes)
            file.unread_since = file.unread_since if file.unread else None
            file.reached()
        self._accepted.clear()
        self._progress = self._measure(self._scanner.scanned_at or 0.0)

    def forgotten(self) -> Sequence[int]:
        """Rows that nothing is known of any more."""
        return self._known.take_forgotten()

    def progress(self, now: float) -> SourceProgress:  # noqa: ARG002 - the port's signature: other sources may need it
        """How far it was after the last scan, read or commit."""
        return self._progress

    async def close(self) -> None:
        """Close every descriptor."""
        self._descriptors.close_all()
        if self._watcher is not None:
            self._watcher.close()

    # -- reading

    def _read(self, now: float, *, flush: bool) -> list[Chunk]:
        self._reads.clear()
        self._accepted.clear()
        self._turn += 1
        self._handover.look(now)
        waiting = self._handover.waiting
        unsettled = list(self._known.unsettled)
        self._linger_seconds = _linger_seconds(len(unsettled))
        ready = [file for file in unsettled if file not in waiting and self._is_ready(file, now, flush=flush)]
        files = [file for file in ready if not self._has_content(file)][:_MAX_CHUNKS]
        for file in files:
            self._attempt(file, 0, now)
        files = self._next_in_turn([file for file in ready if self._has_content(file)])
        left = MAX_BLOCK_BYTES
        for at, file in enumerate(files):
            if left < WORTH_READING_BYTES:
                break
            # What a file leaves of its share goes to those behind it.
            share = left if self._once else max(WORTH_READING_BYTES, left // (len(files) - at))
            left -= self._attempt(file, share, now)
        untold = (file for file in unsettled if file.dirty and file.last_turn != self._turn)
        for file in islice(untold, _MAX_CHUNKS):
            self._tell(file, now)
        return [read.chunk for read in self._reads.values()]

    def _next_in_turn(self, files: list[Tracked]) -> list[Tracked]:
        """The files to read now: those that waited longest, as many as a block has room for, small ones first.

        `once` has nobody to keep waiting: it reads file after file.
        """
        if self._once:
            files.sort(key=lambda file: file.path)
        else:
            files.sort(key=lambda file: file.last_turn)
        compressed = [file for file in files if file.row.codec != PLAIN][:_MAX_COMPRESSED]
        files = [file for file in files if file.row.codec == PLAIN or file in compressed]
        little = [file for file in files if file.unread < WORTH_READING_BYTES]
        # Those with much to read have their turn every time: nobody waits for the many with little.
        left_out = set(little[_MAX_CHUNKS if len(little) == len(files) else _MAX_BESIDE_BUSY :])
        files = [file for file in files if file not in left_out]
        if not self._once:
            sizes = accumulate(min(file.unread, WORTH_READING_BYTES) for file in files)
            files = [file for file, size in zip(files, sizes, strict=True) if size <= MAX_BLOCK_BYTES]
            files.sort(key=lambda file: file.unread)
        return files

    def _attempt(self, file: Tracked, share: int, now: float) -> int:
        """Read a file; how many bytes of lines that gave."""
        file.last_turn = self._turn
        self._known.served(file)
        read = self._read_file(file, share, now)
        if read is None:
            return 0
        self._reads[id(read.chunk)] = read
        return len(read.chunk.data)

    def _tell(self, file: Tracked, now: float) -> None:
        """Have the news of a row committed with those of others, or a new file might take its inode before that."""
        read = self._made(file, Reading(marker=file.row.marker, tail=file.row.partial), now)
        self._reads[id(read.chunk)] = read

    def _has_content(self, file: Tracked) -> bool:
        if not file.present or file.done or file in self._handover.waiting:
            return False
        return bool(file.unread or file.row.partial or self._holds_back(file) or self._once)

    def _is_ready(self, file: Tracked, now: float, *, flush: bool) -> bool:
        """Whether reading it now is worth a commit."""
        if not file.present:
            words = bool(file.row.partial) and not self._handover.may_go_on(file, now)
            return bool(file.dirty or words or (file.lost_bytes and not file.row.partial))
        if file.degraded_since is not None or file.done:
            return file.dirty
        if self._once:
            return True
        unread = file.unread
        if unread:
            waited = now - (file.unread_since if file.unread_since is not None else now)
            is_old = not file.row.id and file.is_quiet(now)  # nothing is to be waited for that may come with it
            hurried = flush or is_old or file.renamed or file.deleted or file.row.codec != PLAIN
            if hurried or unread >= WORTH_READING_BYTES or waited >= self._linger_seconds:
                return True
        return file.is_quiet(now) and self._holds_back(file)

    def _holds_back(self, file: Tracked) -> bool:
        """Whether quiet makes an event of what was seen: whole lines; the unended one of a file that was left."""
        return b"\n" in file.row.partial or (
            (file.renamed or file.deleted) and max(file.read_end, file.looked_to) > file.row.position
        )

    def _read_file(self, file: Tracked, share: int, now: float) -> _Read | None:
        if not file.present:
            return self._last_words(file, now)
        reading = None
        if self._has_content(file) and file.degraded_since is None:
            try:
                stream = self._descriptors.stream(file)
                hole = self._hole(file, stream)
                reading = hole or self._lines(file, stream, share, now)
                if reading is not None and not file.row.identity and reading.data:
                    self._identify(file, stream, reading)
            except (ReplacedError, FileNotFoundError):
                file.checked = None
            except OSError as error:
                self._scanner.degrade(file, error, now)
        if reading is None:
            return self._made(file, Reading(marker=file.row.marker, tail=file.row.partial), now) if file.dirty else None
        # The last of lines that are new is held back once more, to be looked at with its sequel.
        is_last = self._handover.sequel(file) is None or not _is_news(reading, file)
        final = reading.at_end and (self._once or file.is_quiet(now)) and is_last
        return self._made(file, reading, now, final=final, drained=final and file.row.codec != PLAIN)

    def _lines(self, file: Tracked, stream: Stream, share: int, now: float) -> Reading | None:
        """Lines that are new, or that nothing more is waited for; None if there are none."""
        row = file.row
        left = file.renamed or file.deleted
        whole = file.end is None or file.size <= file.end
        sequel = self._handover.sequel(file)
        reading = read_lines(
            stream,
            position=row.position,
            marker=row.marker,
            held=row.partial,
            limit_bytes=share,
            end=file.end,
            line_bytes=self._line_bytes,
            looked_to=file.looked_to,
            to_the_last_byte=sequel is None and (whole if self._once else left and file.is_quiet(now)),
            is_quiet=sequel is None and file.is_quiet(now),
        )
        if reading.changed:
            file.checked = None
            return None
        if stream.damage:
            hint = "what was before the damage was read; restore the rest from a copy"
            self._notices.tell(file.path, "unreadable", f"damaged: {stream.damage}", hint)
        if row.head_bytes < HEAD_BYTES and row.codec == PLAIN:
            file.head = stream.pread(HEAD_BYTES, 0)
        ended = reading.at_end and (self._once or file.is_quiet(now))
        if reading.length > len(row.partial) or (ended and reading.length and sequel is None):
            return reading
        if ended and row.codec != PLAIN and sequel is None and _is_news(reading, file):
            return reading  # a line that its compressor has not ended yet: kept, since nothing else may keep it
        if sequel is not None and _is_news(reading, file):
            return reading
        file.looked_to = max(file.looked_to, reading.looked_to)
        if reading.at_end:
            file.emptied = file.size
        if sequel is not None and (row.partial or file.looked_to > file.read_end):
            is_over = ended and sequel.taken is not None and file.looked_to == file.read_end
            return self._last_event(file, sequel, now) if is_over else None
        if ended and (self._once or row.codec != PLAIN):
            # Nothing more will come: that is worth a row where there is one, or where restarts must know it.
            file.done = True
            if row.codec != PLAIN:
                file.gone_at, file.dirty = now, True
        return None

    def _hole(self, file: Tracked, stream: Stream) -> Reading | None:
        """NULs at the very start: what a writer leaves that goes on behind a truncation."""
        if file.row.position or file.row.partial or stream.pread(1, 0) != b"\x00":
            return None
        start = stream.text_start(0)
        if start is None:
            return None
        marker = stream.pread(min(MARKER_BYTES, start), max(0, start - MARKER_BYTES))
        return Reading(length=start, lost_bytes=start, marker=marker, looked_to=start)

    def _identify(self, file: Tracked, stream: Stream, reading: Reading) -> None:
        first = reading.data
        if file.started_inside:
            begin = len(UTF8_BOM) if file.head.startswith(UTF8_BOM) else 0
            first = stream.pread(self._line_bytes + 1, begin)
        self._known.identify(file, first[: first.find(b"\n") if b"\n" in first else None][: self._line_bytes])

    def _last_words(self, file: Tracked, now: float) -> _Read | None:
        """What the row of a file that is gone still holds: its partial, then the count of what was lost with it."""
        row = file.row
        if row.partial and self._handover.may_go_on(file, now):
            return self._made(file, Reading(marker=row.marker, tail=row.partial), now)
        if row.partial:
            reading = self._last_event(file, self._handover.sequel(file), now)
            if not row.identity:
                self._known.identify(file, reading.data[: reading.data.find(b"\n")])
            return self._made(file, reading, now, final=True)
        lost = file.lost_bytes
        return self._made(file, Reading(length=lost, lost_bytes=lost, marker=row.marker), now)

    def _last_event(self, file: Tracked, sequel: Sequel | None, now: float) -> Reading:
        """What was held back of a file that ends, with those first lines of its successors that belong to it."""
        row = file.row
        data = row.partial if row.partial.endswith(b"\n") else row.partial + b"\n"
        tails = []
        left = 0 if sequel is None else sequel.taken or 0
        for after, text in () if sequel is None else sequel.parts:
            if not left:
                break
            lines = text[:left]
            tails.append(self._begin(after, lines, learned=row.learned, now=now))
            data += lines
            left -= len(lines)
        marker = (row.marker + row.partial)[-MARKER_BYTES:]
        return Reading(
            data=data, length=len(row.partial), marker=marker, looked_to=file.read_end, at_end=True, tails=tuple(tails)
        )

    def _begin(self, file: Tracked, lines: bytes, *, learned: bool | None, now: float) -> Tail:
        """Move a file behind its first lines, which are in the chunk of the one before it in the same log."""
        if not file.row.identity:
            self._known.identify(file, lines[: lines.find(b"\n")])
        file.last_turn = self._turn
        row = file.row = replace(file.row, learned=learned)
        end = row.position + len(lines)
        read = self._made(
            file, Reading(length=len(lines), marker=(row.marker + lines)[-MARKER_BYTES:], looked_to=end), now
        )
        self._reads[id(read.chunk)] = read
        return Tail(
            path=file.path,
            identity=row.identity,
            generation=row.generation,
            offset=row.position,
            size_bytes=len(lines),
            lines=lines.count(b"\n"),
        )

    def _made(
        self, file: Tracked, reading: Reading, now: float, *, final: bool = False, drained: bool = False
    ) -> _Read:
        chunk = Chunk(
            file=file.row,
            data=reading.data,
            length=reading.length,
            lost_bytes=reading.lost_bytes,
            final=final,
            fallback=file.mtime if self._once else now,
            read_at=now,
            tails=reading.tails,
        )
        # Bytes behind the chunk that are still in a plain file are read from there again, unless it may lose them.
        keep = reading.at_end or file.row.codec != PLAIN or not reading.data
        return _Read(file, chunk, reading if keep else replace(reading, tail=b""), drained, file.size)

    def _measure(self, now: float) -> SourceProgress:
        files = list(self._known.unsettled)
        return measure(
            files,
            followed=len(self._known),
            strangers=self._scanner.strangers,
            unreadable=self._notices.unreadable,
            scanned_at=self._scanner.scanned_at,
            exhausted=self._once
            and not self._scanner.strangers
            and not self._scanner.copies.holds_up()
            and not any(self._is_ready(file, now, flush=True) for file in files),
            now=now,
        )


def _linger_seconds(files: int) -> float:
    """How long little waits for more where so many files have something to read."""
    return min(_MAX_LINGER_SECONDS, max(_LINGER_SECONDS, files / _SMALL_READS_PER_SECOND))


def _is_news(reading: Reading, file: Tracked) -> bool:
    """Whether more was seen than the file's row holds."""
    return reading.length + len(reading.tail) > len(file.row.partial)


def _skip_older_than(start: str) -> float | None:
    """Seconds since its last change from which a file of the first run counts as read; None: no file does."""
    if start == "beginning":
        return None
    if start == "end":
        return float("-inf")
    match = re.fullmatch(r"since:([1-9][0-9]*)([smhd])", start)
    if match is None:
        raise ValueError(f"start is beginning, end or since: with a duration, not {start!r}")
    return float(int(match[1]) * _SECONDS[match[2]])
