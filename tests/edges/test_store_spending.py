"""What the store has booked, by day and by window, read beside the process that books it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from enricher.core.ledger import BatchState
from enricher.core.records.ledger import ITEM_REF, ItemResult, Run
from enricher.edges.store_sqlite import SqliteStore
from enricher.telemetry import Telemetry
from tests.edges.test_store_contract import MODEL, NOW, TASK, W0, W1, a_batch, a_request, a_result, an_answer, plan

DAY = 86_400.0


async def book_events(store):
    """A batch about two windows; one of its requests is answered badly, and again two days later."""
    first, second = a_request("a", window=W0), a_request("b", window=W1)
    batch = await plan(store, first, second)
    spoilt = a_result(second, state="again", usage=(5, 0, 1), cost_usd=0.125)
    await store.collect(batch, [a_result(first, an_answer("a")), spoilt], NOW)
    (again,) = await store.requests_again()
    batch = await plan(store, replace(again, attempt=2), name="b2", now=NOW + 2 * DAY)
    await store.collect(batch, [a_result(second, an_answer("b"))], NOW + 2 * DAY)


async def book_records(store):
    run = Run(id=0, job="j", task="t", model=MODEL, endpoint="/v1/responses", input="i", output="o", fingerprint="f")
    number = await store.records.begin_run(run)
    refs = np.zeros(1, dtype=ITEM_REF)
    refs["item"] = 7
    planned = a_batch("r1", task="t", purpose="records", state=BatchState.PLANNED, window=W1)
    (batch,) = await store.records.plan_batches(number, [(planned, refs)])
    done = replace(batch, input_tokens=100, cached_tokens=10, output_tokens=20, cost_usd=2.0, outcome="completed")
    await store.records.collect(done, [ItemResult(7, "ok", 1, 0, b"{}")], NOW)
    await store.records.name_task("t", "mood", "1", NOW)


def sums(bookings):
    return {
        purpose: tuple(
            sum(getattr(one, name) for one in bookings if one.purpose == purpose)
            for name in ("input_tokens", "cached_tokens", "output_tokens", "paid_usd")
        )
        for purpose in ("events", "records")
    }


async def test_days_and_windows_sum_up_to_the_books_and_a_reader_sees_them_beside_the_writer(tmp_path):
    store = await SqliteStore.open(tmp_path / "state")
    await book_events(store)
    await book_records(store)
    reader = await SqliteStore.open(tmp_path / "state", read_only=True)
    try:
        days, windows = await reader.bookings(by_day=True), await reader.bookings(by_day=False)
        summary = await reader.summary(NOW)
        assert {"t": "mood"} == await reader.records.task_names()
    finally:
        await reader.close()
        await store.close()
    assert {"events": (25, 8, 13, 0.625), "records": (100, 10, 20, 2.0)} == sums(days) == sums(windows)
    assert {"events": 0.625, "records": 2.0} == pytest.approx(summary.booked_usd)
    telemetry = Telemetry(CollectorRegistry())
    telemetry.summarised(summary=summary)
    served = generate_latest(telemetry.registry).decode()
    for sample in ('usd{purpose="events"} 0.625', 'usd{purpose="records"} 2.0', 'tokens{direction="output"} 33.0'):
        assert f"\nenricher_booked_{sample}\n" in served
    midnight = NOW // DAY * DAY
    assert {(midnight, TASK, 0.375), (midnight + 2 * DAY, TASK, 0.25), (midnight, "t", 2.0)} == {
        (one.start, one.task, one.paid_usd) for one in days
    }
    assert {(W0, 0.25), (W1, 0.375), (W1, 2.0)} == {(one.start, one.paid_usd) for one in windows}


async def test_what_was_sent_and_not_answered_is_in_no_booking(tmp_path):
    store = await SqliteStore.open(tmp_path / "state")
    try:
        request = a_request("a", window=W0)
        batch = await plan(store, request)
        lost = a_result(request, state="again", usage=(0, 0, 0), cost_usd=0.0)
        await store.collect(replace(batch, outcome="expired"), [lost], NOW)
        assert [] == await store.bookings(by_day=True) == await store.bookings(by_day=False)
    finally:
        await store.close()
