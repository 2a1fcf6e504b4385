r"""Lines of names and values: logfmt (``level=info msg="it broke" user=ann``), CEF and LEEF.

A logfmt line is one that is nothing but pairs: one free word in it makes it text. CEF's extension values run up to the
next name, LEEF's up to its delimiter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from enricher.core.structured import names
from enricher.core.structured.json_lines import from_pairs
from enricher.core.structured.parsed import MAX_FIELDS, MAX_NAME_CHARACTERS, Parsed

if TYPE_CHECKING:
    from enricher.core.structured.parsed import Value

_NAME = r"[A-Za-z_@][\w.\-/@]{0,100}+"
_PAIR = re.compile(rf'({_NAME})=(?:"((?>(?:[^"\\]++|\\.)*))"|([^\s"]*+))(?:[ \t]++|\Z|(?=\r?\Z))')
_QUOTE = re.compile(r"\\(.)", re.DOTALL)
_FEW_PAIRS: Final = 4
_TELLING: Final = frozenset((*names.MESSAGES[:2], "level", "lvl", "severity", "event", "action", "type"))

_CEF = re.compile(r"CEF: ?[0-9]++(?:\.[0-9]++)?\|")
_LEEF = re.compile(r"LEEF: ?([0-9]++(?:\.[0-9]++)?)\|")
HEADER: Final = "header"
"""The field that what stands before an object, pairs or `CEF:` is kept under."""

_BAR = re.compile(r"(?<!\\)\|")
_CEF_KEY = re.compile(r"(?:^|(?<=[ \t]))([A-Za-z_][\w.\[\]]{0,100}+)=")
_CEF_ESCAPE = re.compile(r"\\([\\|=])")


def parse_logfmt(text: str) -> Parsed | None:
    """The pairs that are all of `text`: at least four of them, or two where one has a name that logging uses."""
    fields: dict[str, Value] = {}
    at = 0
    while match := _PAIR.match(text, at):
        at = match.end()
        name, quoted, bare = match.groups()
        if bare and bare[-1] in ",;":  # a list within a text, not pairs alone
            return None
        if len(fields) < MAX_FIELDS:
            value = bare if quoted is None else _QUOTE.sub(_unquoted, quoted) if "\\" in quoted else quoted
            fields.setdefault(name[:MAX_NAME_CHARACTERS], value)
    if text[at:].strip() or len(fields) < _FEW_PAIRS // 2:
        return None
    if len(fields) < _FEW_PAIRS and not any(names.plain(name) in _TELLING for name in fields):
        return None
    return from_pairs("logfmt", list(fields.items()))


def _unquoted(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1])


def parse_cef(text: str) -> Parsed | None:
    """ArcSight's Common Event Format, behind whatever header stands before `CEF:`."""
    begin = _CEF.search(text[:400])
    parts = _BAR.split(text[begin.end() :], maxsplit=6) if begin else []
    if len(parts) < 7:
        return None
    vendor, product, version, kind, name, severity, extension = parts
    fields: dict[str, Value] = {
        HEADER: text[: begin.start()].strip() if begin else "",
        "device_vendor": _plain(vendor),
        "device_product": _plain(product),
        "device_version": _plain(version),
        "event_class_id": _plain(kind),
        "severity": severity.strip(),
    }
    for key, value in _cef_pairs(extension):
        fields.setdefault(key, value)
    return _security("cef", fields, product, name)


def _cef_pairs(extension: str) -> list[tuple[str, str]]:
    keys = list(_CEF_KEY.finditer(extension))[:MAX_FIELDS]
    ends = [*(key.start() for key in keys[1:]), len(extension)][: len(keys)]
    return [
        (key[1][:MAX_NAME_CHARACTERS], _plain(extension[key.end() : end]).strip())
        for key, end in zip(keys, ends, strict=True)
    ]


def parse_leef(text: str) -> Parsed | None:
    """QRadar's Log Event Extended Format, 1.0 and 2.0."""
    begin = _LEEF.search(text[:400])
    parts = _BAR.split(text[begin.end() :], maxsplit=4) if begin else []
    if len(parts) < 5:
        return None
    vendor, product, version, kind, rest = parts
    delimiter = "\t"
    mark, bar, attributes = rest.partition("|")
    if bar and len(mark) <= 4 and "=" not in mark:
        rest = attributes
        delimiter = mark if len(mark) == 1 and not mark.isalnum() else "\t" if "\t" in rest else "^"
    fields: dict[str, Value] = {
        HEADER: text[: begin.start()].strip() if begin else "",
        "device_vendor": _plain(vendor),
        "device_product": _plain(product),
        "device_version": _plain(version),
    }
    for pair in rest.split(delimiter)[:MAX_FIELDS]:
        key, is_pair, value = pair.partition("=")
        if is_pair and key.strip():
            fields.setdefault(key.strip()[:MAX_NAME_CHARACTERS], value.strip())
    return _security("leef", fields, product, kind)


def _security(kind: str, fields: dict[str, Value], product: str, name: str) -> Parsed:
    if not fields[HEADER]:
        del fields[HEADER]
    found = from_pairs(kind, list(fields.items()))
    return Parsed(
        format=kind,
        fields=(*found.fields, ("name", _plain(name))),
        message=_plain(name).strip(),
        message_name="name",
        level=found.level,
        program=_plain(product),
    )


def _plain(text: str) -> str:
    return _CEF_ESCAPE.sub(r"\1", text) if "\\" in text else text
