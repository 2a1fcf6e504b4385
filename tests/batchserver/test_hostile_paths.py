"""Paths of requests made to lead elsewhere, byte for byte on the wire: nothing but what was uploaded is served."""

from __future__ import annotations

import asyncio
import json

import pytest

from enricher.errors import ConfigError, StoreError

STEPS = (
    *("..", ".", "../lock", "../../secret", "..%2f..%2fsecret", "%2e%2e%2f%2e%2e%2fsecret", "%2e%2e/%2e%2e/secret"),
    *("%252e%252e%252fsecret", "..%5c..%5csecret", "%00", "x%00.jsonl", "file-1%00", "%c0%ae%c0%ae%2fsecret", "%ff%fe"),
    *("/etc/passwd", "%2fetc%2fpasswd", "books", "..%2fbatches%2fbooks", "x" * 10_000, "%2e" * 3_000, "*", "%", "%zz"),
)
ROUTES = ("GET /v1/files/{}", "GET /v1/files/{}/content", "DELETE /v1/files/{}", "GET /v1/batches/{}")
MORE_ROUTES = ("POST /v1/batches/{}/cancel", "GET /v1/models/{}", "GET /{}")


async def answer_to(url, request):
    """Status and body of a request that is sent as it stands."""
    host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"{request} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    status, _, rest = answer.partition(b"\r\n")
    return int(status.split()[1]), rest


@pytest.mark.parametrize("route", [*ROUTES, *MORE_ROUTES])
async def test_a_path_that_leads_elsewhere_is_refused_and_nothing_is_read_or_deleted(serve, tmp_path, route):
    bench = await serve()
    (tmp_path / "secret").write_text("planted")
    (tmp_path / "secret.jsonl").write_text("planted")
    file = await bench.upload([b"{}"])
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    for step in STEPS:
        status, body = await answer_to(bench.url, route.format(step))
        assert status in (400, 404, 405), (step, status)
        assert b"planted" not in body
        assert b"root:" not in body
    assert before == sorted(str(path) for path in tmp_path.rglob("*"))
    assert (await bench.client.files.retrieve(file.id)).id == file.id


async def test_a_name_of_a_file_that_leads_elsewhere_is_a_name_and_no_path(serve, tmp_path):
    bench = await serve()
    for name in ("../../secret", "/etc/passwd", "a\\..\\b", "%2e%2e%2fsecret", "a" * 200):
        file = await bench.upload([b"{}"], name=f"{name}.jsonl")
        assert file.id.isascii()
        assert [] == [path for path in tmp_path.iterdir() if path.name != "state"]


async def test_a_state_directory_that_others_may_write_to_is_refused_with_the_way_out(serve, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(StoreError, match=r"may be written by others \(mode 0777\)") as caught:
        await serve()
    assert f"take that away: chmod go-w {state}" == caught.value.hint
    assert [] == list(state.iterdir())
    state.chmod(0o700)
    (state / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(ConfigError, match=f"{state}/lock"):
        await serve()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("kind", ["files", "batches"])
async def test_state_that_names_another_file_is_refused_and_that_file_stays(serve, tmp_path, kind):
    bench = await serve()
    await bench.create([{"custom_id": "r", "method": "POST", "url": "/v1/responses", "body": {"model": "m"}}])
    await bench.server.close()
    planted = next((tmp_path / "state" / kind).glob("*.json"))
    record = json.loads(planted.read_bytes())
    record["file" if kind == "files" else "batch"]["id"] = "../../secret"
    planted.write_text(json.dumps(record))
    (tmp_path / "secret.jsonl").write_text("planted")
    with pytest.raises(StoreError, match=f"{planted}: is the state of something else: '../../secret'"):
        await serve()
    assert "planted" == (tmp_path / "secret.jsonl").read_text()
