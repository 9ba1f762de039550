"""What a push does to files and to other spaces: docs/storage.md 4.1."""

import asyncio
from uuid import UUID, uuid4

import pytest

from less_sync.storage import PostgresPool, PostgresPullStore, PushLanes, PushOutcome, PushStatus
from tests.storage.support import (
    lock_waits,
    make_push,
    many_records,
    opened,
    pulled,
    rows,
    select,
    started,
    submit,
    write,
    written,
)


async def add_file(pool: PostgresPool, space: UUID, record: UUID) -> UUID:
    return await rows(pool).add_file(space, record, cursor=1)


async def test_tombstones_remove_the_files_of_their_records_and_say_which(
    lanes: PushLanes, pool: PostgresPool
) -> None:
    space, one, two, kept = uuid4(), uuid4(), uuid4(), uuid4()
    await written(lanes, space, *((record, 0, b"x") for record in (one, two, kept)))
    gone = {(await add_file(pool, space, record), record) for record in (one, one, two)}
    stays = await add_file(pool, space, kept)
    outcome = await write(
        lanes, make_push(space, (one, 1, None), (two, 1, None), (kept, 1, b"y"), client="client")
    )
    assert set(outcome.removed_files) == gone
    assert [row.id for row in await rows(pool).files()] == [stays]


async def test_a_tombstone_of_a_record_without_files_removes_none(
    lanes: PushLanes, pool: PostgresPool
) -> None:
    space, record, other = uuid4(), uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"))
    await written(lanes, other, (uuid4(), 0, b"x"))
    # The database allows a file of another space to name the record: it is not this space's to remove.
    foreign = await add_file(pool, other, record)
    outcome = await write(lanes, make_push(space, (record, 1, None), client="client"))
    assert outcome == PushOutcome(PushStatus.WRITTEN, 2, 1)
    assert [row.id for row in await rows(pool).files()] == [foreign]


async def test_two_spaces_do_not_see_each_others_records(lanes: PushLanes, pulls: PostgresPullStore) -> None:
    one, two = uuid4(), uuid4()
    await written(lanes, one, (uuid4(), 0, b"one"))
    await written(lanes, two, (uuid4(), 0, b"two"))
    assert [row[3] for row in (await pulled(pulls, one, 0))[1]] == [b"one"]
    assert [row[3] for row in (await pulled(pulls, two, 0))[1]] == [b"two"]


@pytest.mark.parametrize(("expected", "status"), [(0, PushStatus.FOREIGN_RECORD), (1, PushStatus.CONFLICT)])
async def test_an_id_of_another_space_is_refused(lanes: PushLanes, expected: int, status: PushStatus) -> None:
    record = uuid4()
    await written(lanes, uuid4(), (record, 0, b"x"))
    outcome = await write(lanes, make_push(uuid4(), (record, expected, b"y"), client="client"))
    assert outcome == PushOutcome(status, 0, 1)


async def test_of_two_spaces_that_race_for_the_same_ids_one_gets_them(
    lanes: PushLanes, pool: PostgresPool
) -> None:
    async with started(pool) as others:
        for _ in range(40):
            records = [uuid4() for _ in range(3)]
            there = make_push(uuid4(), *((id, 0, b"r") for id in reversed(records)), client="client")
            here = make_push(uuid4(), *((id, 0, b"l") for id in records), client="client")
            outcomes = await asyncio.gather(write(lanes, here), write(others, there))
            statuses = sorted(outcome.status for outcome in outcomes)
            assert statuses == [PushStatus.WRITTEN, PushStatus.FOREIGN_RECORD]


async def test_a_record_that_appears_in_another_space_during_the_push_is_foreign(
    lanes: PushLanes, pool: PostgresPool
) -> None:
    """The check of the function cannot see the other transaction: the primary key refuses."""
    record, theirs = uuid4(), uuid4()
    await rows(pool).add_space(theirs)
    async with pool.connection() as con, con.transaction():
        await con.execute(
            "INSERT INTO records (id, space_id, blob, cursor) VALUES ($1, $2, 'x', 1)", record, theirs
        )
        push = submit(lanes, make_push(uuid4(), (record, 0, b"y"), client="client"))
        await lock_waits(pool, 1)
    assert await push == PushOutcome(PushStatus.FOREIGN_RECORD)


async def test_pushes_planned_on_empty_tables_use_indexes_ever_after(database_url: str) -> None:
    """Counts sequential scans: none may touch a table that has grown since the plans were made."""
    space, record = uuid4(), uuid4()
    async with opened(database_url) as pool, started(pool, lanes=1) as lanes:
        cursor = await written(lanes, space, (record, 0, b"x"))
        for _ in range(10):
            cursor = await written(lanes, space, (record, cursor, b"x"), (uuid4(), 0, b"x"))
        await many_records(pool, uuid4(), pushes=10, each=10_000, blob_bytes=1)
        before = await sequential_scans(pool)
        for _ in range(10):
            cursor = await written(lanes, space, (record, cursor, None), (uuid4(), 0, b"x"))
            await write(lanes, make_push(space, (uuid4(), 9, b"x"), client="client"))
    # A backend reports its counts at the latest when it ends.
    async with opened(database_url) as pool:
        assert await sequential_scans(pool) == before


async def sequential_scans(pool: PostgresPool) -> int:
    [row] = await select(
        pool,
        """SELECT sum(seq_scan)::int FROM pg_stat_user_tables
           WHERE relname IN ('spaces', 'records', 'files', 'revocations')""",
    )
    count: int = row[0]
    return count
