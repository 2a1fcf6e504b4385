"""The reviews of each hour are labelled at half price: a DAG of Airflow 3 that holds no worker while it waits.

`submit` sends and ends; `wait` is deferred to the triggerer, which asks now and then; `collect` writes the labels. The
three may be processes of their own on one host: what they have in common lies in the state directory of enricher.toml.
The triggerer imports the trigger, so this file lies where it finds modules, in `plugins/`.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, dag, task
from airflow.triggers.base import BaseTrigger, TriggerEvent

from enricher import records
from enricher.errors import EnricherError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REVIEWS = Path(os.environ["REVIEWS"])
"""Where the files of the hours lie, beside enricher.toml."""
EVERY_SECONDS = float(os.environ.get("REVIEWS_EVERY_SECONDS", "60"))


class AnswersTrigger(BaseTrigger):
    """Fires when everything that was submitted is answered, or cannot be."""

    def __init__(self, handle: records.Handle) -> None:
        super().__init__()
        self.handle = handle

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.AnswersTrigger", {"handle": self.handle}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            while not await records.is_done_async(self.handle):  # noqa: ASYNC110 - the provider tells nobody
                await asyncio.sleep(EVERY_SECONDS)
        except EnricherError as error:
            yield TriggerEvent({"error": str(error)})
        else:
            yield TriggerEvent({"error": None})


class WaitForAnswers(BaseOperator):
    """Waits in the triggerer, where a thousand of these take one process."""

    template_fields = ("handle",)

    def __init__(self, *, handle: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.handle = handle

    def execute(self, context: Any) -> None:
        self.defer(trigger=AnswersTrigger(self.handle), method_name="answered", timeout=timedelta(days=2))

    def answered(self, context: Any, event: dict[str, str | None]) -> None:
        if event["error"]:
            raise RuntimeError(event["error"])


@dag(schedule="@hourly", start_date=datetime(2026, 11, 1, tzinfo=UTC), catchup=False)
def label_reviews():
    # Nothing is sent or paid twice, however often a task is tried again.
    @task(retries=3)
    def submit(data_interval_start=None) -> records.Handle:
        hour = data_interval_start.strftime("%Y-%m-%dT%H")
        return records.submit(
            "label",
            REVIEWS / f"reviews-{hour}.jsonl",
            REVIEWS / f"labels-{hour}.jsonl",
            config=REVIEWS / "enricher.toml",
            budget_usd=5.0,
        )

    @task(retries=3)
    def collect(handle: records.Handle) -> dict[str, object]:
        return records.collect(handle).to_json()

    handle = submit()
    WaitForAnswers(task_id="wait", handle=handle) >> collect(handle)


label_reviews = label_reviews()
