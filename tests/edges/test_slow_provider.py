"""A provider whose answers trickle: each piece comes in time, and the whole never does."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from enricher.edges.batch_openai import OpenAIBatchClient, bounded
from enricher.errors import TransientProviderError, UnclearProviderError
from enricher.telemetry import Telemetry


@pytest.fixture
async def trickling():
    """Address of a server that sends a byte of each answer every few milliseconds, without end."""

    answering = set()

    async def serve(reader, writer):
        answering.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n{"
            writer.write(head)
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.005)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    server.close()
    for one in answering:
        one.cancel()
    await asyncio.wait(answering)
    await asyncio.sleep(0)  # what they have closed ends one turn of the loop later


async def test_an_answer_that_trickles_is_given_up_and_the_call_may_be_tried_again(trickling, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "PATIENCE_SECONDS", 0.1)
    client = OpenAIBatchClient(base_url=trickling, api_key="sk-x", timeout_seconds=30, telemetry=Telemetry())
    async with asyncio.timeout(20):
        with pytest.raises(TransientProviderError):
            await client.retrieve("batch_1")
        with pytest.raises(TransientProviderError, match="trickles"):
            await client.download("file-1", tmp_path / "answers", max_bytes=1 << 20)
        with pytest.raises(UnclearProviderError):
            await client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})
    assert [] == list(tmp_path.iterdir())
    await client.close()
