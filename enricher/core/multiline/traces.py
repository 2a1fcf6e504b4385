r"""Stack traces of Java, Python, Go, JavaScript, .NET, Ruby and PHP: which of their lines continue an event.

In a file whose events start with a time every indented line continues the event before it, and a trace does, too. In
any other file a line continues only what unmistakably is a trace: frames, and what stands between them. There every
decision is made looking back alone, so that no line to come can change it.

Invariant: time is in proportion to the text: what a rule looks at, the next one never looks at again but by a
constant number of lines. Must never: join a line that starts with a time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.timestamp_formats import starts_with_time

if TYPE_CHECKING:
    from enricher.core.multiline.lines import Flags, Lines

TRACEBACK: Final = b"Traceback (most recent call last):"
_CHAINS: Final = (
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
)
_CAUSES: Final = (b"Caused by: ", b"Suppressed: ", b"--- End of ")
_STACKS: Final = (b"Stack trace:", b"[stacktrace]")
HEADS: Final = frozenset(
    line[:4] for line in (*_CHAINS, *_CAUSES, *_STACKS, TRACEBACK, b"... ", b"goroutine ", b"[signal ", b"exit status ")
)
"""How the lines begin that `join` has to be told of, beside indented ones."""

# A class with an optional message, and what stands before it in the trace of a thread that died. A bare word is a class
# only with a capital letter: `done` after a trace is an event, `KeyError` belongs to it.
_EXCEPTION = re.compile(
    rb"(?:Exception in thread \"[^\"\n]{0,200}\" )?"
    rb"(?:(?:[A-Za-z_$][\w$]{0,200}[.]){1,30}[A-Za-z_$][\w$]{0,200}|[A-Z][\w$]{0,200})"
    rb"(?: \[[\w.]{1,100}\])?(?::(?= |$)|$)"
).match
_MORE = re.compile(rb"\.\.\. \d+ (?:more|common frames omitted)").match
# What Java, JavaScript and .NET write before a frame or a cause.
_AT_FRAME = re.compile(rb"[ \t]+(?:at |\.\.\. \d)|[ \t]*(?:Caused by|Suppressed): ").match
_PYTHON_FRAME = re.compile(rb"[ \t]+File \"").match
# A line that nothing but a trace holds, in any of the languages.
_FRAME = re.compile(
    rb"^(?:[ \t]++(?:at (?:async |new )?"
    rb"(?:[^\s(.]*+\.[^\s(]*+\(|[^\s(]++ (?:\[as [^\]\n]{1,200}\] )?\([^)\n]{1,1000}:\d|[^\s(]*?:\d++:\d)"
    rb"|File \"[^\"\n]{1,1000}\", line \d|from [^\s:]++:\d++:in |\.\.\. \d++ more|---> [\w.+]++: )|\tpanic: )",
    re.MULTILINE,
)
# The first line of a group of exceptions in Python is indented, too.
_GROUP = re.compile(rb"^[ \t]++\+ Exception Group Traceback \(most recent call last\):", re.MULTILINE)
_CLOSING: Final = frozenset((b"}", b"]", b")", b"})", b"};", b"});", b"],", b"},", b"]}", b"}]"))
_NODE_PLACE = re.compile(rb"(?:/|file://|node:|[A-Za-z]:\\)[^\s:]{1,1000}:\d{1,7}$").match
_CARET = re.compile(rb"[ \t]*\^+$").match
_GOROUTINE = re.compile(
    rb"goroutine \d{1,12} (?:[a-z]{1,4}=\S{1,60} ){0,3}\[[^\]\n]{1,200}\](?: \{[^}\n]{0,200}\})?:$"
).match
_GO_DEATH: Final = (b"panic: ", b"fatal error: ", b"[signal ")
_ELIDED = re.compile(rb"\.\.\.\S{1,20} frames elided").match
_EXIT = re.compile(rb"exit status \d{1,3}$").match
_PHP_FRAME = re.compile(rb"#\d{1,6} \S").match
_PHP_NEXT = re.compile(rb"Next [\w\\]{1,200}(?::| in )").match
_RUBY_REVERSED = re.compile(rb"[ \t]+\d+: from ").match
_RUBY_PLACE = re.compile(rb"[^\s:]{1,500}:\d{1,7}:in ").match
# A frame of Python is a line for the place, then its code, then marks under the code, or a count of repetitions.
_PYTHON_FRAME_LINES: Final = 5


def join(lines: Lines, continues: Flags, indented: Flags, named: Flags, *, is_timed: bool) -> None:
    """Mark the lines of traces in `continues`; `named` are those that begin as one of `HEADS` does."""
    if is_timed:
        continues |= indented
    edges = np.flatnonzero(np.diff(indented, prepend=False, append=False)).tolist()
    runs = dict(zip(edges[::2], edges[1::2], strict=True))
    traces = _Traces(lines, continues, indented, is_timed=is_timed)
    for at in sorted((*runs, *np.flatnonzero(named).tolist())):
        if at in runs:
            traces.run(at, runs[at])
        else:
            traces.named(at)


class _Traces:
    """One pass over what may be lines of traces, from the first to the last."""

    def __init__(self, lines: Lines, continues: Flags, indented: Flags, *, is_timed: bool) -> None:
        self._lines = lines
        self._continues = continues
        self._indented = indented
        self._is_timed = is_timed
        self._go_end = -1
        """The line behind the last one of a goroutine."""
        self._chain_end = -1
        """The line behind a sentence that links traces in Python, and behind the blank lines that follow it."""

    def run(self, begin: int, end: int) -> None:
        """Indented lines, one behind the other."""
        lines, continues = self._lines, self._continues
        before = lines[begin - 1] if begin > 0 else b""
        first = begin if self._is_timed else self._first_joined(begin, end, before)
        if first is None:
            return
        continues[first:end] = True
        if self._is_timed and begin > 0 and _AT_FRAME(lines[begin]) and _is_exception(before):
            continues[begin - 1] = True
        if end < len(lines):
            self._behind_run(begin, end, before)

    def _first_joined(self, begin: int, end: int, before: bytes) -> int | None:
        """Which of the lines of a run is the first that continues, where no times tell."""
        if before and (self._continues[begin - 1] or before.startswith(TRACEBACK) or _NODE_PLACE(before)):
            return begin
        if begin > 0 and not before and self._continues[begin - 1]:
            return begin
        lines = self._lines
        start, stop = int(lines.starts[begin]), int(lines.starts[end])
        group = _GROUP.search(lines.data, start, stop)
        frame = _FRAME.search(lines.data, start, group.start() if group else stop)
        if frame is not None:
            return int(np.searchsorted(lines.starts, frame.start()))
        # The head of a group of exceptions starts an event, what is below it belongs to it.
        return None if group is None else int(np.searchsorted(lines.starts, group.start())) + 1

    def _behind_run(self, begin: int, end: int, before: bytes) -> None:
        """What ends a trace without being indented: the exception in Python, a bracket in JavaScript."""
        lines, continues = self._lines, self._continues
        after, last = lines[end], lines[end - 1]
        if after in _CLOSING:
            continues[end] = True
        elif not after:
            if _CARET(last) and _NODE_PLACE(before) and end + 1 < len(lines) and _is_exception(lines[end + 1]):
                continues[end : end + 2] = True
        elif _RUBY_REVERSED(last):
            continues[end] = _RUBY_PLACE(after) is not None
        elif any(_PYTHON_FRAME(lines[at]) for at in range(max(begin, end - _PYTHON_FRAME_LINES), end)):
            continues[end] |= _is_exception(after)

    def named(self, at: int) -> None:
        """A line that begins as one of `HEADS` does."""
        line = self._lines[at]
        if line.startswith(_CAUSES) or _MORE(line):
            self._continues[at] = self._is_timed or self._follows_trace(at)
        elif line.startswith(TRACEBACK):
            self._continues[at] |= self._is_timed or at == self._chain_end
        elif line.startswith(_CHAINS):
            self._chain(at)
        elif line in _STACKS:
            self._php(at)
        elif _GOROUTINE(line):
            self._goroutine(at)
        elif line.startswith(b"[signal "):
            self._continues[at] = at > 0 and self._lines[at - 1].lstrip().startswith(_GO_DEATH)
        elif _EXIT(line):
            before = self._lines.text_before(at)
            if before >= 0 and before == self._go_end - 1:
                self._continues[before + 1 : at + 1] = True

    def _follows_trace(self, at: int) -> bool:
        return at > 0 and (bool(self._continues[at - 1]) or _is_exception(self._lines[at - 1]))

    def _chain(self, at: int) -> None:
        """The sentence that links one trace in Python to the next, and the blank lines around it."""
        lines, continues = self._lines, self._continues
        before = lines.text_before(at)
        if not (self._is_timed or (before >= 0 and continues[before])):
            return
        behind = at + 1
        while behind < len(lines) and not lines[behind]:
            behind += 1
        continues[before + 1 : behind] = True
        self._chain_end = behind

    def _goroutine(self, at: int) -> None:
        lines, continues = self._lines, self._continues
        before = lines.text_before(at)
        is_known = before >= 0 and (before == self._go_end - 1 or lines[before].lstrip().startswith(_GO_DEATH))
        if is_known or (at > 0 and before == at - 1):
            continues[before + 1 : at + 1] = True
        end = at + 1
        while end < len(lines) and (self._indented[end] or _is_go_call(lines[end])):
            end += 1
        continues[at + 1 : end] = True
        self._go_end = end

    def _php(self, at: int) -> None:
        lines, continues = self._lines, self._continues
        if at == 0 or lines.is_blank(at - 1):
            return
        end = at + 1
        while end < len(lines) and _PHP_FRAME(lines[end]):
            end += 1
        if end < len(lines) and lines[end].startswith((b"  thrown in ", b'"}')):
            end += 1
        elif end + 1 < len(lines) and not lines[end] and _PHP_NEXT(lines[end + 1]):
            end += 2
        continues[at:end] = True


def _is_exception(line: bytes) -> bool:
    return _EXCEPTION(line) is not None and not starts_with_time(line)


def _is_go_call(line: bytes) -> bool:
    """`main.serve(0xc000, 0x2)`, `created by main.start in goroutine 1`."""
    if line.startswith(b"created by ") or _ELIDED(line):
        return True
    name, bracket, rest = line.partition(b"(")
    return bool(bracket and name and rest.endswith(b")") and b" " not in name and not starts_with_time(line))
