"""Batch mode over records, for programs: documents are classified, tables labelled, content rewritten, at half price.

>>> from enricher import records
>>> records.plan("label", "reviews.jsonl").requests
3
>>> report = records.run("label", "reviews.jsonl", "labels.csv", budget_usd=5.0)
>>> report.rows, report.failed
(3, 0)

`run` blocks, `run_async` does not; cancelling it, or a kill, loses nothing: the same call goes on where it stopped.
With `wait=False` both raise `TryAgainError` while the provider works, so that a program may call again later. A
scheduler takes three calls, each in a process of its own: `submit` returns a handle at once, `is_done` says whether all
is answered, `collect` writes the output.

>>> handle = records.submit("label", "reviews.jsonl", "again.csv")
>>> records.is_done(handle)  # nothing was left to ask
True
>>> records.collect(handle).asked
0

`evaluate` asks a task about labelled rows in every cell of its matrix of prompts, models and parameters.

>>> found = records.evaluate("evaluate")  # the rows that come with it
>>> len(found.evaluation.cases), found.verdict.passed  # answers that somebody made up
(24, False)
"""

from __future__ import annotations

from enricher.records.api import plan, plan_async, run, run_async
from enricher.records.deferred import (
    Handle,
    collect,
    collect_async,
    is_done,
    is_done_async,
    submit,
    submit_async,
)
from enricher.records.evaluating import Evaluated, evaluate, evaluate_async
from enricher.records.planning import Estimate
from enricher.records.progress import JobProgress, Report

__all__ = [
    "Estimate",
    "Evaluated",
    "Handle",
    "JobProgress",
    "Report",
    "collect",
    "collect_async",
    "evaluate",
    "evaluate_async",
    "is_done",
    "is_done_async",
    "plan",
    "plan_async",
    "run",
    "run_async",
    "submit",
    "submit_async",
]
