"""Finding contents that no row names, left by crashes between store and database (docs/files.md 3.4).

Off unless it is asked for: a server that was pointed at the wrong database would empty the store.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog

from less_sync.storage import BlobStore, FileStore, StorageError
from less_sync.sync.files.removals import Removals

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
    seen = removed = failed = 0
    async for page in blobs.listing():
        seen += len(page)
        old = [one.key for one in page if now() - one.modified_at.timestamp() >= AGE_MIN_S]
        known = await files.known(old)
        for key in old:
            if tuple(key) in known:
                continue
            try:
                await removals.remove(key)
            except StorageError as error:
                failed += 1
                _log.warning("orphan could not be removed", file=str(key.file), error=str(error))
            else:
                removed += 1
            if removed + failed >= REMOVED_MAX:
                break
        if removed + failed >= REMOVED_MAX:
            break
    _log.info("orphans swept", seen=seen, removed=removed, failed=failed)
    return removed
