"""What is paid, through real stages, store, client and server: nothing twice, nothing unbooked, nothing over budget."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace

import pytest

from enricher import app, provider
from enricher.compose import Mode, source_of
from enricher.config import Config, ProviderSettings, SinkSettings
from enricher.core import job
from enricher.core.ledger import BatchState
from enricher.edges.clock_system import SettledClock
from enricher.edges.store_sqlite import SqliteStore
from enricher.telemetry import Telemetry
from tests.core.test_job import a_batch
from tests.edges.test_store_sqlite import in_database
from tests.stages.bench import MODEL, TASK, a_bench, spool_kinds

WINDOW = 1_794_996_000
HOUR, DAY, YEARS = 3600.0, 86_400.0, 10 * 365 * 86_400.0


async def test_what_another_host_uploaded_for_the_same_window_is_not_taken_for_ours(tmp_path):
    faults = [{"on": "upload", "what": "reset", "skip": 1}]
    async with a_bench(tmp_path, faults=faults, kinds=2) as ours:
        # The other host of the account has planned the same part of the same window.
        await ours.plan.step()
        (batch,) = await ours.store.batches((BatchState.PLANNED,))
        theirs = replace(batch, job="of another host")
        path = tmp_path / "theirs.jsonl"
        path.write_bytes(b'{"custom_id":"r0123456789abcdef-1","method":"POST","url":"/v1/responses","body":{}}\n')
        kept = await ours.client.upload(path, theirs.upload_name)
        summary = await ours.settle()
        await ours.client.download(kept, tmp_path / "kept.jsonl", max_bytes=1 << 20)
        ledger = await ours.ledger()
    assert {"ok": 2} == summary.answers
    assert (1, 2) == (ledger["batches_created"], ledger["lines_answered"])


@pytest.mark.parametrize("at_create", [False, True])
async def test_a_file_larger_than_the_queue_is_cut_anew_and_all_is_answered(tmp_path, at_create):
    text = "Enqueued token limit reached for gpt-6-luna in organization org-x. Limit: 3,000 enqueued tokens."
    refused = {"on": "create", "what": "status", "status": 429, "code": "token_limit_exceeded", "message": text}
    async with a_bench(tmp_path, faults=[refused] if at_create else [], enqueued_tokens=3000) as bench:
        await bench.plan.step()
        (batch,) = await bench.store.batches((BatchState.PLANNED,))
        assert batch.tokens > 3000
        summary = await bench.settle()
        ledger = await bench.ledger()
        files = list((tmp_path / "batches").iterdir())
        assert 3000 == await bench.store.token_limit(batch.model, bench.clock.now())
        assert 0 == await bench.store.reserved_tokens(batch.model)
    assert {"ok": 10} == summary.answers
    assert 10 == ledger["lines_answered"]
    assert [] == files


async def test_a_limit_of_long_ago_is_tried_again_and_learned_anew_where_it_still_holds(tmp_path):
    async with a_bench(tmp_path, enqueued_tokens=3000) as bench:
        now = bench.clock.now()
        await bench.store.learn_token_limit(MODEL, 3000, now - 30 * DAY)
        await bench.plan.step()
        (batch,) = await bench.store.batches((BatchState.PLANNED,))
        assert batch.tokens > 3000
        summary = await bench.settle()
        assert 3000 == await bench.store.token_limit(MODEL, bench.clock.now())
        assert {"ok": 10} == summary.answers
        assert 10 == (await bench.ledger())["lines_answered"]


async def test_a_limit_that_was_raised_since_holds_up_nothing_for_ever(tmp_path):
    async with a_bench(tmp_path) as bench:
        await bench.store.learn_token_limit(MODEL, 3000, bench.clock.now())
        await bench.plan.step()
        at_first = await bench.store.batches((BatchState.PLANNED,))
        assert len(at_first) > 1
        assert all(batch.tokens <= 3000 for batch in at_first)
        await bench.settle()
        bench.clock.time += 4 * DAY
        await spool_kinds(bench.store, 20, start=WINDOW + 3600)
        await bench.plan.step()
        (batch,) = await bench.store.batches((BatchState.PLANNED,))
        assert batch.tokens > 3000
        assert {"ok": 20} == (await bench.settle()).answers


@pytest.mark.parametrize("lines", [0, 6, 10])
async def test_a_batch_created_in_vain_is_cancelled_and_what_it_cost_is_booked_once(tmp_path, lines):
    faults = [
        {"on": "create", "what": "accepted_status", "status": 500, "times": 2},
        # It was looked for twice in vain, and so was created again.
        {"on": "list", "what": "status", "status": 404, "times": 2},
        {"on": "batch", "what": "stuck", "state": "in_progress", "after_lines": lines, "skip": 1},
        {"on": "cancel", "what": "status", "status": 500},
    ]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle(until=lambda summary: summary.batches.get("done") == 1)
        (vain,) = await bench.store.batches((BatchState.OPEN, BatchState.CANCELLING))
        assert 0 < vain.reserved_usd == (await bench.store.money(bench.clock.now())).reserved_usd
        assert vain.tokens == await bench.store.reserved_tokens(MODEL)
        summary = await bench.settle()
        ledger = await bench.ledger()
        money = await bench.store.money(bench.clock.now())
        rows = [await bench.store.bookings(by_day=by_day) for by_day in (True, False)]
    assert ({"ok": 10}, {"done": 2}) == (summary.answers, summary.batches)
    assert (2, 10, 10 + lines) == (ledger["batches_created"], ledger["lines_uploaded"], ledger["lines_answered"])
    paid = [usd for (usd,) in in_database(tmp_path / "state", "SELECT cost_usd FROM requests ORDER BY position")]
    assert summary.cost_usd == pytest.approx(sum(paid) + sum(paid[:lines]))
    assert (summary.cost_usd, 0.0) == (pytest.approx(money.today_usd), money.reserved_usd)
    for bookings in rows:
        assert summary.cost_usd == pytest.approx(sum(one.paid_usd for one in bookings))
        assert summary.output_tokens == sum(one.output_tokens for one in bookings)


@pytest.mark.parametrize("status", [403, 429])
async def test_an_account_without_money_is_waited_for_and_shown(tmp_path, status):
    refused = {"on": "create", "what": "status", "status": status, "code": "insufficient_quota", "times": 3}
    async with a_bench(tmp_path, faults=[refused | {"message": "You exceeded your current quota."}]) as bench:
        await bench.settle(until=lambda _: bench.submit.blocked is not None)
        assert "billing" in bench.submit.blocked.hint
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"ok": 10} == summary.answers
    assert (1, 10) == (ledger["batches_created"], ledger["lines_uploaded"])
    assert bench.submit.blocked is None


async def test_a_batch_that_fails_for_want_of_money_is_created_again_from_the_same_file(tmp_path):
    failed = {"on": "batch", "what": "fail", "code": "billing_hard_limit_reached", "message": "no money", "times": 4}
    async with a_bench(tmp_path, faults=[failed]) as bench:
        await bench.settle(until=lambda _: bench.track.blocked is not None)
        assert "billing" in bench.track.blocked.hint
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"ok": 10} == summary.answers
    assert (5, 10) == (ledger["batches_created"], ledger["lines_uploaded"])
    assert bench.track.blocked is None


async def test_lines_that_fail_for_want_of_money_use_up_no_try(tmp_path):
    failed = {"on": "line", "what": "status", "status": 429, "code": "insufficient_quota", "times": 2 * 8}
    async with a_bench(tmp_path, faults=[failed], kinds=2) as bench:
        await bench.settle(until=lambda _: bench.track.blocked is not None)
        began = bench.clock.time
        summary = await bench.settle()
    assert {"answered": 2} == summary.requests
    # Not twenty times within a minute: 1, 2, 4, 8, 16 minutes and then half an hour apart.
    assert bench.clock.time - began > HOUR


async def test_what_was_answered_to_a_task_that_was_changed_meanwhile_is_kept_and_booked(tmp_path):
    async with a_bench(tmp_path, kinds=3) as bench:
        await bench.settle(until=lambda summary: summary.batches.get("open"))
        # What a restart with other words in the task is.
        changed = replace(TASK, system=TASK.system + " Be brief.")
        bench.track._workload._task = changed
        bench.plan._settings = replace(bench.plan._settings, task=changed)
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"ok": 3} == summary.answers
    assert summary.cost_usd > 0
    assert 3 == ledger["lines_answered"]


# ---------------------------------------------------------------- budgets, and clocks that are set


async def spend(store, usd, now):
    """Book a batch that cost so much."""
    number = await store.next_part(WINDOW)
    batch = a_batch(id=0, name=f"p{number}", job=f"job{number}", window=WINDOW, part=number)
    (made,) = await store.commit_plan(closed={}, requests=[], batches=[(batch, [])], task="t", model="m", now=now)
    await store.collect(replace(made, state=BatchState.DONE, cost_usd=usd), (), now)


async def booked(store, now):
    money = await store.money(now)
    return money.today_usd, money.month_usd


@pytest.fixture
async def store(tmp_path):
    made = await SqliteStore.open(tmp_path / "state")
    yield made
    await made.close()


NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z


@pytest.mark.parametrize("step", [-HOUR, -13 * HOUR, -40 * DAY, -YEARS])
async def test_no_budget_is_spent_twice_by_a_clock_that_is_set_back_and_put_right(store, step):
    await spend(store, 3.0, NOON)
    assert (3.0, 3.0) == await booked(store, NOON + step)
    await spend(store, 1.0, NOON + step)
    assert (4.0, 4.0) == await booked(store, NOON + step)
    # What was spent meanwhile is dated by the wrong clock; what was spent before counts as it did.
    assert (await booked(store, NOON + 60))[0] >= 3.0


@pytest.mark.parametrize("step", [3 * DAY, 40 * DAY, YEARS])
async def test_what_was_booked_by_a_clock_that_was_ahead_stops_no_day_but_the_one_it_is_seen_on(store, step):
    await spend(store, 3.0, NOON + step)
    assert (3.0, 3.0) == await booked(store, NOON)
    assert (3.0, 3.0) == await booked(store, NOON + 11 * HOUR)
    assert (0.0, 3.0) == await booked(store, NOON + DAY)
    assert (0.0, 0.0) == await booked(store, NOON + 11 * DAY)
    # When that time has come, it counts again: too much rather than too little.
    assert (3.0, 3.0) == await booked(store, NOON + step)


async def test_a_restart_forgets_nothing_of_what_was_booked_and_reserved(tmp_path):
    async with a_bench(tmp_path, kinds=2) as bench:
        await bench.settle(until=lambda summary: summary.batches.get("open"))
        before = await bench.store.money(bench.clock.now())
        assert before.reserved_usd > 0
        await bench.store.close()
        again = await SqliteStore.open(tmp_path / "state")
        assert before == await again.money(bench.clock.now())
        await again.close()


class Clocks:
    """A wall clock and a monotonic one, each moved by hand."""

    def __init__(self):
        self.wall, self.mono = NOON, 5.0

    def now(self):
        return self.wall

    def monotonic(self):
        return self.mono

    def go_on(self, seconds):
        self.wall += seconds
        self.mono += seconds


@pytest.mark.parametrize("step", [-YEARS, -DAY, -HOUR, -2.0, 2.0, HOUR, DAY, YEARS])
def test_a_clock_that_was_set_is_believed_after_an_hour_and_one_that_is_put_right_never_was_wrong(step):
    clocks = Clocks()
    settled = SettledClock(clocks)
    clocks.go_on(60)
    clocks.wall += step
    for _ in range(59):
        assert settled.now() == clocks.wall - step
        clocks.go_on(60)
    clocks.wall -= step
    assert settled.now() == clocks.wall
    clocks.wall += step
    for _ in range(60):
        assert settled.now() == clocks.wall - step
        clocks.go_on(60)
    assert settled.now() == clocks.wall


def test_a_clock_that_is_slewed_is_followed():
    clocks = Clocks()
    settled = SettledClock(clocks)
    for _ in range(1000):
        clocks.go_on(10)
        clocks.wall += 0.005
        assert settled.now() == clocks.wall


async def test_a_leap_of_the_clock_opens_no_budget_and_cancels_no_batch(tmp_path):
    async with a_bench(tmp_path, kinds=2, daily_usd=0.004) as bench:
        clocks = Clocks()
        settled = SettledClock(clocks)
        bench.submit._clock = bench.track._clock = bench.track._workload._clock = settled
        await bench.settle(until=lambda summary: summary.batches.get("open"))
        clocks.wall += YEARS
        clocks.go_on(60)
        while (await bench.store.summary(0)).batches.get("open"):
            assert not await bench.store.batches((BatchState.CANCELLING,))
            await bench.track.step()
            clocks.go_on(60)
        spent = (await bench.store.money(settled.now())).today_usd
        assert spent > 0
        # More is asked while the clock is wrong, and it is more than this day has left.
        await spool_kinds(bench.store, 6, start=WINDOW + 3600)
        await bench.plan.step()
        await bench.submit.step()
        assert (await bench.store.summary(0)).requests["skipped"] == 3  # the fourth has room beside what was spent
        clocks.wall -= YEARS
        assert spent == (await bench.store.money(settled.now())).today_usd
        ledger = await bench.ledger()
    assert (1, 2) == (ledger["batches_created"], ledger["lines_answered"])


async def test_of_a_batch_larger_than_the_budget_of_a_day_as_much_is_asked_as_there_is_money_for(tmp_path):
    """The most frequent kinds first; the others go out as skipped, and are asked when they are seen again."""
    async with a_bench(tmp_path, daily_usd=0.0125) as bench:
        await bench.plan.step()
        (batch,) = await bench.store.batches((BatchState.PLANNED,))
        assert 0.0125 < batch.reserved_usd < 0.025
        summary = await bench.settle()
        first = summary.requests["answered"]
        assert first + summary.requests["skipped"] == 10
        # What an answer can cost at most is reserved: what it cost leaves room for more.
        assert summary.cost_usd <= 0.0125 < batch.reserved_usd * (first + 1) / 10 + 0.0001
        outcomes = await bench.store.undecided((WINDOW, 0))
        assert ["ok"] * first + ["skipped_budget"] * (10 - first) == sorted(one.status for one in outcomes)
        await bench.store.decide((WINDOW, 0), outcomes, events_per_part=100)
        bench.clock.time += DAY
        await spool_kinds(bench.store, 10, start=WINDOW + 3600)
        assert {"answered": 10} == (await bench.settle()).requests
        ledger = await bench.ledger()
    assert (2, 10) == (ledger["batches_created"], ledger["lines_answered"])


async def test_a_batch_that_fits_into_no_day_is_not_held_for_ever(tmp_path):
    async with a_bench(tmp_path, daily_usd=0.0125, hold=True) as bench:
        days = 0
        answered = 0
        while answered < 10:
            summary = await bench.settle(until=lambda found, had=answered: found.requests.get("answered", 0) > had)
            answered = summary.requests["answered"]
            spent = (await bench.store.money(bench.clock.now())).today_usd
            assert 0 < spent <= 0.0125
            assert not summary.requests.get("skipped")
            bench.clock.time += DAY
            days += 1
            assert days < 5
        ledger = await bench.ledger()
    assert days > 1
    assert 10 == ledger["lines_uploaded"] == ledger["lines_answered"]


@pytest.mark.parametrize(("model", "is_said"), [("gpt-6-luna", False), ("of a neighbour", True)])
async def test_a_budget_that_cannot_be_held_for_want_of_a_price_is_told_of_at_the_start(
    tmp_path, capsys, model, is_said
):
    config = Config(
        state_dir=tmp_path / "state",
        sources=(source_of([tmp_path], "logs"),),
        sinks=(SinkSettings(id="files", directory=tmp_path / "enriched"),),
        provider=ProviderSettings(base_url="https://api.openai.com/v1", model=model),
    )
    environment = {"OPENAI_API_KEY": "sk-of-nobody"}
    chosen = provider.choose(config, environment=environment, config_path=None, now=app.wall_time())
    enricher = app.Enricher(config=config, provider=chosen, telemetry=Telemetry(), mode=Mode(once=True))
    await enricher.open()
    await enricher.close()
    assert is_said == ("price_unknown" in capsys.readouterr().out)


@pytest.mark.parametrize("state", [BatchState.OPEN, BatchState.CANCELLING])
def test_a_batch_from_before_the_clock_was_set_back_still_has_a_deadline(state):
    batch = a_batch(state=state, expires_at=NOON + YEARS, intent_at=NOON + YEARS)
    batch = job.within_reach(batch, NOON)
    late = NOON + job.WINDOW_SECONDS + job.OVERDUE_SECONDS
    expected = job.Step.CANCEL if state is BatchState.OPEN else job.Step.COLLECT
    assert job.after_poll(batch, "cancelling", NOON) is job.Step.WAIT
    assert job.after_poll(batch, "in_progress", late) is expected
    # One that is as it may be is left alone.
    assert batch == job.within_reach(batch, NOON + 60)


async def test_those_that_go_at_once_do_not_take_the_same_room_in_the_queue(tmp_path):
    async with a_bench(tmp_path, kinds=4, max_requests=2) as bench:
        await bench.plan.step()
        first, second = await bench.store.batches((BatchState.PLANNED,))
        await bench.store.learn_token_limit(first.model, first.tokens + second.tokens - 1, bench.clock.now())
        turn = asyncio.Lock()

        def sends(batch):
            workload = copy.copy(bench.submit._workload)
            workload.takes = lambda one: one.id == batch.id
            submit = copy.copy(bench.submit)
            submit._workload, submit._turn = workload, turn
            return submit

        await asyncio.gather(sends(first).step(), sends(second).step())
        assert [first.tokens] == [one.tokens for one in await bench.store.batches((BatchState.UPLOADING,))]
