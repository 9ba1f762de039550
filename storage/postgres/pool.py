"""Connections to PostgreSQL: one pool, and connections of their own for the lanes (docs/storage.md 8).

Nothing that uses a pooled connection leaves session state behind (no LISTEN, no session lock, no SET outside
a transaction), so asyncpg's reset on release, a round trip per use, is switched off. Every connection is
warmed when it opens: asyncpg would otherwise spend about seven round trips on look-ups at the first push.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import asyncpg

from less_sync.storage.counts import PoolCounts
from less_sync.storage.errors import REPEATABLE, StorageError, Unavailable, translate
from less_sync.storage.postgres.place import place_of, reason_of
from less_sync.storage.queries import sql

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    PooledConnection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PooledConnection

T = TypeVar("T")

Connect: TypeAlias = Any  # the driver types what it takes here as a private, generic protocol
"""Opens a connection: `asyncpg.connect`, or what stands in for it."""

CHANCE: Final = random.SystemRandom()

SESSION_SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "less-sync",
    # Day arithmetic follows the session's zone across a change of daylight saving.
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "extra_float_digits": "2",
    "default_transaction_isolation": "read committed",
    # A plan made while a table was empty stays with the session: never let it be a scan of the whole table,
    # nor, for a pull, anything but a walk along the index that already has the order.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_incremental_sort": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    # A host that lost its power closes no connection: its locks would stay for hours.
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}
"""What every connection sets at its start, unless the database URL names it too."""

_COMMAND_TIMEOUT_S: Final = 40.0  # beyond statement_timeout: ends the wait when the network swallows answers
_CONNECT_TIMEOUT_S: Final = 5.0
_IDLE_LIFETIME_S: Final = 600.0
_ATTEMPTS: Final = 3
_NIL: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Special:
    """What the connections of a pool do differently from those of a server's own."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the session, on top of `SESSION_SETTINGS`."""
    warm_up: "Callable[[Connection], Coroutine[Any, Any, None]] | None" = None
    """Runs on each when it opens; None: the hot statements of a server."""
    command_timeout_s: float = _COMMAND_TIMEOUT_S
    """After which a statement that gets no answer has failed."""


class PostgresPool:
    """At most `max_connections` connections, opened as they are needed.

    After an outage of the database the next use opens a new connection; meanwhile every use fails with
    `Unavailable`, at once when the database refuses, after `acquire_timeout_s` at the latest.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        url: str,
        *,
        max_connections: int,
        acquire_timeout_s: float,
        connect: Connect = asyncpg.connect,
        chance: random.Random = CHANCE,
    ) -> None:
        self._pool = pool
        self._url = url
        self._place = place_of(url)
        self._connect = connect
        self.chance = chance
        """Where pauses before another attempt get their spread from."""
        self.acquire_timeout_s = acquire_timeout_s
        self.max_connections = max_connections
        self.counts = PoolCounts()
        """Who waits, and how often none was had since the start."""

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._pool.get_size()

    @property
    def in_use(self) -> int:
        """How many of them are lent."""
        return self._pool.get_size() - self._pool.get_idle_size()

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        max_connections: int = 10,
        connect_timeout_s: float = 15.0,
        connect_pause_s: float = 1.0,
        acquire_timeout_s: float = 10.0,
        connect: Connect = asyncpg.connect,
        chance: random.Random = CHANCE,
        special: "Special | None" = None,
    ) -> Self:
        """Connect once, trying again every `connect_pause_s` for `connect_timeout_s`.

        Args:
            url: as asyncpg takes it; a setting that it names, as in `?lock_timeout=1s`, wins over ours.
            connect: opens a connection as `asyncpg.connect` does; those of the lanes too.
            special: for a pool that is not for everything a server does.
            chance: spreads the pauses before another attempt.

        Raises:
            Unavailable: the database did not let us in within `connect_timeout_s`.
            StorageError: it refused for good (password, unknown database), or the schema is not migrated.
        """
        deadline = asyncio.get_running_loop().time() + connect_timeout_s
        while True:
            pool = _create_pool(url, max_connections, connect, special or Special())
            try:
                await pool
            except Exception as error:
                failed = _not_connected(place_of(url), error)
                remaining = deadline - asyncio.get_running_loop().time()
                if not isinstance(failed, Unavailable) or remaining <= 0:
                    raise failed from error
                await asyncio.sleep(min(connect_pause_s, remaining))
            else:
                return cls(
                    pool,
                    url,
                    max_connections=max_connections,
                    acquire_timeout_s=acquire_timeout_s,
                    connect=connect,
                    chance=chance,
                )

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[PooledConnection]":
        """Lend a connection. What the block raises is not translated.

        Raises:
            Unavailable: none became free, or none could be opened, in time.
        """
        counts = self.counts
        counts.waiting += 1
        try:
            async with asyncio.timeout(self.acquire_timeout_s) as waiting:
                con = await self._pool.acquire()
        except Exception as error:
            counts.failed += 1
            if waiting.expired():
                text = f"no connection to {self._place} became free within {self.acquire_timeout_s:g} s"
                raise Unavailable(text) from error
            raise _not_connected(self._place, error) from error
        finally:
            counts.waiting -= 1
        try:
            yield con
        except asyncpg.InternalClientError:
            con.terminate()  # the driver lost track of the connection, as when the server ends it just then
            raise
        finally:
            # A release that fails has ended the connection; what the block did stands all the same.
            with suppress(Exception):
                await self._pool.release(con, timeout=self.acquire_timeout_s)

    async def run(self, work: "Callable[[Connection], Awaitable[T]]") -> T:
        """Do `work` on a connection: one statement in autocommit.

        Repeated up to three times, with a pause of 10-50 ms, when the server reports a serialisation failure
        or a deadlock, or when the connection was found closed before anything was sent. A connection lost
        later is an error: the outcome is unknown.

        Raises:
            Unavailable: no connection in time, or the connection was lost.
            StorageError: the database refused.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self.connection() as con:
                    return await work(con)
            except Exception as error:
                if attempt == _ATTEMPTS or not _may_repeat(error):
                    raise translate(error) from error
            await asyncio.sleep(self.chance.uniform(0.01, 0.05))
        raise AssertionError("the last attempt returns or raises")

    async def fetch(self, name: str, *args: object) -> list[asyncpg.Record]:
        """Run a named query as `run` does and return its rows."""
        text = sql(name)
        return await self.run(lambda con: con.fetch(text, *args))

    async def open_connection(self, settings: Mapping[str, str]) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a warmed connection beyond the pool, with `settings` on top of the session's.

        Raises:
            Unavailable: the database did not let us in.
            StorageError: it refused.
        """
        try:
            return await _connect(self._connect, self._url, settings)
        except Exception as error:
            raise _not_connected(self._place, error) from error

    async def aclose(self, timeout_s: float) -> None:
        """Close every connection; those still in use after `timeout_s` are cut."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()


def _not_connected(place: str, error: Exception) -> StorageError:
    """The storage error for a connection that was not made, which says where to and why not."""
    failed = translate(error)
    text = f"cannot connect to {place}: {reason_of(error)}"
    if isinstance(failed, Unavailable):
        return Unavailable(text, sqlstate=failed.sqlstate)
    return StorageError(text, sqlstate=failed.sqlstate, constraint=failed.constraint)


def _may_repeat(error: Exception) -> bool:
    """Nothing was done: the server undid it, or the driver found the connection closed before sending."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate in REPEATABLE
    return isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)


def _create_pool(
    url: str, max_connections: int, connect: Connect, special: Special
) -> "asyncpg.Pool[asyncpg.Record]":
    return asyncpg.create_pool(
        url,
        min_size=0,
        init_size=1,
        max_size=max_connections,
        max_inactive_connection_lifetime=_IDLE_LIFETIME_S,
        max_cached_statement_lifetime=0,  # 0: for ever; the default prepares again every five minutes
        connect=connect,
        timeout=_CONNECT_TIMEOUT_S,
        command_timeout=special.command_timeout_s,
        server_settings={**session_settings(url), **special.settings},
        init=special.warm_up or _warm_up,
        reset=_no_reset,
    )


async def _connect(
    connect: Connect, url: str, extra: Mapping[str, str]
) -> "asyncpg.Connection[asyncpg.Record]":
    con: asyncpg.Connection[asyncpg.Record] = await connect(
        url,
        timeout=_CONNECT_TIMEOUT_S,
        command_timeout=_COMMAND_TIMEOUT_S,
        max_cached_statement_lifetime=0,
        server_settings={**session_settings(url), **extra},
    )
    try:
        await _warm_up(con)
    except BaseException:
        con.terminate()
        raise
    return con


def session_settings(url: str) -> dict[str, str]:
    """The settings of a session, less those that the URL names: asyncpg would let ours win."""
    named = {name.lower() for name, _ in parse_qsl(urlsplit(url).query)}
    return {name: value for name, value in SESSION_SETTINGS.items() if name.lower() not in named}


async def _no_reset(_con: "Connection") -> None:
    """Leave the session as it is (module docstring)."""


async def _warm_up(con: "Connection") -> None:
    """Run the hot statements in ways that touch no row, so that they and their types are prepared."""
    await con.fetch(sql("push_batch"), *([[]] * 13))
    await con.fetch(sql("get_spaces"), [])
    await con.fetch(sql("pull_first"), _NIL, 0, 1, 0)
