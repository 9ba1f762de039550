"""What the tests of this room share: pushes awaited, pulls collected, rows read and written directly."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID, uuid4

import asyncpg

from less_sync.storage import (
    PostgresPool,
    PostgresPullStore,
    PullMeta,
    PullRow,
    Push,
    PushLanes,
    PushOutcome,
    PushStatus,
    PushStore,
    StorageError,
)
from less_sync.storage.postgres.pull_reader import Patience
from tests.simulation.modelled_pool import ModelledPool
from tests.storage.model_rows import ModelRows
from tests.storage.rows import DEK, Rows
from tests.storage.sql_rows import SqlRows

Change = tuple[UUID, int, bytes | None]
"""(record id, expected cursor, blob)."""


def make_push(
    space: UUID,
    *changes: Change,
    client: str | None = None,
    dek: bytes | None = DEK,
    cids: Sequence[str] | None = None,
    min_epoch: int | None = None,
    local_only: bool = False,
    author: str = "",
) -> Push:
    return Push(
        space,
        [str(id) for id, _, _ in changes],
        [expected for _, expected, _ in changes],
        [blob for _, _, blob in changes],
        [dek] * len(changes),
        sum(len(blob or b"") + len(dek or b"") for _, _, blob in changes),
        client,
        cids,
        min_epoch,
        local_only,
        author,
    )


class Refused(StorageError):
    """What a test hears of a push that was refused at once."""


def submit(lanes: PushStore, push: Push) -> "asyncio.Future[PushOutcome | StorageError]":
    """Submit and return a future of what `done` is called with; `Refused` if the push was refused."""
    future: asyncio.Future[PushOutcome | StorageError] = asyncio.get_running_loop().create_future()
    if not lanes.submit(push, future.set_result):
        future.set_result(Refused())
    return future


async def write(lanes: PushStore, push: Push) -> PushOutcome:
    """Submit and return the outcome; a storage error is raised."""
    result = await submit(lanes, push)
    if isinstance(result, StorageError):
        raise result
    return result


async def written(lanes: PushStore, space: UUID, *changes: Change, dek: bytes | None = DEK) -> int:
    """Push changes that must succeed and return the new cursor."""
    outcome = await write(lanes, make_push(space, *changes, client="client", dek=dek))
    assert outcome.status is PushStatus.WRITTEN
    return outcome.cursor


def patient(portal_s: float) -> Patience:
    """Pulls keep their portal for `portal_s` though others wait, or nobody takes the batches."""
    return Patience(portal_s=portal_s, portal_wanted_s=portal_s, consumer_s=60.0)


async def pulled(pulls: PostgresPullStore, space: UUID, since: int) -> tuple[PullMeta, list[PullRow]]:
    """Pull everything above `since` as plain tuples."""
    async with pulls.pull(space, since) as pull:
        assert pull is not None
        return pull.meta, [as_tuple(row) async for batch in pull.batches() for row in batch]


def as_tuple(row: PullRow) -> PullRow:
    """A row that compares, whichever kind of sequence it came as."""
    kind, cursor, id, b1, b2, b3, record_id, number, deleted = row
    return kind, cursor, id, b1, b2, b3, record_id, number, deleted


@asynccontextmanager
async def opened(url: str, *, max_connections: int = 10) -> AsyncIterator[PostgresPool]:
    """A pool beside the test's own. Always closed: a connection left open would hang the end of the test."""
    pool = await PostgresPool.open(url, max_connections=max_connections)
    try:
        yield pool
    finally:
        await pool.aclose(5.0)


@asynccontextmanager
async def started(pool: PostgresPool, *, lanes: int = 2) -> AsyncIterator[PushLanes]:
    """Lanes beside the test's own."""
    opened_lanes = await PushLanes.start(pool, lanes=lanes)
    try:
        yield opened_lanes
    finally:
        await opened_lanes.aclose(5.0)


def locked(pool: PostgresPool, space: UUID) -> AbstractAsyncContextManager[None]:
    """Hold the row of a space, as a transaction of the existing server would."""
    return rows(pool).locked(space)


async def lock_waits(pool: PostgresPool, count: int) -> None:
    """Return once `count` sessions of this database wait for a lock."""
    async with asyncio.timeout(20.0):
        while await rows(pool).lock_waits() < count:  # noqa: ASYNC110 - only the database knows
            await asyncio.sleep(0.005)


def rows(pool: PostgresPool) -> Rows:
    """The rows of a pool's database, whichever it has."""
    return ModelRows(pool) if isinstance(pool, ModelledPool) else SqlRows(pool)


async def execute(pool: PostgresPool, text: str, *args: object) -> None:
    """Run a statement, which the model does not understand: `rows` is for tests that run over both."""
    await pool.run(lambda con: con.execute(text, *args))


async def select(pool: PostgresPool, text: str, *args: object) -> list[asyncpg.Record]:
    return await pool.run(lambda con: con.fetch(text, *args))


async def shared_space(pool: PostgresPool, *, min_epoch: int = 1) -> UUID:
    """Make a space with a root key."""
    space = uuid4()
    await rows(pool).add_space(space, root_key=b"\x02" + bytes(32), epoch=min_epoch)
    return space


async def many_records(pool: PostgresPool, space: UUID, *, pushes: int, each: int, blob_bytes: int) -> None:
    """Write `pushes` pushes of `each` new records straight into the tables."""
    await rows(pool).add_space(space, cursor=pushes)
    await rows(pool).add_records(space, count=pushes * each, each=each, blob=b"\xab" * blob_bytes)


async def transactions_open(pool: PostgresPool) -> int:
    return await rows(pool).transactions_open()


async def until_no_transaction_is_open(pool: PostgresPool) -> None:
    async with asyncio.timeout(20.0):
        while await transactions_open(pool):  # noqa: ASYNC110 - only the database knows
            await asyncio.sleep(0)
