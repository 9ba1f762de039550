"""A network between one node and its NATS that a test takes away, silently, as where packets are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

READ_BYTES: Final = 65_536


class Gate:
    """Passes the bytes of every connection on, in both directions. Made by `gate`."""

    def __init__(self, port_behind: int) -> None:
        self._port_behind = port_behind
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.bytes = 0
        """Passed on so far."""

    @property
    def url(self) -> str:
        """For NATS_URL."""
        return f"nats://127.0.0.1:{self.port}"

    def part(self) -> None:
        """Let nothing through, and tell nobody: connections stay open and new ones are taken and not
        answered."""
        self._open.clear()

    def heal(self) -> None:
        """Let through what comes from now on. Connections that were there are cut: what they carried is
        lost."""
        for writer in self._writers:
            writer.transport.abort()
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the node."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        self._writers.add(writer)
        try:
            await self._open.wait()
            behind, into = await asyncio.open_connection("127.0.0.1", self._port_behind)
            ends.append(into)
            self._writers.add(into)
            ways = ((reader, into), (behind, writer))
            await asyncio.wait([asyncio.create_task(self._pass(*way)) for way in ways])
        except OSError:
            pass  # there is no NATS: the node sees the same
        finally:
            for end in ends:
                end.transport.abort()
            self._writers.difference_update(ends)
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._open.wait()
                if writer.transport.is_closing():
                    break
                writer.write(data)
                self.bytes += len(data)
                await writer.drain()
        writer.transport.abort()

    async def aclose(self) -> None:
        """Cut everything."""
        self.heal()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def gate(port_behind: int) -> AsyncIterator[Gate]:
    """A gate on a free loopback port, open at first."""
    made = Gate(port_behind)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.aclose()
