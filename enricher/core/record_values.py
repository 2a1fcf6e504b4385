"""The values of events, and bytes of a log as the inside of JSON strings.

An event costs one match with a pattern that knows its kind (`core.extract`); only what that does not fit is looked at
again, and exactly. Nothing is remembered from page to page: what comes out is a function of what goes in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.extract import compile_extractor, compile_quick, header_pattern, words_of_holes
from enricher.core.field_types import FieldType, all_fit, none_fits
from enricher.core.skeleton import message_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_VALUE_BYTES: Final = 1024
"""A value is cut here: its whole text is in `message`, and a long line must not be written four times."""

_C1_CONTROL: Final = re.compile(rb"\xc2([\x80-\x9f])")
_PRINTED: Final = bytes(byte for byte in range(256) if byte >= ord(" ") or byte == ord("\n"))

ALWAYS: Final = re.compile(b"")
"""The pattern of a kind of which no value is wanted."""

NO_VALUES: Final = re.compile(b"").match(b"")
"""The match of a line in which none are found."""

Values = tuple[bytes, ...]
Pick = Callable[[Values], Values]
"""Takes the values that are written, in their order, from those that were found."""

Others = Callable[[], "list[re.Pattern[bytes]]"]
"""Gives the patterns that `Finder.others` has made for a page, if they are needed."""


class Finder:
    """Finds the values of events of one kind in their first lines.

    `template` is the kind's, `groups` say which hole each value is, `blanks` what the lines hold of white space
    (`compile_quick`), `examples` are lines of the kind, its first one before all: its header is the one that is tried.
    Which lines those are changes no value, so that a finder may go on to another page, and holds nothing of any.
    `types`, beside the groups, are those of the fields that the values are for.
    """

    def __init__(
        self,
        template: str,
        groups: tuple[int, ...],
        *,
        blanks: bytes,
        examples: Sequence[bytes],
        types: tuple[FieldType, ...] = (),
    ) -> None:
        self._template = template
        self._wanted = frozenset(groups)
        self._blanks = blanks
        self._again: Callable[[], re.Pattern[bytes]] | None = None
        """Makes the pattern for lines that `pattern` does not fit since it knows the types, or the words of values."""
        typed = zip(groups, types, strict=True) if types else ()
        self._types = tuple(dict.fromkeys((group, kind) for group, kind in typed if kind is not FieldType.STRING))
        self.pattern = ALWAYS
        """Fits most lines, each whole."""
        self.is_sure = not self._types
        """Whether every value that `pattern` finds is written as its type is in JSON, but those of `strangers`."""
        self.strangers: frozenset[int] = frozenset()
        """Groups whose values, as `pattern` finds them, are never of their types."""
        if groups:
            self._choose(examples)
        captured = sorted(self._wanted)
        is_ordered = groups == tuple(captured)
        self.pick: Pick = tuple if is_ordered else itemgetter(*(captured.index(group) for group in groups))

    def would_do(self, blanks: bytes, first: bytes | None) -> bool:
        """Whether another page's lines can be looked at with the same pattern, as its first one may show."""
        return self._blanks == blanks and (first is None or self.pattern.match(first) is not None)

    def search(self, line: bytes, others: Others) -> re.Match[bytes] | None:
        """Look again at a line that `pattern` does not fit, with other patterns that were made for its page."""
        # Most often a value is not of its type: the header is the one that is known.
        if self._again is not None and (match := self._again().match(line)):
            return match
        for pattern in others():
            if match := pattern.match(line):
                return match
        return compile_extractor(self._template, self._wanted).match(line[message_start(line) :])

    def others(self, probes: Iterable[bytes]) -> list[re.Pattern[bytes]]:
        """Patterns for lines with headers such as these lines have."""
        patterns = dict.fromkeys(self._quick(line) for line in probes)
        return [pattern for pattern in patterns if pattern is not self.pattern]

    def _choose(self, examples: Sequence[bytes]) -> None:
        """Take the fastest pattern that fits the first line; one that is sure of the types, if any is."""
        first = examples[0]
        # To compile a pattern costs as much as to match a thousand lines: first what fits most often.
        words = words_of_holes(self._template, examples)
        if self._types or any(words):
            self.pattern, self.is_sure = self._quick(first, single=True, words=words, types=self._types), True
            if self.pattern.match(first):
                self._again = partial(self._quick, first, single=True)
                return
        for single in (True, False):
            self.pattern, self.is_sure = self._quick(first, single=single), not self._types
            match = self.pattern.match(first)
            if match is not None:
                if self._types:
                    self._again = partial(self._quick, first, single=single)
                    self._be_sure(first, match, single=single)
                return

    def _be_sure(self, first: bytes, match: re.Match[bytes], *, single: bool) -> None:
        """Take a pattern that knows what the values of this line are, where each is clearly of its type or not."""
        values = dict(zip(sorted(self._wanted), match.groups(), strict=True))
        strangers = frozenset(group for group, kind in self._types if none_fits([values[group]], kind))
        if all(group in strangers or all_fit([values[group]], kind) for group, kind in self._types):
            sure = self._quick(first, single=single, types=self._types, strangers=strangers)
            if sure.match(first):
                self.pattern, self.is_sure, self.strangers = sure, True, strangers

    def _quick(
        self,
        line: bytes,
        *,
        single: bool = False,
        words: tuple[int, ...] = (),
        types: tuple[tuple[int, FieldType], ...] = (),
        strangers: frozenset[int] = frozenset(),
    ) -> re.Pattern[bytes]:
        header = header_pattern(line, self._blanks, single=single)
        return compile_quick(
            self._template,
            header=header,
            blanks=self._blanks,
            wanted=self._wanted,
            single=single,
            words=words,
            types=types,
            strangers=strangers,
        )


def escape_values(values: Sequence[Values]) -> Sequence[Values]:
    """Values as the insides of JSON strings, each cut to a bounded length."""
    flat = list(chain.from_iterable(values))
    if not flat:
        return values
    cut = list(map(_cut, flat)) if max(map(len, flat)) > MAX_VALUE_BYTES else flat
    text = b"\n".join(cut)
    escaped = escape(text)
    if cut is flat and escaped == text:
        return values
    rest = iter(escaped.split(b"\n"))
    return [tuple(islice(rest, len(one))) for one in values]


def _cut(value: bytes) -> bytes:
    if len(value) <= MAX_VALUE_BYTES:
        return value
    end = MAX_VALUE_BYTES
    while end > MAX_VALUE_BYTES - 3 and value[end] & 0xC0 == 0x80:  # never inside a character
        end -= 1
    return value[:end] + "…".encode()


def escape(data: bytes) -> bytes:
    r"""The inside of JSON strings of many lines at once; newlines stay, so that line n stays line n.

    Bytes that are no UTF-8 become `\xNN` as text; every control character, C1 ones too, becomes an escape.
    """
    if not data.isascii():
        data = data.decode("utf-8", "backslashreplace").encode()
    data = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    text = np.frombuffer(data, dtype=np.uint8)
    if np.count_nonzero(text < ord(" ")) > np.count_nonzero(text == ord("\n")):
        for control in set(data.translate(None, _PRINTED)):
            data = data.replace(bytes((control,)), b"\\u%04x" % control)
    data = data.replace(b"\x7f", b"\\u007f")
    if b"\xc2" in data:
        data = _C1_CONTROL.sub(lambda match: b"\\u%04x" % match[1][0], data)
    return data
