"""A line of migrations: one numbered series of scripts for one schema, with a bookkeeping of its own.

The steps (`runner.py`) are the same on every line. Here is what a line must say of itself: where its scripts
are, how a database records them, and what is looked at before anything is changed.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from less_sync.migrations.catalog import SHARED_LAST, Catalog, Migration
from less_sync.migrations.connection import Connection
from less_sync.migrations.errors import refused
from less_sync.migrations.losses import Loss, losses

_RELATION: Final = "SELECT to_regclass(quote_ident(current_schema()) || '.' || quote_ident($1)) IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded migration. Rows of the Go server have no checksum."""

    version: int
    applied_at: datetime | None
    success: bool
    checksum: bytes | None


@dataclass(frozen=True, slots=True)
class History:
    """The verified past of a database."""

    applied: dict[int, datetime | None]
    """When each version was applied, ascending; None where the Go server did not say."""
    adopt: bool = False
    """The versions are recorded by the Go server alone: `_sqlx_migrations` is still to be written."""
    remnant: bool = False
    """The one row there is was left by the audited baseline, without tables: it is to be deleted."""

    @property
    def shared_last(self) -> int:
        """The highest applied version the existing servers know; 0 if none."""
        return max((version for version in self.applied if version <= SHARED_LAST), default=0)


class Line(ABC):
    """What is particular to one line. Methods that take a connection raise `MigrationError`."""

    folder: Path
    """Where its scripts and its `losses.toml` are."""
    first: int
    """The lowest number that a new script may have."""
    schema: str | None = None
    """The whole search path of its connections, created before the first step; None: what the URL says."""

    @abstractmethod
    def load(self) -> Catalog:
        """Its scripts."""

    def losses(self) -> Mapping[int, Loss]:
        """What reverting each of them loses."""
        return losses(self.folder)

    @abstractmethod
    async def refuse_busy(self, connection: Connection) -> None:
        """Let nobody step on a database that something else has not finished with."""

    @abstractmethod
    async def read(self, connection: Connection, catalog: Catalog) -> History:
        """Find out what was applied, and refuse what cannot be trusted. Reads only."""

    @abstractmethod
    async def check(self, connection: Connection, past: History) -> None:
        """Refuse tables that are not what the applied versions leave. Reads only."""

    @abstractmethod
    async def prepare(self, connection: Connection, catalog: Catalog, past: History) -> None:
        """Write what `read` found missing, under the migration lock: as a whole or not at all."""

    @abstractmethod
    async def record(self, connection: Connection, migration: Migration, *, elapsed_ns: int) -> None:
        """Write a migration's bookkeeping row, in the transaction that runs its script."""

    @abstractmethod
    async def forget(self, connection: Connection, migration: Migration) -> None:
        """Delete a migration's bookkeeping row, in the transaction that reverts it."""


async def relation_exists(connection: Connection, name: str) -> bool:
    """Whether the first schema of the search path holds a table or index of this name."""
    return bool(await connection.fetchval(_RELATION, name))


def verify(rows: list[Row], known: Catalog) -> None:
    """The existing server's checks in its order and words (docs/storage.md 11.1).

    Raises:
        MigrationError: a row failed half-way, is of an unknown migration, or of one that was modified.
    """
    for row in rows:
        if not row.success:
            raise refused(
                f"migration {row.version} is partially applied;"
                " fix and remove row from `_sqlx_migrations` table"
            )
    for row in rows:
        if row.version not in known:
            raise refused(
                f"migration {row.version} was previously applied but is missing in the resolved migrations"
            )
    for row in rows:
        if not known[row.version].is_recorded_as(row.checksum):
            raise refused(f"migration {row.version} was previously applied but has been modified")
