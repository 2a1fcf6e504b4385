"""Which file goes on where another one ended, and the first lines of it that belong to the other's last event.

A log that is rotated goes on in another file: its successor. While the last event of the old file is not over, or the
old file has lines that were not read, nothing of the successor is read, so that its first lines are still there to be
taken into that event.

Invariants: a successor waits for lines that are there and for an event that is held back, never for a file that cannot
be read or that another program goes on writing to. Must never: move a position, or read more than first lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.scanning import UTF8_BOM
from enricher.edges.source_files.streams import PLAIN
from enricher.edges.source_files.tracking import QUIET_SECONDS, Descriptors, ReplacedError, Tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enricher.edges.source_files.known import Known
    from enricher.ports import Joined

_NUMBER: Final = re.compile(rb"\.([0-9]{1,4})(?:\.[a-z0-9]+)?$")
_LOOKED_AT_BYTES: Final = 16 * 1024 * 1024
"""Of first lines that are held at once. A single sequel may have those of the longest event, and of one file more."""


@dataclass(frozen=True, slots=True)
class Sequel:
    """What comes after a file that is not done with."""

    parts: tuple[tuple[Tracked, bytes], ...]
    """Files, each the successor of the one before it, and whole lines at their start."""
    taken: int | None
    """Bytes of all these lines that belong to the event which the file holds back; None: lines to come may tell."""

    @property
    def size(self) -> int:
        """Bytes of all these lines."""
        return sum(len(text) for _, text in self.parts)


class Handover:
    """Looks at each file that ends, and at the one that goes on for it. `joined` None: no event has several lines."""

    def __init__(self, *, known: Known, descriptors: Descriptors, once: bool, line_bytes: int) -> None:
        self.joined: Joined | None = None
        self.waiting: set[Tracked] = set()
        """Files of which nothing is to be read yet."""
        self._known = known
        self._descriptors = descriptors
        self._once = once
        self._line_bytes = line_bytes
        self._sequels: dict[Tracked, Sequel] = {}

    def look(self, now: float) -> None:
        """Find the sequels, before anything else is read: what a program wrote to the old file stands there by then."""
        self.waiting, self._sequels = set(), {}
        if self.joined is None:
            return
        followers = dict(_successions(self._known))
        room = _LOOKED_AT_BYTES
        for file, after in followers.items():
            unread = _has_lines(file)
            if not _is_waited_for(file, after, now) or not (unread or _holds_an_event(file)):
                continue
            if room <= 0:
                # After hours in which nothing was read there are thousands: their turn comes after those before them.
                self.waiting.add(after)
                continue
            sequel = self._sequel(file, followers, now)
            room -= sequel.size if sequel is not None else 0
            if sequel is not None and (unread or sequel.taken != 0):
                self._sequels[file] = sequel
                self.waiting.update(part for part, _ in sequel.parts)
        for file in self.waiting:
            file.dirty |= not file.row.id  # so that another process finds it again under whatever name

    def sequel(self, file: Tracked) -> Sequel | None:
        """What comes after a file; None where its last event is over with its last line."""
        return self._sequels.get(file)

    def may_go_on(self, file: Tracked, now: float) -> bool:
        """Whether the event that a file held back when it went may have more lines in its successor."""
        sequel = self._sequels.get(file)
        if sequel is not None:
            return sequel.taken is None
        return self.joined is not None and not self._once and not file.is_quiet(now)

    def _sequel(self, file: Tracked, followers: dict[Tracked, Tracked], now: float) -> Sequel | None:
        """None where the successor has no whole line."""
        assert self.joined is not None
        parts: list[tuple[Tracked, bytes]] = []
        last = file
        size = 0
        while (after := followers.get(last)) is not None and size <= self._line_bytes:
            text, is_all = self._first_lines(after)
            if not text:
                break
            parts.append((after, text))
            size += len(text)
            last = after
            if not is_all or not self._is_over(after, now):
                break
        if not parts:
            return None
        held = file.row.partial
        if not _holds_an_event(file):
            return Sequel(tuple(parts), 0)
        if not held.endswith(b"\n"):
            held += b"\n"
        following = b"".join(text for _, text in parts)
        whole = self._is_over(last, now) or len(held) + len(following) > self._line_bytes
        return Sequel(tuple(parts), self.joined(file.row, held, following, whole=whole))

    def _is_over(self, file: Tracked, now: float) -> bool:
        return self._once or file.is_quiet(now)

    def _first_lines(self, file: Tracked) -> tuple[bytes, bool]:
        """Whole lines at the start of a file, and whether they are all that is in it."""
        start = file.row.position
        room = self._line_bytes if file.end is None else max(0, min(self._line_bytes, file.end - start))
        try:
            text = self._descriptors.stream(file).pread(room, start)
        except (ReplacedError, OSError):
            return b"", False  # the next scan sees to it
        if text.startswith(b"\x00"):
            return b"", False  # a hole, which is read as such first
        return text[: text.rfind(b"\n") + 1], len(text) < self._line_bytes and text.endswith(b"\n")


def _successions(known: Known) -> Iterator[tuple[Tracked, Tracked]]:
    """Each file that was left and the one after it, where nothing of that one was read yet."""
    homes = dict.fromkeys(file.home for file in known.unsettled if _is_fresh(file))
    for home in homes:
        group = sorted(known.of_log(home), key=_age)
        for file, after in pairwise(group):
            if _is_fresh(after) and (file.path != file.home or file.deleted or not file.present):
                yield file, after


def _age(file: Tracked) -> tuple[float, bool, int, bool, bytes]:
    """Orders the files of a log as they were written: the last change tells, and names where that is the same."""
    number = _NUMBER.search(file.path)
    return file.mtime, file.path == file.home, -int(number[1]) if number else 0, file.present, file.path


def _is_fresh(file: Tracked) -> bool:
    """Whether no text of it was taken yet: its marker is empty, a byte-order mark, or the end of a hole."""
    is_read = file.row.partial or file.row.marker.strip(b"\x00") not in (b"", UTF8_BOM)
    return file.present and not (is_read or file.done or file.started_inside or file.degraded_since is not None)


def _is_waited_for(file: Tracked, after: Tracked, now: float) -> bool:
    if file.degraded_since is not None:
        return False
    # Written to for so long after its successor had lines: by a program that does not know of the rotation.
    return file.changed_at - (after.unread_since or now) <= QUIET_SECONDS


def _has_lines(file: Tracked) -> bool:
    """Whether it may have whole lines that were not read; a compressed file may, as long as it is not done."""
    is_behind = file.row.codec != PLAIN and file.looked_to > file.read_end  # in a last line without an end
    return file.present and not file.done and bool(file.unread) and not is_behind


def _holds_an_event(file: Tracked) -> bool:
    """Whether what the row holds is the last event of a file, and nothing lies behind it."""
    is_left = file.renamed or file.deleted or not file.present
    return (b"\n" in file.row.partial or (is_left and bool(file.row.partial))) and file.looked_to <= file.read_end
