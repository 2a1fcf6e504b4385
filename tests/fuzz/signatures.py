"""Any bytes as lines of a log: what kind of event each is.

The first byte chooses how blocks are cut; the rest is the log.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from enricher.core.signature import BLANK_ID, ShapeIndex
from enricher.core.skeleton import HOLE_TEXT, Shape, shape_of
from tests.core.test_record import a_renderer, a_segment, an_outcome, records

# What must not reach a reader, a model or a terminal: a hole is the one control character of a skeleton, and a NUL
# stands between the parts of one.
_UNSAFE = re.compile("[\x02-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e0fff]")


class Numbers:
    """Row ids of shapes, given out as the store does."""

    def __init__(self) -> None:
        self.rows: dict[Shape, int] = {}

    def intern(self, shapes: list[Shape]) -> list[int]:
        """Number shapes; the same shape has the same number."""
        assert len(set(shapes)) == len(shapes)
        return [self.rows.setdefault(shape, len(self.rows) + 1) for shape in shapes]


def check(data: bytes) -> None:
    """A line's shape depends on the line alone; blocks say the same as single lines; memos change nothing."""
    if len(data) < 2:
        return
    every, lines = data[0] % 7 + 1, data[1:].split(b"\n")
    alone = [_alone(line) for line in lines]
    numbers = Numbers()
    index = ShapeIndex()
    whole = index.resolve(b"".join(line + b"\n" for line in lines), numbers.intern).tolist()
    shapes = {row: shape for shape, row in numbers.rows.items()}
    assert [None if row == BLANK_ID else shapes[row] for row in whole] == alone
    # Again with full memos, a few lines at a time, and backwards with memos too small to hold anything.
    cuts = [*range(0, len(lines), every), len(lines)]
    blocks = [b"".join(line + b"\n" for line in lines[begin:end]) for begin, end in pairwise(cuts)]
    assert [row for block in blocks for row in index.resolve(block, numbers.intern).tolist()] == whole
    small = ShapeIndex(memo_lines=1, memo_bytes=1)
    backwards = small.resolve(b"\n".join(reversed(lines)), numbers.intern).tolist()
    # A last line of no bytes and no newline is none.
    assert [*backwards, *([BLANK_ID] if not lines[0] else [])][::-1] == whole
    for line, shape in zip(lines, alone, strict=True):
        if shape is not None:
            _well_formed(line, shape)


def _alone(line: bytes) -> Shape | None:
    numbers = Numbers()
    (row,) = ShapeIndex().resolve(line + b"\n", numbers.intern).tolist()
    if row == BLANK_ID:
        assert not line.strip()
        return None
    (shape,) = (shape for shape, number in numbers.rows.items() if number == row)
    return shape


def _well_formed(line: bytes, shape: Shape) -> None:
    assert re.fullmatch("[0-9a-f]{16}", shape.id)
    assert replace(shape).id == shape.id
    for text in (shape.format, shape.level, shape.program, shape.skeleton):
        assert not _UNSAFE.search(text), text
        text.encode("utf-8")
    # What the holes took of the line stands in it, and the record of the event is one JSON object.
    template = shape_of(line).template
    names = [f"hole_{number}" for number in range(template.count(HOLE_TEXT))]
    (record,) = records(a_renderer(an_outcome(template=template, slots=names)), a_segment(line + b"\n", [1]))
    if shape.format == "text":
        for name in names:
            value = record.get(f"enrichment.fields.{name}")
            assert value is None or value.removesuffix("…") in record["message"], (name, value)  # cut, if long
