"""The header of a line: time, host, level, program and process id, split from the message by their look alone.

Works on collapsed text (``core/collapse.py``), where each number is one ``0``, so that one pattern covers every
spelling of a date. Nothing is known of the source beforehand.

Invariant: a pure function of the first `HEADER_BYTES` of the collapsed line, in bounded time whatever they hold. Must
never: contain a rule for one product.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

HEADER_BYTES = 400
_MAX_PARTS = 14

_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*+"
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*+"
_LEVEL = (
    rb"TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|CRIT(?:ICAL)?|ALERT|EMERG|FATAL|SEVERE|PANIC|FINE(?:R|ST)?|CONFIG|VERBOSE"
    rb"|[Tt]race|[Dd]ebug|[Ii]nfo|[Nn]otice|[Ww]arn(?:ing)?|[Ee]rror|[Ee]rr|[Cc]rit(?:ical)?"
    rb"|[Aa]lert|[Ee]merg|[Ff]atal|[Ss]evere"
)
# Atomic groups: "0-----…" must not be tried in every way of cutting it up. Not `(?:…)*+`, which before Python 3.11.5
# leaves the wrong position behind when an iteration fails half-way; `*+` is used on single characters only.
_TIME = (
    rb"(?:\[\s{1,8}(?=0\.0\])|[\[(<]?)(?:" + _DAY + rb",?\s+)?(?:" + _MONTH + rb"\s+)?[-+]?0"
    rb"(?>(?:[-/ ]" + _MONTH + rb"[-/ ]0?|[-+/.:,TtZ]++0)*)[-+/.:,TtZ]*"
    rb"(?:\s0:0(?::0)?(?:[.,]0)?)?(?:\s0)?(?:\s?[AP]M)?Z?[\])>]?(?=[\s|,:;\[]|$)"
)
_WORD = rb"[A-Za-z\x80-\xff][\w.$/@()\-\x80-\xff]*+(?:\[[^\]\s]*\])?"
# Behind a program may stand its version, or in parentheses what it acts for; a name of several words has a process id.
_DETAIL = rb"(?:\s\([^()\n]{0,80}\)|\s0(?:\.0)+)?"
_PROGRAM = (
    rb"(?:/?"
    + _WORD
    + rb"(?:\s++\[0\])?"
    + _DETAIL
    + rb"|[A-Z][\w.\-]*+(?:\s[A-Z(][\w.)]*+){1,3}\[0\]"
    + _DETAIL
    + rb")\s?:(?=\s|$)"
)
_LOGGER = rb"[A-Za-z_][\w.$/@:<>\-]*+"
_CAPITALS = rb"[A-Z][A-Z_]+0?"
_COLOUR = rb"\x1b\[[0-9;]{0,16}m"
_PART = re.compile(
    rb"(?>(?:\s|" + _COLOUR + rb")*)(?:"
    rb"(?P<flag>(?:-|" + _CAPITALS + rb")(?=\s0\s0[-./]0)|<0>(?=[A-Z0])|0:[A-Z](?=\s0\s" + _MONTH + rb"\s0))"
    rb"|(?P<glued>[VDIWEFC]0(?=\s0:0:0))"
    rb"|(?P<table>0(?:\s++(?!0\s)[\w.\-/]{1,64}){2,4}\s++0\s++0(?=\s++\S))"
    rb"|(?P<padded>(?<=\s\s)[A-Za-z]*+0[A-Za-z0]*+(?=\s\s))"
    rb"|(?P<bar>(?:(?<=\|)|(?<=\|\s))[^|\s]{1,64}(?=\s?\|))"
    rb"|(?P<time>" + _TIME + rb"(?:\s(?:UTC|GMT|[A-Z]{2,4}T|[+-]0)\b)?)"
    rb"|(?P<level>\[(?:Note|"
    + _LEVEL
    + rb")\s{0,8}\](?=[\s:|,\[-]|$):?|\[?\(?<?(?:"
    + _LEVEL
    + rb")>?\)?\]?(?=[\s:|,\]\x1b]|$):?|(?:"
    + _LEVEL
    + rb")\[0\](?=[\s:\[]))"
    rb"|(?P<log>LOG:(?=\s)|Information(?=\t|,))"
    rb"|(?P<letter>[VDIWEFNC](?=\s))"
    rb"|(?P<rule>[-|:,;*]+(?=\s|\|)|\|)"
    rb"|(?P<program>" + _PROGRAM + rb")"
    rb"|(?P<dashed>" + _LOGGER + rb"(?:\s[*(\[]?0[)\]]?)?(?=\s-\s))"
    rb"|(?P<dotted>[A-Za-z_]\w*+(?>(?:[.$]\w++)+)(?=\s\[)|(?<=\])\[[A-Za-z_]\w*+(?>(?:[.$]\w++)+)\s*\])"
    rb"|(?P<wide>(?<=\s\s)" + _WORD + rb"(?=\s\s))"
    rb"|(?P<tab>(?<=\t)(?:[A-Z][\w\-]*+(?:\s[A-Z][\w\-]*+){1,5}|\w++(?>(?:[.$]\w++)+))(?=\t(?!\{)))"
    rb"|(?P<capitals>" + _CAPITALS + rb"(?=(?:\s++" + _CAPITALS + rb"){0,2}\s++(?:" + _LEVEL + rb")\s))"
    rb"|(?P<column>(?:"
    + _CAPITALS
    + rb"|(?=[A-Za-z]*+[0_\-/@#.])[\w.\-/@#:]{1,64})(?=\s++(?:0[-./]0[-./T]0|0[-/ ]"
    + _MONTH
    + rb"[-/ ]0)))"
    rb"|(?P<logger>"
    + _LOGGER
    + rb"(?=\s++\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|LOG(?=:))[\s:\]]))"
    rb"|(?P<host>(?=\S*+\s++" + _PROGRAM + rb"|[A-Za-z]*+[0.\-]\S*+\s++" + _WORD + rb"\s)[A-Za-z0][\w.\-]*(?=\s))"
    rb"|(?P<name>[A-Za-z0][\w.\-]*(?=\s))"
    rb"|(?P<bracket>\[(?>(?:[^\[\]\n]|\[[^\[\]\n]*+\]){0,160})\])"
    rb"|(?P<number>(?:(?:us|ms|pid|tid)=0|[A-Za-z_.\-/@:#]*+0[\w.\-/@:#]*+)(?:\]|(?=[\s|])))"
    rb")"
)
_NAME = re.compile(rb"[A-Za-z_\x80-\xff][\w.$/@()\-\x80-\xff]*")
_PROCESS = re.compile(rb"\[.*|\s[(0].*")
# May be a time, a process, a count of something, or an address.
_PLAIN_NUMBER = re.compile(rb"[-+]?0(?:[.,]0?)?(?:\s0)*|0\.0\.0\.0(?:\s0)*")
_DAY_AND_CLOCK = re.compile(_MONTH + rb"\s+0 0:0:0")  # behind which a host follows
_CLOCK_NEXT = re.compile(rb"\s++0[-./]0[-./]0")
_LEVEL_NEXT = re.compile(rb"\s++(?:" + _LEVEL + rb"|[VDIWEFNC])\s")
_DIGIT_FREE = re.compile(rb"(?<!\S)[^\s0]+(?!\S)")
_REPEATED = re.compile(rb"\s*(\S+)(?=\s)")
_SPACE = re.compile(rb"(?:\s|" + _COLOUR + rb")*")
_MAX_BARS = 3
_NUMERAL = re.compile(rb"(?:[A-F]{4}){1,4}|(?:[a-f]{4}){1,4}")  # hexadecimal of letters alone
_WITHOUT_TIME = ("bracket", "level", "log", "rule", "time", "flag", "table", "glued")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Level and program as written, "" where there is none, and where the message begins in the collapsed text."""

    level: str
    program: str
    end: int


_NONE = Header(level="", program="", end=0)


@lru_cache(maxsize=64)  # a line is asked for it up to three times
def split_header(collapsed: bytes) -> Header:
    """Split the header off a collapsed line: none without a time or a level word, no end where nothing follows it."""
    found = _Found()
    text = collapsed[:HEADER_BYTES]
    for _ in range(_MAX_PARTS):
        match = _PART.match(text, found.end)
        if not (found.repeats(text) or (match is not None and found.take(match))):
            break
    if not found.is_header:
        return _NONE
    space = _SPACE.match(text, found.end)
    end = space.end() if space else found.end
    return Header(
        level=found.level.decode(),
        program=found.program.decode("utf-8", "replace"),
        end=0 if end >= len(collapsed) else end,
    )


@dataclass(slots=True)
class _Found:
    """What was found of a header so far."""

    end: int = 0
    parts: int = 0
    level: bytes = b""
    program: bytes = b""
    bars: int = 0
    has_number: bool = False
    """A number that may be a time, if a level or a process follows."""
    has_time: bool = False
    has_process: bool = False
    has_host: bool = False
    is_before_host: bool = False
    is_behind_program: bool = False
    is_glued: bool = False
    """The level stood before the time without a blank: numbers of the thread and the place in the code follow."""
    columns: set[bytes] = field(default_factory=set)

    @property
    def is_header(self) -> bool:
        return self.has_time or bool(self.level) or self.has_process

    def repeats(self, text: bytes) -> bool:
        """Go on behind a column that stands in this header for the second time."""
        match = _REPEATED.match(text, self.end) if self.columns else None
        if match is None or match[1] not in self.columns:
            return False
        self.end = match.end()
        return True

    def take(self, match: re.Match[bytes]) -> bool:
        """Take one part in; False if it cannot belong to the header, given what stood before it."""
        kind = match.lastgroup or ""
        text = match[kind]
        is_led = kind == "bracket" and self.parts == 1 and _CLOCK_NEXT.match(match.string, match.end()) is not None
        if kind == "wide" and not self.level and _LEVEL_NEXT.match(match.string, match.end()) is None:
            return False  # it may say what happened
        if match.end() == self.end or not (is_led or self._fits(kind, text)):
            return False
        if kind in ("level", "letter", "log", "glued"):
            self.level = text.strip(b"[]()<>:0 ")
        elif kind in ("program", "dashed", "wide", "tab", "bar", "logger", "dotted"):
            self._name(kind, text)
        elif kind == "capitals":
            self.program = b" ".join(filter(None, (self.program, text)))
        elif kind == "table":
            self.program = b" ".join(_DIGIT_FREE.findall(text))
        elif kind in ("host", "name"):
            self.has_host = True
        self.has_time |= kind == "table" or (kind == "time" and not _PLAIN_NUMBER.fullmatch(text))
        self.has_number |= kind in ("time", "glued")
        self.is_before_host = kind == "time" and _DAY_AND_CLOCK.fullmatch(text) is not None
        if kind in ("host", "column", "number"):
            self.columns.add(text)
        self.is_behind_program |= kind == "bracket" and bool(self.program)
        self.is_glued = kind == "glued" or (self.is_glued and kind != "number") or (self.is_glued and text == b"0")
        self.parts += 1
        self.end = match.end()
        return True

    def _name(self, kind: str, text: bytes) -> None:
        self.bars += kind == "bar"
        if kind == "logger" and b"@" in text:
            return  # who is connected to what, not what runs
        if kind == "wide" and (not self.level or _NUMERAL.fullmatch(text)):
            return
        self.has_process |= kind == "program" and b"[0]" in text
        if kind == "program":
            self.program = _PROCESS.sub(b"", text).rstrip(b" :")
        elif kind == "tab" and not self.program and b"0" not in text:
            self.program = text
        elif not self.program and (name := _NAME.match(text.lstrip(b"["))):
            self.program = name[0].rstrip()

    def _fits(self, kind: str, text: bytes) -> bool:
        has_time = self.has_time or self.has_number
        if kind == "column" and not self.parts:
            return b"0" in text
        if not has_time and kind not in _WITHOUT_TIME:
            return False
        match kind:
            case "flag" | "table" | "glued":
                return self.parts == 0
            case "level" | "letter" | "log":
                return not self.level and (self.has_time or not has_time or text.isupper())
            case "time":
                return (
                    self.is_glued
                    or not (self.level or self.program)
                    or (b":" in text and not _PLAIN_NUMBER.fullmatch(text))
                )
            case "program" | "dashed":
                return not self.program
            case "logger":
                return self.has_time and not self.program and not self.level
            case "wide" | "padded":
                return not self.program
            case "dotted":
                return bool(self.level) and not self.program
            case "tab":
                return not self.program
            case "bar":
                return self.bars < _MAX_BARS
            case "host":
                return not (self.has_host or self.program or self.level)
            case "name":
                return self.is_before_host
            case "number" if self.is_glued:
                return not self.program
            case "number" | "capitals" | "column":
                return not self.level and (kind == "capitals" or not self.program)
            case "bracket":
                # Of what stands in brackets behind the program, the first may be a request or a thread.
                return self.parts == 0 or (has_time and not self.is_behind_program)
            case _:
                return True
