"""Money and the life of a batch, by random sequences of what a provider may do, through `core.job` alone.

A model of a provider and a ledger of our side: every call may be carried out or not and be told or not, every batch may
end in any way, its lines be answered, fail, or be lost, and we may be killed at any time. Whatever happens: every job
ends, no sending of a request is booked twice, no answer that was delivered is dropped, and the books say what the
successful responses cost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core import job, pricing
from enricher.core.job import Step
from enricher.core.ledger import BatchState, RequestState
from enricher.core.pricing import BudgetVerdict
from tests.core.test_job import NOW, a_batch

MOST_STEPS = 3000
PRICE = 7
"""Of an answer, in units that add up exactly."""


@dataclass
class Sent:
    """A request of ours, and what became of its sendings."""

    attempt: int = 1
    tries: int = 0
    state: RequestState = RequestState.LIVE
    booked: int = 0


@dataclass
class World:
    """Both sides: what the provider has and charges, and what the ledger holds."""

    draw: object
    requests: list[Sent]
    now: float = NOW
    files: int = 0
    made: dict[str, dict] = field(default_factory=dict)
    billed: Counter = field(default_factory=Counter)
    booked: Counter = field(default_factory=Counter)
    steps: Counter = field(default_factory=Counter)

    def happens(self, *what):
        """One of these; the first more often than the others, so that things end."""
        return self.draw(st.sampled_from((what[0], what[0], *what)))


def step(world, batch):
    """Do one step of a batch as submit and track do; the batch afterwards."""
    world.now += 7 * 60
    todo = job.next_step(batch, world.now)
    world.steps[todo] += 1
    match todo:
        case Step.WAIT:
            world.now = max(world.now, batch.next_at)
            return batch
        case Step.RESERVE:
            return replace(batch, state=BatchState.UPLOADING, intent_at=None)
        case Step.UPLOAD:
            return uploaded(world, replace(batch, intent_at=world.now))
        case Step.FIND_UPLOAD:
            if world.files and world.happens("listed", "hidden") == "listed":
                return replace(batch, state=BatchState.CREATING, input_file_id="file", intent_at=None, looks=0)
            return replace(batch, intent_at=None)
        case Step.CREATE:
            return created(world, replace(batch, intent_at=world.now, looks=0))
        case Step.FIND_BATCH:
            return found(world, batch)
        case _:
            return polled(world, batch)


def uploaded(world, intended):
    match world.happens("told", "refused", "unclear, done", "unclear, not done", "killed, done"):
        case "told":
            world.files += 1
            return replace(intended, state=BatchState.CREATING, input_file_id="file", intent_at=None)
        case "refused":
            return job.held_back(replace(intended, intent_at=None), "no", until=world.now + 60)
        case outcome:
            world.files += not outcome.endswith("not done")
            return job.held_back(intended, "?", until=world.now + 60)


def created(world, intended):
    what = world.happens("told", "refused", "unclear, done", "unclear, not done", "killed, done")
    if what == "refused":
        return job.held_back(replace(intended, intent_at=None), "no", until=world.now + 60)
    if what != "unclear, not done":
        ours = [one.attempt for one in world.requests]
        world.made[f"batch{len(world.made)}"] = {"attempts": ours, "ended": None}
    if what != "told":
        return intended
    return opened(world, intended, list(world.made)[-1])


def opened(world, batch, batch_id):
    limit = job.deadline(created_at=0.0, expires_at=world.happens(86_400.0, 3_600.0), now=world.now)
    return replace(batch, state=BatchState.OPEN, batch_id=batch_id, intent_at=None, expires_at=limit)


def found(world, batch):
    # A look that succeeds shows what was made: what is hidden for longer than two looks is the one thing not covered.
    ours = [key for key, made in world.made.items() if made["ended"] is None]
    if ours:
        return opened(world, batch, ours[0])
    return replace(batch, looks=batch.looks + 1, next_at=world.now + 60)


def polled(world, batch):
    made = world.made[batch.batch_id]
    if made["ended"] is not None:
        # Collected before, and killed before the commit.
        return collected(world, batch, made, made["ended"])
    status = world.happens("completed", "in_progress", "expired", "cancelled", "failed", "queue full", "stuck")
    if status in ("stuck", "in_progress"):
        # Stuck goes on until we cancel; it may be stuck then, too.
        world.now += 3 * 3600 if status == "stuck" else 0
        match job.after_poll(batch, "in_progress", world.now):
            case Step.CANCEL:
                return replace(batch, state=BatchState.CANCELLING, intent_at=world.now)
            case Step.COLLECT:
                return collected(world, batch, made, "cancelled")
            case _:
                return batch
    if status == "queue full":
        # Nothing ran: the batch is no orphan of ours to be adopted.
        made["ended"] = status
        return job.queue_was_full(batch, "full", until=world.now + 60)
    assert job.after_poll(batch, status, world.now) is Step.COLLECT
    return collected(world, batch, made, status)


def collected(world, batch, made, status):
    """Decide each request; repeated once where we are killed before the commit: what is booked, is booked then."""
    if made["ended"] is None:
        made["ended"] = status
        made["lines"] = [
            "nothing" if status == "failed" else world.happens("ok", "invalid", "500", "400", "lost", "expired")
            for _ in world.requests
        ]
        for number, line in enumerate(made["lines"]):
            if line in ("ok", "invalid"):
                world.billed[number, made["attempts"][number]] += PRICE
    if world.happens("committed", "killed") == "killed":
        return batch
    for number, (request, line) in enumerate(zip(world.requests, made["lines"], strict=True)):
        if request.state is not RequestState.LIVE:
            continue
        if line in ("ok", "invalid"):
            fate = job.fate_of_answered([line], tries=request.tries)
            world.booked[number, request.attempt] += PRICE
            request.booked += line == "ok"
        else:
            again = line != "400"
            fate = job.fate_of_unanswered(
                packed=False, again=again, counts=line == "500", tries=request.tries, attempt=request.attempt
            )
        request.tries += fate.counts
        request.state = fate.state
    return replace(batch, state=BatchState.DONE)


def again(world):
    """What is planned after a batch has ended: requests that are to be sent again, under new custom_ids."""
    left = [one for one in world.requests if one.state is RequestState.AGAIN]
    for one in left:
        one.attempt += 1
        one.state = RequestState.LIVE
    return left


@given(st.data(), st.integers(1, 4))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_every_job_ends_nothing_is_booked_twice_and_no_answer_is_dropped(data, count):
    everything = [Sent() for _ in range(count)]
    total_billed, total_booked, steps = 0, 0, 0
    live = everything
    while live:
        world = World(data.draw, live)
        batch = a_batch()
        while batch.state is not BatchState.DONE:
            batch = step(world, batch)
            steps += 1
            assert steps < MOST_STEPS
            assert (batch.state in _RESERVING) == (batch.state not in (BatchState.PLANNED, BatchState.DONE))
        # Charged is what responded; what was booked is that, each sending once.
        assert world.billed == world.booked
        assert set(world.booked.values()) <= {PRICE}
        # An unclear create is looked for, so that one batch at most is with the provider at a time.
        assert sum(made["ended"] is None for made in world.made.values()) == 0
        total_billed += world.billed.total()
        total_booked += world.booked.total()
        live = again(world)
    assert {one.state for one in everything} <= {RequestState.ANSWERED, RequestState.FAILED}
    assert all(one.booked == (one.state is RequestState.ANSWERED) for one in everything)
    assert all(one.attempt <= job.MAX_ATTEMPTS for one in everything)
    assert total_billed == total_booked


_RESERVING = (BatchState.UPLOADING, BatchState.CREATING, BatchState.OPEN, BatchState.CANCELLING)


@given(
    st.lists(st.tuples(st.sampled_from(("reserve", "book", "fail")), st.integers(0, 40)), max_size=40),
    st.integers(1, 60),
    st.integers(1, 90),
)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_what_was_booked_and_reserved_never_exceeds_the_budget(events, daily, monthly):
    """Reserve is the most that a batch can cost: so no order of asking, booking and refunding gets over the limit."""
    reserved, booked = [], 0
    for what, number in events:
        if what == "reserve":
            verdict = pricing.budget_verdict(
                booked_today_usd=booked,
                booked_month_usd=booked,
                reserved_usd=sum(reserved),
                next_usd=number,
                daily_usd=daily,
                monthly_usd=monthly,
            )
            if verdict is BudgetVerdict.WITHIN:
                reserved.append(number)
        elif reserved:
            most = reserved.pop(number % len(reserved))
            booked += min(most, number) if what == "book" else 0
        assert booked + sum(reserved) <= min(daily, monthly)


@pytest.mark.parametrize("skew", [-10 * 365 * 86_400.0, -3600.0, 0.0, 3600.0, 10 * 365 * 86_400.0])
def test_deadline_is_kept_whatever_the_difference_of_the_clocks(skew):
    provider = NOW + skew
    due = job.deadline(created_at=provider, expires_at=provider + 7200, now=NOW)
    batch = a_batch(state=BatchState.OPEN, expires_at=due)
    assert job.after_poll(batch, "in_progress", NOW + 7200 + job.OVERDUE_SECONDS - 1) is Step.WAIT
    assert job.after_poll(batch, "in_progress", NOW + 7200 + job.OVERDUE_SECONDS) is Step.CANCEL


@pytest.mark.parametrize(
    ("created_at", "expires_at", "seconds"),
    [
        (NOW, None, job.WINDOW_SECONDS),
        (None, NOW, job.WINDOW_SECONDS),
        (NOW, NOW, job.WINDOW_SECONDS),
        (NOW, NOW - 5, job.WINDOW_SECONDS),
        (NOW * 1000, (NOW + 86_400) * 1000, job.LONGEST_WINDOW_SECONDS),
    ],
)
def test_batch_has_a_deadline_whatever_a_provider_says(created_at, expires_at, seconds):
    assert NOW + seconds == job.deadline(created_at=created_at, expires_at=expires_at, now=NOW)
