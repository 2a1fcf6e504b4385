"""What happens while sources are read: files, lines, new shapes, and a source that breaks the breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from enricher.telemetry.making import Told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.books import HeldBy
    from enricher.ports import SkippedFile, SourceProgress
    from enricher.telemetry.making import Maker

SKIP_REASONS: Final = (
    "unreadable", "binary", "directory", "not_regular", "vanished", "own_output", "compressed_unknown",
)  # fmt: skip
TIME_ORIGINS: Final = ("own", "previous", "fallback", "future")
HELD_BY: Final = ("disk", "spool")
_HELD_HINTS: Final = {
    "disk": "make room on the disk of state_dir; files keep what is not read",
    "spool": "see that the sinks take what is due, or raise [store] max_spool_bytes; files keep what is not read",
}
DISCARDS: Final = ("blank", "dropped")
_NAMED_FILES: Final = 20
"""So many of the files that are found or left out at once have a line of log each."""


class ReadingTold(Told):
    """Blocks of lines, and the kinds of event in them."""

    def __init__(self, maker: Maker) -> None:
        super().__init__(maker)
        self._events = maker.counter("source_read_events_total", "Events read and made durable", "source")
        self._lines = maker.counter("source_read_lines_total", "Lines read, blank and dropped ones too", "source")
        self._bytes = maker.counter("source_read_bytes_total", "Bytes read and made durable", "source")
        self._lost_bytes = maker.counter(
            "source_lost_bytes_total", "Bytes cut off over-long lines or lost in holes", "source"
        )
        self._discarded = maker.counter("source_discarded_lines_total", "Lines that are no events", "reason", DISCARDS)
        self._time_origins = maker.counter(
            "source_event_time_lines_total", "Lines by where their time came from", "from", TIME_ORIGINS
        )
        self._late_events = maker.counter("late_events_total", "Events that opened or joined a late pane")
        self._hits = maker.counter("signature_hits_total", "Events of a shape met before")
        self._misses = maker.counter("signature_misses_total", "Shapes met for the first time")
        self._breaker_open = maker.gauge("breaker_open", "1 while nothing is paid for a source", "source")
        self._breaker_trips = maker.counter("breaker_trips_total", "Times the breaker of a source opened", "source")
        self._held = maker.gauge("reading_held", "1 while nothing is read for want of room", "reason", HELD_BY)
        self._coarse_lines = maker.counter("breaker_coarse_lines_total", "Lines with a coarse signature", "source")

    def block_committed(
        self,
        *,
        source: str,
        lines: int,
        events: int,
        size_bytes: int,
        blank: int,
        dropped: int,
        lost_bytes: int,
        origins: Mapping[str, int],
        late_events: int,
        new_shapes: int,
    ) -> None:
        """A block of a source is durable."""
        self._lines.labels(source).inc(lines)
        self._events.labels(source).inc(events)
        self._bytes.labels(source).inc(size_bytes)
        self._lost_bytes.labels(source).inc(lost_bytes)
        self._discarded.labels("blank").inc(blank)
        self._discarded.labels("dropped").inc(dropped)
        self._late_events.inc(late_events)
        self._misses.inc(new_shapes)
        self._hits.inc(max(0, events - new_shapes))
        for origin, number in origins.items():
            self._time_origins.labels(origin).inc(number)

    def reading_held(self, *, reason: HeldBy | None) -> None:
        """Nothing is read for want of room; None: it is again."""
        for one in HELD_BY:
            self._held.labels(one).set(one == reason)
        if reason is None:
            self._log.info("reading_resumed")
        else:
            self._log.error("reading_held", reason=reason, hint=_HELD_HINTS[reason])

    def line_cut(self, *, source: str, path: str, lost_bytes: int) -> None:
        """A line was longer than the limit; its rest is lost and counted."""
        self._tell_sparingly(self._log.warning, "line_cut", source, path=path, lost_bytes=lost_bytes)

    def breaker_known(self, *, source: str, is_open: bool) -> None:
        """Where the breaker of a source stands at the start."""
        self._breaker_open.labels(source).set(is_open)

    def breaker_opened(self, *, source: str, skipped: int) -> None:
        """A source makes too many lines kinds of their own: nothing is paid for it until it is calm again."""
        self._breaker_open.labels(source).set(1)
        self._breaker_trips.labels(source).inc()
        self._log.error(
            "breaker_opened",
            source=source,
            skipped_signatures=skipped,
            hint="its new kinds go out coarse and as skipped_policy; see what it writes, or drop it",
        )

    def breaker_closed(self, *, source: str) -> None:
        """A source is calm again; its new kinds are asked about."""
        self._breaker_open.labels(source).set(0)
        self._log.info("breaker_closed", source=source)

    def lines_coarsened(self, *, source: str, lines: int) -> None:
        """Lines of a source whose breaker is open got a coarse signature."""
        self._coarse_lines.labels(source).inc(lines)


class FilesTold(Told):
    """The files of a source: found, left out, rotated, behind."""

    def __init__(self, maker: Maker) -> None:
        super().__init__(maker)
        self._skipped = maker.counter("source_skipped_files_total", "Files found and not read", "reason", SKIP_REASONS)
        self._rotations = maker.counter("source_rotations_total", "Files met again under another name", "source")
        self._truncations = maker.counter("source_truncations_total", "Files truncated or rewritten", "source")
        self._overflows = maker.counter(
            "source_watch_overflows_total", "Times the kernel could not say all that changed in the files", "source"
        )
        self._files = maker.gauge("source_files", "Files of a source that are followed", "source")
        self._degraded = maker.gauge("source_degraded_files", "Files of a source that cannot be read now", "source")
        self._unread_bytes = maker.gauge("source_unread_bytes", "Bytes not read yet", "source")
        self._deleted_bytes = maker.gauge(
            "source_deleted_bytes", "Bytes of deleted files that are held open until they are read", "source"
        )
        self._lag = maker.gauge("source_lag_seconds", "Age of the oldest unread byte", "source")

    def watch_overflowed(self, *, source: str) -> None:
        """More changed in the files of a source than the kernel keeps; they are all looked at again."""
        self._overflows.labels(source).inc()

    def files_found(self, *, source: str, paths: Sequence[bytes]) -> None:
        """Files are followed from now on; a few are named one by one, of many only some of them."""
        for path in paths[:_NAMED_FILES]:
            self._tell_sparingly(self._log.info, "file_found", source, path=path.decode("utf-8", "backslashreplace"))
        if (not_named := len(paths) - _NAMED_FILES) > 0:
            self._tell_sparingly(self._log.info, "files_found", source, files=len(paths), not_named=not_named)

    def files_skipped(self, *, source: str, skipped: Sequence[SkippedFile]) -> None:
        """Files are not read; each is told once per reason, of many for the same reason only some by name."""
        by_reason: dict[str, list[SkippedFile]] = {}
        for one in skipped:
            by_reason.setdefault(one.reason, []).append(one)
        for reason, files in by_reason.items():
            self._skipped.labels(reason).inc(len(files))
            for one in files[:_NAMED_FILES]:
                self._tell_sparingly(
                    self._log.warning,
                    "file_skipped",
                    source,
                    path=one.path.decode("utf-8", "backslashreplace"),
                    reason=reason,
                    detail=one.detail,
                    hint=one.hint,
                )
            if len(files) > _NAMED_FILES:
                more = {"reason": reason, "files": len(files), "not_named": len(files) - _NAMED_FILES}
                self._tell_sparingly(self._log.warning, "files_skipped", source, **more)

    def file_rotated(self, *, source: str, path: str, new_path: str) -> None:
        """A known file was met under another name."""
        self._rotations.labels(source).inc()
        self._tell_sparingly(self._log.info, "file_rotated", source, path=path, new_path=new_path)

    def file_truncated(self, *, source: str, path: str, old_position: int, new_size: int) -> None:
        """A file was truncated or rewritten; it is read from its start as a new generation."""
        self._truncations.labels(source).inc()
        more = {"path": path, "old_position": old_position, "new_size_bytes": new_size}
        self._tell_sparingly(self._log.warning, "file_truncated", source, **more)

    def source_progressed(self, *, source: str, progress: SourceProgress, now: float) -> None:
        """Where a source stands."""
        self._files.labels(source).set(progress.files)
        self._degraded.labels(source).set(progress.degraded)
        self._unread_bytes.labels(source).set(progress.unread_bytes)
        self._deleted_bytes.labels(source).set(progress.deleted_bytes)
        oldest = progress.oldest_unread_at
        self._lag.labels(source).set(0 if oldest is None else max(0.0, now - oldest))
