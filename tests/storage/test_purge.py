"""Deleting a space while others write to it. Over Postgres alone: locks are what it is about."""

import asyncio
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    Caller,
    PostgresFileStore,
    PostgresPool,
    PostgresSpaceStore,
    Purged,
    PushLanes,
    PushStatus,
    RecordFileStatus,
    StorageError,
    purge_space,
)
from tests.storage.support import (
    execute,
    lock_waits,
    locked,
    make_push,
    opened,
    select,
    shared_space,
    started,
    submit,
    write,
    written,
)

TABLES = ("spaces", "records", "files", "members", "revocations")
DEK = bytes(44)


async def rows_of(pool: PostgresPool, space: UUID) -> dict[str, int]:
    counts = {}
    for table in TABLES:
        column = "id" if table == "spaces" else "space_id"
        [row] = await select(pool, f"SELECT count(*) FROM {table} WHERE {column} = $1", space)
        counts[table] = row[0]
    return counts


async def full_space(pool: PostgresPool, lanes: PushLanes) -> UUID:
    """A shared space with a record, a tombstone, a file, a membership entry and a revocation."""
    space, record, gone = await shared_space(pool), uuid4(), uuid4()
    await write(lanes, make_push(space, (record, 0, b"x"), (gone, 0, b"y")))
    await write(lanes, make_push(space, (gone, 1, None)))
    async with PostgresFileStore(pool).lock(space, uuid4(), user="u") as lock:
        await lock.record(record, 5, DEK, replace=False)
    await execute(pool, "INSERT INTO members VALUES ($1, 1, NULL, 'h', 'p', 9)", space)
    await execute(pool, "INSERT INTO revocations VALUES ($1, 'cid')", space)
    return space


async def test_everything_of_the_space_goes_and_nothing_of_others(
    database_url: str, pool: PostgresPool, lanes: PushLanes
) -> None:
    space, other = await full_space(pool, lanes), await full_space(pool, lanes)
    before = await rows_of(pool, other)
    assert await purge_space(pool, space) == Purged(files=1, records=2, members=1, revocations=1)
    assert set((await rows_of(pool, space)).values()) == {0}
    assert await rows_of(pool, other) == before
    assert await purge_space(pool, space) is None


async def test_a_push_that_waited_for_the_purge_finds_no_shared_space_and_begins_a_personal_one_anew(
    database_url: str, pool: PostgresPool, lanes: PushLanes
) -> None:
    shared, personal = await full_space(pool, lanes), uuid4()
    await written(lanes, personal, (uuid4(), 0, b"old"))
    for space, push in (
        (shared, make_push(shared, (uuid4(), 0, b"new"))),
        (personal, make_push(personal, (uuid4(), 0, b"new"), client="client")),
    ):
        async with locked(pool, space):
            purging = asyncio.create_task(purge_space(pool, space))
            await lock_waits(pool, 1)
            pushing = submit(lanes, push)
            await lock_waits(pool, 2)
        assert await purging is not None
        outcome = await pushing
        assert not isinstance(outcome, StorageError)
        if space == shared:
            assert outcome.status is PushStatus.NO_SPACE
        else:
            assert (outcome.status, outcome.cursor) == (PushStatus.WRITTEN, 1)
    assert (await rows_of(pool, shared))["records"] == 0
    assert (await rows_of(pool, personal))["records"] == 1


async def test_pushes_without_end_neither_survive_the_purge_nor_tear_it(
    database_url: str, pool: PostgresPool
) -> None:
    space = await shared_space(pool)
    async with opened(database_url, max_connections=4) as beside, started(beside) as lanes:
        statuses: list[PushStatus] = []

        async def author() -> None:
            while PushStatus.NO_SPACE not in statuses:
                statuses.append((await write(lanes, make_push(space, (uuid4(), 0, b"x")))).status)

        authors = [asyncio.create_task(author()) for _ in range(4)]
        while len(statuses) < 50:  # noqa: ASYNC110  # the authors' doing
            await asyncio.sleep(0.001)
        gone = await purge_space(pool, space)
        await asyncio.gather(*authors)
    assert gone is not None
    assert gone.records == statuses.count(PushStatus.WRITTEN)
    assert set((await rows_of(pool, space)).values()) == {0}


async def test_an_upload_that_waited_finds_no_space(
    database_url: str, pool: PostgresPool, lanes: PushLanes
) -> None:
    space, record = await shared_space(pool), uuid4()
    await write(lanes, make_push(space, (record, 0, b"x")))
    async with PostgresFileStore(pool).lock(space, uuid4(), user="u") as lock:
        async with locked(pool, space):
            purging = asyncio.create_task(purge_space(pool, space))
            await lock_waits(pool, 1)
            recording = asyncio.create_task(
                lock.record(record, 5, DEK, replace=False, caller=Caller(cids=[]))
            )
            await lock_waits(pool, 2)
        assert await purging is not None
        assert (await recording).status is RecordFileStatus.NO_SPACE
    assert set((await rows_of(pool, space)).values()) == {0}


async def test_a_purge_that_is_cancelled_or_gets_no_lock_deletes_nothing(
    database_url: str, pool: PostgresPool, lanes: PushLanes
) -> None:
    space = await full_space(pool, lanes)
    before = await rows_of(pool, space)
    async with opened(f"{database_url}{'&' if '?' in database_url else '?'}lock_timeout=100ms") as impatient:
        async with locked(pool, space):
            with pytest.raises(StorageError) as caught:
                await purge_space(impatient, space)
    assert caught.value.sqlstate == "55P03"
    async with locked(pool, space):
        purging = asyncio.create_task(purge_space(pool, space))
        await lock_waits(pool, 1)
        purging.cancel()
        await asyncio.gather(purging, return_exceptions=True)
    assert await rows_of(pool, space) == before
    assert space in await PostgresSpaceStore(pool).get_spaces([space])
