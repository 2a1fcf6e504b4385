"""Where a scan looks: at everything now and then, and in between only where something may have changed.

A sweep walks all that the patterns cover and is the truth. It is repeated after a multiple of what it costs, so that
looking takes a small share of a processor however many files there are. Between two sweeps a glance looks at the files
that the kernel named, relists the directories in which it saw names come or go, and polls what it cannot be trusted
with: files whose changes a sweep found without having been told.

Invariants: after an overflow of the kernel's queue a sweep is due, and files that were written to lately are polled
until they are quiet; with no hints at all every change is found by the next sweep. Must never: judge what a file is.
"""

from __future__ import annotations

import os
import stat as modes
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.discovery import Findings
from enricher.edges.source_files.identity import is_same_inode
from enricher.edges.source_files.watching import Hints

if TYPE_CHECKING:
    from enricher.edges.source_files.discovery import Discovery, Sift
    from enricher.edges.source_files.known import Known
    from enricher.edges.source_files.tracking import Tracked
    from enricher.edges.source_files.watching import Watcher
    from enricher.telemetry import Telemetry

FREE_SECONDS: Final = 0.002
"""A sweep that costs no more is repeated at each look."""
_SWEEP_SHARE: Final = 400
"""A sweep is repeated after so many times what it took of a processor."""
_URGENT_SHARE: Final = 20
"""And after so many times as long as it lasted at the earliest, whatever asks for one."""
_POLL_SHARE: Final = 20
"""Polling what nobody tells of is repeated after so many times what it took of a processor."""
_MAX_SWEEP_INTERVAL_SECONDS: Final = 60.0
_HOT_SECONDS: Final = 600.0
"""So long after its last change a file is polled that the kernel does not tell of."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was looked at, and what was found there."""

    findings: Findings
    files: list[Tracked]
    """The known files that would have been found if they were where they were."""
    is_whole: bool


@dataclass(slots=True)
class _Pace:
    """When something dear is to be done again."""

    share: float
    done_at: float | None = None
    pause: float = 0.0

    def is_due(self, now: float) -> bool:
        # A clock that was set back must not keep it from being done.
        return self.done_at is None or abs(now - self.done_at) >= self.pause

    def did(self, now: float, seconds: float) -> None:
        self.done_at = now
        self.pause = 0.0 if seconds <= FREE_SECONDS else min(self.share * seconds, _MAX_SWEEP_INTERVAL_SECONDS)


class Looker:
    """Chooses between sweeps and glances. Without a watcher nothing is ever named: all the unsettled are polled."""

    def __init__(self, *, known: Known, discovery: Discovery, watcher: Watcher | None, telemetry: Telemetry) -> None:
        self.swept_at: float | None = None
        """When everything was last looked at."""
        self._known = known
        self._discovery = discovery
        self._watcher = watcher
        self._telemetry = telemetry
        self._sweeps = _Pace(_SWEEP_SHARE if watcher is not None else _URGENT_SHARE)
        self._urgent = _Pace(_URGENT_SHARE)
        self._polls = _Pace(_POLL_SHARE)
        self._is_urgent = False
        self._heard = Hints()
        self._again: set[bytes] = set()
        self._named: set[bytes] = set()
        self._untold: list[Tracked] = []
        self._polled: dict[Tracked, None] = {}

    def look_again(self, path: bytes) -> None:
        """Look at a path the next time, whether anything is said of it or not."""
        self._again.add(path)

    def changed(self, file: Tracked) -> None:
        """A sweep found a change; if the kernel does not tell of it either, the file is polled from now on."""
        if self._watcher is not None and file.path not in self._named:
            self._untold.append(file)

    def clock_set(self, seconds: float) -> None:
        """The wall clock was set: everything was last looked at as long ago as before."""
        self.swept_at = None if self.swept_at is None else self.swept_at + seconds

    def is_idle(self, now: float) -> bool:
        """Whether a look would find nothing to look at; costs next to nothing."""
        if self._sweeps.is_due(now) or self._is_urgent or self._again or self._untold or self._polled:
            return False
        if self._watcher is not None:
            self._heard.add(self._watcher.take())
        return not (self._heard or self._known.unsettled)

    def file_at(self, path: bytes) -> os.stat_result | None:
        """A file that was found before, at its path."""
        return self._discovery.file_at(path)

    def look(self, now: float, sift: Sift) -> Look:
        """Look at the disk. A sweep leaves out what is sifted out."""
        hints = self._take_hints(now)
        if self._sweeps.is_due(now) or (self._is_urgent and self._urgent.is_due(now)):
            return self._sweep(hints, now, sift)
        return self._glance(hints, now)

    def _take_hints(self, now: float) -> Hints:
        if self._watcher is not None:
            self._heard.add(self._watcher.take())
        hints, self._heard = self._heard, Hints()
        if hints.overflowed:
            self._telemetry.watch_overflowed(source=self._known.source)
            if not self._is_urgent:
                self._polled |= {
                    file: None for file in self._known.present() if abs(now - file.changed_at) < _HOT_SECONDS
                }
            self._is_urgent = True
        self._polled |= {file: None for file in self._untold if file.path not in hints.named}
        self._untold.clear()
        hints.named |= self._again
        self._again = set()
        return hints

    def _sweep(self, hints: Hints, now: float, sift: Sift) -> Look:
        self._named = hints.named
        files = self._known.present()
        begun, begun_cpu = time.monotonic(), time.thread_time()
        findings = self._discovery.walk(sift)
        self._is_urgent = False
        self.swept_at = now
        if self._watcher is not None:
            self._watcher.keep(self._discovery.directories())
        self._sweeps.did(now, time.thread_time() - begun_cpu)
        self._urgent.did(now, time.monotonic() - begun)
        self._sweeps.pause = max(self._sweeps.pause, self._urgent.pause)
        return Look(findings, files, is_whole=True)

    def _glance(self, hints: Hints, now: float) -> Look:
        begun = time.thread_time()
        is_poll = self._polls.is_due(now)
        files, strangers = self._asked_for(hints, now, poll=is_poll)
        findings = Findings()
        stirred = hints.stirred
        for file in files:
            if file.outside or file.deleted or not file.present:
                continue
            stat = _stat(file.path)
            if stat is None or not is_same_inode(file.row, stat):
                stirred.add(os.path.dirname(file.path))
            else:
                findings.files[file.path] = stat
        for path in strangers:
            stat = _stat(path, follow_symlinks=False)
            if stat is not None and modes.S_ISREG(stat.st_mode):
                findings.files[path] = stat
            else:
                stirred.add(os.path.dirname(path))
        if is_poll:
            self._polls.did(now, time.thread_time() - begun)
        if stirred:
            relisted = self._discovery.look(stirred)
            relisted.files.update((path, stat) for path, stat in findings.files.items() if path not in relisted.files)
            findings = relisted
            for directory in findings.entered | findings.gone:
                files |= dict.fromkeys(self._known.within(directory))
        return Look(findings, [file for file in files if file.present], is_whole=False)

    def _asked_for(self, hints: Hints, now: float, *, poll: bool) -> tuple[dict[Tracked, None], list[bytes]]:
        """Known files that are to be looked at, and paths of others."""
        files: dict[Tracked, None] = {}
        strangers = []
        for path in hints.named:
            file = self._known.at(path)
            if file is not None:
                files[file] = None
            elif self._discovery.wants(path):
                strangers.append(path)
        files |= {file: None for file in self._known.unsettled if _needs_a_look(file)}
        if poll:
            hot = [file for file in self._polled if file.present and abs(now - file.changed_at) < _HOT_SECONDS]
            self._polled = dict.fromkeys(hot)
            files |= self._polled if self._watcher is not None else self._known.unsettled
        return files, strangers


def _needs_a_look(file: Tracked) -> bool:
    """Whether a file may change without a word: it is followed under a name or in a state that nobody watches."""
    return file.outside or file.deleted or file.degraded_since is not None or file.checked is None


def _stat(path: bytes, *, follow_symlinks: bool = True) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow_symlinks)
    except OSError:
        return None
