"""The admin address under clients that mean no good: bounded in number and in time, and closed to foreign names."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from prometheus_client import CollectorRegistry, Gauge

from enricher.edges import admin_http
from enricher.edges.admin_http import AdminServer
from enricher.errors import ConfigError


@contextlib.asynccontextmanager
async def serving(*, unready=(), head_seconds=30.0, idle_seconds=30.0, host="127.0.0.1"):
    """A server with one metric; its host and port."""

    async def status():
        return {"files": 1}

    async def refresh():
        pass

    registry = CollectorRegistry()
    Gauge("enricher_ready", "Ready.", registry=registry).set(1)
    server = AdminServer(
        host=host, port=0, registry=registry, status=status, unready=lambda: list(unready), refresh=refresh,
        head_seconds=head_seconds, idle_seconds=idle_seconds,
    )  # fmt: skip
    address = await server.start()
    try:
        yield host, int(address.rpartition(":")[2])
    finally:
        await server.close()


async def ask(place, head, *, close=True):
    """Send a request as it is written, and read until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*place)
    writer.write(head + (b"Connection: close\r\n\r\n" if close else b""))
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def get(place, path, *, host=b"127.0.0.1", method=b"GET"):
    """Status and body of an answer."""
    answer = await ask(place, method + b" " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def test_each_page_says_what_it_is_for():
    async with serving() as place:
        assert (200, "ok\n") == await get(place, b"/healthz")
        assert (200, "ready\n") == await get(place, b"/readyz")
        assert {"files": 1} == json.loads((await get(place, b"/status"))[1])
        assert "enricher_ready 1.0" in (await get(place, b"/metrics"))[1]
        assert (404, "there are /metrics, /healthz, /readyz, /status\n") == await get(place, b"/etc/passwd")
    async with serving(unready=["store: gone", "provider: refused"]) as place:
        assert (503, "store: gone\nprovider: refused\n") == await get(place, b"/readyz")


async def test_nothing_can_be_changed_through_it():
    async with serving() as place:
        assert (405, "this address only shows\n") == await get(place, b"/status", method=b"POST")
        assert (200, "") == await get(place, b"/status", method=b"HEAD")


async def test_connections_that_send_no_request_in_time_are_cut_off():
    async with serving(head_seconds=0.2) as place:
        for head in (b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "):
            with contextlib.suppress(ConnectionResetError):
                assert b"" == await ask(place, head, close=False)


async def test_connections_that_stay_silent_after_an_answer_are_cut_off():
    async with serving(idle_seconds=0.2) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            assert b"200 OK" in await reader.readuntil(b"ok\n")
            with contextlib.suppress(ConnectionResetError):
                assert b"" == await reader.read()
        writer.close()


async def test_hundreds_of_held_connections_keep_nobody_out():
    async with serving() as place:
        held = [await asyncio.open_connection(*place) for _ in range(3 * admin_http.MAX_CONNECTIONS)]
        assert (200, "ok\n") == await get(place, b"/healthz")
        async with asyncio.timeout(10):
            # The oldest were cut off to make room.
            with contextlib.suppress(ConnectionResetError):
                assert b"" == await held[0][0].read()
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("host", [b"evil.example", b"evil.example:9464", b"127.0.0.1.evil.example", b"[::1", b"a b"])
async def test_names_that_were_pointed_at_this_host_are_turned_away(host):
    async with serving() as place:
        status, text = await get(place, b"/status", host=host)
    assert (421, "ask for an address or localhost, not for another name\n") == (status, text)


@pytest.mark.parametrize("host", [b"localhost:9464", b"127.0.0.1", b"[::1]:9464", b"192.0.2.7:1"])
async def test_addresses_and_localhost_are_answered(host):
    async with serving() as place:
        assert 200 == (await get(place, b"/status", host=host))[0]


async def test_other_names_are_answered_where_others_are_meant_to_ask():
    async with serving(host="0.0.0.0") as (_, port):
        assert 200 == (await get(("127.0.0.1", port), b"/status", host=b"logs.example:9464"))[0]


async def test_heads_without_end_are_refused_and_the_server_stays():
    async with serving() as place:
        long = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 100_000 + b"\r\n"
        assert b" 400 " in await ask(place, long)
        assert b" 400 " in await ask(place, b"\x16\x03\x01\x02\x00 this is no HTTP\r\n")
        assert (200, "ok\n") == await get(place, b"/healthz")


async def test_address_that_is_taken_is_named_with_the_way_out():
    async with serving() as (host, port):
        other = AdminServer(
            host=host, port=port, registry=CollectorRegistry(), status=dict, unready=list, refresh=dict
        )  # fmt: skip
        with pytest.raises(ConfigError, match=f"admin.listen: cannot listen on {host}:{port}: ") as caught:
            await other.start()
    assert "set [admin] listen" in caught.value.hint
