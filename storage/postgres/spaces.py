"""Spaces: read, create (storage chapter 5.1). Implements `storage.stores.SpaceStore`."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from storage.errors import SpaceExists
from storage.postgres.pool import PostgresPool
from storage.types import Space


class PostgresSpaceStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def ping(self) -> None:
        """Ask the database for `SELECT 1`.

        Raises:
            Unavailable: it did not answer.
        """
        await self._pool.fetch("ping")

    async def get_spaces(self, ids: Sequence[UUID]) -> dict[UUID, Space]:
        """Read the spaces that exist among `ids`; no query when `ids` is empty."""
        if not ids:
            return {}
        rows = await self._pool.fetch("get_spaces", ids)
        return {row[0]: _space(row) for row in rows}

    async def create_space(self, id: UUID, client_id: str, root_public_key: bytes | None) -> Space:
        """Insert a space with the database's defaults.

        Raises:
            SpaceExists: the id is taken.
        """
        rows = await self._pool.fetch("create_space", id, client_id, root_public_key)
        if not rows:
            raise SpaceExists
        return _space(rows[0])

    async def get_or_create_space(self, id: UUID, client_id: str) -> Space:
        """Return the space, created without root key if it was missing.

        An existing row is returned as it is, whoever created it and even when it has a root key.
        """
        rows = await self._pool.fetch("get_or_create_space", id, client_id)
        return _space(rows[0])


def _space(row: asyncpg.Record) -> Space:
    return Space(*row)
