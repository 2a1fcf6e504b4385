r"""Lines of web servers and load balancers: one request each, as Apache, nginx, HAProxy and AWS's balancers write it.

The message is the method and the path without what follows ``?``; a path's words are kept for `_PATH_WORDS` segments,
and none that holds a number or reads like a title is. The status is a field: collapsing has taken its digits, so it
tells no kinds apart yet.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from enricher.core.structured.parsed import Parsed

if TYPE_CHECKING:
    from enricher.core.structured.parsed import Value

_METHOD = r"(?:GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|CONNECT|TRACE|PROPFIND|REPORT|MKCOL|COPY|MOVE|PURGE)"
_REQUEST = rf'"(?P<method>{_METHOD}) (?P<target>[^\s"]++)(?: (?P<protocol>HTTP/[0-9.]++))?"'
_QUOTED = r'"((?>(?:[^"\\]++|\\.)*))"'
_COMMON = re.compile(
    r"(?:(?P<vhost>\S++) )?(?P<client>\S++) \S++ (?P<user>\"[^\"]*+\"|\S++) \[[^\]\n]{8,40}\] " + _REQUEST
    + r" (?P<status>[0-9]++|-) (?P<bytes>[0-9]++|-)(?P<rest>.*)\Z", re.DOTALL
)  # fmt: skip
_REST = re.compile(r" " + _QUOTED + r" " + _QUOTED)
_HAPROXY = re.compile(
    r"(?<!\S)(?P<client>\S{1,60}:[0-9]{1,5}) \[[^\]\n]{8,40}\] (?P<frontend>\S++) "
    r"(?P<backend>[^\s/]++)/(?P<server>\S++) (?P<timers>[-+/0-9]++) (?P<status>-?[0-9]++) (?P<bytes>[-+0-9]++) "
    r"\S++ \S++ (?P<termination>[A-Za-z\-]{2,4}) .{0,600}?"
    + _REQUEST + r"\Z"
)  # fmt: skip
_BALANCER = re.compile(
    r"(?:(?P<scheme>https?|h[0-9]|wss?|grpcs?) )?[0-9]++-[0-9]++-[0-9]++T\S++ (?P<balancer>\S++)"
    r" (?P<client>\S++) (?P<backend>\S++)"
    r" -?[0-9.]++ -?[0-9.]++ -?[0-9.]++ (?P<status>[0-9]++|-) (?P<backend_status>[0-9]++|-) (?P<received>[0-9]++|-)"
    r" (?P<bytes>[0-9]++|-) " + _REQUEST + r"(?: " + _QUOTED + r")?(?P<rest>.*)\Z", re.DOTALL
)  # fmt: skip
_HEAD_BYTES: Final = 2_000
_PATH_WORDS: Final = 3
_TITLE: Final = 24  # characters: a longer segment, or one of four words, is a title
_NUMBERED = re.compile(r"v0\Z|[A-Za-z]{2,12}0\Z")
_NAMED = (
    ("client", "client_ip"), ("user", "user"), ("vhost", "virtual_host"), ("status", "status"), ("bytes", "bytes"),
    ("protocol", "protocol"), ("frontend", "frontend"), ("backend", "backend"), ("server", "server"),
    ("timers", "timers"),
    ("termination", "termination_state"), ("balancer", "balancer"), ("backend_status", "backend_status"),
    ("received", "received_bytes"),
)  # fmt: skip


def parse_access(text: str) -> Parsed | None:
    """The request that a line logs, None where the line is no access log's."""
    match = _COMMON.match(text) or _BALANCER.match(text)
    if match is None and text.endswith('"') and "] " in text[:_HEAD_BYTES]:
        match = _HAPROXY.search(text[:_HEAD_BYTES]) if len(text) <= _HEAD_BYTES else None
    if match is None:
        return None
    groups = match.groupdict()
    target = groups["target"]
    path, _, query = target.partition("?")
    fields: list[tuple[str, Value]] = [("method", groups["method"]), ("path", path)]
    if query:
        fields.append(("query", query))
    for group, name in _NAMED:
        value = groups.get(group)
        if value and value != "-":
            fields.append((name, int(value) if _is_number(group, value) else value.strip('"')))
    if match.re is _COMMON and (tail := _REST.match(groups["rest"])):
        fields += [
            (name, text) for name, text in zip(("referrer", "user_agent"), tail.groups(), strict=True) if text != "-"
        ]
    elif (
        match.re is _BALANCER
        and (agent := match[match.lastindex - 1 if match.lastindex else 0])
        and agent != groups["rest"]
    ):
        fields.append(("user_agent", agent))
    return Parsed(format="access", fields=tuple(fields), message=f"{groups['method']} {path}", message_name="request")


def _is_number(group: str, value: str) -> bool:
    return (
        group in ("status", "bytes", "backend_status", "received")
        and value.isascii()
        and value.isdigit()
        and len(value) < 19
    )


def path_words(message: str) -> str:
    """Of the method and path in collapsed text, what tells kinds of requests apart; the rest is one hole at the end."""
    method, _, path = message.partition(" ")
    if "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    kept: list[str] = []
    segments = path.split("/")[1:] if path.startswith("/") else [path]
    for at, segment in enumerate(segments):
        if at >= _PATH_WORDS:
            return f"{method} /{'/'.join(kept)}/\x01"
        kept.append(segment if _is_word(segment) else "\x01")
    return f"{method} /{'/'.join(kept)}"


def _is_word(segment: str) -> bool:
    if len(segment) > _TITLE or segment.count("-") + segment.count("_") >= _PATH_WORDS or "%" in segment:
        return False
    return "0" not in segment or _NUMBERED.match(segment) is not None
