"""The database that a backup is made of: one connection, its lock and its snapshot."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg

from less_sync.bins.backup.manifest import BackupError, DatabaseEntry, SchemaEntry
from less_sync.migrations import BOOKKEEPING, COPY_SETTINGS, RESTORE_MARK, TABLES
from less_sync.storage import place_of

T = TypeVar("T")
Connection = Any
"""asyncpg's: its types are generic in a way that says nothing here."""

UPLOADS_WAIT_S: Final = 900.0
"""For uploads that were being stored when the backup began: 5 GiB on a slow line to S3."""
LOCK_ATTEMPT_S: Final = 10.0
ANSWER_S: Final = 60.0
"""For the answer to anything but a table."""
CONNECT_S: Final = 15.0
CLOSE_S: Final = 2.0

_LOCK: Final = "hashtextextended('less-sync:backup', 0)"
_SETTINGS: Final = {
    **COPY_SETTINGS,
    "application_name": "less-sync-backup",
    # A table may take hours, and the session is idle while contents are copied.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    # A dropped packet must not be noticed after hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}

_HOLDERS: Final = f"""
SELECT l.pid = pg_backend_pid() AS own, l.pid, l.granted FROM pg_locks l
WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND l.objsubid = 1
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (l.classid::bigint << 32 | l.objid::bigint) = {_LOCK}"""
_DATABASE: Final = """
SELECT current_database() AS name, current_setting('server_version_num')::int AS number,
       current_setting('server_version') AS version, pg_is_in_recovery() AS follows"""
_TABLES: Final = """
SELECT relname FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind IN ('r', 'p') ORDER BY 1"""
_COLUMNS: Final = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass(quote_ident(current_schema()) || '.' || quote_ident($1))
AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"""
_REPLACED: Final = """
SELECT f.space_id, f.id FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS asked (space, file, cursor)
JOIN files f ON f.space_id = asked.space AND f.id = asked.file WHERE f.cursor IS DISTINCT FROM asked.cursor"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of the moment that is backed up."""

    schema: SchemaEntry
    lsn: str
    highest_cursor: int
    tables: tuple[str, ...]
    """All that the schema has but those of bookkeeping, by name."""


class Source:
    """A database. One statement at a time; whoever comes meanwhile waits."""

    def __init__(self, connection: Connection, entry: DatabaseEntry, version: str, place: str) -> None:
        self.connection = connection
        self.entry = entry
        self.server_version = version
        self._place = place
        self._turn = asyncio.Lock()

    async def lock(self, waiting: Callable[[], None], *, wait_s: float = UPLOADS_WAIT_S) -> None:
        """Keep contents as they are until the connection ends (docs/files.md 3.6).

        Args:
            waiting: called once if uploads are being stored, which have to end first.
            wait_s: for these.

        Raises:
            BackupError: another backup is under way, or uploads did not end.
        """
        with self.faults("cannot take the lock of backups"):
            if await self.connection.fetchval(f"SELECT pg_try_advisory_lock({_LOCK})"):
                return
            await self._refuse_another()
            waiting()
            deadline = asyncio.get_running_loop().time() + wait_s
            await self.connection.execute(f"SET lock_timeout = '{LOCK_ATTEMPT_S:g}s'")
            while True:
                try:
                    await self.connection.execute(f"SELECT pg_advisory_lock({_LOCK})")
                except asyncpg.LockNotAvailableError:
                    await self._refuse_another()
                    if asyncio.get_running_loop().time() > deadline:
                        raise BackupError(
                            f"uploads that are being stored did not end within {wait_s:g} s"
                        ) from None
                    continue
                await self.connection.execute("SET lock_timeout = 0")
                return

    async def _refuse_another(self) -> None:
        for row in await self.connection.fetch(_HOLDERS):
            if not row["own"]:
                raise BackupError(
                    f"another backup of this database is under way (process {row['pid']} of Postgres)"
                )

    async def check_lock(self) -> None:
        """See that contents are still kept as they are.

        Raises:
            BackupError: the lock is lost, and contents may have been removed.
        """
        rows = await self._ask(self.connection.fetch, _HOLDERS)
        if not any(row["own"] and row["granted"] for row in rows):
            # A pool of connections between here and Postgres hands out another session for each statement.
            raise BackupError("the lock of backups was lost; is there a pooler between here and Postgres?")

    async def replaced(self, files: Sequence[tuple[UUID, UUID, int | None]]) -> set[tuple[UUID, UUID]]:
        """Which of these files (space, id, cursor) have the row of another upload by now."""
        spaces, ids, cursors = zip(*files, strict=True)
        rows = await self._ask(self.connection.fetch, _REPLACED, spaces, ids, cursors)
        return {(row[0], row[1]) for row in rows}

    async def _ask(self, method: Callable[..., Awaitable[T]], query: str, *args: object) -> T:
        async with self._turn:
            with self.faults("the database was lost"):
                return await method(query, *args, timeout=ANSWER_S)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """One moment of the database, for as long as the block lasts.

        Raises:
            BackupError: the database failed, or is in no state to be backed up.
        """
        with self.faults("the database failed"):
            held = [name for name in await self._tables() if name in TABLES]
            async with self.connection.transaction(isolation="repeatable_read", readonly=True):
                # Before the snapshot: a table that is truncated or written anew after it looks empty from it.
                if held:
                    await self.connection.execute(f"LOCK TABLE {', '.join(held)} IN ACCESS SHARE MODE")
                # Sorting by key is left to the planner, with memory enough to do it in few passes.
                await self.connection.execute("SET LOCAL work_mem = '64MB'")
                lsn = await self.connection.fetchval("SELECT pg_current_wal_lsn()::text")
                names = await self._tables()
                if RESTORE_MARK in names:
                    raise BackupError("a restore into this database has not finished: finish it first")
                schema = await self._schema(names)
                yield Snapshot(
                    schema=schema,
                    lsn=lsn,
                    highest_cursor=await self.connection.fetchval(
                        "SELECT coalesce(max(cursor), 0) FROM spaces"
                    ),
                    tables=tuple(name for name in names if name not in BOOKKEEPING),
                )

    async def _tables(self) -> list[str]:
        return [row["relname"] for row in await self.connection.fetch(_TABLES)]

    async def _schema(self, names: list[str]) -> SchemaEntry:
        if "_sqlx_migrations" not in names:
            raise BackupError("the database is not migrated: `less-sync migrate` makes it so")
        shared = await self.connection.fetch("SELECT version FROM _sqlx_migrations ORDER BY version")
        own = (
            await self.connection.fetch("SELECT version FROM less_sync_migrations ORDER BY version")
            if "less_sync_migrations" in names
            else []
        )
        return SchemaEntry(tuple(row[0] for row in shared), tuple(row[0] for row in own))

    async def columns(self, table: str) -> tuple[str, ...]:
        """The columns of a table, as it has them. Within a snapshot."""
        return tuple(row["attname"] for row in await self.connection.fetch(_COLUMNS, table))

    def faults(self, what: str) -> "_Faults":
        """Around statements: what goes wrong with them becomes a `BackupError`."""
        return _Faults(what, self._place)


class _Faults:
    def __init__(self, what: str, place: str) -> None:
        self._what = what
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise BackupError(f"{self._what}: no answer ({self._place})") from error
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | ConnectionError):
            raise BackupError(f"{self._what}: {_told(error)} ({self._place})") from error


def _told(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Source]:
    """Connect to a database; the lock ends with the block.

    Raises:
        BackupError: it cannot be reached, or is a replica.
    """
    place = place_of(url)
    with _Faults("cannot connect to the database", place):
        try:
            connection: Connection = await asyncpg.connect(
                url, timeout=CONNECT_S, statement_cache_size=0, server_settings=_SETTINGS
            )
        except OSError as error:
            raise BackupError(
                f"cannot connect to the database: {error.strerror or error} ({place})"
            ) from error
    try:
        with _Faults("the database failed", place):
            row = await connection.fetchrow(_DATABASE)
            if row["follows"]:
                raise BackupError(
                    "the database is a replica, where nothing keeps contents in place: back up its primary"
                )
            entry = DatabaseEntry(await _system_identifier(connection), row["name"], row["number"])
        yield Source(connection, entry, row["version"], place)
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=CLOSE_S)


async def _system_identifier(connection: Connection) -> str:
    try:
        return str(await connection.fetchval("SELECT system_identifier::text FROM pg_control_system()"))
    except asyncpg.InsufficientPrivilegeError:
        return ""
