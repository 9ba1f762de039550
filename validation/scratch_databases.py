"""Databases that a run makes and drops: `lsv_RUN_NUMBER` (docs/validation.md 3.3).

One that a crashed run left is dropped by the next run once it is a day old and nobody is connected. Postgres
does not know when a database was made, so that stands in its comment.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from less_sync.validation.outcome import Blocked, Broken

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PREFIX: Final = "lsv_"
NAME: Final = "^lsv_[0-9a-f]{8}_[0-9]+$"
NONE: Final[Mapping[str, str]] = MappingProxyType({})
MARK: Final = "less-sync validate, made "
STALE: Final = timedelta(hours=24)
TAKEN_MAX: Final = 100
"""Names that are tried."""
CONNECT_S: Final = 10.0
CLOSE_S: Final = 5.0
CREATE_S: Final = 600.0
"""For a copy of a large database."""
ASK_S: Final = 30.0
"""For everything else: a server that was stopped must not stop the run."""
LOST: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What becomes of a query when its server is gone, or takes too long (TimeoutError)."""

_LEFT_OVER: Final = """
SELECT d.datname AS name, shobj_description(d.oid, 'pg_database') AS made, now() AS now
FROM pg_database d
WHERE d.datname ~ $1 AND pg_has_role(d.datdba, 'MEMBER')
AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)
ORDER BY 1"""


@dataclass(slots=True)
class ScratchDatabases:
    """Those of one run. Use `scratch_databases`."""

    admin: Connection
    url: str = field(repr=False)
    prefix: str
    made: list[str] = field(default_factory=list)
    count: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def url_of(self, name: str) -> str:
        """The URL of one of them."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    async def create(self, template: str = "template0") -> str:
        """Make one, as a copy of another that nobody is connected to; return its name.

        Raises:
            Blocked: `disk`.
            Broken: `scratch-database`, it cannot be made.
        """
        async with self._lock:
            for _ in range(TAKEN_MAX):
                self.count += 1
                name = f"{self.prefix}{self.count}"
                # Before it is there: whatever happens then, it is dropped in the end.
                self.made.append(name)
                try:
                    async with asyncio.timeout(CREATE_S):
                        await self.admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
                        await self._mark(name, await self.admin.fetchval("SELECT now()"))
                except asyncpg.DuplicateDatabaseError:
                    # A run of the same id crashed, or goes on: it is not this one's.
                    self.made.remove(name)
                    continue
                except asyncpg.DiskFullError:
                    raise Blocked("disk") from None
                except LOST as error:
                    told = f"the Postgres of scratch makes no database: {error or type(error).__name__}"
                    raise Broken("scratch-database").saying(told) from None
                return name
        raise Broken("scratch-database").saying(f"{TAKEN_MAX} names of databases are taken")

    async def size_bytes(self, name: str) -> int:
        """How much room one takes. Raises Broken `scratch-database`."""
        try:
            async with self._lock, asyncio.timeout(ASK_S):
                return int(await self.admin.fetchval("SELECT pg_database_size($1::name)", name))
        except LOST as error:
            told = f"the Postgres of scratch does not answer: {error or type(error).__name__}"
            raise Broken("scratch-database").saying(told) from None

    async def drop(self, name: str) -> None:
        """Remove one, whoever is connected to it. What cannot be removed is tried once more at the end."""
        async with self._lock:
            with suppress(*LOST):
                async with asyncio.timeout(ASK_S):
                    await self._dropped(self.admin, name)
                self.made.remove(name)

    async def drop_all(self) -> None:
        """Remove all that are left, over a connection of its own: the other may be busy still.

        What stands in `made` afterwards could not be removed.
        """
        if not self.made:
            return
        with suppress(Broken, *LOST):
            async with asyncio.timeout(ASK_S):
                async with connected(self.url) as connection:
                    for name in list(self.made):
                        await self._dropped(connection, name)
                        self.made.remove(name)

    async def drop_left_over(self) -> list[str]:
        """Remove what crashed runs left more than a day ago; return the names.

        One without a moment in its comment gets the present one, so that it goes in a day.
        """
        gone = []
        for row in await self.admin.fetch(_LEFT_OVER, NAME):
            made = _moment(row["made"])
            with suppress(asyncpg.PostgresError):  # somebody connected meanwhile
                if made is None:
                    await self._mark(row["name"], row["now"])
                elif row["now"] - made > STALE:
                    await self.admin.execute(f'DROP DATABASE "{row["name"]}"')
                    gone.append(str(row["name"]))
        return gone

    async def _mark(self, name: str, moment: datetime) -> None:
        text = f"{MARK}{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        await self.admin.execute(f"COMMENT ON DATABASE \"{name}\" IS '{text}'")

    @staticmethod
    async def _dropped(connection: Connection, name: str) -> None:
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        except asyncpg.InsufficientPrivilegeError:
            # An autovacuum worker is at it, which a plain DROP asks to leave.
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}"')


def _moment(comment: str | None) -> datetime | None:
    if comment is None or not comment.startswith(MARK):
        return None
    try:
        return datetime.strptime(comment[len(MARK) :], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


@asynccontextmanager
async def scratch_databases(url: str, run_id: bytes) -> AsyncIterator[ScratchDatabases]:
    """Make databases on this server for the block; all of them are dropped behind it.

    Raises:
        Blocked: `scratch`, it cannot be connected to.
    """
    try:
        admin = await asyncpg.connect(
            url,
            timeout=CONNECT_S,
            statement_cache_size=0,
            server_settings={"application_name": "less-sync-validate"},
        )
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Blocked("scratch", "database").saying(_refused(error)) from None
    databases = ScratchDatabases(admin, url, f"{PREFIX}{run_id.hex()[:8]}_")
    try:
        with suppress(*LOST):
            async with asyncio.timeout(CREATE_S):
                await databases.drop_left_over()
        yield databases
    finally:
        try:
            await databases.drop_all()
        finally:
            await closed(admin)


@asynccontextmanager
async def connected(url: str, *, settings: Mapping[str, str] = NONE) -> AsyncIterator[Connection]:
    """A connection to a scratch database, for the block.

    Raises:
        Broken: `database-gone`, nobody answers there.
    """
    try:
        connection = await asyncpg.connect(
            url, timeout=CONNECT_S, statement_cache_size=0, server_settings=dict(settings)
        )
    except LOST as error:
        raise Broken("database-gone").saying(_refused(error)) from None
    try:
        yield connection
    finally:
        await closed(connection)


def _refused(error: Exception) -> str:
    """Why nobody is let in, without the address, which is the operator's: it may be in an error's text."""
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        why = error.strerror or type(error).__name__
        why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else why
    elif isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        why = str(error)
    else:
        why = f"no answer, or no URL of a Postgres ({type(error).__name__})"
    return f"the Postgres of scratch lets nobody in: {why}"


async def closed(connection: Connection) -> None:
    """Close it in a bounded time. Its own limit does not hold for a server that was stopped."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await connection.close()
    except LOST:
        connection.terminate()
