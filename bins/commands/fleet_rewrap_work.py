"""What `fleet rewrap` does once its line is read: needs the libraries of the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from less_sync.bins.errors import CommandError
from less_sync.bins.fleet_keys import kept_secret_key
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.private import private_postgres
from less_sync.bins.settings.fleet import SealedSettings
from less_sync.client.kept_key import KeyFileError
from less_sync.fleet.database import Database
from less_sync.fleet.store.sealed import Rewrapped, rewrap
from less_sync.storage import StorageError


def rewrap_all(settings: SealedSettings) -> Rewrapped:
    """Seal all secrets of the database with the key.

    Raises:
        CommandError: there is no database or key, or the database refused.
    """
    try:
        return asyncio.run(_rewrap(settings))
    except (EmbeddedPostgresError, KeyFileError) as error:
        raise CommandError(str(error)) from error
    except StorageError as error:
        raise CommandError(f"database error: {str(error).removeprefix('database error: ')}") from error


async def _rewrap(settings: SealedSettings) -> Rewrapped:
    async with _database(settings) as url:
        key, *previous = settings.secret_keys
        database = await Database.open(url, schema=settings.schema, connections_max=1)
        try:
            return await rewrap(
                database, key or kept_secret_key(settings.data_dir), previous[0] if previous else None
            )
        finally:
            await database.aclose(5.0)


@asynccontextmanager
async def _database(settings: SealedSettings) -> AsyncIterator[str]:
    if settings.database_url is not None:
        yield settings.database_url
        return
    if not EmbeddedPostgres.exists(settings.data_dir):
        raise CommandError("DATABASE_URL is not set")
    async with private_postgres(settings.data_dir) as url:
        yield url
