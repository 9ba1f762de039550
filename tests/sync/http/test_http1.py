"""Bounds of request heads and idle connections, over real sockets."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from less_sync.sync.http.http1 import HttpProtocol
from less_sync.sync.http.shared_bytes import SharedBytes
from less_sync.sync.limits import Limits
from tests.sync.raw_http import Connection, connected, served


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of headers and the body's length."""
    request = Request(scope, receive)
    body = await request.body()
    await PlainTextResponse(f"{len(scope['headers'])} {len(body)}")(scope, receive, send)


class Hasty(HttpProtocol):
    head_timeout_s = 0.05


class Crowded(HttpProtocol):
    """Heads over 32 KiB are large, and have 100 KiB together."""

    limits = Limits(heads_bytes=32 * 1024)
    large_heads = SharedBytes(100 * 1024)


async def refused(connection: Connection, status: int) -> None:
    """The answer is an empty `status`, and the connection ends."""
    response = await connection.receive()
    assert (response.status, response.body) == (status, b"")
    assert response.headers == [("content-length", "0"), ("connection", "close")]
    assert await connection.ended() == b""


async def test_a_head_of_256_kibibytes_with_100_fields_is_accepted() -> None:
    fields = "".join(f"X-{n}: {'v' * 2600}\r\n" for n in range(99))
    assert len(fields) > 256 * 1024 - 5000
    async with served(echo) as port, connected(port) as connection:
        assert (await connection.request("GET", "/", fields)).body == b"100 0"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET / HTTP/1.1\r\nHost: h\r\n" + "".join(f"X-{n}: v\r\n" for n in range(100)) + "\r\n", 431),
        ("GET / HTTP/1.1\r\n" + "".join(f"X-{n}: {'v' * 9000}\r\n" for n in range(50)), 431),
        ("GET / HTTP/1.1\r\nX: " + "v" * 1_000_000, 431),
        (f"GET /{'p' * 65_534} HTTP/1.1\r\n", 414),
        ("nonsense\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: x\r\n", 400),
        ("GET / HTTP/1.1\r\nX: a\x00b\r\n", 400),
        ("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", 400),
    ],
    ids=[
        *("fields", "bytes", "endless-field", "target", "syntax", "smuggling", "length", "control"),
        *("connect", "no-host", "two-hosts", "two-hosts-1.0"),
    ],
)
async def test_a_head_out_of_bounds_is_refused(head: str, status: int) -> None:
    async with served(echo) as port, connected(port) as connection:
        connection.send(head.encode("latin-1"))
        await refused(connection, status)


async def test_a_request_of_http_1_0_needs_no_host() -> None:
    async with served(echo) as port, connected(port) as connection:
        connection.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await connection.receive()).body == b"0 0"


async def test_what_still_comes_after_a_refusal_is_discarded() -> None:
    async with served(echo) as port, connected(port) as connection:
        connection.send(b"GET / HTTP/1.1\r\nX: " + b"v" * 8_000_000)
        await refused(connection, 431)
        connection.send(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert await connection.ended() == b""


async def test_a_target_of_the_greatest_length_is_accepted() -> None:
    async with served(echo) as port, connected(port) as connection:
        assert (await connection.request("GET", "/" + "p" * 65_533)).status == 200


async def test_a_body_does_not_count_as_head() -> None:
    async with served(echo) as port, connected(port) as connection:
        head = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
        for _ in range(2):
            connection.send(head + bytes(1_000_000))
            assert (await connection.receive()).body == b"2 1000000"


async def test_a_head_that_is_not_complete_in_time_is_408() -> None:
    async with served(echo, protocol=Hasty) as port, connected(port) as connection:
        connection.send(b"GET / HT")
        await refused(connection, 408)


async def test_the_time_for_a_head_begins_with_its_first_byte_on_a_kept_connection_too() -> None:
    async with served(echo, protocol=Hasty) as port, connected(port) as connection:
        assert (await connection.request("GET", "/")).status == 200
        await asyncio.sleep(2 * Hasty.head_timeout_s)
        assert (await connection.request("GET", "/")).status == 200
        connection.send(b"G")
        await refused(connection, 408)


@pytest.mark.parametrize(
    "first", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"], ids=["silent", "blank", "answered"]
)
async def test_an_idle_connection_is_closed_whatever_it_did_before(first: bytes) -> None:
    async with served(echo, keep_alive_s=0.05) as port, connected(port) as connection:
        connection.send(first)
        answer = await connection.ended()
        assert answer.startswith(b"HTTP/1.1 200" if len(first) > 2 else b"")
        assert b"408" not in answer


async def test_a_request_under_way_is_not_idle() -> None:
    release = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await echo(scope, receive, send)

    async with served(slow, keep_alive_s=0.02) as port, connected(port) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.sleep(0.1)
        release.set()
        assert (await connection.receive()).status == 200


async def test_nothing_follows_a_refusal_not_even_the_answer_to_an_earlier_request() -> None:
    finished = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"
        await PlainTextResponse()(scope, receive, send)
        finished.set()

    async with served(slow) as port, connected(port) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n")
        await refused(connection, 400)
        async with asyncio.timeout(20):
            await finished.wait()


async def test_blanks_after_a_value_are_none_of_it() -> None:
    seen: list[bytes] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(value for name, value in scope["headers"] if name == b"x")
        await echo(scope, receive, send)

    async with served(look) as port, connected(port) as connection:
        await connection.request("GET", "/", "X: \t a b \t \r\n")
    assert seen == [b"a b"]


async def test_what_is_sent_behind_a_request_to_upgrade_that_is_not_granted_is_read() -> None:
    ignored = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with served(echo) as port, connected(port) as connection:
        connection.send(ignored * 2 + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert [(await connection.receive()).body for _ in range(3)] == [b"3 0", b"3 0", b"1 0"]


async def drained(budget: SharedBytes) -> None:
    """Wait until nothing is counted any more."""
    async with asyncio.timeout(20):
        while budget.taken:  # noqa: ASYNC110  nothing to wait for but the state itself
            await asyncio.sleep(0.005)


def unfinished(size: int) -> bytes:
    """The beginning of a head."""
    return b"GET / HTTP/1.1\r\nX: ".ljust(size, b"v")


async def test_large_heads_share_a_bound_and_small_ones_are_left_alone() -> None:
    budget = Crowded.large_heads
    async with served(echo, protocol=Crowded) as port:
        async with connected(port) as first, connected(port) as second:
            first.send(unfinished(70 * 1024))
            async with asyncio.timeout(20):
                while budget.taken < 69 * 1024:  # noqa: ASYNC110  nothing to wait for but the state itself
                    await asyncio.sleep(0.005)
            second.send(unfinished(40 * 1024))
            await refused(second, 431)
            async with connected(port) as third:
                assert (await third.request("GET", "/", f"X: {'v' * 31_000}\r\n")).status == 200
            first.send(b"\r\nHost: h\r\n\r\n")
            assert (await first.receive()).status == 200
            await drained(budget)
        async with connected(port) as fourth:
            fourth.send(unfinished(90 * 1024))
            async with asyncio.timeout(20):
                while not budget.taken:  # noqa: ASYNC110  nothing to wait for but the state itself
                    await asyncio.sleep(0.005)
        await drained(budget)


async def test_who_is_refused_leaves_nothing_of_a_head_behind() -> None:
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"X: " + b"v" * 10_000 + b"\r\n" for _ in range(30))
    async with served(echo, protocol=Crowded) as port, AsyncExitStack() as stack:

        async def refuse() -> None:
            connection = await stack.enter_async_context(connected(port))
            connection.send(head)
            assert (await connection.receive()).status == 431
            while connection.writer.transport.get_write_buffer_size():  # noqa: ASYNC110  as above
                await asyncio.sleep(0.005)

        await refuse()
        assert await held_bytes(refuse, 8) < 8 * 50 * 1024


async def held_bytes(do: Callable[[], Awaitable[None]], times: int) -> int:
    """How much more memory is in use once something was done so often, by a collector that never ran."""
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(times):
            await do()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_large_heads_count_until_they_are_answered_and_an_idle_connection_holds_none() -> None:
    release = asyncio.Event()
    protocols: list[HttpProtocol] = []

    class Seen(Crowded):
        large_heads = SharedBytes(100 * 1024)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            protocols.append(self)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await echo(scope, receive, send)

    async with served(slow, protocol=Seen) as port, connected(port) as connection:
        connection.send(
            b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nX: " + b"v" * 50_000 + b"\r\n\r\nnine byte"
        )
        async with asyncio.timeout(20):
            while Seen.large_heads.taken < 50_000:  # noqa: ASYNC110  nothing to wait for but the state itself
                await asyncio.sleep(0.005)
        release.set()
        assert (await connection.receive()).body == b"3 9"
        await drained(Seen.large_heads)
        (protocol,) = protocols
        assert not any((protocol.headers, protocol.scope, protocol.cycle.scope, protocol.cycle.body))
        assert (await connection.request("GET", "/")).body == b"1 0"


async def test_heads_that_are_pipelined_count_together_with_what_a_request_costs() -> None:
    release = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await echo(scope, receive, send)

    tiny = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    async with served(slow, protocol=Crowded) as port:
        async with connected(port) as connection:
            connection.send(tiny * 40)
            release.set()
            assert [(await connection.receive()).status for _ in range(40)] == [200] * 40
        await drained(Crowded.large_heads)
        release.clear()
        async with connected(port) as connection:
            connection.send(tiny * 400)
            await refused(connection, 431)
            release.set()
        await drained(Crowded.large_heads)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"v" * 200],
    ids=["silent", "answered", "unfinished"],
)
async def test_a_connection_that_idles_holds_a_few_kibibytes(sent: bytes) -> None:
    loop = asyncio.get_running_loop()
    async with served(echo) as port, AsyncExitStack() as stack:

        async def idle() -> None:
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            if sent:
                await loop.sock_sendall(client, sent)
            if sent.endswith(b"\r\n\r\n"):
                assert await loop.sock_recv(client, 1024)

        await idle()
        held = await held_bytes(idle, 200)
        assert 0 < held < 200 * 20 * 1024
