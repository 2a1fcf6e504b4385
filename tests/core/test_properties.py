"""Names are the same wherever blocks are cut and in every process, and nothing of a line is lost in them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.event_id import event_id
from enricher.core.merge import Merger
from enricher.core.signature import ShapeIndex
from enricher.core.skeleton import HOLE_TEXT, Shape, message_start, shape_of
from tests.core.generated_systems import SYSTEMS, generate
from tests.core.structured_lines import audit_events
from tests.core.test_extract import HEADERS, WORDS
from tests.core.test_record import a_renderer, a_segment, an_outcome, records

# Lines whose numbers tell kinds apart, and words that make holes, among each other.
TELLING = [
    line.encode()
    for number in range(60)
    for line in (
        f'10.0.0.{number} - - [22/Nov/2026:10:00:00 +0000] "GET /a/{number} HTTP/1.1" {200 + 100 * (number % 4)} 5',
        f"web1 worker[{number}]: process {number} ended with exit code {number % 3}",
        f"web1 cache: {('ruby', 'opal', 'jade', 'onyx')[number % 4]} shard was moved to another node",
        f"web1 pool: request {number} done, status={(200, 404, 503)[number % 3]}",
    )
]


# Shapes of two lines, then an event.
EXPECTED = ["a9df41097e279cc6", "ad831b5d4de80d42", "0123456789abcdef0000000000077d659db9"]


def final_signatures(lines: list[bytes], cuts: list[int]) -> list[str]:
    """The id that each line's signature has when all were read, in blocks that end at these lines."""
    rows: dict[Shape, int] = {}
    merger = Merger()

    def intern(shapes: list[Shape]) -> list[int]:
        for shape in shapes:
            if shape not in rows:
                rows[shape] = len(rows) + 1
                merger.add(rows[shape], shape)
        return [rows[shape] for shape in shapes]

    index = ShapeIndex()
    ends = sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})
    blocks = [b"\n".join(lines[start:end]) + b"\n" for start, end in pairwise(ends)]
    ids = [row for block in blocks for row in index.resolve(block, intern).tolist()]
    ids_of = {row: shape.id for shape, row in rows.items()}
    return [ids_of[merger.resolve(row)] for row in ids]


@pytest.mark.parametrize("system", [*list(SYSTEMS)[::2], "audit", "telling"])
@given(cuts=st.lists(st.integers(1, 300), max_size=12))
@settings(max_examples=4, derandomize=True, deadline=None)
def test_final_signatures_do_not_depend_on_where_blocks_are_cut(system, cuts):
    other = {"audit": audit_events(200), "telling": TELLING}
    lines = other[system] if system in other else list(generate(system, lines=200).lines)
    assert final_signatures(lines, []) == final_signatures(lines, cuts)


def names() -> str:
    """A digest of the ids of shapes, signatures and events of all generated systems, in this process."""
    found = []
    for system in SYSTEMS:
        lines = list(generate(system, lines=120).lines)
        found += [shape_of(line).id for line in lines]
        found += final_signatures(lines, [50])
        found += [event_id("0123456789abcdef", at, line) for at, line in enumerate(lines)]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


@pytest.mark.parametrize("seed", ["0", "20261122"])
def test_ids_are_equal_in_every_process(seed):
    done = subprocess.run(
        [sys.executable, "-c", "from tests.core.test_properties import names; print(names())"],
        env={**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Kathmandu", "LC_ALL": "C"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert names() == done.stdout.strip()


def test_ids_are_what_they_were_on_the_machine_that_this_was_written_on():
    lines = [
        b"2026-11-22T10:00:00Z web1 sshd[42]: Failed password for root from 10.0.0.7 port 22",
        b"disk sda1 is full",
    ]
    assert EXPECTED == [*(shape_of(line).id for line in lines), event_id("0123456789abcdef", 7, lines[0])]


def bare(text: str) -> str:
    """A text without what templates leave out of constant text: blanks, and what a number is."""
    return re.sub(r"[0-9]+", "0", re.sub(r"\s+", "", text))


@given(HEADERS, st.lists(WORDS, min_size=1, max_size=8), st.sampled_from([" ", "  ", "\t"]))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_fields_and_template_give_the_line_back(header, words, space):
    line = (header + space.join(words)).encode()
    assert_given_back(line)


@pytest.mark.parametrize("system", SYSTEMS)
def test_fields_and_template_give_the_lines_of_a_system_back(system):
    for line in generate(system, lines=40).lines:
        assert_given_back(line)


def assert_given_back(line: bytes) -> None:
    template = shape_of(line).template
    names = [f"hole_{number}" for number in range(template.count(HOLE_TEXT))]
    (record,) = records(a_renderer(an_outcome(template=template, slots=names)), a_segment(line + b"\n", [1]))
    values = [record[f"enrichment.fields.{name}"] for name in names]
    constant = record["log.record.template"].split(HOLE_TEXT)
    filled = constant[0] + "".join(value + text for value, text in zip(values, constant[1:], strict=True))
    message = line[message_start(line) :].decode()
    assert record["message"] == line.decode()
    assert bare(message) == bare(filled)
    assert all(value in message for value in values)
