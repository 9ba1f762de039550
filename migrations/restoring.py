"""The database that a backup is restored into, held by one restore alone (docs/operations.md 14.3).

What is loaded into its tables is not known here. This keeps everybody else out, and brings the schema to the
versions that the rows were written under.
"""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final

from less_sync.migrations import half_restored, schema
from less_sync.migrations.catalog import SHARED_LAST, Catalog, load
from less_sync.migrations.connection import Connection, close, connect, migration_lock
from less_sync.migrations.half_restored import Begun
from less_sync.migrations.line import relation_exists
from less_sync.migrations.runner import Applied, bring_to
from less_sync.migrations.session import verified
from less_sync.migrations.sync_line import SYNC

LOCK_WAIT_S: Final = 1.0
"""For a server that looks for pending migrations just now. A restore or a migration that lasts is refused."""

COPY_SETTINGS: Final = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
"""What the COPY text of a value depends on, so that rows that are read back are comparable."""

_SETTINGS: Final = {
    **COPY_SETTINGS,
    "application_name": "less-sync-restore",
    # It says nothing to the database while it copies contents, however long that takes.
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # A way that is cut without a word must not keep the lock for hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}
_SERVERS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name IN ('less-sync', 'less-sync-backup')
AND pid <> pg_backend_pid()"""


class UnknownVersions(Exception):
    """Versions of the schema that this release does not have; ascending."""

    def __init__(self, versions: list[int]) -> None:
        super().__init__(", ".join(map(str, versions)))
        self.versions = versions


def schema_at(versions: Collection[int], *, catalog: Catalog | None = None) -> schema.Schema:
    """The tables of a database to which exactly these migrations were applied; our own add none.

    Raises:
        UnknownVersions: some of them are none of this release's, or the shared ones have gaps.
    """
    known = load() if catalog is None else catalog
    shared = sorted(version for version in versions if version <= SHARED_LAST)
    unknown = sorted(set(versions) - known.keys())
    if unknown or shared != list(range(1, len(shared) + 1)):
        raise UnknownVersions(unknown or shared)
    return schema.expected(len(shared))


class RestoredDatabase:
    """One that is being restored into. The migration lock is held as long as `restoring` runs.

    Methods raise `MigrationError` for a history or tables that cannot be trusted and for a script that
    failed, and what asyncpg raises for all else.
    """

    def __init__(self, connection: Connection, catalog: Catalog) -> None:
        self.connection = connection
        self._catalog = catalog

    async def begun(self) -> Begun | None:
        """The restore that was begun here and has not finished."""
        return await half_restored.begun(self.connection)

    async def mark(self, digest: str) -> None:
        """From now on nobody but a restore of this backup may use the database. Committed on return."""
        await half_restored.mark(self.connection, digest)

    async def unmark(self) -> None:
        """Let everybody in again, once the transaction of the caller has ended."""
        await half_restored.unmark(self.connection)

    async def versions(self) -> list[int]:
        """Which migrations are applied, ascending, after all checks of docs/storage.md 11.1."""
        return sorted((await verified(self.connection, SYNC, self._catalog)).applied)

    async def tables(self) -> list[str]:
        """Those that hold what is kept, as far as they are there, in the order of `schema.TABLES`."""
        return [name for name in schema.TABLES if await relation_exists(self.connection, name)]

    async def servers(self) -> int:
        """How many connections of servers and of backups this database has."""
        return int(await self.connection.fetchval(_SERVERS))

    async def bring_to(
        self, versions: Collection[int] | None, *, on_step: Callable[[str, Applied], None] | None = None
    ) -> None:
        """Bring the schema to exactly these versions, or with None to the newest. Loses what that loses."""
        wanted = self._catalog.keys() if versions is None else versions
        await bring_to(self.connection, wanted, on_step=on_step, catalog=self._catalog)


@asynccontextmanager
async def restoring(
    url: str, *, catalog: Catalog | None = None, lock_wait_s: float = LOCK_WAIT_S
) -> AsyncIterator[RestoredDatabase]:
    """Connect and hold the migration lock until the block ends: no second restore, no migration meanwhile.

    Raises:
        DatabaseUnreachable: no connection.
        LockHeld: another process is restoring or migrating it.
    """
    connection = await connect(url, more=_SETTINGS)
    try:
        async with migration_lock(connection, wait_s=lock_wait_s):
            yield RestoredDatabase(connection, load() if catalog is None else catalog)
    finally:
        await close(connection)
