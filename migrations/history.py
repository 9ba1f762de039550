"""What a database says was done to it: three kinds of bookkeeping, read and written.

`_sqlx_migrations` is the record of versions 1-12, exactly as the existing Rust server keeps it, so that
either server can take the database over at any time. `less_sync_migrations` is the record of our versions;
the Rust server refuses rows it does not know, so they must not stand in its table. `goose_db_version` is the
Go server's record: it is read once, to adopt such a database, and a reverted version is removed from it, so
that the Go server does not believe in a schema that is gone.

Tables are looked up in the first schema of the search path alone, where all of them are created.
"""

from datetime import UTC, datetime
from typing import Final

from less_sync.migrations.catalog import BASELINE_CHECKSUM, SHARED_LAST, Catalog, Migration
from less_sync.migrations.connection import Connection
from less_sync.migrations.errors import MigrationError, refused
from less_sync.migrations.line import History, Row, relation_exists, verify

BOOKKEEPING: Final = frozenset({"_sqlx_migrations", "less_sync_migrations", "goose_db_version"})
"""The tables that say what was done to a database, whichever server made them."""

_CREATE_SHARED: Final = """
CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
    success BOOLEAN NOT NULL,
    checksum BYTEA NOT NULL,
    execution_time BIGINT NOT NULL
)"""
_CREATE_OWN: Final = """
CREATE TABLE IF NOT EXISTS less_sync_migrations (
    version BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    checksum BYTEA NOT NULL
)"""
_RECORD_SHARED: Final = """
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
VALUES ($1, $2, TRUE, $3, $4)"""
_RECORD_OWN: Final = "INSERT INTO less_sync_migrations (version, name, checksum) VALUES ($1, $2, $3)"
_KEY_LIFECYCLE: Final = """
SELECT EXISTS (SELECT 1 FROM pg_attribute
WHERE attrelid = to_regclass(quote_ident(current_schema()) || '.federation_signing_keys')
AND attname = 'is_active' AND NOT attisdropped)"""


async def read(connection: Connection, catalog: Catalog) -> History:
    """Find out what was applied, and refuse what cannot be trusted (docs/storage.md 11.1, checks 1 to 4).

    Reads only.

    Raises:
        MigrationError: modified, unknown or failed migrations; gaps; tables without history; unified schema.
    """
    if await relation_exists(connection, "_sqlx_migrations"):
        history = await _read_shared(connection, catalog)
    elif await relation_exists(connection, "idx_invitations_expires"):
        raise _unified()
    elif await relation_exists(connection, "goose_db_version"):
        history = await _read_goose(connection)
    else:
        history = History({})
    if not history.shared_last and await relation_exists(connection, "spaces"):
        raise refused("database has tables but no migration history")
    own = await _read_own(connection, catalog)
    return History({**history.applied, **own}, adopt=history.adopt, remnant=history.remnant)


async def _read_shared(connection: Connection, catalog: Catalog) -> History:
    records = await connection.fetch(
        "SELECT version, installed_on, success, checksum FROM _sqlx_migrations ORDER BY version"
    )
    rows = [Row(r["version"], r["installed_on"], r["success"], r["checksum"]) for r in records]
    only_baseline = len(rows) == 1 and rows[0].version == 1 and rows[0].checksum == BASELINE_CHECKSUM
    if only_baseline and rows[0].success and not await relation_exists(connection, "spaces"):
        return History({}, remnant=True)
    verify(rows, {v: m for v, m in catalog.items() if m.shared})
    if await relation_exists(connection, "idx_invitations_expires"):
        raise _unified()
    if [row.version for row in rows] != list(range(1, len(rows) + 1)):
        raise refused("migration history has gaps")
    return History({row.version: row.applied_at for row in rows})


async def _read_own(connection: Connection, catalog: Catalog) -> dict[int, datetime | None]:
    if not await relation_exists(connection, "less_sync_migrations"):
        return {}
    records = await connection.fetch(
        "SELECT version, applied_at, checksum FROM less_sync_migrations ORDER BY version"
    )
    rows = [Row(r["version"], r["applied_at"], True, r["checksum"]) for r in records]
    verify(rows, {v: m for v, m in catalog.items() if not m.shared})
    return {row.version: row.applied_at for row in rows}


async def _read_goose(connection: Connection) -> History:
    records = await connection.fetch(
        "SELECT DISTINCT ON (version_id) version_id, is_applied, tstamp FROM goose_db_version"
        " WHERE version_id >= 1 ORDER BY version_id, id DESC"
    )
    applied = {r["version_id"]: _utc(r["tstamp"]) for r in records if r["is_applied"]}
    for version in applied:
        # The Go server is known to have eleven; a twelfth is believed if it did what ours does.
        if version > SHARED_LAST or (
            version == SHARED_LAST and not await connection.fetchval(_KEY_LIFECYCLE)
        ):
            raise refused(f"goose history has unknown version {version}")
    if list(applied) != list(range(1, len(applied) + 1)):
        raise refused("goose history has gaps")
    return History(applied, adopt=True)


def _utc(moment: datetime | None) -> datetime | None:
    """The Go server's column has no zone and may be null."""
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _unified() -> MigrationError:
    return refused("unified schema detected; not supported")


async def prepare(connection: Connection, catalog: Catalog, history: History) -> None:
    """Write what `read` found missing: the shared table, adopted rows, the remnant's removal.

    One transaction, under the migration lock: adopted as a whole or not at all.
    """
    async with connection.transaction():
        await connection.execute(_CREATE_SHARED)
        if history.remnant:
            await connection.execute(
                "DELETE FROM _sqlx_migrations WHERE version = 1 AND checksum = $1", BASELINE_CHECKSUM
            )
        if history.adopt:
            for version in history.applied:
                await record(connection, catalog[version], elapsed_ns=0)


async def record(connection: Connection, migration: Migration, *, elapsed_ns: int) -> None:
    """Write a migration's bookkeeping row, in the transaction that runs its script."""
    if migration.shared:
        await connection.execute(
            _RECORD_SHARED, migration.version, migration.description, migration.checksum, elapsed_ns
        )
    else:
        await connection.execute(_CREATE_OWN)
        await connection.execute(_RECORD_OWN, migration.version, migration.name, migration.checksum)


async def forget(connection: Connection, migration: Migration) -> None:
    """Delete a migration's bookkeeping row, and the Go server's, in the transaction that reverts it."""
    if not migration.shared:
        await connection.execute("DELETE FROM less_sync_migrations WHERE version = $1", migration.version)
        return
    await connection.execute("DELETE FROM _sqlx_migrations WHERE version = $1", migration.version)
    if await relation_exists(connection, "goose_db_version"):
        await connection.execute("DELETE FROM goose_db_version WHERE version_id = $1", migration.version)
