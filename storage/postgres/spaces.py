"""Spaces: read, create (storage chapter 5.1). Implements `storage.stores.SpaceStore`.

Reads that wait together go together: while one query is on its way, the ids others ask for are gathered, and
the next query reads them all. A lonely read is sent at once; under load (many clients that connect at the same
time) one round trip and one use of the pool serve many sessions.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from storage.errors import SpaceExists, StorageError, Unavailable
from storage.postgres.pool import PostgresPool
from storage.types import Space


IDS_PER_QUERY_MAX: Final = 4096
"""Ids gathered for one query; a single read that asks for more is sent alone."""

_Waiting = tuple[Sequence[UUID], "asyncio.Future[dict[UUID, Space]]"]


class PostgresSpaceStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._waiting: deque[_Waiting] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def ping(self) -> None:
        """Ask the database for `SELECT 1`.

        Raises:
            Unavailable: it did not answer.
        """
        await self._pool.fetch("ping")

    async def get_spaces(self, ids: Sequence[UUID]) -> dict[UUID, Space]:
        """Read the spaces that exist among `ids`, as they are now or later; no query when `ids` is empty."""
        if not ids:
            return {}
        answer: asyncio.Future[dict[UUID, Space]] = asyncio.get_running_loop().create_future()
        self._waiting.append((ids, answer))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_waiting(), name="space reads")
        return await answer

    async def _read_waiting(self) -> None:
        """Serve reads until none waits. Each is served by a query that was sent after it was asked."""
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                batch = self._take()
                ids = batch[0][0] if len(batch) == 1 else [id for wanted, _ in batch for id in wanted]
                try:
                    rows = await self._pool.fetch("get_spaces", ids)
                except StorageError as error:
                    _fail(batch, error)
                else:
                    _answer(batch, {row[0]: _space(row) for row in rows})
        finally:
            self._reading = None
            _fail([*batch, *self._waiting], Unavailable())  # those left when this task is cancelled
            self._waiting.clear()

    def _take(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        room = IDS_PER_QUERY_MAX - len(batch[0][0])
        while self._waiting and len(self._waiting[0][0]) <= room:
            room -= len(self._waiting[0][0])
            batch.append(self._waiting.popleft())
        return batch

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


def _answer(batch: Sequence[_Waiting], spaces: Mapping[UUID, Space]) -> None:
    for wanted, answer in batch:
        if not answer.done():  # else whoever asked is gone
            answer.set_result({id: spaces[id] for id in wanted if id in spaces})


def _fail(batch: Sequence[_Waiting], error: StorageError) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)


def _space(row: asyncpg.Record) -> Space:
    return Space(*row)
