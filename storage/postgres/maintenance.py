"""Deleting what has expired, in the background (docs/storage.md 10).

Batches are short transactions, so nobody waits long for a row and vacuum is not held back. One process at a
time: each batch takes a lock that ends with its transaction; whoever does not get it has nothing to do. No
session keeps a lock, so a process that dies hinders nobody.
"""

from typing import Final

from less_sync.storage.postgres.pool import PostgresPool

BATCH_ROWS: Final = 1000
BATCHES_MAX: Final = 1000
"""Of one run; what is left is the next one's."""

LOCK_NAME: Final = "less-sync:maintenance"


async def purge(pool: PostgresPool, query: str, *args: object) -> int:
    """Run a deleting query until a batch is not full; return how many rows went.

    Args:
        query: takes the rows of a batch as $1, the lock's name as $2, then `args`; returns a row for each.

    Raises:
        Unavailable: the database was lost; what earlier batches deleted is gone.
        StorageError: it failed.
    """
    deleted = 0
    for _ in range(BATCHES_MAX):
        rows = await pool.fetch(query, BATCH_ROWS, LOCK_NAME, *args)
        deleted += len(rows)
        if len(rows) < BATCH_ROWS:
            break
    return deleted
