"""Which files there are: a walk that never enters what the patterns rule out, and remembers what it saw.

A directory that has not changed since it was listed is not listed again: only what is in it is looked at. Single
directories can be looked at alone, where something says that names came or went in them. Paths are bytes throughout.

Invariants: each directory is entered once per set of states (so a loop of symbolic links ends), real directories before
linked ones (so a file keeps its shortest honest name), and own directories never. Must never: open a file, or raise for
what the file system does.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.patterns import (
    ANY_DEPTH,
    Matcher,
    Pattern,
    States,
    compile_patterns,
    compile_segment,
    expand_braces,
)
from enricher.ports import SkippedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from enricher.edges.source_files.watching import Watcher

    Sift = Callable[[bytes, os.stat_result], bool]
    """Told each regular file that is found, says whether it is of no further concern."""

_SETTLED_NS: Final = 2_000_000_000
"""A directory that changed so shortly before it was listed may have changed again in the same tick of its clock."""
_BELIEVED_SECONDS: Final = 600.0
"""So long a directory is believed to be as it was: not every file system tells of its changes."""


@dataclass(slots=True)
class Findings:
    """What a look found."""

    files: dict[bytes, os.stat_result] = field(default_factory=dict)
    """Regular files by path, links followed."""
    skipped: list[SkippedFile] = field(default_factory=list)
    blind: list[bytes] = field(default_factory=list)
    """Directories that could not be read: nothing is known of what lies below them."""
    entered: set[bytes] = field(default_factory=set)
    """Directories of which all that is wanted in them was looked at."""
    gone: set[bytes] = field(default_factory=set)
    """Directories that were there before."""
    sift: Sift | None = None

    def take(self, path: bytes, seen: os.stat_result) -> None:
        """Remember a regular file, unless it is sifted out."""
        if self.sift is None or not self.sift(path, seen):
            self.files.setdefault(path, seen)

    def skip(self, path: bytes, reason: str, detail: str, hint: str) -> None:
        """Remember a file or directory that is not read."""
        self.skipped.append(SkippedFile(path=path, reason=reason, detail=detail, hint=hint))


@dataclass(frozen=True, slots=True)
class _Visit:
    """A directory to enter, and what the patterns make of the way to it."""

    path: bytes
    seen: os.stat_result
    states: States
    excluded: States
    is_linked: bool = False

    @property
    def key(self) -> tuple[int, int, States]:
        """Whatever its path: the directory, and how far the patterns have come."""
        return self.seen.st_dev, self.seen.st_ino, self.states


@dataclass(frozen=True, slots=True)
class _Entry:
    """A directory, or a link to anything, on whose name the patterns go on."""

    name: bytes
    is_link: bool
    states: States
    excluded: States


@dataclass(slots=True)
class _Listing:
    """What a directory held when it was listed, as far as the patterns want it."""

    visit: _Visit
    files: list[bytes] = field(default_factory=list)
    """Names of no directories and no links."""
    others: list[_Entry] = field(default_factory=list)
    listed_at: float = 0.0
    is_firm: bool = False
    """A later change of it would show."""

    def is_as(self, seen: os.stat_result) -> bool:
        """Whether the directory still holds the same."""
        before = self.visit.seen
        same = (before.st_dev, before.st_ino, before.st_mtime_ns) == (seen.st_dev, seen.st_ino, seen.st_mtime_ns)
        return same and self.is_firm and time.monotonic() - self.listed_at < _BELIEVED_SECONDS


class _Root:
    """The patterns that start at one path, and what was seen below it."""

    def __init__(self, path: bytes, patterns: list[Pattern]) -> None:
        self.path = path
        self.is_plain = any(not pattern.segments for pattern in patterns)
        # A plain directory stands for all below it.
        self.matcher = Matcher(
            [
                pattern if pattern.segments else Pattern(path, (ANY_DEPTH, compile_segment(b"*")), named=False)
                for pattern in patterns
            ]
        )
        self.listings: dict[bytes, dict[States, _Listing]] = {}
        self.entered: set[tuple[int, int, States]] = set()

    def forget(self, path: bytes) -> set[bytes]:
        """Forget a directory and all below it; their paths."""
        forgotten = {one for one in self.listings if one == path or one.startswith(path + b"/")}
        for one in forgotten:
            for listing in self.listings.pop(one).values():
                self.entered.discard(listing.visit.key)
        return forgotten


class Discovery:
    """The include and exclude patterns of a source, ready to walk.

    A plain directory among the includes means every file below it, a plain file itself. Relative patterns start at
    `directory`. An exclude without a slash is for names at any depth; one that matches a directory rules out all below.
    `watcher` watches each directory from before it is listed.
    """

    def __init__(
        self,
        include: Sequence[str],
        exclude: Sequence[str],
        own_directories: Sequence[str | os.PathLike[str]],
        directory: Path,
        watcher: Watcher | None = None,
    ) -> None:
        here = os.fsencode(directory)
        by_root: dict[bytes, list[Pattern]] = {}
        for pattern in (pattern for text in include for pattern in compile_patterns(os.fsencode(text), here)):
            by_root.setdefault(pattern.root, []).append(pattern)
        self._roots = [_Root(root, patterns) for root, patterns in by_root.items()]
        texts = [os.fsencode(text) for text in exclude]
        texts = [text if b"/" in text else b"/**/" + text for text in texts]
        # An exclude has one root, "/", so that one matcher follows every walk from the top.
        self._exclude = Matcher(
            [
                Pattern(b"/", tuple(compile_segment(part) for part in alternative.split(b"/")[1:]), named=True)
                for text in texts
                for alternative in (os.path.normpath(os.path.join(here, plain)) for plain in expand_braces(text))
            ]
        )
        self._own_paths = [os.fsencode(path) for path in own_directories]
        self._own: set[tuple[int, int]] = set()
        self._watcher = watcher

    def walk(self, sift: Sift | None = None) -> Findings:
        """Look at all of it now; nothing is kept of a file that is sifted out."""
        findings = Findings(sift=sift)
        self._own = set()
        for path in self._own_paths:
            try:
                seen = os.stat(path)
            except OSError:
                continue
            self._own.add((seen.st_dev, seen.st_ino))
        for root in self._roots:
            self._walk_root(root, findings)
        return findings

    def look(self, directories: Collection[bytes]) -> Findings:
        """Look at what is in these directories now, and below those that are new in them.

        A directory that was never entered is not looked at.
        """
        findings = Findings()
        for root in self._roots:
            if os.path.dirname(root.path) in directories:
                self._walk_root(root, findings)
                continue
            visits: deque[_Visit] = deque()
            for listing in [one for path in directories for one in root.listings.get(path, {}).values()]:
                before = listing.visit
                if listing is not root.listings.get(before.path, {}).get(before.states):
                    continue  # it was below another that is gone
                root.entered.discard(before.key)
                del root.listings[before.path][before.states]
                try:
                    seen = os.stat(before.path)
                except OSError as error:
                    _closed_to_us(before.path, error, findings)
                    findings.gone |= {before.path} | root.forget(before.path)
                    continue
                visits.append(_Visit(before.path, seen, before.states, before.excluded))
                findings.gone |= self._vanished(root, listing)
            self._follow(root, visits, findings, {})
        return findings

    def wants(self, path: bytes) -> bool:
        """Whether a file with this path, in a directory that was entered, is one to follow."""
        directory, name = os.path.split(path)
        for root in self._roots:
            if root.is_plain and root.path == path:
                return True
            for states, listing in root.listings.get(directory, {}).items():
                if any(root.matcher.matched(root.matcher.step(states, name))):
                    return not any(self._exclude.matched(self._exclude.step(listing.visit.excluded, name)))
        return False

    def file_at(self, path: bytes) -> os.stat_result | None:
        """A file that was found at a path before; None if there is none any more to follow."""
        try:
            seen, link = os.stat(path), os.stat(path, follow_symlinks=False)
        except OSError:
            return None
        is_lure = stat.S_ISLNK(link.st_mode) and not may_lead(link, seen)
        return None if is_lure or not stat.S_ISREG(seen.st_mode) else seen

    def directories(self) -> set[bytes]:
        """All that were entered, and those that hold a root."""
        found = {path for root in self._roots for path in root.listings}
        return found | {os.path.dirname(root.path) for root in self._roots if not root.listings}

    def _watch(self, directory: bytes) -> None:
        if self._watcher is not None:
            self._watcher.watch(directory)

    def _vanished(self, root: _Root, listing: _Listing) -> set[bytes]:
        """Directories that were in a directory and are there no more."""
        vanished: set[bytes] = set()
        for entry in listing.others:
            below = os.path.join(listing.visit.path, entry.name)
            known = root.listings.get(below, {}).get(entry.states)
            if known is None:
                continue
            try:
                seen = os.stat(below)
            except OSError:
                seen = None
            if seen is None or not os.path.samestat(seen, known.visit.seen):
                vanished |= root.forget(below)
        return vanished

    def _walk_root(self, root: _Root, findings: Findings) -> None:
        before, root.listings, root.entered = root.listings, {}, set()
        excluded = self._exclude.start
        for name in root.path.split(b"/")[1:] if root.path != b"/" else []:
            excluded = self._exclude.step(excluded, name)
            if any(self._exclude.matched(excluded)):
                return
        try:
            seen = os.stat(root.path)
        except OSError as error:
            self._watch(os.path.dirname(root.path))
            _root_missing(root.path, error, findings)
        else:
            if not stat.S_ISDIR(seen.st_mode):
                self._watch(os.path.dirname(root.path))
                if root.is_plain:
                    _take(root.path, seen, findings)
            elif self._within_own(root.path):
                _own(root.path, findings)
            else:
                start = _Visit(root.path, seen, root.matcher.start, excluded)
                self._follow(root, deque([start]), findings, before)
        findings.gone |= before.keys() - root.listings.keys()

    def _within_own(self, path: bytes) -> bool:
        """Whether a root lies in an own directory, however it is spelled."""
        real = os.path.realpath(path)
        while True:
            try:
                seen = os.stat(real)
            except OSError:
                return False
            if (seen.st_dev, seen.st_ino) in self._own:
                return True
            if real in (b"/", b""):
                return False
            real = os.path.dirname(real)

    def _follow(
        self,
        root: _Root,
        real: deque[_Visit],
        findings: Findings,
        before: dict[bytes, dict[States, _Listing]],
    ) -> None:
        """Enter directories and all below them that was not entered yet."""
        linked: deque[_Visit] = deque()
        while real or linked:
            visit = real.popleft() if real else linked.popleft()
            if visit.key in root.entered:
                continue
            root.entered.add(visit.key)
            known = before.get(visit.path, {}).get(visit.states)
            for below in self._enter(root, visit, known, findings):
                if below.states not in root.listings.get(below.path, {}):
                    (linked if below.is_linked else real).append(below)

    def _enter(self, root: _Root, visit: _Visit, known: _Listing | None, findings: Findings) -> list[_Visit]:
        """Take the files of a directory, listed anew where it may have changed; the directories in it.

        It is the very directory that was judged: one that was put in its place since, by a link perhaps, is not read,
        and the next walk judges it.
        """
        path = visit.path
        self._watch(path)  # first, so that nothing is missed that happens meanwhile
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            _closed_to_us(path, error, findings)
            return []
        try:
            seen = os.fstat(descriptor)
            if not os.path.samestat(seen, visit.seen):
                findings.blind.append(path)
                return []
            listing = known if known is not None and known.is_as(seen) else self._list(root, visit, seen, descriptor)
            root.listings.setdefault(path, {})[visit.states] = listing
            findings.entered.add(path)
            for name in listing.files:
                _take_in(descriptor, path, name, listing, findings)
            return [
                below
                for entry in listing.others
                if (below := self._judge(root, path, entry, descriptor, findings)) is not None
            ]
        except OSError as error:
            _closed_to_us(path, error, findings)
            return []
        finally:
            os.close(descriptor)

    def _list(self, root: _Root, visit: _Visit, seen: os.stat_result, descriptor: int) -> _Listing:
        firm = 0 < seen.st_mtime_ns < time.time_ns() - _SETTLED_NS
        current = _Visit(visit.path, seen, visit.states, visit.excluded, visit.is_linked)
        listing = _Listing(current, listed_at=time.monotonic(), is_firm=firm)
        with os.scandir(descriptor) as entries:
            found = sorted((os.fsencode(entry.name), entry) for entry in entries)
        for name, entry in found:
            states = root.matcher.step(visit.states, name)
            if not states:
                continue
            excluded = self._exclude.step(visit.excluded, name)
            if any(self._exclude.matched(excluded)):
                continue
            try:
                is_link = entry.is_symlink()
                is_other = is_link or entry.is_dir(follow_symlinks=False)
            except OSError:
                is_link, is_other = False, True
            if is_other:
                listing.others.append(_Entry(name, is_link, states, excluded))
            elif any(True for _ in root.matcher.matched(states)):
                listing.files.append(name)
        return listing

    def _judge(
        self, root: _Root, directory: bytes, entry: _Entry, descriptor: int, findings: Findings
    ) -> _Visit | None:
        """What a directory or a link is now: one to enter; or a file, taken if it is wanted."""
        path = os.path.join(directory, entry.name)
        try:
            seen = os.stat(entry.name, dir_fd=descriptor)
            link = os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False)
        except OSError as error:
            _entry_failed(entry, path, error, findings)
            return None
        if stat.S_ISLNK(link.st_mode) and not may_lead(link, seen):
            _lure(path, findings)
        elif not stat.S_ISDIR(seen.st_mode):
            if any(True for _ in root.matcher.matched(entry.states)):
                _take(path, seen, findings)
        elif (seen.st_dev, seen.st_ino) in self._own:
            _own(path, findings)
        else:
            _mind_directory(path, root.matcher, entry.states, findings)
            if root.matcher.goes_on(entry.states):
                return _Visit(path, seen, entry.states, entry.excluded, is_linked=stat.S_ISLNK(link.st_mode))
        return None


def _take_in(descriptor: int, directory: bytes, name: bytes, listing: _Listing, findings: Findings) -> None:
    """Take a file by its name in an open directory. One that has become something else is judged at the next look."""
    try:
        seen = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        findings.skip(
            os.path.join(directory, name), "unreadable", _why(error), "let the daemon's user read it, or exclude it"
        )
        return
    if stat.S_ISLNK(seen.st_mode) or stat.S_ISDIR(seen.st_mode):
        listing.is_firm = False
    else:
        _take(os.path.join(directory, name), seen, findings)


def _closed_to_us(path: bytes, error: OSError, findings: Findings) -> None:
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        findings.blind.append(path)
        findings.skip(path, "unreadable", _why(error), "let the daemon's user read and enter this directory")


def _take(path: bytes, seen: os.stat_result, findings: Findings) -> None:
    if stat.S_ISREG(seen.st_mode):
        findings.take(path, seen)
        return
    kind = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    detail = kind.get(stat.S_IFMT(seen.st_mode), "no regular file")
    findings.skip(path, "not_regular", f"it is {detail}", "only regular files are read; exclude it")


def _mind_directory(path: bytes, matcher: Matcher, states: States, findings: Findings) -> None:
    if any(pattern.named for pattern in matcher.matched(states)):
        findings.skip(path, "directory", "it is a directory", "to read the files in it, include PATH/**")


def may_lead(link: os.stat_result, target: os.stat_result) -> bool:
    """Whether a symbolic link is followed: if root made it, or whom its target belongs to.

    Who may write into one log directory could else have any file read that the daemon can read, and sent.
    """
    return link.st_uid in (0, target.st_uid)


def _lure(path: bytes, findings: Findings) -> None:
    detail = "it is a symbolic link to what does not belong to the link's owner"
    findings.skip(path, "not_regular", detail, "include the target itself, or let root make the link")


def _own(path: bytes, findings: Findings) -> None:
    findings.skip(path, "own_output", "enricher writes there itself", "its own state and output are never read")


def _entry_failed(entry: _Entry, path: bytes, error: OSError, findings: Findings) -> None:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if entry.is_link:
            findings.skip(path, "vanished", "a symbolic link to nothing", "remove the link or exclude it")
    else:
        findings.skip(path, "unreadable", _why(error), "let the daemon's user read it, or exclude it")


def _root_missing(root: bytes, error: OSError, findings: Findings) -> None:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        findings.skip(root, "vanished", "it does not exist", "it is read once it is there; or correct the path")
    else:
        findings.blind.append(root)
        findings.skip(root, "unreadable", _why(error), "let the daemon's user read and enter this directory")


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
