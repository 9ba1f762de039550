"""The one connection a migration works on: its URL, its settings, its lock."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from less_sync.migrations.copy_text import quoted
from less_sync.migrations.errors import DatabaseUnreachable, LockHeld, os_error_text, refusal

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
LOCK_WAIT_S: Final = 60.0
"""How long to wait for another process that is migrating."""
LOCK_RETRY_S: Final = 0.2

_LOCK_FACTOR: Final = 0x3D32AD9E
_SETTINGS: Final = {
    "application_name": "less-sync-migrate",
    "TimeZone": "UTC",
    "lock_timeout": "10s",
    "statement_timeout": "0",
}


async def connect(
    url: str, *, more: Mapping[str, str] = MappingProxyType({}), schema: str | None = None
) -> Connection:
    """Open a connection in the session settings migrations need: UTC, 10 s at most for a lock; and `more`.

    The URL is one asyncpg takes. A setting it names itself, as in `?lock_timeout=1s`, wins. Statements are
    not cached: migrations change the tables that cached plans were made for.

    Args:
        schema: the whole search path, whatever the URL says of it.

    Raises:
        DatabaseUnreachable: with the existing server's wording, `database error: ...`.
    """
    named = {name.lower() for name, _ in parse_qsl(urlsplit(url).query)}
    wanted = {**_SETTINGS, **more}
    settings = {name: value for name, value in wanted.items() if name.lower() not in named}
    if schema is not None:
        settings["search_path"] = quoted(schema)
    try:
        return await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_S, statement_cache_size=0, server_settings=settings
        )
    except asyncpg.PostgresError as error:
        raise DatabaseUnreachable(f"database error: {refusal(error)}") from error
    except TimeoutError as error:
        raise DatabaseUnreachable("database error: timed out while connecting") from error
    except OSError as error:
        raise DatabaseUnreachable(
            f"database error: error communicating with database: {os_error_text(error)}"
        ) from error
    except (ValueError, asyncpg.InterfaceError) as error:
        message = "database error: error with configuration: invalid connection parameters"
        raise DatabaseUnreachable(message) from error


async def close(connection: Connection) -> None:
    """Say goodbye, for a moment at most; a connection that does not answer is cut."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await connection.close(timeout=CLOSE_TIMEOUT_S)


def lock_key(database: str) -> int:
    """The key of the existing server's migration lock (docs/storage.md 11.2), as signed 64-bit."""
    key = _LOCK_FACTOR * zlib.crc32(database.encode())
    return (key + 2**63) % 2**64 - 2**63


@asynccontextmanager
async def migration_lock(connection: Connection, *, wait_s: float = LOCK_WAIT_S) -> AsyncIterator[None]:
    """Hold the lock under which the existing server migrates too: one migrator per database at a time.

    It is a session lock: should this process die, PostgreSQL releases it with the connection.

    Raises:
        LockHeld: somebody else held it for `wait_s` seconds.
    """
    key = lock_key(await connection.fetchval("SELECT current_database()"))
    for _ in range(max(1, round(wait_s / LOCK_RETRY_S))):
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
            break
        await asyncio.sleep(LOCK_RETRY_S)
    else:
        raise LockHeld(wait_s)
    yield
    # After a failure the connection is closed, which releases the lock as well.
    await connection.execute(f"SELECT pg_advisory_unlock({key})")
