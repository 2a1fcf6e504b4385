"""Event and answer to output record: NDJSON, one flat object per event (DESIGN section 7), a page at a time.

Rendering is a pure function of the spooled segment, the round's outcomes and the sink's `min_severity`: the same call
gives the same bytes, whenever it is made. Every line that comes out is one valid JSON object whatever bytes went in.
Work that C does for megabytes is done for the whole segment (times, escapes, line starts); what is constant in the
records of a kind is in its form (`core.record_form`); an event costs its id, one match, one format.

Never here: a decision about what is written, or a whole pane in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from operator import call, concat, itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np

from enricher.core.block import CONTINUES
from enricher.core.extract import ANY_BLANK, ONLY_SPACES
from enricher.core.multiline.journal import is_record
from enricher.core.record_form import is_below, quoted
from enricher.core.record_heads import Heads
from enricher.core.record_kinds import Kinds, KnownKinds
from enricher.core.record_times import Times
from enricher.core.record_values import MAX_VALUE_BYTES, NO_VALUES, Finder, Values, escape, escape_values
from enricher.core.structured.reading import PREFIX, Reader, reader_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from enricher.core.block import Segment, SpooledSegment
    from enricher.core.ledger import Outcome
    from enricher.core.record_form import Form, Scalar

_CUT: Final = b',"log.flags":["truncated"]}\n'
_PROBES: Final = 16
"""Lines of a kind whose headers are tried on those that its first line is no example of."""

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
    `quality` the caution of a task by its hash; `times` and `known` what renderers before this one have found.
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
        known: KnownKinds | None = None,
    ) -> None:
        self.host = host
        self.outcomes = {outcome.shape: outcome for outcome in outcomes}
        self.shapes = np.array(sorted(self.outcomes), dtype=np.uint32)
        self.ordinals = np.zeros(max(self.outcomes, default=0) + 1, dtype=np.intp)
        """By shape row id: where the shape stands in `shapes`. Row ids count up from 1, so that the table is small."""
        self.ordinals[self.shapes] = np.arange(len(self.shapes))
        # The marks are 0 and the highest number: what lies behind our ids is taken for the last place, none of ours.
        self._is_ours = np.zeros(len(self.ordinals) + 1, dtype=bool)
        self._is_ours[self.shapes] = True
        decided = [self.outcomes[shape] for shape in self.shapes.tolist()]
        self.statuses = list(dict.fromkeys(outcome.status for outcome in decided))
        self.status_numbers = np.array([self.statuses.index(outcome.status) for outcome in decided], dtype=np.intp)
        """Beside `shapes`: which of `statuses` they have."""
        self.left_out = np.array([is_below(outcome, min_severity) for outcome in decided], dtype=bool)
        """Beside `shapes`: whether `min_severity` leaves such events out."""
        self.fields = b',"enrichment.window":%b,"enrichment.pane":%d' % (quoted(window), pane)
        """Those that all records have, each with a comma before it."""
        self.start = start
        self._pane = pane
        self._levels = levels
        self._fields = fields
        self._quality = quality
        self._forms: dict[tuple[str, int], Form] = {}
        self.times = times or Times()
        self.known = known or KnownKinds()
        self.known.forget_others(self.outcomes)

    def open(self, spooled: SpooledSegment) -> Page:
        """The events of a segment that are of this pane and this round."""
        return Page(self, spooled.segment, self._picked(spooled))

    def form(self, source: str, shape: int) -> Form:
        """The form of a shape's events from a source, made when first needed."""
        form = self._forms.get((source, shape))
        if form is None:
            outcome, level, fields = self.outcomes[shape], self._levels.get(shape), self._fields.get(source, {})
            form = self.known.form(source, outcome, level=level, fields=fields, quality=self._quality)
            self._forms[source, shape] = form
        return form

    def reader(self, form: Form, source: str, shape: int, first: bytes) -> Reader | None:
        """A reader for a kind whose first line of a page is structured."""
        taken = [key for key in self._fields.get(source, {}) if key.startswith(PREFIX)]
        return reader_for(first, form.template, form.groups, has_level=shape in self._levels, taken=taken)

    def _picked(self, spooled: SpooledSegment) -> npt.NDArray[np.intp]:
        segment = spooled.segment
        ours = [
            index
            for index, (start, pane) in enumerate(zip(segment.windows, spooled.panes, strict=True))
            if start == self.start and pane == self._pane
        ]
        picked = self._is_ours.take(segment.shapes, mode="clip")
        if segment.window_index is None:
            picked &= 0 in ours
        else:
            picked &= np.isin(segment.window_index, np.array(ours, dtype=segment.window_index.dtype))
        return np.flatnonzero(picked)


class Page:
    """The events of one segment that a renderer writes, in the segment's order; nothing is worked out unasked."""

    def __init__(self, renderer: Renderer, segment: Segment, picked: npt.NDArray[np.intp]) -> None:
        self._renderer = renderer
        self._segment = segment
        self._picked = picked
        self.events = len(picked)

    def render(self, first: int, count: int) -> Rendered:
        """Records of the events with ordinals `first` up to `first + count` of this page."""
        places = np.arange(first, min(first + count, self.events))
        ordinals = self._ordinals[places]
        written = places[~self._renderer.left_out[ordinals]]
        rows = self._picked[written]
        ends = self._ends[np.searchsorted(self._breaks, rows)]
        return Rendered(
            data=self._records(rows, ends) if len(rows) else b"",
            events=len(rows),
            lines=int((ends - rows).sum()),
            filtered=len(places) - len(rows),
            statuses=self._statuses(ordinals),
        )

    def _records(self, rows: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]) -> bytes:
        """The records of the events that begin at `rows`, each on a line."""
        segment = self._segment
        first, end = int(rows[0]), int(ends[-1])
        data = segment.data[self._starts[first] : self._starts[end]]
        lines = data.removesuffix(b"\n").split(b"\n")
        escaped = escape(data)
        escaped_lines = lines if escaped == data else escaped.removesuffix(b"\n").split(b"\n")
        places = rows - first
        firsts = events = _at(lines, places)
        messages = _at(escaped_lines, places)
        if len(lines) > len(rows):
            events, messages = _joined(lines, escaped_lines, places, ends - first)
        starts = self._starts[rows] + segment.offset
        is_plain = escaped_lines is lines and not self._has_long_lines
        shapes = segment.shapes[rows].tolist()
        formats, values = self._filled(shapes, firsts, is_plain=is_plain)
        if self._kinds.readers:
            values = self._read(shapes, firsts, events, messages, formats, values)
        heads = self._heads.of(self._times_of(first, int(rows[-1])), places, starts, events)
        # One format for all, which takes two thirds of the time of one for each.
        given = chain.from_iterable(map(concat, zip(heads, messages, strict=True), values))
        records = b"".join(formats) % tuple(given)
        is_cut = segment.lost_bytes and end == len(segment.shapes)
        return records.removesuffix(b"}\n") + _CUT if is_cut else records

    def _filled(self, shapes: list[int], lines: list[bytes], *, is_plain: bool) -> tuple[list[bytes], Sequence[Values]]:
        """The format of each event, and what is to stand in it behind the message: as it is where `is_plain`."""
        kinds = self._kinds
        of_shapes = _getter(shapes)
        matches = list(map(re.Pattern.match, of_shapes(kinds.patterns), lines))
        formats, picks = list(of_shapes(kinds.formats)), list(of_shapes(kinds.picks))
        unsure = {at for at, shape in enumerate(shapes) if shape in kinds.unsure} if kinds.unsure else set()
        if not all(matches):
            missed = [at for at, match in enumerate(matches) if match is None]
            unsure.update(missed)
            for at in missed:
                matches[at] = self._search(shapes[at], lines[at])
                if matches[at] is None:
                    formats[at], picks[at], matches[at] = kinds.plain[shapes[at]], tuple, NO_VALUES
                else:
                    formats[at] = kinds.typed_formats[shapes[at]]
        values = list(map(call, picks, map(re.Match.groups, cast("list[re.Match[bytes]]", matches))))
        if unsure:
            kinds.typed.fit(sorted(unsure), shapes, formats, values)
        return formats, values if is_plain else escape_values(values)

    def _read(
        self,
        shapes: list[int],
        lines: list[bytes],
        events: list[bytes],
        messages: list[bytes],
        formats: list[bytes],
        filled: Sequence[Values],
    ) -> Sequence[Values]:
        """Put in the messages and formats of structured events what they hold, and give the values of all."""
        kinds = self._kinds
        values = list(filled)
        fields: dict[int, bytes] = {}
        for at, shape in enumerate(shapes):
            reader = kinds.readers.get(shape)
            if reader is None:
                continue
            line = events[at] if is_record(lines[at]) else lines[at]
            reading = reader.read(line)
            if reading is None:  # text among lines that wrap such text
                match = self._search(shape, lines[at])
                found = None if match is None else kinds.finders[shape].pick(match.groups())
                fields[at] = b""
                found = None if found is None else escape_values([found])[0]
            else:
                fields[at], found = reading.fields, reading.values
                if reading.message is not None and events[at] is line:
                    messages[at] = reading.message
            if found is None:
                formats[at] = kinds.plain[shape]
            values[at] = found or ()
        kinds.typed.fit(fields, shapes, formats, values)
        for at, text in fields.items():
            values[at] = (text, *values[at])
        return values

    @cached_property
    def _kinds(self) -> Kinds:
        """The kinds of the page's events."""
        renderer, source, rows = self._renderer, self._segment.source, self._picked
        firsts = np.full(len(renderer.shapes), -1, dtype=np.intp)
        firsts[self._ordinals[::-1]] = rows[::-1]  # of several rows for one place, the last one stays
        found = firsts >= 0
        kinds = Kinds(renderer.fields)
        for shape, row in zip(renderer.shapes[found].tolist(), firsts[found].tolist(), strict=True):
            form = renderer.form(source, shape)
            first = self._line(row)
            text = self._event(row) if is_record(first) else first
            reader = renderer.reader(form, source, shape, text)
            if reader is not None:
                finder = Finder(form.template, form.groups, blanks=self._blanks, examples=[b""])
                kinds.add_reader(shape, reader, finder, form=form)
                continue
            kinds.add(shape, self._finder(shape, form, first), form=form)
        return kinds

    def _finder(self, shape: int, form: Form, first: bytes, *, is_in_doubt: bool = False) -> Finder:
        return self._renderer.known.finder(
            self._segment.source,
            shape,
            form,
            blanks=self._blanks,
            first=first,
            example=partial(self._last, shape),
            is_in_doubt=is_in_doubt,
        )

    def _search(self, shape: int, line: bytes) -> re.Match[bytes] | None:
        """Look again at a line that the pattern of its kind does not fit."""
        kinds = self._kinds
        if shape not in kinds.readers and shape not in kinds.doubted:
            # The finder is of another page, maybe: a line of this one tells whether it should have one of its own.
            kinds.doubted.add(shape)
            form = kinds.forms[shape]
            finder = self._finder(shape, form, self._first(shape), is_in_doubt=True)
            if finder is not kinds.finders[shape]:
                kinds.add(shape, finder, form=form)
                if match := finder.pattern.match(line):
                    return match
        return kinds.finders[shape].search(line, partial(self._others, shape))

    def _others(self, shape: int) -> list[re.Pattern[bytes]]:
        """Patterns for the headers of a few lines of a kind from all over the page."""
        kinds = self._kinds
        if shape not in kinds.others:
            rows = np.flatnonzero(self._segment.shapes == shape)
            lines = map(self._line, rows[:: -(-len(rows) // _PROBES)].tolist())
            kinds.others[shape] = kinds.finders[shape].others(lines)
        return kinds.others[shape]

    def _first(self, shape: int) -> bytes:
        """The first line of a kind in the page that is written."""
        return self._line(int(self._picked[np.flatnonzero(self._segment.shapes[self._picked] == shape)[0]]))

    def _last(self, shape: int) -> bytes:
        """The last line of a kind in the page."""
        return self._line(int(np.flatnonzero(self._segment.shapes == shape)[-1]))

    def _line(self, row: int) -> bytes:
        return self._segment.data[self._starts[row] : self._starts[row + 1]].removesuffix(b"\n")

    def _event(self, row: int) -> bytes:
        """The event that begins with a line, whole."""
        end = self._ends[np.searchsorted(self._breaks, row)]
        return self._segment.data[self._starts[row] : self._starts[end]].removesuffix(b"\n")

    def _times_of(self, first: int, last: int) -> bytes:
        """The times of these lines and those between them, as they are written, each with a newline."""
        return self._times[self._time_starts[first] : self._time_starts[last + 1]]

    def _statuses(self, ordinals: npt.NDArray[np.intp]) -> dict[str, int]:
        numbers = np.bincount(self._renderer.status_numbers[ordinals]).tolist()
        return {status: number for status, number in zip(self._renderer.statuses, numbers, strict=False) if number}

    # ------------------------------------------------------------ of the whole segment, once

    @cached_property
    def _ordinals(self) -> npt.NDArray[np.intp]:
        """Of each event: where its shape stands among the renderer's."""
        return self._renderer.ordinals[self._segment.shapes[self._picked]]

    @cached_property
    def _blanks(self) -> bytes:
        return ANY_BLANK if any(byte in self._segment.data for byte in b"\t\r\f\v") else ONLY_SPACES

    @cached_property
    def _starts(self) -> npt.NDArray[np.intp]:
        """Where each line begins, and where the last ends."""
        return _line_starts(self._segment.data)

    @cached_property
    def _has_long_lines(self) -> bool:
        return bool(np.diff(self._starts).max() > MAX_VALUE_BYTES)

    @cached_property
    def _breaks(self) -> npt.NDArray[np.intp]:
        """Lines that continue nothing."""
        return np.flatnonzero(self._segment.shapes != CONTINUES)

    @cached_property
    def _ends(self) -> npt.NDArray[np.intp]:
        """Beside `_breaks`: one past the last line of what begins there."""
        return np.append(self._breaks[1:], len(self._segment.shapes))

    @cached_property
    def _times(self) -> bytes:
        return self._renderer.times.of(self._segment, self._starts, window=self._renderer.start)

    @cached_property
    def _time_starts(self) -> npt.NDArray[np.intp]:
        lines = len(self._starts) - 1
        width = self._times.find(b"\n") + 1
        if len(self._times) == lines * width and self._times[width - 1 :: width].count(b"\n") == lines:
            return np.arange(0, len(self._times) + 1, width)
        return _line_starts(self._times)

    @cached_property
    def _heads(self) -> Heads:
        segment = self._segment
        return Heads(host=self._renderer.host, path=segment.path, identity=segment.identity)


def _joined(
    lines: list[bytes], escaped: list[bytes], firsts: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]
) -> tuple[list[bytes], list[bytes]]:
    """Events of several lines, and the messages of their records."""
    events, messages = _at(lines, firsts), _at(escaped, firsts)
    for place in np.flatnonzero(ends > firsts + 1).tolist():
        first, end = int(firsts[place]), int(ends[place])
        events[place] = b"\n".join(lines[first:end])
        messages[place] = b"\\n".join(escaped[first:end])
    return events, messages


def _line_starts(data: bytes) -> npt.NDArray[np.intp]:
    """Where each line begins, and where the last ends; that may have no newline."""
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1
    ends = newlines if data.endswith(b"\n") else np.append(newlines, len(data))
    return np.concatenate((np.zeros(1, dtype=np.intp), ends))


def _at(items: list[_Item], rows: npt.NDArray[np.intp]) -> list[_Item]:
    """The items at these places, which ascend."""
    if not len(rows):
        return []
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return items[first : last + 1]
    return list(_getter(rows.tolist())(items))


def _getter(keys: list[int]) -> Callable[[Any], Sequence[Any]]:
    """What gives the items of a collection for all of these keys, in a quarter of the time of asking for each."""
    return itemgetter(*keys) if len(keys) > 1 else lambda items: [items[key] for key in keys]
