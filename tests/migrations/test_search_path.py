"""No statement names a schema, so several deployments can share one database."""

import asyncio
from uuid import UUID

from less_sync.migrations import migrate_down, migrate_up, status, version

from .support import CATALOG, LAST, SPACE, code, connected, execute, relations, tables, value, with_query


async def two_schemas(url: str) -> tuple[str, str]:
    """URLs of two schemas of one database, as `bins/postgres/urls.py` hands them on."""
    await execute(url, 'CREATE SCHEMA one; CREATE SCHEMA "Two"')
    return with_query(url, "search_path=one"), with_query(url, 'search_path="Two"')


async def test_two_schemas_of_one_database_are_migrated_at_once(empty_database_url: str) -> None:
    one, two = await two_schemas(empty_database_url)
    await asyncio.gather(migrate_up(one), migrate_up(two))
    assert [await version(url) for url in (one, two)] == [LAST, LAST]
    assert await tables(one) == await tables(two)
    assert await code(one) == await code(two)
    assert await relations(empty_database_url) == set()
    assert await version(empty_database_url) == 0


async def test_going_down_in_one_schema_leaves_the_other_alone(empty_database_url: str) -> None:
    one, two = await two_schemas(empty_database_url)
    await migrate_up(one)
    await migrate_up(two)
    before = (await relations(two), await tables(two), await code(two))
    while await version(one):
        await migrate_down(one, confirmed=True)
    assert await tables(one) == {}
    assert await code(one) == ([], [])
    assert (await relations(two), await tables(two), await code(two)) == before


async def test_functions_write_to_the_schema_they_were_made_in(empty_database_url: str) -> None:
    one, two = await two_schemas(empty_database_url)
    await migrate_up(one)
    await migrate_up(two)
    async with connected(two) as connection:
        await connection.execute("SET search_path = one")
        await connection.execute('SELECT "Two".lsync_space_v1($1, $2)', UUID(SPACE), "client")
    assert await value(one, "SELECT count(*) FROM spaces") == 0
    assert await value(two, "SELECT count(*) FROM spaces") == 1


async def test_only_the_first_schema_of_the_path_counts(empty_database_url: str) -> None:
    one, two = await two_schemas(empty_database_url)
    await migrate_up(two)
    behind = one + '%2C"Two"'
    assert await version(behind) == 0
    assert {state.applied for state in await status(behind)} == {False}
    await migrate_up(behind)
    assert await version(one) == LAST
    await migrate_down(behind)
    assert await version(two) == LAST


def test_no_script_names_a_schema() -> None:
    for migration in CATALOG.values():
        for script in (migration.up, migration.down):
            assert "public." not in script
            assert "SET search_path TO" not in script
