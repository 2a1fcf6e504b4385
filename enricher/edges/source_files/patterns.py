"""Patterns of paths, compiled so that a walk can follow several of them at once, a name at a time.

A pattern is a fixed root and segments below it; a state is how far into which pattern a path has come. The walk carries
the states that are still alive, so that it never enters a directory below which nothing can match. All is bytes: a file
name need not be text.

Must never: look at the disk.
"""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MAGIC: Final = re.compile(rb"[*?\[]")
_QUOTED: Final = re.compile(rb"\[(.)\]", re.DOTALL)
_CHOICE: Final = re.compile(rb"\[.[^\]]*\]|\{([^{}]*,[^{}]*)\}", re.DOTALL)
ANY_DEPTH: Final = re.compile(rb"")
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


def compile_segment(text: bytes) -> re.Pattern[bytes]:
    """One path segment as a regular expression; `**` alone is any number of directories."""
    if text == b"**":
        return ANY_DEPTH
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
class Pattern:
    """A path without choices left in it: where it starts to be a pattern, and its segments from there."""

    root: bytes
    segments: tuple[re.Pattern[bytes], ...]
    named: bool
    """Its last segment says more than "anything": a directory that matches it is worth a word."""


def compile_patterns(text: bytes, directory: bytes) -> list[Pattern]:
    """The patterns that a text means, relative to a directory."""
    patterns = []
    for plain in expand_braces(text):
        parts = os.path.normpath(os.path.join(directory, plain)).split(b"/")[1:]
        # `[*]` is a star: a name quoted so is as plain as any other.
        fixed = next((at for at, part in enumerate(parts) if _MAGIC.search(_QUOTED.sub(b"", part))), len(parts))
        rest = [compile_segment(part) for part in parts[fixed:]]
        named = bool(rest) and parts[-1].strip(b"*?") != b""
        patterns.append(Pattern(b"/" + _QUOTED.sub(rb"\1", b"/".join(parts[:fixed])), tuple(rest), named))
    return patterns


States = frozenset[tuple[int, int]]
"""(which pattern, how many of its segments) of all that a path may have come to."""


class Matcher:
    """Several patterns with a common root, matched name by name on the way down."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        self.start = self._closed((which, 0) for which in range(len(patterns)))

    def _closed(self, states: Iterable[tuple[int, int]]) -> States:
        closed = set()
        for which, at in states:
            closed.add((which, at))
            segments = self._patterns[which].segments
            while at < len(segments) and segments[at] is ANY_DEPTH:  # `**` may also stand for no directory
                at += 1  # noqa: PLW2901 - walks on over a run of `**`
                closed.add((which, at))
        return frozenset(closed)

    def step(self, states: States, name: bytes) -> States:
        """How far a path has come with one name more; empty where no pattern goes on so."""
        following = []
        for which, at in states:
            segments = self._patterns[which].segments
            if at == len(segments):
                continue
            if segments[at] is ANY_DEPTH:
                following.append((which, at))
            elif segments[at].fullmatch(name):
                following.append((which, at + 1))
        return self._closed(following)

    def matched(self, states: States) -> Iterator[Pattern]:
        """The patterns that a path is at the end of."""
        return (self._patterns[which] for which, at in states if at == len(self._patterns[which].segments))

    def goes_on(self, states: States) -> bool:
        """Whether anything below a path may match."""
        return any(at < len(self._patterns[which].segments) for which, at in states)
