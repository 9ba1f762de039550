"""Spaces: read, create (docs/storage.md 5.1). Implements `storage.stores.SpaceStore`.

Reads that wait together go together: while one query is on its way, the ids others ask for are gathered, and
the next query reads them all. A lonely read is sent at once; when many clients connect together, one round
trip and one use of the pool serve them all.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from less_sync.storage.errors import SpaceExists, StorageError, Unavailable
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.types import Space, SpacesRead

IDS_PER_QUERY_MAX: Final = 4096
"""Ids and CIDs gathered for one query; a single read that asks for more is sent alone."""

_Asked = tuple[Sequence[UUID], Sequence[tuple[UUID, str]]]
_Waiting = tuple[_Asked, "asyncio.Future[SpacesRead]"]


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
        """Read the spaces that exist among `ids`, as they are now; no query when `ids` is empty."""
        return (await self.read_spaces(ids)).spaces

    async def read_spaces(self, ids: Sequence[UUID], cids: Sequence[tuple[UUID, str]] = ()) -> SpacesRead:
        """Read what authorising needs: the spaces that exist among `ids`, and which of `cids` are revoked."""
        if not ids:
            return SpacesRead({}, frozenset())
        answer: asyncio.Future[SpacesRead] = asyncio.get_running_loop().create_future()
        self._waiting.append(((ids, cids), answer))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_waiting(), name="space reads")
        return await answer

    async def _read_waiting(self) -> None:
        """Serve reads until none waits. Each is served by a query that was sent after it was asked."""
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                batch = self._take()
                ids = [space for (wanted, _), _ in batch for space in wanted]
                cids = [pair for (_, pairs), _ in batch for pair in pairs]
                try:
                    read = await self._read(ids, cids)
                except StorageError as error:
                    _fail(batch, error)
                else:
                    _answer(batch, read)
        finally:
            self._reading = None
            _fail([*batch, *self._waiting], Unavailable())  # those left when this task is cancelled
            self._waiting.clear()

    async def _read(self, ids: Sequence[UUID], cids: Sequence[tuple[UUID, str]]) -> SpacesRead:
        if not cids:
            rows = await self._pool.fetch("get_spaces", ids)
            return SpacesRead({row[0]: _space(row) for row in rows}, frozenset())
        spaces, texts = zip(*cids, strict=True)
        rows = await self._pool.fetch("read_spaces", ids, spaces, texts)
        # A row with a CID is a revocation, any other one a space.
        return SpacesRead(
            {row[0]: Space(*row[:-1]) for row in rows if row[-1] is None},
            frozenset((row[0], row[-1]) for row in rows if row[-1] is not None),
        )

    def _take(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        room = IDS_PER_QUERY_MAX - _weight(batch[0])
        while self._waiting and _weight(self._waiting[0]) <= room:
            room -= _weight(self._waiting[0])
            batch.append(self._waiting.popleft())
        return batch

    async def create_space(
        self, space: UUID, client_id: str, root_public_key: bytes | None, home_server: str | None = None
    ) -> Space:
        """Insert a space with the database's defaults, or one that has its home at another server.

        Raises:
            SpaceExists: the id is taken.
        """
        rows = await self._pool.fetch("create_space", space, client_id, root_public_key, home_server)
        if not rows:
            raise SpaceExists
        return _space(rows[0])

    async def get_or_create_space(self, space: UUID, client_id: str) -> Space:
        """Return the space, created without root key if it was missing.

        An existing row is returned as it is, whoever created it and even when it has a root key.
        """
        rows = await self._pool.fetch("get_or_create_space", space, client_id)
        return _space(rows[0])


def _weight(waiting: _Waiting) -> int:
    (ids, cids), _ = waiting
    return len(ids) + len(cids)


def _answer(batch: Sequence[_Waiting], read: SpacesRead) -> None:
    spaces = read.spaces
    for (wanted, _), answer in batch:
        if not answer.done():  # else whoever asked is gone
            mine = {space: spaces[space] for space in wanted if space in spaces}
            answer.set_result(SpacesRead(mine, read.revoked))


def _fail(batch: Sequence[_Waiting], error: StorageError) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)


def _space(row: asyncpg.Record) -> Space:
    return Space(*row)
