"""Pulls (docs/storage.md 7). Implements `storage.stores.PullStore`.

Almost every pull is one page and one round trip: state of the space and entries in one statement, which is
one snapshot. Where the page is full, or leaves out a large value, it is discarded and a `PullReader` starts.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

from less_sync.storage.errors import translate
from less_sync.storage.postgres.pull_places import PullPlaces
from less_sync.storage.postgres.pull_reader import Patience, PullReader
from less_sync.storage.postgres.pull_values import read_meta
from less_sync.storage.queries import sql
from less_sync.storage.types import PullMeta, PullRow

if TYPE_CHECKING:
    import asyncpg

    from less_sync.storage.postgres.pool import PostgresPool

PAGE_ROWS: Final = 512
PAGE_INLINE_BYTES_MAX: Final = 64 * 1024

_NIL: Final = UUID(int=0)


class Page:
    """A pull that is complete."""

    def __init__(self, meta: PullMeta, rows: Sequence[PullRow]) -> None:
        self.meta = meta
        self._rows = rows

    async def batches(self) -> AsyncIterator[Sequence[PullRow]]:
        if self._rows:
            yield self._rows


class Stream:
    """A pull that is being read."""

    def __init__(self, meta: PullMeta, reader: PullReader) -> None:
        self.meta = meta
        self._reader = reader

    async def batches(self) -> AsyncIterator[Sequence[PullRow]]:
        while (rows := await self._reader.next()) is not None:
            yield rows


class PostgresPullStore:
    """Pulls over at most half of the pool, so that they cannot starve anything else.

    Args:
        patience: how long a pull may keep its snapshot before it reads on by pages.
    """

    def __init__(self, pool: "PostgresPool", *, patience: Patience | None = None) -> None:
        self.places: Final = PullPlaces(pool)
        """The share of the pool."""
        self._patience = patience or Patience()

    @asynccontextmanager
    async def pull(self, space: UUID, since: int, *, reader: str = "") -> AsyncIterator[Page | Stream | None]:
        """Open a pull of everything above `since`; None when the space is missing.

        Leaving the context ends the transaction and frees the connection, whatever was read.

        Raises:
            Unavailable: no connection in time, or the database was lost.
            StorageError: it failed.
        """
        page = await self._first_page(space, since, reader)
        if page is not TOO_MUCH:
            yield page
            return
        rest = PullReader(self.places, space, since, reader=reader, patience=self._patience)
        try:
            meta = await rest.open()
            yield None if meta is None else Stream(meta, rest)
        finally:
            await rest.aclose()

    async def _first_page(self, space: UUID, since: int, reader: str) -> Page | None:
        """Read one page; `TOO_MUCH` when there is more than that, None when the space is missing."""
        rows = await self._fetch_first(space, since, reader)
        if not rows:
            return None
        meta = read_meta(rows[0][9:])
        if since > meta.cursor:
            rows = await self._fetch_first(space, 0, reader)
            if not rows:
                return None
            meta = read_meta(rows[0][9:], restarted=True)
        return page_of(meta, rows, since)

    async def _fetch_first(self, space: UUID, since: int, reader: str) -> "list[asyncpg.Record]":
        try:
            async with self.places.connection(reader) as con:
                return await con.fetch(sql("pull_first"), space, since, PAGE_ROWS, PAGE_INLINE_BYTES_MAX)
        except Exception as error:
            raise translate(error) from error


TOO_MUCH: Final = Page(PullMeta(0, 0, None, False), ())
"""There is more than one page."""


def page_of(meta: PullMeta, rows: "Sequence[asyncpg.Record]", since: int) -> Page:
    """The pull whose first query gave `rows`, one at least; `TOO_MUCH` when they are not all."""
    if rows[0][0] is None:
        return Page(meta, ())
    entries = cast(list[PullRow], [row[:9] for row in rows])
    if len(entries) == PAGE_ROWS or any(row[0] < 0 for row in entries):
        return TOO_MUCH
    if since < 0:
        entries.sort(key=_order)
    return Page(meta, entries)


def _order(row: PullRow) -> tuple[int, int, UUID, int]:
    """Entries from before there were cursors all have cursor 0: by kind, then id or place in the log."""
    return row[1], row[0], row[2] or _NIL, row[7] or 0
