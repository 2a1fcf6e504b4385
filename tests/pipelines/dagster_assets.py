"""The reviews of each hour are labelled at half price: an asset of Dagster with a partition for each hour.

A step that finds the provider at work ends, and is tried again later: no process waits. An hour that is materialised
again asks only about the reviews that are new.
"""
# Not `from __future__ import annotations`: Dagster looks at the types of arguments.

from pathlib import Path

import dagster as dg

from enricher import records
from enricher.errors import LockedError, TryAgainError

HOURS = dg.HourlyPartitionsDefinition(start_date="2026-11-01-00:00")


class Reviews(dg.ConfigurableResource):
    """Where the files of the hours lie, beside enricher.toml."""

    directory: str
    try_again_seconds: int = 600

    def path(self, name: str) -> Path:
        return Path(self.directory, name)


@dg.asset(partitions_def=HOURS)
def labels(context: dg.AssetExecutionContext, reviews: Reviews) -> dg.MaterializeResult:
    """The reviews of an hour, each with its sentiment, intent and topic."""
    hour = context.partition_key
    try:
        report = records.run(
            "label",
            reviews.path(f"reviews-{hour}.jsonl"),
            reviews.path(f"labels-{hour}.jsonl"),
            config=reviews.path("enricher.toml"),
            budget_usd=5.0,
            wait=False,
        )
    except (TryAgainError, LockedError) as error:
        context.log.info("%s; %s", error, error.hint)
        # The Batch API promises an answer within a day.
        raise dg.RetryRequested(max_retries=200, seconds_to_wait=reviews.try_again_seconds) from error
    return dg.MaterializeResult(
        metadata={"rows": report.rows, "failed": report.failed, "asked": report.asked, "cost_usd": report.cost_usd}
    )


definitions = dg.Definitions(assets=[labels], resources={"reviews": Reviews(directory=dg.EnvVar("REVIEWS"))})
