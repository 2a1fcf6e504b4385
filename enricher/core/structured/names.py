"""What the name of a field says of its value: the message, the level, the program, one of a few words, or free.

Names are compared in lower case without ``_`` and ``-``; a list is of last segments where it says so. The lists hold
what logging libraries, collectors and audit trails write, not what one product does.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MESSAGES: Final = (
    "message", "msg", "@m", "@mt", "shortmessage", "textpayload", "log", "text", "body", "logmessage",
    "jsonpayload.message", "fields.message", "rawmessage",
)  # fmt: skip
"""In order: the first that is there and holds text is the message."""

EVENT_NAMES: Final = ("event", "eventmessage", "description", "details", "error", "error.message", "err")
"""The message where none of `MESSAGES` is there, if it reads as a sentence."""

LEVELS: Final = (
    "level", "lvl", "severity", "loglevel", "log.level", "levelname", "severitytext", "@l", "@level", "priority",
    "log.severity", "fields.level", "jsonpayload.level",
)  # fmt: skip
PROGRAMS: Final = (
    "logger", "loggername", "log.logger", "component", "syslogidentifier", "service", "service.name", "app",
    "application", "program", "sourcecontext", "process.name", "module", "subsystem",
)  # fmt: skip

LEVEL_WORDS: Final = frozenset(
    """trace finest finer verbose debug fine info information informational notice warn warning error err severe crit
    critical alert emerg emergency panic fatal dpanic v d i n w e c f""".split()  # noqa: SIM905 - easier to read
)
LEVEL_MEANS: Final = {
    "information": "info",
    "informational": "info",
    "emergency": "emerg",
    "dpanic": "panic",
}
"""What `logged_level` calls words that only structured lines use."""

_ENUM_ENDINGS: Final = frozenset(
    """
    event action verb type subtype category cat kind method outcome result results status statustext state stage phase
    operation op opname command cmd reason code errorcode errorname errorclass errortype exceptiontype exceptionclass
    decision disposition verdict act access permission effect policytype protocol proto transport direction eventtype
    eventname eventaction eventcategory eventoutcome eventsource eventkind eventmodule eventcode eventclass
    severityclass subresource apigroup change changetype objecttype resourcetype entitytype targettype actiontype
    authmethod authtype mechanism sourcetype logtype messagetype msgtype step job task trigger retcode failurereason
    denyreason msgid eventclassid success ok allowed granted denied failed authenticated authorized blocked stream
    """.split()  # noqa: SIM905 - a hundred quoted words would not be readable
)
"""Last segments whose value is one of a few words."""

_FLAG_ENDINGS: Final = frozenset(
    """
    success successful ok allowed granted denied failed failure authenticated authorized blocked error retry
    """.split()  # noqa: SIM905 - easier to read
)
_FREE_MAPS: Final = frozenset(
    """
    labels annotations tags headers params parameters queryparams query env environment extra attrs managedfields
    """.split()  # noqa: SIM905 - easier to read
)
"""Objects whose names are data."""

_PASSING: Final = re.compile(
    r"(?:trace|span|parent|request|req|correlation|transaction|session|message|event|log|insert|audit|record)\.?"
    r"(?:id|uuid)s?$|time(?:stamp)?s?$|timems$|timemillis$"
    r"|^(?:@?t|ts|date|datetime|asctime|seq|sequence|offset|caller|line|lineno|pid|tid|thread|threadid|threadname"
    r"|processid|header|appname|devicevendor|deviceproduct|deviceversion|eventclassid|severity|facility|hostname|host"
    r"|host\.name|stacktrace|stack|exception|realtimetimestamp)$"
    r"|(?:duration|elapsed|latency|took)(?:ms|us|ns|s|seconds|millis)?$|cursor$|stack(?:trace)?$"
)
"""Names that come and go without telling kinds apart: ids of a moment, times, places in the code."""

_PLAIN = str.maketrans("", "", "_-")


@lru_cache(maxsize=8192)
def plain(name: str) -> str:
    """The name as these lists have it."""
    return name.lower().translate(_PLAIN)


@lru_cache(maxsize=8192)
def is_enum(name: str) -> bool:
    """Whether the value of this field is one of a few words."""
    return plain(name).rpartition(".")[2] in _ENUM_ENDINGS


@lru_cache(maxsize=8192)
def is_flag(name: str) -> bool:
    """Whether this field is true or false about what happened."""
    return plain(name).rpartition(".")[2] in _FLAG_ENDINGS


@lru_cache(maxsize=8192)
def is_telling(name: str) -> bool:
    """Whether having a field of this name tells kinds apart."""
    segments = plain(name).split(".")
    if len(segments) > 2 or any(one in _FREE_MAPS for one in segments[:-1]):
        return False
    return not _PASSING.search(".".join(segments)) and any(map(str.isalpha, name))


_ROLES: Final = frozenset((*MESSAGES, *EVENT_NAMES, *LEVELS, *PROGRAMS, "stream", "comm"))
_INNER_ROLES: Final = frozenset(one.rpartition(".")[2] for one in _ROLES) - {"name"}


@lru_cache(maxsize=8192)
def is_kept(name: str) -> bool:
    """Whether a key may look at the text of a member of this name, wherever in an object it stands."""
    written = plain(name)
    return (
        written in _ROLES
        or written.rpartition(".")[2] in _INNER_ROLES
        or is_enum(name)
        or name in ("resource", "subresource")
    )
