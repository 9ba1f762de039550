"""The share of the pool that pulls may use, by turns of those who read (docs/storage.md 7.4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from less_sync.storage.errors import Unavailable
from less_sync.storage.postgres.turns import Turns

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import PooledConnection, PostgresPool


class PullPlaces:
    """Half of the pool, so that pulls cannot starve anything else; all of one that is for pulls alone."""

    def __init__(self, pool: "PostgresPool", *, alone: bool = False) -> None:
        self._pool = pool
        self.turns = Turns(pool.max_connections if alone else max(1, pool.max_connections // 2))

    @asynccontextmanager
    async def connection(self, reader: str) -> "AsyncIterator[PooledConnection]":
        """Lend a connection to `reader` when it is his turn.

        Raises:
            Unavailable: his turn did not come, or no connection was free, in time.
        """
        wait_s = self._pool.acquire_timeout_s
        try:
            async with asyncio.timeout(wait_s):
                await self.turns.acquire(reader)
        except TimeoutError as error:
            raise Unavailable(f"no place among pulls became free within {wait_s:g} s") from error
        try:
            async with self._pool.connection() as con:
                yield con
        finally:
            self.turns.release(reader)
