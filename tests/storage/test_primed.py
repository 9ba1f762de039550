"""What tests tell asyncpg of the arrays is what a real Postgres would have told it."""

from typing import Any

import asyncpg

from tests.primed import TYPES, connect_primed


async def test_the_arrays_are_those_of_a_real_postgres(database_url: str) -> None:
    con: Any = await asyncpg.connect(database_url)
    try:
        rows, _ = await con._introspect_types([row["oid"] for row in TYPES], None)
    finally:
        await con.close()
    told = {row["oid"]: row for row in rows}
    assert [{name: told[row["oid"]][name] for name in row} for row in TYPES] == TYPES


async def test_nobody_asks_about_them_on_a_primed_connection(database_url: str) -> None:
    asked = []
    for connect in (asyncpg.connect, connect_primed):
        con = await connect(database_url)
        try:
            with con.query_logger(lambda query: asked.append((connect, query.query))):  # noqa: B023  # called at once
                echoed = await con.fetchval("SELECT $1::int8[]", [1, None])
        finally:
            await con.close()
        assert echoed == [1, None]
    assert {connect for connect, query in asked if "typeinfo_tree" in query} == {asyncpg.connect}
