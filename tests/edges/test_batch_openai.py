"""What the provider answers, as our errors; nothing is retried inside."""

from __future__ import annotations

import functools
import gzip
import json
import resource
import zlib

import pytest
from aiohttp import web

from enricher.edges.batch_openai import OpenAIBatchClient
from enricher.errors import (
    NOT_THE_API,
    AuthProviderError,
    BatchFileError,
    NotFoundProviderError,
    PermanentProviderError,
    TransientProviderError,
    UnclearProviderError,
)
from enricher.telemetry import Telemetry

BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/responses",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "COMPLETED",
    "created_at": 1_795_000_000,
    "output_file_id": "",
    "error_file_id": None,
    "errors": None,
    "request_counts": None,
    "metadata": None,
}
CUT = b"cut in the middle"


class Provider:
    """Answers every call with one status and body, and counts the calls."""

    def __init__(self, status=200, body=None, headers=None):
        self.status, self.body, self.headers, self.calls = status, body, headers, 0

    async def start(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _answer(self, request):
        self.calls += 1
        await request.read()
        if self.status is None:
            request.transport.close()
        if self.body == CUT:
            response = web.StreamResponse(headers={"content-length": "100"})
            await response.prepare(request)
            await response.write(b"{}")
            request.transport.close()
            return response
        if isinstance(self.body, bytes):
            return web.Response(body=self.body, status=self.status or 200, headers=self.headers)
        body = self.body if self.body is not None else {"error": {"message": "so it is", "code": "a_code"}}
        return web.json_response(body, status=self.status or 200, headers=self.headers)

    async def close(self):
        await self._runner.cleanup()


@pytest.fixture
async def bench():
    made = []

    async def start(**answer):
        provider = Provider(**answer)
        await provider.start()
        client = OpenAIBatchClient(base_url=provider.url, api_key="sk-x", timeout_seconds=5, telemetry=Telemetry())
        made.append((provider, client))
        return provider, client

    yield start
    for provider, client in made:
        await client.close()
        await provider.close()


@pytest.mark.parametrize(
    ("status", "on_create", "on_retrieve"),
    [
        (400, PermanentProviderError, PermanentProviderError),
        (401, AuthProviderError, AuthProviderError),
        (403, AuthProviderError, AuthProviderError),
        (404, NotFoundProviderError, NotFoundProviderError),
        (408, UnclearProviderError, TransientProviderError),
        (409, UnclearProviderError, TransientProviderError),
        (429, TransientProviderError, TransientProviderError),
        (500, UnclearProviderError, TransientProviderError),
        (503, UnclearProviderError, TransientProviderError),
        (None, UnclearProviderError, TransientProviderError),
    ],
)
async def test_each_refusal_is_one_call_and_one_kind_of_error(bench, status, on_create, on_retrieve):
    provider, client = await bench(status=status)
    with pytest.raises(on_create):
        await client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})
    with pytest.raises(on_retrieve):
        await client.retrieve("batch_1")
    assert provider.calls == 2


async def test_error_carries_code_message_and_waiting_time(bench):
    _, client = await bench(status=429, headers={"retry-after": "7"})
    with pytest.raises(TransientProviderError, match="429: so it is") as caught:
        await client.retrieve("batch_1")
    assert ("a_code", 7.0) == (caught.value.code, caught.value.retry_after_seconds)


@pytest.mark.parametrize("body", ["plain text", [], {"error": "text"}, {"error": None}, {"detail": "x"}])
async def test_odd_error_bodies_are_errors_all_the_same(bench, body):
    _, client = await bench(status=400, body=body)
    with pytest.raises(PermanentProviderError):
        await client.retrieve("batch_1")


async def test_odd_spellings_of_a_batch_are_taken_out(bench):
    _, client = await bench(body=BATCH)
    seen = await client.retrieve("batch_1")
    assert ("completed", None, None, 0, {}) == (
        seen.status,
        seen.output_file_id,
        seen.error_file_id,
        seen.total,
        dict(seen.metadata),
    )


async def test_provider_that_is_not_there_is_named():
    client = OpenAIBatchClient(
        base_url="http://127.0.0.1:9/v1", api_key="sk-secret", timeout_seconds=2, telemetry=Telemetry()
    )
    with pytest.raises(TransientProviderError, match=r"127\.0\.0\.1:9") as caught:
        await client.retrieve("batch_1")
    assert "sk-secret" not in str(caught.value) + repr(client) + caught.value.hint
    await client.close()


async def test_download_appears_only_when_it_is_whole(bench, tmp_path):
    _, client = await bench(status=500)
    with pytest.raises(TransientProviderError):
        await client.download("file-1", tmp_path / "out", max_bytes=1 << 20)
    assert not (tmp_path / "out").exists()


_PAGE = {"body": b"<html>log in", "headers": {"content-type": "text/html"}}


@pytest.mark.parametrize(
    "answer",
    [
        _PAGE,
        {"body": b"<html>", "headers": {"content-type": "application/json"}},
        {"body": b"null", "headers": {"content-type": "application/json"}},
        {"body": [1, 2]},
        {"body": {}},
        {"body": {**BATCH, "id": None}},
        {"body": {**BATCH, "id": ""}},
        {"body": {**BATCH, "id": 7}},
        {"body": {**BATCH, "id": "\ud800"}},
        {"body": {**BATCH, "id": "a\x1b[31m"}},
        {"body": {**BATCH, "id": "b" * 1_000_000}},
    ],
)
async def test_what_is_no_batch_is_an_error_like_any_other(bench, tmp_path, answer):
    _, client = await bench(**answer)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    with pytest.raises(UnclearProviderError):
        await client.upload(path, "a.jsonl")
    with pytest.raises(UnclearProviderError):
        await client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})
    with pytest.raises(PermanentProviderError, match="did not answer as the Batch API does") as caught:
        await client.retrieve("batch_1")
    assert "base_url" in caught.value.hint


async def test_a_page_instead_of_a_list_says_that_the_address_is_not_the_api(bench):
    _, client = await bench(**_PAGE)
    for look in (client.find_upload("a.jsonl"), client.find_batch(job="j", input_file_id="file-1")):
        with pytest.raises(PermanentProviderError) as caught:
            await look
        assert (NOT_THE_API, True) == (caught.value.code, "base_url" in caught.value.hint)


async def test_a_page_instead_of_a_file_is_not_taken_for_answers_that_are_missing(bench, tmp_path):
    _, client = await bench(**_PAGE)
    with pytest.raises(PermanentProviderError, match="a page of HTML in place of a file"):
        await client.download("file-1", tmp_path / "out", max_bytes=1 << 20)
    assert [] == [*tmp_path.iterdir()]


async def test_a_download_without_end_stops_at_a_limit_and_leaves_no_file(bench, tmp_path):
    _, client = await bench(body=b"x" * 3_000_000)
    with pytest.raises(PermanentProviderError, match="file file-1 is larger than 2,000,000 bytes"):
        await client.download("file-1", tmp_path / "out", max_bytes=2_000_000)
    assert [] == [*tmp_path.iterdir()]


@pytest.mark.parametrize("path", ["retrieve", "list", "error", "an id like the path of a file"])
async def test_an_answer_that_unfolds_to_gigabytes_is_never_held(bench, path):
    bomb = _packed(256 << 20)
    assert len(bomb) < 300_000
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    _, client = await bench(body=bomb, headers=headers, status=400 if path == "error" else 200)
    identifier = "a/content" if path.startswith("an id") else "batch_1"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PermanentProviderError, match="an answer of more than 33,554,432 bytes") as caught:
        await (client.find_upload("x") if path == "list" else client.retrieve(identifier))
    assert NOT_THE_API == caught.value.code
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


async def test_a_download_that_unfolds_to_gigabytes_stops_at_the_limit(bench, tmp_path):
    _, client = await bench(body=_packed(256 << 20), headers={"content-encoding": "gzip"})
    with pytest.raises(PermanentProviderError, match="is larger than 1,048,576 bytes"):
        await client.download("file-1", tmp_path / "out", max_bytes=1 << 20)
    assert [] == [*tmp_path.iterdir()]


@pytest.mark.parametrize("coding", ["zstd", "br", "deflate", "gzip, gzip"])
async def test_an_answer_packed_in_a_way_that_was_not_asked_for_is_refused(bench, tmp_path, coding):
    _, client = await bench(body=b"x", headers={"content-encoding": coding})
    with pytest.raises(PermanentProviderError, match=f"packed as '{coding}', which was not asked for"):
        await client.download("file-1", tmp_path / "out", max_bytes=1 << 20)
    with pytest.raises(UnclearProviderError, match="did not answer as the Batch API does"):
        await client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})


async def test_an_answer_that_is_packed_as_asked_is_read_whole(bench, tmp_path):
    text = b"".join(b'{"custom_id":"r%d"}\n' % number for number in range(100_000))
    _, client = await bench(body=gzip.compress(text), headers={"content-encoding": "gzip"})
    await client.download("file-1", tmp_path / "out", max_bytes=len(text))
    assert text == (tmp_path / "out").read_bytes()
    _, client = await bench(
        body=gzip.compress(json.dumps(BATCH).encode()),
        headers={"content-encoding": "GZIP", "content-type": "application/json"},
    )
    assert "batch_1" == (await client.retrieve("batch_1")).id


@functools.cache
def _packed(size):
    """So many zeros in gzip, never held."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


async def test_what_is_downloaded_is_for_its_owner_alone(bench, tmp_path):
    _, client = await bench(body=b"{}")
    await client.download("file-1", tmp_path / "out", max_bytes=1 << 20)
    assert 0o600 == (tmp_path / "out").stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("changes", "field", "taken"),
    [
        ({"status": 7}, "status", ""),
        ({"status": "\x1b[31mODD" + "x" * 1000}, "status", ("odd" + "x" * 1000)[:64]),
        ({"request_counts": "many"}, "total", 0),
        ({"request_counts": {"total": "x", "completed": None, "failed": -1}}, "failed", 0),
        ({"created_at": "yesterday"}, "created_at", None),
        ({"expires_at": float("nan")}, "expires_at", None),
        ({"expires_at": 10**400}, "expires_at", None),
        ({"output_file_id": 9}, "output_file_id", None),
        ({"metadata": "x"}, "metadata", {}),
        ({"metadata": {"job": {"a": 1}, "b": "c"}}, "metadata", {"b": "c"}),
        ({"errors": {"data": "boom"}}, "errors", ()),
        ({"errors": {"data": [None, 7]}}, "errors", (("", "", None), ("", "", None))),
        ({"errors": {"data": [{"code": ["x"], "message": {"a": 1}, "line": "x"}]}}, "errors", (("", "", None),)),
        (
            {"errors": {"data": [{"code": "c", "message": "\ud800\x1b[1m!", "line": 2}]}},
            "errors",
            (("c", "\ufffd!", 2),),
        ),
    ],
)
async def test_a_field_of_the_wrong_kind_costs_only_itself(bench, changes, field, taken):
    _, client = await bench(body={**BATCH, **changes})
    assert taken == getattr(await client.retrieve("batch_1"), field)


async def test_a_key_that_is_repeated_by_the_provider_is_not_shown(bench):
    provider, _ = await bench(status=401, body={"error": {"message": "no such key: sk-secret-1234"}})
    client = OpenAIBatchClient(
        base_url=provider.url, api_key="sk-secret-1234", timeout_seconds=5, telemetry=Telemetry()
    )
    with pytest.raises(AuthProviderError, match="no such key: <secret>"):
        await client.retrieve("batch_1")
    await client.close()


async def test_key_is_shown_neither_half_hidden_nor_half_cut_off(bench):
    told = f"Incorrect: sk-s*********1234. {'x' * 430} sk-secret-1234 sk-secret-1234 sk-secret-1234"
    provider, _ = await bench(status=401, body={"error": {"message": told}})
    client = OpenAIBatchClient(
        base_url=provider.url, api_key="sk-secret-1234", timeout_seconds=5, telemetry=Telemetry()
    )
    with pytest.raises(AuthProviderError, match="Incorrect: <secret>") as caught:
        await client.retrieve("batch_1")
    assert "sk-" not in str(caught.value)
    await client.close()


@pytest.mark.parametrize(("asked", "taken"), [("inf", 3600.0), ("1e300", 3600.0), ("nan", None), ("-5", 0.0)])
async def test_a_wait_without_end_is_not_waited(bench, asked, taken):
    _, client = await bench(status=429, headers={"retry-after": asked})
    with pytest.raises(TransientProviderError) as caught:
        await client.retrieve("batch_1")
    assert taken == caught.value.retry_after_seconds


@pytest.mark.parametrize(
    "answer", [{"body": CUT}, {"body": b"no gzip", "headers": {"content-encoding": "gzip"}}], ids=["cut", "no gzip"]
)
async def test_a_download_that_breaks_off_is_tried_again_and_leaves_no_file(bench, tmp_path, answer):
    _, client = await bench(**answer)
    with pytest.raises(TransientProviderError):
        await client.download("file-1", tmp_path / "out", max_bytes=1 << 20)
    assert not (tmp_path / "out").exists()


async def test_a_download_that_cannot_be_written_says_where(bench, tmp_path):
    _, client = await bench(body=b"{}")
    with pytest.raises(BatchFileError, match=r"nowhere/out\.part: cannot be written: No such file"):
        await client.download("file-1", tmp_path / "nowhere" / "out", max_bytes=1 << 20)


async def test_what_goes_to_this_host_never_takes_the_proxy_of_the_environment(bench, monkeypatch):
    proxy, _ = await bench(status=502)
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    monkeypatch.setenv("all_proxy", proxy.url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    provider, client = await bench(body=BATCH)
    assert "batch_1" == (await client.retrieve("batch_1")).id
    assert (0, 1) == (proxy.calls, provider.calls)


async def test_what_goes_to_this_host_is_not_sent_on_to_another(bench):
    other, _ = await bench(body=BATCH)
    _, client = await bench(status=307, headers={"location": f"{other.url}/batches"})
    with pytest.raises(PermanentProviderError, match="307"):
        await client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})
    assert 0 == other.calls
