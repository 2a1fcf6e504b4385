"""A job over records with a real store, a real batch server in this process, and a model that a test makes up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enricher import records
from enricher.batchserver.model_weights import SMALL_WEIGHTS
from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings
from enricher.config import Config, shipped
from enricher.core.pricing import FREE
from enricher.core.task import parse_task
from enricher.edges.clock_system import SystemClock
from enricher.provider import Provider

if TYPE_CHECKING:
    from pathlib import Path

PRICES = {
    "input_usd": 1.0,
    "cached_usd": 0.1,
    "output_usd": 4.0,
    "batch_input_usd": 0.5,
    "batch_cached_usd": 0.05,
    "batch_output_usd": 2.0,
    "as_of": "2026-11-22",
}
LABEL = """
name = "mood"
version = 1
max_output_tokens = 100
answer_tokens = 10
[prompt]
system = "Say how it feels."
user = "{{text}}"
[schema]
type = "object"
additionalProperties = false
required = ["mood"]
properties = { mood = { type = "string", enum = ["glad", "sad"] } }
"""


EMBEDDED = Provider(
    kind="local",
    base_url="",
    endpoint="/v1/chat/completions",
    model=SMALL_WEIGHTS.name,
    task=parse_task(shipped("tasks/logs-local.toml"), name="logs-local"),
    prices=FREE,
    reasoning_effort="",
    poll_interval_seconds=0.05,
    weights=SMALL_WEIGHTS,
)


class Model:
    """Answers with what `say` makes of a text: a mapping, a text, or an exception's status and body."""

    def __init__(self, say):
        self.say = say
        self.asked = []
        self.systems = []
        self.at_work = asyncio.Event()
        """Set; while it is cleared nothing is answered."""
        self.at_work.set()

    async def start(self):
        pass

    async def close(self):
        pass

    async def models(self):
        return ["made-up"]

    def reply(self, body, text):
        """For a test that looks at more than the text."""
        del body
        return self.say(text)

    async def answer(self, endpoint, body):
        await self.at_work.wait()
        text = body["messages"][-1]["content"]
        self.asked.append(text)
        self.systems.append(body["messages"][0]["content"])
        said = self.reply(body, text)
        if isinstance(said, tuple):
            return said
        content = said if isinstance(said, str) else json.dumps(said)
        message = {"role": "assistant", "content": content, "refusal": None}
        return 200, {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "made-up",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }


@dataclass
class Desk:
    root: Path
    url: str
    model: Model
    settings: dict = field(default_factory=dict)

    @property
    def config(self):
        tables = {
            "state_dir": str(self.root / "state"),
            "provider": {"base_url": self.url, "model": "made-up", "endpoint": "/v1/chat/completions"},
            "batch": {"poll_interval_seconds": 0.02},
            "prices": PRICES,
        }
        for name, table in self.settings.items():
            tables[name] = {**tables.get(name, {}), **table}
        return Config.model_validate(tables)

    def write(self, name, rows):
        path = self.root / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def task(self, text, name="task.toml"):
        (self.root / name).write_text(text)
        return str(self.root / name)

    async def run(self, task, given, output="out.jsonl", **options):
        async with asyncio.timeout(40):
            return await records.run_async(task, given, self.root / output, config=self.config, **options)

    def rows(self, output="out.jsonl"):
        return [json.loads(line) for line in (self.root / output).read_text().splitlines()]


@contextlib.asynccontextmanager
async def a_desk(root, say, *, limits=None, **settings):
    """Serve what `say` makes of texts, or a backend of the test's own."""
    model = say if hasattr(say, "answer") else Model(say)
    server = BatchServer(ServerSettings(state_dir=root / "server", concurrency=8, **limits or {}), model, SystemClock())
    url = await server.start()
    try:
        yield Desk(root, url, model, settings)
    finally:
        await server.close()
