r"""Records of databases that take several lines: MySQL's slow queries, Oracle's alert log, PostgreSQL's messages.

Each is told by lines that nothing else writes, and by looking back alone. Oracle and PostgreSQL are looked for only in
files whose events start with a time. Must never: run Python code for lines of other files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.timestamp_formats import find_time, starts_with_time

if TYPE_CHECKING:
    import numpy.typing as npt

    from enricher.core.multiline.lines import Flags, Lines

_TIME: Final = b"# Time: "
_USER: Final = b"# User@Host: "
_COST: Final = b"# Query_time: "
HEADS: Final = frozenset((_TIME[:4], _USER[:4]))
# What the server writes into its slow log when it starts.
_BANNER = re.compile(rb"\S{1,300}, Version: \d|Tcp port: \d|Time {4,}Id Command {4,}Argument").match

_SEVERITY: Final = rb"(?:DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC):  "
_DETAIL: Final = rb"(?:DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION):  "
_FIRST = re.compile(rb"([^\n]{0,200}?)\b" + _SEVERITY).match
_FURTHER = re.compile(rb"([^\n]{0,200}?)\b" + _DETAIL).match
_FURTHER_SEARCH = re.compile(_DETAIL).finditer
_DIGITS = re.compile(rb"\d+")
_PROCESS = re.compile(rb"\[(\d+)").search

_LONGEST_TIME: Final = 48


def join_slow_queries(lines: Lines, continues: Flags, named: Flags) -> None:
    """MySQL and MariaDB: `# Time`, `# User@Host`, more lines with a `#`, then the statement up to the next record."""
    for at in np.flatnonzero(named).tolist():
        if not lines[at].startswith(_USER):
            continue
        if at > 0 and lines[at - 1].startswith(_TIME):
            continues[at] = True
        end, is_query = at + 1, False
        while end < len(lines) and lines[end].startswith(b"# ") and not lines[end].startswith((_TIME, _USER)):
            is_query = is_query or lines[end].startswith(_COST)
            end += 1
        if not is_query:
            continue
        while end < len(lines) and not _ends_statement(lines[end]):
            end += 1
        continues[at + 1 : end] = True


def _ends_statement(line: bytes) -> bool:
    return line.startswith((_TIME, _USER)) or starts_with_time(line) or _BANNER(line) is not None


def join_text_below_times(lines: Lines, continues: Flags, heads: npt.NDArray[np.uint32]) -> None:
    """Oracle's alert log: a line that is only a time has its text in the lines behind it, up to the next time."""
    short = heads[1:] != heads[:-1]
    if not short.any():
        return
    short &= np.diff(lines.starts[:-1]) <= _LONGEST_TIME
    end = 0
    for at in np.flatnonzero(short).tolist():
        if at < end or continues[at] or not is_only_time(lines[at]):
            continue
        end = at + 1
        while end < len(lines) and (continues[end] or not starts_with_time(lines[end])):
            end += 1
        continues[at + 1 : end] = True


def is_only_time(line: bytes) -> bool:
    """Whether a line holds a time at its start, and nothing else."""
    if len(line) > _LONGEST_TIME or not starts_with_time(line):
        return False
    found = find_time(line)
    return found is not None and not line[found[1].end() :].strip(b" ]")


def join_details(lines: Lines, continues: Flags) -> None:
    """PostgreSQL: DETAIL, HINT, CONTEXT, STATEMENT behind a message with the same prefix and process.

    The first line tells whether this is a log of PostgreSQL: in one, every line with a time names its severity.
    """
    if not _FIRST(lines[0]):
        return
    firsts = np.flatnonzero(~continues)
    owners: dict[int, int] = {}
    for match in _FURTHER_SEARCH(lines.data):
        at = int(np.searchsorted(lines.starts, match.start(), side="right")) - 1
        rank = int(np.searchsorted(firsts, at))
        if at in owners or rank == 0 or rank == len(firsts) or firsts[rank] != at:
            continue
        before = int(firsts[rank - 1])
        owner = owners.get(before, before)
        if _belongs(lines[at], lines[owner]):
            owners[at] = owner
            continues[at] = True


def is_detail(line: bytes) -> bool:
    """Whether a line belongs to a message of PostgreSQL before it, if there is one."""
    return _FURTHER(line) is not None


def _belongs(line: bytes, owner: bytes) -> bool:
    further, first = _FURTHER(line), _FIRST(owner)
    return further is not None and first is not None and _writer(further[1]) == _writer(first[1])


def _writer(prefix: bytes) -> tuple[bytes, bytes]:
    """Who wrote a line: what stands before its severity without its numbers, and the number of the process."""
    process = _PROCESS(prefix)
    return _DIGITS.sub(b"0", prefix), process[1] if process else b""
