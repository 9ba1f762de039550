"""The two ways to be connected: holding the migration lock, or only looking.

What goes wrong outside a script is worded here; what is wrong with a script, where it runs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from less_sync.migrations.catalog import Catalog
from less_sync.migrations.connection import Connection, close, connect, migration_lock
from less_sync.migrations.copy_text import quoted
from less_sync.migrations.errors import refused, worded
from less_sync.migrations.line import History, Line

_SCHEMA: Final = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)"


@asynccontextmanager
async def session(url: str, line: Line, *, lock_wait_s: float) -> AsyncIterator[Connection]:
    """A connection that holds the migration lock: one migrator per database at a time.

    Raises:
        MigrationError: no connection, the lock is not to be had, something else has not finished with the
            database, or it refused a statement.
    """
    connection = await connect(url, schema=line.schema)
    try:
        # A restore may hold the lock for hours: nobody needs to wait for it to hear of it.
        await line.refuse_busy(connection)
        async with migration_lock(connection, wait_s=lock_wait_s):
            await line.refuse_busy(connection)
            if line.schema is not None:
                await _create(connection, line.schema)
            yield connection
    except asyncpg.PostgresError as error:
        raise refused(f"while executing migrations: {worded(error)}") from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise refused("while executing migrations: the connection was lost") from error
    finally:
        await close(connection)


@asynccontextmanager
async def reading(url: str, line: Line) -> AsyncIterator[Connection]:
    """A connection that sees one moment of the database and cannot change it.

    Raises:
        MigrationError: no connection, or the database refused a statement.
    """
    connection = await connect(url, schema=line.schema)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    except asyncpg.PostgresError as error:
        raise refused(f"while reading the history: {worded(error)}") from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise refused("while reading the history: the connection was lost") from error
    finally:
        await close(connection)


async def verified(connection: Connection, line: Line, known: Catalog) -> History:
    """The history, after all checks: of what is recorded and of the tables."""
    past = await line.read(connection, known)
    await line.check(connection, past)
    return past


async def _create(connection: Connection, schema: str) -> None:
    """Make the schema of a line, under the migration lock.

    It is looked for first: `IF NOT EXISTS` wants the right to create one where it is there already, too.
    """
    if not await connection.fetchval(_SCHEMA, schema):
        await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
