"""Epochs (docs/storage.md 5.3). Implements `storage.stores.EpochStore`.

Both functions hold the lock of the space's row from reading its epochs to the commit, so of several advances
that race one wins, and the others are told the state that beat them.
"""

from uuid import UUID

from less_sync.storage.errors import read_status
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.stores import NOBODY
from less_sync.storage.types import AdvanceOutcome, Caller, CompleteOutcome, EpochStatus


class PostgresEpochStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def advance(
        self, space: UUID, epoch: int, *, set_min: bool, caller: Caller = NOBODY
    ) -> AdvanceOutcome:
        """Begin `epoch` if it is the next one and no re-wrapping is pending."""
        [row] = await self._pool.fetch(
            "advance_epoch", space, epoch, set_min, caller.client, caller.cids, caller.local_only
        )
        status, current_epoch, rewrap_epoch = row
        return AdvanceOutcome(read_status(EpochStatus, status), current_epoch, rewrap_epoch)

    async def complete(self, space: UUID, epoch: int, *, caller: Caller = NOBODY) -> CompleteOutcome:
        """End the re-wrapping for `epoch` if it is the pending one."""
        [row] = await self._pool.fetch(
            "complete_rewrap", space, epoch, caller.client, caller.cids, caller.local_only
        )
        status, stale_deks = row
        return CompleteOutcome(read_status(EpochStatus, status), stale_deks)
