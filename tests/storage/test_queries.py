"""The named queries."""

import pytest

from less_sync.storage import PostgresPool
from less_sync.storage.queries import QUERIES


async def test_every_query_prepares(pool: PostgresPool) -> None:
    async with pool.connection() as con:
        for query in QUERIES.values():
            statement = await con.prepare(query.text)
            # What is only deleted is counted by the tag of its answer.
            assert statement.get_attributes() or query.name.startswith("purge_"), query.name


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_says_what_it_is_for(name: str) -> None:
    query = QUERIES[name]
    assert query.name == name
    assert query.description.endswith(".")
    assert query.text.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))
    assert not query.text.endswith(";")
