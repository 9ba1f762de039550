"""Pulls from a replica where it has everything (docs/scaling.md 5). Implements `storage.stores.PullStore`.

While the primary tells what the space has, the replica reads: no round trip is added. Its rows are used when
its snapshot has all that; else, and when it fails, the primary is read. Who may read was asked of the primary
before, so a replica decides nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from less_sync.storage.errors import StorageError, Unavailable, translate
from less_sync.storage.postgres.pull_places import PullPlaces
from less_sync.storage.postgres.pull_reader import Patience, PullReader
from less_sync.storage.postgres.pull_values import read_meta
from less_sync.storage.postgres.pulls import (
    PAGE_INLINE_BYTES_MAX,
    PAGE_ROWS,
    TOO_MUCH,
    Page,
    PostgresPullStore,
    Stream,
    page_of,
)
from less_sync.storage.postgres.replicas import NotFit, Replica, Replicas
from less_sync.storage.queries import sql

if TYPE_CHECKING:
    import asyncpg

    from less_sync.storage.postgres.pool import PooledConnection

PATIENCE_S: Final = 1.0


class _Ask(Enum):
    PRIMARY = auto()


class _Busy(NotFit):
    """All its connections are in use: no fault of its."""


class ReplicatedPullStore:
    """Pulls from `replicas` in turn, and from `primary` what they do not have.

    Args:
        patience: how long a pull may keep the snapshot of a replica before it reads on by pages.
        wait_s: for which a pull waits for a replica, counted from the answer of the primary.
    """

    def __init__(
        self,
        primary: PostgresPullStore,
        replicas: Replicas,
        *,
        patience: Patience | None = None,
        wait_s: float = PATIENCE_S,
    ) -> None:
        self._wait_s = wait_s
        self._primary = primary
        self._replicas = replicas
        self._patience = patience or Patience()

    @asynccontextmanager
    async def pull(self, space: UUID, since: int, *, reader: str = "") -> AsyncIterator[Page | Stream | None]:
        """As `PostgresPullStore.pull`; what a replica does not give, the primary does."""
        pull = _Pull(self._primary.places, space, since, reader, self._patience, self._wait_s)
        replica = self._replicas.take(pull)
        if replica is not None:
            try:
                opened = await pull.open(replica)
                if not isinstance(opened, _Ask):
                    yield opened
                    return
            finally:
                replica.release(pull)
                await pull.aclose()
        async with self._primary.pull(space, since, reader=reader) as opened_there:
            yield opened_there


class _Pull:
    """One pull that a replica is asked for. Implements `pull_reader.Standby`."""

    def __init__(
        self,
        primary: PullPlaces,
        space: UUID,
        since: int,
        reader: str,
        patience: Patience,
        wait_s: float,
    ) -> None:
        self._wait_s = wait_s
        self._primary = primary
        self._space = space
        self._since = since
        self._reader = reader
        self._patience = patience
        self._replica: Replica | None = None
        self._bound: asyncpg.Record | None = None
        self._rest: PullReader | None = None

    async def open(self, replica: Replica) -> Page | Stream | _Ask | None:
        """Read from `replica`, or say that the primary is to be read; None when the space is missing there.

        Raises:
            StorageError: the primary did not answer.
        """
        self._replica = replica
        asked = replica.ask(partial(self._read_first, replica))
        try:
            bound = await self._read_bound()
        except BaseException:
            asked.cancel()
            raise
        # An answer of the replica that is not needed is left alone: to cancel it would cost more.
        if bound is None:
            return None
        if not bound["settled"] or bound["rewrap_epoch"] is not None or self._since > bound["cursor"]:
            # DEKs may be changing, which no cursor tells of; or a client is ahead, and begins again.
            return _Ask.PRIMARY
        self._bound = bound
        try:
            opened = await self._read(replica, asked)
        except _Busy:
            return _Ask.PRIMARY
        except StorageError as error:
            replica.refused(error)
            return _Ask.PRIMARY
        replica.served()
        return opened

    async def aclose(self) -> None:
        """End what still reads."""
        if self._rest is not None:
            await self._rest.aclose()

    def check(self, row: "Sequence[Any] | None") -> None:
        """Compare what the replica's snapshot has with what the primary had."""
        bound = self._bound
        assert bound is not None
        if row is None:
            raise NotFit("behind", "the space is not there yet")
        cursor, key_generation, rewrap_epoch, _, version, made, _, standby = row
        if not standby:
            raise NotFit("stranger", "it takes writes")
        if (
            cursor < bound["cursor"]
            or key_generation < bound["key_generation"]
            or version < bound["metadata_version"]
            or rewrap_epoch is not None
            or made != bound["created_at"]  # deleted since, and made anew
        ):
            raise NotFit("behind", "it does not have everything yet")

    async def check_again(self, con: "PooledConnection", cursor: int) -> None:
        """As `check`, and that everything up to `cursor` is there: later than that nothing is unlearnt while
        the connection lasts."""
        row = await con.fetchrow(sql("pull_bound"), self._space)
        self.check(None if row is None else tuple(row))
        if row is not None and row["cursor"] < cursor:
            raise NotFit("behind", "it has less than before")

    async def confirm(self, con: "PooledConnection") -> None:
        """Make sure that it still follows. Asked after the page was read: it never begins to follow again."""
        if not await con.fetchval(sql("is_standby")):
            raise NotFit("stranger", "it takes writes")

    def left(self, error: StorageError) -> PullPlaces:
        """Count it, and read on from the primary."""
        assert self._replica is not None
        self._replica.counts.continued += 1
        if not isinstance(error, NotFit):
            # Recovery cuts the connection of a transaction that is idle, which cannot be told from a death:
            # the next try will tell.
            error = NotFit("cancelled", f"the pull was cut off: {error}")
        self._replica.refused(error)
        return self._primary

    async def _read_bound(self) -> "asyncpg.Record | None":
        try:
            async with self._primary.connection(self._reader) as con:
                return await con.fetchrow(sql("pull_bound"), self._space)
        except Exception as error:
            raise translate(error) from error

    async def _read_first(self, replica: Replica) -> "list[asyncpg.Record]":
        """Read the first page; who finds no place at once does not wait for one."""
        assert replica.pool is not None
        turns = replica.places.turns
        if not turns.take_now(self._reader):
            raise _Busy("behind", "all its connections are in use")
        try:
            async with replica.pool.connection() as con:
                return await con.fetch(
                    sql("pull_first_of_replica"), self._space, self._since, PAGE_ROWS, PAGE_INLINE_BYTES_MAX
                )
        finally:
            turns.release(self._reader)

    async def _read(
        self, replica: Replica, asked: "asyncio.Task[list[asyncpg.Record] | StorageError]"
    ) -> Page | Stream:
        """Wait for the replica; raises its `StorageError`."""
        try:
            await asyncio.wait({asked}, timeout=self._wait_s)
        finally:
            asked.cancel()
        if not asked.done():
            raise _no_answer(self._wait_s)
        rows = asked.result()
        if isinstance(rows, StorageError):
            raise rows
        state = rows[0][9:] if rows else None
        self.check(state)
        assert state is not None
        page = page_of(read_meta(state[:4]), rows, self._since)
        return page if page is not TOO_MUCH else await self._read_rest(replica)

    async def _read_rest(self, replica: Replica) -> Stream:
        if replica.places.turns.full:
            raise _Busy("behind", "all its connections are in use")
        rest = PullReader(
            replica.places,
            self._space,
            self._since,
            reader=self._reader,
            patience=self._patience,
            standby=self,
        )
        meta = None
        try:
            async with asyncio.timeout(self._wait_s):
                meta = await rest.open()
        except TimeoutError as error:
            raise _no_answer(self._wait_s) from error
        finally:
            if meta is None:
                replica.ask(rest.aclose)  # which may take seconds, if it does not answer
        assert meta is not None, "check() refuses a space that is missing"
        self._rest = rest
        return Stream(meta, rest)


def _no_answer(wait_s: float) -> StorageError:
    return Unavailable(f"no answer within {wait_s:g} s")
