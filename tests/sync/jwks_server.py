"""A key set server on loopback that answers exactly as a test tells it, byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType

import httpx

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def response(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """An HTTP response as it goes over the wire."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


def serving(body: bytes, *, status: str = "200 OK", headers: str = "") -> Answer:
    """An answer of always the same bytes."""

    async def answer(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body, status=status, headers=headers))

    return answer


def redirecting(*locations: str, then: Answer) -> Answer:
    """An answer that redirects to each location in turn and then gives way to another."""
    ahead = list(locations)

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if ahead:
            location = ahead.pop(0)
            writer.write(response(b"", status="302 Found", headers=f"Location: {location}\r\n"))
        else:
            await then(path, writer)

    return answer


class Gate:
    """An answer that waits until it is opened; `reached` says that a request is waiting."""

    def __init__(self, then: Answer) -> None:
        self.then = then
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, path: str, writer: asyncio.StreamWriter) -> None:
        self.reached.set()
        await self.opened.wait()
        await self.then(path, writer)


class JwksServer:
    """The server; `hits` are the request lines and headers it got."""

    def __init__(self, answer: Answer, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.hits: list[str] = []
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the key set is."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/keys"

    async def __aenter__(self) -> "JwksServer":
        await self.start()
        return self

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.hits.append(head)
                await self.answer(head.split(" ")[1], writer)
                await writer.drain()
        finally:
            self._serving.discard(task)
            writer.close()


@asynccontextmanager
async def http_client(verify: ssl.SSLContext | bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client that no proxy of the environment gets between."""
    async with httpx.AsyncClient(trust_env=False, verify=verify) as client:
        yield client


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
