"""The mark of a database that a backup is being restored into: until it is gone nobody else may use it.

A restore writes the mark before it changes anything, and removes it in the transaction that loads the rows. A
database with the mark holds the former rows, or none, or half of what belongs to it, and only a restore of
the same backup can make it whole.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from less_sync.migrations.connection import Connection
from less_sync.migrations.errors import refused
from less_sync.migrations.line import relation_exists

RESTORE_MARK: Final = "less_sync_restore"
"""The table whose one row says which backup it is."""

_CREATE: Final = (
    f"CREATE TABLE {RESTORE_MARK} (digest TEXT NOT NULL, began_at TIMESTAMPTZ NOT NULL DEFAULT now())"
)
_DIGEST_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Begun:
    """A restore that has not finished: the digest of its backup, and when it began."""

    digest: str
    began_at: datetime

    def __str__(self) -> str:
        when = f"{self.began_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"the restore of backup {self.digest[:_DIGEST_SHOWN_DIGITS]}, begun {when},"


async def begun(connection: Connection) -> Begun | None:
    """The restore under way in the first schema of the search path, whether its process lives or not."""
    if not await relation_exists(connection, RESTORE_MARK):
        return None
    row = await connection.fetchrow(f"SELECT digest, began_at FROM {RESTORE_MARK}")
    return None if row is None else Begun(row["digest"], row["began_at"])


async def refuse_half_restored(connection: Connection) -> None:
    """Let nobody go on with a database that a restore has not finished.

    Raises:
        MigrationError: one has not; the text names it and the command that finishes it.
    """
    found = await begun(connection)
    if found is not None:
        raise refused(f"{found} has not finished: `less-sync restore BACKUP` with that backup finishes it")


async def mark(connection: Connection, digest: str) -> None:
    """Write the mark, in place of any former one, in one transaction."""
    async with connection.transaction():
        await unmark(connection)
        await connection.execute(_CREATE)
        await connection.execute(f"INSERT INTO {RESTORE_MARK} (digest) VALUES ($1)", digest)


async def unmark(connection: Connection) -> None:
    """Remove the mark, for good once the transaction of the caller has ended."""
    await connection.execute(f"DROP TABLE IF EXISTS {RESTORE_MARK}")
