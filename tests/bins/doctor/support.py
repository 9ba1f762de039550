"""What the tests of checks share."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate

from less_sync.bins.doctor.findings import Finding, State

OK, WARNING, FAILED, NONE = State.OK, State.WARNING, State.FAILED, State.NOT_APPLICABLE


def states(found: Sequence[Finding]) -> dict[str, State]:
    return {one.check: one.state for one in found}


def the(found: Sequence[Finding], check: str) -> Finding:
    [one] = [one for one in found if one.check == check]
    return one


def http(body: bytes, *, status: str = "200 OK", date_s: float | None = None, more: str = "") -> bytes:
    """A whole answer, with a `Date` so far from now."""
    date = "" if date_s is None else f"Date: {formatdate(time.time() + date_s, usegmt=True)}\r\n"
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{date}{more}Connection: close\r\n\r\n".encode()
        + body
    )


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A server on a loopback port that gives everybody this answer; None: it never answers."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if answer is None:
                await ended.wait()
                return
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked went away
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            ended.set()
