"""Purging in the background (docs/storage.md 10)."""

import asyncio
from typing import Final

import pytest

from less_sync.storage import PostgresInvitationStore, PostgresPool, PostgresRateLimitStore, StorageError
from less_sync.storage.postgres.maintenance import BATCH_ROWS, LOCK_NAME
from less_sync.storage.queries import sql
from tests.storage.support import execute, rows, select

EXPIRED: Final = 2 * BATCH_ROWS + 17
LIVE: Final = 5
HOLD: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"


async def fill(pool: PostgresPool) -> None:
    await rows(pool).add_old_and_live(old=EXPIRED, live=LIVE)


async def left(pool: PostgresPool) -> tuple[int, int]:
    found = rows(pool)
    return len(await found.invitations()), sum((await found.slots()).values())


async def test_everything_expired_goes_in_batches_and_is_counted(pool: PostgresPool) -> None:
    await fill(pool)
    assert await PostgresInvitationStore(pool).purge() == EXPIRED
    assert await PostgresRateLimitStore(pool).cleanup(window_s=60) == EXPIRED
    assert await left(pool) == (LIVE, LIVE)
    assert await PostgresInvitationStore(pool).purge() == 0


async def test_while_another_process_is_at_it_nothing_is_deleted(pool: PostgresPool) -> None:
    await fill(pool)
    before = await left(pool)
    async with pool.connection() as other, other.transaction():
        await other.execute(HOLD, LOCK_NAME)
        assert await PostgresInvitationStore(pool).purge() == 0
        assert await PostgresRateLimitStore(pool).cleanup(window_s=60) == 0
        assert await left(pool) == before
    assert await PostgresInvitationStore(pool).purge() == EXPIRED


async def test_two_processes_at_once_delete_each_row_once(pool: PostgresPool) -> None:
    await fill(pool)
    store = PostgresInvitationStore(pool)
    counts = await asyncio.gather(store.purge(), store.purge(), store.purge())
    assert sum(counts) <= EXPIRED
    assert sum(counts) + await store.purge() == EXPIRED
    assert (await left(pool))[0] == LIVE


async def test_no_lock_is_left_behind(pool: PostgresPool) -> None:
    await fill(pool)
    await PostgresInvitationStore(pool).purge()
    assert await select(pool, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") == []


async def test_a_failure_is_raised(pool: PostgresPool) -> None:
    await execute(pool, "ALTER TABLE invitations RENAME TO gone")
    with pytest.raises(StorageError):
        await PostgresInvitationStore(pool).purge()


@pytest.mark.parametrize("table", ["invitations", "rate_limit_actions"])
async def test_a_batch_visits_the_expired_alone(pool: PostgresPool, table: str) -> None:
    await fill(pool)
    name, *args = {
        "invitations": ("purge_invitations", 10, LOCK_NAME),
        "rate_limit_actions": ("purge_rates", 10, LOCK_NAME, 60),
    }[table]
    async with pool.connection() as con, con.transaction():
        assert len(await con.fetch(sql(str(name)), *args)) == 10
        [visited] = await con.fetch(
            "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = $1", table
        )
    assert (visited[0], visited[1] <= 20) == (0, True)
