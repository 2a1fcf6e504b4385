"""What the lines behind an event's first line say of its kind: exception classes and frames of the user's own code.

The text that comes out is the same for the same fault whatever line numbers, addresses, counters of generated code and
frames of frameworks stand in the trace, and another one for another exception. It is read by people and by the model:
one line, bounded, without holes and without characters that act on a reader.

Invariant: a pure function of the lines with their digits collapsed (error codes of Oracle apart, which are the
meaning), in time in proportion to them. Must never: contain a rule for one user's program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from enricher.core.collapse import collapse_hex
from enricher.core.skeleton import HOLE, HOLE_TEXT, shape_of

_FRAMES: Final = 3
_MAX_NAME: Final = 120
_MAX_TEXT: Final = 600
_MAX_BYTES: Final = 64 * 1024
"""Of longer continuations the first and the last half of this are read: where a chain begins and where it ends."""

_CLASS_NAME: Final = rb"(?>(?:[A-Za-z_][\w$]{0,80}[.\\+])*)[A-Za-z_][\w$]{0,120}"
# `Caused by: a.B`, ` ---> A.B`, `[cause]: B`: causes that stand below what they caused.
_INNER = re.compile(
    rb"\s*(?:Caused by: |---> \(?(?:Inner Exception #\d+\) )?|\[cause\]: )(" + _CLASS_NAME + rb")"
).match
# The line with which a trace begins in Java, JavaScript and .NET, and ends in Python.
_EXCEPTION = re.compile(
    rb"(?:Exception in thread \"[^\"\n]{0,200}\" |Unhandled exception\. )?"
    rb"((?:[A-Za-z_$][\w$]{0,80}[.])+[A-Za-z_$][\w$]{0,120}|[A-Z][\w$]{0,120})(?: \[[\w.]{1,100}\])?(?::(?= |$)|$)"
).match
_NEXT = re.compile(rb"Next ([\w\\]{1,200})").match
_GROUP_BARS = re.compile(rb"[ \t]*(?:[|+][-+| ]*)(?:\d+ -+$)?")
_RUBY_HEAD = re.compile(rb"\s*[^\s:]{1,300}:\d+:in .{0,2000}\(([A-Z][\w:]{0,120})\)$").match

_CALL = re.compile(rb"\s+at (?:async |new )?(?:[\w.@-]*/{1,2})?([A-Za-z_$][^\s(]{0,300}\.[^\s(]{1,200})\(").match
_SCRIPT = re.compile(
    rb"\s+at (?:async |new )?(?:([^\s(]{1,200}) (?:\[as [^\]]{1,200}\] )?)?\(?([^\s()]{1,500}?):\d+:\d"
).match
_PYTHON = re.compile(rb"\s*File \"([^\"]{1,500})\", line \d+(?:, in (.{1,200}))?").match
_RUBY = re.compile(
    rb"\s+(?:\d+: )?from ([^\s:]{1,500}):\d+:in [`'](?:(?:block|rescue|ensure)[ \w()]{0,60} in )?([^'\s]{1,200})'"
).match
_PHP = re.compile(rb"#\d+ (?:(\S[^(]{0,500})\(\d+\)|\[internal function\]): ([\w\\:>{}-]{1,200})").match
_GO = re.compile(rb"([\w./*()\[\]-]{1,300})\([^\n]*\)$").match

# Who is not the user: standard libraries and frameworks that are known by their names or places.
_FOREIGN_CALL = re.compile(
    rb"(?:java|javax|jakarta|jdk|sun|com\.sun|kotlin|kotlinx|scala|groovy|akka|reactor|io\.netty|io\.undertow|org\.springframework"
    rb"|org\.apache|org\.hibernate|org\.eclipse|org\.jboss|com\.fasterxml|com\.zaxxer|org\.postgresql|com\.mysql|org\.junit"
    rb"|okhttp0?|retrofit0?|System|Microsoft|Npgsql|MySql|Newtonsoft)\."
).match
_FOREIGN_PLACE = re.compile(
    rb"site-packages/|dist-packages/|lib0*/python|<frozen |<string>|node_modules/|node:|internal/|/gems/|/ruby/"
    rb"|<internal:|/vendor/"
).search
_FOREIGN_GO = re.compile(
    rb"(?:runtime|panic|net|os|io|fmt|sync|syscall|testing|reflect|encoding|database/sql|context|internal|log|time|strings"
    rb"|bytes|sort|bufio|crypto|errors|regexp|text|html|math|golang\.org/x)(?:[./(]|$)"
).match
# Names with a counter that another run or build gives another value.
_GENERATED = (
    (re.compile(r"\$\$(?:Lambda|EnhancerBy|FastClassBy|SpringCGLIB)[^.\s]*"), "$$"),
    (re.compile(r"lambda\$(\w*?)\$0"), r"lambda$\1"),
    (re.compile(r"(?:jdk\.proxy0\.|com\.sun\.proxy\.)?\$Proxy0"), "$Proxy"),
    (re.compile(r"(Generated\w*Accessor)0"), r"\1"),
    (re.compile(r"<(\w*)>[a-z]__0(?:_0)?"), r"\1"),
    (re.compile(r"(?:\.func0|\.0)+$"), ".func"),
    (re.compile(r"0x0"), "0"),
)
_UNSAFE = re.compile(r"[^\w.$<>:/\\#@+*`~\[\]{}()=, -]+", re.ASCII)

_ORACLE = re.compile(rb"\bORA-\d{5}\b")
_STATEMENT = re.compile(rb"^(?!#|(?:use |SET timestamp)[^\n]{0,300};\s*$)\s*([A-Za-z]{2,20})\b", re.MULTILINE)
_TABLES = re.compile(
    rb"(?i)\b(?:from|join|into|update|table)\s{1,20}(?:only\s{1,5})?([`\"\[]?[a-z_][\w$.`\"\[\]]{0,120})"
)


@dataclass(slots=True)
class _Fault:
    """One exception of a chain."""

    name: str = ""
    own: list[str] = field(default_factory=list)
    """Frames of the user's code, the innermost first."""
    foreign: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Frame:
    name: str
    is_foreign: bool
    is_python: bool = False


def describe(first: bytes, rest: bytes) -> str:
    """What tells events apart whose first lines are alike: one line of text, "" where nothing in `rest` does.

    `rest` are the lines behind the first one, with digits collapsed.
    """
    if len(rest) > _MAX_BYTES:
        rest = rest[: _MAX_BYTES // 2] + b"\n" + rest[-_MAX_BYTES // 2 :]
    lines = [line.removesuffix(b"\r") for line in collapse_hex(rest).split(b"\n")]
    faults, root = _faults(first, lines)
    if faults:
        return _text(faults, root)
    if any(line.startswith(b"# Query_time: ") for line in lines):
        return _statement(rest)
    if not re.search(r"\w", shape_of(first).skeleton.replace(HOLE, "")):
        # The first line says nothing, as one that is only a time: the next one does.
        text = next((line for line in lines if line.strip()), b"")
        return _clean(shape_of(text).skeleton.replace(HOLE, "...").encode())[:_MAX_TEXT]
    return ""


def codes(rest: bytes) -> str:
    """Error codes in lines whose digits are as written, which are all that tells some faults apart."""
    if b"ORA-" not in rest:
        return ""
    return " ".join(dict.fromkeys(code.decode() for code in _ORACLE.findall(rest[:_MAX_BYTES])[:_FRAMES]))


def class_of(first: bytes) -> str:
    """The exception class that a first line names, "" for none."""
    for pattern in (_UNCAUGHT, _RUBY_HEAD, _EXCEPTION):
        found = pattern(first)
        if found is not None:
            return _name(found[1])
    return ""


_UNCAUGHT = re.compile(
    rb"(?:.{0,200}?\b(?:Uncaught|Unhandled exception\.) )(?:exception ')?([A-Z][\w\\.]{0,200})"
).match


def _faults(first: bytes, lines: list[bytes]) -> tuple[list[_Fault], int]:
    """The exceptions of a chain in the order of the text, and which of them caused the others."""
    faults = [_Fault(name=class_of(first))]
    root = 1 if b"Exception Group Traceback " in first[:_MAX_TEXT] else -1
    in_go = first.startswith((b"panic: ", b"goroutine "))
    is_beside = False
    for raw in lines:
        line = _GROUP_BARS.sub(b"", raw, count=1) if raw.lstrip()[:1] in (b"|", b"+") else raw
        current = faults[-1]
        if line.lstrip().startswith(b"Suppressed: "):
            is_beside = True  # what failed while cleaning up says little of the fault
        elif is_beside and not line.startswith(b"Caused by: "):
            continue
        elif (inner := _INNER(line)) is not None:
            faults.append(_Fault(name=_name(inner[1])))
            is_beside = False
        elif line.startswith((b"Traceback ", b"Exception Group Traceback ")):
            faults.append(_Fault())
            root = 1 if line.startswith(b"E") or root == 1 else 0
        elif (following := _NEXT(line)) is not None:
            faults.append(_Fault(name=_name(following[1])))
            root = 0
        elif line.startswith(b"goroutine "):
            if in_go and (current.own or current.foreign):
                break  # the first goroutine is the one that died
            in_go, current.name = True, current.name or "panic"
        elif line[:1] not in b" \t#" and (named := _EXCEPTION(line)) is not None:
            if current.name and (current.own or current.foreign or root == 1):
                faults.append(_Fault())
            faults[-1].name = faults[-1].name or _name(named[1])
        elif (found := _frame(line, in_go=in_go)) is not None:
            _add(current, found.name, is_foreign=found.is_foreign, is_python=found.is_python)
    found_faults = [fault for fault in faults if fault.own or fault.foreign or fault.name]
    return found_faults, min(root, len(found_faults) - 1)


def _add(fault: _Fault, name: str, *, is_foreign: bool, is_python: bool) -> None:
    frames = fault.foreign if is_foreign else fault.own
    if is_python:
        # Python writes the innermost frame last.
        frames[:] = [name, *(frame for frame in frames if frame != name)][:_FRAMES]
    elif name not in frames and len(frames) < _FRAMES:
        frames.append(name)


def _frame(line: bytes, *, in_go: bool) -> _Frame | None:
    """The frame that a line is, if it is one."""
    if (python := _PYTHON(line)) is not None:
        where = _name(python[2] or b"?")
        is_foreign = _FOREIGN_PLACE(python[1]) is not None
        return _Frame(f"{where} ({_file(python[1])})", is_foreign, is_python=True)
    if (script := _SCRIPT(line)) is not None:
        called = _name(script[1]) if script[1] else ""
        place = _file(script[2])
        return _Frame(f"{called} ({place})" if called else place, _FOREIGN_PLACE(script[2]) is not None)
    if (call := _CALL(line)) is not None:
        return _Frame(_name(call[1]), _FOREIGN_CALL(call[1]) is not None)
    if (ruby := _RUBY(line)) is not None:
        return _Frame(f"{_name(ruby[2])} ({_file(ruby[1])})", _FOREIGN_PLACE(ruby[1]) is not None)
    if (php := _PHP(line)) is not None:
        return _Frame(_name(php[2]), php[1] is None or _FOREIGN_PLACE(php[1]) is not None)
    if in_go and (go := _GO(line)) is not None:
        return _Frame(_name(go[1]), _FOREIGN_GO(go[1]) is not None)
    return None


def _text(faults: list[_Fault], cause: int) -> str:
    root, outer = faults[cause], faults[-1 if cause == 0 else 0]
    names = [fault.name for fault in (outer, root) if fault.name]
    others = (fault for fault in faults if fault.own)
    frames = root.own or next((fault.own for fault in others), []) or root.foreign or outer.foreign
    text = ", caused by ".join(dict.fromkeys(names))
    if frames:
        text = f"{text} at {', '.join(frames[:_FRAMES])}" if text else f"at {', '.join(frames[:_FRAMES])}"
    return text[:_MAX_TEXT]


def _statement(rest: bytes) -> str:
    """A slow query by what it does with which tables."""
    verb = _STATEMENT.search(rest)
    if verb is None:
        return "slow query"
    tables = dict.fromkeys(_clean(name).strip('`"[]').lower() for name in _TABLES.findall(rest, verb.start()))
    return " ".join(["slow query:", _clean(verb[1]).upper(), *list(tables)[:_FRAMES]])[:_MAX_TEXT]


def _name(text: bytes) -> str:
    name = _clean(text)
    for pattern, plain in _GENERATED:
        name = pattern.sub(plain, name)
    return name[:_MAX_NAME]


def _file(path: bytes) -> str:
    """The last part of a path, which is the same on every host."""
    return _clean(re.split(rb"[/\\]", path)[-1])[:_MAX_NAME]


def _clean(text: bytes) -> str:
    return _UNSAFE.sub("?", text.decode("ascii", "replace")).replace(HOLE_TEXT, "<>")
