"""How answers end when not all of a request was read, or when the peer goes or stops: over real sockets."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from less_sync.sync.http.body import read_body, send_body
from less_sync.sync.http.http1 import DISCARD_BYTES_MAX, HttpProtocol
from tests.sync.raw_http import Connection, connected, served

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def put(length: int, more: str = "") -> bytes:
    return f"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n{more}\r\n".encode()


CHUNKED = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = "Expect: 100-continue\r\n"


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await PlainTextResponse("no", 403)(scope, receive, send)


class Noted(HttpProtocol):
    """Keeps the server's ends of the connections, newest last, and counts the bytes they received."""

    made: list["Noted"]
    received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        self.made.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)


def noted(**bounds: float) -> type[Noted]:
    return type("OneNoted", (Noted,), {"made": [], **bounds})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  nothing to wait for but the state itself
            await asyncio.sleep(0.005)


async def refused_as_last(connection: Connection) -> None:
    """A 403 that says that it is the last answer, and is."""
    response = await connection.receive()
    assert (response.status, response.body, response.header("connection")) == (403, b"no", "close")
    assert await connection.ended() == b""


@pytest.mark.parametrize("size", [1, 100_000, DISCARD_BYTES_MAX])
async def test_who_sends_a_little_body_before_reading_sees_why_it_was_refused_and_goes_on(size: int) -> None:
    async with served(refuse) as port, connected(port) as connection:
        for _ in range(2):
            connection.send(put(size) + bytes(size))
            response = await connection.receive()
            assert (response.status, response.header("connection")) == (403, None)
        assert (await connection.request("GET", "/")).status == 403


async def test_requests_pipelined_behind_a_body_that_is_discarded_are_answered() -> None:
    async with served(refuse) as port, connected(port) as connection:
        connection.send(put(MIB) + bytes(MIB) + GET + put(10) + bytes(10) + GET)
        for _ in range(4):
            assert (await connection.receive()).status == 403


async def test_a_client_that_reads_only_when_all_is_sent_gets_the_answer() -> None:
    def upload(port: int, size: int) -> int:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            client.request("PUT", "/", bytes(size), {"Content-Type": "x"})
            return client.getresponse().status
        finally:
            client.close()

    async with served(refuse) as port:
        assert await asyncio.to_thread(upload, port, DISCARD_BYTES_MAX) == 403


async def test_the_answer_to_a_large_body_says_close_and_eight_mebibytes_of_it_are_discarded() -> None:
    protocol = noted()
    async with served(refuse, protocol=protocol) as port, connected(port) as connection:
        connection.send(put(100 * MIB) + bytes(8 * MIB - 1000))
        await refused_as_last(connection)
        (server,) = protocol.made
        await until(lambda: server.received > 8 * MIB - 1000)
        assert not server.transport.is_closing()
        connection.send(bytes(4 * MIB))
        await until(server.transport.is_closing)
        assert 8 * MIB < server.received < 9 * MIB


@pytest.mark.parametrize("last", [b"", b"0\r\n\r\n"], ids=["unfinished", "whole"])
async def test_a_chunked_body_that_comes_late_is_discarded_too(last: bytes) -> None:
    async with served(refuse) as port, connected(port) as connection:
        connection.send(CHUNKED)
        response = await connection.receive()
        assert (response.status, response.header("connection")) == (403, "close")
        connection.send(b"100000\r\n" + bytes(MIB) + b"\r\n" + last)
        assert await connection.ended() == b""


@pytest.mark.parametrize("head", [put(10), put(100 * MIB), CHUNKED], ids=["little", "large", "chunked"])
async def test_a_body_that_never_comes_is_waited_for_only_so_long(head: bytes) -> None:
    protocol = noted(discard_s=0.05)
    async with served(refuse, protocol=protocol) as port, connected(port) as connection:
        connection.send(head)
        assert (await connection.receive()).status == 403
        await until(protocol.made[0].transport.is_closing)
        assert await connection.ended() == b""


async def test_a_body_that_came_in_time_ends_the_wait() -> None:
    async with served(refuse, protocol=noted(discard_s=0.2)) as port, connected(port) as connection:
        connection.send(put(10))
        assert (await connection.receive()).status == 403
        connection.send(bytes(10))
        await asyncio.sleep(0.4)
        assert (await connection.request("GET", "/")).status == 403


async def test_who_is_refused_before_the_100_gets_none_and_need_not_send() -> None:
    async with served(refuse) as port, connected(port) as connection:
        connection.send(put(10, EXPECT))
        await refused_as_last(connection)


async def test_who_does_not_wait_for_the_100_goes_on_when_refused() -> None:
    async with served(refuse) as port, connected(port) as connection:
        connection.send(put(10, EXPECT) + bytes(10) + GET)
        for _ in range(2):
            assert (await connection.receive()).header("connection") is None


async def read_it(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the body."""
    length = int(dict(scope["headers"])[b"content-length"])
    size = sum([len(piece) async for piece in read_body(receive, length=length, stall_s=60)])
    await PlainTextResponse(str(size))(scope, receive, send)


async def test_the_100_is_sent_once_when_the_body_is_asked_for() -> None:
    async with served(read_it) as port, connected(port) as connection:
        for _ in range(2):
            connection.send(put(10, EXPECT))
            assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.send(b"01234")
            await asyncio.sleep(0.02)
            connection.send(b"56789")
            assert (await connection.receive()).body == b"10"


@pytest.mark.parametrize(("version", "expectation"), [("1.1", "something-else"), ("1.0", "100-continue")])
async def test_what_is_no_expectation_of_a_100_gets_none(version: str, expectation: str) -> None:
    head = f"PUT / HTTP/{version}\r\nHost: h\r\nContent-Length: 1\r\nExpect: {expectation}\r\n\r\n"
    async with served(read_it) as port, connected(port) as connection:
        connection.send(head.encode())
        await asyncio.sleep(0.05)
        connection.send(b"x")
        assert (await connection.receive()).body == b"1"


async def test_a_408_of_the_application_is_the_last_answer() -> None:
    async def too_slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await PlainTextResponse("slow", 408)(scope, receive, send)

    async with served(too_slow) as port, connected(port) as connection:
        connection.send(put(10) + b"01234")
        response = await connection.receive()
        assert (response.status, response.header("connection")) == (408, "close")
        assert await connection.ended() == b""


async def test_who_asked_to_close_is_answered_though_its_body_was_not_read() -> None:
    async with served(refuse) as port, connected(port) as connection:
        connection.send(put(MIB, "Connection: close\r\n"))
        connection.send(bytes(MIB))
        await refused_as_last(connection)


async def test_a_fault_in_mid_answer_ends_it_though_the_body_was_not_read() -> None:
    async def faulty(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError

    async with served(faulty) as port, connected(port) as connection:
        connection.send(put(MIB) + bytes(MIB))
        assert (await connection.ended()).endswith(b"\r\n\r\nhalf")


async def test_who_asks_and_sends_no_more_is_answered() -> None:
    async with served(read_it) as port, connected(port) as connection:
        connection.send(put(3) + b"abc" + put(1) + b"x")
        connection.writer.write_eof()
        first, second = await connection.receive(), await connection.receive()
        assert (first.body, first.header("connection")) == (b"3", None)
        assert (second.body, second.header("connection")) == (b"1", "close")
        assert await connection.ended() == b""


@pytest.mark.parametrize("sent", [put(10) + b"01234", put(1) + b"x" + b"GET / HT", CHUNKED + b"5\r\n01", b""])
async def test_who_sends_no_more_in_the_middle_of_a_request_is_cut_off(sent: bytes) -> None:
    ended = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()

    async with served(slow) as port, connected(port) as connection:
        connection.send(sent)
        connection.writer.write_eof()
        assert await connection.ended() == b""
        if sent:
            async with asyncio.timeout(20):
                await ended.wait()


class Endless:
    """An application whose answers are a gigabyte; `outcomes` has what became of each."""

    def __init__(self) -> None:
        self.outcomes: list[bool] = []

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % (1024 * MIB))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self.outcomes.append(await send_body(send, receive, self._chunks()))

    async def _chunks(self) -> AsyncIterator[bytes]:
        for _ in range(1024):
            yield bytes(MIB)


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    protocol, app = noted(write_stall_s=0.2), Endless()
    async with served(app, protocol=protocol) as port, connected(port) as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # any transport that reads
        connection.send(GET)
        await until(lambda: app.outcomes == [False])
        assert protocol.made[0].transport.is_closing()


async def test_a_client_that_takes_a_little_is_waited_for() -> None:
    protocol, app = noted(write_stall_s=1), Endless()
    async with served(app, protocol=protocol) as port, connected(port) as connection:
        connection.send(GET)
        for _ in range(80):  # so slowly that the kernel asks the server for more once in a second at most
            await connection.reader.read(32 * 1024)
            await asyncio.sleep(0.03)
        assert not protocol.made[0].transport.is_closing()
        assert app.outcomes == []
        connection.writer.transport.abort()
        await until(lambda: app.outcomes == [False])


async def test_what_waits_to_be_sent_when_a_connection_is_closed_waits_only_so_long() -> None:
    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("x" * 32 * MIB)(scope, receive, send)

    protocol = noted(write_stall_s=0.2)
    async with served(large, protocol=protocol) as port, connected(port) as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
        connection.send(b"GET / HTTP/1.0\r\n\r\n")
        await until(lambda: len(protocol.made) == 1 and protocol.made[0] not in protocol.made[0].connections)


async def test_an_upload_under_way_outlives_the_announcement_of_a_shutdown() -> None:
    protocol = noted()
    async with served(read_it, protocol=protocol) as port, connected(port) as busy, connected(port) as idle:
        busy.send(put(2 * MIB) + bytes(MIB))
        await until(lambda: bool(protocol.made) and protocol.made[0].received > MIB)
        assert (await idle.request("GET", "/", "Content-Length: 0\r\n")).status == 200
        for connection in protocol.made:
            connection.shutdown()
        assert await idle.ended() == b""
        busy.send(bytes(MIB))
        response = await busy.receive()
        assert (response.body, response.header("connection")) == (str(2 * MIB).encode(), "close")
        assert await busy.ended() == b""


async def test_what_is_discarded_outlives_the_announcement_too_and_is_the_last() -> None:
    protocol = noted()
    async with served(refuse, protocol=protocol) as port, connected(port) as connection:
        connection.send(put(MIB) + bytes(1000))
        assert (await connection.receive()).status == 403
        (server,) = protocol.made
        server.shutdown()
        assert await connection.ended() == b""
        connection.send(bytes(2 * MIB) + GET)
        await until(lambda: server.received > 2 * MIB)
        assert not server.transport.is_closing()


async def test_an_idle_connection_whose_peer_took_not_all_is_given_up_too() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("x" * 40_000)(scope, receive, send)

    protocol = noted(write_stall_s=0.2)
    async with served(answer, protocol=protocol, keep_alive_s=0.2) as port, connected(port) as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
        connection.send(GET)
        await until(lambda: bool(protocol.made))
        (server,) = protocol.made
        for answered in range(1, 1000):
            await until(lambda n=answered: server.server_state.total_requests == n)  # type: ignore[misc]
            if server.transport.get_write_buffer_size():
                break
            connection.send(GET)
        assert not server.flow.write_paused
        await until(lambda: server not in server.connections)


async def test_who_asked_to_close_and_sends_no_more_is_not_waited_for() -> None:
    protocol = noted(discard_s=1000)
    async with served(refuse, protocol=protocol) as port, connected(port) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        await until(lambda: bool(protocol.made) and protocol.made[0].transport.is_closing())
        await refused_as_last(connection)


async def test_who_has_sent_more_than_the_last_request_that_is_answered_is_read_on() -> None:
    async def answer_as_last(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 403, {"Connection": "close"})(scope, receive, send)

    protocol = noted()
    async with served(answer_as_last, protocol=protocol) as port, connected(port) as connection:
        connection.send(GET + GET)
        await refused_as_last(connection)
        assert not protocol.made[0].transport.is_closing()
