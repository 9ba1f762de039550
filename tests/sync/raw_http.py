"""HTTP by hand: exact bytes out, whole responses in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp
from uvicorn import Config, Server

from less_sync.bins.listening import bound_address, open_listeners
from less_sync.bins.settings.parts import ListenAddress
from less_sync.sync.http.http1 import HttpProtocol

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Response:
    """One response; header names are lower case, the order is kept."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The only value of a header, or None."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, values
        return values[0] if values else None


@dataclass(slots=True)
class Connection:
    """One TCP connection, kept alive between requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)

    async def receive(self, *, body: bool = True) -> Response:
        """Read one response; without its body for HEAD and 101."""
        async with asyncio.timeout(TIMEOUT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = [
                (name.lower(), value) for name, _, value in (line.partition(": ") for line in head[1:-2])
            ]
            length = int(dict(headers).get("content-length", 0)) if body else 0
            return Response(int(head[0].split()[1]), headers, await self.reader.readexactly(length))

    async def request(self, method: str, target: str, headers: str = "") -> Response:
        """Send one request without a body; `headers` are whole lines, each ended by CRLF."""
        self.send(f"{method} {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode("latin-1"))
        return await self.receive(body=method != "HEAD")

    async def ended(self) -> bytes:
        """What still comes until the server closes the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection to a loopback port, closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def fetch(port: int, method: str, target: str, headers: str = "") -> Response:
    """One request on a connection of its own."""
    async with connected(port) as connection:
        return await connection.request(method, target, headers)


class _Server(Server):
    def install_signal_handlers(self) -> None:
        """Install none: the test process keeps its own."""


@asynccontextmanager
async def served(
    app: ASGIApp, *, protocol: type[HttpProtocol] = HttpProtocol, keep_alive_s: float = 75
) -> AsyncIterator[int]:
    """Serve an application on a free loopback port; yields the port."""
    listeners = open_listeners(ListenAddress("127.0.0.1", 0))
    config = Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    config.timeout_keep_alive = keep_alive_s  # type: ignore[assignment]  # a fraction does as well
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=listeners))
    try:
        yield bound_address(listeners[0]).port
    finally:
        server.should_exit = True
        await serving
