"""The files that an address means, in the order of their paths as bytes: of a directory, a pattern, or a single one.

Invariants: a directory is listed as it is walked, so that no more is held than the directories on the way; links lead
to files of the tree and nowhere else; hidden names are passed over unless the pattern has some. What is passed over is
counted. Must never: open a file.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enricher.edges.record_inputs.documents.document import SUFFIXES, Format
from enricher.edges.record_inputs.refusals import cannot_read

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC: Final = re.compile(r"[*?\[]")


class Found:
    """A file that is a document, as its suffix says."""

    __slots__ = ("key", "kind", "path")

    def __init__(self, key: str, path: str, kind: Format) -> None:
        self.key = key
        self.path = path
        self.kind = kind


class Tree:
    """The documents below a root that match a pattern ("" for all of them), or one alone."""

    def __init__(self, spec: str) -> None:
        self.name = spec
        self.skipped: Counter[str] = Counter()
        """Of the last walk: by suffix, in parentheses what is no plain file."""
        self._root, pattern = _split(spec)
        self._pattern = _compiled(pattern) if pattern else None
        self._shows_hidden = any(part.startswith(".") for part in pattern.split("/"))

    def walk(self) -> Iterator[Found]:
        """Each document. InputError where a directory cannot be listed."""
        self.skipped = Counter()
        if os.path.isfile(self._root):
            kind = SUFFIXES[os.path.splitext(self._root)[1].lower()]
            yield Found(_to_text(os.path.basename(self._root)), self._root, kind)
            return
        root = os.path.realpath(self._root)
        waiting = [self._listed("")]
        while waiting:
            entry = next(waiting[-1], None)
            if entry is None:
                waiting.pop()
                continue
            relative, is_directory = entry
            if is_directory:
                waiting.append(self._listed(relative + "/"))
            elif found := self._looked_at(relative, root):
                yield found

    def _listed(self, relative: str) -> Iterator[tuple[str, bool]]:
        """Names of a directory in the order that their whole paths have, whatever lies in them."""
        directory = os.path.join(self._root, relative)
        names: list[tuple[bytes, str, bool]] = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name.startswith(".") and not self._shows_hidden:
                        self.skipped["(hidden)"] += 1
                        continue
                    is_directory = entry.is_dir(follow_symlinks=False)
                    order = os.fsencode(entry.name) + (b"/" if is_directory else b"")
                    names.append((order, relative + entry.name, is_directory))
        except OSError as error:
            raise cannot_read(os.path.normpath(directory), error) from error
        names.sort()
        return ((path, is_directory) for _, path, is_directory in names)

    def _looked_at(self, relative: str, root: str) -> Found | None:
        if self._pattern is not None and not self._pattern.fullmatch(relative):
            return None
        path = os.path.join(self._root, relative)
        if os.path.islink(path):
            target = os.path.realpath(path)
            if not target.startswith(os.path.join(root, "")) or not os.path.isfile(target):
                self.skipped["(link)"] += 1
                return None
        elif not os.path.isfile(path):
            self.skipped["(no file)"] += 1
            return None
        suffix = os.path.splitext(relative)[1].lower()
        kind = SUFFIXES.get(suffix)
        if kind is None:
            self.skipped[_to_text(suffix) or "(no suffix)"] += 1
            return None
        return Found(_to_text(relative), path, kind)


def is_pattern(spec: str) -> bool:
    """Whether it is a pattern, and no file that is named like one."""
    return bool(_MAGIC.search(spec)) and not Path(spec).exists()


def _split(spec: str) -> tuple[str, str]:
    """The part before the first directory with a sign of a pattern, and the rest."""
    if not is_pattern(spec):
        return spec, ""
    before = spec[: spec.rfind("/", 0, _MAGIC.search(spec).start()) + 1]  # type: ignore[union-attr]  # it is a pattern
    return before or ".", spec[len(before) :]


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = pattern.split("/")
    regex = "".join("(?:.*/)?" if part == "**" else _part(part) + "/" for part in parts[:-1])
    return re.compile(regex + (".*" if parts[-1] == "**" else _part(parts[-1])), re.DOTALL)


def _part(part: str) -> str:
    """A name's pattern: `*` and `?` are characters of it, `[a-z]` and `[!a-z]` one of some."""
    pieces = re.findall(r"\[!?\]?[^\]]*\]|.", part, re.DOTALL)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if piece in ("*", "?"):
        return "[^/]*" if piece == "*" else "[^/]"
    if len(piece) == 1:
        return re.escape(piece)
    inner = piece[1:-1].replace("\\", r"\\").replace("[", r"\[")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"


def _to_text(name: str) -> str:
    """A name as text: bytes of it that are no UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
