"""What a person sees: tables, progress bars, errors. Numbers come in as values; nothing is computed or read here.

Text out of a log or a model is hostile: it goes through `safe`, which leaves nothing that moves a cursor or that the
terminal library takes for markup. Colour and progress only on a terminal; NO_COLOR is honoured by the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from enricher.core import pricing
from enricher.core.redact import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from enricher.core.records.report import Table as ReportTable
    from enricher.errors import EnricherError

_SEVERITY_STYLES = {
    "fatal": "bold white on red", "critical": "bold red", "error": "red", "warning": "yellow", "notice": "cyan",
}  # fmt: skip

_WIDEST: Final = 100_000
"""Columns of a table that is not to be folded."""


def consoles() -> tuple[Console, Console]:
    """Standard output and standard error, without markup, emoji or highlighting of what is printed."""
    return (
        Console(markup=False, emoji=False, highlight=False, soft_wrap=False),
        Console(markup=False, emoji=False, highlight=False, stderr=True),
    )


def safe(text: str, *, limit: int = 0) -> str:
    """Text from outside, with nothing in it that a terminal acts on; cut at `limit` characters."""
    shown = "".join(char if char.isprintable() else " " for char in clean(text.replace("\0", " ")))
    return shown if not limit or len(shown) <= limit else shown[: limit - 1] + "…"


def error(console: Console, fault: EnricherError) -> None:
    """What was wrong, where, and what to do."""
    for line in str(fault).splitlines() or [type(fault).__name__]:
        console.print(Text("error: ", style="bold red") + Text(safe(line)), soft_wrap=True)
    if fault.hint:
        console.print(Text("  try: ", style="bold") + Text(safe(fault.hint)), soft_wrap=True)


def progress(console: Console, *, shows_end: bool = False) -> Progress:
    """A bar that shows nothing where there is no terminal; `shows_end`: with the time that what is left may take."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *((TextColumn("end in"), TimeRemainingColumn()) if shows_end else ()),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def severity_style(severity: str) -> str:
    """How a severity is coloured."""
    return _SEVERITY_STYLES.get(severity, "")


def kinds(console: Console, title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print kinds of event: severity, events and what it means, and below it the kind's template."""
    table = Table(title=title, title_justify="left", title_style="bold", expand=True, box=None, padding=(0, 1))
    table.add_column("severity", no_wrap=True)
    table.add_column("events", justify="right", no_wrap=True)
    table.add_column("what it means, and the kind of event", ratio=1)
    for row in rows:
        severity = str(row["severity"])
        # Two lines each, cut at the terminal's width: a table that wraps cannot be scanned.
        meaning = Text(safe(str(row["summary"])), overflow="ellipsis", no_wrap=True)
        kind = Text(safe(f"{row['category']} · {row['template']}"), style="dim", overflow="ellipsis", no_wrap=True)
        table.add_row(Text(severity, style=severity_style(severity)), f"{row['events']:,}", Group(meaning, kind))
    console.print(table)


def facts(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(safe(value)))
    _print(console, table)


def _print(console: Console, table: Table, *, is_whole: bool = False) -> None:
    """Print a table; as wide as it is if it `is_whole`, and where a program reads it: half a name is none."""
    if is_whole or not console.is_terminal:
        # What `print` takes for a width is no more than the console's.
        table.width = console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum
    console.print(table, crop=False)


def grid(
    console: Console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Collection[int] = (),
    names: Collection[int] = (),
    note: str = "",
) -> None:
    """Print a plain table, `note` below it.

    The columns of `numbers` are set to the right, those of `names` are never folded, so that a name can be copied: a
    terminal that is too narrow wraps the whole line itself.
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1),
        caption=note or None,
        caption_justify="left",
    )
    for at, column in enumerate(columns):
        # A path that is cut off is none; a figure that is wrapped is misread.
        is_whole = at in numbers or at in names
        table.add_column(column, overflow="fold", justify="right" if at in numbers else "left", no_wrap=is_whole)
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    _print(console, table, is_whole=bool(names))


def report(console: Console, rows: Sequence[tuple[str, str]], tables: Sequence[ReportTable]) -> None:
    """Print an evaluation: its facts, then its tables."""
    facts(console, rows)
    for table in tables:
        console.print()
        grid(console, table.title, table.columns, table.rows, numbers=table.numbers, note=table.note)


def figures(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print names with figures beside them; wider than the terminal rather than with a figure cut in two."""
    texts = [[safe(cell) for cell in row] for row in rows]
    widths = [max((len(row[at]) for row in texts), default=0) for at in range(len(columns))]
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for at, (column, width) in enumerate(zip(columns, widths, strict=True)):
        table.add_column(column, justify="right" if at else "left", min_width=width)
    for row in texts:
        table.add_row(*map(Text, row))
    least = sum(max(width, *map(len, column.split())) + 2 for column, width in zip(columns, widths, strict=True))
    console.print(table, width=max(console.width, least), crop=False)


def usd(amount: float | None) -> str:
    """An amount of money with as many digits as it needs."""
    return "unknown (no price for the model)" if amount is None else pricing.usd(amount)
