"""Rate limits, docs/storage.md 5.7."""

import asyncio

import pytest

from less_sync.storage import PostgresPool, PostgresRateLimitStore, RateSlot
from less_sync.storage.queries import sql
from tests.storage.support import execute, rows

ACTOR, ANOTHER = "c3" * 32, "d4" * 32


@pytest.fixture
def limits(pool: PostgresPool) -> PostgresRateLimitStore:
    return PostgresRateLimitStore(pool)


async def take(
    limits: PostgresRateLimitStore, *, actor: str = ACTOR, action: str = "invitation", max: int = 2
) -> RateSlot | None:
    return await limits.take(action, actor, window_s=3600, slots_max=max)


async def used(pool: PostgresPool, actor: str = ACTOR) -> int:
    return (await rows(pool).slots()).get(actor, 0)


async def test_an_actor_has_so_many_slots_and_no_more(
    pool: PostgresPool, limits: PostgresRateLimitStore
) -> None:
    assert [await take(limits) is not None for _ in range(4)] == [True, True, False, False]
    assert await used(pool) == 2


async def test_each_actor_and_each_action_has_slots_of_its_own(limits: PostgresRateLimitStore) -> None:
    for actor in (ACTOR, ANOTHER):
        for action in ("invitation", "membership_append"):
            taken = [await take(limits, actor=actor, action=action) is not None for _ in range(3)]
            assert taken == [True, True, False]


@pytest.mark.parametrize("max", [0, -1])
async def test_a_limit_of_nothing_gives_nothing(limits: PostgresRateLimitStore, max: int) -> None:
    assert await take(limits, max=max) is None


async def test_a_slot_is_free_again_when_the_window_has_passed(
    pool: PostgresPool, limits: PostgresRateLimitStore
) -> None:
    assert [await take(limits) is not None for _ in range(3)] == [True, True, False]
    await rows(pool).age_slots(3601)
    assert await take(limits) is not None


async def test_rows_of_the_existing_servers_count(pool: PostgresPool, limits: PostgresRateLimitStore) -> None:
    await rows(pool).add_slot("invitation", ACTOR)
    assert [await take(limits) is not None for _ in range(2)] == [True, False]


async def test_a_slot_given_back_can_be_taken_again(
    pool: PostgresPool, limits: PostgresRateLimitStore
) -> None:
    kept, given = await take(limits), await take(limits)
    assert kept is not None
    assert given is not None
    await limits.undo(given)
    assert await used(pool) == 1
    assert [await take(limits) is not None for _ in range(2)] == [True, False]


async def test_giving_a_slot_back_twice_gives_nobody_elses_back(
    pool: PostgresPool, limits: PostgresRateLimitStore
) -> None:
    given = await take(limits)
    assert given is not None
    await limits.undo(given)
    await execute(pool, "VACUUM rate_limit_actions")  # lets the next row take the place of the one that went
    again = await take(limits)
    assert again is not None
    assert again.row == given.row
    await limits.undo(given)
    assert await used(pool) == 1


async def test_of_fifty_at_once_exactly_ten_are_let_through(
    pool: PostgresPool, limits: PostgresRateLimitStore
) -> None:
    taken = await asyncio.gather(*(take(limits, max=10) for _ in range(50)))
    assert sum(slot is not None for slot in taken) == 10
    assert len({slot.row for slot in taken if slot is not None}) == 10
    assert await used(pool) == 10


async def test_slots_given_back_while_others_are_taken_are_never_exceeded(
    pool: PostgresPool, limits: PostgresRateLimitStore
) -> None:
    async def fail() -> bool:
        slot = await take(limits, max=5)
        if slot is not None:
            await limits.undo(slot)
        return slot is not None

    for _ in range(3):
        kept, _ = await asyncio.gather(
            asyncio.gather(*(take(limits, max=5) for _ in range(10))),
            asyncio.gather(*(fail() for _ in range(10))),
        )
        assert sum(slot is not None for slot in kept) == await used(pool) <= 5
        await rows(pool).clear()


async def test_clean_up_deletes_what_is_older_than_the_window(
    pool: PostgresPool, limits: PostgresRateLimitStore
) -> None:
    await take(limits)
    await rows(pool).age_slots(61)
    await take(limits)
    assert await limits.cleanup(window_s=62) == 0
    assert await limits.cleanup(window_s=60) == 1
    assert await used(pool) == 1


async def test_a_slot_does_not_show_its_actor(limits: PostgresRateLimitStore) -> None:
    assert ACTOR not in repr(await take(limits))


async def test_taking_visits_one_actors_rows_alone_after_planning_on_an_empty_table(
    pool: PostgresPool, limits: PostgresRateLimitStore
) -> None:
    async with pool.connection() as con:
        for _ in range(7):
            await con.fetch(sql("take_rate"), "invitation", ANOTHER, 3600, 0)
        await con.execute(
            """INSERT INTO rate_limit_actions (action, actor_hash, created_at)
               SELECT 'invitation', md5(i::text) || md5(i::text), NOW() FROM generate_series(1, 5000) i"""
        )
        async with con.transaction():
            for _ in range(3):
                [row] = await con.fetch(sql("take_rate"), "invitation", ACTOR, 3600, 10)
                assert row["taken"]
            [visited] = await con.fetch(
                """SELECT seq_tup_read, idx_scan, idx_tup_fetch FROM pg_stat_xact_user_tables
                   WHERE relname = 'rate_limit_actions'"""
            )
    assert visited[0] == 0
    assert visited[1] == 3
    assert visited[2] <= 3


async def test_hashes_reach_the_server_in_the_type_of_the_column(pool: PostgresPool) -> None:
    async with pool.connection() as con:
        for name, position in (
            ("take_rate", 1),
            ("undo_rate", 1),
            ("list_invitations", 0),
            ("get_invitation", 1),
        ):
            parameters = (await con.prepare(sql(name))).get_parameters()
            assert parameters[position].name == "bpchar", name
