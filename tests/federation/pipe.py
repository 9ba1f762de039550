"""A pipe to a server that a test owns: it carries bytes of any protocol, counts them, breaks when told."""

import asyncio
import ssl
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

PIECE_BYTES: Final = 64 * 1024


class Pipe:
    """Listens on a loopback port, and leads every connection to `target`.

    Args:
        tls: what it shows to whoever connects; the way to the target is plain.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.target: tuple[str, int] | None = None
        """None: whoever connects is cut off."""
        self.down_bytes = 0
        """Carried from the target so far."""
        self.up_bytes = 0
        self._tls = tls
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks)

    @property
    def url(self) -> str:
        """What a peer is told to dial."""
        return f"{'ws' if self._tls is None else 'wss'}://127.0.0.1:{self.port}/api/v1/federation/ws"

    @property
    def open(self) -> int:
        """Connections that whoever connected holds just now."""
        return len(self._open)

    def cut(self) -> None:
        """Drop all connections."""
        for writer in self._open:
            writer.transport.abort()

    async def until(self, open: int) -> None:
        """Wait until just so many connections are open."""
        async with asyncio.timeout(30):
            while self.open != open:
                self._changed.clear()
                await self._changed.wait()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.target is not None:
                with suppress(OSError, ssl.SSLError):
                    await self._both_ways(reader, writer, *await asyncio.open_connection(*self.target))
        finally:
            writer.transport.abort()
            self._open.discard(writer)
            self._changed.set()

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_target: asyncio.StreamReader,
        to_target: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(self._pump(reader, to_target, down=False)),
            asyncio.create_task(self._pump(from_target, writer, down=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_target.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, down: bool) -> None:
        while data := await source.read(PIECE_BYTES):
            if down:
                self.down_bytes += len(data)
            else:
                self.up_bytes += len(data)
            sink.write(data)
            await sink.drain()
        await sink.drain()
