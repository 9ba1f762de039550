"""The plane's connections: a pool of its own, in a schema of its own.

The sessions of a sync server switch scans and sorting off, which suits its walks along indexes and nothing
that is asked here. So the plane shares no pool with one, though perhaps the database.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import asyncpg
import msgspec

from less_sync.fleet.queries import sql
from less_sync.storage import Unavailable, translate

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

Row: TypeAlias = asyncpg.Record

_SESSION: Final = {
    "application_name": "less-sync-fleet",
    "TimeZone": "UTC",
    "jit": "off",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}
_COMMAND_TIMEOUT_S: Final = 40.0
"""Beyond the statement's own limit: ends the wait when the network swallows answers."""
_CONNECT_TIMEOUT_S: Final = 5.0
_ACQUIRE_TIMEOUT_S: Final = 10.0
_IDLE_LIFETIME_S: Final = 600.0


class Database:
    """At most `connections_max` connections, opened as they are needed, each with the one schema in sight.

    All methods raise:
        Unavailable: no connection in time, or it was lost; what was sent may or may not have happened.
        StorageError: the database refused.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str, *, schema: str, connections_max: int) -> Self:
        """Connect once, so that a wrong URL is told at the start.

        Args:
            url: as asyncpg takes it. A `search_path` that it names does not count.
            schema: the whole search path of every session.
        """
        pool = asyncpg.create_pool(
            url,
            min_size=0,
            init_size=1,
            max_size=connections_max,
            max_inactive_connection_lifetime=_IDLE_LIFETIME_S,
            max_cached_statement_lifetime=0,  # 0: for ever; the default prepares again every five minutes
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            server_settings=_SESSION | {"search_path": _quoted(schema)},
            init=_read_json,
            reset=_no_reset,
        )
        try:
            await pool
        except Exception as error:
            raise translate(error) from error
        return cls(pool)

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[Connection]":
        """Lend a connection; every statement on it is a transaction of its own."""
        try:
            async with asyncio.timeout(_ACQUIRE_TIMEOUT_S):
                connection = await self._pool.acquire()
        except Exception as error:
            raise translate(error) from error
        try:
            yield connection
        except asyncpg.InternalClientError as error:
            connection.terminate()  # the driver lost track of the connection
            raise Unavailable from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise translate(error) from error
        finally:
            # A release that fails has ended the connection; what the block did stands all the same.
            with suppress(Exception):
                await self._pool.release(connection, timeout=_ACQUIRE_TIMEOUT_S)

    @asynccontextmanager
    async def transaction(self) -> "AsyncIterator[Connection]":
        """Lend a connection in a transaction, which commits when the block ends without an exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

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
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()


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


async def _read_json(connection: "asyncpg.Connection[asyncpg.Record] | Any") -> None:
    """Values of JSON go in and out as Python's; binary, so that no text is copied on the way."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda content: b"\x01" + msgspec.json.encode(content),
        decoder=lambda data: msgspec.json.decode(data[1:]),
    )


async def _no_reset(_connection: object) -> None:
    """Leave the session as it is: nothing that uses one leaves state behind, and a reset is a round trip."""
