"""Invitations (docs/storage.md 5.6). Implements `storage.stores.InvitationStore`.

Each row stands alone and is inserted or deleted by one statement, so nothing needs a lock.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from less_sync.storage.postgres.maintenance import purge
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.types import Invitation

_NO_LIMIT: Final = 2**63 - 1


class PostgresInvitationStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def create(self, mailbox: str, payload: bytes) -> Invitation:
        """Leave a message in a mailbox for seven days; id and times are the database's."""
        [row] = await self._pool.fetch("create_invitation", mailbox, payload)
        return Invitation(*row)

    async def list(
        self, mailbox: str, *, limit: int, after: UUID | None = None, bytes_max: int | None = None
    ) -> Sequence[Invitation]:
        """Read the unexpired invitations of a mailbox in order of time and id, in one snapshot."""
        size = _NO_LIMIT if bytes_max is None else bytes_max
        if after is None:
            rows = await self._pool.fetch("list_invitations", mailbox, limit, size)
        else:
            rows = await self._pool.fetch("list_invitations_after", mailbox, limit, size, after)
        return [Invitation(*row) for row in rows]

    async def get(self, invitation: UUID, mailbox: str) -> Invitation | None:
        """Read one that has not expired."""
        rows = await self._pool.fetch("get_invitation", invitation, mailbox)
        return Invitation(*rows[0]) if rows else None

    async def delete(self, invitation: UUID, mailbox: str) -> bool:
        """Delete one, expired or not. Of two that race, the statement of one returns the row."""
        return bool(await self._pool.fetch("delete_invitation", invitation, mailbox))

    async def purge(self) -> int:
        """Delete those that have expired."""
        return await purge(self._pool, "purge_invitations")
