"""A listener on loopback whose handler does what a test says, and clients that send and read raw bytes."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from less_sync.volume.counters import Counters
from less_sync.volume.http.bodies import BodyPool
from less_sync.volume.http.handlers import Begun, Finished
from less_sync.volume.http.listener import Listener
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response

PATIENCE_S = 10.0
MIB = 1 << 20


def echo(request: Request) -> Response:
    """Method, path, and the length of the body with its first and last bytes."""
    body = request.body
    content = bytes(body.view()) if body is not None else b""
    shown = content if len(content) <= 64 else content[:8] + b".." + content[-8:]
    text = f"{request.method} {request.path} {len(content)} ".encode("utf-8", "surrogateescape")
    return Response(200, [("Content-Type", "x/y")], text + shown)


def want_body(request: Request) -> Begun:
    """Read the body of writes; answer the rest at once."""
    return None if request.method in {"PUT", "POST"} else echo(request)


@dataclass
class Script:
    """A handler: what it was asked is kept, what it answers is settable."""

    begin_with: Callable[[Request], Begun] = want_body
    finish_with: Callable[[Request], Finished] = echo
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def begin(self, request: Request) -> Begun:
        self.begun.append(request.path)
        return self.begin_with(request)

    def finish(self, request: Request) -> Finished:
        return self.finish_with(request)

    def end(self, request: Request) -> None:
        self.ended.append(request.path)


class Client:
    """A connection that sends and reads bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers by lower-case name, body."""
        async with asyncio.timeout(PATIENCE_S):
            raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape")
            first, *lines = raw.removesuffix("\r\n\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = b""
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readline()
            elif not head and "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            return int(first.split()[1]), headers, body

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    def reset(self) -> None:
        """Leave so that the server's system knows that nothing can be sent any more."""
        own = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Server:
    """A listener and its script."""

    def __init__(self, script: Script, listener: Listener, port: int) -> None:
        self.script = script
        self.listener = listener
        self.port = port
        self._clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def ask(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, and read until the server closes."""
        client = await self.client()
        client.send(data)
        return await client.rest()

    async def close_clients(self) -> None:
        for client in self._clients:
            await client.close()


@asynccontextmanager
async def serving(
    script: Script | None = None,
    *,
    body_bytes_max: int = 64 * MIB,
    idle_s: float = 30.0,
    connections_max: int = 100,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """A listener for the time of a test. Every request must have been ended when it is over."""
    script = script or Script()
    counters = Counters()
    listener = Listener(
        lambda request: script,
        counters,
        BodyPool(),
        body_bytes_max=body_bytes_max,
        idle_s=idle_s,
        connections_max=connections_max,
    )
    server = Server(script, listener, await listener.start("127.0.0.1", 0, tls))
    try:
        yield server
    finally:
        await server.close_clients()
        await listener.stop(PATIENCE_S)
    assert sorted(script.begun) == sorted(script.ended)
    assert counters.connections == 0
    assert set(counters.running.values()) <= {0}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110, what is waited for are states of several parts
            await asyncio.sleep(0.002)


def later(response: Response, *, after: asyncio.Event) -> Coroutine[Any, Any, Response]:
    """An answer that comes when an event is set."""

    async def wait() -> Response:
        await after.wait()
        return response

    return wait()
