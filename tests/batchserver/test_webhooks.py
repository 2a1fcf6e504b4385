"""The batch server tells that batches have ended, and the client of OpenAI believes it."""

from __future__ import annotations

import asyncio
import contextlib

import openai
import pytest
from aiohttp import web

from enricher.batchserver import webhooks
from enricher.batchserver.webhooks import WebhookTarget
from enricher.core.webhook import to_key

SECRET = "whsec_" + "QUJD" * 8


class Receiver:
    """Takes webhooks, and answers with these statuses first."""

    def __init__(self, statuses=()):
        self.statuses = list(statuses)
        self.got = asyncio.Queue()

    async def take(self, request):
        await self.got.put((await request.read(), dict(request.headers)))
        status = self.statuses.pop(0) if self.statuses else 204
        text = None if status == 204 else f"{status}"
        return web.Response(status=status, text=text, headers={"Location": "/elsewhere"})

    async def event(self):
        async with asyncio.timeout(10):
            body, headers = await self.got.get()
        return openai.OpenAI(api_key="sk-x", webhook_secret=SECRET).webhooks.unwrap(body, headers), headers


@contextlib.asynccontextmanager
async def receiving(receiver):
    """The address of a receiver."""
    runner = web.ServerRunner(web.Server(receiver.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        (None, "completed"),
        ([{"on": "batch", "what": "fail"}], "failed"),
        ([{"on": "batch", "what": "expire"}], "expired"),
        ([{"on": "batch", "what": "cancel"}], "cancelled"),
    ],
)
async def test_each_end_of_a_batch_is_told(serve, line, faults, status):
    receiver = Receiver()
    async with receiving(receiver) as url:
        bench = await serve(faults=faults, webhooks=WebhookTarget(url=url, key=to_key(SECRET)))
        batch = await bench.create([line(1)])
        event, _ = await receiver.event()
        assert (f"batch.{status}", batch.id) == (event.type, event.data.id)
        assert status == (await bench.client.batches.retrieve(batch.id)).status
    assert receiver.got.empty()


async def test_webhook_that_is_not_taken_is_sent_again_under_its_id(serve, line, monkeypatch):
    monkeypatch.setattr(webhooks, "FIRST_WAIT_SECONDS", 0.01)
    receiver = Receiver([500, 302, 400])
    async with receiving(receiver) as url:
        bench = await serve(webhooks=WebhookTarget(url=url, key=to_key(SECRET)))
        await bench.run([line(1)])
        ids = [(await receiver.event())[1]["webhook-id"] for _ in range(4)]
    assert 1 == len(set(ids))


async def test_attempts_are_bounded_and_the_batch_does_not_wait_for_them(serve, line, monkeypatch):
    monkeypatch.setattr(webhooks, "FIRST_WAIT_SECONDS", 0.001)
    receiver = Receiver([503] * 20)
    async with receiving(receiver) as url:
        bench = await serve(webhooks=WebhookTarget(url=url, key=to_key(SECRET)))
        assert "completed" == (await bench.run([line(1)])).status
        for _ in range(webhooks.MAX_ATTEMPTS):
            await receiver.event()
        async with asyncio.timeout(10):
            await asyncio.gather(*bench.server._webhooks._under_way)
    assert receiver.got.empty()


async def test_server_closes_at_once_while_nobody_takes_its_webhooks(serve, line):
    bench = await serve(webhooks=WebhookTarget(url="http://127.0.0.1:9/hook", key=to_key(SECRET)))
    assert "completed" == (await bench.run([line(1)])).status
    async with asyncio.timeout(2):
        await bench.server.close()


@pytest.mark.parametrize("answers", [True, False])
async def test_who_set_the_server_up_hears_why_a_webhook_was_not_taken(serve, line, monkeypatch, answers):
    monkeypatch.setattr(webhooks, "FIRST_WAIT_SECONDS", 0.001)
    heard = asyncio.Queue()
    async with receiving(Receiver([400] * webhooks.MAX_ATTEMPTS)) as taking:
        url = taking if answers else "http://127.0.0.1:9/hook"
        target = WebhookTarget(url=url, key=to_key(SECRET), lost=lambda *told: heard.put_nowait(told))
        bench = await serve(webhooks=target)
        batch = await bench.run([line(1)])
        async with asyncio.timeout(10):
            told = await heard.get()
        assert batch.id == told[0]
        assert told[1].startswith("answered 400: 400" if answers else "Cannot connect to host 127.0.0.1:9")
    assert heard.empty()


def test_key_is_not_shown():
    assert "ABC" not in repr(WebhookTarget(url="http://x/hook", key=to_key(SECRET)))
