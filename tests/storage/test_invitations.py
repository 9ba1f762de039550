"""Invitations, docs/storage.md 5.6."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from less_sync.storage import Invitation, PostgresInvitationStore, PostgresPool
from less_sync.storage.queries import sql
from tests.storage.support import execute, rows, select

MINE, OTHERS = "a1" * 32, "b2" * 32


@pytest.fixture
def invitations(pool: PostgresPool) -> PostgresInvitationStore:
    return PostgresInvitationStore(pool)


async def insert(
    pool: PostgresPool, *, mailbox: str = MINE, expires_in_s: int = 3600, at: datetime | None = None
) -> UUID:
    """Insert a row directly; without `at` it was made now."""
    return await rows(pool).add_invitation(mailbox, expires_in_s=expires_in_s, at=at)


def ids(found: Sequence[Invitation]) -> list[UUID]:
    return [invitation.id for invitation in found]


async def test_an_invitation_is_listed_and_read_in_its_mailbox(invitations: PostgresInvitationStore) -> None:
    made = await invitations.create(MINE, b"payload \xff")
    assert made.payload == b"payload \xff"
    assert await invitations.list(MINE, limit=50) == [made]
    assert await invitations.get(made.id, MINE) == made


async def test_another_mailbox_sees_nothing_and_cannot_delete(invitations: PostgresInvitationStore) -> None:
    made = await invitations.create(MINE, b"p")
    assert await invitations.list(OTHERS, limit=50) == []
    assert await invitations.get(made.id, OTHERS) is None
    assert not await invitations.delete(made.id, OTHERS)
    assert await invitations.get(made.id, MINE) == made


async def test_a_deleted_invitation_is_gone(invitations: PostgresInvitationStore) -> None:
    made = await invitations.create(MINE, b"p")
    assert await invitations.delete(made.id, MINE)
    assert not await invitations.delete(made.id, MINE)
    assert await invitations.get(made.id, MINE) is None
    assert await invitations.list(MINE, limit=50) == []


async def test_of_two_deletions_at_once_one_is_told_it_was_there(
    invitations: PostgresInvitationStore,
) -> None:
    for _ in range(10):
        made = await invitations.create(MINE, b"p")
        done = await asyncio.gather(*(invitations.delete(made.id, MINE) for _ in range(4)))
        assert sorted(done) == [False, False, False, True]


async def test_a_mailbox_is_any_text_that_a_token_names(invitations: PostgresInvitationStore) -> None:
    await invitations.create(MINE, b"p")
    for mailbox in ("", "client", "x" * 200, "ü", MINE[:-1]):
        assert await invitations.list(mailbox, limit=50) == []
        assert await invitations.get(uuid4(), mailbox) is None
        assert not await invitations.delete(uuid4(), mailbox)


async def test_it_expires_after_seven_days_wherever_the_server_is(
    pool: PostgresPool, database_url: str
) -> None:
    [row] = await select(pool, "SELECT current_database()")
    await execute(pool, f"ALTER DATABASE \"{row[0]}\" SET timezone TO 'Europe/Berlin'")
    there = await PostgresPool.open(database_url, max_connections=1)
    try:
        made = await PostgresInvitationStore(there).create(MINE, b"p")
    finally:
        await there.aclose(5.0)
    assert made.expires_at - made.created_at == timedelta(days=7)
    assert made.created_at.utcoffset() == timedelta(0)


async def test_seven_days_stay_168_hours_over_a_change_of_daylight_saving(pool: PostgresPool) -> None:
    """As a session of another zone would count, which this server never opens."""
    text = "SELECT timestamptz '2026-03-27 12:00 UTC' + interval '168 hours' = '2026-04-03 12:00 UTC'"
    async with pool.connection() as con, con.transaction():
        await con.execute("SET LOCAL timezone TO 'Europe/Berlin'")
        assert await con.fetchval(text) is True


async def test_an_expired_invitation_vanishes_but_can_be_deleted(
    pool: PostgresPool, invitations: PostgresInvitationStore
) -> None:
    expired = await insert(pool, expires_in_s=-1)
    assert await invitations.list(MINE, limit=50) == []
    assert await invitations.get(expired, MINE) is None
    assert await invitations.delete(expired, MINE)


async def test_pages_go_on_after_an_id(pool: PostgresPool, invitations: PostgresInvitationStore) -> None:
    made = [(await invitations.create(MINE, bytes([n]))).id for n in range(5)]
    await insert(pool, mailbox=OTHERS)
    assert ids(await invitations.list(MINE, limit=2)) == made[:2]
    assert ids(await invitations.list(MINE, limit=2, after=made[1])) == made[2:4]
    assert ids(await invitations.list(MINE, limit=2, after=made[3])) == made[4:]
    assert ids(await invitations.list(MINE, limit=2, after=made[4])) == []


async def test_no_limit_no_invitations(pool: PostgresPool, invitations: PostgresInvitationStore) -> None:
    first = await insert(pool)
    await insert(pool)
    assert await invitations.list(MINE, limit=0) == []
    assert await invitations.list(MINE, limit=0, after=first) == []


async def test_after_an_id_that_is_not_in_the_mailbox_there_is_nothing(
    pool: PostgresPool, invitations: PostgresInvitationStore
) -> None:
    others, gone = await insert(pool, mailbox=OTHERS), await insert(pool)
    await insert(pool)
    await invitations.delete(gone, MINE)
    for after in (others, gone, uuid4()):
        assert await invitations.list(MINE, limit=50, after=after) == []


async def test_a_page_may_begin_after_an_expired_one(
    pool: PostgresPool, invitations: PostgresInvitationStore
) -> None:
    start = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    expired = await insert(pool, expires_in_s=-1, at=start)
    live = await insert(pool, at=start + timedelta(microseconds=1))
    assert ids(await invitations.list(MINE, limit=50, after=expired)) == [live]


async def test_equal_times_are_ordered_by_id(
    pool: PostgresPool, invitations: PostgresInvitationStore
) -> None:
    start = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    later = [await insert(pool, at=start + timedelta(seconds=1)) for _ in range(5)]
    early = [await insert(pool, at=start) for _ in range(5)]
    wanted = sorted(early) + sorted(later)
    assert ids(await invitations.list(MINE, limit=50)) == wanted
    for position, after in enumerate(wanted, 1):
        assert ids(await invitations.list(MINE, limit=3, after=after)) == wanted[position : position + 3]


async def test_a_page_ends_when_its_payloads_reach_the_bound(invitations: PostgresInvitationStore) -> None:
    made = [(await invitations.create(MINE, bytes(size))).id for size in (60, 40, 10, 500, 10)]
    assert ids(await invitations.list(MINE, limit=50, bytes_max=100)) == made[:2]
    assert ids(await invitations.list(MINE, limit=1, bytes_max=100)) == made[:1]
    assert ids(await invitations.list(MINE, limit=50, after=made[1], bytes_max=100)) == made[2:4]
    assert ids(await invitations.list(MINE, limit=50, after=made[2], bytes_max=100)) == made[3:4]


@pytest.mark.parametrize("after", [False, True])
async def test_a_page_visits_its_own_rows_alone_after_planning_on_an_empty_table(
    pool: PostgresPool, after: bool
) -> None:
    name, extra = ("list_invitations_after", [uuid4()]) if after else ("list_invitations", [])
    async with pool.connection() as con:
        for _ in range(7):
            await con.fetch(sql(name), MINE, 5, 1000, *extra)
        await execute(
            pool,
            """INSERT INTO invitations (mailbox_id, payload, expires_at)
               SELECT lpad(i::text, 64, '0'), 'p', NOW() + interval '1 day'
               FROM generate_series(1, 5000) i""",
        )
        made = [await insert(pool) for _ in range(50)]
        async with con.transaction():
            found = await con.fetch(sql(name), MINE, 5, 1000, *([made[30]] if after else []))
            assert [row["id"] for row in found] == (made[31:36] if after else made[:5])
            [visited] = await con.fetch(
                """SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables
                   WHERE relname = 'invitations'"""
            )
    assert (visited[0], visited[1] <= 8) == (0, True)
