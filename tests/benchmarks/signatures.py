"""`python -m tests.benchmarks.signatures`: how well signatures agree with labelled lines, raw and by message alone.

GA is the share of lines whose signature holds exactly the lines of their true template, FGA the F1 over groups, purity
the share of lines whose signature holds lines of one template only. Signatures that numbers with a meaning tell apart
count as one there; how many more they are, in raw lines, stands in the last column. The systems of Loghub
(ENRICHER_LOGHUB or ../shared/loghub) are left out where they are not; the generated ones are always there. Before it
stands the time that a line without a memo takes, on average.
"""

from __future__ import annotations

import time
from statistics import mean
from typing import TYPE_CHECKING

from enricher.core.skeleton import shape_of
from tests.core import generated_systems, unseen_systems
from tests.core.test_loghub_signatures import LINES, LOGHUB, SYSTEMS, named, scores, truth

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = ("GA", "FGA", "purity", "requests")


def _loghub() -> Iterator[tuple[str, list[bytes], list[bytes], list[str]]]:
    for system in SYSTEMS:
        path = LOGHUB / system / f"{system}_2k.log"
        if path.exists():
            rows = truth(system)
            messages = [row["Content"].encode() for row in rows]
            yield system, path.read_bytes().split(b"\n")[:LINES], messages, [row["EventTemplate"] for row in rows]


def _generated() -> Iterator[tuple[str, list[bytes], list[bytes], list[str]]]:
    for system in generated_systems.SYSTEMS:
        made = generated_systems.generate(system)
        yield system, list(made.lines), list(made.messages), list(made.templates)


def _unseen() -> Iterator[tuple[str, list[bytes], list[bytes], list[str]]]:
    for system in unseen_systems.SYSTEMS:
        given = unseen_systems.generate(system)
        yield system, list(given.lines), list(given.messages), list(given.templates)


def _microseconds(lines: list[bytes]) -> float:
    began = time.process_time()
    for line in lines:
        shape_of(line)
    return (time.process_time() - began) * 1e6 / len(lines)


def _table(title: str, systems: Iterator[tuple[str, list[bytes], list[bytes], list[str]]]) -> None:
    rows = []
    for name, lines, messages, templates in systems:
        found = named(lines)
        raw, alone = scores(templates, found.signatures), scores(templates, named(messages).signatures)
        figures = [one[column] for one in (raw, alone) for column in _COLUMNS]
        rows.append((name, [*figures, _microseconds(lines), found.by_value]))
    if not rows:
        print(f"{title}: not here")
        return
    print(f"{title:<16}|{'raw lines':^32}|{'message alone':^32}|")
    print(
        f"{'':<16}"
        + ("|" + "".join(f"{column:>8}" for column in ("GA", "FGA", "purity", "per 1k"))) * 2
        + "| us/line by value"
    )
    rows.append(("mean", [mean(column) for column in zip(*(figures for _, figures in rows), strict=True)]))
    for name, figures in rows:
        cells = [f"{value:8.1f}" if at in (3, 7, 8, 9) else f"{value:8.4f}" for at, value in enumerate(figures)]
        print(f"{name:<16}|{''.join(cells[:4])}|{''.join(cells[4:8])}|{''.join(cells[8:])}")
    print()


if __name__ == "__main__":
    _table("Loghub", _loghub())
    _table("generated", _generated())
    _table("products", _unseen())
