"""The plane's connections: a pool of its own, in a schema of its own.

The sessions of a sync server switch scans and sorting off, which suits its walks along indexes and nothing
that is asked here. So the plane shares no pool with one, though perhaps the database.

A statement that is cut off, by a time limit or a stop, ends its connection at once: the driver's pool would
first wait for the database to say that it gave up, which one that hangs never does.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import asyncpg
import msgspec
from asyncpg.transaction import Transaction

from less_sync.fleet.queries import sql
from less_sync.storage import translate

if TYPE_CHECKING:
    Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

Row: TypeAlias = asyncpg.Record

_SESSION: Final = {
    "application_name": "less-sync-fleet",
    "TimeZone": "UTC",
    "jit": "off",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    # Below the limit for locks: an instance that is stopped within a transaction, the trail's lock in hand,
    # lets the changes of the others wait and not fail.
    "idle_in_transaction_session_timeout": "5s",
    # What runs for a connection that was ended here ends soon, too.
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}
_COMMAND_TIMEOUT_S: Final = 40.0
"""Beyond the statement's own limit: ends the wait when the network swallows answers."""
_CONNECT_TIMEOUT_S: Final = 5.0
_ACQUIRE_TIMEOUT_S: Final = 10.0
_UNDO_S: Final = 0.5


class Database:
    """At most `connections_max` connections, opened as they are needed, each with the one schema in sight.

    All methods raise:
        Unavailable: no connection in time, or it was lost; what was sent may or may not have happened.
        StorageError: the database refused.
    """

    def __init__(self, url: str, *, schema: str, connections_max: int) -> None:
        self._url = url
        self._session = _SESSION | {"search_path": _quoted(schema)}
        self._room = asyncio.Semaphore(connections_max)
        self._free: list[Connection] = []
        """Those that nobody has. The last one is lent next: it was in use just now."""
        self._lent: set[Connection] = set()

    @classmethod
    async def open(cls, url: str, *, schema: str, connections_max: int) -> Self:
        """Connect once, so that a wrong URL is told at the start.

        Args:
            url: as asyncpg takes it. A `search_path` that it names does not count.
            schema: the whole search path of every session.
        """
        database = cls(url, schema=schema, connections_max=connections_max)
        async with database.connection():
            return database

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[Connection]":
        """Lend a connection; every statement on it is a transaction of its own."""
        await self._enter()
        try:
            connection = self._taken() or await self._connect()
        except BaseException:
            self._room.release()
            raise
        self._lent.add(connection)
        whole = False
        try:
            yield connection
            whole = True
        except asyncpg.PostgresError as error:
            whole = True  # the database has answered
            raise translate(error) from error
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise translate(error) from error
        except Exception:
            whole = True  # what the block did beside asking
            raise
        finally:
            self._lent.discard(connection)
            if whole and not connection.is_closed():
                self._free.append(connection)
            else:
                connection.terminate()
            self._room.release()

    @asynccontextmanager
    async def transaction(self) -> "AsyncIterator[Connection]":
        """Lend a connection in a transaction, which commits when the block ends without an exception.

        Whoever is cut off takes nothing back: the end of the connection does.
        """
        async with self.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                raise
            except Exception:
                await _undo(connection, transaction)
                raise
            await transaction.commit()

    async def fetch(self, name: str, *args: object) -> list[Row]:
        """The rows of a named query."""
        async with self.connection() as connection:
            return await connection.fetch(sql(name), *args)

    async def row(self, name: str, *args: object) -> Row | None:
        """The first row of a named query; None if it has none."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql(name), *args)

    async def value(self, name: str, *args: object) -> Any:
        """The first column of the first row of a named query; None if it has none."""
        async with self.connection() as connection:
            return await connection.fetchval(sql(name), *args)

    async def aclose(self, timeout_s: float) -> None:
        """Close every connection; those still in use after `timeout_s` are cut."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._free:
                    await self._free.pop().close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        for connection in [*self._free, *self._lent]:
            connection.terminate()
        self._free.clear()

    async def _enter(self) -> None:
        """Wait for room, at most `_ACQUIRE_TIMEOUT_S`."""
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(_ACQUIRE_TIMEOUT_S):
                await self._room.acquire()
        except TimeoutError as error:
            raise translate(error) from error

    def _taken(self) -> "Connection | None":
        """A connection that was open a moment ago."""
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> "Connection":
        connection = None
        try:
            connection = await asyncpg.connect(
                self._url,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=_COMMAND_TIMEOUT_S,
                max_cached_statement_lifetime=0,  # 0: for ever; else it is prepared again every five minutes
                server_settings=self._session,
            )
            await _read_json(connection)
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if isinstance(error, Exception):
                raise translate(error) from error
            raise
        return connection


async def _undo(connection: "Connection", transaction: Transaction) -> None:
    """Roll back; the end of the connection does it where the database does not answer soon."""
    try:
        async with asyncio.timeout(_UNDO_S):
            await transaction.rollback()
    except Exception:  # what the block raised is what is told
        connection.terminate()


async def rows(connection: "Connection", name: str, *args: object) -> Sequence[Row]:
    """The rows of a named query, within somebody's transaction."""
    return await connection.fetch(sql(name), *args)


async def row(connection: "Connection", name: str, *args: object) -> Row | None:
    """The first row of a named query, within somebody's transaction; None if it has none."""
    return await connection.fetchrow(sql(name), *args)


async def value(connection: "Connection", name: str, *args: object) -> Any:
    """The first column of the first row of a named query, within somebody's transaction."""
    return await connection.fetchval(sql(name), *args)


async def execute(connection: "Connection", name: str, *args: object) -> int:
    """How many rows a named statement without a result concerned, within somebody's transaction."""
    status = await connection.execute(sql(name), *args)
    return int(status.rpartition(" ")[2])


def _quoted(name: str) -> str:
    """A name as an identifier of SQL, which a search path consists of."""
    return '"' + name.replace('"', '""') + '"'


async def _read_json(connection: "Connection") -> None:
    """Values of JSON go in and out as Python's; binary, so that no text is copied on the way."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda content: b"\x01" + msgspec.json.encode(content),
        decoder=lambda data: msgspec.json.decode(data[1:]),
    )
