"""The command `evaluate`: tasks about records in every cell of their matrix, tasks about log events as they are."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enricher import config as configuration
from enricher import show
from enricher.cli.options import ConfigOption, JsonOption
from enricher.cli.records import BudgetOption, ColumnOption, KeyOption, NoWaitOption, SetOption, records_to_bar
from enricher.cli.running import EXIT_FAILED, set_up_logging, to_bar, until_stopped
from enricher.errors import OutputError, UsageError

if TYPE_CHECKING:
    from enricher.records.evaluating import Evaluated

_SUFFIXES = (".md", ".html")


ReportOption = Annotated[
    list[Path] | None, typer.Option("--report", metavar="FILE", help="Write the report there: .md or .html.")
]
JUnitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write every case as a test, as JUnit XML.")
]
BaselineOption = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="Fail if it is worse than this earlier one.")
]
WriteBaselineOption = Annotated[
    Path | None, typer.Option("--write-baseline", metavar="FILE", help="Keep its scores, unless the gate fails.")
]


def evaluate(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A shipped task by name, or a path.")],
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]", help="Labelled rows, or lines of a log (JSONL); else those shipped with the task."
        ),
    ] = None,
    config: ConfigOption = None,
    *,
    option: SetOption = None,
    column: ColumnOption = None,
    key: KeyOption = None,
    report: ReportOption = None,
    junit: JUnitOption = None,
    baseline: BaselineOption = None,
    write_baseline: WriteBaselineOption = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of intervals and p values.")] = 1,
    budget: BudgetOption = None,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a task about labelled rows, and show how good its answers are; interrupted, it resumes."""
    from enricher.records.order import is_about_records

    if not is_about_records(task):
        given = (option, column, key, report, junit, baseline, write_baseline, budget, no_wait)
        if any(one not in (None, False) for one in given):
            raise UsageError(
                f"{task} is a task about log events: of all options it takes --config and --json",
                hint='a task about records says  use = "records"',
            )
        _about_events(task, dataset, config, as_json=as_json)
        return
    from enricher.records.order import parse_columns, parse_options

    files = _Files(report=tuple(report or ()), junit=junit, baseline=write_baseline)
    files.check()
    asked = {
        "options": parse_options(option or []),
        "columns": parse_columns(column or []),
        "key": key,
        "baseline": baseline,
        "making": write_baseline,
        "seed": seed,
        "budget_usd": budget,
        "wait": not no_wait,
    }
    _about_records(task, dataset, config, asked, files, as_json=as_json)


def _about_events(task: str, dataset: str | None, config: Path | None, *, as_json: bool) -> None:
    from enricher import evaluation

    out, err = show.consoles()
    set_up_logging(quiet=err.is_terminal or as_json)
    settings = configuration.load_or_here(config)
    path = None if dataset is None else Path(dataset)

    async def work(stop: asyncio.Event) -> evaluation.Evaluation:
        with show.progress(err) as bar:
            return await evaluation.evaluate(
                stop, settings, config_path=config, task=task, dataset=path, tell=to_bar(bar)
            )

    result = asyncio.run(until_stopped(work))
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=2))
    else:
        evaluation.print_evaluation(out, result)


def _about_records(
    task: str,
    dataset: str | None,
    config: Path | None,
    asked: dict[str, Any],
    files: _Files,
    *,
    as_json: bool,
) -> None:
    from enricher.core.records.report import confusion_tables, facts, tables
    from enricher.core.records.report_json import to_json
    from enricher.records.evaluating import evaluate_async

    out, err = show.consoles()
    set_up_logging(quiet=True)

    async def work(stop: asyncio.Event) -> Evaluated:
        with show.progress(err, shows_end=True) as bar:
            return await evaluate_async(task, dataset, config=config, stop=stop, tell=records_to_bar(bar), **asked)

    found = asyncio.run(until_stopped(work))
    files.write(found)
    evaluation, verdict = found.evaluation, found.verdict
    if as_json:
        typer.echo(json.dumps(to_json(evaluation, verdict), indent=2))
    else:
        notes = [("note", note) for note in found.notes]
        show.report(
            out,
            [*facts(evaluation, verdict), *notes],
            [*tables(evaluation), *confusion_tables(evaluation, evaluation.best)],
        )
    if verdict is not None and not verdict.passed:
        raise typer.Exit(EXIT_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What is written besides what is shown."""

    report: tuple[Path, ...]
    junit: Path | None
    baseline: Path | None

    def check(self) -> None:
        """Refuse, before anything is asked, what could not be written after it. Raises UsageError."""
        for path in self.report:
            if path.suffix.lower() not in _SUFFIXES:
                raise UsageError(f"--report {path}: what form it is to have is told by its name", hint=".md or .html")
        for other in (*self.report, self.junit, self.baseline):
            if other is not None and not other.parent.is_dir():
                raise UsageError(f"{other}: there is no directory {other.parent}", hint="make it first")
        if self.baseline is not None and self.baseline.suffix != ".json":
            raise UsageError(f"--write-baseline {self.baseline}: a baseline's name ends in .json")

    def write(self, found: Evaluated) -> None:
        """Write all of them. Raises OutputError."""
        from datetime import UTC, datetime

        from enricher.core.records.report import markdown
        from enricher.core.records.report_html import html
        from enricher.core.records.report_junit import junit
        from enricher.core.records.results import write_baseline

        evaluation, verdict = found.evaluation, found.verdict
        now = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
        for path in self.report:
            is_page = path.suffix.lower() == ".html"
            _write(path, html(evaluation, verdict, made=f"{now}Z") if is_page else markdown(evaluation, verdict))
        if self.junit is not None:
            _write(self.junit, junit(evaluation, verdict, timestamp=now))
        # What failed is nothing to measure the next one by.
        if self.baseline is not None and (verdict is None or verdict.passed):
            _write(self.baseline, write_baseline(evaluation))


def _no_link(path: str, flags: int) -> int:
    # In a directory that others write to, one may wait there under this name; the mode is the user's own affair.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _write(path: Path, text: str) -> None:
    """Have a file appear whole, or stay as it was; what is no file (a device, a pipe) is written to."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        try:
            with open(partial, "w", encoding="utf-8", opener=_no_link) as file:
                file.write(text)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}", hint="is there room, and may you?") from None
