"""Doors in front of Postgres that a test can shut: one in the network, one where the pool connects."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import asyncpg

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection


class Gate:
    """Forwards bytes both ways. `shut` cuts every connection and takes no new one until `unlock`.

    Between `silence` and `speak` connections stay, and nothing passes.
    """

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._query = {key: values[-1] for key, values in parse_qs(self._parts.query).items()}
        self._host = self._query.pop("host", self._parts.hostname or "localhost")
        self._port = self._parts.port or int(self._query.pop("port", "5432"))
        self._server: asyncio.Server | None = None
        self._port_here = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self.connected = asyncio.Event()
        """Set by the next connection; the test clears it."""
        self._passing = asyncio.Event()
        self._passing.set()

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator[Self]:
        gate = cls(url)
        await gate.unlock()
        try:
            yield gate
        finally:
            await gate.shut()

    @property
    def url(self) -> str:
        """The database's URL by way of the gate."""
        auth, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(
            self._parts._replace(
                netloc=f"{auth}{at}127.0.0.1:{self._port_here}", query=urlencode(self._query)
            )
        )

    async def unlock(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port_here)
        self._port_here = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def silence(self) -> None:
        self._passing.clear()

    def speak(self) -> None:
        self._passing.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.set()
        if self._host.startswith("/"):
            there = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            there = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, there[1]}
        await asyncio.gather(_copy(reader, there[1], self._passing), _copy(there[0], writer, self._passing))
        self._writers -= {writer, there[1]}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            await passing.wait()
            writer.write(data)
            await writer.drain()
    writer.close()


class Broken(BaseException):
    """What no code expects of a connection."""


class Breakable(_Connection):
    """A real connection that can be made to fail as no connection should."""

    broken = False

    async def fetch(self, *args: Any, **options: Any) -> Any:
        if self.broken:
            raise Broken
        return await super().fetch(*args, **options)


class Connector:
    """Opens real connections as `asyncpg.connect` does, keeps them, and refuses when the test says so."""

    def __init__(self) -> None:
        self.opened: list[Breakable] = []
        self.attempts = 0
        self.attempts_max: int | None = None
        """Further ones are refused."""

    async def __call__(self, *args: Any, **options: Any) -> Breakable:
        self.attempts += 1
        if self.attempts_max is not None and self.attempts > self.attempts_max:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
        con: Breakable = await asyncpg.connect(*args, **{**options, "connection_class": Breakable})
        self.opened.append(con)
        return con
