"""What a file gives when it is read: a chunk of whole lines, or one without lines that has other news of its row.

The last event of a file that ends takes along those first lines of its successors that belong to it. Invariant: a file
that cannot be read is degraded, never an error here. Must never: move a position, or choose which file is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from enricher.core.block import Tail
from enricher.edges.source_files.identity import HEAD_BYTES, MARKER_BYTES, has_head
from enricher.edges.source_files.reader import Reading, read_lines
from enricher.edges.source_files.scanning import UTF8_BOM
from enricher.edges.source_files.streams import PLAIN, Stream
from enricher.edges.source_files.tracking import Descriptors, ReplacedError, Tracked
from enricher.ports import Chunk

if TYPE_CHECKING:
    from enricher.edges.source_files.comparing import Comparing
    from enricher.edges.source_files.handover import Handover, Sequel
    from enricher.edges.source_files.known import Known
    from enricher.edges.source_files.notices import Notices
    from enricher.edges.source_files.turns import Turns


@dataclass(frozen=True, slots=True)
class Read:
    """What lies behind a chunk that was handed out."""

    file: Tracked
    chunk: Chunk
    reading: Reading
    drained: bool
    """The file ends with it for good."""
    size: int
    """Of the file on disk, then."""


class Chunks:
    """Reads files, and keeps what lies behind the chunks of the last turn."""

    def __init__(
        self,
        *,
        known: Known,
        handover: Handover,
        turns: Turns,
        descriptors: Descriptors,
        notices: Notices,
        comparing: Comparing,
        once: bool,
        line_bytes: int,
    ) -> None:
        self.reads: dict[int, Read] = {}
        """By the id of the chunk."""
        self.turn = 0
        self._known = known
        self._handover = handover
        self._turns = turns
        self._descriptors = descriptors
        self._notices = notices
        self._comparing = comparing
        self._once = once
        self._line_bytes = line_bytes

    def begin(self) -> None:
        """Another turn: what is behind the chunks of the last one is of no use any more."""
        self.reads.clear()
        self.turn += 1

    def attempt(self, file: Tracked, share: int, now: float) -> int:
        """Read a file; how many bytes of lines that gave."""
        file.last_turn = self.turn
        self._known.served(file)
        read = self._read(file, share, now)
        if read is None:
            return 0
        self.reads[id(read.chunk)] = read
        return len(read.chunk.data)

    def tell(self, file: Tracked, now: float) -> None:
        """Have the news of a row committed with those of others, or a new file might take its inode before that."""
        read = self._made(file, Reading(marker=file.row.marker, tail=file.row.partial), now)
        self.reads[id(read.chunk)] = read

    def _read(self, file: Tracked, share: int, now: float) -> Read | None:
        if not file.present:
            return self._last_words(file, now)
        reading = None
        if self._turns.has_content(file) and file.degraded_since is None:
            try:
                stream = self._descriptors.stream(file)
                hole = self._hole(file, stream)
                reading = hole or (self._lines(file, stream, share, now) if self._comparing.proves(file, now) else None)
                if reading is not None and not file.row.identity and reading.data:
                    self._identify(file, stream, reading)
            except (ReplacedError, FileNotFoundError):
                file.checked = None
            except OSError as error:
                self._comparing.degrade(file, error, now)
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
        is_growing = row.head_bytes < HEAD_BYTES and row.codec == PLAIN
        head = stream.pread(HEAD_BYTES, 0) if is_growing else b""  # before the rest, of which the marker tells
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
        if reading.changed or not _begins_as(file, reading):
            file.checked = None
            return None
        if stream.damage:
            hint = "what was before the damage was read; restore the rest from a copy"
            self._notices.tell(file.path, "unreadable", f"damaged: {stream.damage}", hint)
        if is_growing:
            file.head = _content(file, reading) or head
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

    def _last_words(self, file: Tracked, now: float) -> Read | None:
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
        # The position stays: what is lost may be back one day, on a disk that is mounted again.
        return self._made(file, Reading(lost_bytes=lost, marker=row.marker), now)

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
        file.last_turn = self.turn
        row = file.row = replace(file.row, learned=learned)
        end = row.position + len(lines)
        read = self._made(
            file, Reading(length=len(lines), marker=(row.marker + lines)[-MARKER_BYTES:], looked_to=end), now
        )
        self.reads[id(read.chunk)] = read
        return Tail(
            path=file.path,
            identity=row.identity,
            generation=row.generation,
            offset=row.position,
            size_bytes=len(lines),
            lines=lines.count(b"\n"),
        )

    def _made(self, file: Tracked, reading: Reading, now: float, *, final: bool = False, drained: bool = False) -> Read:
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
        return Read(file, chunk, reading if keep else replace(reading, tail=b""), drained, file.size)


def _content(file: Tracked, reading: Reading) -> bytes:
    """The first bytes of a plain file, as far as they are those that were just read; else nothing."""
    row = file.row
    is_from_start = row.codec == PLAIN and row.position == len(row.marker) and not reading.lost_bytes
    return (row.marker + reading.data[: reading.length] + reading.tail)[:HEAD_BYTES] if is_from_start else b""


def _begins_as(file: Tracked, reading: Reading) -> bool:
    """Whether what was read of a file from its start is what it was found with: it may be truncated at any time."""
    head = _content(file, reading)
    is_all = reading.at_end and reading.looked_to <= len(head)  # no end of a long line was looked for behind it
    is_enough = is_all or len(head) >= file.row.head_bytes
    return not head or not is_enough or file.end is not None or has_head(file.row, head)


def _is_news(reading: Reading, file: Tracked) -> bool:
    """Whether more was seen than the file's row holds."""
    return reading.length + len(reading.tail) > len(file.row.partial)
