from __future__ import annotations

import json
import tracemalloc

import aiohttp
import openai
import pytest

from enricher.batchserver import files
from enricher.batchserver.disk import DiskThreads
from enricher.batchserver.files import FileShelf


async def test_upload_gives_back_the_very_bytes(serve):
    bench = await serve()
    content = 'ä\u2028 {"x":1}\r\n\n\x85'.encode()
    file = await bench.upload(content)
    assert (len(content), "window.jsonl", "batch", "processed") == (
        file.bytes,
        file.filename,
        file.purpose,
        file.status,
    )
    assert content == (await bench.client.files.content(file.id)).content
    assert file == await bench.client.files.retrieve(file.id)


async def test_batch_file_expires_after_thirty_days_unless_told_otherwise(serve):
    bench = await serve()
    file = await bench.upload(b"")
    assert 2_592_000 == file.expires_at - file.created_at
    expiry = {"anchor": "created_at", "seconds": 3600}
    file = await bench.client.files.create(file=("a.jsonl", b"x"), purpose="batch", expires_after=expiry)
    assert 3600 == file.expires_at - file.created_at


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("window.json", b"{}\n", "Invalid file format for Batch API. Must be .jsonl"),
        ("upload", b"{}\n", "Invalid file format for Batch API. Must be .jsonl"),
        ("window.jsonl", b"\xff\n", "Invalid file for Batch API. Must be utf-8 encoded"),
        ("window.jsonl", "ä".encode()[:1], "Invalid file for Batch API. Must be utf-8 encoded"),
    ],
)
async def test_upload_that_openai_refuses_is_refused(serve, tmp_path, name, content, message):
    bench = await serve()
    with pytest.raises(openai.BadRequestError) as caught:
        await bench.upload(content, name=name)
    assert message == caught.value.body["message"]
    assert [] == list((tmp_path / "state" / "files").iterdir())
    assert 0 == (await bench.ledger())["uploads"]


@pytest.mark.parametrize(
    "expiry",
    [
        {"seconds": 3600},
        {"anchor": "created_at"},
        {"anchor": "now", "seconds": 3600},
        {"anchor": "created_at", "seconds": 60},
    ],
)
async def test_upload_with_a_wrong_expiry_is_refused(serve, expiry):
    bench = await serve()
    with pytest.raises(openai.BadRequestError) as caught:
        await bench.client.files.create(file=("a.jsonl", b"x"), purpose="batch", expires_after=expiry)
    assert caught.value.body["param"].startswith("expires_after.")


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ('{"anchor": "created_at", "seconds": 3600}', 200),
        ('{"anchor": "created_at", "seconds": 3599}', 400),
        ('{"anchor": ["\\ud800"], "seconds": 3600}', 400),
        ("{}", 400),
        ("[]", 400),
        ("tomorrow", 400),
    ],
)
async def test_expiry_may_be_one_field_of_json(serve, told, status):
    bench = await serve()
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("expires_after", told, content_type="application/json")
    form.add_field("file", b"x", filename="a.jsonl")
    async with aiohttp.ClientSession() as session, session.post(f"{bench.url}/files", data=form) as response:
        file = await response.json()
    assert status == response.status
    if status == 200:
        assert 3600 == file["expires_at"] - file["created_at"]
    else:
        assert file["error"]["param"].startswith("expires_after")


async def test_upload_with_a_wrong_purpose_is_refused(serve):
    bench = await serve()
    with pytest.raises(openai.BadRequestError, match="'batch-api' is not one of"):
        await bench.client.files.create(file=("a.jsonl", b"x"), purpose="batch-api")


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("application/json", b"{}", "multipart/form-data"),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B--\r\n',
            "'file' is a required",
        ),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\nx\r\n--B--\r\n',
            "'purpose' is a required",
        ),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 5000 + b"\r\n--B--\r\n",
            "too long",
        ),
        ("multipart/form-data", b"--B--", "cannot be read"),
        ("multipart/form-data; boundary=B", b"garbage", "cannot be read"),
    ],
)
async def test_form_that_is_no_upload_is_refused(serve, tmp_path, content_type, body, message):
    bench = await serve()
    response = await bench.client._client.post(
        f"{bench.url}/files", content=body, headers={"content-type": content_type}
    )
    assert 400 == response.status_code
    assert message in response.json()["error"]["message"]
    assert [] == list((tmp_path / "state" / "files").iterdir())


async def test_file_over_the_limit_is_refused_on_its_way(serve, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 100_000)
    bench = await serve()
    with pytest.raises(openai.APIStatusError) as caught:
        await bench.upload(b"x" * 100_001)
    assert 413 == caught.value.status_code
    assert [] == list((tmp_path / "state" / "files").iterdir())


async def test_files_are_listed_by_purpose_order_and_page(serve):
    bench = await serve()
    made = [(await bench.upload(b"x")).id for _ in range(4)]
    other = await bench.client.files.create(file=("a.txt", b"x"), purpose="user_data")
    assert [other.id, *made[::-1]] == [file.id async for file in bench.client.files.list()]
    assert made == [file.id async for file in bench.client.files.list(purpose="batch", order="asc", limit=3)]
    page = await bench.client.files.list(purpose="batch", limit=2, after=made[3])
    assert ([made[2], made[1]], True) == ([file.id for file in page.data], page.has_more)
    with pytest.raises(openai.BadRequestError):
        await bench.client.files.list(order="random")


async def test_deleted_file_is_gone_and_its_bytes_too(serve, tmp_path):
    bench = await serve()
    file = await bench.upload(b"x")
    assert (await bench.client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
        await bench.client.files.content(file.id)
    assert [] == list((tmp_path / "state" / "files").iterdir())


async def test_expired_file_is_removed(serve, tmp_path, monkeypatch, clock):
    bench = await serve()
    file = await bench.upload(b"x")
    monkeypatch.setattr(type(clock), "now", lambda self: file.expires_at)
    kept = await bench.upload(b"y")
    assert [kept.id] == [file.id async for file in bench.client.files.list()]


async def test_big_upload_and_download_pass_through_without_being_held(serve, tmp_path):
    bench = await serve()
    size = 8 * 1024 * 1024
    path = tmp_path / "big.jsonl"
    path.write_bytes((b"x" * 1023 + b"\n") * (size // 1024))
    tracemalloc.start()
    try:
        with path.open("rb") as stream:
            file = await bench.client.files.create(file=stream, purpose="batch")
        received = 0
        async with bench.client.files.with_streaming_response.content(file.id) as response:
            async for chunk in response.iter_bytes():
                received += len(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == file.bytes == received
    assert peak < size / 2
    assert size // 1024 == (await bench.ledger())["lines_uploaded"]


def test_halves_of_an_interrupted_upload_are_removed(tmp_path):
    directory = tmp_path / "files"
    directory.mkdir()
    for name in ("abc.tmp", "file-1.jsonl"):
        (directory / name).write_text("x")
    file = {"id": "file-2", "bytes": 1, "created_at": 1, "expires_at": None, "filename": "a", "purpose": "batch"}
    (directory / "file-2.json").write_text(json.dumps({"created": 1.0, "file": file}))
    shelf = FileShelf(directory, DiskThreads())
    shelf.open()
    assert [] == shelf.list(None)
    assert [] == list(directory.iterdir())
