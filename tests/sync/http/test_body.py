"""Bodies in both directions, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from less_sync.storage import CHUNK_BYTES_MAX
from less_sync.sync.http.body import (
    BodyCut,
    BodyError,
    BodyStalled,
    BodyTooLong,
    BodyTooShort,
    read_body,
    send_body,
)
from tests.sync.raw_http import connected, served

MIB = 1024 * 1024
STALL_S = 0.05


class Upload:
    """Reads one body by its declared length and keeps the sizes of its pieces, or what was raised."""

    def __init__(
        self, *, stall_s: float = 20, before_each: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.sizes: list[int] = []
        self.body = bytearray()
        self.error: BodyError | None = None
        self.ended = asyncio.Event()
        self._stall_s = stall_s
        self._before_each = before_each

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = int(dict(scope["headers"])[b"content-length"])
        try:
            async for piece in read_body(receive, length=length, stall_s=self._stall_s):
                if self._before_each is not None:
                    await self._before_each()
                self.sizes.append(len(piece))
                self.body += piece
        except BodyError as error:
            self.error = error
        finally:
            self.ended.set()
        await PlainTextResponse(str(len(self.body)))(scope, receive, send)


def put(length: int, more: str = "") -> bytes:
    return f"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n{more}\r\n".encode()


async def test_a_body_comes_whole_in_pieces_of_at_most_256_kibibytes() -> None:
    upload, body = Upload(), bytes(range(256)) * 4096 * 5
    async with served(upload) as port, connected(port) as connection:
        connection.send(put(len(body)) + body)
        assert (await connection.receive()).body == str(len(body)).encode()
    assert upload.body == body
    assert 0 < min(upload.sizes) <= max(upload.sizes) <= CHUNK_BYTES_MAX


async def test_a_body_without_bytes_yields_nothing() -> None:
    upload = Upload()
    async with served(upload) as port, connected(port) as connection:
        connection.send(put(0))
        assert (await connection.receive()).body == b"0"
    assert upload.sizes == []


async def test_what_is_not_asked_for_waits_in_the_clients_socket() -> None:
    async def stop() -> None:
        reached.set()
        await go_on.wait()

    reached, go_on = asyncio.Event(), asyncio.Event()
    upload, body = Upload(before_each=stop), bytes(64 * MIB)
    async with served(upload) as port, connected(port) as connection:
        connection.send(put(len(body)) + body)
        await reached.wait()
        # What the kernel holds for both ends is a few MiB; the rest never left.
        left = -1
        while left != (left := connection.writer.transport.get_write_buffer_size()):  # noqa: ASYNC110  no event
            await asyncio.sleep(0.1)
        assert left > 32 * MIB
        go_on.set()
        assert (await connection.receive()).body == str(len(body)).encode()


async def test_each_byte_gives_a_body_new_time() -> None:
    upload = Upload(stall_s=1)
    async with served(upload) as port, connected(port) as connection:
        connection.send(put(12))
        for _ in range(12):
            connection.send(b"x")
            await asyncio.sleep(0.1)
        assert (await connection.receive()).body == b"12"
    assert upload.error is None


async def test_a_body_of_which_nothing_comes_has_stalled() -> None:
    upload = Upload(stall_s=STALL_S)
    async with served(upload) as port, connected(port) as connection:
        connection.send(put(8) + b"1234")
        await upload.ended.wait()
        assert isinstance(upload.error, BodyStalled)
        assert upload.body == b"1234"


async def test_the_time_in_which_nobody_asks_is_no_stall() -> None:
    async def slowly() -> None:
        await asyncio.sleep(4 * STALL_S)

    upload = Upload(stall_s=STALL_S, before_each=slowly)
    async with served(upload) as port, connected(port) as connection:
        connection.send(put(8) + b"1234")
        await asyncio.sleep(STALL_S)
        connection.send(b"5678")
        assert (await connection.receive()).body == b"8"
    assert upload.error is None


@pytest.mark.parametrize("abort", [False, True], ids=["fin", "reset"])
async def test_a_client_that_goes_away_cuts_its_body(abort: bool) -> None:
    upload = Upload()
    async with served(upload) as port, connected(port) as connection:
        connection.send(put(8) + b"1234")
        while not upload.sizes:  # noqa: ASYNC110  nothing to wait for but the state itself
            await asyncio.sleep(0.005)
        if abort:
            connection.writer.transport.abort()
        else:
            connection.writer.close()
        await upload.ended.wait()
    assert isinstance(upload.error, BodyCut)


def _receiver(*messages: Message) -> Receive:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return receive


def part(size: int, *, more: bool) -> Message:
    return {"type": "http.request", "body": bytes(size), "more_body": more}


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([part(9, more=True)], BodyTooLong),
        ([part(8, more=True), part(1, more=False)], BodyTooLong),
        ([part(7, more=False)], BodyTooShort),
        ([{"type": "http.request"}], BodyTooShort),
    ],
)
async def test_a_body_that_is_not_as_long_as_declared_is_an_error(
    messages: list[Message], error: type[BodyError]
) -> None:
    with pytest.raises(error):
        [piece async for piece in read_body(_receiver(*messages), length=8, stall_s=60)]


async def test_a_large_message_is_cut_into_pieces() -> None:
    receive = _receiver(part(2 * CHUNK_BYTES_MAX + 1, more=True), part(0, more=False))
    sizes = [len(piece) async for piece in read_body(receive, length=2 * CHUNK_BYTES_MAX + 1, stall_s=60)]
    assert sizes == [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, 1]


class Source:
    """So many pieces, of which it counts those that were asked for."""

    def __init__(self, pieces: int, size: int = CHUNK_BYTES_MAX) -> None:
        self.bytes = pieces * size
        self.asked = 0
        self._pieces, self._size = pieces, size

    async def chunks(self) -> AsyncIterator[bytes]:
        for number in range(self._pieces):
            self.asked += 1
            yield bytes([number % 251]) * self._size


def download(source: Source, outcome: "asyncio.Future[bool]") -> ASGIApp:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", str(source.bytes).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        outcome.set_result(await send_body(send, receive, source.chunks()))

    return app


GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize("pieces", [0, 1, 40])
async def test_a_download_arrives_whole(pieces: int) -> None:
    source, outcome = Source(pieces), asyncio.get_running_loop().create_future()
    async with served(download(source, outcome)) as port, connected(port) as connection:
        connection.send(GET)
        body = (await connection.receive()).body
    assert body == b"".join([piece async for piece in Source(pieces).chunks()])
    assert await outcome is True


async def test_a_client_that_does_not_read_holds_the_source_back() -> None:
    source, outcome = Source(400), asyncio.get_running_loop().create_future()
    async with served(download(source, outcome)) as port, connected(port) as connection:
        connection.send(GET)
        asked = -1
        while asked != (asked := source.asked):  # noqa: ASYNC110  nothing to wait for but the state itself
            await asyncio.sleep(0.1)
        assert 0 < asked < 200
        assert len((await connection.receive()).body) == source.bytes
    assert await outcome is True


@pytest.mark.parametrize("abort", [False, True], ids=["fin", "reset"])
async def test_a_client_that_goes_away_ends_its_download(abort: bool) -> None:
    source, outcome = Source(400), asyncio.get_running_loop().create_future()
    async with served(download(source, outcome)) as port:
        async with connected(port) as connection:
            connection.send(GET)
            await connection.reader.readuntil(b"\r\n\r\n")
            if abort:
                connection.writer.transport.abort()
        async with asyncio.timeout(20):
            assert await outcome is False
    assert source.asked < 200


async def test_a_body_that_comes_with_a_request_to_download_is_discarded() -> None:
    source, outcome = Source(2), asyncio.get_running_loop().create_future()
    async with served(download(source, outcome)) as port, connected(port) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        assert len((await connection.receive()).body) == source.bytes
    assert await outcome is True
