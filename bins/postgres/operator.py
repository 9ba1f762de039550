"""The database that a command of an operator works on: of a URL, or the private one of a data directory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from less_sync import migrations
from less_sync.bins.errors import CommandError
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.private import private_postgres
from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.migrations import MigrationError
from less_sync.storage import NOT_MIGRATED, FederationKeyNotFound, PostgresPool, SpaceNotFound, StorageError

CLOSE_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Database:
    """Which one: a URL, or else a data directory, whose Postgres is made if it is not there."""

    url: str | None = field(default=None, repr=False)
    data_dir: Path | None = None


def existing(url: str | None, data_dir: Path) -> Database:
    """The database of a URL, else the one in a data directory.

    Raises:
        CommandError: there is neither.
    """
    if url is not None:
        return Database(url)
    if not EmbeddedPostgres.exists(data_dir):
        raise CommandError(f"no database: set --database-url or DATABASE_URL; {data_dir} holds none")
    return Database(data_dir=data_dir)


def work_on(database: Database, work: Callable[[PostgresPool], Awaitable[T]], *, migrate: bool = True) -> T:
    """Connect, do `work`, and return its result. A private Postgres is migrated, a database of a URL must be.

    Args:
        migrate: False: a private one must be migrated, too; for what only reads.

    Raises:
        CommandError: the database cannot be used, or it failed.
    """
    try:
        return asyncio.run(_work_on(database, work, migrate=migrate))
    except (
        DatabaseUrlError,
        EmbeddedPostgresError,
        MigrationError,
        FederationKeyNotFound,
        SpaceNotFound,
    ) as error:
        raise CommandError(str(error)) from error
    except StorageError as error:
        if error.sqlstate in NOT_MIGRATED:
            text = "database error: its schema is not that of this release; `less-sync migrate` makes it so"
            raise CommandError(text) from error
        raise CommandError(f"database error: {str(error).removeprefix('database error: ')}") from error


async def _work_on(database: Database, work: Callable[[PostgresPool], Awaitable[T]], *, migrate: bool) -> T:
    async with _url_of(database, migrate=migrate) as url:
        pool = await PostgresPool.open(url, max_connections=CONNECTIONS_MAX)
        try:
            return await work(pool)
        finally:
            await pool.aclose(CLOSE_TIMEOUT_S)


@asynccontextmanager
async def _url_of(database: Database, *, migrate: bool) -> AsyncIterator[str]:
    if database.url is not None:
        yield driver_url(database.url)
        return
    assert database.data_dir is not None, "one of the two is named"
    async with private_postgres(database.data_dir) as url:
        if migrate:
            await migrations.migrate_up(url)
        yield url
