r"""JSON objects, raw or collapsed, and what is known of their fields: levels, messages, wrappers.

Raw lines are read strictly. Collapsed text is no longer JSON where an escape held a digit (``\u00e9`` became
``\u0e0``): it is read by a scanner that forgives that and nothing else of the grammar.

Invariant: an object nested deeper than `_MAX_NESTING` is no JSON here, however deep the caller's own stack is. Must
never: recurse in Python.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from enricher.core.structured import names
from enricher.core.structured.parsed import Parsed, flatten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.core.structured.parsed import Value

_MAX_NESTING: Final = 64
_STRING = r'"(?>(?:[^"\\]++|\\.)*)"'
_NESTS = re.compile(_STRING.encode() + rb"|[{\[]|[}\]]", re.DOTALL)
_TOKEN = re.compile(_STRING + r'|[{}\[\]:,]|[^\s"{}\[\]:,]++', re.DOTALL)
# Digits and the e of an exponent are a hexadecimal word: 1e-7 has become 0-0.
_NUMBER = re.compile(r"-?[0-9]++(?:\.[0-9]++)?(?:[eE]?[-+]?[0-9]++)?\Z")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{0,4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": ""}
# What is left of escapes that encoders write for plain characters; any other is a hole of its own.
_FOLDED_ESCAPES = {"0b": "\x1b", "0c": "<", "0e": ">"}
_WORDS: Final = {"true": True, "false": False, "null": None}
_DECODER = msgspec.json.Decoder()

# Numbers of bunyan and pino, syslog's as journald has them (text), each with OpenTelemetry's.
_TENS: Final = {10: 1, 20: 5, 30: 9, 40: 13, 50: 17, 60: 21}
SYSLOG: Final = {0: 21, 1: 19, 2: 18, 3: 17, 4: 13, 5: 10, 6: 9, 7: 5}
LEVEL_OF_NUMBER: Final = {
    1: "trace", 5: "debug", 9: "info", 10: "notice", 13: "warning", 17: "error", 18: "critical", 19: "critical",
    21: "fatal",
}  # fmt: skip


def parse_json(text: bytes, *, is_collapsed: bool) -> Parsed | None:
    """The object that is all of `text`; None where it is none, or empty."""
    document = decode(text, is_collapsed=is_collapsed)
    if not document:
        return None
    fields, is_whole = flatten(document)
    by_name = {names.plain(name): (name, value) for name, value in reversed(fields)}
    wrapped = _docker(document, fields, is_whole=is_whole) or _journald(document, fields, is_whole=is_whole)
    if wrapped is not None:
        return wrapped
    level, number = _level(by_name)
    message, message_name = _message(by_name)
    return Parsed(
        format="json",
        fields=tuple(fields),
        message=message,
        message_name=message_name,
        level=level,
        level_number=number,
        program=first_text(by_name, names.PROGRAMS)[0],
        is_whole=is_whole,
        is_open="auditID" in document and "verb" in document,
    )


def from_pairs(kind: str, fields: list[tuple[str, Value]]) -> Parsed:
    """The same for a line of names and texts."""
    by_name = {names.plain(name): (name, value) for name, value in reversed(fields)}
    level, number = _level(by_name)
    message, message_name = _message(by_name)
    return Parsed(
        format=kind,
        fields=tuple(fields),
        message=message,
        message_name=message_name,
        level=level,
        level_number=number,
        program=first_text(by_name, names.PROGRAMS)[0],
    )


def decode(text: bytes, *, is_collapsed: bool) -> dict[str, Any] | None:
    """The JSON object that is all of `text`, None where it is none."""
    if not _is_shallow(text):
        return None
    try:
        document = _DECODER.decode(text)
    except (ValueError, RecursionError):
        document = _scan(text.decode("utf-8", "replace")) if is_collapsed else None
    return document if isinstance(document, dict) else None


def _is_shallow(text: bytes) -> bool:
    if text.count(b"{") + text.count(b"[") <= _MAX_NESTING:
        return True
    depth = 0
    for match in _NESTS.finditer(text):
        token = match[0][:1]
        if token in b"{[":
            depth += 1
            if depth > _MAX_NESTING:
                return False
        elif token in b"}]":
            depth -= 1
    return True


def _message(by_name: Mapping[str, tuple[str, Value]]) -> tuple[str, str]:
    text, name = first_text(by_name, names.MESSAGES)
    if text:
        return text, name
    text, name = first_text(by_name, names.EVENT_NAMES)
    return (text, name) if " " in text.strip() else ("", "")


def first_text(by_name: Mapping[str, tuple[str, Value]], wanted: tuple[str, ...]) -> tuple[str, str]:
    """The first of these fields that holds text, and its name in the line."""
    for one in wanted:
        name, value = by_name.get(one, ("", None))
        if isinstance(value, str) and value.strip():
            return value, name
    return "", ""


def _level(by_name: Mapping[str, tuple[str, Value]]) -> tuple[str, int]:
    for one in names.LEVELS:
        value = by_name.get(one, ("", None))[1]
        if isinstance(value, str) and value.lower() in names.LEVEL_WORDS:
            return names.LEVEL_MEANS.get(value.lower(), value), 0
        if isinstance(value, int) and value in _TENS:
            return "", _TENS[value]
    return "", 0


def _docker(document: Mapping[str, object], fields: list[tuple[str, Value]], *, is_whole: bool) -> Parsed | None:
    """Docker's json-file driver: a line of the container's and where it came from."""
    log = document.get("log")
    if (
        not isinstance(log, str)
        or "stream" not in document
        or not document.keys() <= {"log", "stream", "time", "attrs"}
    ):
        return None
    own = tuple(field for field in fields if field[0] != "log")
    return Parsed(format="docker", fields=own, inner=log.removesuffix("\n").removesuffix("\r"), is_whole=is_whole)


def _journald(document: Mapping[str, object], fields: list[tuple[str, Value]], *, is_whole: bool) -> Parsed | None:
    """The journal's own export as JSON: MESSAGE is a line of the program's, PRIORITY is syslog's number."""
    message = document.get("MESSAGE")
    if not isinstance(message, str) or not ("__REALTIME_TIMESTAMP" in document or "PRIORITY" in document):
        return None
    priority = document.get("PRIORITY")
    number = SYSLOG.get(int(priority), 0) if isinstance(priority, str) and priority in "01234567" and priority else 0
    program = document.get("SYSLOG_IDENTIFIER", document.get("_COMM", ""))
    return Parsed(
        format="journald",
        fields=tuple(field for field in fields if field[0] != "MESSAGE"),
        inner=message,
        is_whole=is_whole,
        level_number=number,
        program=program if isinstance(program, str) else "",
    )


# ---------------------------------------------------------------- collapsed text that is no JSON any more


def _scan(text: str) -> dict[str, Any] | None:
    """The object in collapsed text."""
    reading = _Scan()
    end = 0
    for match in _TOKEN.finditer(text):
        if text[end : match.start()].strip() or not reading.takes(match[0]):
            return None
        end = match.end()
    return reading.root if reading.wants == "end" and not text[end:].strip() else None


class _Scan:
    """Containers are filled as their tokens come; `wants` says what may come next."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self.wants = "{"
        self._stack: list[dict[str, Any] | list[Any]] = []
        self._name = ""

    def takes(self, token: str) -> bool:
        """Whether the token may stand here."""
        head = token[0]
        if self.wants in ("name", "name}") and head == '"':
            self._name, self.wants = unescape(token[1:-1]), ":"
        elif head in "]}" and self.wants in (",", f"name{head}", f"value{head}"):
            return self._close(head)
        elif self.wants in ("value", "value]"):
            return self._value(token)
        elif head != self.wants:
            return False
        elif head == "{":
            self._stack.append(self.root)
            self.wants = "name}"
        elif head == ":":
            self.wants = "value"
        else:
            self.wants = "name" if isinstance(self._stack[-1], dict) else "value"
        return True

    def _close(self, head: str) -> bool:
        closed = self._stack.pop()
        self.wants = "," if self._stack else "end"
        return isinstance(closed, dict) == (head == "}")

    def _value(self, token: str) -> bool:
        head = token[0]
        value: Any
        if head == '"' and len(token) > 1:
            value = unescape(token[1:-1])
        elif head in "{[":
            value = {} if head == "{" else []
        elif token in _WORDS:
            value = _WORDS[token]
        elif _NUMBER.match(token):
            value = 0
        else:
            return False
        into = self._stack[-1]
        if isinstance(into, dict):
            into[self._name] = value
        else:
            into.append(value)
        self.wants = ","
        if head in "{[":
            self._stack.append(value)
            self.wants = "name}" if head == "{" else "value]"
        return True


def unescape(text: str) -> str:
    """What a JSON string of collapsed text says; an escape whose digits are gone is a hole."""
    return _ESCAPE.sub(_unescaped, text) if "\\" in text else text


def _unescaped(match: re.Match[str]) -> str:
    if match[2] is not None:
        return _ESCAPED.get(match[2], match[2])
    return _FOLDED_ESCAPES.get(match[1], "\x01")
