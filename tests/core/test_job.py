"""The life cycle of a batch and of its requests, decided purely."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core import job
from enricher.core.job import Step
from enricher.core.ledger import BatchState, LedgerBatch, RequestState

NOW = 1_795_000_000.0


def a_batch(**changes) -> LedgerBatch:
    batch = LedgerBatch(
        id=1,
        name="2026-11-22T10Z-p000-a1.jsonl",
        job="job",
        window=0,
        part=0,
        attempt=1,
        windows=1,
        task="t",
        model="m",
        endpoint="/v1/responses",
        state=BatchState.PLANNED,
        requests=1,
        size_bytes=1,
        tokens=1,
        reserved_usd=0.0,
    )
    return replace(batch, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Step.RESERVE),
        ({"next_at": NOW + 1}, Step.WAIT),
        ({"next_at": NOW + 3600}, Step.WAIT),
        # Nobody waits for longer than an hour: the clock was set back.
        ({"next_at": NOW + 3601}, Step.RESERVE),
        ({"state": BatchState.UPLOADING}, Step.UPLOAD),
        ({"state": BatchState.UPLOADING, "intent_at": NOW}, Step.FIND_UPLOAD),
        ({"state": BatchState.CREATING}, Step.CREATE),
        ({"state": BatchState.CREATING, "intent_at": NOW}, Step.FIND_BATCH),
        ({"state": BatchState.CREATING, "intent_at": NOW, "looks": 1}, Step.FIND_BATCH),
        ({"state": BatchState.CREATING, "intent_at": NOW, "looks": 2}, Step.CREATE),
        ({"state": BatchState.OPEN}, Step.POLL),
        ({"state": BatchState.CANCELLING}, Step.POLL),
        ({"state": BatchState.DONE}, Step.WAIT),
    ],
)
def test_ledger_alone_tells_what_a_batch_needs(changes, expected):
    assert expected is job.next_step(a_batch(**changes), NOW)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Step.RESERVE),
        ({"state": BatchState.CREATING}, Step.CREATE),
        ({"state": BatchState.CREATING, "intent_at": NOW}, Step.FIND_BATCH),
        # What may be there already is not created again before its time.
        ({"state": BatchState.CREATING, "intent_at": NOW, "looks": 2}, Step.FIND_BATCH),
    ],
)
def test_what_waits_can_be_tried_at_once_but_not_what_costs_twice(changes, expected):
    batch = a_batch(**changes, next_at=NOW + 30)
    assert Step.WAIT is job.next_step(batch, NOW)
    assert expected is job.next_step(batch, NOW, at_once=True)


def test_a_look_before_its_time_does_not_count():
    batch = a_batch(state=BatchState.CREATING, intent_at=NOW, next_at=NOW + 30)
    assert batch == job.looked_in_vain(batch, NOW + 29, until=NOW + 60)
    looked = job.looked_in_vain(batch, NOW + 30, until=NOW + 60)
    assert (1, NOW + 60) == (looked.looks, looked.next_at)


def test_a_provider_that_lists_again_ends_the_long_wait_for_one_that_did_not():
    since = {"failures": 34, "failing_since": NOW - 3600, "error": "no connection", "hint": "is it there?"}
    batch = a_batch(state=BatchState.CREATING, intent_at=NOW - 4000, next_at=NOW + 600, **since)
    looked = job.looked_in_vain(batch, NOW, until=NOW + 30)
    assert (0, NOW + 30) == (looked.looks, looked.next_at)
    assert (0, None, None, "") == (looked.failures, looked.failing_since, looked.error, looked.hint)


@pytest.mark.parametrize(
    ("since", "failures", "expected"), [(3599, 30, False), (3600, 8, False), (3600, 9, True), (99_999, 0, False)]
)
def test_what_is_not_found_is_lost_when_it_was_to_have_ended_and_has_not_been_found_for_long(since, failures, expected):
    batch = a_batch(state=BatchState.OPEN, expires_at=NOW, failures=failures)
    assert expected is job.is_lost(batch, NOW + since)


def test_a_surplus_batch_is_cancelled_until_it_is_let_through_and_waited_for_as_long_as_it_may_cost():
    batch = job.surplus(a_batch(state=BatchState.OPEN, expires_at=NOW + 86_400), "batch-2")
    assert Step.CANCEL is job.after_poll(batch, "in_progress", NOW)
    batch = job.cancelling(batch, NOW)
    assert Step.CANCEL is job.after_poll(batch, "in_progress", NOW + 60)
    assert Step.WAIT is job.after_poll(batch, "cancelling", NOW + 86_399)
    assert batch == job.cancelling(batch, NOW + 86_399)
    assert Step.COLLECT is job.after_poll(batch, "cancelling", NOW + 86_400 + 3600)


@pytest.mark.parametrize("status", sorted(job.TERMINAL))
@pytest.mark.parametrize("state", [BatchState.OPEN, BatchState.CANCELLING])
def test_every_terminal_state_is_collected(state, status):
    assert job.after_poll(a_batch(state=state), status, NOW) is Step.COLLECT


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", "a word of tomorrow", ""])
def test_unknown_status_is_not_terminal(status):
    assert job.after_poll(a_batch(state=BatchState.OPEN, expires_at=NOW), status, NOW) is Step.WAIT


def test_batch_that_outlives_the_providers_deadline_by_an_hour_is_cancelled_and_then_given_up():
    # expires            +1 h: cancel                  +1 h: collected as it is
    # |------------------|-----------------------------|
    batch = a_batch(state=BatchState.OPEN, expires_at=NOW)
    assert job.after_poll(batch, "in_progress", NOW + 3599) is Step.WAIT
    assert job.after_poll(batch, "in_progress", NOW + 3600) is Step.CANCEL
    cancelling = replace(batch, state=BatchState.CANCELLING, intent_at=NOW + 3600)
    assert job.after_poll(cancelling, "cancelling", NOW + 7199) is Step.WAIT
    assert job.after_poll(cancelling, "cancelling", NOW + 7200) is Step.COLLECT


def test_full_queue_keeps_the_file_and_uses_up_no_attempt():
    batch = a_batch(state=BatchState.OPEN, input_file_id="file-1", batch_id="batch-1", status="failed")
    after = job.queue_was_full(batch, "full", hint="", now=NOW, wait=5)
    assert (BatchState.CREATING, "file-1", None, 1) == (after.state, after.input_file_id, after.batch_id, after.attempt)
    assert job.next_step(after, NOW + 5) is Step.CREATE


def test_a_batch_knows_since_when_it_comes_no_further():
    batch = job.held_back(a_batch(state=BatchState.OPEN), "gone", hint="look", now=NOW, wait=5)
    again = job.held_back(batch, "gone still", hint="", now=NOW + 60, wait=5)
    assert (2, NOW, "gone still", NOW + 65) == (again.failures, again.failing_since, again.error, again.next_at)
    # A clock that was set back meanwhile makes nothing fail from a time on that is yet to come.
    assert NOW - 3600 == job.held_back(batch, "gone", hint="", now=NOW - 3600, wait=5).failing_since
    assert (0, None, None, "") == _standing(job.went_well(again, "in_progress"))


def test_a_full_queue_is_waited_for_longer_each_time_though_the_batch_was_looked_at_in_between():
    refused = job.queue_was_full(a_batch(state=BatchState.OPEN), "full", hint="", now=NOW, wait=5)
    looked_at = job.went_well(replace(refused, state=BatchState.OPEN), "validating")
    assert (1, NOW, None, "") == _standing(looked_at)
    assert (2, NOW, "full", "") == _standing(job.queue_was_full(looked_at, "full", hint="", now=NOW + 9, wait=5))


def _standing(batch: LedgerBatch) -> tuple[int, float | None, str | None, str]:
    return batch.failures, batch.failing_since, batch.error, batch.hint


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Enqueued token limit reached for gpt-6-luna in organization org-x. Limit: 2000000 enqueued tokens.",
            2_000_000,
        ),
        ("Limit: 2,000,000 enqueued tokens. Please try again", 2_000_000),
        ("no number here", None),
        ("Limit: many", None),
        ("Limit: " + "9" * 400, None),
    ],
)
def test_token_limit_is_read_out_of_the_message(message, expected):
    assert expected == job.token_limit_in(message)


@pytest.mark.parametrize(
    ("days", "factor"),
    [(0, 1), (0.99, 1), (1, 2), (2.5, 4), (10, 1024), (20_000, 1 << 30), (-0.5, 1), (-3650, 1 << 30)],
)
def test_a_limit_is_believed_for_a_day_and_then_twice_as_much_each_day(days, factor):
    now = NOW + days * job.WINDOW_SECONDS
    assert factor * 2_000_000 == job.believed_limit(2_000_000, learned_at=NOW, now=now)


@given(st.integers(0, 10_000), st.floats(0.01, 600), st.floats(0, 1, exclude_max=True))
@settings(derandomize=True, max_examples=50)
def test_backoff_never_exceeds_ten_minutes_nor_half_of_its_step(failures, first, jitter):
    seconds = job.backoff_seconds(failures, first=first, jitter=jitter)
    assert min(first, 600) / 2 <= seconds <= 600


@given(
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=job.MAX_ATTEMPTS, max_size=job.MAX_ATTEMPTS),
)
@settings(derandomize=True, max_examples=200)
def test_request_that_is_never_answered_ends_after_any_failures(packed, failures):
    tries = 0
    for attempt, (again, counts) in enumerate(failures, 1):
        fate = job.fate_of_unanswered(packed=packed, again=again, counts=counts, tries=tries, attempt=attempt)
        if fate.state is not RequestState.AGAIN:
            assert fate.state in (RequestState.SPLIT, RequestState.FAILED)
            assert (fate.status == "error") == (fate.state is RequestState.FAILED)
            return
        tries += fate.counts
    raise AssertionError("it never ended")


@pytest.mark.parametrize(
    ("statuses", "tries", "state", "status"),
    [
        (["ok", "ok"], 0, RequestState.ANSWERED, None),
        (["ok", "invalid"], 0, RequestState.SPLIT, None),
        (["refused", "refused"], 0, RequestState.SPLIT, None),
        (["refused"], 0, RequestState.FAILED, "refused"),
        (["invalid"], 0, RequestState.AGAIN, None),
        (["incomplete"], 1, RequestState.AGAIN, None),
        (["invalid"], 2, RequestState.FAILED, "invalid"),
    ],
)
def test_answer_that_cannot_be_used_is_asked_alone_and_at_most_twice_again(statuses, tries, state, status):
    fate = job.fate_of_answered(statuses, tries=tries)
    assert (state, status) == (fate.state, fate.status)


def test_a_result_file_has_room_for_an_answer_to_each_request_and_for_no_more():
    small = replace(a_batch(), requests=3, size_bytes=10_000)
    assert 3 * (1 << 20) + 20_000 == job.most_result_bytes(small)
    assert 1 << 30 == job.most_result_bytes(replace(small, requests=50_000, size_bytes=190_000_000))
