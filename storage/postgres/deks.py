"""Wrapped DEKs: listing and re-wrapping (docs/storage.md 5.4). Implements `storage.stores.DekStore`.

A listing is read by pages that hold nothing between them, as a pull by a slow client is (docs/storage.md
7.3): neither a connection nor a snapshot waits for whoever reads it. Its upper bound is the space's cursor at
the first page; what is written meanwhile moves above that.
"""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from less_sync.storage.errors import StorageError, read_status
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.postgres.space_rows import SPACE_COLUMNS, split_space
from less_sync.storage.stores import NOBODY
from less_sync.storage.types import DEK_EPOCH_BYTES, Caller, DekKind, DekRow, RewrapStatus, Space

if TYPE_CHECKING:
    import asyncpg

PAGE_ROWS: Final = 2048
PAGE_BYTES: Final = 512 * 1024
"""DEKs of a page before its last: a page is at most this and one DEK, whatever was pushed."""

_LISTING: Final = {DekKind.RECORDS: "record_deks", DekKind.FILES: "file_deks"}
_LAST_ID: Final = UUID(int=2**128 - 1)
_POSITIONS: Final = 1


class PostgresDekStore:
    """Every page and every rewrap is one round trip; it raises what `PostgresPool.run` does."""

    def __init__(
        self, pool: PostgresPool, *, page_rows: int = PAGE_ROWS, page_bytes: int = PAGE_BYTES
    ) -> None:
        self._pool = pool
        self._page_rows = page_rows
        self._page_bytes = page_bytes

    async def get(
        self, kind: DekKind, space: UUID, since: int, *, cids: Sequence[str] = ()
    ) -> "PostgresDekListing | None":
        """List the DEKs with a cursor above `since`; None when the space is missing."""
        rows = await self._fetch(kind, space, since, _LAST_ID, None, cids)
        found = split_space(rows)
        if found is None:
            return None
        row, revoked, rest = found
        return PostgresDekListing(self, kind, row, revoked, _entries(rest))

    async def page(self, kind: DekKind, space: Space, after: DekRow) -> Sequence[DekRow]:
        """Read the page of a listing that follows entry `after`."""
        after_id, _, cursor = after
        found = split_space(await self._fetch(kind, space.id, cursor, after_id, space.cursor, ()))
        return [] if found is None else _entries(found[2])

    async def _fetch(
        self,
        kind: DekKind,
        space: UUID,
        cursor: int,
        after: UUID,
        cursor_max: int | None,
        cids: Sequence[str],
    ) -> "list[asyncpg.Record]":
        rows, size = self._page_rows, self._page_bytes
        return await self._pool.fetch(_LISTING[kind], space, cursor, after, cursor_max, rows, size, cids)

    def full(self, page: Sequence[DekRow]) -> bool:
        """Whether more may follow a page."""
        return len(page) >= self._page_rows or sum(len(dek) for _, dek, _ in page) >= self._page_bytes

    async def rewrap(
        self,
        kind: DekKind,
        space: UUID,
        ids: Sequence[UUID | str | None],
        deks: Sequence[bytes],
        *,
        read_cursor: int | None = None,
        caller: Caller = NOBODY,
    ) -> RewrapStatus:
        """Replace the DEKs of rows, all or none.

        `lsync_rewrap_v1` holds the lock of the space's row, so neither epoch nor rows change between check
        and write: whoever pushes to the space or advances its epoch takes that lock first.
        """
        if not ids and caller == NOBODY:
            return RewrapStatus.REWRAPPED
        bad_id = _position_of_none(ids)
        sent_ids, sent_deks = _distinct(ids[:bad_id], deks[:bad_id])
        [row] = await self._pool.fetch(
            "rewrap",
            space,
            kind is DekKind.FILES,
            sent_ids,
            sent_deks,
            read_cursor,
            caller.client,
            caller.cids,
            caller.local_only,
        )
        status, bad_epoch, missing, changed = row
        if status != _POSITIONS:
            return read_status(RewrapStatus, status)
        if bad_epoch is not None and kind is DekKind.FILES:
            return RewrapStatus.EPOCH_MISMATCH
        refusals = [
            (position, refusal)
            for position, refusal in (
                (bad_epoch, RewrapStatus.EPOCH_MISMATCH),
                (missing, RewrapStatus.NOT_FOUND),
                (changed, RewrapStatus.CHANGED),
            )
            if position is not None
        ]
        if not refusals:
            raise StorageError("the database refused a rewrap without a reason this release knows")
        first, refusal = min(refusals)
        if refusal is RewrapStatus.NOT_FOUND and sent_ids[first - 1] is None:
            return RewrapStatus.BAD_ID
        return refusal


class PostgresDekListing:
    """A `storage.stores.DekListing` whose first page has been read."""

    def __init__(
        self,
        store: PostgresDekStore,
        kind: DekKind,
        space: Space,
        revoked: frozenset[tuple[UUID, str]],
        first: Sequence[DekRow],
    ) -> None:
        self.space = space
        self.revoked = revoked
        self._store = store
        self._kind = kind
        self._page = first

    async def batches(self) -> AsyncIterator[Sequence[DekRow]]:
        """Yield the pages; one is in memory at a time. The position rises with each, so they end."""
        while self._page:
            page, self._page = self._page, ()
            yield page
            if self._store.full(page):
                self._page = await self._store.page(self._kind, self.space, page[-1])


def _entries(rows: "Sequence[asyncpg.Record]") -> list[DekRow]:
    return [row[SPACE_COLUMNS:] for row in rows]


def _position_of_none(ids: Sequence[UUID | str | None]) -> int:
    """How many entries to send: up to the first id that is none, which names no row and so fails there."""
    try:
        return ids.index(None) + 1
    except ValueError:
        return len(ids)


def _distinct(
    ids: Sequence[UUID | str | None], deks: Sequence[bytes]
) -> tuple[Sequence[UUID | str | None], Sequence[bytes]]:
    """Leave of entries with the same id the last DEK, at the place of the first: there they fail together.

    Unless their DEKs are of different epochs: one of them is then wrong, nothing can be written, and the
    place of the wrong one counts. So these stay.
    """
    distinct = dict(zip(ids, deks, strict=True))
    if len(distinct) == len(ids):
        return ids, deks
    epochs = {row_id: dek[:DEK_EPOCH_BYTES] for row_id, dek in distinct.items()}
    if any(epochs[row_id] != dek[:DEK_EPOCH_BYTES] for row_id, dek in zip(ids, deks, strict=True)):
        return ids, deks
    return list(distinct), list(distinct.values())
