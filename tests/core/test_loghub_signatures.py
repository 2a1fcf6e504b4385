"""How well signatures agree with the labels of Loghub: ENRICHER_LOGHUB or ../shared/loghub, skipped without."""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import pytest

from enricher.core.extract import (
    ANY_BLANK,
    ONLY_SPACES,
    compile_extractor,
    compile_quick,
    header_pattern,
    words_of_holes,
)
from enricher.core.merge import Merger
from enricher.core.signature import ShapeIndex
from enricher.core.skeleton import TOLD, Shape, message_start

SYSTEMS = ("Apache", "HDFS", "Linux", "OpenSSH", "Spark", "Zookeeper")
LOGHUB = Path(os.environ.get("ENRICHER_LOGHUB", Path(__file__).parents[3] / "shared" / "loghub"))
LINES = 2_000

pytestmark = pytest.mark.skipif(
    not all((LOGHUB / system / f"{system}_2k.log").exists() for system in SYSTEMS), reason="Loghub is not here"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The lines of one system with the signature of each; what numbers tell apart is one, and counted beside."""

    lines: list[bytes]
    shape_ids: list[int]
    signatures: list[int]
    shapes: dict[int, Shape]
    templates: dict[int, str]
    by_value: int
    """How many signatures more there are where numbers that carry meaning tell them apart."""


def named(lines: list[bytes]) -> Named:
    rows: dict[Shape, int] = {}
    templates: dict[int, str] = {}
    first: dict[Shape, int] = {}
    wholes: dict[int, int] = {}
    merger = Merger()

    def intern(shapes: list[Shape]) -> list[int]:
        for shape in shapes:
            row_id = rows.setdefault(shape, len(rows) + 1)
            templates[row_id] = shape.template
            whole = replace(shape, format=shape.format.partition(TOLD)[0])
            wholes[row_id] = first.setdefault(whole, row_id)
            for merge in merger.add(wholes[row_id], whole):
                templates[merger.resolve(wholes[row_id])] = merge.template
        return [rows[shape] for shape in shapes]

    index = ShapeIndex()
    # Small blocks, since merging is online: later shapes may change what earlier ones resolve to.
    blocks = (lines[start : start + 200] for start in range(0, len(lines), 200))
    ids = [row for block in blocks for row in index.resolve(b"\n".join(block) + b"\n", intern).tolist()]
    return Named(
        lines=lines,
        shape_ids=ids,
        signatures=[merger.resolve(wholes[row_id]) for row_id in ids],
        shapes={row_id: shape for shape, row_id in rows.items()},
        templates=templates,
        by_value=len({(merger.resolve(wholes[row]), shape.format) for shape, row in rows.items()})
        - len({merger.resolve(wholes[row]) for row in rows.values()}),
    )


def truth(system: str) -> list[dict[str, str]]:
    with (LOGHUB / system / f"{system}_2k.log_structured.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def raw() -> dict[str, Named]:
    return {
        system: named((LOGHUB / system / f"{system}_2k.log").read_bytes().split(b"\n")[:LINES]) for system in SYSTEMS
    }


def scores(expected: list[str], found: list[int]) -> dict[str, float]:
    """Grouping accuracy over lines (GA) and over groups (FGA), purity, and signatures per 1,000 lines."""
    true_sizes, sizes = Counter(expected), Counter(found)
    templates_of = defaultdict(set)
    for template, signature in zip(expected, found, strict=True):
        templates_of[signature].add(template)
    pairs = Counter(zip(expected, found, strict=True))
    exact = {pair: size for pair, size in pairs.items() if size == true_sizes[pair[0]] == sizes[pair[1]]}
    pure = sum(size for signature, size in sizes.items() if len(templates_of[signature]) == 1)
    return {
        "GA": sum(exact.values()) / len(expected),
        "FGA": 2 * len(exact) / (len(sizes) + len(true_sizes)),
        "purity": pure / len(expected),
        "requests": 1_000 * len(sizes) / len(expected),
    }


def means(all_scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(mean(one[name] for one in all_scores), 3) for name in all_scores[0]}


def test_signatures_of_raw_lines_agree_with_the_labels(raw):
    found = means(
        [scores([row["EventTemplate"] for row in truth(system)], raw[system].signatures) for system in SYSTEMS]
    )

    assert found["GA"] >= 0.99
    assert found["FGA"] >= 0.96
    assert found["purity"] >= 0.995
    assert round(found["requests"], 1) <= 21.0


def test_signatures_of_messages_alone_agree_with_the_labels():
    found = []
    for system in SYSTEMS:
        rows = truth(system)
        signatures = named([row["Content"].encode() for row in rows]).signatures
        found.append(scores([row["EventTemplate"] for row in rows], signatures))
    found = means(found)

    assert found["GA"] >= 0.99
    assert found["FGA"] >= 0.96
    assert found["purity"] >= 0.995
    assert round(found["requests"], 1) <= 21.0


def test_the_scores_are_those_of_their_definitions():
    expected = ["a"] * 4 + ["b"] * 3 + ["d"] * 2 + ["e"]

    assert {"GA": 1, "FGA": 1, "purity": 1, "requests": 400} == scores(expected, [1] * 4 + [2] * 3 + [3] * 2 + [4])
    merged = scores(expected, [1] * 4 + [2] * 3 + [3] * 3)
    assert (0.7, 0.7) == (merged["GA"], merged["purity"])
    assert merged["FGA"] == pytest.approx(2 * 2 / (3 + 4))


@pytest.mark.parametrize("system", SYSTEMS)
def test_templates_match_the_messages_of_their_own_lines(raw, system):
    lines = raw[system]
    starts = [message_start(line) for line in lines.lines]
    compiled = {template: compile_extractor(template) for template in set(lines.templates.values())}
    compiled |= {shape.template: compile_extractor(shape.template) for shape in lines.shapes.values()}
    own = sum(
        compiled[lines.shapes[row_id].template].match(line, start) is not None
        for line, row_id, start in zip(lines.lines, lines.shape_ids, starts, strict=True)
    )
    merged = sum(
        compiled[lines.templates[row_id]].match(line, start) is not None
        for line, row_id, start in zip(lines.lines, lines.signatures, starts, strict=True)
    )

    assert own >= 0.99 * LINES
    assert merged >= 0.99 * LINES


@pytest.mark.parametrize("system", SYSTEMS)
def test_most_lines_are_spelled_as_their_template_is_and_their_values_are_found_quickly(raw, system):
    lines = raw[system]
    first_of: dict[int, bytes] = {}
    fitted = wrong = 0
    for line, row_id in zip(lines.lines, lines.signatures, strict=True):
        blanks = ANY_BLANK if b"\t" in line or b"\r" in line else ONLY_SPACES
        header = header_pattern(first_of.setdefault(row_id, line), blanks)
        template = lines.templates[row_id]
        quick = compile_quick(template, header=header, blanks=blanks).match(line)
        counted = header_pattern(first_of[row_id], blanks, single=True)
        words = words_of_holes(template, [first_of[row_id]])
        fast = compile_quick(template, header=counted, blanks=blanks, single=True, words=words).match(line)
        exact = compile_extractor(template).match(line[message_start(line) :])
        wrong += sum(exact is None or exact.groups() != one.groups() for one in (quick, fast) if one is not None)
        fitted += quick is not None

    assert wrong == 0
    assert fitted >= 0.97 * LINES
