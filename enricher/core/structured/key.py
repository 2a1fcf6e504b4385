"""The parts of a structured line's shape: what tells its kind from another, as text for a model and a person.

The skeleton is the message, masked as a text message is, then ``name=value`` for fields of few words, then ``name=``
and a hole for the others, each in the order of their names. All of it but the message is digested into the format too,
so that merging, which joins shapes of one format, can open holes in the message only.

Invariant: no id, time, free number, user, host or path is in a key. Must never: see a raw line.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enricher.core.collapse import collapse_line
from enricher.core.structured import names
from enricher.core.structured.access_log import path_words
from enricher.core.structured.csv_like import telling_cells
from enricher.core.structured.detect import parse
from enricher.core.structured.fold import fold_objects
from enricher.core.structured.fold_lines import fold_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from enricher.core.header import Header
    from enricher.core.structured.parsed import Parsed, Value

TEXT_BYTES: Final = 3_000
"""Of collapsed text that a shape looks at, unless it may be a JSON object: that is not one without its end."""

OBJECT_BYTES: Final = 32_768
"""The same for what may be an object; a longer one is text."""

MOST_BYTES: Final = 1 << 20
"""More than a line can have."""

_HEAD_BYTES: Final = 400
_MOST_WRAPPERS: Final = 3
_HOLE: Final = "<*>"
_ESCAPED: Final = "\x01"  # where collapsing spoilt an escape, or a path has no word
_SHOWN_WORDS: Final = 10
_SHOWN_HOLES: Final = 12
_BESIDE_MESSAGE: Final = (6, 8)  # the same beside a message, which must stay short enough to be merged
_MOST_CHARACTERS: Final = 48
_MOST_WORDS: Final = 4
_MOST_NUMBERS: Final = 2
_WORD = re.compile(r"[^\W\d_][\w.:\-/ #]*\Z")
_UNFIT = re.compile(r"[^\w.@:/\-]+")
_ESCAPES = re.compile(rb"\\u[0-9A-Fa-f]{0,4}")
_FEW_ESCAPES: Final = 8
_OPEN_WORDS: Final = ("objectRef.resource", "objectRef.subresource")
_OPEN_HOLES: Final = ("objectRef.name", "objectRef.namespace", "user.username")
_ACCESS_HOLES: Final = ("bytes", "client_ip", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`skeleton` has ``<*>`` for its holes; `tail` is the end of it that fields make, `holes` the names in that."""

    format: str
    level: str
    program: str
    skeleton: str
    tail: str
    holes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a collapsed line comes down to: `line` is what it wraps, or itself; `parts` are None where that is text.

    `program` is what a wrapper says that wrote the line, "" where none says it.
    """

    line: bytes
    program: str
    parts: Parts | None


def key_of(collapsed: bytes) -> bytes:
    """What a collapsed line's shape is made of, and one byte more where that is not all."""
    return cut(fold_objects(collapsed) if collapsed[:1] == b"{" else collapsed)


def cut(collapsed: bytes) -> bytes:
    """The same for a line that `fold_objects` has seen."""
    if len(collapsed) > TEXT_BYTES and b'{"' in collapsed[:_HEAD_BYTES]:
        return collapsed[: OBJECT_BYTES + 1]
    return fold_line(collapsed[: TEXT_BYTES + 1])


def find_parts(collapsed: bytes, header: Callable[[bytes], Header], mask: Callable[[str], str]) -> Found:
    """Find the parts of a shape in what `key_of` gave.

    `header` splits the header off a line, `mask` gives the skeleton of a message.
    """
    program = ""
    for _ in range(_MOST_WRAPPERS):
        parsed = _parse(collapsed, header)
        if parsed is None or parsed.inner is None:
            parts = None if parsed is None else _parts(parsed, collapsed, header, mask)
            return Found(line=collapsed, program=program, parts=parts)
        collapsed = key_of(collapsed_inner(parsed.inner))
        program = program or _program(parsed.program)
    return Found(line=collapsed, program=program, parts=None)


def collapsed_inner(text: str) -> bytes:
    """A wrapped line as one line of collapsed text."""
    line = text.replace(_ESCAPED, "0").replace("\n", " ").encode("utf-8", "replace")
    return collapse_line(line, limit_bytes=MOST_BYTES)


def _parse(collapsed: bytes, header: Callable[[bytes], Header]) -> Parsed | None:
    is_object = b'{"' in collapsed[:_HEAD_BYTES]
    if len(collapsed) > (OBJECT_BYTES if is_object else TEXT_BYTES):
        return None
    return parse(collapsed, is_collapsed=True, message_at=lambda line: header(line).end)


def _parts(
    parsed: Parsed, collapsed: bytes, header: Callable[[bytes], Header], mask: Callable[[str], str]
) -> Parts | None:
    message = path_words(parsed.message) if parsed.format == "access" else parsed.message
    words, holes, telling = _fields(parsed)
    if not (message or words or len(holes) > 1):
        return None
    most_words, most_holes = _BESIDE_MESSAGE if message else (_SHOWN_WORDS, _SHOWN_HOLES)
    holes = holes[:most_holes]
    shown = [f"{_fit(name)}={value}" for name, value in words[:most_words]]
    tail = " ".join(shown + [f"{_fit(name)}={_HOLE}" for name in holes])
    escapes = _ESCAPES.findall(collapsed)
    spelled = b"".join(escapes) if len(escapes) >= _FEW_ESCAPES and parsed.format == "json" else b""
    told = repr((words, telling)).encode("utf-8", "replace") + spelled
    before = None if collapsed[:1] == b"{" else header(collapsed)
    return Parts(
        format=f"{parsed.format}:{hashlib.sha256(told).hexdigest()[:8]}",
        level=parsed.level or (before.level if before else ""),
        program=_program(parsed.program) or (before.program if before else ""),
        skeleton=f"{_masked(parsed.format, message, mask)} {tail}".strip(),
        tail=tail,
        holes=tuple(holes),
    )


def _masked(kind: str, message: str, mask: Callable[[str], str]) -> str:
    if kind != "access":
        return mask(message.replace(_ESCAPED, _HOLE))
    # The words of a path are chosen already: masking would take a path for one variable.
    method, _, path = message.partition(" ")
    return f"{method} {'/'.join(_HOLE if part == _ESCAPED else part and _fit(part) for part in path.split('/'))}"


def _fields(parsed: Parsed) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """The fields of few words with their words, the names that are shown with a hole, and all names that tell."""
    if parsed.format == "access":
        return [], list(_ACCESS_HOLES), []
    if parsed.format == "csv":
        cells = telling_cells(parsed.fields)
        known = {name for name, _ in cells}
        holes = [name for name, _ in parsed.fields if name not in known]
        return cells, holes, [str(len(parsed.fields))]
    words: dict[str, str] = {}
    telling: list[str] = []
    for name, value in parsed.fields:
        if name == parsed.message_name or (names.plain(name) in names.LEVELS and _is_level(value)):
            continue
        word = _word(name, value, is_enum=names.is_enum(name) or (parsed.is_open and name in _OPEN_WORDS))
        if word is not None:
            words.setdefault(name, word)
        elif names.is_telling(name):
            telling.append(name)
    if parsed.is_open:
        present = {name for name, _ in parsed.fields}
        return sorted(words.items()), [name for name in _OPEN_HOLES if name in present], []
    telling = sorted({name for name in telling if not _is_number(name)})
    return sorted(words.items()), telling, telling


def _is_level(value: Value) -> bool:
    return isinstance(value, str) and value.lower() in names.LEVEL_WORDS


def _is_number(name: str) -> bool:
    return not any(map(str.isalpha, name))


def _word(name: str, value: Value, *, is_enum: bool) -> str | None:
    """The value of a field of few words, as a skeleton shows it."""
    if isinstance(value, bool):
        return str(value).lower() if is_enum or names.is_flag(name) else None
    if not isinstance(value, str) or not is_enum:
        return None
    text = value.strip()
    if not text or len(text) > _MOST_CHARACTERS or not _WORD.match(text):
        return None
    if text.count("0") > _MOST_NUMBERS or text.count("/") > 1 or len(text.split()) > _MOST_WORDS:
        return None
    return _UNFIT.sub("_", text)


def _program(program: str) -> str:
    """A program's name without what numbers it: a pod's or a worker's."""
    text = program.strip()
    if len(text) > _MOST_CHARACTERS or " " in text or any(part in ("0", "") for part in re.split(r"[-_.\[\]/]", text)):
        return ""
    return text


def _fit(name: str) -> str:
    return _UNFIT.sub("_", name)[:60] or "_"
