"""Answers made to kill, to hold up or to lead astray whoever asked: each is an error that is told, soon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import pytest

from enricher.edges import batch_openai
from enricher.edges.batch_openai import OpenAIBatchClient, bounded
from enricher.errors import (
    NOT_THE_API,
    PermanentProviderError,
    ProviderError,
    TransientProviderError,
    UnclearProviderError,
)
from enricher.telemetry import Telemetry
from tests.edges.test_batch_openai import BATCH

KEY = "sk-secret-1234"


class Raw:
    """Answers each request with bytes as they stand; `then` is sent for ever after them, piece by piece."""

    def __init__(self, *, pause=0.0):
        self.answer, self.then, self.heads, self.bodies = b"", b"", [], []
        self._pause, self._serving = pause, set()

    async def start(self, host="127.0.0.1"):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://{host}:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def _serve(self, reader, writer):
        self._serving.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            fields = [line.partition(b":") for line in head.lower().split(b"\r\n")]
            length = sum(int(value) for name, _, value in fields if name == b"content-length")
            self.bodies.append(await reader.readexactly(length))
            writer.write(self.answer)
            while self.then:
                writer.write(self.then)
                await writer.drain()
                await asyncio.sleep(self._pause)
            await writer.drain()

    def says(self, body, *, status="200 OK", kind="application/json", more=""):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n{more}\r\n"
        self.answer = head.encode() + data

    async def close(self):
        self._server.close()
        for one in self._serving:
            one.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        await asyncio.sleep(0)


@pytest.fixture
async def raw():
    server = await Raw(pause=0.005).start()
    yield server
    await server.close()


@pytest.fixture
async def client_of():
    clients = []

    def make(url, timeout_seconds=5.0):
        clients.append(
            OpenAIBatchClient(base_url=url, api_key=KEY, timeout_seconds=timeout_seconds, telemetry=Telemetry())
        )
        return clients[-1]

    yield make
    for one in clients:
        await one.close()


def calls(client, path):
    """Every call in which an answer is read."""
    return {
        "retrieve": client.retrieve("batch_1"),
        "cancel": client.cancel("batch_1"),
        "find_batch": client.find_batch(job="j", input_file_id="file-1"),
        "find_upload": client.find_upload("a.jsonl"),
        "create": client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={}),
        "ask": client.ask("/v1/responses", {}),
        "download": client.download("file-1", path, max_bytes=1 << 20),
    }


@pytest.mark.parametrize("depth", [20_000, 1_000_000])
async def test_an_answer_nested_deeper_than_it_can_be_read_is_an_error_like_any_other(raw, client_of, tmp_path, depth):
    raw.says(b'{"a":' * depth if depth < 50_000 else b"[" * depth)
    for name, call in calls(client_of(raw.url), tmp_path / "out").items():
        if name == "download":
            await call  # it is copied, and read line by line by who knows what a bad line is
            continue
        with pytest.raises((PermanentProviderError, UnclearProviderError)) as caught:
            await call
        assert NOT_THE_API == caught.value.code


@pytest.mark.parametrize("charset", ["bz2", "zlib", "base64", "punycode", "idna", "utf-7", "unicode_escape"])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
async def test_an_answer_is_text_in_utf_8_whatever_codec_it_names(raw, client_of, tmp_path, charset, status):
    """Some of Python's unpack, and one takes the square of the length: minutes for this."""
    raw.says(b"a" * 100_000 + b"-" + b"b" * 300_000, status=status, kind=f"text/plain; charset={charset}")
    began = time.monotonic()
    for name, call in calls(client_of(raw.url), tmp_path / "out").items():
        if (name, status) == ("download", "200 OK"):
            await call
            continue
        with pytest.raises(ProviderError):
            await call
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "body",
    [
        b'{"object":"list","has_more":false,"data":[' + b"{}," * 100_000 + b"{}]}",
        b'{"id":"batch_1","errors":{"data":[' + b"{}," * 100_000 + b"{}]}}",
        b'{"id":"batch_1","metadata":{"a":[' + b"0," * 100_000 + b"0]}}",
    ],
    ids=["batches", "faults", "numbers"],
)
async def test_an_answer_of_many_small_parts_is_refused_before_objects_are_made_of_them(raw, client_of, tmp_path, body):
    raw.says(body)
    for name, call in calls(client_of(raw.url), tmp_path / "out").items():
        if name == "download":
            await call
            continue
        with pytest.raises((PermanentProviderError, UnclearProviderError), match="more than 50,000 parts"):
            await call


async def test_a_page_as_full_as_can_be_is_taken(raw, client_of):
    metadata = {f"key{number}": "a, b" for number in range(16)}
    fault = {"code": "c", "message": "m, m", "line": 1, "param": None}
    batch = {**BATCH, "metadata": metadata, "errors": {"object": "list", "data": [fault] * 20}, "status": "failed"}
    page = [batch | {"id": f"batch_{number}"} for number in range(99)] + [BATCH | {"metadata": {"job": "j"}}]
    raw.says({"object": "list", "data": page, "has_more": False})
    assert ["batch_1"] == [one.id for one in await client_of(raw.url).find_batch(job="j", input_file_id="f")]


async def test_an_error_of_megabytes_is_told_in_a_line_and_without_the_key(raw, client_of):
    cut = batch_openai._MAX_UNCLEAN_CHARACTERS  # a key that begins before it and ends after it
    for text in ("\x01\u202e" * 1_000_000, "\x01" * (cut - 7) + KEY + "x" * 3_000_000):
        raw.says(json.dumps({"error": {"message": text}}, ensure_ascii=False).encode(), status="400 Bad Request")
        began = time.monotonic()
        with pytest.raises(PermanentProviderError, match="answered 400") as caught:
            await client_of(raw.url).retrieve("batch_1")
        assert time.monotonic() - began < 10
        assert len(str(caught.value)) < 1_000
        assert "sk-s" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "then"),
    [(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"), (b"HTTP/1.1 200 OK\r\nx: ", b"y"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n")],
    ids=["lines", "letters", "continue"],
)
async def test_a_head_without_end_is_given_up(raw, client_of, tmp_path, monkeypatch, answer, then):
    monkeypatch.setattr(bounded, "PATIENCE_SECONDS", 0.1)
    raw.answer, raw.then = answer, then
    client = client_of(raw.url, timeout_seconds=0.4)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    async with asyncio.timeout(20):
        for name, call in {**calls(client, tmp_path / "out"), "upload": client.upload(path, "a.jsonl")}.items():
            kind = UnclearProviderError if name in ("create", "ask", "upload") else TransientProviderError
            with pytest.raises(kind, match="began to answer and did not get on"):
                await call
    assert ["a.jsonl"] == [one.name for one in tmp_path.iterdir()]


async def test_cookies_are_neither_kept_nor_sent(raw, client_of):
    client = client_of(raw.url)
    for turn in range(3):
        raw.says(BATCH, more="".join(f"set-cookie: c{turn}-{number}=v\r\n" for number in range(200)))
        await client.retrieve("batch_1")
    assert [b"cookie" in head.lower() for head in raw.heads] == [False] * 3


@pytest.fixture
async def far(monkeypatch):
    """Two providers that are taken for hosts elsewhere: what goes to this one goes nowhere else in any case."""
    monkeypatch.setattr(batch_openai, "is_loopback", lambda _host: False)
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    asked, other = await Raw().start(), await Raw().start("localhost")
    yield asked, other
    await asked.close()
    await other.close()


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
async def test_what_is_sent_to_a_provider_goes_on_to_no_other_host(far, client_of, tmp_path, status):
    asked, other = far
    other.says(BATCH)
    asked.says(b"", status=status, more=f"location: {other.url}/batches\r\n")
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"what lines say": 1}\n')
    client = client_of(asked.url)
    create = client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})
    for call in (client.upload(path, "a.jsonl"), create, client.ask("/v1/responses", {})):
        with pytest.raises(UnclearProviderError, match="sent on to another host, 'localhost'"):
            await call
    assert [] == other.heads


async def test_what_is_moved_on_the_same_host_is_followed(far, client_of):
    asked, _ = far
    asked.says(b"", status="308 Permanent Redirect", more="location: /v2/batches\r\n")
    client = client_of(asked.url)
    with pytest.raises(ProviderError):  # for ever, here
        await client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})
    assert {asked.bodies[0]} == set(asked.bodies)
    assert b"POST /v2/batches HTTP/1.1" == asked.heads[1].split(b"\r\n")[0]


async def test_a_file_that_lies_elsewhere_is_fetched_whole_and_without_the_key(far, client_of, tmp_path):
    asked, other = far
    lines = b'{"a":[{}]}\n' * 60_000
    other.says(lines, kind="application/octet-stream")
    asked.says(b"", status="302 Found", more=f"location: {other.url}/bucket/x?signed=1\r\n")
    await client_of(asked.url).download("file-1", tmp_path / "out", max_bytes=1 << 20)
    assert lines == (tmp_path / "out").read_bytes()
    assert KEY.encode() in asked.heads[0]
    assert KEY.encode() not in other.heads[0]


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1:6379/_x",
        "http://a:b/",
    ],
)
async def test_nobody_is_followed_out_of_http(far, client_of, tmp_path, location):
    asked, _ = far
    asked.says(b"", status="302 Found", more=f"location: {location}\r\n")
    with pytest.raises(PermanentProviderError, match=r"sent on (?:from http )?to"):
        await client_of(asked.url).download("file-1", tmp_path / "out", max_bytes=1 << 20)
    assert [] == [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "location", ["http://[", "http://[::1", "//a:99999999999/", "http://\xff/", "http:///", "%00", ""]
)
async def test_an_address_to_follow_that_is_none_is_an_error_like_any_other(far, client_of, tmp_path, location):
    asked, _ = far
    asked.says(b"", status="302 Found", more=f"location: {location}\r\n")
    with pytest.raises(ProviderError):
        await client_of(asked.url).download("file-1", tmp_path / "out", max_bytes=1 << 20)
    assert [] == [*tmp_path.iterdir()]


def test_nobody_is_followed_out_of_tls():
    request = batch_openai.httpx2.Request("GET", "https://provider.example/v1/files/f/content")
    response = batch_openai.httpx2.Response(302, headers={"location": "http://provider.example/x"}, request=request)
    with pytest.raises(bounded.AnswerError, match="sent on from https to http"):
        bounded._check_redirect(response)
