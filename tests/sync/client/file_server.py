"""A server of files that does what a test tells it: one coroutine per request, real sockets."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

COMMON = {"X-Protocol-Version": "1", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}


@dataclass
class Call:
    """One request on its way in; the body is read when the test asks for it."""

    method: str
    target: str
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def body(self) -> bytes:
        return await self.reader.readexactly(int(self.headers["content-length"]))

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer with the common headers, and others whose names have `_` for `-`."""
        named = COMMON | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status} Some Words", *(f"{name}: {value}" for name, value in named.items())]
        if not {"content-length", "transfer-encoding"} & {name.lower() for name in named}:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if self.method == "HEAD" else body))
        await self.writer.drain()

    async def refuse(
        self, status: int, error: str, *, hang_up: bool = False, drained_bytes: int = 64 * 1024 * 1024
    ) -> None:
        """Answer with an error; then hang up, if asked to, after reading on for at most so many bytes."""
        body = json.dumps({"error": error}).encode()
        more = {"Connection": "close"} if hang_up else {}
        await self.answer(status, body, Content_Type="application/json", **more)
        while hang_up and drained_bytes > 0 and (piece := await self.reader.read(64 * 1024)):
            drained_bytes -= len(piece)
        if hang_up:
            raise EOFError


Act = Callable[[Call], Awaitable[None]]


@dataclass
class FileServer:
    """What was asked, and where it listens."""

    url: str = ""
    connections: int = 0
    calls: list[Call] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tokens(self) -> list[str]:
        return [call.headers["authorization"].removeprefix("Bearer ") for call in self.calls]


@asynccontextmanager
async def file_server(act: Act, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[FileServer]:
    """Serve until the block is left. When `act` raises `EOFError`, the connection is closed."""
    server = FileServer()
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            while True:
                call = await _call(reader, writer)
                server.calls.append(call)
                server.called.set()
                await act(call)
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    scheme = "ws" if tls is None else "wss"
    server.url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/api/v1/ws"
    try:
        yield server
    finally:
        listening.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Call(method, target, headers, reader, writer)
