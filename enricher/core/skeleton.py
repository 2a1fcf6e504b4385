"""The shape of a line: its header taken apart and its message with every variable masked (level L3 of a signature).

A shape is (format, level, program, skeleton): a pure function of the line, the same for the raw line and for its
collapsed form (``core/collapse.py``), so that memos in front of it can be dropped at any time. Its id is a hash,
never a counter: restarts and hosts agree on it.

Invariants: a skeleton holds no control, invisible or direction-changing character; a hole in it is the one character
`HOLE`, which no text can bring along; the work per line is bounded whatever the line holds. Must never: contain a
rule for one product.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace

from enricher.core.collapse import collapse_line, raw_offset
from enricher.core.header import HEADER_BYTES, split_header
from enricher.core.structured.key import MOST_BYTES, TEXT_BYTES, find_parts, key_of

HOLE = "\x01"
HOLE_TEXT = "<*>"
TRACE_FORMAT = "trace-"  # begins the format of an event of several lines
TOLD = "#"  # behind it in a format stands what a number says (`core.meaning`)
SPLIT_FORMAT = "split"  # of events with some value in the slot that their signature is split by (`core.split`)
KEY_BYTES = TEXT_BYTES  # of collapsed text that a shape looks at; what is behind is one hole
KEY_TOKENS = 128

# One token: a word with its inner dots and slashes, a hole, or one other character.
TOKEN = re.compile(r"\w+(?:[.\-/\\$]\w+)*|[^\w\s]")

# Words that change what an operator does: never a value.
GUARDED_WORDS = frozenset(
    """
    accept accepted accepting deny denied reject rejected refused allow allowed block blocked permit permitted drop
    dropped fail failed failing failure error errors fatal success successful successfully succeeded ok passed pass
    invalid valid bad good start started starting stop stopped stopping begin end ended finish finished complete
    completed aborted abort kill killed cancel cancelled canceled up down on off open opened opening close closed
    closing connect connected connecting disconnect disconnected lost restored enable enabled disable disabled true
    false yes no not none null online offline active inactive running paused suspended resumed add added adding remove
    removed removing delete deleted create created creating destroyed update updated insert inserted register
    registered unregister unregistered attach attached detach detached mount mounted unmount unmounted load loaded
    unload unloaded lock locked unlock unlocked acquire acquired release released join joined leave left enter entered
    exit exited exiting send sent receive received recv read write written get set put post warn warning info debug
    critical emergency notice alert trace high low full empty normal abnormal healthy unhealthy ready timeout expired
    expiring renew in out to from src dst source destination local remote master slave primary secondary leader
    follower before after before with without granted revoked corrupt corrupted missing found dead alive degraded
    recovered crashed
    """.split()  # noqa: SIM905 - two hundred quoted words would not be readable
)
REPLACED = "\ufffd"  # stands for a run of characters that must not reach a reader, a model or a terminal
# Controls, spaces other than ASCII's, soft hyphen, zero-width, direction marks, variation selectors, tags, invalid
# bytes.
_UNSAFE = re.compile(
    r"(?:\x1b\[[0-9;]{0,16}m|[^\S \t\n\r\f\v]|[\x00-\x08\x0e-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160"
    r"\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff])+"
)

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*+"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*+"
_TLD = (
    "com|net|org|edu|gov|mil|int|io|info|biz|local|lan|internal|corp|cn|de|uk|fr|jp|ru|br|in|it|nl|au|ca|ch|es"
    "|pl|kr|tw|us|eu|se|dk|fi|cz|nz|hk|mx|za|ua|dev|cloud|xyz|home|test|example|localdomain"
)
# Each alternative starts only where its own characters do not stand before it: a long word is looked at once, not
# once per letter.
_VARIABLE = re.compile(
    r"(?<![A-Za-z0+.\-])[A-Za-z][A-Za-z0+.\-]*+://[^\s\"'<>()\[\]{},;]+"  # URL
    r"|(?<=[A-Z] )[/*][^\s\"]*+(?= HTTP/)"  # what a request is for
    r"|(?<![\w.+\-])[\w.+\-]++@[\w.\-]*\w"  # mail address
    r"|(?<![\w:])(?=[A-Fa-f:]{0,24}+0)(?:(?:0|[A-Fa-f]{1,4})?:){2,7}(?:0|[A-Fa-f]{1,4})(?>(?:\.0)*)(?![\w:])"  # address
    r"|(?<![\w.\\/])(?:[A-Za-z]:)?(?:[/\\][\w.+\-$%~@#*]++){2,}[/\\]?(?:\?[\w.+\-$%~@#*=&]*)?"  # path
    r"|(?<![\w.\\/])/(?=\w)[\w.+\-$%~@]++/?(?:\?[\w.+\-$%~@#*=&]*)?"
    # A word with a number in it, but not the code of a message, which begins with "%".
    r"|(?<![\w.\-])(?<!^%)(?<!\s%)(?:[<>~](?=0[\w.]*+(?![>@])))?[-+]?(?=[A-Za-z_.\-]*+0)\w[\w.\-]*(?<![.\-])%?"
    r"(?:(?<=\w)\\[A-Za-z_][\w.\-$]*(?<![.\-]))?"
    r"|(?<![\w.\-])[A-Za-z][\w\-]*\[0(?>(?:[-,]0)+)\]"  # members of a row: node[0-0,0]
    # A host or a package with two dots.
    r"|(?<![\w.\-])[a-z_][a-z_\-]*+(?:\.[a-z_\-]++){2,}(?![\w.\-])(?>(?:/[\w.$]+)*)"
    rf"|(?<![\w.\-])[a-z][a-z_\-]*+\.(?:{_TLD})(?![\w.\-])(?>(?:/[\w.$]+)*)"
)
# An identifier of letters alone, as base 64 makes one now and then: the humps of a name in camel case can be spoken.
_LETTERS = re.compile(r"(?<![\w.\-])(?=[A-Za-z]{0,30}?[A-Z]{3})[A-Za-z]{8,40}(?![\w.\-])")
_MUTE_HUMP = re.compile(r"[A-Z][b-df-hj-np-tv-xz]+(?![a-z])|^[b-df-hj-np-tv-xz]+(?=[A-Z])")
_MUTE_HUMPS = 2
_UNIT = re.compile(HOLE + r" ?(?:ms|us|ns|msecs?|secs?|seconds|s|[kKMGT]?i?[Bb]|[kKMGT]B/s|bytes)\b")
_DATE = re.compile(rf"\b(?:{_DAY},?\s)?{_MONTH}\s(?={HOLE})")
# Accounts that systems bring along: few, and not a person's. Whether they are told apart is for ``core/merge.py``.
ACCOUNTS = (
    *("root", "toor", "admin", "administrator", "system", "guest", "test", "nobody", "anonymous", "daemon", "bin"),
    *("sys", "sync", "operator", "backup", "www-data", "ftp", "git", "uucp", "news", "mail", "sshd", "mysql"),
    *("postgres", "oracle", "apache", "nginx", "postfix"),
)
_ACCOUNT = "|".join(ACCOUNTS)
_WHO = r"r?user(?:[_.]?name)?|login|account"
_NAMED = re.compile(
    rf"(?i)\b((?:(?:{_WHO})=(?!(?:{_ACCOUNT})(?![^\s,;)\]]))"
    r"|(?:r?host|user[_.]?(?:id|dir|home)|(?:host|log|domain|client|server|file|node|iface)[_.]?(?:name|id|dir)?|[a-z]{0,8}addr(?:ess)?)=))"
    r"[^\s\x01,;)\]]+"
)
# Messages that list so many pairs of a key and a value vary in the values; one word behind "=" may say what happened.
_MANY_PAIRS = 3
_SAYING = (
    "err(?:or)?|reason|cause|message|msg|stat(?:e|us)?|result|outcome|action|event|level|severity|exception|verdict"
)
_PAIR = re.compile(
    r"(?<![\w.\-])((?!(?i:" + _WHO + "|" + _SAYING + r")\s?=)[A-Za-z_][\w.\-]{0,60}(?:=|\s=\s|=\s(?![\w.\-]+=)))"
    r"(\"[^\"]{0,200}\"|[\w.\-$/@\x01]+(?:\{[^{}\s]{0,60}\})?)"
)
_TRUTH = re.compile(r"([A-Za-z_]\s?[=:]\s?)(?:true|false)\b")
_NOTHING = frozenset(("null", "none", "nil", "n/a"))
# Several words in quotes: of one word the merging tells whether it varies.
_QUOTED = re.compile(r"(?<![\w\"'\x01])(?:\"[^\" ]{1,80} [^\"]{1,120}\"|'[^' ]{1,80} [^']{1,120}')(?![\w\"'\x01])")
_IN_QUOTES = re.compile(r"\w+")
_EMPTY = re.compile(r"(?<=\s)\(\)")
_NEIGHBOURS = re.compile(HOLE + r"(?:[\s,:;/|._=+\-#@]*+" + HOLE + r")+")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is constant in a line. `level` and `program` are as written, "" where the line has none."""

    format: str
    level: str
    program: str
    skeleton: str
    around: tuple[str, str] | None = field(default=None, compare=False, repr=False)
    """What stands around a new word of the skeleton, where the shape was made of a known one's (`core.frame`)."""

    def __hash__(self) -> int:
        return hash(self.skeleton)  # which a string remembers

    @property
    def id(self) -> str:
        """16 hexadecimal digits. The parts are joined by NUL, which none of them can hold.

        What is split off has one of its parent's id, the slot and what its values have in common.
        """
        parts = [self.format, self.level, self.program, self.skeleton]
        if self.format == SPLIT_FORMAT:
            parts = self.skeleton.split("\0")[2:]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def template(self) -> str:
        """The message with `<*>` for each variable: OpenTelemetry's ``log.record.template``.

        Behind a NUL stands what a trace says, for readers; who matches lines with a template leaves that off.
        """
        text = self.skeleton if self.format.startswith(TRACE_FORMAT) else self.skeleton.partition("\0")[0]
        return text.replace(HOLE, HOLE_TEXT)


def shape_of(line: bytes) -> Shape:
    """Find the shape of one line, raw or collapsed, with or without its newline."""
    return collapsed_shape(key_of(collapse_line(line, limit_bytes=MOST_BYTES)))


def collapsed_shape(collapsed: bytes) -> Shape:
    """Find the shape of what `key_of` gave for a line that went through `collapse` and `collapse_hex`."""
    found = find_parts(collapsed, split_header, _skeleton)
    parts = found.parts
    if parts is None:
        shape = _text_shape(found.line)
        if shape.program or not found.program:
            return shape
        return replace(shape, program=_UNSAFE.sub(REPLACED, found.program))
    return Shape(
        format=parts.format,
        level=_UNSAFE.sub(REPLACED, parts.level),
        program=_UNSAFE.sub(REPLACED, parts.program or found.program),
        skeleton=_UNSAFE.sub(REPLACED, parts.skeleton.replace(HOLE, HOLE_TEXT)).replace(HOLE_TEXT, HOLE),
    )


def _text_shape(collapsed: bytes) -> Shape:
    header = split_header(collapsed)
    message = collapsed[header.end : KEY_BYTES].decode("utf-8", "replace")
    if len(collapsed) > KEY_BYTES:
        # The word at the cut is cut too: it belongs to the hole that stands for the rest.
        message = _SPACES.sub(" ", message).rpartition(" ")[0] + " " + HOLE_TEXT
    return Shape(
        format="text", level=header.level, program=_UNSAFE.sub(REPLACED, header.program), skeleton=_skeleton(message)
    )


def message_start(line: bytes) -> int:
    """Where the message begins in the raw line, in bytes: behind time, host, level and program; 0 without a header."""
    header = collapsed_header(line)
    return raw_offset(line, len(header)) if header else 0


def collapsed_header(line: bytes) -> bytes:
    """What stands before the message, in collapsed text: every number and every hexadecimal word is one ``0``."""
    # One byte more than the header is read from: it tells whether a message follows.
    collapsed = collapse_line(line, limit_bytes=HEADER_BYTES + 1)
    return collapsed[: split_header(collapsed).end]


def _skeleton(message: str) -> str:
    plain = message.isascii() and message.isprintable()
    text = (message if plain else _UNSAFE.sub(REPLACED, message)).replace(HOLE_TEXT, HOLE)
    text = _SPACES.sub(" ", text)
    text = _LETTERS.sub(_letters, _VARIABLE.sub(HOLE, text))
    if HOLE in text:
        text = _DATE.sub("", _UNIT.sub(HOLE, text))
    if "=" in text:
        text = _NAMED.sub(r"\g<1>" + HOLE, text)
    text = _without_values(text)
    if "()" in text:
        text = _EMPTY.sub(f"({HOLE})", text)
    return _capped(_NEIGHBOURS.sub(HOLE, text).strip())


def _letters(match: re.Match[str]) -> str:
    return HOLE if len(_MUTE_HUMP.findall(match[0])) >= _MUTE_HUMPS else match[0]


def _without_values(text: str) -> str:
    """Mask what stands in quotes and, where there are many pairs, behind each "=": unless it says what happened."""
    if text.count("=") >= _MANY_PAIRS and len(_PAIR.findall(text)) >= _MANY_PAIRS:
        text = _PAIR.sub(lambda match: match[1] + (HOLE if " " in match[2] or _is_value(match[2]) else match[2]), text)
    if '"' in text or "'" in text:
        text = _QUOTED.sub(lambda match: f"{match[0][0]}{HOLE}{match[0][0]}" if _is_value(match[0]) else match[0], text)
    # One answer to a question may say what happened; a list of them is the state of something.
    if text.count("true") + text.count("false") >= _MANY_PAIRS and len(_TRUTH.findall(text)) >= _MANY_PAIRS:
        text = _TRUTH.sub(r"\g<1>" + HOLE, text)
    return text


def _is_value(text: str) -> bool:
    """Whether no word in it says what happened."""
    words = _IN_QUOTES.findall(text)
    return text in _NOTHING or not any(
        word.lower() in GUARDED_WORDS or (len(word) > 2 and word.isupper()) for word in words
    )


def _capped(skeleton: str) -> str:
    if len(skeleton) <= KEY_TOKENS:
        return skeleton
    for count, token in enumerate(TOKEN.finditer(skeleton)):
        if count == KEY_TOKENS:
            return _NEIGHBOURS.sub(HOLE, skeleton[: token.start()] + HOLE)
    return skeleton


# As logged → (name of the closed list of severities, OpenTelemetry severity number).
_TRACE, _DEBUG, _INFO, _NOTICE = ("trace", 1), ("debug", 5), ("info", 9), ("notice", 10)
_WARNING, _ERROR, _CRITICAL, _FATAL = ("warning", 13), ("error", 17), ("critical", 18), ("fatal", 21)
_LEVELS = {
    **dict.fromkeys(("trace", "finest", "finer", "verbose", "v"), _TRACE),
    **dict.fromkeys(("debug", "fine", "config", "d"), _DEBUG),
    **dict.fromkeys(("info", "i"), _INFO),
    **dict.fromkeys(("notice", "note", "n"), _NOTICE),
    **dict.fromkeys(("warn", "warning", "w"), _WARNING),
    **dict.fromkeys(("error", "err", "severe", "e"), _ERROR),
    **dict.fromkeys(("crit", "critical", "c"), _CRITICAL),
    "alert": ("critical", 19),
    **dict.fromkeys(("emerg", "panic", "fatal", "f"), _FATAL),
}


def logged_level(shape: Shape) -> tuple[str, int] | None:
    """Normalise the level as logged: its name and OpenTelemetry's severity number, 1 to 24; None if none was logged.

    The numbers follow the syslog and java.util.logging tables of OpenTelemetry's logs data model.
    """
    return _LEVELS.get(shape.level.lower())
