"""Revocations (docs/storage.md 5.5). Implements `storage.stores.RevocationStore`.

They are read with the space they are in, by their CIDs: `read_spaces`, and within every mutation. Whoever has
no more than a tag of a CID asks here.
"""

from collections.abc import Sequence
from uuid import UUID

from less_sync.storage.errors import read_status
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.stores import NOBODY
from less_sync.storage.types import Caller, RevokeStatus


class PostgresRevocationStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def revoke(self, space: UUID, cid: str, *, caller: Caller = NOBODY) -> RevokeStatus:
        """Revoke a CID in a space; again is harmless.

        `lsync_revoke_v1` takes the lock of the space's row, under which every mutation looks revocations up:
        one that used the CID has been committed before, or will be refused.
        """
        [row] = await self._pool.fetch("revoke", space, cid, caller.client, caller.cids, caller.local_only)
        return read_status(RevokeStatus, row[0])

    async def tagged(self, tags: Sequence[tuple[UUID, bytes]], prefix: bytes) -> set[tuple[UUID, bytes]]:
        """Those of `tags`, a space and a tag each, that a revocation in the space matches."""
        if not tags:
            return set()
        spaces, texts = zip(*tags, strict=True)
        rows = await self._pool.fetch("tagged_revocations", spaces, texts, prefix)
        return {(row[0], row[1]) for row in rows}
