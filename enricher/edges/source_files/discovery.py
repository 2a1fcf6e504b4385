"""Which files there are: patterns, and a walk that never enters what the patterns rule out.

A pattern is compiled into segments, and the walk carries the set of pattern states that are still alive, so that a
directory below which nothing can match is not read. Paths are bytes throughout: a file name need not be text.

Invariants: each directory is entered once per set of states (so a loop of symbolic links ends), real directories before
linked ones (so a file keeps its shortest honest name), and own directories never. Must never: open a file, or raise for
what the file system does.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from enricher.ports import SkippedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_MAGIC: Final = re.compile(rb"[*?\[]")
_QUOTED: Final = re.compile(rb"\[(.)\]", re.DOTALL)
_CHOICE: Final = re.compile(rb"\[.[^\]]*\]|\{([^{}]*,[^{}]*)\}", re.DOTALL)
_ANY_DEPTH: Final = re.compile(rb"")
"""Stands for `**`; compared by identity, never matched."""
_MAX_ALTERNATIVES: Final = 1000


def expand_braces(pattern: bytes) -> list[bytes]:
    """`a{b,c{d,e}}` as `ab`, `acd`, `ace`; a brace in brackets or without its partner stands for itself."""
    done: list[bytes] = []
    waiting = deque([pattern])
    while waiting and len(done) + len(waiting) < _MAX_ALTERNATIVES:
        text = waiting.popleft()
        inner = next((found for found in _CHOICE.finditer(text) if found[1] is not None), None)
        if inner is None:
            done.append(text)
            continue
        waiting.extend(text[: inner.start()] + choice + text[inner.end() :] for choice in inner[1].split(b","))
    return sorted({*done, *waiting})


def _segment(text: bytes) -> re.Pattern[bytes]:
    """One path segment as a regular expression; `**` alone is any number of directories."""
    if text == b"**":
        return _ANY_DEPTH
    parts: list[bytes] = []
    at = 0
    while at < len(text):
        char = text[at : at + 1]
        closing = text.find(b"]", at + 2) if char == b"[" else -1
        if char == b"*":
            parts.append(b"[^/]*")
        elif char == b"?":
            parts.append(b"[^/]")
        elif closing > 0:
            inside = text[at + 1 : closing].replace(b"\\", b"\\\\").replace(b"[", b"\\[")
            parts.append(b"[" + (b"^/" + inside[1:] if inside[:1] in (b"!", b"^") else inside) + b"]")
            at = closing
        else:
            parts.append(re.escape(char))
        at += 1
    try:
        return re.compile(b"".join(parts), re.DOTALL)
    except re.error:
        return re.compile(re.escape(text), re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Pattern:
    root: bytes
    segments: tuple[re.Pattern[bytes], ...]
    named: bool
    """Its last segment says more than "anything": a directory that matches it is worth a word."""


def _compile(text: bytes, directory: bytes) -> list[_Pattern]:
    patterns = []
    for plain in expand_braces(text):
        parts = os.path.normpath(os.path.join(directory, plain)).split(b"/")[1:]
        # `[*]` is a star: a name quoted so is as plain as any other.
        fixed = next((at for at, part in enumerate(parts) if _MAGIC.search(_QUOTED.sub(b"", part))), len(parts))
        rest = [_segment(part) for part in parts[fixed:]]
        named = bool(rest) and parts[-1].strip(b"*?") != b""
        patterns.append(_Pattern(b"/" + _QUOTED.sub(rb"\1", b"/".join(parts[:fixed])), tuple(rest), named))
    return patterns


_States = frozenset[tuple[int, int]]


class _Matcher:
    """Several patterns with a common root, matched name by name on the way down."""

    def __init__(self, patterns: Sequence[_Pattern]) -> None:
        self._patterns = patterns
        self.start = self._closed((which, 0) for which in range(len(patterns)))

    def _closed(self, states: Iterable[tuple[int, int]]) -> _States:
        closed = set()
        for which, at in states:
            closed.add((which, at))
            segments = self._patterns[which].segments
            while at < len(segments) and segments[at] is _ANY_DEPTH:  # `**` may also stand for no directory
                at += 1  # noqa: PLW2901 - walks on over a run of `**`
                closed.add((which, at))
        return frozenset(closed)

    def step(self, states: _States, name: bytes) -> _States:
        following = []
        for which, at in states:
            segments = self._patterns[which].segments
            if at == len(segments):
                continue
            if segments[at] is _ANY_DEPTH:
                following.append((which, at))
            elif segments[at].fullmatch(name):
                following.append((which, at + 1))
        return self._closed(following)

    def matched(self, states: _States) -> Iterator[_Pattern]:
        return (self._patterns[which] for which, at in states if at == len(self._patterns[which].segments))

    def goes_on(self, states: _States) -> bool:
        return any(at < len(self._patterns[which].segments) for which, at in states)


@dataclass(slots=True)
class Findings:
    """What a walk found."""

    files: dict[bytes, os.stat_result] = field(default_factory=dict)
    """Regular files by path, links followed."""
    skipped: list[SkippedFile] = field(default_factory=list)
    blind: list[bytes] = field(default_factory=list)
    """Directories that could not be read: nothing is known of what lies below them."""

    def skip(self, path: bytes, reason: str, detail: str, hint: str) -> None:
        """Remember a file or directory that is not read."""
        self.skipped.append(SkippedFile(path=path, reason=reason, detail=detail, hint=hint))


class Discovery:
    """The include and exclude patterns of a source, ready to walk.

    A plain directory among the includes means every file below it, a plain file itself. Relative patterns start at
    `directory`. An exclude without a slash is for names at any depth; one that matches a directory rules out all below.
    """

    def __init__(
        self,
        include: Sequence[str],
        exclude: Sequence[str],
        own_directories: Sequence[str | os.PathLike[str]],
        directory: Path,
    ) -> None:
        here = os.fsencode(directory)
        self._include = [pattern for text in include for pattern in _compile(os.fsencode(text), here)]
        texts = [os.fsencode(text) for text in exclude]
        texts = [text if b"/" in text else b"/**/" + text for text in texts]
        # An exclude has one root, "/", so that one matcher follows every walk from the top.
        self._exclude = _Matcher(
            [
                _Pattern(b"/", tuple(_segment(part) for part in alternative.split(b"/")[1:]), named=True)
                for text in texts
                for alternative in (os.path.normpath(os.path.join(here, plain)) for plain in expand_braces(text))
            ]
        )
        self._own_paths = [os.fsencode(path) for path in own_directories]
        self._own: set[tuple[int, int]] = set()

    def walk(self) -> Findings:
        """Look at the file system now."""
        findings = Findings()
        self._own = set()
        for path in self._own_paths:
            try:
                seen = os.stat(path)
            except OSError:
                continue
            self._own.add((seen.st_dev, seen.st_ino))
        by_root: dict[bytes, list[_Pattern]] = {}
        for pattern in self._include:
            by_root.setdefault(pattern.root, []).append(pattern)
        for root, patterns in by_root.items():
            self._walk_root(root, patterns, findings)
        return findings

    def _walk_root(self, root: bytes, patterns: list[_Pattern], findings: Findings) -> None:
        excluded = self._exclude.start
        for name in root.split(b"/")[1:] if root != b"/" else []:
            excluded = self._exclude.step(excluded, name)
            if any(self._exclude.matched(excluded)):
                return
        try:
            seen = os.stat(root)
        except OSError as error:
            _root_missing(root, error, findings)
            return
        if not stat.S_ISDIR(seen.st_mode):
            if any(not pattern.segments for pattern in patterns):
                _take(root, seen, findings)
            return
        if self._within_own(root):
            _own(root, findings)
            return
        # A plain directory stands for all below it.
        matcher = _Matcher(
            [
                pattern if pattern.segments else _Pattern(root, (_ANY_DEPTH, _segment(b"*")), named=False)
                for pattern in patterns
            ]
        )
        self._walk_below(root, seen, matcher, excluded, findings)

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

    def _walk_below(
        self, root: bytes, seen: os.stat_result, matcher: _Matcher, excluded: _States, findings: Findings
    ) -> None:
        real: deque[tuple[bytes, os.stat_result, _States, _States]] = deque([(root, seen, matcher.start, excluded)])
        linked: deque[tuple[bytes, os.stat_result, _States, _States]] = deque()
        entered: set[tuple[int, int, _States]] = set()
        while real or linked:
            path, seen, states, excluded = real.popleft() if real else linked.popleft()
            key = (seen.st_dev, seen.st_ino, states)
            if key in entered:
                continue
            entered.add(key)
            for entry in _entries(path, seen, findings):
                name = os.fsencode(entry.name)
                below = os.path.join(path, name)
                left_out = self._exclude.step(excluded, name)
                following = matcher.step(states, name)
                if not following or any(self._exclude.matched(left_out)):
                    continue
                try:
                    seen = entry.stat()
                    is_lure = entry.is_symlink() and not _may_lead(entry.stat(follow_symlinks=False), seen)
                except OSError as error:
                    _entry_failed(entry, below, error, findings)
                    continue
                if is_lure:
                    _lure(below, findings)
                elif not stat.S_ISDIR(seen.st_mode):
                    if any(True for _ in matcher.matched(following)):
                        _take(below, seen, findings)
                elif (seen.st_dev, seen.st_ino) in self._own:
                    _own(below, findings)
                else:
                    _mind_directory(below, matcher, following, findings)
                    if matcher.goes_on(following):
                        queue = linked if entry.is_symlink() else real
                        queue.append((below, seen, following, left_out))


def _entries(path: bytes, judged: os.stat_result, findings: Findings) -> Iterator[os.DirEntry[str]]:
    """The entries of the very directory that was judged; they are good until the next is asked for.

    One that was put in its place since, by a link perhaps, is not read: the next walk judges it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        _closed_to_us(path, error, findings)
        return
    try:
        if not os.path.samestat(os.fstat(descriptor), judged):
            findings.blind.append(path)
            return
        with os.scandir(descriptor) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        yield from found
    except OSError as error:
        _closed_to_us(path, error, findings)
    finally:
        os.close(descriptor)


def _closed_to_us(path: bytes, error: OSError, findings: Findings) -> None:
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        findings.blind.append(path)
        findings.skip(path, "unreadable", _why(error), "let the daemon's user read and enter this directory")


def _take(path: bytes, seen: os.stat_result, findings: Findings) -> None:
    if stat.S_ISREG(seen.st_mode):
        findings.files.setdefault(path, seen)
        return
    kind = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    detail = kind.get(stat.S_IFMT(seen.st_mode), "no regular file")
    findings.skip(path, "not_regular", f"it is {detail}", "only regular files are read; exclude it")


def _mind_directory(path: bytes, matcher: _Matcher, states: _States, findings: Findings) -> None:
    if any(pattern.named for pattern in matcher.matched(states)):
        findings.skip(path, "directory", "it is a directory", "to read the files in it, include PATH/**")


def _may_lead(link: os.stat_result, target: os.stat_result) -> bool:
    """Whether a symbolic link is followed: if root made it, or whom its target belongs to.

    Who may write into one log directory could else have any file read that the daemon can read, and sent.
    """
    return link.st_uid in (0, target.st_uid)


def _lure(path: bytes, findings: Findings) -> None:
    detail = "it is a symbolic link to what does not belong to the link's owner"
    findings.skip(path, "not_regular", detail, "include the target itself, or let root make the link")


def _own(path: bytes, findings: Findings) -> None:
    findings.skip(path, "own_output", "enricher writes there itself", "its own state and output are never read")


def _entry_failed(entry: os.DirEntry[str], path: bytes, error: OSError, findings: Findings) -> None:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if entry.is_symlink():
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
