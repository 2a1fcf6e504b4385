from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import pytest
from aiohttp import web

from enricher.batchserver import backend_http
from enricher.batchserver.backend_http import HttpBackend, read_retry_after


class PatientClock:
    """Waits for nothing and notes for how long it was asked to."""

    def __init__(self):
        self.slept = []

    def now(self):
        return 1_000_000.0

    def monotonic(self):
        return 0.0

    async def sleep(self, seconds):
        self.slept.append(seconds)


@pytest.fixture
def clock():
    return PatientClock()


@pytest.fixture
async def upstream():
    """A real HTTP server that answers with the next of `replies`: (status, headers, body)."""

    state = SimpleNamespace(replies=[], seen=[], url="")

    async def handle(request):
        state.seen.append((request.method, request.path, dict(request.headers), await request.read()))
        status, headers, body = state.replies.pop(0)
        if status == 0:
            request.transport.abort()
            return web.Response()
        return web.Response(status=status, headers=headers, body=body if isinstance(body, bytes) else json.dumps(body))

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield state
    await runner.cleanup()


@pytest.fixture
async def connect(upstream, clock):
    made = []

    async def make(url=None, **more):
        backend = HttpBackend(url or upstream.url, clock=clock, concurrency=2, **more)
        await backend.start()
        made.append(backend)
        return backend

    yield make
    for backend in made:
        await backend.close()
        await backend.close()


BODY = {"model": "m", "input": "x"}


async def test_request_is_passed_on_unchanged(upstream, connect):
    upstream.replies = [(200, {}, {"id": "resp_1"})]
    backend = await connect()
    assert (200, {"id": "resp_1"}) == await backend.answer("/v1/responses", BODY)
    method, path, headers, content = upstream.seen[0]
    assert ("POST", "/v1/responses", BODY) == (method, path, json.loads(content))
    assert "Authorization" not in headers


async def test_key_and_model_are_those_of_the_settings(upstream, connect):
    upstream.replies = [(200, {}, {})]
    backend = await connect(upstream.url + "/", api_key="sk-up", model="qwen")
    body = dict(BODY)
    await backend.answer("/v1/chat/completions", body)
    _, path, headers, content = upstream.seen[0]
    assert ("/v1/chat/completions", "Bearer sk-up", "qwen") == (
        path,
        headers["Authorization"],
        json.loads(content)["model"],
    )
    assert body == BODY


@pytest.mark.parametrize("status", [429, 500, 503, 0])
async def test_what_may_succeed_later_is_tried_again(upstream, connect, clock, status):
    upstream.replies = [(status, {}, {"error": {"message": "no"}})] * 2 + [(200, {}, {"id": "r"})]
    backend = await connect()
    assert (200, {"id": "r"}) == await backend.answer("/v1/responses", BODY)
    assert [0.5, 1.0] == clock.slept


async def test_tries_are_bounded_and_the_last_answer_is_the_outcome(upstream, connect, clock):
    upstream.replies = [(503, {}, {"error": {"message": "overloaded"}})] * 9
    backend = await connect()
    assert (503, {"error": {"message": "overloaded"}}) == await backend.answer("/v1/responses", BODY)
    assert backend_http.MAX_ATTEMPTS == len(upstream.seen)
    assert [0.5, 1.0, 2.0, 4.0] == clock.slept


async def test_refusal_is_not_tried_again(upstream, connect, clock):
    upstream.replies = [(400, {}, {"error": {"message": "no"}})]
    backend = await connect()
    assert 400 == (await backend.answer("/v1/responses", BODY))[0]
    assert [] == clock.slept


@pytest.mark.parametrize(
    ("headers", "slept"),
    [
        ({"Retry-After": "7"}, [7.0]),
        ({"retry-after-ms": "250"}, [0.25]),
        ({"Retry-After": "Mon, 12 Jan 1970 13:46:50 GMT"}, [10.0]),
        ({"Retry-After": "soon"}, [0.5]),
        ({"Retry-After": "-3"}, [0.5]),
        ({"Retry-After": "nan"}, [0.5]),
    ],
)
async def test_retry_after_is_honoured(upstream, connect, clock, headers, slept):
    upstream.replies = [(429, headers, {}), (200, {}, {})]
    backend = await connect()
    assert 200 == (await backend.answer("/v1/responses", BODY))[0]
    assert slept == clock.slept


async def test_wait_of_hours_is_not_waited(upstream, connect, clock):
    upstream.replies = [(429, {"Retry-After": "7200"}, {"error": {"message": "quota"}})]
    backend = await connect()
    assert 429 == (await backend.answer("/v1/responses", BODY))[0]
    assert [] == clock.slept


async def test_upstream_that_is_not_there_is_named(connect, clock):
    backend = await connect("http://127.0.0.1:9/v1")
    status, body = await backend.answer("/v1/responses", BODY)
    assert (503, "upstream_unreachable") == (status, body["error"]["code"])
    assert "http://127.0.0.1:9/v1/responses cannot be reached" in body["error"]["message"]
    assert 4 == len(clock.slept)
    assert [] == await backend.models()


@pytest.mark.parametrize(
    ("status", "reply", "expected", "message"),
    [
        (200, b"<html>login</html>", 502, "did not answer with JSON: <html>"),
        (200, b"[1]", 502, "did not answer with JSON"),
        (404, b"404 page not found", 404, "404 page not found"),
        (404, b'{"error":"model not found"}', 404, "model not found"),
        (422, b'{"detail":"bad field"}', 422, "bad field"),
    ],
)
async def test_odd_answers_become_the_error_object_of_openai(upstream, connect, status, reply, expected, message):
    upstream.replies = [(status, {}, reply)] * 5
    backend = await connect()
    found, body = await backend.answer("/v1/responses", BODY)
    assert expected == found
    assert message in body["error"]["message"]


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ((200, {}, {"data": [{"id": "a"}, {"id": 5}, "x", {"id": "b"}]}), ["a", "b"]),
        ((200, {}, {"data": None}), []),
        ((500, {}, {"data": [{"id": "a"}]}), []),
        ((200, {}, b"nonsense"), []),
        ((0, {}, {}), []),
    ],
)
async def test_models_are_those_of_the_upstream(upstream, connect, reply, names):
    upstream.replies = [reply] * 3
    backend = await connect()
    assert names == await backend.models()


def test_no_retry_after_is_no_wait():
    assert read_retry_after({}, 0.0) is None
    assert 0.0 == read_retry_after({"Retry-After": "Mon, 12 Jan 1970 13:46:50 GMT"}, 2e9)


def test_key_does_not_show(clock):
    assert "sk-up" not in repr(HttpBackend("http://x/v1", clock=clock, concurrency=1, api_key="sk-up"))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_an_answer_without_end_is_cut_off_and_said_so(connect, upstream, monkeypatch, packed):
    monkeypatch.setattr(backend_http, "MAX_ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(backend_http, "MAX_ATTEMPTS", 1)
    body = b'{"a":"' + b"x" * (8 << 20) + b'"}'
    headers = {"Content-Encoding": "gzip"} if packed else {}
    upstream.replies += [(200, headers, gzip.compress(body) if packed else body)] * 2
    backend = await connect()
    status, answer = await backend.answer("/v1/responses", {"model": "m"})
    assert 502 == status
    assert f"{upstream.url}/responses answered with more than 1,048,576 bytes" == answer["error"]["message"]
    assert [] == await backend.models()
