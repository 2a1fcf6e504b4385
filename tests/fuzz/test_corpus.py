"""What was ever found by fuzzing stays mended, and what is near it holds too; no fuzzer is needed for that."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.corpus import DIRECTORY, TARGETS, check_of, seeds
from tests.fuzz.growth import lines_run, repeated_lines
from tests.fuzz.mutate import mutated

SEEDS = [
    pytest.param(target, data, id=f"{target}-{number}-{why}"[:80])
    for target in TARGETS
    for number, (why, data) in enumerate(seeds(target))
]
MUTATIONS = {"signatures": 25}
MOST_CORPUS_BYTES = 200_000


@pytest.mark.parametrize(("target", "data"), SEEDS)
def test_every_seed_holds_what_its_target_asserts(target, data):
    check_of(target)(data)


@pytest.mark.parametrize("target", TARGETS)
def test_what_lies_near_the_seeds_holds_it_too(target):
    check, pool, rnd = check_of(target), [data for _, data in seeds(target)], random.Random(target)
    for _ in range(MUTATIONS.get(target, 100)):
        data = mutated(pool, rnd)
        try:
            check(data)
        except Exception as error:
            error.add_note(f"the input was {data!r}")
            raise


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_and_single_bytes_hold_it_too(target):
    check = check_of(target)
    for data in (b"", *(bytes((byte,)) * size for byte in (0, 10, 0xFF) for size in (1, 2, 3, 50))):
        check(data)


@pytest.mark.parametrize(("target", "data"), SEEDS[::3])
def test_lines_that_repeat_cost_work_in_proportion(target, data):
    check = check_of(target)
    check(repeated_lines(data, 1))  # what is made once
    few, more, most = (lines_run(check, repeated_lines(data, times)) for times in (2, 4, 8))
    # Twice the lines, twice the work; a square would be four times as much.
    assert most - more <= 3 * max(more - few, 0) + 1000


def test_the_corpus_stays_small():
    files = sorted(DIRECTORY.iterdir())
    assert [file.stem for file in files] == sorted(TARGETS)
    assert sum(file.stat().st_size for file in files) < MOST_CORPUS_BYTES
