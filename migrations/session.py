"""The two ways to be connected: holding the migration lock, or only looking.

What goes wrong outside a script is worded here; what is wrong with a script, where it runs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from less_sync.migrations import history, schema
from less_sync.migrations.catalog import Catalog
from less_sync.migrations.connection import Connection, close, connect, migration_lock
from less_sync.migrations.errors import refused, worded
from less_sync.migrations.half_restored import refuse_half_restored
from less_sync.migrations.history import History


@asynccontextmanager
async def session(url: str, *, lock_wait_s: float) -> AsyncIterator[Connection]:
    """A connection that holds the migration lock: one migrator per database at a time.

    Raises:
        MigrationError: no connection, the lock is not to be had, a restore has not finished, or the database
            refused a statement.
    """
    connection = await connect(url)
    try:
        # A restore may hold the lock for hours: nobody needs to wait for it to hear of it.
        await refuse_half_restored(connection)
        async with migration_lock(connection, wait_s=lock_wait_s):
            await refuse_half_restored(connection)
            yield connection
    except asyncpg.PostgresError as error:
        raise refused(f"while executing migrations: {worded(error)}") from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise refused("while executing migrations: the connection was lost") from error
    finally:
        await close(connection)


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Connection]:
    """A connection that sees one moment of the database and cannot change it.

    Raises:
        MigrationError: no connection, or the database refused a statement.
    """
    connection = await connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    except asyncpg.PostgresError as error:
        raise refused(f"while reading the history: {worded(error)}") from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise refused("while reading the history: the connection was lost") from error
    finally:
        await close(connection)


async def verified(connection: Connection, known: Catalog) -> History:
    """The history, after all checks of docs/storage.md 11.1: of what is recorded and of the tables."""
    past = await history.read(connection, known)
    await schema.check(connection, past.shared_last)
    return past
