"""The membership log, docs/storage.md 5.2."""

import asyncio
from hashlib import sha256
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    AppendOutcome,
    AppendStatus,
    Caller,
    MemberEntry,
    PostgresMemberStore,
    PostgresPool,
    PostgresPullStore,
    PostgresRevocationStore,
    PostgresSpaceStore,
    PushLanes,
    StorageError,
)
from tests.storage.support import execute, pulled, rows, written


@pytest.fixture
def members(pool: PostgresPool) -> PostgresMemberStore:
    return PostgresMemberStore(pool)


@pytest.fixture
async def space(spaces: PostgresSpaceStore) -> UUID:
    return (await spaces.create_space(uuid4(), "client", None)).id


async def append(
    members: PostgresMemberStore, space: UUID, version: int, prev: bytes | None, payload: bytes
) -> AppendOutcome:
    hash = sha256(payload).digest()
    return await members.append(
        space, expected_version=version, prev_hash=prev, entry_hash=hash, payload=payload
    )


async def test_two_chained_appends_are_listed_in_order(members: PostgresMemberStore, space: UUID) -> None:
    first = await append(members, space, 0, None, b"one")
    second = await append(members, space, 1, sha256(b"one").digest(), b"two")
    assert first == AppendOutcome(AppendStatus.APPENDED, chain_seq=1, cursor=1, metadata_version=1)
    assert second == AppendOutcome(AppendStatus.APPENDED, chain_seq=2, cursor=2, metadata_version=2)
    log = await members.list(space, 0)
    assert log is not None
    assert log.space.metadata_version == 2
    assert log.space.cursor == 2
    assert log.entries == [
        MemberEntry(1, 1, None, sha256(b"one").digest(), b"one"),
        MemberEntry(2, 2, sha256(b"one").digest(), sha256(b"two").digest(), b"two"),
    ]


async def test_an_empty_previous_hash_counts_as_none(
    pool: PostgresPool, members: PostgresMemberStore, space: UUID
) -> None:
    assert (await append(members, space, 0, b"", b"one")).status is AppendStatus.APPENDED
    [(_, entry)] = await rows(pool).members()
    assert entry.prev_hash is None


async def test_an_append_with_another_version_is_a_conflict_and_tells_the_version(
    members: PostgresMemberStore, space: UUID
) -> None:
    await append(members, space, 0, None, b"one")
    for version in (0, 2, -1):
        outcome = await append(members, space, version, sha256(b"one").digest(), b"two")
        assert outcome == AppendOutcome(AppendStatus.VERSION_CONFLICT, metadata_version=1)


@pytest.mark.parametrize("prev", [None, b"", b"x", bytes(32)])
async def test_a_later_entry_must_name_the_last_ones_hash(
    members: PostgresMemberStore, space: UUID, prev: bytes | None
) -> None:
    await append(members, space, 0, None, b"one")
    outcome = await append(members, space, 1, prev, b"two")
    assert outcome == AppendOutcome(AppendStatus.CHAIN_BROKEN, metadata_version=1)


async def test_a_first_entry_must_name_no_hash(members: PostgresMemberStore, space: UUID) -> None:
    outcome = await append(members, space, 0, bytes(32), b"one")
    assert outcome == AppendOutcome(AppendStatus.CHAIN_BROKEN)


async def test_a_wrong_version_is_told_before_a_wrong_hash(members: PostgresMemberStore, space: UUID) -> None:
    assert (await append(members, space, 1, bytes(32), b"one")).status is AppendStatus.VERSION_CONFLICT


async def test_a_refused_append_writes_nothing(
    members: PostgresMemberStore, spaces: PostgresSpaceStore, space: UUID
) -> None:
    await append(members, space, 0, None, b"one")
    await append(members, space, 0, None, b"two")
    await append(members, space, 1, None, b"two")
    row = (await spaces.get_spaces([space]))[space]
    assert (row.cursor, row.metadata_version) == (1, 1)
    log = await members.list(space, 0)
    assert log is not None
    assert len(log.entries) == 1


async def test_a_missing_space_has_no_log_and_takes_no_entry(members: PostgresMemberStore) -> None:
    space = uuid4()
    assert await append(members, space, 0, None, b"one") == AppendOutcome(AppendStatus.NO_SPACE)
    assert await members.list(space, 0) is None


async def test_an_append_by_the_owner_creates_the_personal_space(
    members: PostgresMemberStore, spaces: PostgresSpaceStore
) -> None:
    space = uuid4()
    outcome = await members.append(
        space,
        expected_version=0,
        prev_hash=None,
        entry_hash=b"h",
        payload=b"p",
        caller=Caller(client="owner"),
    )
    assert outcome.status is AppendStatus.APPENDED
    assert (await spaces.get_spaces([space]))[space].client_id == "owner"


async def test_a_listing_begins_after_the_entry_named(members: PostgresMemberStore, space: UUID) -> None:
    prev: bytes | None = None
    for number in range(5):
        payload = bytes([number])
        await append(members, space, number, prev, payload)
        prev = sha256(payload).digest()
    for since, expected in ((-1, [1, 2, 3, 4, 5]), (0, [1, 2, 3, 4, 5]), (3, [4, 5]), (5, []), (9, [])):
        log = await members.list(space, since)
        assert log is not None
        assert [entry.chain_seq for entry in log.entries] == expected
        assert log.space.metadata_version == 5


async def test_an_empty_log_lists_no_entries(members: PostgresMemberStore, space: UUID) -> None:
    log = await members.list(space, 0)
    assert log is not None
    assert log.entries == []
    assert log.space.metadata_version == 0
    assert log.revoked == frozenset()


async def test_a_listing_tells_which_cids_are_revoked_here(
    pool: PostgresPool, members: PostgresMemberStore, spaces: PostgresSpaceStore, space: UUID
) -> None:
    revocations = PostgresRevocationStore(pool)
    other = (await spaces.create_space(uuid4(), "client", None)).id
    await revocations.revoke(space, "one")
    await revocations.revoke(space, "not asked about")
    await revocations.revoke(other, "two")
    log = await members.list(space, 0, cids=["one", "two", "three"])
    assert log is not None
    assert log.revoked == {(space, "one")}


async def test_an_entry_takes_the_next_cursor_after_a_push_and_is_pulled(
    members: PostgresMemberStore, lanes: PushLanes, pulls: PostgresPullStore, space: UUID
) -> None:
    await written(lanes, space, (uuid4(), 0, b"x"))
    assert (await append(members, space, 0, None, b"one")).cursor == 2
    assert await written(lanes, space, (uuid4(), 0, b"y")) == 3
    _, rows = await pulled(pulls, space, 1)
    assert [row[1] for row in rows] == [2, 3]


async def test_of_appends_that_race_for_one_place_exactly_one_wins(
    members: PostgresMemberStore, spaces: PostgresSpaceStore, space: UUID
) -> None:
    prev: bytes | None = None
    for version in range(5):
        payloads = [bytes([version, racer]) for racer in range(8)]
        outcomes = await asyncio.gather(*(append(members, space, version, prev, p) for p in payloads))
        won = [index for index, o in enumerate(outcomes) if o.status is AppendStatus.APPENDED]
        assert len(won) == 1
        assert {o.status for o in outcomes} == {AppendStatus.APPENDED, AppendStatus.VERSION_CONFLICT}
        prev = sha256(payloads[won[0]]).digest()
    row = (await spaces.get_spaces([space]))[space]
    assert (row.cursor, row.metadata_version) == (5, 5)


async def test_cursors_of_appends_and_pushes_at_once_are_contiguous(
    members: PostgresMemberStore, lanes: PushLanes, space: UUID
) -> None:
    cursors: list[int] = []

    async def push(count: int) -> None:
        cursors.extend([await written(lanes, space, (uuid4(), 0, b"x")) for _ in range(count)])

    async def log(count: int) -> None:
        prev: bytes | None = None
        for number in range(count):
            outcome = await append(members, space, number, prev, bytes([number]))
            cursors.append(outcome.cursor)
            prev = sha256(bytes([number])).digest()

    await asyncio.gather(push(20), push(20), log(20))
    assert sorted(cursors) == list(range(1, 61))


async def test_a_failing_database_raises_and_is_no_outcome(
    pool: PostgresPool, members: PostgresMemberStore, space: UUID
) -> None:
    await execute(pool, "ALTER TABLE members RENAME TO gone")
    with pytest.raises(StorageError) as caught:
        await append(members, space, 0, None, b"one")
    assert caught.value.sqlstate == "42P01"
    with pytest.raises(StorageError):
        await members.list(space, 0)
