"""A batch server on loopback, the real client on it, and a backend that a test holds in its hand."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.faults import FaultScript
from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings

TERMINAL = {"completed", "failed", "expired", "cancelled"}


class RealClock:
    def now(self):
        return time.time()

    def monotonic(self):
        return time.monotonic()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


class HandBackend:
    """Answers a line with what `answers` has for its prompt, else 200; holds back what `held` names until released."""

    def __init__(self, answers=None, held=()):
        self.answers = answers or {}
        self.held = set(held)
        self.release = asyncio.Event()
        self.asked = []
        self.is_open = False

    async def start(self):
        self.is_open = True

    async def close(self):
        self.is_open = False

    async def models(self):
        return ["hand"]

    async def answer(self, endpoint, body):
        prompt = body.get("input") or body["messages"][0]["content"]
        self.asked.append(prompt)
        if prompt in self.held:
            await self.release.wait()
        usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
        answer = self.answers.get(prompt, (200, {"object": "response", "model": "hand", "usage": usage}))
        if isinstance(answer, BaseException):
            raise answer
        return answer


def a_line(number, *, endpoint="/v1/responses", **changes):
    prompt = f"event {number}"
    body = {"model": "m", "input": prompt}
    if endpoint == "/v1/chat/completions":
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    return {"custom_id": f"r{number}", "method": "POST", "url": endpoint, "body": body, **changes}


def to_jsonl(lines):
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


@dataclass
class Bench:
    server: BatchServer
    url: str
    client: AsyncOpenAI

    @property
    def root(self):
        return self.url.removesuffix("/v1")

    async def upload(self, lines, name="window.jsonl"):
        content = lines if isinstance(lines, bytes) else to_jsonl(lines)
        return await self.client.files.create(file=(name, content), purpose="batch")

    async def create(self, lines=(), *, endpoint="/v1/responses", file_id=None, **more):
        file_id = file_id or (await self.upload(lines)).id
        return await self.client.batches.create(
            input_file_id=file_id, endpoint=endpoint, completion_window="24h", **more
        )

    async def until(self, batch_id, condition):
        async with asyncio.timeout(20):
            while not condition(batch := await self.client.batches.retrieve(batch_id)):
                pass
        return batch

    async def end(self, batch_id):
        return await self.until(batch_id, lambda batch: batch.status in TERMINAL)

    async def run(self, lines, **more):
        batch = await self.create(lines, **more)
        return await self.end(batch.id)

    async def read(self, file_id):
        content = (await self.client.files.content(file_id)).content
        return [json.loads(line) for line in content.split(b"\n") if line]

    async def ledger(self):
        response = await self.client._client.get(f"{self.root}/_server/ledger")
        return response.json()

    async def crash(self):
        """End everything of the server as SIGKILL would: nothing is finished, nothing is written any more."""
        runner = self.server._runner
        runner._stopping.set()
        tasks = [run.task for run in runner._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.server._http.cleanup()
        self.server._http = None
        await self.server._disk.close()
        self.server._lock.release()


@pytest.fixture
def clock():
    return RealClock()


@pytest.fixture
async def serve(tmp_path, clock):
    """Start servers; without a backend they answer by schema. `faults` is a list of rules."""
    benches = []

    async def start(backend=None, faults=None, *, state="state", key="sk-test", **settings):
        settings = {"concurrency": 2, "state_dir": tmp_path / state, **settings}
        script = FaultScript.from_mapping({"fault": faults}) if faults else None
        server = BatchServer(ServerSettings(faults=script, **settings), backend or SchemaBackend(clock), clock)
        url = await server.start()
        # Without TLS, whose trust store takes longer to load than most of these tests run.
        http = DefaultAsyncHttpxClient(verify=False)
        bench = Bench(server, url, AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=20, http_client=http))
        benches.append(bench)
        return bench

    yield start
    for bench in benches:
        if isinstance(bench.server._backend, HandBackend):
            bench.server._backend.release.set()
        await bench.client.close()
        await bench.server.close()


@pytest.fixture
def line():
    return a_line


@pytest.fixture
def hand():
    return HandBackend


@pytest.fixture
def jsonl():
    return to_jsonl
