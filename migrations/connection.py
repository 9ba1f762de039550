"""The one connection a migration works on: its URL, its settings, its lock."""

import asyncio
import contextlib
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from less_sync.migrations.errors import DatabaseUnreachable, refused, worded

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
LOCK_WAIT_S: Final = 60.0
"""How long to wait for another process that is migrating."""
LOCK_RETRY_S: Final = 0.2

_LOCK_FACTOR: Final = 0x3D32AD9E
_RENAMED_KEYS: Final = {
    "ssl-mode": "sslmode",
    "ssl-root-cert": "sslrootcert",
    "ssl-ca": "sslrootcert",
    "ssl-cert": "sslcert",
    "ssl-key": "sslkey",
    "hostaddr": "host",
}
_DROPPED_KEYS: Final = frozenset(
    {
        "statement-cache-capacity",
        "statement_cache_capacity",
        "statement_cache_mode",
        "default_query_exec_mode",
        "description_cache_capacity",
        "connect_timeout",
        "pool_max_conns",
        "pool_min_conns",
        "pool_max_conn_lifetime",
        "pool_max_conn_idle_time",
        "pool_health_check_period",
    }
)
_SETTINGS: Final = {
    "application_name": "less-sync-migrate",
    "TimeZone": "UTC",
    "lock_timeout": "10s",
    "statement_timeout": "0",
}


def driver_url(url: str) -> str:
    """Turn a URL written for one of the existing servers into one asyncpg takes.

    asyncpg hands query keys it does not know to PostgreSQL as settings, which refuses the connection; so
    keys that steer the existing servers' drivers are dropped and their other spellings translated
    (`ssl-mode`, `options[search_path]`). What remains is passed on: `search_path=x` is a setting.

    Raises:
        DatabaseUnreachable: not a PostgreSQL URL. The text never repeats the URL, which holds a password.
    """
    parts = urlsplit(url)
    if not parts.scheme:
        raise _misconfigured("relative URL without a base")
    if parts.scheme not in {"postgres", "postgresql"}:
        raise _misconfigured("the scheme must be postgres or postgresql")
    query: list[tuple[str, str]] = []
    options: list[str] = []
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key == "options":
            options.append(value)
        elif key.startswith("options[") and key.endswith("]"):
            options.append(f"-c {key[8:-1]}={value}")
        elif key not in _DROPPED_KEYS:
            query.append((_RENAMED_KEYS.get(key, key), value))
    if options:
        query.append(("options", " ".join(options)))
    address = url.partition("?")[0]
    return f"{address}?{urlencode(query)}" if query else address


async def connect(url: str) -> Connection:
    """Open a connection in the session settings migrations need: UTC, 10 s at most for a lock.

    A setting the URL names itself, as in `?lock_timeout=1s`, wins. Statements are not cached: migrations
    change the tables that cached plans were made for.

    Raises:
        DatabaseUnreachable: with the existing server's wording, `database error: ...`.
    """
    dsn = driver_url(url)
    named = dict(parse_qsl(urlsplit(dsn).query))
    settings = {name: value for name, value in _SETTINGS.items() if name not in named}
    try:
        return await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT_S, statement_cache_size=0, server_settings=settings
        )
    except asyncpg.PostgresError as error:
        raise DatabaseUnreachable(f"database error: {worded(error)}") from error
    except TimeoutError as error:
        raise DatabaseUnreachable("database error: timed out while connecting") from error
    except OSError as error:
        raise DatabaseUnreachable(
            f"database error: error communicating with database: {_os(error)}"
        ) from error
    except (ValueError, asyncpg.InterfaceError) as error:
        raise _misconfigured("invalid connection parameters") from error


async def close(connection: Connection) -> None:
    """Say goodbye, for a moment at most; a connection that does not answer is cut."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await connection.close(timeout=CLOSE_TIMEOUT_S)


def _os(error: OSError) -> str:
    """The operating system's words and number; asyncio's own text would hide what happened."""
    if error.errno is None or error.errno <= 0:  # name resolution has numbers of its own
        return error.strerror or "connection failed"
    return f"{os.strerror(error.errno)} (os error {error.errno})"


def _misconfigured(detail: str) -> DatabaseUnreachable:
    return DatabaseUnreachable(f"database error: error with configuration: {detail}")


def lock_key(database: str) -> int:
    """The key of the existing server's migration lock (storage chapter 2.1), as signed 64-bit."""
    key = _LOCK_FACTOR * zlib.crc32(database.encode())
    return (key + 2**63) % 2**64 - 2**63


@asynccontextmanager
async def migration_lock(connection: Connection, *, wait_s: float = LOCK_WAIT_S) -> AsyncIterator[None]:
    """Hold the lock under which the existing server migrates too: one migrator per database at a time.

    It is a session lock: should this process die, PostgreSQL releases it with the connection.

    Raises:
        MigrationError: somebody else held it for `wait_s` seconds.
    """
    key = lock_key(await connection.fetchval("SELECT current_database()"))
    for _ in range(max(1, round(wait_s / LOCK_RETRY_S))):
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
            break
        await asyncio.sleep(LOCK_RETRY_S)
    else:
        raise refused(f"another process has been migrating this database for {wait_s:g} s")
    yield
    # After a failure the connection is closed, which releases the lock as well.
    await connection.execute(f"SELECT pg_advisory_unlock({key})")
