"""A sync server that does what a test tells it: one coroutine per connection, real sockets."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request as UpgradeRequest
from websockets.http11 import Response
from websockets.typing import Subprotocol

from less_sync.sync.protocol.frames import (
    Request,
    decode_auth,
    decode_frame,
    encode_chunk,
    encode_error,
    encode_notification,
    encode_response,
)
from less_sync.sync.protocol.messages import SubscribeParams, decode_params


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    async def receive(self) -> bytes:
        message = await self.connection.recv()
        assert isinstance(message, bytes)
        return message

    async def token(self) -> str:
        """Read the first frame."""
        return decode_auth(await self.receive()).token

    async def request(self, method: str) -> Request:
        """Read the next request, which must be of this method."""
        frame = await self.any_request()
        assert frame.method == method
        return frame

    async def any_request(self) -> Request:
        """Read the next request, whatever it is."""
        frame = decode_frame(await self.receive())
        assert isinstance(frame, Request)
        return frame

    async def answer(self, request: Request, result: Mapping[str, object]) -> None:
        await self.connection.send(encode_response(request.id, result))

    async def refuse(self, request: Request, code: str, message: str = "because") -> None:
        await self.connection.send(encode_error(request.id, code, message))

    async def chunk(self, request: Request, name: str, data: Mapping[str, object]) -> None:
        await self.connection.send(encode_chunk(request.id, name, data))

    async def announce(self, method: str, params: Mapping[str, object]) -> None:
        await self.connection.send(encode_notification(method, params))

    async def welcome(self, *refused: str) -> list[str]:
        """Take any token and accept what is subscribed, but for `refused`; return the accepted spaces."""
        await self.token()
        return await self.accept_subscribe(*refused)

    async def welcome_by_token(self, *refused: str) -> None:
        """As `welcome`, at a server that cannot say whose token it took: the client reads it itself."""
        await self.welcome(*refused)
        await self.refuse(await self.request("session.info"), "method_not_found")

    async def accept_subscribe(self, *refused: str) -> list[str]:
        request = await self.request("subscribe")
        spaces = [space.id for space in decode_params(SubscribeParams, request.params).spaces]
        accepted = [space for space in spaces if space not in refused]
        result: dict[str, object] = {
            "spaces": [{"id": space, "cursor": 0, "key_generation": 1} for space in accepted]
        }
        errors = [{"space": space, "error": "forbidden"} for space in spaces if space in refused]
        await self.answer(request, result | ({"errors": errors} if errors else {}))
        return accepted


Act = Callable[[Peer], Awaitable[None]]


@dataclass
class ScriptedServer:
    """What happened; `acts` are played in order, one per connection, and the last one again for the rest."""

    acts: Sequence[Act]
    url: str = ""
    connections: int = 0
    failures: list[BaseException] = field(default_factory=list)

    async def play(self, connection: ServerConnection) -> None:
        act = self.acts[min(self.connections, len(self.acts) - 1)]
        self.connections += 1
        try:
            await act(Peer(connection))
        except AssertionError as failure:
            self.failures.append(failure)


@asynccontextmanager
async def scripted(*acts: Act, port: int = 0, date: str | None = None) -> AsyncIterator[ScriptedServer]:
    """Serve the acts on a free port of the loopback interface; failed assertions of acts are raised.

    Args:
        date: the `Date` of the upgrade instead of now; empty for none.
    """
    server = ScriptedServer(acts)

    def at_another_time(connection: ServerConnection, request: UpgradeRequest, response: Response) -> None:
        if date is not None:
            del response.headers["Date"]
        if date:
            response.headers["Date"] = date

    async with serve(
        server.play,
        "127.0.0.1",
        port,
        subprotocols=[Subprotocol("betterbase-rpc-v1")],
        compression=None,
        process_response=at_another_time,
    ) as running:
        (socket,) = running.sockets
        server.url = f"ws://127.0.0.1:{socket.getsockname()[1]}/api/v1/ws"
        yield server
    if server.failures:
        raise server.failures[0]


async def hold(peer: Peer) -> None:
    """Keep the connection until the client closes it."""
    await peer.connection.wait_closed()
