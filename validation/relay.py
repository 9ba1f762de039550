"""One loopback address that leads to whichever server is in service: what clients see of a switch."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

ADDRESS: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 * 1024
CONNECT_S: Final = 5.0


class Relay:
    """Forwards bytes; use `relay`. Without a server in service connections are ended as they come."""

    def __init__(self) -> None:
        self._to: int | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{ADDRESS}:{self.port}"

    async def lead_to(self, port: int | None) -> None:
        """From now on connections go there; those that are open are cut, without a close frame."""
        self._to = port
        cut = list(self._open)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if self._to is not None:
                await self._forward(self._to, reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # cut on purpose, or there is nobody any more
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _forward(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(CONNECT_S):
            far_reader, far_writer = await asyncio.open_connection(ADDRESS, port)
        ways = [
            asyncio.ensure_future(_copied(reader, far_writer)),
            asyncio.ensure_future(_copied(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            # What the server said last is on its way still.
            await asyncio.wait(ways, timeout=1.0)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.transport.abort()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.write_eof()


@asynccontextmanager
async def relay() -> AsyncIterator[Relay]:
    """An address on a free loopback port, for the block."""
    made = Relay()
    server = await asyncio.start_server(made.take, ADDRESS, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await asyncio.shield(made.lead_to(None))
