"""What one pull delivers: docs/storage.md 7.1."""

import random
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    FILE,
    MEMBER,
    RECORD,
    MemberEntry,
    PostgresPool,
    PostgresPullStore,
    PullMeta,
    PullRow,
    PushLanes,
)
from less_sync.storage.postgres.pull_places import PullPlaces
from less_sync.storage.postgres.pull_reader import Patience, PullReader
from tests.storage.rows import DEK
from tests.storage.support import (
    as_tuple,
    many_records,
    patient,
    pulled,
    rows,
    shared_space,
    written,
)


async def add_member(
    pool: PostgresPool, space: UUID, seq: int, cursor: int, payload: bytes = b"entry"
) -> None:
    prev = None if seq == 1 else b"prev"
    await rows(pool).add_member(space, MemberEntry(seq, cursor, prev, b"hash", payload))


async def add_file(
    pool: PostgresPool, space: UUID, record: UUID, cursor: int, *, deleted: bool = False
) -> UUID:
    return await rows(pool).add_file(space, record, size=7, cursor=cursor, deleted=deleted)


async def set_cursor(pool: PostgresPool, space: UUID, cursor: int) -> None:
    await rows(pool).set_space(space, cursor=cursor)


async def test_a_missing_space_is_none(pulls: PostgresPullStore) -> None:
    async with pulls.pull(uuid4(), 0) as pull:
        assert pull is None


async def test_a_space_that_went_missing_before_a_long_pull_began_is_none(pool: PostgresPool) -> None:
    reader = PullReader(PullPlaces(pool), uuid4(), 0, reader="", patience=Patience())
    assert await reader.open() is None
    await reader.aclose()


async def test_an_empty_space_has_a_state_and_no_entries(
    pulls: PostgresPullStore, pool: PostgresPool
) -> None:
    space = await shared_space(pool, min_epoch=3)
    await rows(pool).set_space(space, rewrap_epoch=4)
    expected = PullMeta(cursor=0, key_generation=3, rewrap_epoch=4, shared=True)
    async with pulls.pull(space, 0) as pull:
        assert pull is not None
        assert pull.meta == expected
        assert [batch async for batch in pull.batches()] == []


async def test_records_members_and_files_come_in_cursor_order(
    pulls: PostgresPullStore, pool: PostgresPool, lanes: PushLanes
) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"))
    await add_member(pool, space, 1, 2)
    file = await add_file(pool, space, record, 3)
    await add_member(pool, space, 2, 4)
    await set_cursor(pool, space, 4)
    expected: list[PullRow] = [
        (RECORD, 1, record, b"x", DEK, None, None, None, False),
        (MEMBER, 2, None, b"entry", b"hash", None, None, 1, False),
        (FILE, 3, file, None, DEK, None, record, 7, False),
        (MEMBER, 4, None, b"entry", b"hash", b"prev", None, 2, False),
    ]
    assert await pulled(pulls, space, 0) == (PullMeta(4, 1, None, False), expected)
    assert (await pulled(pulls, space, 2))[1] == expected[2:]
    assert str(expected[0][2]) == str((await pulled(pulls, space, 0))[1][0][2])


async def test_ids_ascend_within_a_push_however_they_were_sent(
    pulls: PostgresPullStore, lanes: PushLanes
) -> None:
    space, ids = uuid4(), [uuid4() for _ in range(50)]
    random.Random(1).shuffle(ids)
    await written(lanes, space, *((id, 0, b"x") for id in ids))
    _, rows = await pulled(pulls, space, 0)
    assert [row[2] for row in rows] == sorted(ids)


async def test_deleted_entries_come_only_to_those_who_have_pulled_before(
    pulls: PostgresPullStore, pool: PostgresPool, lanes: PushLanes
) -> None:
    space, gone, kept = uuid4(), uuid4(), uuid4()
    await written(lanes, space, (gone, 0, b"x"), (kept, 0, b"x"))
    await written(lanes, space, (gone, 1, None), dek=None)
    await add_file(pool, space, kept, 3, deleted=True)
    await set_cursor(pool, space, 3)
    assert [row[2] for row in (await pulled(pulls, space, 0))[1]] == [kept]
    _, [record, file] = await pulled(pulls, space, 1)
    assert record == (RECORD, 2, gone, None, None, None, None, None, True)
    assert (file[0], file[8]) == (FILE, True)
    assert [row[8] for row in (await pulled(pulls, space, -1))[1]] == [False, True, True]


async def test_an_overwritten_record_comes_once_with_its_last_state(
    pulls: PostgresPullStore, lanes: PushLanes
) -> None:
    space, record = uuid4(), uuid4()
    for cursor in range(5):
        await written(lanes, space, (record, cursor, b"%d" % cursor))
    assert [row[1:4] for row in (await pulled(pulls, space, 0))[1]] == [(5, record, b"4")]


async def test_a_pull_from_the_cursor_has_no_entries(pulls: PostgresPullStore, lanes: PushLanes) -> None:
    space = uuid4()
    await written(lanes, space, (uuid4(), 0, b"x"))
    assert await pulled(pulls, space, 1) == (PullMeta(1, 1, None, False), [])


@pytest.mark.parametrize("since", [2, 2**63 - 1])
async def test_a_pull_from_beyond_the_cursor_starts_from_zero_and_says_so(
    pulls: PostgresPullStore, lanes: PushLanes, since: int
) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"), (uuid4(), 0, None))
    meta, rows = await pulled(pulls, space, since)
    assert meta == PullMeta(1, 1, None, False, restarted=True)
    assert [row[2] for row in rows] == [record]


async def test_a_long_pull_from_beyond_the_cursor_starts_from_zero_too(
    pulls: PostgresPullStore, pool: PostgresPool
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=2, each=400, blob_bytes=1)
    meta, rows = await pulled(pulls, space, 3)
    assert meta.restarted
    assert len(rows) == 800


async def legacy_space(pool: PostgresPool, lanes: PushLanes, *, count: int) -> tuple[UUID, list[object]]:
    """A space whose members and files are from before there were cursors; and their order."""
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"), (uuid4(), 0, None))
    for seq in range(1, count + 1):
        await add_member(pool, space, seq, 0, bytes(10_000 * (seq % 3)))
    files = sorted([await add_file(pool, space, record, 0) for _ in range(count)])
    return space, [*range(1, count + 1), *files]


@pytest.mark.parametrize("count", [3, 300])
@pytest.mark.parametrize("age_s", [60.0, 0.0], ids=["portal", "pages"])
async def test_entries_without_a_cursor_come_to_a_negative_since_by_kind_and_id(
    pool: PostgresPool, lanes: PushLanes, count: int, age_s: float
) -> None:
    space, order = await legacy_space(pool, lanes, count=count)
    pulls = PostgresPullStore(pool, patience=patient(age_s))
    _, rows = await pulled(pulls, space, -1)
    assert [row[7] if row[0] == MEMBER else row[2] for row in rows[: 2 * count]] == order
    assert [len(row[3] or b"") for row in rows[:3]] == [10_000, 20_000, 0]
    assert [row[0] for row in rows[2 * count :]] == [RECORD, RECORD]
    assert [row[8] for row in rows[2 * count :]].count(True) == 1
    assert [row[0] for row in (await pulled(pulls, space, 0))[1]] == [RECORD]


async def test_a_row_unpacks_whichever_way_it_was_read(pulls: PostgresPullStore, pool: PostgresPool) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=2, each=400, blob_bytes=3)
    async with pulls.pull(space, 1) as short, pulls.pull(space, 0) as long:
        assert short is not None
        assert long is not None
        ones = [row async for batch in short.batches() for row in batch]
        both = [row async for batch in long.batches() for row in batch]
    assert [as_tuple(row) for row in ones] == [as_tuple(row) for row in both[400:]]
    assert as_tuple(ones[0])[3:] == (b"\xab" * 3, DEK, None, None, None, False)
