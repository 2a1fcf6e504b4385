"""Rows of an input made into a chunk: what is asked about each, and which rows are not asked about.

Invariants: the texts of a row are a function of the task and the row alone, so that the line of an item can be made
again at any time; every row is in the chunk, with at least one item or a fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.batch import MAX_REQUEST_TOKENS
from enricher.core.records.ledger import MAX_PASSAGES, Chunk, Fault, Index
from enricher.core.records.passages import split
from enricher.core.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from enricher.core.records.item import Asking
    from enricher.core.records.task import RecordTask
    from enricher.core.tokens import Counter

_SAMPLED_ROWS: Final = 16
_SAMPLED_CHARACTERS: Final = 4_000
_MARGIN_TOKENS: Final = 1_000
_MARGIN: Final = 1.1


class Chunker:
    """Makes chunks of one run, and learns meanwhile how many tokens a byte of its texts is."""

    def __init__(self, asking: Asking, count: Counter = estimate_tokens) -> None:
        self._asking = asking
        self._task = asking.task
        self._count = count
        self._room = MAX_REQUEST_TOKENS - count(asking.constant_text) - _MARGIN_TOKENS
        self._sampled_bytes = 0
        self._sampled_tokens = 0

    @property
    def tokens_per_byte(self) -> float:
        """Tokens of a byte of text, from above, by a sample; one for each byte while nothing was sampled."""
        return min(1.0, _MARGIN * self._sampled_tokens / self._sampled_bytes) if self._sampled_bytes else 1.0

    def chunk(
        self,
        number: int,
        keys: Sequence[str],
        values: Sequence[Mapping[str, object]],
        given_faults: Mapping[int, Fault],
    ) -> Chunk:
        """Make a chunk of some rows, of which some are not to be asked about already. For a worker thread."""
        faults: dict[int, Fault] = dict(given_faults)
        counts = np.zeros(len(keys), dtype=np.uint16)
        items: list[int] = []
        sizes: list[int] = []
        task, count, item, encoded = self._task, self._count, self._asking.item, self._asking.encoded
        for at, row in enumerate(values):
            if at in faults:
                continue
            texts = texts_of(task, row, count)
            if not texts:
                faults[at] = ("empty", "there is no text in it")
                continue
            if (fault := self._too_long(texts)) is not None:
                faults[at] = fault
                continue
            counts[at] = len(texts)
            for text in texts:
                items.append(item(text))
                sizes.append(len(encoded(text)))
        self._sample(values)
        index = Index(counts=counts, items=np.array(items, dtype=np.int64), sizes=np.array(sizes, dtype=np.uint32))
        return Chunk(number=number, keys=keys, values=values, faults=faults, index=index)

    def _too_long(self, texts: Sequence[str]) -> Fault | None:
        if len(texts) > MAX_PASSAGES:
            return "too_long", f"it has more than {MAX_PASSAGES} passages"
        longest = max(texts, key=len)
        # No token is shorter than a byte, no character longer than four.
        if len(longest) * 4 <= self._room or (tokens := self._count(longest)) <= self._room:
            return None
        return "too_long", f"about {tokens:,} tokens, of at most {self._room:,}: let the task cut it ([long])"

    def _sample(self, values: Sequence[Mapping[str, object]]) -> None:
        for row in values[:: max(1, len(values) // _SAMPLED_ROWS)]:
            text = self._task.user.render(row)[:_SAMPLED_CHARACTERS]
            self._sampled_bytes += len(text.encode("utf-8", "surrogatepass"))
            self._sampled_tokens += self._count(text)


def texts_of(task: RecordTask, row: Mapping[str, object], count: Counter = estimate_tokens) -> Sequence[str]:
    """Return what is asked about a row: one text, or one for each passage of a long column; () for one without text."""
    long = task.long
    value = row.get(long.column) if long is not None else None
    if long is None or not isinstance(value, str) or _fits(value, long.max_tokens, count):
        if not any(row.get(name) not in (None, "") for name in task.columns):
            return ()
        return (task.user.render(row),)
    passages = split(value, max_tokens=long.max_tokens, overlap_tokens=long.overlap_tokens, count=count)
    return tuple(task.user.render({**row, long.column: passage.text}) for passage in passages)


def _fits(text: str, max_tokens: int, count: Counter) -> bool:
    return (
        len(text) * 4 <= max_tokens
        or len(text.encode("utf-8", "surrogatepass")) <= max_tokens
        or (count(text) <= max_tokens)
    )
