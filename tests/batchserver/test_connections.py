"""The batch server under clients that hold on to it: bounded in number and in time, and nobody at work is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket

import pytest
from aiohttp import web

from enricher.connections import BoundedServer

SECONDS = 10
HALF_OPEN = (b"", b"POST /v1/fi", b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
BATCH = b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n"
FORM = BATCH.replace(b"batches", b"files") + b"Content-Type: multipart/form-data; boundary=b\r\n"


@contextlib.asynccontextmanager
async def held(bench, sent=b""):
    """A connection on which this was sent, and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(bench.root.rpartition(":")[2]))
    writer.write(sent)
    try:
        async with asyncio.timeout(SECONDS):
            yield reader
    finally:
        writer.close()


async def rest(reader):
    """All that comes until the server closes or cuts the connection."""
    with contextlib.suppress(ConnectionResetError):
        return await reader.read()
    return b""


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", HALF_OPEN)
async def test_connections_that_send_no_request_in_time_are_cut_off(serve, sent):
    bench = await serve(head_seconds=0.2)
    async with held(bench, sent) as reader:
        assert b"" == await rest(reader)


async def test_hundreds_of_held_connections_keep_nobody_out(serve, line):
    bench = await serve(max_connections=16)
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(held(bench, HALF_OPEN[1])) for _ in range(200)]
        assert "completed" == (await bench.run([line(1)])).status
        assert len(bench.server._http.server.connections) <= 16
        assert b"" == await rest(readers[0])


async def test_a_connection_for_which_there_is_no_room_is_cut_off_without_a_word_in_the_log(serve, caplog):
    bench = await serve(max_connections=2)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(held(bench, BATCH + b"\r\n{"))
        async with asyncio.timeout(SECONDS):
            await until(lambda: len(bench.server._http.server.connections) == 2)
        for _ in range(20):
            async with held(bench, HALF_OPEN[1]) as reader:
                assert b"" == await rest(reader)
    gc.collect()
    assert "" == caplog.text


@pytest.mark.parametrize("is_gone", [True, False])
async def test_what_a_handler_stumbles_over_is_told_unless_its_connection_was_gone(caplog, is_gone):
    async def handle(request):
        if is_gone:  # as at a stop in the middle of a body
            request.transport.abort()
            await until(lambda: request.transport is None)
        raise RuntimeError("stumbled")

    runner = web.ServerRunner(BoundedServer(handle, most=4))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(SECONDS):
        await rest(reader)
    writer.close()
    await runner.cleanup()
    assert is_gone == ("stumbled" not in caplog.text)


async def test_who_waits_for_an_answer_is_never_cut_off_for_others(serve, hand):
    backend = hand(held={"slow"})
    bench = await serve(backend, max_connections=4, head_seconds=0.1)
    answer = asyncio.create_task(bench.client.responses.create(model="m", input="slow"))
    async with asyncio.timeout(SECONDS):
        await until(lambda: backend.asked)
        async with contextlib.AsyncExitStack() as stack:
            for reader in [await stack.enter_async_context(held(bench)) for _ in range(12)]:
                assert b"" == await rest(reader)
            assert not answer.done()
            backend.release.set()
            assert "hand" == (await answer).model


@pytest.mark.parametrize(
    "sent",
    [
        BATCH + b"\r\n{",
        FORM + b"\r\n--b\r\nContent-Disp",
        FORM + b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"custom_id"',
    ],
    ids=["JSON", "head of a part", "file"],
)
async def test_body_that_stops_in_the_middle_is_refused_and_nothing_of_it_is_kept(serve, tmp_path, sent):
    bench = await serve(silent_seconds=0.2)
    async with held(bench, sent) as reader:
        assert b"HTTP/1.1 408" in await reader.readline()
    assert [] == list((tmp_path / "state" / "files").iterdir())


async def test_download_that_nobody_reads_is_cut_off(serve):
    bench = await serve(silent_seconds=0.2)
    kept = await bench.client.files.create(file=("big.jsonl", b"\n" * (16 << 20)), purpose="batch")
    with socket.create_connection(("127.0.0.1", int(bench.root.rpartition(":")[2]))) as client:
        await bench.client.close()
        client.sendall(f"GET /v1/files/{kept.id}/content HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        async with asyncio.timeout(SECONDS):
            await until(lambda: not bench.server._http.server.connections)


async def test_file_is_sent_to_its_end_though_it_is_deleted_meanwhile(serve):
    bench = await serve()
    content = b"".join(b"%d\n" % number for number in range(1 << 20))
    kept = await bench.client.files.create(file=("big.jsonl", content), purpose="batch")
    async with bench.client.files.with_streaming_response.content(kept.id) as response:
        chunks = response.iter_bytes(1 << 16)
        first = await anext(chunks)
        await bench.client.files.delete(kept.id)
        assert content == first + b"".join([chunk async for chunk in chunks])
