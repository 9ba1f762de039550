"""A fleet plane as a reporter sees it: a server on a real socket, which misbehaves when it is told to."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

WAIT_S: Final = 20.0
AGENT: Final = "6f1b1a52-6a3c-4f0e-9d6e-0d6a4f1f2a33"
REGISTER: Final = "/management/v1/agents/register"
HEARTBEAT: Final = f"/management/v1/agents/{AGENT}/heartbeat"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def credential(self) -> str:
        return self.headers["authorization"].removeprefix("Bearer ")


Behaviour = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


async def write(writer: asyncio.StreamWriter, status: int, body: bytes, *lines: str) -> None:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Content-Type: application/json", *lines]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    await writer.drain()


def status(number: int, *lines: str, body: bytes = b"{}") -> Behaviour:
    """Answer with a status."""

    async def answer(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        await write(writer, number, body, *lines)

    return answer


def says(**answer: Any) -> Behaviour:
    """Take a heartbeat, and answer so."""
    whole = {"status": "ok", "agent_status": "active", "heartbeat_interval_seconds": 60, "commands": []}
    return status(200, body=json.dumps(whole | answer).encode())


async def hang(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def hang_up(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""


async def babble(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Say what is no HTTP."""
    writer.write(b"\x00\xff SSH-2.0-stub\r\n\r\n")
    await writer.drain()


async def never_begin(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Send interim answers without end (RFC 9110 15.2)."""
    while True:
        writer.write(b"HTTP/1.1 100 X\r\n\r\n" * 1000)
        await writer.drain()


async def never_end(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Begin an answer that has no end."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()


@dataclass(slots=True)
class StubPlane:
    """Answers as a plane does, unless `next` says otherwise for requests to come."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    next: deque[Behaviour] = field(default_factory=deque)
    """One each for the next requests."""
    always: Behaviour | None = None
    """For all of them, when `next` is empty."""
    desired: dict[str, Any] = field(default_factory=lambda: {"state": "serving", "version": None})
    interval_s: int = 60
    tokens: list[str] = field(default_factory=list)
    """That were given out."""
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def beats(self) -> list[Any]:
        """The bodies of all heartbeats."""
        return [one.json for one in self.asked if one.target == HEARTBEAT]

    @property
    def registrations(self) -> list[Asked]:
        return [one for one in self.asked if one.target.startswith(REGISTER)]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is true of what was asked."""
        async with asyncio.timeout(WAIT_S), self._heard:
            await self._heard.wait_for(lambda: bool(condition()))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in head[1:-2])}
            asked = Asked(method, target, headers, await reader.readexactly(int(headers["content-length"])))
            behaviour = self.next.popleft() if self.next else self.always or self.usual
            self.asked.append(asked)
            async with self._heard:
                self._heard.notify_all()
            await behaviour(asked, writer)

    async def usual(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        """What a plane answers."""
        if asked.target == HEARTBEAT:
            told = says(desired=self.desired, heartbeat_interval_seconds=self.interval_s)
            await told(asked, writer)
            return
        assert asked.target.startswith(REGISTER), asked.target
        self.tokens.append(f"lsa_{uuid4().hex}")
        answer = {
            "agent_id": AGENT,
            "token": self.tokens[-1],
            "heartbeat_interval_seconds": self.interval_s,
            "server_time": "2026-01-01T00:00:00Z",
            "license": None,
        }
        await write(writer, 201, json.dumps(answer).encode())


@asynccontextmanager
async def stub_plane(*, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[StubPlane]:
    """A plane that listens on loopback."""
    plane = StubPlane()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await plane.serve(reader, writer)
            writer.close()
        finally:
            if not writer.is_closing():
                writer.transport.abort()
            connections.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls)
    try:
        bound = server.sockets[0].getsockname()[1]
        plane.url = f"{'https' if tls else 'http'}://127.0.0.1:{bound}"
        yield plane
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
