"""Batch mode over records, for programs: documents are classified, tables labelled, content rewritten, at half price.

    from enricher import records

    report = records.run("classify", "documents/", "labels.jsonl", options={"labels": ["invoice", "contract"]})

`run` blocks, `run_async` does not; cancelling it, or a kill, loses nothing: the same call goes on where it stopped.
With `wait=False` both raise `TryAgainError` while the provider works, so that a scheduler may call again later.
"""

from __future__ import annotations

from enricher.records.api import plan, plan_async, run, run_async
from enricher.records.job import JobProgress, Report
from enricher.records.planning import Estimate

__all__ = ["Estimate", "JobProgress", "Report", "plan", "plan_async", "run", "run_async"]
