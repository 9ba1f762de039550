"""Reads one long pull: first from a portal, then by pages (docs/storage.md 7.2 and 7.3).

A task of its own fetches and hands over; it fetches the next batch while the consumer uses the one before,
and no further, so two batches are in memory and a slow consumer stops the database. All of its state is the
position after which to go on, so it can let go of the portal, and of its place among pulls, at any batch.

Pages hold nothing between queries. They read what has a cursor up to that of the snapshot: whatever was
changed since has a higher one and comes with the next pull, so after both the client has everything.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from uuid import UUID

from less_sync.storage.errors import StorageError, translate
from less_sync.storage.postgres.ending import roll_back
from less_sync.storage.postgres.pull_places import PullPlaces
from less_sync.storage.postgres.pull_values import (
    INLINE_BYTES_MAX,
    ROWS_FIRST,
    load,
    pieces,
    read_meta,
    rows_next,
)
from less_sync.storage.queries import sql
from less_sync.storage.types import MEMBER, PullMeta, PullRow

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import PooledConnection

_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL plan_cache_mode = force_custom_plan"
)
_LAST_ID: Final = UUID(int=2**128 - 1)


@dataclass(slots=True)
class _Position:
    """After which entry to go on. `legacy` is not None while the entries at cursor 0 are being read."""

    cursor: int
    id: UUID = _LAST_ID
    legacy: tuple[int, UUID, int] | None = None

    def advance(self, row: PullRow) -> None:
        kind, cursor, row_id, number = abs(row[0]), row[1], row[2], row[7]
        if self.legacy is not None:
            self.legacy = (kind, row_id or UUID(int=0), (number or 0) if kind == MEMBER else 0)
        else:
            self.cursor, self.id = cursor, row_id or _LAST_ID


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a pull may keep its portal, in seconds; then it reads on by pages."""

    portal_s: float = 5.0
    """Altogether: a snapshot holds back vacuum."""
    portal_wanted_s: float = 0.25
    """While others wait for a place."""
    consumer_s: float = 1.0
    """While the consumer does not take the batch that is ready, if nobody waits; else not at all."""


class Standby(Protocol):
    """What a reader asks of a replica that it reads from (docs/scaling.md 5)."""

    def check(self, row: "Sequence[Any] | None") -> None:  # Any: as the driver gives
        """Look at what the snapshot has of the space, as `pull_bound` tells it.

        Raises:
            StorageError: it lacks something; nothing was read yet.
        """

    async def check_again(self, con: "PooledConnection", cursor: int) -> None:
        """Called before a page up to `cursor` is read outside that snapshot, on the same connection.

        Raises:
            StorageError: what answers lacks something that was there before: it has restarted and is still
                replaying, or is another standby at the same address.
        """

    async def confirm(self, con: "PooledConnection") -> None:
        """Called after a page was read outside that snapshot, before any of it is used.

        Raises:
            StorageError: the database follows the primary no longer, so the page may be another truth.
        """

    def left(self, error: StorageError) -> PullPlaces:
        """It has failed while the pull was read: give the share of the primary, where reading goes on."""


class PullReader:
    """One pull of one space.

    Args:
        places: the share of the pool that pulls may use.
        reader: who takes a place there.
        standby: set when `places` are a replica's.
    """

    def __init__(
        self,
        places: PullPlaces,
        space: UUID,
        since: int,
        *,
        reader: str,
        patience: Patience,
        standby: Standby | None = None,
    ) -> None:
        self._standby = standby
        self._places = places
        self._space = space
        self._since = since
        self._reader = reader
        self._patience = patience
        self._position = _Position(0)
        self._began_s = 0.0
        self._rows = ROWS_FIRST
        self._cursor = 0
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._meta: asyncio.Future[PullMeta | None] = loop.create_future()
        self._queue: asyncio.Queue[Sequence[PullRow] | StorageError | None] = asyncio.Queue(1)
        self._hungry = False
        """Whether the consumer waits for a batch: what is handed over then is as good as taken."""
        self._moved = asyncio.Event()
        """Set when the consumer takes a batch, and when the place is wanted while he does not."""
        self._task = asyncio.create_task(self._run(), name="pull")

    async def open(self) -> PullMeta | None:
        """Wait for the snapshot; None when the space is missing.

        Raises:
            Unavailable: no connection in time.
            StorageError: the database failed.
        """
        return await asyncio.shield(self._meta)

    async def next(self) -> Sequence[PullRow] | None:
        """Return the next batch, None after the last. Raises the `StorageError` that ended the pull."""
        self._hungry = True
        try:
            batch = await self._queue.get()
        finally:
            self._hungry = False
        self._moved.set()
        if isinstance(batch, StorageError):
            raise batch
        return batch

    async def aclose(self) -> None:
        """Stop, roll back and give the connection back; goes on by itself when the caller is cancelled."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            await self._read()
            await self._queue.put(None)
        except Exception as error:
            failed = translate(error)
            if self._meta.done():
                await self._queue.put(failed)
            else:
                self._meta.set_exception(failed)
        finally:
            self._meta.cancel()

    async def _read(self) -> None:
        """Hand over everything; what a replica fails to give comes from the primary.

        The pages of the primary go on after the last entry that was handed over, up to the cursor of the
        replica's snapshot. Whatever that had, the primary has too, as it was then or with a higher cursor.
        """
        try:
            if not await self._portal():
                await self._pages()
        except Exception as error:
            if self._standby is None or not self._meta.done():
                raise
            self._places, self._standby = self._standby.left(translate(error)), None
            await self._pages()

    async def _portal(self) -> bool:
        """Read in one snapshot; True when that was everything.

        Nothing is on its way on the connection when this ends, however it ends: each query is awaited here,
        and the driver waits for the end of one that was cancelled before it sends the ROLLBACK.
        """
        async with self._places.connection(self._reader) as con:
            try:
                self._began_s = self._time()
                await con.execute(_BEGIN)
                meta = await self._read_meta(con)
                self._meta.set_result(meta)
                if meta is None:
                    return True
                return await self._read_legacy(con) and await self._read_portal(con)
            finally:
                await roll_back(con)

    async def _read_meta(self, con: "PooledConnection") -> PullMeta | None:
        if self._standby is None:
            row = await con.fetchrow(sql("pull_meta"), self._space)
        else:
            row = await con.fetchrow(sql("pull_bound"), self._space)
            self._standby.check(None if row is None else tuple(row))
        if row is None:
            return None
        self._cursor = row[0]
        restarted = self._since > self._cursor
        if restarted:
            self._since = 0
        if self._since < 0:
            self._position.legacy = (0, UUID(int=0), 0)
        self._position.cursor = max(0, self._since)
        return read_meta(row[:4], restarted=restarted)

    async def _read_portal(self, con: "PooledConnection") -> bool:
        """Read everything above the position; False when the portal was given up before the end."""
        cursor = await con.cursor(
            sql("pull_all"), self._space, self._position.cursor, self._since, INLINE_BYTES_MAX
        )
        while True:
            asked = self._rows
            rows = cast(list[PullRow], await cursor.fetch(asked))
            last = len(rows) < asked
            if not await self._hand_over(con, rows, last=last):
                return False
            if last:
                return True

    async def _read_legacy(self, con: "PooledConnection") -> bool:
        """Read the entries at cursor 0 in the snapshot; False when that was given up before the end."""
        while self._position.legacy is not None:
            rows = await self._fetch_legacy(con, self._position.legacy)
            if not await self._hand_over(con, rows):
                return False
            if len(rows) < ROWS_FIRST:
                self._position.legacy = None
        return True

    async def _hand_over(
        self, con: "PooledConnection", rows: Sequence[PullRow], *, last: bool = False
    ) -> bool:
        """Give one batch to the consumer; False when the portal is to be given up, as soon as it is.

        Args:
            last: nothing follows, so nobody has to wait until the batch is taken.
        """
        if not rows:
            return True
        cut = pieces(rows)
        for number, piece in enumerate(cut, 1):
            await self._put(await load(con, self._space, piece))
            self._position.advance(piece[-1])
            if last and number == len(cut):
                break
            if not await self._taken_in_time() or self._must_let_go():
                return False
        self._rows = rows_next(rows)
        return True

    async def _put(self, batch: Sequence[PullRow]) -> None:
        self._moved.clear()
        await self._queue.put(batch)

    async def _taken_in_time(self) -> bool:
        """Wait for the consumer to take the batch; False when the place is wanted, or he takes too long."""
        if self._hungry:
            return True
        deadline_s = min(self._time() + self._patience.consumer_s, self._began_s + self._patience.portal_s)
        self._places.turns.idle(self._reader, self._moved)
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._moved.wait()
        except TimeoutError:
            return False
        finally:
            self._places.turns.busy(self._moved)
        return self._queue.empty()

    def _must_let_go(self) -> bool:
        """Whether a consumer who reads as fast as he can has had the portal for long enough."""
        turns, age_s = self._places.turns, self._time() - self._began_s
        return (
            age_s >= self._patience.portal_s
            or (turns.wanted and age_s >= self._patience.portal_wanted_s)
            or turns.over_share(self._reader)
        )

    async def _taken(self) -> None:
        """Wait for the consumer to take the batch, however long that takes: nothing is held meanwhile."""
        while not self._queue.empty():
            self._moved.clear()
            await self._moved.wait()

    async def _pages(self) -> None:
        """Read the rest, with a connection only while a page is fetched."""
        complete = False
        while not complete:
            await self._taken()
            async with self._places.connection(self._reader) as con:
                batch, complete = await self._read_page(con)
            if batch:
                await self._put(batch)

    async def _read_page(self, con: "PooledConnection") -> tuple[Sequence[PullRow], bool]:
        """Return what comes after the position, and whether it was the last."""
        position = self._position
        if self._standby is not None:
            await self._standby.check_again(con, self._cursor)
        if position.legacy is not None:
            asked = ROWS_FIRST
            rows = await self._fetch_legacy(con, position.legacy)
        else:
            asked = self._rows
            rows = await self._fetch_page(con, asked)
        # Only one piece: the connection is not to be held while the consumer takes it.
        piece = pieces(rows)[0]
        batch, whole = await load(con, self._space, piece), len(piece) == len(rows)
        if self._standby is not None:
            await self._standby.confirm(con)
        if piece:
            position.advance(piece[-1])
            self._rows = rows_next(rows)
        exhausted = whole and len(rows) < asked
        if exhausted and position.legacy is not None:
            position.legacy = None
            return batch, False
        return batch, exhausted

    async def _fetch_legacy(self, con: "PooledConnection", after: tuple[int, UUID, int]) -> Sequence[PullRow]:
        rows = await con.fetch(sql("pull_legacy"), self._space, INLINE_BYTES_MAX, *after, ROWS_FIRST)
        return cast(list[PullRow], rows)

    async def _fetch_page(self, con: "PooledConnection", limit: int) -> Sequence[PullRow]:
        after = self._position
        rows = await con.fetch(
            sql("pull_page"),
            self._space,
            after.cursor,
            self._since,
            INLINE_BYTES_MAX,
            after.id,
            self._cursor,
            limit,
        )
        return cast(list[PullRow], rows)
