r"""Lines as they leave the host: each secret and each personal value under a pseudonym, and what a pseudonym stood for.

Invariants: no map is kept, neither here nor anywhere; within one request a value always has the same pseudonym, so that
relations between lines survive; a number is never given to two values, nor to a text that stands in the request by
itself. An answer's text that went through `without_pseudonyms` holds no pseudonym.

The way back is found in the request itself: its examples are matched against the template that stands beside them, and
a pseudonym that fills a hole becomes that hole's number. One that fills none becomes what it is: "a user".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, get_args

from enricher.core.extract import compile_extractor
from enricher.core.personal import mark_personal
from enricher.core.redact import HOLE, MARKS, SHORTEST_NAME, WORD, clean
from enricher.core.secret import mark_secrets
from enricher.core.sensitive import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Longer lines are cut before they are looked at: what is shown of one is a quarter of it.
MAX_LINE_CHARACTERS: Final = 4_000
_WORDS: Final[Mapping[str, str]] = {
    "secret": "a secret",
    "email": "an e-mail address",
    "user": "a user",
    "private-ip": "a private address",
    "public-ip": "a public address",
    "mac": "a hardware address",
    "card": "a card number",
    "iban": "a bank account",
    "id": "an identifier",
    "phone": "a phone number",
    "host": "a host",
}
_KINDS: Final = "|".join(get_args(Kind))
PSEUDONYM: Final = re.compile(rf"(?i)(?<![A-Za-z0-9])({_KINDS})-[0-9]{{1,6}}(?![A-Za-z0-9])")
# What a model says before a pseudonym and what would be said twice: "the user user-1".
_SAID: Final = re.compile(
    r"(?i)(?:\b(?:the\s|an?\s)?(?:user|account|ip|ip address|address|host|secret|identifier|e-?mail|e-?mail address"
    rf"|phone number|card number)\s)?(?<![A-Za-z0-9])(?P<name>(?P<kind>{_KINDS})-[0-9]{{1,6}})(?![A-Za-z0-9])"
)
_HOLE_OR_MARK: Final = re.compile(rf"<([0-9]{{1,3}})>|{MARKS.pattern}")
_SHORTEST_OTHER: Final = 6
_MOST_PHRASES: Final = 40


class Pseudonyms:
    """The pseudonyms of one request, given out in the order in which values are found."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """`texts` are the request's own: a pseudonym that stands in one of them by itself is not given out."""
        self._taken = {match.group().lower() for text in texts for match in PSEUDONYM.finditer(text)}
        self._given: dict[tuple[Kind, str], str] = {}
        self._counts: dict[Kind, int] = {}
        self._names: set[str] = set()
        self._by_value: dict[str, str] = {}
        self._phrases: list[re.Pattern[str]] = []

    def redact(self, lines: Sequence[str]) -> tuple[str, ...]:
        """Return the lines, cleaned and cut, with a pseudonym for each value, wherever in these lines it stands."""
        marked = [self._marked(_cut(line)) for line in lines]
        return tuple(map(self._again, marked))

    def _marked(self, line: str) -> str:
        return mark_personal(mark_secrets(line, self._give), self._give)

    def _give(self, value: str, kind: Kind) -> str:
        bare = value.strip("\"'`")
        # Marks of a template, and pseudonyms within a value, say nothing any more.
        if not MARKS.sub("", PSEUDONYM.sub(self._blank, bare)).replace(HOLE, "").strip():
            return value
        key = (kind, bare.casefold())
        if key not in self._given:
            self._given[key] = self._next(kind)
            self._names.add(self._given[key])
            self._remember(key[1], kind)
        at = value.find(bare)
        return value[:at] + self._given[key] + value[at + len(bare) :]

    def _remember(self, value: str, kind: Kind) -> None:
        shortest = SHORTEST_NAME if kind == "user" else _SHORTEST_OTHER
        if len(value) < shortest or PSEUDONYM.search(value) or value in self._by_value:
            return
        self._by_value[value] = self._given[kind, value]
        if not WORD.fullmatch(value):
            self._phrases.append(re.compile(rf"(?i)(?<!\w){re.escape(value)}(?!\w)"))

    def _blank(self, match: re.Match[str]) -> str:
        return "" if match.group() in self._names else match.group()

    def _next(self, kind: Kind) -> str:
        number = self._counts.get(kind, 0) + 1
        while f"{kind}-{number}" in self._taken:
            number += 1
        self._counts[kind] = number
        return f"{kind}-{number}"

    def _again(self, line: str) -> str:
        """Replace the values where nothing around them tells what they are: `alice` behind `user=alice`."""
        line = WORD.sub(lambda match: self._by_value.get(match.group().casefold(), match.group()), line)
        for phrase in self._phrases[:_MOST_PHRASES]:
            line = phrase.sub(lambda match: self._by_value[match.group().casefold()], line)
        return line


def _cut(line: str) -> str:
    if len(line) <= MAX_LINE_CHARACTERS:
        return clean(line)
    # The word at the cut is cut too, and half a secret is not known for one.
    return clean(line[:MAX_LINE_CHARACTERS]).rpartition(" ")[0] + " …"


def stand_ins(template: str, examples: Sequence[str]) -> dict[str, int]:
    """Tell which hole each pseudonym fills: the template has its holes numbered, `<1>`, the examples are redacted.

    A pseudonym that is only a part of a hole's value is not in the result; of two holes the first one counts.
    """
    pieces: list[str] = []
    holes: list[int] = []
    end = 0
    for match in _HOLE_OR_MARK.finditer(template):
        pieces.append(template[end : match.start()])
        holes.append(int(match[1] or 0))
        end = match.end()
    if not any(holes):
        return {}
    pattern = compile_extractor(HOLE.join([*pieces, template[end:]]))
    found: dict[str, int] = {}
    for example in examples:
        values = pattern.match(example.encode("utf-8", "replace"))
        if values is None:
            continue
        for hole, value in zip(holes, values.groups(), strict=True):
            text = value.decode("utf-8", "replace").strip("\"'<>()[]{},;: ")
            if hole and PSEUDONYM.fullmatch(text):
                found.setdefault(text.lower(), hole)
    return found


def without_pseudonyms(text: str, stands_for: Mapping[str, int], own: str = "") -> str:
    """Write `{number}` of the hole for each pseudonym that fills one, and what it is for any other.

    `own` is the template that was shown: what looks like a pseudonym and stands in it is a word of the log.
    """
    literal = {match.group().lower() for match in PSEUDONYM.finditer(own)}

    def replaced(match: re.Match[str]) -> str:
        name = match["name"].lower()
        if name in literal:
            return match.group()
        hole = stands_for.get(name)
        if hole:
            return match.group()[: match.start("name") - match.start()] + f"{{{hole}}}"
        return _WORDS[match["kind"].lower()]

    return _SAID.sub(replaced, text)
