"""RFC 5424 with its structured data: ``<165>1 time host app pid id [sd@0 name="value"] message``.

The priority's digits are gone from collapsed text; the raw line gives severity and facility per event.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from enricher.core.structured.json_lines import SYSLOG
from enricher.core.structured.parsed import MAX_FIELDS, MAX_NAME_CHARACTERS, Parsed

if TYPE_CHECKING:
    from enricher.core.structured.parsed import Value

_HEADER = re.compile(
    r"<(?P<priority>[0-9]{1,3})>[0-9]{1,2} (?P<time>-|[0-9]\S*+) (?P<host>\S++) (?P<app>\S++) (?P<process>\S++)"
    r" (?P<kind>\S++) (?P<data>-(?= |\Z)|(?=\[))"
)
_ELEMENT = re.compile(r'\[([^\s=\]"]{1,100}+)((?> [^\s=\]"]{1,100}+="(?>(?:[^"\\]++|\\.)*)")*)\]', re.DOTALL)
_PARAMETER = re.compile(r' ([^\s=\]"]++)="((?>(?:[^"\\]++|\\.)*))"', re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\\]])')
_MAX_PRIORITY: Final = 191


def parse_5424(text: str) -> Parsed | None:
    """The header, the structured data and the message of a line; None for the older syslog and for anything else."""
    header = _HEADER.match(text)
    if header is None or int(header["priority"]) > _MAX_PRIORITY:
        return None
    fields: dict[str, Value] = {}
    for name, group in (("hostname", "host"), ("app_name", "app"), ("process_id", "process"), ("msg_id", "kind")):
        if header[group] != "-":
            fields[name] = header[group][:MAX_NAME_CHARACTERS]
    at = header.end()
    while element := _ELEMENT.match(text, at):
        at = element.end()
        for name, value in _PARAMETER.findall(element[2]):
            if len(fields) < MAX_FIELDS:
                fields.setdefault(f"{element[1]}.{name}", _ESCAPE.sub(r"\1", value))
    if header["data"] != "-" and at == header.end():
        return None
    message = text[at:].lstrip(" ").removeprefix("\ufeff")
    priority = int(header["priority"])
    return Parsed(
        format="rfc5424",
        fields=(*fields.items(), ("facility", priority >> 3)),
        message=message,
        level_number=SYSLOG[priority & 7],
        program="" if header["app"] == "-" else header["app"],
    )
