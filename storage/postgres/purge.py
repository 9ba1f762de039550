"""Deleting a space with everything in it (docs/storage.md 5.11).

One transaction, which takes the row of the space first. Every write of a space waits for that row
(docs/storage.md 3.2) and finds, once this has committed, no space: a shared one is gone for its writer, a
personal one begins anew with an empty row. Contents of files are another store's, and removed afterwards.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from less_sync.storage.errors import translate
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.queries import sql

PURGE_S_MAX: Final = 6 * 3600.0
"""For one statement: the records of a space of any size go by one."""


@dataclass(frozen=True, slots=True)
class Purged:
    """Rows that are gone."""

    files: int
    records: int
    """Tombstones included."""
    members: int
    revocations: int


async def purge_space(pool: PostgresPool, space: UUID) -> Purged | None:
    """Delete all rows of a space, or none; None when there is no such space.

    Safe under concurrency: see the module. Whoever writes to the space meanwhile waits for its lock, 10 s at
    most, and fails then; nobody else is held up.

    Raises:
        Unavailable: the database was lost. Unless the commit was under way, nothing is deleted.
        StorageError: it refused; nothing is deleted. SQLSTATE 55P03: a writer held the space for 10 s.
    """
    try:
        async with pool.connection() as con, con.transaction():
            await con.execute("SET LOCAL statement_timeout = 0")
            if await con.fetchrow(sql("lock_space_to_purge"), space) is None:
                return None
            counts = [
                _count(await con.execute(sql(name), space, timeout=PURGE_S_MAX))
                for name in (
                    "purge_files",
                    "purge_records",
                    "purge_members",
                    "purge_revocations",
                    "purge_space",
                )
            ]
            return Purged(*counts[:4])
    except Exception as error:
        raise translate(error) from error


def _count(tag: str) -> int:
    """The number in what the database says of a statement: `DELETE 12`."""
    return int(tag.rpartition(" ")[2])
