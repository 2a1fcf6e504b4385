"""The times of a segment's lines as records have them: worked out for the whole segment, once for all its panes.

Invariant: what comes out is a function of the segment, however much of it is remembered. Never here: a record.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from enricher.core.timestamp import TimeContext, UserTime, line_times

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from enricher.core.block import Segment


class Times:
    """The times of lines, kept for segments with events of several windows: each of their panes needs them all.

    Until the last of the windows has had them, since windows are written one after the other; `max_bytes` bounds what
    is kept meanwhile. What comes out is a function of the segment. For one renderer at a time.
    """

    def __init__(self, *, max_bytes: int = 8 << 20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[tuple[object, ...], bytes] = {}

    def of(self, segment: Segment, starts: npt.NDArray[np.intp], *, window: int) -> bytes:
        """The time of each line of a segment, as it is written, each with a newline; `starts` are the lines'.

        `window` is the start of the one that needs them.
        """
        place = (segment.source, segment.identity, segment.path, segment.generation, segment.offset, len(segment.data))
        key = (*place, segment.read_at, segment.anchor, segment.fallback, segment.time_rule)
        text = self._known.pop(key, None)
        if text is None:
            text = _times_text(segment, starts)
            self._bytes += len(text)
        if window < max(segment.windows):
            self._known[key] = text  # as the one used last
        else:
            self._bytes -= len(text)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._known.pop(next(iter(self._known))))
        return text


def _times_text(segment: Segment, starts: npt.NDArray[np.intp]) -> bytes:
    zone, pattern = _time_rule(segment.time_rule)
    context = TimeContext(
        anchor=segment.anchor, fallback=segment.fallback, now=segment.read_at, zone=zone, pattern=pattern
    )
    return line_times(segment.data, context, starts)


@lru_cache(maxsize=256)
def _time_rule(text: str) -> tuple[str, UserTime | None]:
    rule = json.loads(text)
    pattern = rule.get("pattern")
    return rule.get("zone", "UTC"), UserTime.from_text(pattern["regex"], pattern["format"]) if pattern else None
