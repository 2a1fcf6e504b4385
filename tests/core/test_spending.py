from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enricher.core.answer import Usage
from enricher.core.pricing import Prices
from enricher.core.spending import BY, Answered, Booking, Rates, price, report, to_table, totals

HOUR, DAY = 3600, 86_400
START = 1_794_960_000  # 2026-11-18T00Z
PRICES = Prices(
    input_usd=2.0,
    cached_usd=0.5,
    output_usd=8.0,
    batch_input_usd=1.0,
    batch_cached_usd=0.25,
    batch_output_usd=4.0,
    as_of="2026-11-22",
)
RATES = Rates(prices={"known": PRICES, "strange": None}, event_usd={("aa", "known"): 0.5})


def a_booking(start=START, **changes):
    given = {"task": "aa", "model": "known", "purpose": "events", "paid_usd": 1.0}
    tokens = {"input_tokens": 3_000_000, "cached_tokens": 1_000_000, "output_tokens": 500_000}
    return Booking(start=start, **given | tokens | changes)


def a_report(by, bookings, answered=(), rates=RATES, names=None):
    return report(by, bookings, answered, rates=rates, task_names=names or {"aa": "logs"}, length_seconds=HOUR)


def test_tokens_are_priced_on_demand_and_in_batch_beside_what_was_paid():
    (row,) = a_report("day", [a_booking()])
    assert ("2026-11-18", "events") == (row.name, row.purpose)
    assert (2 * 2.0 + 0.5 + 4.0, 2 * 1.0 + 0.25 + 2.0, 1.0) == (row.on_demand_usd, row.batch_usd, row.paid_usd)


def test_rows_are_days_tasks_models_or_windows_and_events_are_apart_from_records():
    bookings = [
        a_booking(START + HOUR),
        a_booking(START + HOUR, purpose="records", task="bb", paid_usd=9.0),
        a_booking(START + HOUR, task="cc", model="strange"),
        a_booking(START + DAY),
    ]
    found = {by: [(row.name, row.purpose) for row in a_report(by, bookings, names={"aa": "logs"})] for by in BY}
    assert found == {
        "day": [("2026-11-18", "events"), ("2026-11-18", "records"), ("2026-11-19", "events")],
        "window": [("2026-11-18T01Z", "events"), ("2026-11-18T01Z", "records"), ("2026-11-19T00Z", "events")],
        # The dearest first; a task of which no name is known is called by its hash.
        "task": [("bb", "records"), ("logs", "events"), ("cc", "events")],
        "model": [("known", "records"), ("known", "events"), ("strange", "events")],
    }


def test_what_every_event_would_have_cost_counts_those_too_for_which_nothing_was_paid():
    cached = Answered(start=START + DAY, task="aa", model="known", events=100)
    rows = a_report("day", [a_booking()], [Answered(start=START, task="aa", model="known", events=10), cached])
    assert [(10, 5.0, 4.0, 1.0), (100, 50.0, 50.0, 0.0)] == [
        (row.events, row.every_event_usd, row.avoided_usd, row.paid_usd) for row in rows
    ]


def test_a_sum_with_an_unknown_part_is_unknown():
    bookings = [a_booking(), a_booking(model="strange")]
    answered = [Answered(start=START, task=task, model="known", events=1) for task in ("aa", "unheard-of")]
    (row,) = a_report("day", bookings, answered)
    assert (None, None, 2.0) == (row.on_demand_usd, row.batch_usd, row.paid_usd)
    assert (2, None, None) == (row.events, row.every_event_usd, row.avoided_usd)


def test_totals_are_of_events_of_records_and_of_both():
    rows = a_report("task", [a_booking(), a_booking(task="bb", purpose="records", paid_usd=2.0)])
    assert [("events", 1.0), ("records", 2.0), (None, 3.0)] == [(one.purpose, one.paid_usd) for one in totals(rows)]
    assert ["events"] == [one.purpose for one in totals(rows[1:])]
    assert [] == totals([])


def test_a_table_leaves_out_what_no_row_has_and_says_what_is_not_known():
    plan = price("plan", Usage(input_tokens=1000, output_tokens=10), None, events=7, every_event_usd=3.0)
    columns, cells = to_table("lines of", [plan], usd=lambda usd: "unknown" if usd is None else f"${usd:g}")
    assert ("lines of", "events", "tokens in", "tokens out", "every event on demand") == columns[:5]
    assert [("plan", "7", "1,000", "10", "$3", "unknown", "unknown")] == cells
    records = a_report("day", [a_booking(purpose="records")])
    columns, _ = to_table("day", records, usd=str)
    assert "every event on demand" not in columns


_BOOKINGS = st.lists(
    st.builds(
        a_booking,
        st.integers(START, START + 3 * DAY),
        task=st.sampled_from(["aa", "bb"]),
        model=st.sampled_from(["known", "other"]),
        purpose=st.sampled_from(["events", "records"]),
        paid_usd=st.floats(0, 100),
        output_tokens=st.integers(0, 10**9),
    ),
    min_size=1,
)


@given(_BOOKINGS, st.sampled_from(BY))
def test_rows_sum_up_to_the_bookings_however_they_are_grouped(bookings, by):
    rows = a_report(by, bookings, rates=Rates(prices={"known": PRICES, "other": PRICES}, event_usd={}))
    assert len(rows) == len({(row.name, row.purpose) for row in rows})
    total = totals(rows)[-1]
    assert sum(one.output_tokens for one in bookings) == total.usage.output_tokens
    assert sum(one.paid_usd for one in bookings) == pytest.approx(total.paid_usd)
    assert total.on_demand_usd == pytest.approx(2 * total.batch_usd)
