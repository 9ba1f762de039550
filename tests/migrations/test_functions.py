"""The functions of migration 101, called as the server calls them."""

import asyncio
from uuid import UUID, uuid4

from .support import connected, fetch, value

SPACE_CALL = "SELECT * FROM lsync_space_v1($1, $2)"
PUSH_CALL = "SELECT * FROM lsync_push_v1($1, $2, $3, $4, $5, $6)"


async def ask_for_space(url: str, space: UUID, client: str | None) -> tuple[object, ...]:
    async with connected(url) as connection:
        row = await connection.fetchrow(SPACE_CALL, space, client)
    assert row is not None
    return tuple(row)


async def test_a_missing_space_is_created_with_the_defaults_of_the_table(database_url: str) -> None:
    space = uuid4()
    row = await ask_for_space(database_url, space, "client")
    assert row == (space, "client", None, 1, 1, 0, 0, None, None, True)
    assert await ask_for_space(database_url, space, "another") == (*row[:-1], False)
    assert await value(database_url, "SELECT client_id FROM spaces") == "client"


async def test_without_a_client_a_missing_space_stays_missing(database_url: str) -> None:
    assert (await ask_for_space(database_url, uuid4(), None))[0] is None
    assert await fetch(database_url, "SELECT id FROM spaces") == []


async def test_eight_callers_at_once_get_one_row_and_one_is_told_it_made_it(database_url: str) -> None:
    space = uuid4()
    rows = await asyncio.gather(*(ask_for_space(database_url, space, f"client {n}") for n in range(8)))
    assert len({row[1] for row in rows}) == 1
    assert sorted(bool(row[-1]) for row in rows) == [False] * 7 + [True]


async def test_a_push_creates_the_personal_space_and_conflicts_when_repeated(database_url: str) -> None:
    space, record = uuid4(), uuid4()
    async with connected(database_url) as connection:
        call = (space, [record], [0], [b"x"], [bytes(44)], "client")
        first = await connection.fetchrow(PUSH_CALL, *call)
        second = await connection.fetchrow(PUSH_CALL, *call)
        missing = await connection.fetchrow(PUSH_CALL, uuid4(), [], [], [], [], None)
    assert first is not None
    assert second is not None
    assert missing is not None
    assert [row["status"] for row in (first, second, missing)] == [0, 1, 2]
    assert [row["new_cursor"] for row in (first, second)] == [1, 0]
