"""Spaces, docs/storage.md 5.1."""

import asyncio
from uuid import uuid4

import pytest

from less_sync.storage import PostgresPool, PostgresSpaceStore, Space, SpaceExists
from tests.storage.support import execute, select


async def test_ping_answers(spaces: PostgresSpaceStore) -> None:
    await spaces.ping()


async def test_a_created_space_has_the_defaults_of_the_database(spaces: PostgresSpaceStore) -> None:
    id = uuid4()
    created = await spaces.create_space(id, "client", None)
    assert created == Space(
        id=id,
        client_id="client",
        root_public_key=None,
        key_generation=1,
        min_key_generation=1,
        metadata_version=0,
        cursor=0,
        rewrap_epoch=None,
        home_server=None,
    )
    assert await spaces.get_spaces([id]) == {id: created}


async def test_a_shared_space_keeps_its_root_key(spaces: PostgresSpaceStore) -> None:
    key = b"\x03" + bytes(range(32))
    created = await spaces.create_space(uuid4(), "client", key)
    assert created.root_public_key == key


async def test_a_space_can_be_created_with_its_home_elsewhere(spaces: PostgresSpaceStore) -> None:
    created = await spaces.create_space(uuid4(), "client", b"\x03" + bytes(32), "home.example")
    assert created.home_server == "home.example"
    assert await spaces.get_spaces([created.id]) == {created.id: created}


async def test_creating_a_space_twice_is_refused_and_keeps_the_first(spaces: PostgresSpaceStore) -> None:
    first = await spaces.create_space(uuid4(), "first", None)
    with pytest.raises(SpaceExists):
        await spaces.create_space(first.id, "second", None)
    assert await spaces.get_spaces([first.id]) == {first.id: first}


async def test_only_existing_spaces_are_returned(spaces: PostgresSpaceStore) -> None:
    one, two = await spaces.create_space(uuid4(), "c", None), await spaces.create_space(uuid4(), "c", None)
    assert await spaces.get_spaces([two.id, uuid4(), one.id, one.id]) == {one.id: one, two.id: two}
    assert await spaces.get_spaces([uuid4()]) == {}


async def test_reading_no_space_asks_nothing(pool: PostgresPool, spaces: PostgresSpaceStore) -> None:
    await pool.aclose(5.0)
    assert await spaces.get_spaces([]) == {}


async def test_get_or_create_keeps_the_first_client(spaces: PostgresSpaceStore) -> None:
    first = await spaces.get_or_create_space(uuid4(), "first")
    assert first.client_id == "first"
    assert await spaces.get_or_create_space(first.id, "second") == first


async def test_get_or_create_returns_a_shared_space_as_it_is(spaces: PostgresSpaceStore) -> None:
    shared = await spaces.create_space(uuid4(), "first", b"\x02" + bytes(32))
    assert await spaces.get_or_create_space(shared.id, "second") == shared


async def test_eight_racing_get_or_create_make_one_space(spaces: PostgresSpaceStore) -> None:
    id = uuid4()
    answers = await asyncio.gather(*(spaces.get_or_create_space(id, f"c{i}") for i in range(8)))
    assert len({space.client_id for space in answers}) == 1


async def test_every_update_moves_updated_at(pool: PostgresPool, spaces: PostgresSpaceStore) -> None:
    space = await spaces.create_space(uuid4(), "client", None)
    await execute(pool, "UPDATE spaces SET cursor = 1 WHERE id = $1", space.id)
    [row] = await select(pool, "SELECT updated_at > created_at FROM spaces WHERE id = $1", space.id)
    assert row[0] is True


async def test_spaces_are_found_by_index_after_planning_on_an_empty_table(pool: PostgresPool) -> None:
    text = "SELECT id FROM spaces WHERE id = ANY ($1::uuid[])"
    async with pool.connection() as con:
        await con.execute("SET plan_cache_mode = force_generic_plan")
        rows = await con.fetch(f"EXPLAIN (COSTS OFF) {text}", [uuid4()])
        await con.execute("RESET plan_cache_mode")
    assert any("using spaces_pkey" in row[0] for row in rows)
