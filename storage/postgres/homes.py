"""Spaces whose home is another server (docs/storage.md 5.10). Implements `storage.stores.SpaceHomeStore`."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from less_sync.storage.errors import SpaceNotFound, read_status
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.types import HomeOutcome, HomeStatus

MADE_BY: Final = "space-home"
"""The client of rows that no client has made."""


class PostgresSpaceHomeStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def get(self, space: UUID) -> str | None:
        """The home of a space; None: it is here.

        Raises:
            SpaceNotFound: there is no row of it.
        """
        rows = await self._pool.fetch("get_space_home", space)
        if not rows:
            raise SpaceNotFound
        home: str | None = rows[0][0]
        return home

    async def set_remote(
        self, space: UUID, root_key: bytes, home: str, *, whatever_it_holds: bool = False
    ) -> HomeOutcome:
        """Give a shared space a home elsewhere, unless its row holds anything; made if it is missing."""
        [row] = await self._pool.fetch("set_remote_home", space, root_key, home, MADE_BY, whatever_it_holds)
        return HomeOutcome(read_status(HomeStatus, row[0]), row[1])

    async def set_local(self, space: UUID) -> None:
        """Let a space have its home here.

        Raises:
            SpaceNotFound: there is no row of it.
        """
        if not await self._pool.fetch("set_local_home", space):
            raise SpaceNotFound

    async def remote(self) -> Sequence[tuple[UUID, str]]:
        """All spaces whose home is elsewhere, by id."""
        return [(row[0], row[1]) for row in await self._pool.fetch("list_space_homes")]

    async def any_remote(self) -> bool:
        """Whether there is one."""
        [row] = await self._pool.fetch("any_remote_home")
        return bool(row[0])
