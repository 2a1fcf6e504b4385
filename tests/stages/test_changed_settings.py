"""A daemon that comes back with another model, task or endpoint: what was not sent is planned for those of today.

What was paid stays booked, to the day as to the window, and no request waits for ever for a model that nobody asks.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from enricher.batchserver.backend_schema import SchemaBackend
from enricher.core.ledger import BatchState
from enricher.edges.clock_system import SystemClock
from tests.stages.bench import TASK, a_bench

WINDOW = (1_794_996_000, 0)
CHANGES = {
    "model": {"model": "another"},
    "task": {"task": replace(TASK, system=TASK.system + " Be brief.")},
    "endpoint": {"endpoint": "/v1/chat/completions"},
}


class EmptyOnce(SchemaBackend):
    """Answers nothing usable, and has it paid, the first time that it is asked a thing."""

    def __init__(self):
        super().__init__(SystemClock())
        self.asked = set()

    async def answer(self, endpoint, body):
        status, said = await super().answer(endpoint, body)
        if endpoint == "/v1/responses" and str(body) not in self.asked:
            self.asked.add(str(body))
            said["output"][-1]["content"][-1]["text"] = "no JSON"
        return status, said


def change(bench, **settings):
    """What a restart with another configuration is, to the plan."""
    bench.plan._settings = replace(bench.plan._settings, **settings)


@pytest.mark.parametrize("change_of", CHANGES)
async def test_settings_that_are_put_back_before_anything_was_sent_leave_no_kind_unasked(tmp_path, change_of):
    async with a_bench(tmp_path) as bench:
        before = bench.plan._settings
        await bench.plan.step()
        change(bench, **CHANGES[change_of])
        await bench.plan.step()
        bench.plan._settings = before
        summary = await bench.settle()
        outcomes = await bench.store.undecided(WINDOW)
        ledger = await bench.ledger()
    assert {"ok"} == {one.status for one in outcomes}
    assert {"answered": 10} == summary.requests
    assert (1, 10) == (ledger["batches_created"], ledger["lines_answered"])


@pytest.mark.parametrize("change_of", CHANGES)
async def test_what_was_to_be_sent_again_does_not_wait_for_what_is_not_asked_any_more(tmp_path, change_of):
    expired = {"on": "batch", "what": "expire", "after_lines": 6}
    async with a_bench(tmp_path, faults=[expired]) as bench:
        await bench.settle(until=lambda summary: summary.requests.get("again"))
        change(bench, **CHANGES[change_of])
        summary = await bench.settle()
        outcomes = await bench.store.undecided(WINDOW)
    assert {"answered"} == set(summary.requests)
    assert {"ok"} == {one.status for one in outcomes}


@pytest.mark.parametrize("change_of", CHANGES)
async def test_what_was_paid_for_an_answer_that_is_asked_anew_elsewhere_stays_with_its_window(tmp_path, change_of):
    async with a_bench(tmp_path, backend=EmptyOnce()) as bench:
        await bench.settle(until=lambda summary: summary.requests.get("again"))
        paid = (await bench.store.summary(bench.clock.now())).cost_usd
        change(bench, **CHANGES[change_of])
        summary = await bench.settle()
        rows = [await bench.store.bookings(by_day=by_day) for by_day in (True, False)]
        assert not await bench.store.batches((BatchState.PLANNED, BatchState.OPEN))
    assert 0 < paid < summary.cost_usd
    assert {"again", "live"}.isdisjoint(summary.requests)
    for bookings in rows:
        assert summary.cost_usd == pytest.approx(sum(one.paid_usd for one in bookings))
