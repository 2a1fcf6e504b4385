"""The door for webhooks: genuine ones wake, all others change nothing and cost little."""

from __future__ import annotations

import asyncio
import gzip

import pytest
import structlog
from prometheus_client import CollectorRegistry

from enricher.core.webhook import MAX_BODY_BYTES, sign
from enricher.edges import webhook_http
from enricher.edges.webhook_http import WebhookDoor
from enricher.telemetry import Telemetry
from tests.edges.test_admin_http import ask, get, serving

KEY = b"a key of sixteen"
NOW = 1_800_000_000
BODY = b'{"id":"evt_1","type":"batch.completed","data":{"id":"batch_1"}}'
PATH = b"/webhooks/openai"


class Door:
    """A door, what it woke and what it counted."""

    def __init__(self):
        self.woken = []
        self.now = float(NOW)
        self.registry = CollectorRegistry()
        telemetry = Telemetry(self.registry)
        self.door = WebhookDoor(key=KEY, now=lambda: self.now, wake=self.woken.append, telemetry=telemetry)

    def counts(self):
        results = ("accepted", "duplicate", "refused", "ignored")
        counted = {one: self.registry.get_sample_value("enricher_webhooks_total", {"result": one}) for one in results}
        return {name: int(number) for name, number in counted.items() if number}


def head(body=BODY, *, webhook_id="wh_1", timestamp=NOW, key=KEY, length=None):
    signature = sign(key, webhook_id=webhook_id, timestamp=timestamp, body=body)
    return (
        f"Content-Length: {len(body) if length is None else length}\r\nwebhook-id: {webhook_id}\r\n"
        f"webhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n"
    ).encode()


async def post(place, headers, body=BODY, *, path=PATH, host=b"localhost"):
    """Status of an answer."""
    first = b"POST " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n"
    answer = await ask(place, first + headers + b"\r\n" + body, close=False)
    return int(answer.split()[1])


async def test_genuine_webhook_wakes_once_however_often_it_comes():
    door = Door()
    async with serving(webhooks=door.door.answer, token="a-token-of-more-than-16") as place:
        # Through a proxy: under a foreign name, and without the token, which nobody outside has.
        assert [200] * 3 == [await post(place, head(), host=b"logs.example") for _ in range(3)]
        assert 200 == await post(place, head(webhook_id="wh_2"))
    assert ["batch_1", "batch_1"] == door.woken
    assert {"accepted": 2, "duplicate": 2} == door.counts()


async def test_other_events_are_taken_and_change_nothing():
    """Else they would be sent again for days."""
    door = Door()
    async with serving(webhooks=door.door.answer) as place:
        for number, body in enumerate((b'{"type":"response.completed","data":{"id":"resp_1"}}', b"not json", b"")):
            assert 200 == await post(place, head(body, webhook_id=f"wh_{number}"), body)
    assert ([], {"ignored": 3}) == (door.woken, door.counts())


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (head(key=b"another key of 16"), BODY),
        (head(), BODY.replace(b"batch_1", b"batch_2")),
        (head(timestamp=NOW - 301), BODY),
        (head(timestamp=NOW + 301), BODY),
        (b"Content-Length: 63\r\n", BODY),
        (head(length=len(BODY)) + b"Content-Encoding: gzip\r\n", gzip.compress(BODY)[: len(BODY)]),
    ],
    ids=["forged", "altered", "old", "early", "unsigned", "packed"],
)
async def test_what_is_not_genuine_is_refused(headers, body):
    door = Door()
    async with serving(webhooks=door.door.answer) as place:
        assert 400 == await post(place, headers, body)
    assert ([], {"refused": 1}) == (door.woken, door.counts())


async def test_refused_webhook_does_not_use_up_its_id():
    door = Door()
    async with serving(webhooks=door.door.answer) as place:
        assert 400 == await post(place, head(key=b"another key of 16"))
        assert 200 == await post(place, head())
    assert ["batch_1"] == door.woken


async def test_body_that_is_too_large_is_refused_unread_and_one_of_the_size_is_not():
    door = Door()
    largest = BODY + b" " * (MAX_BODY_BYTES - len(BODY))
    endless = b"Transfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    async with serving(webhooks=door.door.answer) as place:
        assert 200 == await post(place, head(largest), largest)
        assert 413 == await post(place, head(length=MAX_BODY_BYTES + 1), b"")
        assert 413 == await post(place, endless[:-2], endless.partition(b"\r\n\r\n")[2] * 3)
        assert (200, "ok\n") == await get(place, b"/healthz")
    assert {"accepted": 1, "refused": 2} == door.counts()


async def test_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(webhook_http, "BODY_SECONDS", 0.1)
    door = Door()
    async with serving(webhooks=door.door.answer) as place, asyncio.timeout(10):
        assert 408 == await post(place, head(), BODY[:10])
    assert {"refused": 1} == door.counts()


async def test_only_posts_to_the_one_path_come_to_the_door():
    door = Door()
    async with serving(webhooks=door.door.answer) as place:
        assert (405, "webhooks are posted here\n") == await get(place, PATH)
        assert 404 == await post(place, head(), path=b"/webhooks")
        assert 404 == await post(place, head(), path=PATH + b"/")
        assert 405 == await post(place, head(), path=b"/status")
    async with serving() as place:
        assert 404 == await post(place, head())
    assert ([], {}) == (door.woken, door.counts())


async def test_floods_of_forged_ones_are_counted_and_logged_once_a_minute():
    door = Door()
    async with serving(webhooks=door.door.answer) as place, asyncio.timeout(30):
        with structlog.testing.capture_logs() as logs:
            for _ in range(20):
                await post(place, head(key=b"another key of 16"))
            door.now += 61
            await post(place, head(key=b"another key of 16"))
    assert {"refused": 21} == door.counts()
    assert ["webhook_refused"] * 2 == [one["event"] for one in logs]
