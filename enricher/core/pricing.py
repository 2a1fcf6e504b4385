"""Tokens into money, and whether there is money left.

Prices are USD per million tokens, those of a request below the long-context tiers (`core.batch` makes no longer ones).
They come from the configuration, or from the data bundled with the `genai-prices` package, which is read without any
network access; nothing here is a price. Invariant: cost is additive over requests and never negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from enricher.core.loopback import is_loopback

if TYPE_CHECKING:
    from datetime import datetime

    from enricher.core.answer import Usage
    from enricher.core.ledger import Money

_MTOK: Final = 1_000_000
# Prices are asked for at this many tokens, well below every long-context tier.
_PROBE_TOKENS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD per million tokens, on demand and in batch. `as_of` says where they are from: a date or a package version.

    Cached tokens are input read from the provider's cache; those written to it cost what input does if not given.
    """

    input_usd: float
    cached_usd: float
    output_usd: float
    batch_input_usd: float
    batch_cached_usd: float
    batch_output_usd: float
    cache_write_usd: float | None = None
    batch_cache_write_usd: float | None = None
    as_of: str


FREE: Final = Prices(
    input_usd=0.0,
    cached_usd=0.0,
    output_usd=0.0,
    batch_input_usd=0.0,
    batch_cached_usd=0.0,
    batch_output_usd=0.0,
    as_of="a model on this host",
)


def prices_for(model: str, configured: Prices | None, *, base_url: str, at: datetime) -> Prices | None:
    """Find the prices of a model: the configured ones, none on loopback, what `genai-prices` knows, else None.

    `at` is the time of the request: prices change. The first call imports `genai-prices`, about 0.3 s of CPU.
    """
    if configured is not None:
        return configured
    if is_loopback(urlsplit(base_url).hostname or ""):
        return FREE
    return _bundled_prices(model, base_url, at)


def cost(usage: Usage, prices: Prices, *, batch: bool) -> float:
    """Return what a request's tokens cost in USD."""
    if batch:
        given = (prices.batch_input_usd, prices.batch_cached_usd, prices.batch_cache_write_usd, prices.batch_output_usd)
    else:
        given = (prices.input_usd, prices.cached_usd, prices.cache_write_usd, prices.output_usd)
    input_usd, cached_usd, cache_write_usd, output_usd = given
    plain = max(usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, 0)
    return (
        plain * input_usd
        + usage.cached_tokens * cached_usd
        + usage.cache_write_tokens * (input_usd if cache_write_usd is None else cache_write_usd)
        + usage.output_tokens * output_usd
    ) / _MTOK


def usd(amount: float) -> str:
    """Show an amount of money with as many digits as it needs, to a millionth of a dollar."""
    if amount < 0:
        return f"-{usd(-amount)}"
    whole, _, part = f"{amount:.6f}".partition(".")
    if whole != "0":
        return f"${amount:,.2f}"
    if not int(part):
        return "below $0.000001" if amount else "$0"
    return f"$0.{part.rstrip('0'):<02}"


class Answering(Protocol):
    """What a reservation needs of a task, about events or about records."""

    @property
    def max_output_tokens(self) -> int:
        """Return the limit of one answer."""


def reserve(input_tokens: int, task: Answering, signatures: int, prices: Prices | None) -> float:
    """Return what a request in batch can cost at most: all input written to a cache, answers of full length."""
    if prices is None:
        return 0.0
    dearest = max(prices.batch_input_usd, prices.batch_cache_write_usd or 0.0)
    return (input_tokens * dearest + task.max_output_tokens * signatures * prices.batch_output_usd) / _MTOK


class BudgetVerdict(StrEnum):
    """Whether a request may be submitted."""

    WITHIN = "within"
    OVER_DAILY = "over_daily"
    OVER_MONTHLY = "over_monthly"


def left_usd(money: Money, *, daily_usd: float, monthly_usd: float) -> float:
    """What may be reserved beside what was booked and what is reserved, less what rounding may add."""
    left = min(daily_usd - money.today_usd, monthly_usd - money.month_usd) - money.reserved_usd
    return left * (1 - 1e-9)


def budget_verdict(
    *,
    booked_today_usd: float,
    booked_month_usd: float,
    reserved_usd: float,
    next_usd: float,
    daily_usd: float | None,
    monthly_usd: float | None,
) -> BudgetVerdict:
    """Say whether the next cost fits beside what was booked and what is reserved. A limit of None is no limit.

    What costs nothing always fits, so that a model of one's own goes on when the budget is spent.
    """
    if next_usd <= 0:
        return BudgetVerdict.WITHIN
    if daily_usd is not None and booked_today_usd + reserved_usd + next_usd > daily_usd:
        return BudgetVerdict.OVER_DAILY
    if monthly_usd is not None and booked_month_usd + reserved_usd + next_usd > monthly_usd:
        return BudgetVerdict.OVER_MONTHLY
    return BudgetVerdict.WITHIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeCosts:
    """What the same events cost in three ways, in USD."""

    per_event_usd: float
    batch_usd: float
    deduplicated_usd: float


def three_costs(*, per_event: Usage, deduplicated: Usage, prices: Prices) -> ThreeCosts:
    """Compare asking every event on demand, every event in batch, and every new kind once in batch.

    `per_event` is the sum over all events of a request of their own, `deduplicated` that over the requests really made.
    """
    return ThreeCosts(
        per_event_usd=cost(per_event, prices, batch=False),
        batch_usd=cost(per_event, prices, batch=True),
        deduplicated_usd=cost(deduplicated, prices, batch=True),
    )


def _bundled_prices(model: str, base_url: str, at: datetime) -> Prices | None:
    import genai_prices  # noqa: PLC0415 - 0.3 s of CPU that a run without prices does not pay

    def price(processing: str | None, **tokens: int) -> float:
        calculation = genai_prices.calc_price(
            genai_prices.Usage(**tokens),
            model,
            provider_api_url=base_url,
            genai_request_timestamp=at,
            price_context={"processing": processing} if processing else None,
        )
        return round(float(calculation.total_price) * _MTOK / _PROBE_TOKENS, 9)

    try:
        return Prices(
            input_usd=price(None, input_tokens=_PROBE_TOKENS),
            cached_usd=price(None, input_tokens=_PROBE_TOKENS, cache_read_tokens=_PROBE_TOKENS),
            cache_write_usd=price(None, input_tokens=_PROBE_TOKENS, cache_write_tokens=_PROBE_TOKENS),
            output_usd=price(None, output_tokens=_PROBE_TOKENS),
            batch_input_usd=price("batch", input_tokens=_PROBE_TOKENS),
            batch_cached_usd=price("batch", input_tokens=_PROBE_TOKENS, cache_read_tokens=_PROBE_TOKENS),
            batch_cache_write_usd=price("batch", input_tokens=_PROBE_TOKENS, cache_write_tokens=_PROBE_TOKENS),
            batch_output_usd=price("batch", output_tokens=_PROBE_TOKENS),
            as_of=f"genai-prices {genai_prices.__version__}",
        )
    except LookupError:
        # Neither the provider nor, there, the model is known.
        return None
