"""A create that was unclear, and a provider whose list is late or gone: nothing is paid twice that need not be.

What was created in vain is cancelled, and what it cost is booked, once it shows.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from enricher.core.ledger import BatchState
from enricher.errors import NotFoundProviderError
from tests.stages.bench import a_bench

UNCLEAR = {"on": "create", "what": "accepted_status", "status": 500}
HOUR = 3600.0


def hide(bench, monkeypatch, *, until):
    """Let the list show the batches made so far from `until` on; those made later it shows at once."""
    find, hidden = bench.client.find_batch, set(bench.server._register.records)

    async def late(**given):
        found = await find(**given)
        return [one for one in found if one.id not in hidden or bench.clock.time >= until]

    monkeypatch.setattr(bench.client, "find_batch", late)


async def create_unclearly(bench):
    """Plan, upload, and create a batch without hearing of it."""
    await bench.plan.step()
    while not bench.server._register.records:
        await bench.submit.step()


async def test_processes_that_are_killed_one_after_the_other_do_not_create_again_what_a_list_shows_late(
    tmp_path, monkeypatch
):
    async with a_bench(tmp_path, faults=[UNCLEAR]) as bench:
        await create_unclearly(bench)
        hide(bench, monkeypatch, until=bench.clock.time + 14)
        for _ in range(5):
            bench.submit.look_again()  # what a restart is
            await bench.submit.step()
            bench.clock.time += 2
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert ({"ok": 10}, {"done": 1}) == (summary.answers, summary.batches)
    assert (1, 10, 10) == (ledger["batches_created"], ledger["lines_uploaded"], ledger["lines_answered"])


@pytest.mark.parametrize("ends", ["completed", "stuck"])
async def test_a_batch_that_a_list_shows_after_it_was_created_again_is_cancelled_and_booked(
    tmp_path, monkeypatch, ends
):
    stuck = {"on": "batch", "what": "stuck", "after_lines": 3}
    async with a_bench(tmp_path, faults=[UNCLEAR, *([stuck] if ends == "stuck" else [])]) as bench:
        await create_unclearly(bench)
        hide(bench, monkeypatch, until=bench.clock.time + 5 * HOUR)
        while (await bench.ledger())["lines_answered"] < (3 if ends == "stuck" else 10):
            pass  # the server is at work; here no time goes by
        await bench.settle(until=lambda summary: summary.batches.get("open"))
        bench.clock.time += 5 * HOUR
        summary = await bench.settle()
        ledger = await bench.ledger()
        money = await bench.store.money(bench.clock.now())
        running = bench.server.snapshot().requests_total
    assert ({"ok": 10}, {"done": 2}) == (summary.answers, summary.batches)
    assert (2, 10, 13 if ends == "stuck" else 20) == tuple(
        ledger[name] for name in ("batches_created", "lines_uploaded", "lines_answered")
    )
    assert (0, 0.0) == (running, money.reserved_usd)
    with closing(sqlite3.connect(tmp_path / "state" / "enricher.db")) as db:
        (once,) = db.execute("SELECT sum(cost_usd) FROM requests").fetchone()
    assert summary.cost_usd == pytest.approx(once * (1.3 if ends == "stuck" else 2.0), rel=0.05)


async def test_a_surplus_batch_that_is_not_found_at_first_is_cancelled_when_it_is(tmp_path, monkeypatch):
    stuck = {"on": "batch", "what": "stuck"}
    lost = {"on": "list", "what": "status", "status": 404, "times": 2}
    async with a_bench(tmp_path, faults=[UNCLEAR | {"times": 2}, lost, stuck | {"skip": 1}]) as bench:
        retrieve, polls = bench.client.retrieve, []

        async def late(batch_id):
            polls.append(batch_id)
            if batch_id == [*bench.server._register.records][1] and polls.count(batch_id) <= 3:
                raise NotFoundProviderError("no such batch")
            return await retrieve(batch_id)

        monkeypatch.setattr(bench.client, "retrieve", late)
        summary = await bench.settle()
        running = bench.server.snapshot().requests_total
    assert ({"ok": 10}, {"done": 2}) == (summary.answers, summary.batches)
    assert 0 == running


async def test_a_surplus_batch_that_is_booked_is_not_taken_for_one_that_is_created_later(tmp_path, monkeypatch):
    """The queue turns out to be full for the batch beside it, and the next create of the same file is unclear too."""
    faults = [
        UNCLEAR | {"times": 2},
        {"on": "create", "what": "status", "status": 500},
        {"on": "list", "what": "status", "status": 404, "times": 2},
        {"on": "batch", "what": "stuck", "state": "validating"},
        {"on": "batch", "what": "stuck", "after_lines": 4, "skip": 1},
    ]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle(until=lambda summary: summary.batches.get("done"))
        (kept,) = await bench.store.batches((BatchState.OPEN,))
        retrieve, find = bench.client.retrieve, bench.client.find_batch

        async def full(batch_id):
            seen = await retrieve(batch_id)
            errors = (("token_limit_exceeded", "the queue is full", None),)
            return replace(seen, status="failed", errors=errors) if batch_id == kept.batch_id else seen

        async def listed(**given):
            return [one for one in await find(**given) if one.id != kept.batch_id]

        monkeypatch.setattr(bench.client, "retrieve", full)
        monkeypatch.setattr(bench.client, "find_batch", listed)
        summary = await bench.settle()
        ledger = await bench.ledger()
        done = await bench.store.batches((BatchState.DONE,))
    assert ({"ok": 10}, {"answered": 10}) == (summary.answers, summary.requests)
    assert (3, 10, 14) == (ledger["batches_created"], ledger["lines_uploaded"], ledger["lines_answered"])
    assert 2 == len({one.batch_id for one in done}) == len(done)


async def test_a_file_may_have_surplus_batches_more_than_once(tmp_path, monkeypatch):
    unclear_twice = [UNCLEAR | {"times": 4}, {"on": "list", "what": "status", "status": 404, "times": 2}]
    stuck = [{"on": "batch", "what": "stuck", "state": "validating", "times": 2}]
    async with a_bench(tmp_path, faults=[*unclear_twice, *stuck]) as bench:
        await bench.settle(until=lambda summary: summary.batches.get("done"))
        (kept,) = await bench.store.batches((BatchState.OPEN,))
        retrieve, find, lists = bench.client.retrieve, bench.client.find_batch, []

        async def full(batch_id):
            seen = await retrieve(batch_id)
            errors = (("token_limit_exceeded", "the queue is full", None),)
            return replace(seen, status="failed", errors=errors) if batch_id == kept.batch_id else seen

        async def listed(**given):
            lists.append(given)
            return [one for one in await find(**given) if one.id != kept.batch_id and len(lists) > 3]

        monkeypatch.setattr(bench.client, "retrieve", full)
        monkeypatch.setattr(bench.client, "find_batch", listed)
        summary = await bench.settle()
        ledger = await bench.ledger()
        money = await bench.store.money(bench.clock.now())
    assert ({"ok": 10}, {"done": 3}) == (summary.answers, summary.batches)
    assert (4, 10, 20) == (ledger["batches_created"], ledger["lines_uploaded"], ledger["lines_answered"])
    assert summary.cost_usd == pytest.approx(money.today_usd)


async def test_a_batch_whose_cancelling_is_never_let_through_is_given_up_in_time(tmp_path):
    faults = [
        {"on": "batch", "what": "stuck", "after_lines": 6},
        {"on": "cancel", "what": "status", "status": 409, "times": 0},
    ]
    async with a_bench(tmp_path, faults=faults, window_seconds=7200.0) as bench:
        began = bench.clock.time
        summary = await bench.settle()
    assert {"answered": 10} == summary.requests
    assert 4 * HOUR <= bench.clock.time - began < 6 * HOUR


async def test_a_batch_that_is_not_found_is_not_asked_again_before_it_was_to_have_ended(tmp_path):
    faults = [{"on": "retrieve", "what": "status", "status": 404, "times": 0}]
    async with a_bench(tmp_path, faults=faults, window_seconds=7200.0) as bench:
        began = bench.clock.time
        await bench.settle(until=lambda summary: summary.requests.get("again"))
        assert 3 * HOUR <= bench.clock.time - began < 4 * HOUR
        assert [] == [*(tmp_path / "batches").iterdir()]


async def test_a_batch_that_is_overdue_is_not_lost_for_not_being_found_once(tmp_path):
    faults = [{"on": "retrieve", "what": "status", "status": 404, "times": 2}]
    async with a_bench(tmp_path, faults=faults, window_seconds=7200.0) as bench:
        await bench.settle(until=lambda summary: summary.batches.get("open"))
        bench.clock.time += 48 * HOUR
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"ok": 10} == summary.answers
    assert 1 == ledger["batches_created"]
