"""Money and the life of a batch, by random sequences of what a provider may do, through the pure core alone.

A model of a provider and a ledger of our side: every call may be carried out or not and be told or not, every batch may
say any word and end in any way, its lines be answered, fail, be lost, come twice, in another order and among rubbish;
the wall clock may be set, and we may be killed between any two steps, so that only what was saved is left. Whatever
happens: every job ends, no sending of a request is booked twice, no answer that was delivered is dropped, and the books
say what the successful responses cost.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core import batch as batch_lines
from enricher.core import job, pricing
from enricher.core.collecting import Decider, Ending
from enricher.core.job import Step
from enricher.core.ledger import BatchState, LedgerRequest, RequestState
from enricher.core.pricing import BudgetVerdict, Prices
from tests.core.test_answer import PACKED, an_answer, responses_body
from tests.core.test_job import NOW, a_batch

MOST_STEPS = 4_000
ENDINGS = ("completed", "expired", "cancelled", "canceled", "failed")
TOKENS = 7
"""Of an answer. At a dollar each, so that it adds up exactly."""
PRICES = Prices(
    input_usd=0.0,
    cached_usd=0.0,
    output_usd=0.0,
    batch_input_usd=0.0,
    batch_cached_usd=0.0,
    batch_output_usd=1_000_000.0,
    as_of="2026-11-22",
)
ANSWERED = ("ok", "partly", "invalid", "refused")
"""What a line may hold that is charged; `partly`: one of its kinds is not as it must be."""
LINES = (*ANSWERED, "500", "400", "401", "no money", "lost", "expired", "no body")


@dataclass
class World:
    """Both sides: what the provider has and charges, and what the ledger holds."""

    chance: random.Random
    now: float = NOW
    batch: object = None
    requests: dict[str, LedgerRequest] = field(default_factory=dict)
    """By id: the ledger's rows."""
    answers: dict[str, str] = field(default_factory=dict)
    """By kind: the status of the answer that is stored."""
    booked: Counter = field(default_factory=Counter)
    """By custom_id, what was booked."""
    files: int = 0
    made: list[dict] = field(default_factory=list)
    """The provider's batches."""
    billed: Counter = field(default_factory=Counter)
    good: set = field(default_factory=set)
    """Kinds that had a good answer in a file that was fetched."""
    steps: int = 0

    def __post_init__(self):
        # Some providers are odd for good: nothing ever ends, or every line meets the same fate.
        self.never_ends = self.chance.random() < 0.15
        self.stubborn = self.chance.choice((*LINES, *[None] * 10))
        self.clock_is_set = self.chance.randint(0, 3)

    def passes(self):
        """Time goes by; the wall clock is set a few times in a life."""
        self.now += 420
        if self.clock_is_set and self.chance.random() < 0.1:
            self.clock_is_set -= 1
            self.now += self.chance.choice((-3600, 3600, 10 * 365 * 86_400, -10 * 365 * 86_400))

    def fate(self):
        """What becomes of a line."""
        return self.stubborn if self.stubborn and self.chance.random() < 0.97 else self.happens(*LINES)

    def happens(self, *what):
        """One of these; the first more often than the others, so that things end."""
        return self.chance.choice((what[0], what[0], *what))


def step(world):
    """Do one step of the batch as submit and track do. We may be killed at each yield; what was saved stays."""
    batch = job.within_reach(world.batch, world.now)
    match job.next_step(batch, world.now):
        case Step.WAIT:
            pass
        case Step.RESERVE:
            world.batch = replace(batch, state=BatchState.UPLOADING, intent_at=None)
        case Step.UPLOAD:
            yield from upload(world, batch)
        case Step.FIND_UPLOAD:
            listed = world.files and world.happens("listed", "hidden") == "listed"
            yield
            world.batch = uploaded(batch) if listed else replace(batch, intent_at=None)
        case Step.CREATE:
            yield from create(world, batch)
        case Step.FIND_BATCH:
            # What a list hides for longer than two looks is the one thing not covered.
            ours = [number for number, made in enumerate(world.made) if made["ended"] not in ("failed", "queue full")]
            yield
            world.batch = opened(world, batch, ours[0]) if ours else looked(world, batch)
        case _:
            yield from poll(world, batch)


def upload(world, batch):
    world.batch = batch = replace(batch, intent_at=world.now)
    yield
    what = world.happens("told", "refused", "unclear, done", "unclear, not done")
    world.files += what in ("told", "unclear, done")
    yield
    if what == "told":
        world.batch = uploaded(batch)
    else:
        intent_at = None if what == "refused" else batch.intent_at
        world.batch = job.held_back(replace(batch, intent_at=intent_at), "?", hint="", now=world.now, wait=60)


def uploaded(batch):
    return replace(batch, state=BatchState.CREATING, input_file_id="file", intent_at=None, looks=0)


def create(world, batch):
    world.batch = batch = replace(batch, intent_at=world.now, looks=0)
    yield
    what = world.happens("told", "refused", "unclear, done", "unclear, not done")
    if what in ("told", "unclear, done"):
        world.made.append({"ended": None, "lines": None})
    yield
    if what == "told":
        world.batch = opened(world, batch, len(world.made) - 1)
    else:
        intent_at = None if what == "refused" else batch.intent_at
        world.batch = job.held_back(replace(batch, intent_at=intent_at), "?", hint="", now=world.now, wait=60)


def opened(world, batch, number):
    limit = job.deadline(created_at=0.0, expires_at=world.happens(86_400.0, 3_600.0, None), now=world.now)
    return replace(batch, state=BatchState.OPEN, batch_id=str(number), intent_at=None, expires_at=limit, next_at=0.0)


def looked(world, batch):
    return replace(batch, looks=batch.looks + 1, next_at=world.now + 60)


def poll(world, batch):
    made = world.made[int(batch.batch_id)]
    if made["ended"] is None:
        going_on = ("in_progress", "finalizing", "a word of tomorrow", "")
        status = world.happens(*going_on) if world.never_ends else world.happens(*ENDINGS, *going_on, "queue full")
        if status == "queue full":
            # Nothing ran: it is no orphan of ours to be adopted.
            made["ended"] = status
        if status in ENDINGS:
            end(world, made, status)
    else:
        status = made["ended"]
    yield
    if status == "queue full":
        world.batch = job.queue_was_full(batch, "full", hint="", now=world.now, wait=60)
        return
    match job.after_poll(batch, status, world.now):
        case Step.CANCEL:
            yield
            world.batch = job.cancelling(batch, world.now)
        case Step.COLLECT:
            if made["ended"] is None:
                # Given up while it is stuck: what its files hold by now is all that there will be.
                end(world, made, "cancelled")
            yield from collect(world, batch, made)
        case waiting:
            assert waiting is Step.WAIT
            assert status not in ENDINGS
            world.batch = replace(batch, status=status)
            world.now += world.happens(600, 3 * 3600)


def end(world, made, status):
    """The batch ends at the provider: its lines are answered, and charged."""
    made["ended"], made["lines"] = status, []
    for request in world.requests.values():
        if request.state is RequestState.LIVE:
            what = "never ran" if status == "failed" else world.fate()
            custom_id = batch_lines.custom_id(request.id, request.attempt)
            world.billed[custom_id] += TOKENS * (what in ANSWERED)
            world.good |= {"ok": set(request.signatures), "partly": set(request.signatures[1:])}.get(what, set())
            made["lines"] += lines_of(world, custom_id, request, what)
    # Which files they are in makes no difference: both are read as one.
    world.chance.shuffle(made["lines"])


def lines_of(world, custom_id, request, what):
    """What the result files hold of a request: mostly one line, perhaps more, and perhaps rubbish beside it."""
    found = {"lost": [], "never ran": []}.get(what, [line(custom_id, request, what)])
    extra = world.happens("nothing", "nothing", "twice", "failed too", "unknown", "rubbish")
    if extra == "twice":
        return found * 2
    if extra == "failed too" and what in ANSWERED:
        return [*found, line(custom_id, request, "500")]
    if extra == "unknown":
        return [*found, line("rffffffffffffffff-1", request, "ok")]
    return [*found, b'{"custom_id": "r\xff'] if extra == "rubbish" else found


def line(custom_id, request, what):
    response, error = None, None
    codes = {
        "500": (500, "server_error"),
        "400": (400, "bad"),
        "401": (401, "key"),
        "no money": (429, "insufficient_quota"),
    }
    if what in codes:
        status, code = codes[what]
        response = {"status_code": status, "body": {"error": {"code": code, "message": "no"}}}
    elif what == "expired":
        error = {"code": "batch_expired", "message": "too late"}
    elif what == "no body":
        response = {"status_code": 200, "body": "<html>"}
    else:
        response = {"status_code": 200, "body": body(request, what)}
    return json.dumps({"custom_id": custom_id, "response": response, "error": error}).encode()


def body(request, what):
    given = {f"s{number}": an_answer(slots=[], summary="So.") for number in range(1, len(request.signatures) + 1)}
    if what == "partly":
        del given["s1"]
    text = "no" if what == "invalid" else json.dumps(given)
    made = responses_body(text, usage={"input_tokens": 0, "output_tokens": TOKENS})
    if what == "refused":
        made["output"] = [{"type": "message", "content": [{"type": "refusal", "refusal": "I will not."}]}]
    return made


def collect(world, batch, made):
    """Decide each request by the core, and commit all of it at once."""
    live = [one for one in world.requests.values() if one.state is RequestState.LIVE]
    decider = Decider(task=PACKED, prices=PRICES, now=world.now)
    chunks = [one + b"\n" for one in made["lines"]]
    decided = decider.decide(batch, Ending(status=made["ended"]), live, chunks)
    assert [one.id for one in live] == [result.id for result in decided.results]
    yield
    for request, result in zip(live, decided.results, strict=True):
        world.booked[result.custom_id] += result.cost_usd
        world.requests[request.id] = replace(request, state=result.state, tries=request.tries + result.counts)
        for answer in result.answers:
            if world.answers.get(answer.signature) != "ok":
                world.answers[answer.signature] = answer.status
        if result.state is RequestState.SPLIT:
            for number, signature in enumerate(request.signatures):
                if world.answers.get(signature) != "ok":
                    alone = f"{request.id[:-1]}{number}"
                    world.requests[alone] = a_request(alone, [signature], tries=request.tries + 1)
    world.batch = replace(batch, state=BatchState.DONE)


def a_request(request_id, signatures, **changes):
    return LedgerRequest(
        id=request_id,
        task=PACKED.hash,
        model="m",
        endpoint="/v1/responses",
        signatures=tuple(signatures),
        templates=("a",) * len(signatures),
        body=b"{}",
        tokens=1,
        reserved_usd=0.0,
        window=0,
        **{"state": RequestState.LIVE, "attempt": 1, "tries": 0, **changes},
    )


def run(world):
    """Batch after batch, until nothing is left to send."""
    while any(one.state is RequestState.LIVE for one in world.requests.values()):
        world.batch, world.files, world.made = a_batch(), 0, []
        while world.batch.state is not BatchState.DONE:
            world.steps += 1
            assert world.steps < MOST_STEPS
            world.passes()
            for _ in step(world):
                if world.happens("on", "on", "on", "killed") == "killed":
                    break
        # An unclear create is looked for, so that there is one batch at most that runs anything.
        assert sum(made["ended"] not in ("failed", "queue full") for made in world.made) <= 1
        for request in list(world.requests.values()):
            if request.state is RequestState.AGAIN:
                again = replace(request, attempt=request.attempt + 1, state=RequestState.LIVE)
                world.requests[request.id] = again


@given(st.integers(0, 1 << 32), st.lists(st.integers(1, 3), min_size=1, max_size=3))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_every_job_ends_nothing_is_booked_twice_and_no_answer_is_dropped(seed, sizes):
    world = World(random.Random(seed))
    kinds = []
    for number, size in enumerate(sizes):
        mine = [f"k{number}{place}" for place in range(size)]
        request = a_request(f"r{number:015d}9", mine)
        world.requests[request.id] = request
        kinds += mine
    run(world)
    over = {RequestState.ANSWERED, RequestState.FAILED, RequestState.SPLIT}
    assert {one.state for one in world.requests.values()} <= over
    assert all(one.attempt <= job.MAX_ATTEMPTS for one in world.requests.values())
    assert sorted(kinds) == sorted(world.answers)
    # Charged is what responded; what was booked is that, each sending once.
    assert +world.billed == +world.booked
    assert set((+world.booked).values()) <= {TOKENS}
    assert {kind for kind, status in world.answers.items() if status == "ok"} == world.good


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
