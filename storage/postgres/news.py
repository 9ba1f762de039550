"""What a node compares itself with, and reads when it has missed something (docs/storage.md 7.7).

Implements `storage.stores.NewsStore`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast
from uuid import UUID

from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.types import Invited, PullRow, SpaceNews, SpaceState

INVITATIONS_PER_PAGE: Final = 1000
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_NIL: Final = UUID(int=0)


class PostgresNewsStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def compare(self, ids: Sequence[UUID]) -> dict[UUID, SpaceState]:
        """Where the spaces that exist among `ids` are."""
        rows = await self._pool.fetch("compare_spaces", ids)
        return {row[0]: SpaceState(row[1], row[2], row[3]) for row in rows}

    async def between(
        self, space: UUID, above: int, up_to: int, *, rows_max: int, bytes_max: int
    ) -> SpaceNews | None:
        """What was written in a space between two cursors and is there still; None when it is missing."""
        rows = await self._pool.fetch("news_between", space, above, up_to, rows_max + 1, bytes_max)
        if not rows:
            return None
        cursor, key_generation, rewrap_epoch, size_bytes = rows[0][9:]
        if size_bytes is None:
            return SpaceNews(cursor, key_generation, rewrap_epoch, ())
        entries = cast(list[PullRow], [tuple(row[:9]) for row in rows])
        if len(entries) > rows_max or size_bytes > bytes_max:
            return SpaceNews(cursor, key_generation, rewrap_epoch, None)
        entries.sort(key=_order)
        return SpaceNews(cursor, key_generation, rewrap_epoch, entries)

    async def revoked_among(self, pairs: Sequence[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
        """Those of `pairs`, a space and a CID each, that are revoked."""
        if not pairs:
            return set()
        spaces, cids = zip(*pairs, strict=True)
        rows = await self._pool.fetch("revoked_among", spaces, cids)
        return {(row[0], row[1]) for row in rows}

    async def invited_since(self, seconds: float, after: Invited | None = None) -> Sequence[Invited]:
        """The invitations stored in the last `seconds`, a page of them."""
        expires_at, invitation = (_FIRST, _NIL) if after is None else (after.expires_at, after.id)
        rows = await self._pool.fetch("invited_since", seconds, expires_at, invitation, INVITATIONS_PER_PAGE)
        return [Invited(*row) for row in rows]


def _order(row: PullRow) -> tuple[int, int, UUID]:
    """By cursor, there records before members before files, each by its id."""
    return row[1], row[0], row[2] or _NIL
