"""Labelled lines from the plan to the score, against the real client and batch server."""

from __future__ import annotations

import pytest

from enricher.config import shipped
from enricher.core.gold import read_cases
from enricher.nightly import Nightly, NightlySettings
from tests.stages.bench import MODEL, PRICES, TASK, a_bench

CASES = read_cases(shipped("tasks/logs.gold.jsonl"))[:12]
DAY_SECONDS = 86_400


def a_nightly(bench, *, at_seconds=0):
    numbers = iter(range(1000))
    return Nightly(
        store=bench.store,
        clock=bench.clock,
        telemetry=bench.telemetry,
        settings=NightlySettings(
            at_seconds=at_seconds,
            task=TASK,
            model=MODEL,
            endpoint="/v1/responses",
            reasoning_effort="none",
            prices=PRICES,
            privacy="redacted",
            signatures_per_request=4,
        ),
        cases=CASES,
        new_id=lambda: f"gold{bench.clock.now()}-{next(numbers)}",
    )


def ratio(bench, measure):
    return bench.telemetry.registry.get_sample_value("enricher_gold_agreement_ratio", {"measure": measure})


async def test_lines_are_asked_once_a_day_in_one_batch_and_scored_when_all_have_come(tmp_path):
    async with a_bench(tmp_path, kinds=0) as bench:
        nightly = a_nightly(bench)
        assert await nightly.step()
        assert not await nightly.step()
        summary = await bench.settle()
        assert await nightly.step()
        score = await bench.store.gold_score()
        assert (12, 1.0) == (score.cases, score.answered)
        assert (score.severity, score.category) == (ratio(bench, "severity"), ratio(bench, "category"))
        # Neither the catalogue nor a window knows of it; the money is in the books.
        assert ({}, {"answered": 3}) == (summary.answers, summary.requests)
        assert summary.cost_usd > 0
        ledger = await bench.ledger()
        assert (1, 3) == (ledger["batches_created"], ledger["lines_uploaded"])

        # A restart on the same day tells the figures and pays nothing.
        assert not await a_nightly(bench).step()
        bench.clock.time += DAY_SECONDS
        assert await a_nightly(bench).step()
        await bench.settle()
        ledger = await bench.ledger()
        assert (2, 6) == (ledger["batches_created"], ledger["lines_uploaded"])


async def test_nothing_is_asked_before_its_time(tmp_path):
    async with a_bench(tmp_path, kinds=0) as bench:
        seconds = int(bench.clock.now()) % DAY_SECONDS
        nightly = a_nightly(bench, at_seconds=seconds + 60)
        assert not await nightly.step()
        bench.clock.time += 60
        assert await nightly.step()


@pytest.mark.parametrize("hold", [False, True])
async def test_what_there_is_no_money_for_is_not_scored(tmp_path, hold):
    async with a_bench(tmp_path, kinds=0, daily_usd=0.000001, hold=hold) as bench:
        nightly = a_nightly(bench)
        await nightly.step()
        await bench.settle(
            until=lambda summary: summary.batches.get("planned") if hold else summary.batches.get("done")
        )
        assert not await nightly.step()
        assert await bench.store.gold_score() is None
        assert 0 == (await bench.ledger())["lines_uploaded"]


async def test_a_batch_that_expires_is_sent_again_and_given_up_after_three_sendings(tmp_path):
    faults = [{"on": "batch", "what": "expire", "after_lines": 2, "times": 0}]
    async with a_bench(tmp_path, kinds=0, faults=faults) as bench:
        await a_nightly(bench).step()
        summary = await bench.settle()
        await a_nightly(bench).step()
        score = await bench.store.gold_score()
    assert {"answered": 3} == summary.requests
    assert 1.0 == score.answered


async def test_what_was_never_answered_counts_against_every_figure(tmp_path):
    faults = [{"on": "line", "what": "status", "status": 500, "skip": 1, "times": 0}]
    async with a_bench(tmp_path, kinds=0, faults=faults) as bench:
        await a_nightly(bench).step()
        summary = await bench.settle()
        await a_nightly(bench).step()
        score = await bench.store.gold_score()
    assert {"answered": 1, "failed": 2} == summary.requests
    assert 4 / 12 == pytest.approx(score.answered)
    assert max(score.severity, score.category) <= score.answered
