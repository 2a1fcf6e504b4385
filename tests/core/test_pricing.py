from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core import pricing
from enricher.core.answer import Usage
from enricher.core.pricing import FREE, BudgetVerdict, Prices, budget_verdict, cost, prices_for, reserve, three_costs
from enricher.core.task import Task

OPENAI = "https://api.openai.com/v1"
AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
PRICES = Prices(
    input_usd=2.0,
    cached_usd=0.5,
    output_usd=8.0,
    batch_input_usd=1.0,
    batch_cached_usd=0.25,
    batch_output_usd=4.0,
    batch_cache_write_usd=1.25,
    as_of="2026-11-22",
)
TASK = Task(name="t", version="1", kind="packed", system="s", max_output_tokens=500, answer_tokens=100)

_USAGE = st.builds(
    lambda plain, cached, written, output: Usage(
        input_tokens=plain + cached + written, cached_tokens=cached, cache_write_tokens=written, output_tokens=output
    ),
    *[st.integers(0, 10**9)] * 4,
)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
    )


def test_each_kind_of_token_has_its_own_price():
    usage = Usage(input_tokens=1_000_000, cached_tokens=400_000, cache_write_tokens=100_000, output_tokens=10_000)
    # 500,000 plain at 1, 400,000 cached at 0.25, 100,000 written at 1.25, 10,000 out at 4 USD per million
    assert 0.5 + 0.1 + 0.125 + 0.04 == pytest.approx(cost(usage, PRICES, batch=True))


def test_tokens_written_to_a_cache_cost_what_input_does_where_no_price_is_given():
    usage = Usage(input_tokens=1_000_000, cache_write_tokens=1_000_000)
    assert pytest.approx(2.0) == cost(usage, PRICES, batch=False)


@given(_USAGE, _USAGE)
@settings(max_examples=50, derandomize=True)
def test_cost_is_additive_and_never_negative(one, other):
    total = cost(_sum(one, other), PRICES, batch=True)
    assert total >= 0
    assert total == pytest.approx(cost(one, PRICES, batch=True) + cost(other, PRICES, batch=True))


def test_what_is_reserved_covers_input_in_the_dearest_way_and_full_answers():
    assert pytest.approx(1000 * 1.25e-6 + 3 * 500 * 4e-6) == reserve(1000, TASK, 3, PRICES)


def test_nothing_is_reserved_where_no_price_is_known():
    assert reserve(1000, TASK, 3, None) == 0


def test_configured_prices_go_before_everything():
    assert PRICES == prices_for("gpt-6-luna", PRICES, base_url=OPENAI, at=AT)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:11434", "127.8.9.1"])
def test_a_model_on_this_host_is_free(host):
    assert FREE == prices_for("anything", None, base_url=f"http://{host}/v1", at=AT)


@pytest.mark.parametrize("url", ["http://127.0.0.1.example.org/v1", "http://localhost.example.org/v1", "not a url"])
def test_a_name_that_only_looks_like_this_host_is_not_free(url):
    assert prices_for("gpt-6-luna", None, base_url=url, at=AT) is None


def test_batch_is_half_price_in_the_bundled_table():
    prices = prices_for("gpt-6-luna", None, base_url=OPENAI, at=AT)
    assert prices is not None
    assert (prices.input_usd / 2, prices.output_usd / 2) == (prices.batch_input_usd, prices.batch_output_usd)
    assert prices.cached_usd < prices.input_usd
    assert prices.as_of.startswith("genai-prices ")


def test_an_unknown_model_has_no_price():
    assert prices_for("no-such-model", None, base_url=OPENAI, at=AT) is None


def test_the_price_table_is_not_imported_until_it_is_asked():
    code = "import enricher.core.pricing, sys; print('genai_prices' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("today", "month", "reserved", "following", "verdict"),
    [
        (4.0, 50.0, 0.5, 0.5, BudgetVerdict.WITHIN),
        (4.0, 50.0, 0.5, 0.6, BudgetVerdict.OVER_DAILY),
        (1.0, 99.0, 0.5, 0.6, BudgetVerdict.OVER_MONTHLY),
        (9.0, 200.0, 0.0, 0.0, BudgetVerdict.WITHIN),
    ],
)
def test_the_budget_counts_booked_and_reserved_money(today, month, reserved, following, verdict):
    assert verdict == budget_verdict(
        booked_today_usd=today,
        booked_month_usd=month,
        reserved_usd=reserved,
        next_usd=following,
        daily_usd=5.0,
        monthly_usd=100.0,
    )


def test_a_limit_of_none_is_no_limit():
    verdict = budget_verdict(
        booked_today_usd=1e9,
        booked_month_usd=1e9,
        reserved_usd=0.0,
        next_usd=1.0,
        daily_usd=None,
        monthly_usd=None,
    )
    assert verdict == BudgetVerdict.WITHIN


def test_the_three_costs_compare_the_same_events():
    per_event = Usage(input_tokens=1_000_000_000, output_tokens=100_000_000)
    deduplicated = Usage(input_tokens=100_000, output_tokens=10_000)
    costs = three_costs(per_event=per_event, deduplicated=deduplicated, prices=PRICES)
    assert (2800.0, 1400.0, 0.14) == pytest.approx((costs.per_event_usd, costs.batch_usd, costs.deduplicated_usd))


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0"), (1e-7, "below $0.000001"), (0.000061, "$0.000061"), (0.3, "$0.30"), (0.457521, "$0.457521"),
        (0.9999999, "$1.00"), (1234.5, "$1,234.50"), (-0.5, "-$0.50"), (-2, "-$2.00"),
    ],
)  # fmt: skip
def test_money_has_as_many_digits_as_it_needs_and_cents_at_least(amount, shown):
    assert shown == pricing.usd(amount)
