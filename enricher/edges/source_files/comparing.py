"""Whether a file that has changed is what it was: its content beside its row.

A log that is written to all the time, while it waits for its turn, is compared once for each read and not once for each
line. Invariant: of a file that has grown since it was compared nothing is read, and nothing is taken for its copy,
before it is compared again. Must never: look for a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.edges.source_files.identity import HEAD_BYTES, Sighting, Verdict, resume_verdict
from enricher.edges.source_files.known import Known, readable
from enricher.edges.source_files.moving import Stranger, sight
from enricher.edges.source_files.streams import PLAIN
from enricher.edges.source_files.tracking import Descriptors, ReplacedError, Tracked, with_head

if TYPE_CHECKING:
    import os

    from enricher.edges.source_files.notices import Notices
    from enricher.telemetry import Telemetry


class Comparing:
    """Compares files with what is known of them."""

    def __init__(
        self, *, known: Known, notices: Notices, descriptors: Descriptors, telemetry: Telemetry, once: bool
    ) -> None:
        self._known = known
        self._notices = notices
        self._descriptors = descriptors
        self._telemetry = telemetry
        self._once = once

    def check(self, file: Tracked, stat: os.stat_result, now: float) -> bool:
        """Compare a file that has changed with its row; False if it is another one now."""
        row = file.row
        if file.is_as_checked(stat) and file.degraded_since is None:
            return True
        self._known.stir(file)
        if not self._once and file.may_wait(stat):
            self._known.saw(file, stat, now)
            file.looked_at(stat)
            return True
        if row.codec != PLAIN:
            is_as_it_was = (stat.st_size, stat.st_mtime) == (row.size_seen, row.mtime_seen)
            if file.checked is None and row.gone_at is not None and is_as_it_was:
                file.was_checked(stat)
                file.done = True
                return True
        try:
            self._descriptors.goes_on(file)
            seen = self._sight(file, stat, now)
        except (ReplacedError, FileNotFoundError):
            file.checked = None
            return True
        except OSError as error:
            self.degrade(file, error, now)
            return True
        verdict = resume_verdict(row, seen, original_gone=False)
        if verdict is Verdict.HOLD:
            file.checked = None
            return True
        if verdict is not Verdict.CONTINUE:
            self._telemetry.file_truncated(
                source=self._known.source, path=readable(file.path), old_position=row.position, new_size=stat.st_size
            )
            file.size = min(file.size, file.proven)  # what it grew to since is another's, as far as anybody knows
            self._known.give_up(file, now)
            return False
        if file.done and row.codec != PLAIN:
            file.done, file.gone_at, file.dirty = False, None, True
        self.saw(file, stat, seen.head, now)
        return True

    def proves(self, file: Tracked, now: float) -> bool:
        """Whether a file that is about to be read is what it was, if it has grown since it was compared.

        If not, the next scan sees to it. OSError, ReplacedError where it cannot be read.
        """
        if file.size == file.proven:
            return True
        verdict, head = self._judge(file, now)
        if verdict is not Verdict.CONTINUE:
            file.checked = None
            return False
        file.starts_with(head)
        file.proven = file.size
        return True

    def is_truncated(self, file: Tracked, now: float) -> bool:
        """Whether a file that is there is not what it was any more, which the next scan sees to."""
        try:
            verdict, _ = self._judge(file, now)
        except (ReplacedError, OSError):
            return False  # nobody knows
        return verdict not in (Verdict.CONTINUE, Verdict.HOLD)

    def _judge(self, file: Tracked, now: float) -> tuple[Verdict, bytes]:
        """What its content says now, and how it begins."""
        self._descriptors.stream(file)
        stat = self._descriptors.stat(file)
        assert stat is not None
        seen = self._sight(file, stat, now)
        return resume_verdict(file.row, seen, original_gone=False), seen.head

    def _sight(self, file: Tracked, stat: os.stat_result, now: float) -> Sighting:
        stream = self._descriptors.stream(file)
        stranger = Stranger(
            path=file.path,
            stat=stat,
            birth=self._descriptors.birth(file),
            codec=file.row.codec,
            stream=stream,
            head=stream.pread(HEAD_BYTES, 0),
        )
        return sight(stranger, file.row, quiet_seconds=self._known.quiet_seconds(stat.st_mtime, now))

    def saw(self, file: Tracked, stat: os.stat_result, head: bytes, now: float) -> None:
        """A file is what it is taken for."""
        if not file.row.position:
            file.row = with_head(file.row, head)  # all that tells its copy while none of it is read
        file.starts_with(head)
        self._known.saw(file, stat, now)
        file.was_checked(stat)
        file.degraded_since = None
        if self._once and file.end is None and file.row.codec == PLAIN:
            file.end = stat.st_size
        self._notices.reads(file.path)

    def degrade(self, file: Tracked, error: OSError, now: float) -> None:
        """A known file cannot be read now; it is tried again at each scan."""
        if file.degraded_since is None:
            file.degraded_since = now
        self._known.stir(file)
        self._descriptors.close(file)
        self._notices.cannot_read(file.path, error)
