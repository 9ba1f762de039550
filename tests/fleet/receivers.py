"""Receivers of webhooks: real servers on a loopback port that answer, or misbehave, as they are told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Final

from less_sync.fleet.webhooks.sending import tcp

LOOPBACK: Final = (ip_network("127.0.0.0/8"),)
HEAD_BYTES_MAX: Final = 64 * 1_024


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    line: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request; the connection is closed behind it."""


def answering(status: int, *headers: str, body: bytes = b"") -> Behaviour:
    """One answer, always the same."""

    async def answer(_request: Received, writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(head).encode() + body)
        await writer.drain()

    return answer


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Each behaviour once, the last one for ever."""
    left = list(behaviours)

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return answer


async def silent(_request: Received, _writer: asyncio.StreamWriter) -> None:
    """Read the request and answer nothing, for as long as the other side stays."""
    await asyncio.Event().wait()


async def closing(_request: Received, _writer: asyncio.StreamWriter) -> None:
    """Read the request and hang up."""


async def babbling(_request: Received, writer: asyncio.StreamWriter) -> None:
    """Answer with something that is no HTTP."""
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await writer.drain()


async def slow_body(_request: Received, writer: asyncio.StreamWriter) -> None:
    """Begin a good answer and never end it."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
    await writer.drain()
    await asyncio.Event().wait()


async def endless_body(_request: Received, writer: asyncio.StreamWriter) -> None:
    """A good answer that has no end."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"x" * 0x400 + b"\r\n")
        await writer.drain()


async def endless_head(_request: Received, writer: asyncio.StreamWriter) -> None:
    """Interim answers without an end (RFC 9110 15.2)."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" * 64)
        await writer.drain()


@dataclass(slots=True)
class Receiver:
    """What came to one server, and how it answers what comes next."""

    port: int = 0
    behaviour: Behaviour = field(default_factory=lambda: answering(204))
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    reads: bool = True
    """False: hangs up before reading anything."""
    scheme: str = "http"
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    something: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where it listens, by address."""
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    async def came(self, count: int, *, within_s: float = 10) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(within_s):
            while len(self.received) < count:
                self.something.clear()
                await self.something.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            try:
                if self.reads:
                    request = await _read(reader)
                    self.received.append(request)
                    self.something.set()
                    await self.behaviour(request, writer)
            finally:
                self.tasks.discard(task)
                writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    pairs = (text.split(": ", 1) for text in lines)
    headers = {name.lower(): value for name, value in pairs}
    return Received(line, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def receiver(
    behaviour: Behaviour | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A server while the block lasts; by default it answers 204."""
    one = Receiver(scheme="https" if tls else "http")
    if behaviour is not None:
        one.behaviour = behaviour
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=tls, limit=HEAD_BYTES_MAX)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        tasks = list(one.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Names:
    """A resolver that is told what to say: each answer once, the last one for ever; it notes who asks."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        if not self.answers:
            raise OSError("no such name")
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@dataclass(slots=True)
class Wire:
    """Notes which address is dialled, and connects to a server of this test instead; some answer nobody."""

    port: int
    dead: frozenset[str] = frozenset()
    dialled: list[str] = field(default_factory=list)

    async def __call__(
        self, address: str, _port: int, tls: ssl.SSLContext | None, name: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.dialled.append(address)
        if address in self.dead:
            raise TimeoutError
        return await tcp("127.0.0.1", self.port, tls, name)
