"""The signature stage over raw lines, and Drain3 over the same lines in the same process.

Each sample of Loghub is repeated with fresh numbers, so that no line is there twice. In favour of Drain3 its lines are
decoded and split beforehand; the signature stage takes bytes and does both itself, merging included. The masks are our
own choice of what such lists usually hold: addresses, pairs of hex digits, hex numbers, numbers.
"""

from __future__ import annotations

import csv
import random
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from enricher.core.merge import Merger
from enricher.core.signature import ShapeIndex
from tests.benchmarks import workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from enricher.core.skeleton import Shape

try:
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig
except ImportError:
    TemplateMiner = None

NEW_WORDS: Final = 0.1
"""The share of lines in which a word of the values is one that no line had before."""
_BLOCK_LINES: Final = 8_000
_MASKS: Final = (
    (r"(?<![0-9A-Za-z])(?:[0-9a-f]{2}:){3,}[0-9a-f]{2}(?![0-9A-Za-z])", "MAC"),
    (r"(?<![0-9A-Za-z])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z])", "IP"),
    (r"(?<![0-9A-Za-z])0x[0-9A-Fa-f]+(?![0-9A-Za-z])", "HEX"),
    (r"(?<![0-9A-Za-z])[0-9a-f]{8,}(?![0-9A-Za-z])", "ID"),
    (r"(?<![0-9A-Za-z])[-+]?\d+(?![0-9A-Za-z])", "NUM"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """CPU seconds for the lines of one system."""

    system: str
    lines: int
    signatures: int
    own_seconds: float
    default_seconds: float
    masked_seconds: float
    default_clusters: int

    @property
    def default_ratio(self) -> float:
        """How many times as much Drain3 takes as it comes."""
        return self.default_seconds / self.own_seconds

    @property
    def masked_ratio(self) -> float:
        """The same with masks."""
        return self.masked_seconds / self.own_seconds


def is_installed() -> bool:
    """Whether there is a Drain3 to compare with."""
    return TemplateMiner is not None


def compare(samples: Path, scratch: Path, *, repeats: int, runs: int, new_words: float = 0.0) -> Iterator[Compared]:
    """Compare over each sample, each figure the least of some runs, taken in turn."""
    for sample in sorted(samples.glob("*/*_2k.log")):
        path = workload.write_loghub(scratch / sample.name, sample, repeats)
        lines = path.read_bytes().splitlines()
        path.unlink()
        if new_words:
            lines = with_new_words(lines, sample, repeats, new_words)
        yield _compared(sample.parent.name, lines, runs)


def _compared(system: str, lines: Sequence[bytes], runs: int) -> Compared:
    blocks = [b"\n".join(lines[at : at + _BLOCK_LINES]) + b"\n" for at in range(0, len(lines), _BLOCK_LINES)]
    texts = [line.decode("utf-8", "replace") for line in lines]
    own, default, masked = [], [], []
    for _ in range(runs):
        own += [_name(blocks) for _ in range(2)]
        default.append(_mine(texts, masks=()))
        masked.append(_mine(texts, masks=_MASKS))
    return Compared(
        system=system,
        lines=len(lines),
        signatures=own[0][1],
        own_seconds=min(seconds for seconds, _ in own),
        default_seconds=min(seconds for seconds, _ in default),
        masked_seconds=min(seconds for seconds, _ in masked),
        default_clusters=default[0][1],
    )


def _name(blocks: Sequence[bytes]) -> tuple[float, int]:
    """CPU seconds for the signature of every line, and how many signatures there are."""
    begun = time.process_time()
    rows: dict[Shape, int] = {}
    merger = Merger()

    def intern(shapes: list[Shape]) -> list[int]:
        numbers = [rows.setdefault(shape, len(rows) + 1) for shape in shapes]
        for number, shape in zip(numbers, shapes, strict=True):
            merger.add(number, shape)
        return numbers

    index = ShapeIndex()
    for block in blocks:
        index.resolve(block, intern)
    signatures = {merger.resolve(row) for row in rows.values()}
    return time.process_time() - begun, len(signatures)


def _mine(lines: Sequence[str], masks: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """CPU seconds for the cluster of every line by Drain3, and how many clusters there are."""
    settings = TemplateMinerConfig()
    settings.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in masks]
    miner = TemplateMiner(config=settings)
    begun = time.process_time()
    for line in lines:
        miner.add_log_message(line)
    return time.process_time() - begun, len(miner.drain.clusters)


def with_new_words(lines: Sequence[bytes], sample: Path, repeats: int, share: float) -> list[bytes]:
    """The lines, with a word of its own in place of one value in so many of them, or in all that have a value.

    Where values stand is known from the labels beside the sample; they are counted from the end of the line, since the
    time before them may have changed its length.
    """
    spots = _values(sample)
    usable = sum(1 for found in spots if found) / len(spots)
    dice = random.Random(7)
    run, made = workload.RUN_LINES, list(lines)
    for at, line in enumerate(lines):
        stretch, within = divmod(at, run * repeats)
        # The last stretch of a sample may be a short one.
        found = spots[stretch * run + within % min(run, len(spots) - stretch * run)]
        if found and dice.random() < share / usable:
            begin, end = dice.choice(found)
            word = "".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=7)).encode()
            made[at] = line[: len(line) - begin] + word + line[len(line) - end :]
    return made


def _values(sample: Path) -> list[list[tuple[int, int]]]:
    """Where each line of a sample has values: how far from the line's end they begin and end."""
    table = sample.with_name(f"{sample.name}_structured.csv")
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = sample.read_bytes().splitlines()
    return [
        _spots(line, row["Content"].encode(), row["EventTemplate"].encode())
        for line, row in zip(lines, rows, strict=True)
    ]


def _spots(line: bytes, content: bytes, template: bytes) -> list[tuple[int, int]]:
    """The values of one line: of a word that holds one, what the template has not."""
    words, labels = content.split(b" "), template.split(b" ")
    at = line.rfind(content)
    if at < 0 or len(words) != len(labels):
        return []
    spots, left = [], len(line) - at
    for word, label in zip(words, labels, strict=True):
        before, mark, rest = label.partition(b"<*>")
        after = rest.rpartition(b"<*>")[2]
        if mark and word.startswith(before) and word.endswith(after) and len(word) > len(before) + len(after):
            spots.append((left - len(before), left - len(word) + len(after)))
        left -= len(word) + 1
    return spots


def ratio(found: Sequence[Compared], name: str) -> float:
    """The median over the systems."""
    return median(getattr(one, name) for one in found)
