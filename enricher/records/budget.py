"""Whether there is money for what jobs would ask: said before anything is sent, and not by standing still midway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.core.pricing import usd
from enricher.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.config import BudgetSettings
    from enricher.core.ledger import Money
    from enricher.core.pricing import Prices
    from enricher.records.planning import Estimate


def check_price(model: str, prices: Prices | None, limit_usd: float | None) -> None:
    """Raise BudgetError where there is a limit and nobody knows what the model costs."""
    if limit_usd is not None and prices is None:
        raise BudgetError(f"no price of {model} is known, so --budget cannot be held", hint="set [prices]")


def check_budget(estimates: Sequence[Estimate], money: Money, budget: BudgetSettings, limit_usd: float | None) -> None:
    """Raise BudgetError, with the figures, where these together cost too much.

    `limit_usd` (`--budget`) is held against what is likely, `[budget]` against the most that it can be, as everywhere.
    """
    requests = sum(one.requests for one in estimates)
    likely, most = sum(one.likely_usd for one in estimates), sum(one.most_usd for one in estimates)
    if not requests or most <= 0:
        return
    asked = f"{requests:,} requests cost about {usd(likely)}, at most {usd(most)}"
    if limit_usd is not None and likely > limit_usd:
        raise BudgetError(
            f"{asked}, which is above the {usd(limit_usd)} of --budget", hint="nothing was sent; raise it"
        )
    for name, allowed, booked in (
        ("daily_usd", budget.daily_usd, money.today_usd),
        ("monthly_usd", budget.monthly_usd, money.month_usd),
    ):
        left = allowed - booked - money.reserved_usd
        if most > left:
            raise BudgetError(
                f"{asked}, and [budget] {name} = {allowed:g} leaves {usd(max(left, 0))}",
                hint=f"nothing was sent; raise {name}, or ask about fewer rows",
            )
