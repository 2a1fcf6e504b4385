"""The header of a line: time, host, level, program and process id, split from the message by their look alone.

Works on collapsed text (``core/collapse.py``), where each number is one ``0``, so that one pattern covers every
spelling of a date. Nothing is known of the source beforehand.

Invariant: a pure function of the first `HEADER_BYTES` of the collapsed line, in bounded time whatever they hold. Must
never: contain a rule for one product.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    rb"[\[(<]?(?:" + _DAY + rb",?\s+)?(?:" + _MONTH + rb"\s+)?[-+]?0"
    rb"(?>(?:[-/ ]" + _MONTH + rb"[-/ ]0?|[-+/.:,TtZ]++0)*)[-+/.:,TtZ]*"
    rb"(?:\s0:0(?::0)?(?:[.,]0)?)?(?:\s0)?(?:\s?[AP]M)?Z?[\])>]?(?=[\s|,:;]|$)"
)
_WORD = rb"[A-Za-z\x80-\xff][\w.$/@()\-\x80-\xff]*+(?:\[[^\]\s]*\])?"
_COLOUR = rb"\x1b\[[0-9;]{0,16}m"
_PART = re.compile(
    rb"(?>(?:\s|" + _COLOUR + rb")*)(?:"
    rb"(?P<time>" + _TIME + rb"(?:\s(?:UTC|GMT|[A-Z]{2,4}T|[+-]0)\b)?)"
    rb"|(?P<level>\[?\(?<?(?:" + _LEVEL + rb")>?\)?\]?(?=[\s:|,\]\x1b]|$):?)"
    rb"|(?P<letter>[VDIWEFNC](?=\s))"
    rb"|(?P<rule>[-|:,;*]+(?=\s|\|)|\|)"
    rb"|(?P<program>" + _WORD + rb":(?=\s|$))"
    rb"|(?P<host>(?=\S*+\s++" + _WORD + rb":?\s)[A-Za-z0][\w.\-]*(?=\s))"
    rb"|(?P<bracket>\[(?>(?:[^\[\]\n]|\[[^\[\]\n]*+\]){0,160})\])"
    rb"|(?P<number>[A-Za-z_.\-/@:]*+0[\w.\-/@:]*(?=[\s|]))"
    rb")"
)
_BRACKETS = re.compile(rb"\[.*")
_SPACE = re.compile(rb"(?:\s|" + _COLOUR + rb")*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Level and program as written, "" where there is none, and where the message begins in the collapsed text."""

    level: str
    program: str
    end: int


_NONE = Header(level="", program="", end=0)


def split_header(collapsed: bytes) -> Header:
    """Split the header off a collapsed line: none without a time or a level word, no end where nothing follows it."""
    text = collapsed[:HEADER_BYTES]
    level = program = b""
    has_time = has_host = False
    end = 0
    for parts in range(_MAX_PARTS):
        match = _PART.match(text, end)
        if match is None or match.end() == end:
            break
        kind = match.lastgroup or ""
        if kind == "time":
            has_time = True
        elif not _fits(kind, has_time=has_time, has_host=has_host, level=level, program=program, parts=parts):
            break
        found = match[kind]
        if kind in ("level", "letter"):
            level = found.strip(b"[]()<>:")
        elif kind == "program":
            program = _BRACKETS.sub(b"", found.rstrip(b":"))
        elif kind == "host":
            has_host = True
        end = match.end()
    if not has_time and not level:
        return _NONE
    space = _SPACE.match(text, end)
    end = space.end() if space else end
    return Header(
        level=level.decode(), program=program.decode("utf-8", "replace"), end=0 if end >= len(collapsed) else end
    )


def _fits(kind: str, *, has_time: bool, has_host: bool, level: bytes, program: bytes, parts: int) -> bool:
    """Whether a part of this kind can still belong to the header, given what stood before it."""
    if not has_time and kind not in ("bracket", "level", "rule"):
        return False
    match kind:
        case "level" | "letter":
            return not level
        case "program":
            return not program
        case "host":
            return not (has_host or program or level)
        case "number":
            return not (program or level)
        case "bracket":
            return has_time or parts == 0
        case _:
            return True
