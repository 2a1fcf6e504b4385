"""The commands of batch mode over records: `records run`, `records plan`, `records status`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from enricher import show
from enricher.cli.options import ConfigOption, JsonOption
from enricher.cli.running import EXIT_FAILED, set_up_logging, until_stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from enricher.core.records.address import TableFormat
    from enricher.records import Estimate, JobProgress, Report
    from enricher.records.order import Asked

records_cli = typer.Typer(
    no_args_is_help=True, help="Batch mode over records: classify, label, rewrite, at half price."
)

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="A shipped task by name, or a path of a TOML file.")]
InputArgument = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="A directory of documents, a glob, JSONL, CSV, TSV or Parquet, a database with --query, or - for stdin.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the task; a list as a,b,c or as in TOML."),
]
SchemaOption = Annotated[
    Path | None, typer.Option("--schema", metavar="FILE", help="JSON Schema of the answer, instead of the task's.")
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME=COLUMN", help="Under which column lies what the task calls NAME."),
]
KeyOption = Annotated[str | None, typer.Option("--key", metavar="COLUMN", help="The column that names a row.")]
QueryOption = Annotated[str | None, typer.Option("--query", metavar="SQL", help="What to ask a database.")]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Instead of the configured one.")]
BudgetOption = Annotated[
    float | None, typer.Option("--budget", metavar="USD", min=0.0, help="Refuse what would cost more, before it does.")
]
NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Send, and exit 75 until the same command finds it done.")
]
FormatOption = Annotated[
    str | None, typer.Option("--format", metavar="FORMAT", help="Of the input, where its name does not tell.")
]


@records_cli.command("run")
def run(
    task: TaskArgument,
    given: InputArgument,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="OUTPUT", help="JSONL, CSV, TSV, Parquet, PATH.db#table, or -.")
    ],
    config: ConfigOption = None,
    *,
    option: SetOption = None,
    schema: SchemaOption = None,
    column: ColumnOption = None,
    key: KeyOption = None,
    query: QueryOption = None,
    model: ModelOption = None,
    input_format: FormatOption = None,
    output_format: Annotated[
        str | None, typer.Option("--output-format", metavar="FORMAT", help="Where its name does not tell.")
    ] = None,
    budget: BudgetOption = None,
    no_wait: NoWaitOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies where the output goes.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a task about every row, and write the rows with their answers; interrupted, the same command goes on."""
    from enricher import records

    out, err = show.consoles()
    set_up_logging(quiet=True)

    asked = _asked(option, schema, column, key=key, query=query, model=model, input_format=input_format)

    async def work(stop: asyncio.Event) -> Report:
        with show.progress(err, shows_end=True) as bar:
            return await records.run_async(
                task,
                given,
                output,
                config=config,
                stop=stop,
                tell=records_to_bar(bar),
                wait=not no_wait,
                output_format=cast("TableFormat | None", output_format),
                budget_usd=budget,
                overwrite=overwrite,
                **asked,
            )

    report = asyncio.run(until_stopped(work))
    # What was written to standard output must stay alone there.
    console = err if output == "-" else out
    if as_json:
        console.print(json.dumps(report.to_json(), indent=2), soft_wrap=True)
    else:
        _print_report(console, report)
    if report.rows and not report.statuses.get("ok"):
        raise typer.Exit(EXIT_FAILED)


@records_cli.command("plan")
def plan(
    task: TaskArgument,
    given: InputArgument,
    config: ConfigOption = None,
    *,
    option: SetOption = None,
    schema: SchemaOption = None,
    column: ColumnOption = None,
    key: KeyOption = None,
    query: QueryOption = None,
    model: ModelOption = None,
    input_format: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how many requests, tokens and dollars asking would take, and why; nothing is sent."""
    from enricher import records

    out, err = show.consoles()
    set_up_logging(quiet=True)
    asked = _asked(option, schema, column, key=key, query=query, model=model, input_format=input_format)
    with show.progress(err, shows_end=True) as bar:
        estimate = asyncio.run(records.plan_async(task, given, config=config, tell=records_to_bar(bar), **asked))
    if as_json:
        out.print(json.dumps(estimate.to_json(), indent=2), soft_wrap=True)
    else:
        _print_estimate(out, estimate)


@records_cli.command("status")
def status(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show what was run and what is under way."""
    from enricher.records.api import status as look

    out, _ = show.consoles()
    set_up_logging(quiet=True)
    rows = asyncio.run(look(config))
    if as_json:
        out.print(json.dumps(rows, indent=2), soft_wrap=True)
        return
    show.grid(
        out,
        "runs",
        ("begun", "state", "task", "rows", "open", "cost", "input", "output"),
        [
            (
                str(row["began_at"])[:16].replace("T", " "),
                str(row["state"]),
                str(row["task"]),
                f"{row['rows']:,}",
                f"{row['under_way']:,}",
                show.usd(float(str(row["cost_usd"]))),
                str(row["input"]),
                str(row["output"]),
            )
            for row in rows
        ],
        numbers=(0, 3, 4, 5),
        names=(2, 6, 7),
    )


def _asked(
    option: list[str] | None,
    schema: Path | None,
    column: list[str] | None,
    *,
    key: str | None,
    query: str | None,
    model: str | None,
    input_format: str | None,
) -> Asked:
    """What both commands say of the task and the input, as `enricher.records` takes it."""
    from enricher.records.order import parse_columns, parse_options, read_schema

    return {
        "options": parse_options(option or []),
        "schema": None if schema is None else read_schema(schema),
        "columns": parse_columns(column or []),
        "key": key,
        "query": query,
        "model": model,
        "input_format": cast("TableFormat | None", input_format),
    }


def records_to_bar(bar: Any) -> Callable[[JobProgress], None]:  # noqa: ANN401 - rich's Progress, imported by show alone
    """Return what shows the progress of a job, or of several, on a bar of `show.progress`."""
    line = bar.add_task("reading", total=None)

    def tell(progress: JobProgress) -> None:
        if progress.phase == "reading":
            bar.update(line, description=f"reading: {progress.rows:,} rows", completed=0, total=None)
            return
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        cost = f", {show.usd(progress.cost_usd)}" if progress.cost_usd else ""
        note = f" ({show.safe(progress.note, limit=60)})" if progress.note else ""
        bar.update(
            line,
            description=f"{progress.phase}{failed}{cost}{note}",
            completed=progress.done + progress.failed,
            total=progress.total or None,
        )

    return tell


def _print_report(console: Any, report: Report) -> None:  # noqa: ANN401 - rich's Console, imported by show alone
    statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(report.statuses.items())) or "no rows"
    facts = [
        ("rows", f"{report.rows:,}: {statuses}"),
        *((status, reason) for status, reason in sorted(report.reasons.items())),
        ("asked", f"{report.asked:,} request{'' if report.asked == 1 else 's'} of {report.model}"),
        ("cost", show.usd(report.cost_usd)),
        ("output", report.output),
    ]
    show.facts(console, facts + [("note", note) for note in report.notes])


def _print_estimate(console: Any, estimate: Estimate) -> None:  # noqa: ANN401 - as above
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in estimate.reasons.items())
    show.facts(
        console,
        [
            ("rows", f"{estimate.rows:,}, of which {estimate.faults:,} cannot be asked about"),
            ("requests", f"{estimate.requests:,}" + (f": {reasons}" if reasons else "")),
            ("tokens in", f"{estimate.input_tokens:,} at most"),
            ("tokens out", f"about {estimate.output_tokens:,}"),
            ("in batch", f"about {show.usd(estimate.likely_usd)}, at most {show.usd(estimate.most_usd)}"),
            ("on demand", f"about {show.usd(estimate.on_demand_usd)}"),
        ],
    )
