"""Ids that a provider made to lead elsewhere: no request with our key goes where nothing of that id lies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import string
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enricher.edges.batch_openai import OpenAIBatchClient
from enricher.errors import PermanentProviderError, ProviderError, TransientProviderError, UnclearProviderError
from enricher.telemetry import Telemetry
from tests.edges.test_batch_openai import BATCH

HOSTILE = (
    *("../../admin", "..", ".", "a/../../admin", "/etc/passwd", "//elsewhere/x", "http://elsewhere/x", "a/b", "a\\b"),
    *(
        "%2e%2e",
        "%2e%2e%2fadmin",
        "..%2fadmin",
        "%00",
        "a?limit=1",
        "a#b",
        "a;b",
        "a&b=c",
        "a b",
        "a%",
        "a:b@c",
        "*",
        "~",
    ),
)
FORBIDDEN = ("\0", "a\0b", "a\r\nX-Admin: 1", "ä", "\ud800", "\N{FULLWIDTH FULL STOP}" * 2, "x" * 257, "x" * 10_000, "")
PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "%2e", "%2f", "%5c", "%25", "?", "#", ";", "@", ":", " ", "file-1", "admin"]
)
IDS = st.one_of(
    st.lists(PIECES, min_size=1, max_size=8).map("".join),
    st.text(string.ascii_letters + string.digits + string.punctuation, min_size=1, max_size=40),
)


class Listener:
    """Takes down the target of every request as it stands on the wire, and answers with one object."""

    async def start(self):
        self.targets, self.answer = [], BATCH
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def _serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *fields = head.split(b"\r\n")
                lengths = [int(field.split(b":")[1]) for field in fields if field.lower().startswith(b"content-length")]
                await reader.readexactly(sum(lengths))
                self.targets.append(line.split(b" ")[1])
                body = json.dumps(self.answer).encode()
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
                await writer.drain()
        writer.close()

    async def close(self):
        self._server.close()


@pytest.fixture
async def listener():
    listener = await Listener().start()
    yield listener
    await listener.close()


@pytest.fixture
async def client(listener):
    client = OpenAIBatchClient(base_url=listener.url, api_key="sk-x", timeout_seconds=5, telemetry=Telemetry())
    yield client
    await client.close()


async def ask_about(client, identifier, path):
    """Everything that the daemon does with an id of a provider's."""
    for call in (
        client.retrieve(identifier),
        client.cancel(identifier),
        client.delete_file(identifier),
        client.download(identifier, path, max_bytes=1 << 20),
    ):
        with contextlib.suppress(ProviderError):
            await call


def assert_below(targets, identifier):
    """Each is of one segment in the place of the id, which means the id to whoever decodes it once, and is no step."""
    for target in targets:
        parts = target.split(b"/")
        assert [b"", b"v1"] == parts[:2], target
        assert parts[2] in (b"files", b"batches"), target
        assert parts[4:] in ([], [b"content"], [b"cancel"]), target
        assert identifier.encode() == unquote_to_bytes(parts[3]), target
        assert unquote_to_bytes(parts[3]) not in (b".", b".."), target
        assert not set(b"?#\\ ") & {*parts[3]}, target


@pytest.mark.parametrize("identifier", HOSTILE)
async def test_an_id_is_one_segment_of_the_path_or_nothing_is_asked(listener, client, tmp_path, identifier):
    await ask_about(client, identifier, tmp_path / "answers")
    assert len(listener.targets) in (0, 4)
    assert_below(listener.targets, identifier)
    assert {"answers"} >= {one.name for one in tmp_path.iterdir()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(identifier=IDS)
async def test_any_id_is_one_segment_of_the_path_or_nothing_is_asked(listener, client, tmp_path, identifier):
    listener.targets.clear()
    await ask_about(client, identifier, tmp_path / "answers")
    assert_below(listener.targets, identifier)


@pytest.mark.parametrize("identifier", [*FORBIDDEN, *(one for one in HOSTILE if one in ("..", "."))])
@pytest.mark.parametrize("field", ["id", "output_file_id", "error_file_id"])
async def test_an_id_that_can_be_none_is_told_where_it_is_first_seen(listener, client, identifier, field):
    if field != "id" and not identifier:
        pytest.skip("there is none, which is usual")
    listener.answer = BATCH | {field: identifier}
    with pytest.raises(PermanentProviderError, match="did not answer as the Batch API does"):
        await client.retrieve("batch_1")
    with pytest.raises(UnclearProviderError, match="did not answer as the Batch API does"):
        await client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})


async def test_an_id_with_a_slash_is_one_as_some_providers_give_it(listener, client):
    listener.answer = BATCH | {"id": "batches/abc", "output_file_id": "files/batch-abc"}
    seen = await client.retrieve("batches/abc")
    assert ("batches/abc", "files/batch-abc") == (seen.id, seen.output_file_id)
    assert [b"/v1/batches/batches%2Fabc"] == listener.targets


async def test_an_answer_about_another_batch_is_none_about_this_one(listener, client):
    listener.answer = BATCH | {"id": "batch_other", "input_file_id": "file-other"}
    for call in (client.retrieve("batch_1"), client.cancel("batch_1")):
        with pytest.raises(TransientProviderError, match="another batch"):
            await call
    with pytest.raises(UnclearProviderError, match="another file"):
        await client.create(input_file_id="file-1", endpoint="/v1/responses", metadata={})
