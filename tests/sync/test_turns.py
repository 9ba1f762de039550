"""What is done once per cluster, and not once per process (docs/scaling.md 3.6)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from less_sync.storage import PostgresPool, PostgresRateLimitStore, RateSlot, Unavailable
from less_sync.sync.background import run_background
from less_sync.sync.turns import ACTION, Turns
from tests.live import TIMEOUT_S, live_server

INTERVAL_S = 1.3
"""In which there is one turn a second."""


class Told(PostgresRateLimitStore):
    """Says when turns were taken."""

    def __init__(self, pool: PostgresPool, taken: list[datetime]) -> None:
        super().__init__(pool)
        self._taken = taken

    async def take(self, action: str, actor_hash: str, *, window_s: int, slots_max: int) -> RateSlot | None:
        slot = await super().take(action, actor_hash, window_s=window_s, slots_max=slots_max)
        if slot is not None and action == ACTION:
            self._taken.append(slot.taken_at)
        return slot


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[PostgresPool]:
    opened = await PostgresPool.open(database_url, max_connections=8)
    try:
        yield opened
    finally:
        await opened.aclose(TIMEOUT_S)


async def rows(pool: PostgresPool) -> int:
    async with pool.connection() as con:
        return int(await con.fetchval("SELECT count(*) FROM rate_limit_actions"))


async def age(pool: PostgresPool, seconds: int) -> None:
    async with pool.connection() as con:
        await con.execute(
            "UPDATE rate_limit_actions SET created_at = created_at - make_interval(secs => $1)", seconds
        )


async def did(turns: Turns, task: str = "maintenance", interval_s: float = 600.0) -> bool:
    async with turns.taken(task, interval_s) as ours:
        await asyncio.sleep(0)
        return ours


async def fail(turns: Turns) -> None:
    async with turns.taken("maintenance", 600.0) as ours:
        assert ours
        raise Unavailable


async def test_of_many_who_ask_at_once_one_does_the_work_and_again_in_the_next_interval(
    pool: PostgresPool,
) -> None:
    everybody = [Turns(PostgresRateLimitStore(pool)) for _ in range(8)]
    for _ in range(3):
        assert sum(await asyncio.gather(*map(did, everybody))) == 1
        assert sum(await asyncio.gather(*map(did, everybody))) == 0
        assert await rows(pool) == 1  # what is remembered does not grow
        await age(pool, 400)
        assert sum(await asyncio.gather(*map(did, everybody))) == 0
        await age(pool, 110)


async def test_each_task_has_turns_of_its_own(pool: PostgresPool) -> None:
    turns = Turns(PostgresRateLimitStore(pool))
    assert [await did(turns, task) for task in ("maintenance", "orphan sweep", "maintenance")] == [
        True,
        True,
        False,
    ]


async def test_what_fails_is_done_by_whoever_asks_next(pool: PostgresPool) -> None:
    turns, others = Turns(PostgresRateLimitStore(pool)), Turns(PostgresRateLimitStore(pool))
    with pytest.raises(Unavailable):
        await fail(turns)
    assert await did(others)
    assert not await did(turns)


async def test_the_purge_of_slots_leaves_what_a_longer_interval_remembers(pool: PostgresPool) -> None:
    store = PostgresRateLimitStore(pool)
    assert await did(Turns(store), interval_s=86_400.0)
    await store.take("invitation", "a" * 64, window_s=3600, slots_max=1)
    await age(pool, 7200)
    assert await store.cleanup(window_s=3600) == 1
    assert not await did(Turns(store), interval_s=86_400.0)


async def test_two_servers_on_one_database_purge_in_turns(database_url: str) -> None:
    taken: list[datetime] = []
    async with live_server(database_url) as one, live_server(database_url) as other:
        for live in (one, other):
            live.services.turns = Turns(Told(live.pool, taken))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(run_background(live.services, maintenance_interval_s=INTERVAL_S))
                for live in (one, other)
            ]
            await asyncio.sleep(3 * INTERVAL_S)
            for task in tasks:
                task.cancel()
        chores = [live.services.metrics.chores.get("maintenance") for live in (one, other)]
    runs = sum(0 if chore is None else chore.runs for chore in chores)
    assert runs in (len(taken), len(taken) - 1)  # the last may have been cut off
    assert len(taken) > 1
    assert all(after - before >= timedelta(seconds=1) for before, after in pairwise(sorted(taken)))
