r"""Which lines continue the event before them: traces of Java and Python, and indented lines.

Lines are joined only in files whose events were seen to start with a time, and a line that starts with a time never
continues anything. When in doubt a line stays an event of its own: a wrong join hides an event, a wrong split only
shows it in two parts. A block in which no line continues anything is told at the speed of a scan of its bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from enricher.core.timestamp_columns import gather, line_starts
from enricher.core.timestamp_formats import starts_with_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_TRACEBACK = b"Traceback (most recent call last):"
# What Java and Python write at the start of a line within a trace, and nothing else does.
_TRACE_LINES = (
    b"Caused by: ",
    b"Suppressed: ",
    b"... ",
    _TRACEBACK,
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
)
_TRACE_WORDS = tuple(line for line in _TRACE_LINES if line != b"... ")
_CHAINS = _TRACE_LINES[-2:]
_HEAD_BYTES = 4
_HEADS = np.frombuffer(b"".join(line[:_HEAD_BYTES] for line in _TRACE_LINES), np.uint32)
_MORE = re.compile(rb"\.\.\. \d+ (?:more|common frames omitted)").match
# A class with an optional message, and what stands before it in the trace of a thread that died. A bare word is a class
# only with a capital letter: `done` after a trace is an event, `KeyError` belongs to it.
_EXCEPTION = re.compile(
    rb"(?:Exception in thread \"[^\"\n]{0,200}\" )?"
    rb"(?:(?:[A-Za-z_$][\w$]{0,200}[.]){1,30}[A-Za-z_$][\w$]{0,200}|[A-Z][\w$]{0,200})(?::(?= |$)|$)"
).match
_JAVA_FRAME = re.compile(rb"[ \t]+(?:at |\.\.\. \d)|[ \t]*(?:Caused by|Suppressed): ").match
_PYTHON_FRAME = re.compile(rb"[ \t]+File \"").match


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLineRule:
    """What was learned of a file: whether its events start with a time."""

    learned: bool


def learn(lines: Sequence[bytes]) -> FirstLineRule:
    """What the first lines of a file show (some 200 are enough): whether most of its events start with a time."""
    continues = continuation_lines(b"".join(line + b"\n" for line in lines), FirstLineRule(learned=True))
    is_event = [True] * len(lines) if continues is None else (~continues).tolist()
    events = [line for line, is_one in zip(lines, is_event, strict=True) if is_one and line.strip()]
    return FirstLineRule(learned=sum(map(starts_with_time, events)) * 2 > len(events))


def continuation_lines(
    data: bytes, rule: FirstLineRule, *, starts: npt.NDArray[np.intp] | None = None
) -> npt.NDArray[np.bool_] | None:
    r"""Per line of `data` (each ended by `\n`): whether it continues the event before it; None when no line does.

    The first line may: it continues the event before the block. Who has the `line_starts` of the data gives them.
    """
    if not rule.learned or not data:
        return None
    if starts is None:
        starts = line_starts(data)
    heads = gather(data, starts[:-1], _HEAD_BYTES)
    first = np.frombuffer(heads, np.uint8)[::_HEAD_BYTES]
    is_named = np.isin(np.frombuffer(heads, np.uint32), _HEADS)
    continues = (first == ord(" ")) | (first == ord("\t"))
    if not (continues.any() or is_named.any()):
        return None
    lines = _Lines(data, starts)
    for at in np.flatnonzero(is_named).tolist():
        continues[at] = _is_trace_line(lines[at])
    _join_exceptions(lines, continues)
    _join_chains(lines, continues, is_named)
    return continues if continues.any() else None


class _Lines:
    """The lines of a block by their number, cut out only when asked for."""

    def __init__(self, data: bytes, starts: npt.NDArray[np.intp]) -> None:
        self._data = data
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, at: int) -> bytes:
        at %= len(self)
        return self._data[self._starts[at] : self._starts[at + 1] - 1].removesuffix(b"\r")


def _is_trace_line(line: bytes) -> bool:
    return line.startswith(_TRACE_WORDS) or _MORE(line) is not None


def _join_exceptions(lines: _Lines, continues: npt.NDArray[np.bool_]) -> None:
    """Join the exception's name, which Java writes before the frames of a trace and Python after them."""
    edges = np.flatnonzero(np.diff(continues, prepend=False, append=False)).tolist()
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if begin > 0 and _JAVA_FRAME(lines[begin]) and _is_exception(lines[begin - 1]):
            continues[begin - 1] = True
        # A frame is a line for the place, then its code, then marks under the code.
        is_python = any(_PYTHON_FRAME(lines[at]) for at in range(max(begin, end - 4), end))
        if is_python and end < len(lines) and _is_exception(lines[end]):
            continues[end] = True


def _is_exception(line: bytes) -> bool:
    return _EXCEPTION(line) is not None and not starts_with_time(line)


def _join_chains(lines: _Lines, continues: npt.NDArray[np.bool_], is_named: npt.NDArray[np.bool_]) -> None:
    """Join the blank lines around the sentence that links one trace in Python to the next."""
    for at in np.flatnonzero(is_named).tolist():
        if lines[at] not in _CHAINS:
            continue
        for step in (-1, 1):
            blank = at + step
            while 0 <= blank < len(lines) and not lines[blank]:
                continues[blank] = True
                blank += step
