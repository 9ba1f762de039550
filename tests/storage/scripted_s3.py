"""A server that takes itself for S3 and does what a test tells it: refuses, waits, hangs up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

TAG = '"0123456789abcdef0123456789abcdef"'


@dataclass(frozen=True, slots=True)
class Request:
    """What came; header names are lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def step(self) -> str:
        """Which call of S3 this is, by its method and the names of its query."""
        return " ".join([self.method, *sorted(self.query)])


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


async def say(
    writer: asyncio.StreamWriter, status: int, body: bytes = b"", headers: dict[str, str] | None = None
) -> None:
    """Write one whole response."""
    lines = {"Content-Length": str(len(body)), "ETag": TAG} | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body)
    await writer.drain()


async def fail(writer: asyncio.StreamWriter, status: int, code: str) -> None:
    """Answer with an error of S3."""
    await say(writer, status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())


async def usual(request: Request, writer: asyncio.StreamWriter) -> None:
    """Take whatever is put, part by part too; there is nothing to read."""
    match request.step:
        case "POST uploads":
            await say(
                writer,
                200,
                b"<InitiateMultipartUploadResult><UploadId>an-upload</UploadId></InitiateMultipartUploadResult>",
            )
        case "POST uploadId":
            await say(
                writer,
                200,
                f"<CompleteMultipartUploadResult><ETag>{TAG}</ETag></CompleteMultipartUploadResult>".encode(),
            )
        case "DELETE" | "DELETE uploadId":
            await say(writer, 204)
        case "HEAD":
            await say(writer, 404)
        case "GET":
            await fail(writer, 404, "NoSuchKey")
        case _:
            await say(writer, 200)


@dataclass(slots=True)
class ScriptedS3:
    """Where it listens, what it was asked, and how it answers."""

    endpoint: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Answer = usual
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def steps(self) -> list[str]:
        """The calls, in order."""
        return [request.step for request in self.requests]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while not writer.is_closing():
                    request = await _read(reader)
                    self.requests.append(request)
                    await self.answer(request, writer)
        finally:
            writer.transport.abort()

    async def _aclose(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Request(method, parts.path, parse_qs(parts.query, keep_blank_values=True), headers, body)


@asynccontextmanager
async def scripted_s3() -> AsyncIterator[ScriptedS3]:
    """Run one on a free port."""
    script = ScriptedS3()
    server = await asyncio.start_server(script._accept, "127.0.0.1", 0, limit=1 << 20)
    script.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()
        await script._aclose()
