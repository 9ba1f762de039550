"""Spaces whose home is another server, docs/storage.md 5.10."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    Caller,
    HomeOutcome,
    HomeStatus,
    PostgresMemberStore,
    PostgresPool,
    PostgresSpaceHomeStore,
    PostgresSpaceStore,
    SpaceNotFound,
)
from tests.storage.support import execute, select

KEY, OTHER_KEY = b"\x02" + bytes(32), b"\x03" + bytes(32)
HOME = "https://home.example"
MADE, CHANGED = HomeOutcome(HomeStatus.DONE, True), HomeOutcome(HomeStatus.DONE, False)
CONTENT = {
    "records": "INSERT INTO records (id, space_id, cursor, deleted) VALUES (gen_random_uuid(), $1, 1, true)",
    "members": "INSERT INTO members (space_id, chain_seq, entry_hash, payload) VALUES ($1, 1, 'h', 'p')",
}


@pytest.fixture
async def real(database_url: str) -> AsyncIterator[PostgresPool]:
    opened = await PostgresPool.open(database_url)
    yield opened
    await opened.aclose(5)


@pytest.fixture
def homes(real: PostgresPool) -> PostgresSpaceHomeStore:
    return PostgresSpaceHomeStore(real)


async def shared_space(pool: PostgresPool, root_key: bytes | None = KEY) -> UUID:
    space = uuid4()
    await PostgresSpaceStore(pool).create_space(space, "client", root_key)
    return space


async def test_a_home_is_kept_until_it_is_cleared(real: PostgresPool, homes: PostgresSpaceHomeStore) -> None:
    space = await shared_space(real)
    assert await homes.get(space) is None
    assert await homes.set_remote(space, KEY, HOME) == CHANGED
    assert await homes.get(space) == HOME
    assert await homes.set_remote(space, KEY, "other.example") == CHANGED
    assert await homes.get(space) == "other.example"
    await homes.set_local(space)
    assert await homes.get(space) is None


async def test_a_missing_space_has_no_home_and_gets_none(homes: PostgresSpaceHomeStore) -> None:
    with pytest.raises(SpaceNotFound):
        await homes.get(uuid4())
    with pytest.raises(SpaceNotFound):
        await homes.set_local(uuid4())


async def test_a_row_is_made_with_root_key_and_home(
    real: PostgresPool, homes: PostgresSpaceHomeStore
) -> None:
    space = uuid4()
    assert await homes.set_remote(space, KEY, HOME) == MADE
    row = (await PostgresSpaceStore(real).get_spaces([space]))[space]
    assert (row.root_public_key, row.home_server, row.client_id, row.cursor) == (KEY, HOME, "space-home", 0)


async def test_the_spaces_whose_home_is_elsewhere_are_listed_by_id(
    real: PostgresPool, homes: PostgresSpaceHomeStore
) -> None:
    await shared_space(real)
    assert not await homes.any_remote()
    assert await homes.remote() == []
    spaces = [uuid4() for _ in range(3)]
    for space in spaces:
        await homes.set_remote(space, KEY, HOME)
    assert await homes.any_remote()
    assert await homes.remote() == [(space, HOME) for space in sorted(spaces)]


@pytest.mark.parametrize("table", CONTENT)
async def test_a_space_that_holds_something_is_refused_unless_forced(
    real: PostgresPool, homes: PostgresSpaceHomeStore, table: str
) -> None:
    space = await shared_space(real)
    await execute(real, CONTENT[table], space)
    assert await homes.set_remote(space, KEY, HOME) == HomeOutcome(HomeStatus.HOLDS_CONTENT, False)
    assert await homes.get(space) is None
    assert await homes.set_remote(space, KEY, HOME, whatever_it_holds=True) == CHANGED
    assert await homes.get(space) == HOME
    [row] = await select(real, f"SELECT count(*) FROM {table} WHERE space_id = $1", space)
    assert row[0] == 1


async def test_a_space_with_files_alone_is_refused(real: PostgresPool, homes: PostgresSpaceHomeStore) -> None:
    space, other = await shared_space(real), await shared_space(real)
    await execute(real, CONTENT["records"], other)
    text = (
        "INSERT INTO files (space_id, id, size, wrapped_dek, record_id)"
        " SELECT $1, gen_random_uuid(), 1, decode(repeat('00', 44), 'hex'), id FROM records"
    )
    await execute(real, text, space)
    assert (await homes.set_remote(space, KEY, HOME)).status is HomeStatus.HOLDS_CONTENT


async def test_a_root_key_is_never_changed_not_even_by_force(
    real: PostgresPool, homes: PostgresSpaceHomeStore
) -> None:
    shared, personal = await shared_space(real), await shared_space(real, None)
    for force in (False, True):
        refused = await homes.set_remote(shared, OTHER_KEY, HOME, whatever_it_holds=force)
        assert refused.status is HomeStatus.OTHER_ROOT_KEY
        refused = await homes.set_remote(personal, KEY, HOME, whatever_it_holds=force)
        assert refused.status is HomeStatus.PERSONAL
    assert await homes.remote() == []


async def test_of_a_home_and_an_entry_written_at_once_the_second_is_refused(
    real: PostgresPool, homes: PostgresSpaceHomeStore
) -> None:
    members = PostgresMemberStore(real)
    local = Caller(cids=(), local_only=True)
    outcomes = set()
    for _ in range(20):
        space = await shared_space(real)
        appended, named = await asyncio.gather(
            members.append(
                space, expected_version=0, prev_hash=None, entry_hash=b"h", payload=b"p", caller=local
            ),
            homes.set_remote(space, KEY, HOME),
        )
        outcomes.add((appended.status.name, named.status.name))
    assert outcomes <= {("APPENDED", "HOLDS_CONTENT"), ("REMOTE_HOME", "DONE")}
    assert outcomes


async def test_eight_that_make_one_row_at_once_make_it_once(homes: PostgresSpaceHomeStore) -> None:
    space = uuid4()
    outcomes = await asyncio.gather(*(homes.set_remote(space, KEY, HOME) for _ in range(8)))
    assert sorted(outcome.created for outcome in outcomes) == [False] * 7 + [True]


async def test_looking_for_remote_spaces_reads_the_few_there_are(real: PostgresPool) -> None:
    async with real.connection() as con:
        rows = await con.fetch("EXPLAIN (COSTS OFF) SELECT id FROM spaces WHERE home_server IS NOT NULL")
    assert any("using idx_spaces_home_server" in row[0] for row in rows)
