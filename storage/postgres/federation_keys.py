"""This server's signing keys (docs/storage.md 5.9). Implements `storage.stores.FederationKeyStore`."""

from collections.abc import Sequence

from less_sync.storage.errors import FederationKeyNotFound, read_status
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.types import (
    ActiveKey,
    DeactivateStatus,
    FederationKey,
    StoredKey,
    StoreKeyStatus,
)


class PostgresFederationKeyStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def store(
        self, kid: str, *, seed: bytes, public_key: bytes, promote: bool, unless_host: str | None = None
    ) -> StoredKey:
        """Store a new key, in use, unless `kid` is there or, with `unless_host`, a primary of that host."""
        [row] = await self._pool.fetch("store_federation_key", kid, seed, public_key, promote, unless_host)
        return StoredKey(read_status(StoreKeyStatus, row[0]), *row[1:])

    async def promote(self, kid: str) -> None:
        """Let a key sign and no other, also one that was deactivated.

        Raises:
            FederationKeyNotFound: there is none; nothing has changed.
        """
        [row] = await self._pool.fetch("promote_federation_key", kid)
        if not row[0]:
            raise FederationKeyNotFound

    async def deactivate(self, kid: str, *, even_primary: bool = False) -> DeactivateStatus:
        """Take a key out of use; the one that signs with `even_primary` alone.

        Raises:
            FederationKeyNotFound: there is none.
        """
        [row] = await self._pool.fetch("deactivate_federation_key", kid, even_primary)
        status = read_status(DeactivateStatus, row[0])
        if status is DeactivateStatus.NOT_FOUND:
            raise FederationKeyNotFound
        return status

    async def all(self) -> Sequence[FederationKey]:
        """Every key, oldest first, without its private half."""
        return [FederationKey(*row) for row in await self._pool.fetch("list_federation_keys")]

    async def active(self) -> Sequence[ActiveKey]:
        """The keys in use, oldest first; with its private half the one that signs, if any does."""
        return [ActiveKey(*row) for row in await self._pool.fetch("active_federation_keys")]
