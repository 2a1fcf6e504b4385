"""The kinds of events with lines behind their first one: the first line's shape, told apart by the trace.

Invariant: a kind is a function of the first line and of the lines behind it alone (`core.trace`); the memo never
changes it, so that it is bounded by forgetting everything. Must never: cost blocks without such events anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core import trace
from enricher.core.block import CONTINUES, SKIPPED
from enricher.core.collapse import collapse
from enricher.core.multiline.journal import record_shape
from enricher.core.skeleton import TRACE_FORMAT, shape_of
from enricher.core.timestamp_columns import line_starts

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from enricher.core.multiline.lines import Lines
    from enricher.core.skeleton import Shape

_MEMO_EVENTS: Final = 100_000


class Traces:
    """Remembers which traces of a source are of which kind."""

    def __init__(self) -> None:
        self._memo: dict[tuple[int, bytes], int] = {}

    def name(self, lines: Lines, shapes: npt.NDArray[np.uint32], intern: Callable[[list[Shape]], list[int]]) -> None:
        """Put the shape of the whole event in the place of its first line's, in `shapes`.

        `intern` is called at most once, and only for events that were not seen before in this form.
        """
        begins, ends = _events(shapes)
        if not begins.size:
            return
        keys = self._keys(lines, shapes, begins, ends)
        fresh = {key: at for at, key in enumerate(keys) if key not in self._memo}
        if fresh:
            if len(self._memo) + len(fresh) > _MEMO_EVENTS:
                self._memo.clear()
                fresh = {key: at for at, key in enumerate(keys)}
            self._learn(lines, begins, ends, fresh, intern)
        shapes[begins] = [self._memo[key] for key in keys]

    def _keys(
        self,
        lines: Lines,
        shapes: npt.NDArray[np.uint32],
        begins: npt.NDArray[np.intp],
        ends: npt.NDArray[np.intp],
    ) -> list[tuple[int, bytes]]:
        """What the memo knows each event by: its first line's shape, the class that names, and a hash of the rest."""
        data, starts = lines.data, lines.starts
        rests = [
            data[starts[begin + 1] : starts[end]] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]
        collapsed = collapse(b"".join(rests))
        cuts = line_starts(collapsed)[np.concatenate(([0], np.cumsum(ends - begins - 1)))].tolist()
        keys = []
        for begin, rest, cut, end in zip(begins.tolist(), rests, cuts, cuts[1:], strict=False):
            about = f"{trace.class_of(lines[begin])} {trace.codes(rest)} ".encode()
            digest = hashlib.blake2b(about + collapsed[cut:end], digest_size=16).digest()
            keys.append((int(shapes[begin]), digest))
        return keys

    def _learn(
        self,
        lines: Lines,
        begins: npt.NDArray[np.intp],
        ends: npt.NDArray[np.intp],
        fresh: dict[tuple[int, bytes], int],
        intern: Callable[[list[Shape]], list[int]],
    ) -> None:
        made: dict[tuple[int, bytes], Shape] = {}
        for key, at in fresh.items():
            begin = int(begins[at])
            shape = kind_of(lines[begin], lines.data[lines.starts[begin + 1] : lines.starts[ends[at]]])
            if shape is None:
                self._memo[key] = key[0]
            else:
                made[key] = shape
        if made:
            distinct = list(dict.fromkeys(made.values()))
            rows = dict(zip(distinct, intern(distinct), strict=True))
            self._memo.update((key, rows[shape]) for key, shape in made.items())


def kind_of(first: bytes, rest: bytes) -> Shape | None:
    """The shape of an event by its first line and the lines behind it; None where that is the first line's own."""
    record = record_shape(first, rest)
    if record is not None:
        return record
    text = " ".join(filter(None, (trace.describe(first, collapse(rest)), trace.codes(rest))))
    if not text:
        return None
    shape = shape_of(first)
    name = hashlib.sha256(f"{shape.format}\0{text}".encode()).hexdigest()[:16]
    # The name is a part of the format, so that shapes are merged only where their traces are the same.
    return replace(shape, format=f"{TRACE_FORMAT}{name}", skeleton=f"{shape.skeleton}\0 {text}")


def _events(shapes: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The first lines of the events of several lines that are wanted, and where each event ends."""
    edges = np.flatnonzero(np.diff(shapes == CONTINUES, prepend=False, append=False))
    begins, ends = edges[::2] - 1, edges[1::2]
    wanted = (begins >= 0) & (shapes[np.maximum(begins, 0)] != SKIPPED)
    return begins[wanted], ends[wanted]
