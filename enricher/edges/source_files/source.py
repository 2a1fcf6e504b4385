"""Log files as a source: the port's methods. A scan finds files, turns choose among them, chunks come of them.

Invariants: positions move in `committed` alone, so that what was read and not committed is read again; file I/O runs in
a worker thread. Must never: raise for what a file does.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enricher.core.block import MAX_LINE_BYTES
from enricher.edges.source_files.chunks import Chunks
from enricher.edges.source_files.comparing import Comparing
from enricher.edges.source_files.discovery import Discovery
from enricher.edges.source_files.handover import Handover
from enricher.edges.source_files.identity import MARKER_BYTES
from enricher.edges.source_files.known import Known, readable
from enricher.edges.source_files.looking import Looker
from enricher.edges.source_files.notices import Notices
from enricher.edges.source_files.progress import NO_PROGRESS, measure
from enricher.edges.source_files.scanning import Scanner
from enricher.edges.source_files.tracking import Descriptors, with_head
from enricher.edges.source_files.turns import MAX_CHUNKS, Turns
from enricher.edges.source_files.watching import Watcher

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence

    from enricher.core.block import FileState
    from enricher.edges.source_files.chunks import Read
    from enricher.ports import Chunk, Joined, SkippedFile, SourceProgress
    from enricher.telemetry import Telemetry

MAX_DESCRIPTORS: Final = 256
"""Files that a source has open at a time, where the process may have as many."""
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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
        comparing = Comparing(
            known=self._known,
            notices=self._notices,
            descriptors=self._descriptors,
            telemetry=telemetry,
            once=once,
        )
        self._scanner = Scanner(
            known=self._known,
            notices=self._notices,
            looker=self._looker,
            comparing=comparing,
            descriptors=self._descriptors,
            telemetry=telemetry,
            skip_older_than=_skip_older_than(start),
            once=once,
            line_bytes=max_line_bytes,
        )
        self._handover = Handover(
            known=self._known, descriptors=self._descriptors, once=once, line_bytes=max_line_bytes
        )
        self._turns = Turns(known=self._known, handover=self._handover, once=once)
        self._chunks = Chunks(
            known=self._known,
            handover=self._handover,
            turns=self._turns,
            descriptors=self._descriptors,
            notices=self._notices,
            comparing=comparing,
            once=once,
            line_bytes=max_line_bytes,
        )
        self._accepted: dict[FileState, Read] = {}
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
        if not chunks:  # else a commit follows
            self._progress = self._measure(now)
        return chunks

    def accept(
        self, chunk: Chunk, taken: int, *, partial: bytes, anchor: float | None, learned: bool | None
    ) -> FileState:
        """The row after the first `taken` bytes of a chunk became events; what was seen behind it joins `partial`."""
        read = self._chunks.reads[id(chunk)]
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
            self._scanner.copies.was_read(file, state, read.chunk, read.reading.tail)
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
            file.reached(self._scanner.done_at)
            self._known.stir(file)
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
        self._accepted.clear()
        self._chunks.begin()
        self._handover.look(now)
        quiet, files = self._turns.take(now, flush=flush)
        for file in quiet:
            self._chunks.attempt(file, 0, now)
        self._turns.serve(files, partial(self._chunks.attempt, now=now))
        unsettled = list(self._known.unsettled)
        untold = (file for file in unsettled if file.dirty and file.last_turn != self._chunks.turn)
        for file in islice(untold, MAX_CHUNKS):
            self._chunks.tell(file, now)
        return [read.chunk for read in self._chunks.reads.values()]

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
            and not any(self._turns.is_ready(file, now, flush=True) for file in files),
            now=now,
        )


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
