"""Rows of files and the lock of one file, over Postgres and over the simulation's model."""

import asyncio
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    Caller,
    FileRow,
    PostgresFileStore,
    PostgresPool,
    PostgresSpaceStore,
    PushLanes,
    PushOutcome,
    RecordFileOutcome,
    RecordFileStatus,
)
from less_sync.storage.postgres.files import LOCKS_AT_ONCE_MAX, lock_number
from less_sync.storage.postgres.revocations import PostgresRevocationStore
from tests.storage.support import make_push, write

DEK = b"\x00\x00\x00\x01" + b"k" * 40
OTHER_DEK = b"\x00\x00\x00\x01" + b"o" * 40
CID = "c" * 64


@pytest.fixture
def files(pool: PostgresPool) -> PostgresFileStore:
    return PostgresFileStore(pool)


async def push_one(
    lanes: PushLanes, space: UUID, record: UUID, *, blob: bytes | None, expected: int = 0
) -> PushOutcome:
    return await write(lanes, make_push(space, (record, expected, blob)))


async def space_with_record(
    pool: PostgresPool, lanes: PushLanes, *, root_key: bytes | None = None
) -> tuple[UUID, UUID]:
    space, record = uuid4(), uuid4()
    await PostgresSpaceStore(pool).create_space(space, "client", root_key)
    await push_one(lanes, space, record, blob=b"x")
    return space, record


async def recorded(
    files: PostgresFileStore, space: UUID, file: UUID, record: UUID, *, replace: bool = False
) -> RecordFileOutcome:
    async with files.lock(space, file, user="u") as lock:
        return await lock.record(record, 5, DEK, replace=replace)


async def cursor_of(pool: PostgresPool, space: UUID) -> int:
    return (await PostgresSpaceStore(pool).get_spaces([space]))[space].cursor


def test_the_number_of_a_lock_is_the_same_everywhere() -> None:
    assert lock_number(UUID(int=0), UUID(int=0)) == 1819714712130684402
    assert lock_number(UUID(int=1), UUID(int=0)) != lock_number(UUID(int=0), UUID(int=1))


async def test_a_recorded_file_is_seen_with_all_that_was_said_of_it(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, record = await space_with_record(pool, lanes)
    file = uuid4()
    outcome = await recorded(files, space, file, record)
    assert outcome == RecordFileOutcome(RecordFileStatus.RECORDED, 2)
    look = await files.look(space, file, record=record)
    assert look.row == FileRow(record, 5, DEK, 2)
    assert look.space is not None
    assert (look.space.cursor, look.record_is_live) == (2, True)
    assert await files.known([(space, file), (space, uuid4()), (uuid4(), file)]) == {(space, file)}
    assert await files.known([]) == set()


async def test_a_look_at_nothing_says_so(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    look = await files.look(uuid4(), uuid4(), record=uuid4(), cids=[CID])
    assert (look.space, look.row, look.record_is_live, look.revoked) == (None, None, False, frozenset())
    space, _ = await space_with_record(pool, lanes)
    look = await files.look(space, uuid4())
    assert look.space is not None
    assert (look.row, look.record_is_live) == (None, False)


async def test_recording_again_changes_nothing_unless_the_row_is_to_be_replaced(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, record = await space_with_record(pool, lanes)
    file = uuid4()
    await recorded(files, space, file, record)
    again = await recorded(files, space, file, record)
    assert (again.status, again.cursor) == (RecordFileStatus.EXISTS, 0)
    assert await cursor_of(pool, space) == 2
    async with files.lock(space, file, user="u") as lock:
        assert lock.row == FileRow(record, 5, DEK, 2)
        replaced = await lock.record(record, 6, OTHER_DEK, replace=True)
    assert replaced == RecordFileOutcome(RecordFileStatus.RECORDED, 3, replaced=True)
    assert (await files.look(space, file)).row == FileRow(record, 6, OTHER_DEK, 3)


async def test_a_record_that_is_not_live_in_this_space_takes_no_file(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, record = await space_with_record(pool, lanes)
    _, foreign = await space_with_record(pool, lanes)
    await push_one(lanes, space, record, blob=None, expected=1)
    for one in (record, foreign, uuid4()):
        assert (await files.look(space, uuid4(), record=one)).record_is_live is False
        outcome = await recorded(files, space, uuid4(), one)
        assert outcome == RecordFileOutcome(RecordFileStatus.NO_RECORD)
    assert await cursor_of(pool, space) == 2


async def test_a_tombstone_takes_the_files_of_its_record_along(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, record = await space_with_record(pool, lanes)
    file = uuid4()
    await recorded(files, space, file, record)
    outcome = await push_one(lanes, space, record, blob=None, expected=1)
    assert outcome.removed_files == ((file, record),)
    assert (await files.look(space, file)).row is None


async def test_who_may_not_write_records_nothing(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, record = await space_with_record(pool, lanes, root_key=b"\x02" * 33)
    await PostgresRevocationStore(pool).revoke(space, CID)
    look = await files.look(space, uuid4(), cids=[CID, "d" * 64])
    assert look.revoked == frozenset({(space, CID)})
    for where, caller, status in (
        (space, Caller(cids=[CID]), RecordFileStatus.REVOKED),
        (space, Caller(client="client"), RecordFileStatus.NOT_PERSONAL),
        (uuid4(), Caller(cids=[CID]), RecordFileStatus.NO_SPACE),
    ):
        async with files.lock(where, uuid4(), user="u") as lock:
            assert (await lock.record(record, 5, DEK, replace=True, caller=caller)).status is status


async def test_a_forgotten_row_is_gone_and_no_cursor_moves(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, record = await space_with_record(pool, lanes)
    file = uuid4()
    await recorded(files, space, file, record)
    async with files.lock(space, file, user="u") as lock:
        await lock.forget()
    assert (await files.look(space, file)).row is None
    assert await cursor_of(pool, space) == 2


async def test_what_was_not_recorded_is_rolled_back(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, record = await space_with_record(pool, lanes)
    file = uuid4()

    async def fails_in_between() -> None:
        async with files.lock(space, file, user="u") as lock:
            await lock.check()
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        await fails_in_between()
    assert (await files.look(space, file)).row is None
    assert (await recorded(files, space, file, record)).status is RecordFileStatus.RECORDED


async def test_two_stores_take_turns_at_one_file(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    """Two stores know nothing of each other, as two processes do: the database's lock decides."""
    space, record = await space_with_record(pool, lanes)
    file = uuid4()
    other = PostgresFileStore(pool)
    steps: list[str] = []

    async def second() -> None:
        async with other.lock(space, file, user="v") as lock:
            steps.append("second")
            assert lock.row == FileRow(record, 5, DEK, 2)

    async with files.lock(space, file, user="u") as lock:
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.05)
        steps.append("first")
        await lock.record(record, 5, DEK, replace=True)
    await waiting
    assert steps == ["first", "second"]


async def test_other_files_of_the_space_and_pushes_do_not_wait(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, record = await space_with_record(pool, lanes)
    async with files.lock(space, uuid4(), user="u"):
        assert (await recorded(files, space, uuid4(), record)).status is RecordFileStatus.RECORDED
        assert (await push_one(lanes, space, uuid4(), blob=b"y")).cursor == 3


async def test_four_locks_at_once_and_a_file_that_is_waited_for_takes_no_place(
    pool: PostgresPool, lanes: PushLanes, files: PostgresFileStore
) -> None:
    space, _ = await space_with_record(pool, lanes)
    held, let_go = asyncio.Semaphore(0), asyncio.Event()

    async def hold(file: UUID) -> None:
        async with files.lock(space, file, user="u"):
            held.release()
            await let_go.wait()

    same = uuid4()
    waiting = [asyncio.create_task(hold(same)) for _ in range(10)]
    async with asyncio.timeout(20):
        await held.acquire()
    waiting += [asyncio.create_task(hold(uuid4())) for _ in range(10)]
    async with asyncio.timeout(20):
        for _ in range(LOCKS_AT_ONCE_MAX - 1):
            await held.acquire()
    await asyncio.sleep(0.05)
    assert held.locked()
    let_go.set()
    await asyncio.gather(*waiting)


async def test_a_content_may_take_longer_than_a_transaction_may_be_idle(
    database_url: str, lanes: PushLanes, pool: PostgresPool
) -> None:
    space, record = await space_with_record(pool, lanes)
    joint = "&" if "?" in database_url else "?"
    limited = await PostgresPool.open(f"{database_url}{joint}idle_in_transaction_session_timeout=100ms")
    try:
        async with PostgresFileStore(limited).lock(space, uuid4(), user="u") as lock:
            await asyncio.sleep(0.4)
            await lock.check()
            outcome = await lock.record(record, 5, DEK, replace=True)
        assert outcome.status is RecordFileStatus.RECORDED
        async with limited.connection() as con:  # the limit is lifted for that transaction alone
            assert await con.fetchval("SHOW idle_in_transaction_session_timeout") == "100ms"
    finally:
        await limited.aclose(5)
