"""The admin address over TLS: what is old, broken or slow gets nowhere and keeps nobody out."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings

import pytest

from enricher.access import read_access
from enricher.config import AdminSettings
from enricher.edges.admin_http import MAX_CONNECTIONS
from tests.certificate import CERTIFICATE, write_pair
from tests.edges.test_admin_http import serving


@pytest.fixture
def tls(tmp_path):
    certificate, key = write_pair(tmp_path)
    return read_access(AdminSettings(tls_certificate=str(certificate), tls_key=str(key)), {}).tls


def client():
    return ssl.create_default_context(cadata=CERTIFICATE)


async def ask(place, *, context, head=b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
    reader, writer = await asyncio.open_connection(*place, ssl=context, server_hostname="localhost")
    writer.write(head)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answer


async def test_pages_are_served_encrypted(tls):
    async with serving(tls=tls) as place:
        for _ in range(3):
            assert (await ask(place, context=client())).endswith(b"\r\n\r\nok\n")


async def test_requests_that_come_at_once_with_the_end_of_the_handshake_are_answered(tls):
    """They are decrypted before the connection was handed to what answers them."""
    async with serving(tls=tls) as place:
        answers = await asyncio.gather(*(ask(place, context=client()) for _ in range(20)))
    assert {b"ok\n"} == {answer.rpartition(b"\r\n\r\n")[2] for answer in answers}


async def test_versions_before_1_2_are_refused(tls):
    old = client()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(tls=tls) as place:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ask(place, context=old)
        assert b"200 OK" in await ask(place, context=client())


async def test_what_is_not_encrypted_is_cut_off_without_a_word_in_the_log(tls, caplog, capsys):
    async with serving(tls=tls) as place:
        for sent in (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 5_000):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(sent)
            writer.write_eof()
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionResetError):
                    assert b"HTTP" not in await reader.read()
            writer.close()
        assert b"200 OK" in await ask(place, context=client())
    assert ("", "", "") == (caplog.text, *capsys.readouterr())


async def test_handshakes_that_do_not_end_are_cut_off(tls):
    async with serving(tls=tls, head_seconds=0.2) as place:
        for sent in (b"", b"\x16\x03\x01"):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(sent)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionResetError):
                    assert b"" == await reader.read()
            writer.close()


async def test_hundreds_of_handshakes_held_open_keep_nobody_out(tls):
    async with serving(tls=tls) as place:
        held = [await asyncio.open_connection(*place) for _ in range(MAX_CONNECTIONS + 20)]
        assert b"200 OK" in await ask(place, context=client())
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                assert b"" == await held[0][0].read()
        for _, writer in held:
            writer.close()
