r"""Values that tell no kinds apart taken out of pairs, requests and what wraps them, one line at a time.

`fold.py` does this for blocks of JSON lines; here it is for lines that no memo knew: logfmt, CEF, access logs, and
logfmt inside of CRI and Docker's JSON. What is left of a known kind is found by one look-up instead of being parsed.

Invariants: idempotent; the parts of the shape of a line are those of the folded line, so that a line of which this is
not certain stays as it is: one that may be text, that is long, or that has a character beyond ASCII.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from enricher.core.structured import names
from enricher.core.structured.access_log import path_words

_MOST_BYTES: Final = 3_000
_HEAD_BYTES: Final = 400
_FEW_PAIRS: Final = 4
_EQUALS: Final = ord("=")  # a byte is looked for seven times as fast as bytes are
_MARKS: Final = (b"CEF:", b" stdout ", b" stderr ")  # also LEEF's

_NAME: Final = rb"[A-Za-z_@][\w.\-/@]{0,100}+="
_STARTS = re.compile(_NAME)
_PAIR = re.compile(rb"(" + _NAME + rb')("(?>(?:[^"\\]++|\\.)*)"|(?>[^\s"]*)(?<![,;]))([ \t]++|\Z)')
_CRI = re.compile(
    rb"[0-9]++-[0-9]++-[0-9]++T[0-9]++:[0-9]++:[0-9]++(?:\.[0-9]++)?(?:Z|[-+][0-9]++:[0-9]++) (?:stdout|stderr) [FP] "
)
_DOCKER = re.compile(
    rb'(\{"log": ?")((?>(?:[^"\\]++|\\")+))((?:\\n)?", ?"stream": ?"[a-z]{6}", ?"time": ?"0"\})', re.DOTALL
)
_BAR = re.compile(rb"(?<!\\)\|")
_CEF = re.compile(rb"CEF: ?[0-9]++(?:\.[0-9]++)?\|")
_CEF_KEY = re.compile(rb"(?:^|(?<=[ \t]))([A-Za-z_][\w.\[\]]{0,100}+)=")
_CEF_BARS: Final = 6
# These may belong to the header of a line: see `core/header.py`.
_OF_HEADER: Final = frozenset((b"us", b"ms", b"pid", b"tid"))
_SYSLOG = re.compile(rb"<[0-9]{1,3}>[0-9]{1,2} [0-9]\S*+ \S++ \S++ \S++ \S++ (?=\[)")
# What a bracket of a header has at most, so that where the header ends does not depend on the values.
_ELEMENT = re.compile(rb'\[([A-Za-z][\w@.\-]{0,60}+)((?> [A-Za-z][\w.\-]{0,60}+="[^"\\\[\]\n]{0,100}+"){0,20})\]')
_PARAMETER = re.compile(rb' ([A-Za-z][\w.\-]*+)="([^"]*+)"')
_MOST_ELEMENT: Final = 160
_REQUEST = re.compile(
    rb'((?:[^\s"|]++ )?[^\s"|]++ [^\s"|]++ [^\s"|]++ \[[^\]\n"|]{8,40}\] ")'
    rb'([A-Z]{3,9} [^\s"?|]++)(?:\?[^\s"|]*+)?( HTTP/[0-9.]++" (?:[0-9]++|-) (?:[0-9]++|-))(?=[ ]|\Z)[^|]*\Z'
)


def fold_line(collapsed: bytes) -> bytes:
    """Fold one line of collapsed text that `fold_objects` has seen."""
    if len(collapsed) > _MOST_BYTES or not collapsed.isascii():
        return collapsed
    if collapsed[:1] == b"{":
        return _docker(collapsed) if collapsed.startswith(b'{"log":') else collapsed
    if _EQUALS in collapsed:
        if collapsed[:1] == b"<" and (header := _SYSLOG.match(collapsed)):
            return _data(collapsed, header.end())
        if _STARTS.match(collapsed):
            return _pairs(collapsed)
        if b"CEF:" in collapsed[:_HEAD_BYTES]:
            return _cef(collapsed)
        if wrapper := _CRI.match(collapsed):
            return wrapper[0] + _pairs(collapsed[wrapper.end() :])
    return _request(collapsed) if collapsed.find(b" HTTP/") >= 0 else collapsed


def _pairs(line: bytes) -> bytes:
    """A line that is nothing but pairs, each value that no key looks at made "0"."""
    if not _STARTS.match(line) or any(mark in line for mark in _MARKS) or b"\n" in line:
        return line
    pairs = _PAIR.findall(line)
    if sum(map(len, map(b"".join, pairs))) != len(line) or len({name for name, _, _ in pairs}) < _FEW_PAIRS:
        return line
    return b"".join([part for name, value, tail in pairs for part in (name, value if _is_kept(name) else b"0", tail)])


@lru_cache(maxsize=8192)
def _is_kept(name: bytes) -> bool:
    return names.is_kept(name.rstrip(b"=").decode())


@lru_cache(maxsize=8192)
def _is_word(name: bytes) -> bool:
    """The same where no field is the message or the program."""
    text = name.decode()
    return names.is_enum(text) or names.plain(text) in names.LEVELS


def _data(line: bytes, at: int) -> bytes:
    """A line of RFC 5424, folded in the parameters of its structured data."""
    if len(line) > _HEAD_BYTES or any(mark in line for mark in _MARKS):
        return line
    pieces = [line[:at]]
    while element := _ELEMENT.match(line, at):
        if len(element[0]) > _MOST_ELEMENT:
            break
        at = element.end()
        kept = [
            b' %b="%b"' % (name, value if not value or _is_word(element[1] + b"." + name) else b"0")
            for name, value in _PARAMETER.findall(element[2])
        ]
        pieces += (b"[", element[1], *kept, b"]")
    return b"".join((*pieces, line[at:]))


def _docker(line: bytes) -> bytes:
    match = _DOCKER.fullmatch(line)
    if match is None or b"=" not in match[2]:
        return line
    return match[1] + _pairs(match[2].replace(b'\\"', b'"')).replace(b'"', b'\\"') + match[3]


def _cef(line: bytes) -> bytes:
    begin = _CEF.search(line[:_HEAD_BYTES])
    if begin is None:
        return line
    bars = [bar.end() for bar in _BAR.finditer(line, begin.end())]
    if len(bars) < _CEF_BARS:
        return line
    at = bars[_CEF_BARS - 1]
    extension = line[at:]
    keys = list(_CEF_KEY.finditer(extension))
    if not keys or keys[0][1] in _OF_HEADER:
        return line
    pieces = [line[:at], extension[: keys[0].start()]]
    for key, following in zip(keys, [*(key.start() for key in keys[1:]), len(extension)], strict=True):
        value = extension[key.end() : following]
        if not _is_word(key[1]):
            value = b"0 " if following < len(extension) else b"0"
        pieces += (key[0], value)
    return b"".join(pieces)


def _request(line: bytes) -> bytes:
    match = _REQUEST.match(line)
    if match is None or line[:1] == b"<" or any(mark in line for mark in _MARKS):
        return line
    request = path_words(match[2].decode()).replace("\x01", "0").encode()
    return match[1] + request + match[3]
