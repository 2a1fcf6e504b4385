"""Any bytes as lines of a log: which of them make one event.

The first byte chooses the rule and whether it is known that events start with a time; the second where the lines are
cut; the rest is the log.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from enricher.core.block import CONTINUES, SKIPPED, FileState
from enricher.core.keying import Keying, KeyingRule, Reading, key_lines
from enricher.core.signature import ShapeIndex
from tests.fuzz.signatures import Numbers

NOW = 1_795_348_800.0  # 2026-11-22T12:00:00Z
RULES = (
    ("auto", None),
    ("off", None),
    ("start", r"^\d"),
    ("continues", r"^\s"),
)
KEYINGS = [
    Keying(
        KeyingRule(length_seconds=3600, zone="UTC", time_pattern=None, drop=drop, ask_events=False, multiline=multiline)
    )
    for multiline in RULES
    for drop in ((), ("^DEBUG",))
]
FILE = FileState(
    id=1, source="logs", path=b"/var/log/app.log", device=1, inode=2, birth="", head_bytes=0, head_hash=b"",
    marker=b"", codec="plain", generation=0, identity="0123456789abcdef", position=0, partial=b"", anchor=None,
    learned=None, size_seen=0, mtime_seen=NOW, gone_at=None,
)  # fmt: skip

DETAIL = re.compile(rb"(?:DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION):  ")

Event = tuple[int, bytes]
"""Offset and bytes."""


def check(data: bytes) -> None:
    """Every line is in one event, blank or dropped, in order; where lines are cut changes no event."""
    if len(data) < 3:
        return
    knobs, is_learned = divmod(data[0], 2)
    keying = KEYINGS[knobs % len(KEYINGS)]
    lines = [line + b"\n" for line in data[2:].split(b"\n")]
    file = replace(FILE, learned=True if is_learned else None)
    whole = _events(lines, [], keying, file)
    cut = data[1] % (len(lines) + 1)
    # A file's first lines may not tell yet that its events start with a time: only what is known is the same anywhere.
    pieces = _events(lines, [cut], keying, file)
    # Neither may they tell that this is a log of PostgreSQL, whose every line names its severity.
    is_known = is_learned and not DETAIL.search(data)
    if is_known or keying.rule.multiline[0] != "auto":
        assert pieces == whole, (pieces, whole)


def _events(lines: list[bytes], cuts: list[int], keying: Keying, file: FileState) -> list[Event]:
    """What becomes of lines that are read a few at a time, as a source hands them out."""
    index, numbers = ShapeIndex(), Numbers()
    events: list[Event] = []
    kept, held, texts = b"".join(lines), b"", []
    for begin, end in pairwise((0, *cuts, len(lines))):
        text = held + b"".join(lines[begin:end])
        if not text:
            continue
        reading = Reading(
            file=file, data=text, lost_bytes=0, final=end == len(lines), fallback=NOW, read_at=NOW, tails=()
        )
        keyed = key_lines(reading, keying, index, numbers.intern)
        held = keyed.held
        counted = keyed.counts
        taken = b"".join(segment.data for segment in keyed.segments)
        assert taken + held == text
        assert not (reading.final and held)
        assert counted.lines == taken.count(b"\n")
        in_events = 0
        for segment in keyed.segments:
            assert len(segment.shapes) == segment.data.count(b"\n")
            assert segment.window_index is None or int(segment.window_index.max()) < len(segment.windows)
            of_segment = segment.shapes.tolist()
            in_events += sum(shape != SKIPPED for shape in of_segment)
            # The first line of a file has nothing to go on.
            assert events or next(iter(of_segment)) != CONTINUES
            at = segment.offset
            for line, shape in zip(segment.data.split(b"\n")[:-1], of_segment, strict=True):
                if shape == CONTINUES:
                    events[-1] = (events[-1][0], events[-1][1] + b"\n" + line)
                elif shape != SKIPPED:
                    events.append((at, line))
                at += len(line) + 1
        assert counted.lines == in_events + counted.blank + counted.dropped
        texts.append(taken)
        file = replace(file, position=file.position + len(taken), anchor=keyed.anchor, learned=keyed.learned)
    assert b"".join(texts) == kept
    return events
