"""What lies beside files, each directory listed once for all that are looked for in it.

Where a thousand logs of one directory are rotated at once, a thousand files are looked for among two thousand names.

Invariant: `renew` says whether what was not found may be there by now. Must never: open a file, or
raise for what the file system does.
"""

from __future__ import annotations

import os
import stat as modes
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from enricher.edges.source_files.discovery import may_lead
from enricher.edges.source_files.identity import logical_path

if TYPE_CHECKING:
    from enricher.edges.source_files.tracking import Tracked


_TICK_NS: Final = 20_000_000
"""A directory that changed so shortly before it was listed may have changed again in the same tick of its clock."""


@dataclass(slots=True)
class _Listing:
    changed_ns: int
    """When the directory had changed last, before it was listed."""
    is_firm: bool
    """A later change of it would show."""
    inodes: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    logs: dict[bytes, list[bytes]] = field(default_factory=lambda: defaultdict(list))


class Beside:
    """The neighbours of files, during one look. Those of a link are beside what it leads to, too."""

    def __init__(self) -> None:
        self._listings: dict[bytes, _Listing] = {}

    def with_inode(self, file: Tracked) -> list[bytes]:
        """Paths that had the number of a file's inode when they were listed."""
        found = [one for listing in self._around(file.path) for one in listing.inodes.get(file.row.inode, ())]
        return [*dict.fromkeys(found)]

    def of_log(self, path: bytes) -> list[bytes]:
        """Paths of files that belong to the same log, by their names when they were listed."""
        names = sorted({logical_path(path), logical_path(os.path.realpath(path))})
        found = [one for listing in self._around(path) for name in names for one in listing.logs.get(name, ())]
        return [*dict.fromkeys(found)]

    def renew(self, path: bytes) -> bool:
        """Forget what may have changed around a file since; whether that is anything."""
        changed = [one for one in _directories(path) if one in self._listings and self._may_have_changed(one)]
        for directory in changed:
            del self._listings[directory]
        return bool(changed)

    def _around(self, path: bytes) -> list[_Listing]:
        directories = _directories(path)
        for directory in directories:
            if directory not in self._listings:
                self._listings[directory] = _listed(directory)
        return [self._listings[directory] for directory in directories]

    def _may_have_changed(self, directory: bytes) -> bool:
        listing = self._listings[directory]
        return not listing.is_firm or listing.changed_ns != _changed_ns(directory)


def followed(path: bytes) -> os.stat_result:
    """What stat says of a neighbour, a link followed where one that a pattern matches would be; else of the link."""
    link = os.stat(path, follow_symlinks=False)
    if not modes.S_ISLNK(link.st_mode):
        return link
    seen = os.stat(path)
    return seen if may_lead(link, seen) else link


def _listed(directory: bytes) -> _Listing:
    changed_ns = _changed_ns(directory)
    listing = _Listing(changed_ns, is_firm=0 < changed_ns < time.time_ns() - _TICK_NS)
    try:
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                listing.inodes[entry.inode()].append(entry.path)
                listing.logs[logical_path(entry.path)].append(entry.path)
    except OSError:
        pass  # a directory that cannot be listed shows no neighbours
    return listing


def _changed_ns(directory: bytes) -> int:
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return 0


def _directories(path: bytes) -> list[bytes]:
    """That of a file; and that to which its path leads if it is a link, where the old target lies often."""
    return list(dict.fromkeys((os.path.dirname(path), os.path.dirname(os.path.realpath(path)))))
