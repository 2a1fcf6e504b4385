"""The admin address under clients that mean no good: bounded in number and in time, and closed to foreign names."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from prometheus_client import CollectorRegistry, Gauge

from enricher.edges.admin_http import MAX_CONNECTIONS, AdminServer
from enricher.errors import ConfigError, StoreError

TOKEN = "a-token-of-more-than-16"


@contextlib.asynccontextmanager
async def serving(*, unready=(), head_seconds=30.0, idle_seconds=30.0, host="127.0.0.1", fault=None, **more):
    """A server with one metric; its host and port."""

    async def status():
        if fault is not None:
            raise fault
        return {"files": 1}

    async def refresh():
        pass

    registry = CollectorRegistry()
    Gauge("enricher_ready", "Ready.", registry=registry).set(1)
    server = AdminServer(
        host=host, port=0, registry=registry, status=status, unready=lambda: list(unready), refresh=refresh,
        head_seconds=head_seconds, idle_seconds=idle_seconds, **more,
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


async def get(place, path, *, host=b"127.0.0.1", method=b"GET", more=b""):
    """Status and body of an answer; `more` are headers, each with its end of line."""
    answer = await ask(place, method + b" " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + more)
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
        held = [await asyncio.open_connection(*place) for _ in range(3 * MAX_CONNECTIONS)]
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
        assert 200 == (await get(("127.0.0.1", port), b"/metrics", host=b"logs.example:9464"))[0]


async def test_heads_without_end_are_refused_and_the_server_stays():
    async with serving() as place:
        long = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 100_000 + b"\r\n"
        assert b" 400 " in await ask(place, long)
        assert b" 400 " in await ask(place, b"\x16\x03\x01\x02\x00 this is no HTTP\r\n")
        assert (200, "ok\n") == await get(place, b"/healthz")


async def test_what_a_client_sends_wrong_is_not_logged(caplog, capsys):
    """A line that is wrong may hold a secret, and anybody can send thousands of them."""
    async with serving() as place:
        wrong = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hunter2\x01\r\n"
        for head in (wrong, b"GET /healthz HTTP/1.1\r\nContent-Length: hunter2\r\n", b"\x00hunter2\r\n"):
            assert b" 400 " in await ask(place, head)
    assert ("", "", "") == (caplog.text, *capsys.readouterr())


async def test_store_that_fails_is_said_so_without_its_text():
    async with serving(fault=StoreError("/secret/path: gone")) as place:
        assert (503, "StoreError\n") == await get(place, b"/status")


async def test_token_is_needed_for_all_but_whether_it_lives_and_is_ready():
    async with serving(unready=["store: gone"], token=TOKEN) as place:
        for path in (b"/metrics", b"/status"):
            for more in (
                b"", b"Authorization: Bearer\r\n", b"Authorization: Bearer wrong\r\n", b"Authorization: \xff \xff\r\n",
                b"Authorization: Basic " + TOKEN.encode() + b"\r\n", b"Authorization: " + TOKEN.encode() + b"\r\n",
                b"Authorization: Bearer " + TOKEN.encode()[:-1] + b"\r\n", b"Cookie: " + TOKEN.encode() + b"\r\n",
            ):  # fmt: skip
                assert (401, "needs the token: Authorization: Bearer ...\n") == await get(place, path, more=more)
            assert 401 == (await get(place, path + b"?token=" + TOKEN.encode()))[0]
        assert (200, "ok\n") == await get(place, b"/healthz")
        assert (503, "not ready, reasons withheld\n") == await get(place, b"/readyz")


async def test_who_has_the_token_sees_everything_under_any_name():
    given = b"authorization: bearer  " + TOKEN.encode() + b"\r\n"
    for host in ("127.0.0.1", "0.0.0.0"):
        async with serving(unready=["store: gone"], token=TOKEN, host=host) as (_, port):
            place = ("127.0.0.1", port)
            assert "enricher_ready 1.0" in (await get(place, b"/metrics", more=given, host=b"logs.example"))[1]
            assert {"files": 1} == json.loads((await get(place, b"/status", more=given, host=b"logs.example"))[1])
            assert (503, "store: gone\n") == await get(place, b"/readyz", more=given)


async def test_refusal_says_which_scheme_is_wanted():
    async with serving(token=TOKEN) as place:
        answer = await ask(place, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
    assert b'\r\nWWW-Authenticate: Bearer realm="enricher"\r\n' in answer


async def test_without_a_token_others_see_counts_and_nothing_else():
    async with serving(unready=["store: gone"], host="0.0.0.0") as (_, port):
        place = ("127.0.0.1", port)
        assert "enricher_ready 1.0" in (await get(place, b"/metrics"))[1]
        assert (403, "shown on loopback, or to who has the token; none is set\n") == await get(place, b"/status")
        assert (503, "not ready, reasons withheld\n") == await get(place, b"/readyz")


async def test_address_that_is_taken_is_named_with_the_way_out():
    async with serving() as (host, port):
        other = AdminServer(
            host=host, port=port, registry=CollectorRegistry(), status=dict, unready=list, refresh=dict
        )  # fmt: skip
        with pytest.raises(ConfigError, match=f"admin.listen: cannot listen on {host}:{port}: ") as caught:
            await other.start()
    assert "set [admin] listen" in caught.value.hint
