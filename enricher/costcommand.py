"""`enricher cost`: what was spent on events and records, and what the same would have cost otherwise.

Reads the store beside a running daemon and changes nothing. The arithmetic is `core.spending`'s.
"""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from enricher import config as configuration
from enricher import provider as providers
from enricher import show
from enricher.batchserver.model_weights import WEIGHTS
from enricher.core import pricing, spending
from enricher.core.task import parse_task
from enricher.edges.store_sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from enricher.config import Config
    from enricher.core.pricing import Prices
    from enricher.core.spending import By, Spent
    from enricher.core.task import Task

_SHIPPED: Final = ("logs", providers.LOCAL_TASK, providers.DIGEST_TASK)
"""Tasks that events may have been asked with, beside the configured one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """What `enricher cost` shows."""

    by: By
    rows: tuple[Spent, ...]
    totals: tuple[Spent, ...]
    """Of events, of records, and of both."""
    prices_as_of: Mapping[str, str | None]
    """By model: where the prices are from with which its tokens were priced; None where there are none."""

    def to_json(self) -> dict[str, Any]:
        """The contract of `cost --json`."""
        return {
            "by": self.by,
            "rows": [row.to_json(self.by) for row in self.rows],
            "totals": [row.to_json(self.by) for row in self.totals],
            "prices_as_of": dict(self.prices_as_of),
        }

    def to_csv(self) -> str:
        """The rows of `to_json`, without totals; an amount that is not known is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((self.by, *spending.COLUMNS, "avoided_usd"))
        writer.writerows(row.to_json(self.by).values() for row in self.rows)
        return text.getvalue()


async def report(config: Config, *, config_path: Path | None, by: By) -> CostReport:
    """Read the books and price them. Raises StoreError, and ConfigError for a task that cannot be read."""
    store = await SqliteStore.open(config.state_dir, read_only=True)
    try:
        bookings = await store.bookings(by_day=by == "day")
        answered = await store.answered_events()
        record_names = await store.records.task_names()
    finally:
        await store.close()
    tasks = _event_tasks(config, config_path)
    prices = _prices(config, {one.model for one in bookings} | {one.model for one in answered})
    rows = spending.report(
        by,
        bookings,
        answered,
        rates=spending.Rates(
            prices=prices,
            event_usd={(one.task, one.model): _event_usd(tasks.get(one.task), prices[one.model]) for one in answered},
        ),
        task_names={**record_names, **{key: task.name for key, task in tasks.items()}},
        length_seconds=config.window.length_seconds,
    )
    return CostReport(
        by=by,
        rows=tuple(rows),
        totals=tuple(spending.totals(rows)),
        prices_as_of={model: None if one is None else one.as_of for model, one in sorted(prices.items())},
    )


def _event_tasks(config: Config, config_path: Path | None) -> dict[str, Task]:
    tasks = [parse_task(configuration.shipped(f"tasks/{name}.toml"), name=name) for name in _SHIPPED]
    return {task.hash: task for task in (*tasks, providers.load_task(config, config_path))}


def _prices(config: Config, models: set[str]) -> dict[str, Prices | None]:
    now = time.time()
    return {
        model: pricing.FREE if model in WEIGHTS else providers.find_prices(config, now, model=model) for model in models
    }


def _event_usd(task: Task | None, prices: Prices | None) -> float | None:
    return None if task is None or prices is None else providers.event_usd(task, prices)


def print_report(console: Console, found: CostReport) -> None:
    """The report for a person: the rows, then the totals."""
    if not found.rows:
        console.print("nothing was asked yet, and no event was written with an answer")
        return
    columns, cells = spending.to_table(found.by, (*found.rows, *found.totals), usd=show.usd)
    show.figures(console, columns, cells)
    as_of = ", ".join(f"{show.safe(model)}: {show.safe(one or 'unknown')}" for model, one in found.prices_as_of.items())
    console.print(
        f"paid: as it was booked, for what was answered; the other amounts are at today's prices ({as_of})",
        soft_wrap=True,
    )
    for row in found.totals:
        if row.avoided_usd is not None and row.events:
            console.print(
                f"asking about each of the {row.events:,} events on demand would have cost {show.usd(row.avoided_usd)}"
                " more than was paid, estimated",
                soft_wrap=True,
            )
