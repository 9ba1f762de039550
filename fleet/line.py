"""The line of the fleet plane's own schema: numbers from 1, one bookkeeping table.

The schema is the whole search path, so a sync server's tables in another schema of the same database are
neither seen nor touched. Both lines share one lock per database, and each finds the other's work done.
"""

from pathlib import Path
from typing import Final

from less_sync.migrations import (
    Catalog,
    Connection,
    History,
    Line,
    Migration,
    Row,
    refused,
    relation_exists,
    scripts,
    verify,
)

DEFAULT_SCHEMA: Final = "less_sync_fleet"
"""What `FLEET_SCHEMA` is when it is unset."""

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS fleet_migrations (
    version BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    checksum BYTEA NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)"""
_ROWS: Final = "SELECT version, applied_at, checksum FROM fleet_migrations ORDER BY version"
_RECORD: Final = "INSERT INTO fleet_migrations (version, name, checksum) VALUES ($1, $2, $3)"
_FORGET: Final = "DELETE FROM fleet_migrations WHERE version = $1"
_OTHER_TABLES: Final = """
SELECT EXISTS (SELECT 1 FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(current_schema()))
AND relkind IN ('r', 'p') AND relname <> 'fleet_migrations')"""


class FleetLine(Line):
    """The plane's migrations, in the schema that `FLEET_SCHEMA` names."""

    folder = Path(__file__).parent / "migrations"
    first = 1

    def __init__(self, schema: str = DEFAULT_SCHEMA) -> None:
        self.schema = schema

    def load(self) -> Catalog:
        """The scripts in `migrations/`."""
        return scripts(self.folder)

    async def refuse_busy(self, connection: Connection) -> None:
        """Refuse nothing: a restore is of a sync server's tables, and the lock keeps it apart."""

    async def read(self, connection: Connection, catalog: Catalog) -> History:
        """Refuse a history that is modified, unknown or has gaps, and a schema that is somebody else's."""
        rows: list[Row] = []
        if await relation_exists(connection, "fleet_migrations"):
            records = await connection.fetch(_ROWS)
            rows = [Row(r["version"], r["applied_at"], True, r["checksum"]) for r in records]
        verify(rows, catalog)
        if [row.version for row in rows] != list(range(1, len(rows) + 1)):
            raise refused("migration history has gaps")
        if not rows and await connection.fetchval(_OTHER_TABLES):
            raise refused(f"schema {self.schema} has tables but no migration history")
        return History({row.version: row.applied_at for row in rows})

    async def check(self, connection: Connection, past: History) -> None:
        """Believe the history: nobody but this line has ever made these tables."""

    async def prepare(self, connection: Connection, catalog: Catalog, past: History) -> None:
        """Create the bookkeeping table: one statement, which commits by itself."""
        await connection.execute(_CREATE)

    async def record(self, connection: Connection, migration: Migration, *, elapsed_ns: int) -> None:
        """How long the script took is not kept."""
        await connection.execute(_RECORD, migration.version, migration.name, migration.checksum)

    async def forget(self, connection: Connection, migration: Migration) -> None:
        """From the one table there is."""
        await connection.execute(_FORGET, migration.version)
