"""Finding contents that no row names, left by crashes between store and database (docs/files.md 3.4).

Off unless it is asked for: a server that was pointed at the wrong database would empty the store.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import structlog

from less_sync.storage import BlobKey, BlobStore, FileStore, StorageError
from less_sync.sync.files.removals import HeldByBackup, Removals

AGE_MIN_S: Final = 24 * 3600.0
"""A younger content may belong to an upload that is not recorded yet."""
REMOVED_MAX: Final = 1000
"""Contents that one run removes."""

_log = structlog.get_logger(__name__)


async def sweep_orphans(
    files: FileStore, blobs: BlobStore, removals: Removals, *, now: Callable[[], float] = time.time
) -> int:
    """Remove contents older than a day without a row, at most 1000; return how many.

    Safe under concurrency: each is looked at again under its file's lock.

    Raises:
        StorageError: the database or the store failed.
    """
    removed = failed = 0
    async with aclosing(_orphans(files, blobs, before=now() - AGE_MIN_S)) as orphans:
        async for key in orphans:
            try:
                removed += await removals.remove(key)
            except HeldByBackup:
                _log.info("the sweep of orphans is left to its next turn: a backup is under way")
                break
            except StorageError as error:
                failed += 1
                _log.warning("orphan could not be removed", file=str(key.file), error=str(error))
            if removed + failed >= REMOVED_MAX:
                break
    _log.info("orphans swept", removed=removed, failed=failed)
    return removed


async def _orphans(files: FileStore, blobs: BlobStore, *, before: float) -> AsyncGenerator[BlobKey, None]:
    """Contents that were stored before this time, and that no row names."""
    async for page in blobs.listing():
        old = [one.key for one in page if one.modified_at.timestamp() <= before]
        known = await files.known(old)
        for key in old:
            if (key.space, key.file) not in known:
                yield key
