"""What was spent, and what the same would have cost otherwise: the rows of `enricher cost`.

Tokens and what was paid are those of the books, where only what was answered is booked. What the same tokens cost on
demand or in batch, and what asking about every event would have cost, is reckoned with the prices of today, since those
of the time are not kept. Invariant: a sum with an unknown part is unknown, never too small.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from enricher.core import pricing
from enricher.core.answer import Usage
from enricher.core.ledger import Purpose
from enricher.core.window import HOUR_SECONDS, window_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from enricher.core.pricing import Prices

By = Literal["day", "task", "model", "window"]
BY: Final[tuple[By, ...]] = get_args(By)

_ASKED: Final = ("on_demand_usd", "batch_usd")
_MONEY: Final = ("every_event_usd", *_ASKED, "paid_usd")
COLUMNS: Final[Mapping[str, str]] = {
    "purpose": "for",
    "events": "events",
    "input_tokens": "tokens in",
    "cached_tokens": "cached",
    "output_tokens": "tokens out",
    "every_event_usd": "every event on demand",
    "on_demand_usd": "asked on demand",
    "batch_usd": "asked in batch",
    "paid_usd": "paid",
}
"""Figures of a row, in the order in which they are shown, with their headings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """What was booked of one task and model in one window, or on one day (UTC)."""

    start: int
    """Of the window or the day, in epoch seconds. A record's window is the hour in which it was planned."""
    task: str
    """Its hash."""
    model: str
    purpose: Purpose
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    paid_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Events of a window that were written with an answer, from whenever."""

    start: int
    task: str
    """Hash of the task of the window's first pane."""
    model: str
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What tokens and events cost today."""

    prices: Mapping[str, Prices | None]
    """By model; None where no price is known."""
    event_usd: Mapping[tuple[str, str], float | None]
    """By task hash and model: asking about one event on demand, estimated; None where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A row of the report. Money is in USD, None where it is unknown or where there is none to be had."""

    name: str
    purpose: Purpose | None = None
    """None in a sum over both, and in a plan."""
    events: int | None = None
    """Events that were answered; None of what is no event."""
    usage: Usage
    every_event_usd: float | None = None
    """Asking about each of the events on demand."""
    on_demand_usd: float | None
    """The tokens, at the price of asking at once."""
    batch_usd: float | None
    """The tokens, at the price of a batch."""
    paid_usd: float | None
    """As booked; None in a plan."""

    @property
    def avoided_usd(self) -> float | None:
        """Return what asking about every event on demand would have cost more than what was paid."""
        if self.every_event_usd is None or self.paid_usd is None:
            return None
        return self.every_event_usd - self.paid_usd

    @property
    def figures(self) -> dict[str, Any]:
        """Return the figures of `COLUMNS`."""
        return {
            "purpose": self.purpose,
            "events": self.events,
            "input_tokens": self.usage.input_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "output_tokens": self.usage.output_tokens,
            **{name: getattr(self, name) for name in _MONEY},
        }

    def to_json(self, by: str) -> dict[str, Any]:
        """For a program: money in full, to a millionth of a cent."""
        figures = {by: self.name, **self.figures, "avoided_usd": self.avoided_usd}
        return {name: round(value, 8) if isinstance(value, float) else value for name, value in figures.items()}


def price(
    name: str,
    usage: Usage,
    prices: Prices | None,
    *,
    purpose: Purpose | None = None,
    events: int | None = None,
    every_event_usd: float | None = None,
    paid_usd: float | None = None,
) -> Spent:
    """Give tokens their price on demand and in batch."""
    return Spent(
        name=name,
        purpose=purpose,
        events=events,
        usage=usage,
        every_event_usd=every_event_usd,
        on_demand_usd=None if prices is None else pricing.cost(usage, prices, batch=False),
        batch_usd=None if prices is None else pricing.cost(usage, prices, batch=True),
        paid_usd=paid_usd,
    )


def report(
    by: By,
    bookings: Iterable[Booking],
    answered: Iterable[Answered],
    *,
    rates: Rates,
    task_names: Mapping[str, str],
    length_seconds: int,
) -> list[Spent]:
    """One row for each day, task, model or window and purpose: in the order of time, else the dearest first.

    `task_names` are those of hashes, as far as they are known; another task is called by its hash.
    """

    def name_of(one: Booking | Answered, purpose: Purpose) -> str:
        if by == "task":
            return task_names.get(one.task, one.task)
        if by == "model":
            return one.model
        if by == "window":
            return window_id(one.start, length_seconds if purpose == "events" else HOUR_SECONDS)
        return _day(one.start)

    groups: dict[tuple[str, Purpose], list[Spent]] = {}
    for booked in bookings:
        name = name_of(booked, booked.purpose)
        usage = Usage(
            input_tokens=booked.input_tokens, cached_tokens=booked.cached_tokens, output_tokens=booked.output_tokens
        )
        row = price(name, usage, rates.prices.get(booked.model), purpose=booked.purpose, paid_usd=booked.paid_usd)
        groups.setdefault((name, booked.purpose), []).append(row)
    events: Counter[str] = Counter()
    every_event: dict[str, list[float | None]] = {}
    for one in answered:
        name = name_of(one, "events")
        each = rates.event_usd.get((one.task, one.model))
        events[name] += one.events
        every_event.setdefault(name, []).append(None if each is None else each * one.events)
        groups.setdefault((name, "events"), [])
    rows = [
        _total(
            name,
            purpose,
            rows,
            events=events[name] if purpose == "events" else None,
            every_event_usd=_sum(every_event.get(name, ())) if purpose == "events" else None,
        )
        for (name, purpose), rows in groups.items()
    ]
    if by in ("day", "window"):
        return sorted(rows, key=lambda row: (row.name, row.purpose or ""))
    return sorted(rows, key=lambda row: (-(row.paid_usd or 0.0), row.name))


def totals(rows: Sequence[Spent]) -> list[Spent]:
    """Sum up what was spent on events, on records, and on both: one row each, of those that there are."""
    purposes = [purpose for purpose in get_args(Purpose) if any(row.purpose == purpose for row in rows)]
    found = []
    for purpose in purposes:
        own = [row for row in rows if row.purpose == purpose]
        is_events = purpose == "events"
        events = sum(row.events or 0 for row in own) if is_events else None
        every_event_usd = _sum(row.every_event_usd for row in own) if is_events else None
        found.append(_total("total", purpose, own, events=events, every_event_usd=every_event_usd))
    both = [_total("total", None, rows, events=None, every_event_usd=None)] if len(purposes) > 1 else []
    return found + both


def _total(
    name: str,
    purpose: Purpose | None,
    rows: Sequence[Spent],
    *,
    events: int | None,
    every_event_usd: float | None,
) -> Spent:
    return Spent(
        name=name,
        purpose=purpose,
        events=events,
        usage=Usage(
            input_tokens=sum(row.usage.input_tokens for row in rows),
            cached_tokens=sum(row.usage.cached_tokens for row in rows),
            output_tokens=sum(row.usage.output_tokens for row in rows),
        ),
        every_event_usd=every_event_usd,
        on_demand_usd=_sum([row.on_demand_usd for row in rows]),
        batch_usd=_sum([row.batch_usd for row in rows]),
        paid_usd=_sum([row.paid_usd for row in rows]),
    )


def _sum(amounts: Iterable[float | None]) -> float | None:
    total_usd = 0.0
    for amount in amounts:
        if amount is None:
            return None
        total_usd += amount
    return total_usd


def to_table(
    heading: str, rows: Sequence[Spent], *, usd: Callable[[float | None], str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and cells for a person; `usd` writes amounts. A column in which no row has anything is left out."""
    figures = [row.figures for row in rows]
    shown = [name for name in COLUMNS if name in _ASKED or any(_says_anything(one[name]) for one in figures)]

    def cell(name: str, one: Mapping[str, Any]) -> str:
        value = one[name]
        if name in _MONEY:
            # Of what is no event there is no such price; else a price is not known.
            return "" if name == "every_event_usd" and one["events"] is None else usd(value)
        return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)

    cells = [(row.name, *(cell(name, one) for name in shown)) for row, one in zip(rows, figures, strict=True)]
    return (heading, *(COLUMNS[name] for name in shown)), cells


def _says_anything(figure: object) -> bool:
    return figure is not None and (isinstance(figure, float) or bool(figure))


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
