"""Event and answer to output record: NDJSON, one flat object per event (DESIGN section 7), a page at a time.

Rendering is a pure function of the spooled segment, the round's outcomes and the sink's `min_severity`: the same call
gives the same bytes, whenever it is made. Every line that comes out is one valid JSON object whatever bytes went in.
Work that C does for megabytes is done for the whole segment (times, escapes, line starts); what is constant in the
records of a kind is in its form (`core.record_form`); an event costs its id, one match, one format.

Never here: a decision about what is written, or a whole pane in memory.
"""

from __future__ import annotations

import json
from binascii import hexlify
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import repeat
from operator import add, itemgetter, mod
from typing import TYPE_CHECKING, Final, TypeVar, cast

import numpy as np

from enricher.core.block import CONTINUES
from enricher.core.record_form import Form, Scalar, is_below, literal, make_form, quoted
from enricher.core.record_values import MAX_VALUE_BYTES, Values, escape, escape_values, find_starts, find_values
from enricher.core.timestamp import TimeContext, UserTime, line_times

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from enricher.core.block import Segment, SpooledSegment
    from enricher.core.ledger import Outcome

_CUT: Final = b',"log.flags":["truncated"]}\n'


_FITTED_EVENTS: Final = 65_536
"""Events that are matched at once, chunk after chunk: bounds the values in memory where lines are short."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Records of a run of events, and the books of it."""

    data: bytes
    events: int
    """Written."""
    lines: int
    """Lines of the written events."""
    filtered: int
    """Events that `min_severity` left out."""
    statuses: Mapping[str, int]
    """Events by status, those left out too."""


class Renderer:
    """Renders the events of one round of one pane for one sink.

    `levels` maps shape row ids to (level, severity number) as logged; `fields` holds the static fields by source id;
    `quality` the caution of a task by its hash; `times` what other renderers of the same segments have found.
    """

    def __init__(
        self,
        *,
        host: str,
        window: str,
        start: int,
        pane: int,
        outcomes: Sequence[Outcome],
        levels: Mapping[int, tuple[str, int]],
        fields: Mapping[str, Mapping[str, Scalar]],
        quality: Mapping[str, str],
        min_severity: str,
        times: Times | None = None,
    ) -> None:
        self.host = host
        self.outcomes = {outcome.shape: outcome for outcome in outcomes}
        self.shapes = np.array(sorted(self.outcomes), dtype=np.uint32)
        below = [outcome.shape for outcome in outcomes if is_below(outcome, min_severity)]
        self.below = np.array(sorted(below), dtype=np.uint32)
        self._window = window
        self._start = start
        self._pane = pane
        self._levels = levels
        self._fields = fields
        self._quality = quality
        self._forms: dict[tuple[str, int], Form] = {}
        self.times = times or Times()

    def open(self, spooled: SpooledSegment) -> Page:
        """The events of a segment that are of this pane and this round."""
        return Page(self, spooled.segment, self._picked(spooled))

    def form(self, source: str, shape: int) -> Form:
        """The form of a shape's events from a source, made when first needed."""
        form = self._forms.get((source, shape))
        if form is None:
            form = self._forms[source, shape] = make_form(
                self.outcomes[shape],
                window=self._window,
                pane=self._pane,
                level=self._levels.get(shape),
                fields=self._fields.get(source, {}),
                quality=self._quality,
            )
        return form

    def _picked(self, spooled: SpooledSegment) -> npt.NDArray[np.intp]:
        segment = spooled.segment
        ours = [
            index
            for index, (start, pane) in enumerate(zip(segment.windows, spooled.panes, strict=True))
            if start == self._start and pane == self._pane
        ]
        # Shape row ids begin at 1 and end below CONTINUES: the round's shapes hold neither of the two marks.
        picked = np.isin(segment.shapes, self.shapes)
        if segment.window_index is None:
            picked &= 0 in ours
        else:
            picked &= np.isin(segment.window_index, np.array(ours, dtype=segment.window_index.dtype))
        return np.flatnonzero(picked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """What a run of a page's events is written with: beside each the format of its record, and its values."""

    first: int
    formats: list[bytes]
    """Each takes the time, the id, the offset, the message, then the values."""
    values: list[Values]

    def at(self, ordinals: npt.NDArray[np.intp]) -> tuple[list[bytes], list[Values]]:
        places = ordinals - self.first
        return _at(self.formats, places), _at(self.values, places)


class Page:
    """The events of one segment that a renderer writes, in the segment's order; nothing is worked out unasked."""

    def __init__(self, renderer: Renderer, segment: Segment, picked: npt.NDArray[np.intp]) -> None:
        self._renderer = renderer
        self._segment = segment
        self._picked = picked
        self._last_fitted: _Fitted | None = None
        self.events = len(picked)

    def render(self, first: int, count: int) -> Rendered:
        """Records of the events with ordinals `first` up to `first + count` of this page."""
        places = np.arange(first, min(first + count, self.events))
        shapes = self._segment.shapes[self._picked[places]]
        below = self._renderer.below
        written = places[np.isin(shapes, below, invert=True)] if len(below) else places
        rows = self._picked[written]
        ends = self._ends[np.searchsorted(self._breaks, rows)]
        return Rendered(
            data=self._records(rows, ends, *self._fitted(first, len(places)).at(written)) if len(rows) else b"",
            events=len(rows),
            lines=int((ends - rows).sum()),
            filtered=len(places) - len(rows),
            statuses=self._statuses(shapes),
        )

    def _records(
        self, rows: npt.NDArray[np.intp], ends: npt.NDArray[np.intp], formats: list[bytes], values: list[Values]
    ) -> bytes:
        """The records of the events that begin at `rows`, each with its format and what stands behind its message."""
        segment = self._segment
        wholes, messages = _at(self._lines, rows), _at(self._escaped, rows)
        for place in np.flatnonzero(ends > rows + 1).tolist():
            first, end = int(rows[place]), int(ends[place])
            wholes[place] = b"\n".join(self._lines[first:end])
            messages[place] = b"\\n".join(self._escaped[first:end])
        offsets = _texts((self._starts[rows] + segment.offset).tolist())
        ids = _event_ids(segment.identity, offsets, wholes)
        heads = zip(_at(self._times, rows), ids, offsets, messages, strict=True)
        data = b"".join(map(mod, formats, map(add, heads, values)))
        is_cut = segment.lost_bytes and int(ends[-1]) == len(self._lines)
        return data.removesuffix(b"}\n") + _CUT if is_cut else data

    def _fitted(self, first: int, count: int) -> _Fitted:
        """The run of events that holds these: fitted far ahead, since each kind in a run has a cost of its own."""
        fitted = self._last_fitted
        if fitted is None or first < fitted.first or first + count > fitted.first + len(fitted.values):
            fitted = self._last_fitted = self._fit(first, min(max(count, _FITTED_EVENTS), self.events - first))
        return fitted

    def _fit(self, first: int, count: int) -> _Fitted:
        rows = self._picked[first : first + count]
        starts = self._message_starts[first : first + count]
        formats: list[bytes] = []
        values: list[Values] = []
        order = []
        for shape, places in _kinds(self._segment.shapes[rows]):
            form = self._renderer.form(self._segment.source, shape)
            order.append(places)
            if form.pattern is None:
                formats += repeat(self._head + literal(form.plain), len(places))
                values += repeat((), len(places))
            else:
                found = find_values(form.pattern, _at(self._lines, rows[places]), starts[places].tolist())
                self._fill(form, found, formats, values)
        if len(order) > 1:  # back from kind by kind to the order of the events
            back = np.argsort(np.concatenate(order)).tolist()
            formats, values = list(map(formats.__getitem__, back)), list(map(values.__getitem__, back))
        return _Fitted(first=first, formats=formats, values=values)

    def _fill(self, form: Form, found: list[Values | None], formats: list[bytes], values: list[Values]) -> None:
        """Add the formats of events of one kind, and what is to stand in each behind its message."""
        whole = self._head + form.format
        if None in found:
            plain = self._head + literal(form.plain)
            formats += [plain if one is None else whole for one in found]
            values += [() if one is None else self._written(form, [one])[0] for one in found]
        else:
            formats += repeat(whole, len(found))
            values += self._written(form, cast("list[Values]", found))

    def _written(self, form: Form, found: list[Values]) -> list[Values]:
        """The values of events of one kind as they are written: in the form's order, escaped, not too long."""
        if self._escaped is not self._lines or self._has_long_lines:
            found = list(zip(*map(escape_values, zip(*found, strict=True)), strict=True))
        if form.groups == tuple(range(1, len(found[0]) + 1)):
            return found
        if len(form.groups) == 1:
            (group,) = form.groups
            return [(one[group - 1],) for one in found]
        return list(map(itemgetter(*(group - 1 for group in form.groups)), found))

    def _statuses(self, shapes: npt.NDArray[np.uint32]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for shape, number in zip(*(one.tolist() for one in np.unique(shapes, return_counts=True)), strict=True):
            status = self._renderer.outcomes[shape].status
            counts[status] = counts.get(status, 0) + number
        return counts

    # ------------------------------------------------------------ of the whole segment, once

    @cached_property
    def _lines(self) -> list[bytes]:
        return self._segment.data.removesuffix(b"\n").split(b"\n")

    @cached_property
    def _escaped(self) -> list[bytes]:
        data = self._segment.data
        escaped = escape(data)
        return self._lines if escaped == data else escaped.removesuffix(b"\n").split(b"\n")

    @cached_property
    def _has_long_lines(self) -> bool:
        return max(map(len, self._lines)) > MAX_VALUE_BYTES

    @cached_property
    def _message_starts(self) -> npt.NDArray[np.uint32]:
        """Beside the page's events: where the message begins in the first line, 0 where nothing asks."""
        starts = np.zeros(self.events, dtype=np.uint32)
        for shape, places in _kinds(self._segment.shapes[self._picked]):
            form = self._renderer.form(self._segment.source, shape)
            if form.pattern is not None:
                rows = self._picked[places]
                starts[places] = find_starts(_at(self._lines, rows), anywhere=form.anywhere)
        return starts

    @cached_property
    def _starts(self) -> npt.NDArray[np.intp]:
        newlines = np.flatnonzero(np.frombuffer(self._segment.data, dtype=np.uint8) == ord("\n"))
        return np.concatenate((np.zeros(1, dtype=np.intp), newlines[: len(self._segment.shapes) - 1] + 1))

    @cached_property
    def _breaks(self) -> npt.NDArray[np.intp]:
        """Lines that continue nothing."""
        return np.flatnonzero(self._segment.shapes != CONTINUES)

    @cached_property
    def _ends(self) -> npt.NDArray[np.intp]:
        """Beside `_breaks`: one past the last line of what begins there."""
        return np.append(self._breaks[1:], len(self._segment.shapes))

    @cached_property
    def _times(self) -> list[bytes]:
        return self._renderer.times.of(self._segment, self._lines)

    @cached_property
    def _head(self) -> bytes:
        """Format of what stands before the end of the message: the time, the id, the offset and the message."""
        host = literal(quoted(self._renderer.host))
        path = literal(quoted(self._segment.path.decode("utf-8", "backslashreplace")))
        place = b',"host.name":' + host + b',"log.file.path":' + path + b',"log.offset":%b'
        return b'{"@timestamp":"%b","event.id":"%b"' + place + b',"message":"%b'


class Times:
    """The times of lines, kept for segments with events of several windows: each of their panes needs them all.

    What comes out is a function of the segment; `max_bytes` bounds what is kept. For one renderer at a time.
    """

    def __init__(self, *, max_bytes: int = 8 << 20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[tuple[object, ...], bytes] = {}

    def of(self, segment: Segment, lines: list[bytes]) -> list[bytes]:
        """The time of each line of a segment, as it is written."""
        place = (segment.source, segment.identity, segment.path, segment.generation, segment.offset, len(segment.data))
        key = (*place, segment.read_at, segment.anchor, segment.fallback, segment.time_rule)
        text = self._known.pop(key, None)
        if text is None:
            text = _times_text(segment, lines)
            self._bytes += len(text)
        if len(segment.windows) > 1:
            self._known[key] = text  # as the one used last
        else:
            self._bytes -= len(text)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._known.pop(next(iter(self._known))))
        return text.split(b"\n")


def _times_text(segment: Segment, lines: list[bytes]) -> bytes:
    zone, pattern = _time_rule(segment.time_rule)
    context = TimeContext(
        anchor=segment.anchor, fallback=segment.fallback, now=segment.read_at, zone=zone, pattern=pattern
    )
    return "\n".join(line_times(lines, context)).encode()


def _event_ids(identity: str, offsets: Sequence[bytes], events: Sequence[bytes]) -> list[bytes]:
    """What `core.event_id.event_id` gives, for many events of a file at half the cost: a hash begun is copied."""
    begun = blake2b(identity.encode("ascii") + b"\0", digest_size=16)
    digests = []
    for text in map(b"%b\0%b".__mod__, zip(offsets, events, strict=True)):
        one = begun.copy()
        one.update(text)
        digests.append(one.digest())
    digits = hexlify(b"".join(digests))
    return [digits[at : at + 32] for at in range(0, len(digits), 32)]


def _texts(values: Sequence[int]) -> list[bytes]:
    """Numbers as text."""
    return "\n".join(map(str, values)).encode().split(b"\n")


def _kinds(shapes: npt.NDArray[np.uint32]) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Each distinct shape with the places where it stands, in order."""
    order = np.argsort(shapes, kind="stable")
    sorted_shapes = shapes[order]
    edges = np.flatnonzero(sorted_shapes[1:] != sorted_shapes[:-1]) + 1
    if len(order):
        for places in np.split(order, edges):
            yield int(shapes[places[0]]), places


def _at(items: list[_Item], rows: npt.NDArray[np.intp]) -> list[_Item]:
    """The items at these places, which ascend."""
    if not len(rows):
        return []
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return items[first : last + 1]
    return list(itemgetter(*rows.tolist())(items))


@lru_cache(maxsize=256)
def _time_rule(text: str) -> tuple[str, UserTime | None]:
    rule = json.loads(text)
    pattern = rule.get("pattern")
    return rule.get("zone", "UTC"), UserTime.from_text(pattern["regex"], pattern["format"]) if pattern else None
