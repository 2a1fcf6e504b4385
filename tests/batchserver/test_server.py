from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings
from enricher.errors import ConfigError, LockedError, ModelError, StoreError

SCHEMA = {
    "type": "object",
    "properties": {
        "severity": {"type": "string", "enum": ["info", "warning", "error"]},
        "note": {"type": ["string", "null"]},
    },
    "required": ["severity", "note"],
    "additionalProperties": False,
}


def with_schema(line, endpoint):
    if endpoint == "/v1/responses":
        line["body"]["text"] = {"format": {"type": "json_schema", "name": "e", "strict": True, "schema": SCHEMA}}
    else:
        line["body"]["response_format"] = {"type": "json_schema", "json_schema": {"name": "e", "schema": SCHEMA}}
    return line


def text_of(body, endpoint):
    if endpoint == "/v1/responses":
        return Response.model_validate(body).output_text
    return ChatCompletion.model_validate(body).choices[0].message.content


@pytest.mark.parametrize("endpoint", ["/v1/responses", "/v1/chat/completions"])
async def test_client_takes_a_batch_through_all_its_steps(serve, line, endpoint):
    bench = await serve()
    lines = [with_schema(line(n, endpoint=endpoint), endpoint) for n in range(30)]

    batch = await bench.run(lines, endpoint=endpoint, metadata={"window": "2026-11-22T10Z"})

    assert batch.status == "completed"
    assert (30, 30, 0) == (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed)
    assert {"window": "2026-11-22T10Z"} == batch.metadata
    assert batch.model == "m"
    assert batch.error_file_id is None
    assert batch.errors is None
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert batch.expires_at == batch.created_at + 86_400
    answers = {answer["custom_id"]: answer for answer in await bench.read(batch.output_file_id)}
    assert {f"r{n}" for n in range(30)} == set(answers)
    texts = [json.loads(text_of(answer["response"]["body"], endpoint)) for answer in answers.values()]
    assert {"info", "warning", "error"} == {text["severity"] for text in texts}
    assert all(answer["error"] is None and answer["response"]["status_code"] == 200 for answer in answers.values())
    name = "input_tokens" if endpoint == "/v1/responses" else "prompt_tokens"
    spent = sum(answer["response"]["body"]["usage"][name] for answer in answers.values())
    assert batch.usage.input_tokens == spent > 0
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens


async def test_output_file_is_a_file_like_any_other(serve, line):
    bench = await serve()
    batch = await bench.run([line(1)])
    output = await bench.client.files.retrieve(batch.output_file_id)
    assert "batch_output" == output.purpose
    assert f"{batch.id}_output.jsonl" == output.filename
    assert output.bytes == len((await bench.client.files.content(output.id)).content)
    assert [output.id] == [file.id async for file in bench.client.files.list(purpose="batch_output")]


async def test_batches_are_listed_newest_first_and_page_by_page(serve, line):
    bench = await serve()
    made = [(await bench.create([line(1)])).id for _ in range(5)]
    page = await bench.client.batches.list(limit=2)
    assert made[:2:-1] == [batch.id for batch in page.data]
    assert page.has_more
    assert made[::-1] == [batch.id async for batch in bench.client.batches.list(limit=2)]
    last = await bench.client.batches.list(limit=2, after=made[1])
    assert ([made[0]], False) == ([batch.id for batch in last.data], last.has_more)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"after": "batch_nope"}])
async def test_list_refuses_a_page_that_cannot_be(serve, query):
    bench = await serve()
    with pytest.raises(openai.BadRequestError):
        await bench.client.batches.list(**query)


async def test_unknown_ids_and_paths_are_404_in_the_shape_of_openai(serve):
    bench = await serve()
    for call in (
        bench.client.batches.retrieve("batch_nope"),
        bench.client.batches.cancel("batch_nope"),
        bench.client.files.retrieve("file-nope"),
        bench.client.files.content("..%2f..%2fetc%2fpasswd"),
        bench.client.files.delete("file-nope"),
        bench.client.completions.create(model="m", prompt="x"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await call
        assert {"message", "type", "param", "code"} == set(caught.value.body)
        assert "invalid_request_error" == caught.value.body["type"]


async def test_wrong_method_is_answered_in_the_shape_of_openai(serve):
    bench = await serve()
    async with aiohttp.ClientSession() as session, session.put(f"{bench.url}/files") as response:
        assert 405 == response.status
        assert "GET,POST" == response.headers["Allow"]
        assert "invalid_request_error" == (await response.json())["error"]["type"]


@pytest.mark.parametrize("path", ["/batches", "/files", "/responses"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_body_that_is_not_encoded_as_its_head_says_is_refused(serve, caplog, tmp_path, path, encoding):
    bench = await serve()
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Encoding": encoding}
    async with (
        aiohttp.ClientSession() as session,
        session.post(bench.url + path, data=form, headers=headers) as response,
    ):
        assert 400 == response.status
        assert "not encoded as the head" in (await response.json())["error"]["message"]
    assert [] == list((tmp_path / "state" / "files").iterdir())
    assert [] == caplog.records


async def test_form_that_turns_bad_after_its_file_leaves_nothing_behind(serve, caplog, tmp_path):
    bench = await serve()
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--b\r\n'
    for bad in (
        b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        b'Content-Disposition: form-data; name="\x00"\r\n\r\n',
        b"no head",
    ):
        async with aiohttp.ClientSession() as session:
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            async with session.post(f"{bench.url}/files", data=file + bad, headers=headers) as response:
                assert 400 == response.status
                assert "error" in await response.json()
    assert [] == list((tmp_path / "state" / "files").iterdir())
    assert [] == caplog.records


async def test_single_requests_and_models_are_passed_on(serve, hand):
    backend = hand({"bad": (429, {"error": {"message": "slow down", "type": "t", "param": None, "code": "c"}})})
    bench = await serve(backend)
    assert ["hand"] == [model.id async for model in bench.client.models.list()]
    response = await bench.client.responses.create(model="m", input="good")
    assert "hand" == response.model
    with pytest.raises(openai.RateLimitError, match="slow down"):
        await bench.client.responses.create(model="m", input="bad")
    await bench.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    assert ["good", "bad", "hello"] == backend.asked


async def test_backend_that_cannot_answer_is_told_in_the_shape_of_openai(serve, hand):
    backend = hand({"broken": ModelError("it fell over"), "odd": (200, {"text": "\ud800"})})
    bench = await serve(backend)
    for prompt, status, message in (("broken", 500, "it fell over"), ("odd", 502, "not valid Unicode")):
        with pytest.raises(openai.InternalServerError, match=message) as caught:
            await bench.client.responses.create(model="m", input=prompt)
        assert status == caught.value.status_code


async def test_disk_that_refuses_an_upload_is_told(serve, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    bench = await serve()
    monkeypatch.setattr("enricher.batchserver.files.write_atomic", refuse)
    with pytest.raises(openai.InternalServerError, match="cannot use its disk: No space left on device"):
        await bench.upload(b"x")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model":"m","input":"x","stream":true}'])
async def test_single_request_that_cannot_be_passed_on_is_refused(serve, hand, body):
    bench = await serve(backend := hand())
    async with aiohttp.ClientSession() as session, session.post(f"{bench.url}/responses", data=body) as response:
        assert 400 == response.status
        assert "error" in await response.json()
    assert [] == backend.asked


async def test_key_is_asked_for_everywhere_but_at_the_health_check(serve, line):
    bench = await serve(api_key="sk-right", key="sk-wrong")
    for call in (bench.client.batches.list(), bench.upload([line(1)]), bench.client.models.list()):
        with pytest.raises(openai.AuthenticationError) as caught:
            await call
        assert "invalid_api_key" == caught.value.body["code"]
        assert "sk-wrong" not in caught.value.message
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{bench.url}/files") as response:
            assert 401 == response.status
            assert (await response.json())["error"]["code"] is None
        async with session.get(f"{bench.root}/healthz") as response:
            assert (200, {"status": "ok"}) == (response.status, await response.json())
    bench.client.api_key = "sk-right"
    assert [] == (await bench.client.batches.list()).data


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
        ({"Host": "192.0.2.7"}, 200),
    ],
)
async def test_pages_in_a_browser_on_this_host_get_nothing_where_no_key_is_set(serve, headers, status):
    bench = await serve()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{bench.url}/files", headers=headers) as response:
            assert status == response.status
        async with session.post(f"{bench.url}/batches", headers=headers, data=b"{}") as response:
            assert (400 if status == 200 else status) == response.status
            assert "message" in (await response.json())["error"]
        async with session.get(f"{bench.root}/healthz", headers=headers) as response:
            assert 200 == response.status


async def test_who_has_the_key_may_ask_under_any_name(serve):
    bench = await serve(api_key="sk-right", key="sk-right")
    headers = {"Host": "models.example", "Origin": "https://ui.example", "Authorization": "Bearer sk-right"}
    async with aiohttp.ClientSession() as session, session.get(f"{bench.url}/files", headers=headers) as response:
        assert 200 == response.status


def test_key_does_not_show_in_the_settings(tmp_path):
    assert "sk-right" not in repr(ServerSettings(state_dir=tmp_path, concurrency=1, api_key="sk-right"))


async def test_ledger_counts_what_was_done_and_survives_a_restart(serve, line):
    bench = await serve()
    await bench.run([line(n) for n in range(3)])
    await bench.upload([line(9)])
    books = {"uploads": 2, "batches_created": 1, "lines_uploaded": 4, "lines_answered": 3}
    assert books == await bench.ledger()
    await bench.server.close()
    bench = await serve()
    assert books == await bench.ledger()


async def test_snapshot_counts_batches_and_live_requests(serve, line, hand):
    backend = hand(held={"event 2"})
    bench = await serve(backend)
    assert {} == bench.server.snapshot().batches_by_status
    batch = await bench.create([line(n) for n in range(4)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 3)
    snapshot = bench.server.snapshot()
    assert ({"in_progress": 1}, 3, 4) == (snapshot.batches_by_status, snapshot.requests_done, snapshot.requests_total)
    backend.release.set()
    await bench.end(batch.id)
    assert {"completed": 1} == bench.server.snapshot().batches_by_status


async def test_no_more_lines_are_in_work_than_allowed(serve, line, hand):
    backend = hand(held={f"event {n}" for n in range(9)})
    bench = await serve(backend, concurrency=3)
    for start in (0, 3, 6):
        await bench.create([line(n) for n in range(start, start + 3)])
    async with asyncio.timeout(5):
        while len(backend.asked) < 3:
            await bench.client.batches.list()
    await bench.client.batches.list()
    assert 3 == len(backend.asked)


async def test_second_server_on_the_same_state_is_refused(serve, clock, tmp_path):
    await serve()
    with pytest.raises(LockedError, match="another batch server"):
        await serve()


async def test_taken_port_is_a_clear_error_and_lets_go_of_everything(serve, hand):
    taken = int((await serve()).root.rsplit(":", 1)[1])
    backend = hand()
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{taken}"):
        await serve(backend, state="other", port=taken)
    assert not backend.is_open
    await serve(state="other")


async def test_state_directory_that_is_a_file_is_a_clear_error(serve, tmp_path):
    (tmp_path / "state").write_text("x")
    with pytest.raises(ConfigError, match="state"):
        await serve()


async def test_damaged_state_is_named(serve, line, tmp_path):
    bench = await serve()
    await bench.run([line(1)])
    await bench.server.close()
    damaged = next((tmp_path / "state" / "batches").glob("*.json"))
    damaged.write_text("{")
    with pytest.raises(StoreError, match=damaged.name):
        await serve()


async def test_server_closes_quickly_and_twice_while_a_line_is_in_work(serve, line, hand):
    bench = await serve(hand(held={"event 1"}))
    batch = await bench.create([line(n) for n in range(3)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 2)
    before = time.monotonic()
    await bench.server.close()
    await bench.server.close()
    assert time.monotonic() - before < 2


async def test_server_that_never_started_can_be_closed(tmp_path, clock):
    server = BatchServer(ServerSettings(state_dir=tmp_path, concurrency=1), SchemaBackend(clock), clock)
    assert 0 == server.snapshot().requests_total
    await server.close()


async def test_state_directory_is_closed_to_others(tmp_path, clock):
    server = BatchServer(ServerSettings(state_dir=tmp_path / "state", concurrency=1), SchemaBackend(clock), clock)
    await server.start()
    await server.close()
    assert 0o700 == (tmp_path / "state").stat().st_mode & 0o777
