"""The raw client against the WebSocket server of a library, so that it is proven before it judges ours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from tests.wire.client import Closed, Dropped, Message, Refused, open_socket


async def converse(connection: ServerConnection) -> None:
    """Echo; on the texts `close` say goodbye, `cut` drop the connection, `keepalive` send two messages."""
    async for message in connection:
        if message == "close":
            await connection.close(4005, "as asked")
        elif message == "cut":
            connection.transport.abort()
        elif message == "keepalive":
            await connection.send(b"\xf6")
            await connection.send([b"in ", b"pieces"])
        else:
            await connection.send(message)


def refuse_unknown_path(connection: ServerConnection, request: Request) -> Response | None:
    return None if request.path == "/api/v1/ws" else connection.respond(404, "")


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    async with serve(
        converse,
        "127.0.0.1",
        0,
        subprotocols=["betterbase-rpc-v1"],  # type: ignore[list-item]  # a NewType over str
        process_request=refuse_unknown_path,
        compression=None,
    ) as server:
        yield port_of(server)


def port_of(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


async def test_messages_come_whole_and_keepalives_are_skipped() -> None:
    async with serving() as port:
        socket = await open_socket("127.0.0.1", port)
        socket.send_text(b"keepalive")
        socket.send(b"\x00\x01")
        assert await socket.receive(10) == Message(b"in pieces", binary=True)
        assert await socket.receive(10) == Message(b"\x00\x01", binary=True)
        await socket.hangup(10)


async def test_a_close_frame_and_a_cut_connection_are_told_apart() -> None:
    async with serving() as port:
        closed = await open_socket("127.0.0.1", port)
        closed.send_text(b"close")
        assert await closed.receive(10) == Closed(4005, "as asked")
        await closed.ended(10)
        cut = await open_socket("127.0.0.1", port)
        cut.send_text(b"cut")
        assert await cut.receive(10) == Dropped()


async def test_several_subprotocol_lines_are_sent_and_the_selected_one_is_seen() -> None:
    async with serving() as port:
        socket = await open_socket("127.0.0.1", port, subprotocols=["x, y", "betterbase-rpc-v1"])
        assert socket.subprotocol == "betterbase-rpc-v1"
        await socket.hangup(10)


async def test_a_refused_upgrade_carries_the_answer() -> None:
    async with serving() as port:
        with pytest.raises(Refused) as refused:
            await open_socket("127.0.0.1", port, path="/elsewhere")
        assert refused.value.response.status_code == 404


async def test_a_socket_that_stops_reading_receives_only_after_it_resumes() -> None:
    async with serving() as port:
        socket = await open_socket("127.0.0.1", port)
        socket.stop_reading()
        socket.send(b"hello")
        with pytest.raises(TimeoutError):
            await socket.receive(0.2)
        socket.resume_reading()
        assert await socket.receive(10) == Message(b"hello", binary=True)
        socket.abort()
        await asyncio.wait_for(socket.ended(10), 10)
