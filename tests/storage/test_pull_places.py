"""Who reads slowly, or much, keeps no other reader waiting (docs/storage.md 7.3 and 7.4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from less_sync.storage import PostgresPool, PostgresPullStore, PushLanes, Unavailable
from less_sync.storage.postgres.pull_places import PullPlaces
from less_sync.storage.postgres.pull_reader import Patience
from tests.storage.support import (
    many_records,
    opened,
    transactions_open,
    until_no_transaction_is_open,
    written,
)

FOR_EVER = Patience(portal_s=3600.0, portal_wanted_s=3600.0, consumer_s=3600.0)


@asynccontextmanager
async def stalled(pulls: PostgresPullStore, space: UUID, readers: list[str]) -> AsyncIterator[list[int]]:
    """Pulls that take one batch and no more until the block ends; then they read on. Yields their counts."""
    leave, begun, counts = asyncio.Event(), asyncio.Semaphore(0), list[int]()

    async def stall(reader: str) -> None:
        async with pulls.pull(space, 0, reader=reader) as pull:
            assert pull is not None
            count = 0
            async for batch in pull.batches():
                if not count:
                    begun.release()
                    await leave.wait()
                count += len(batch)
            counts.append(count)

    tasks = [asyncio.create_task(stall(reader)) for reader in readers]
    try:
        for _ in tasks:
            await asyncio.wait_for(begun.acquire(), 20)
        yield counts
        leave.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("readers", [["a"] * 18, list("abcdefghijklmnopqr")], ids=["one reader", "many"])
async def test_pulls_that_nobody_reads_let_go_for_whoever_waits(
    pool: PostgresPool, readers: list[str]
) -> None:
    """Without that, the sixth pull would wait for its place until it fails."""
    space = uuid4()
    await many_records(pool, space, pushes=20, each=100, blob_bytes=2000)
    pulls = PostgresPullStore(pool, patience=FOR_EVER)
    async with stalled(pulls, space, readers) as counts:
        assert await transactions_open(pool) <= 5
        for _ in range(3):
            async with pulls.pull(space, 0, reader="other") as pull:
                assert pull is not None
                assert sum([len(batch) async for batch in pull.batches()]) == 2000
    assert counts == [2000] * 18


async def test_a_pull_that_nobody_reads_lets_go_after_a_while_though_nobody_waits(pool: PostgresPool) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=20, each=100, blob_bytes=2000)
    patience = Patience(portal_s=3600.0, portal_wanted_s=3600.0, consumer_s=0.05)
    async with stalled(PostgresPullStore(pool, patience=patience), space, ["a"]) as counts:
        await until_no_transaction_is_open(pool)
    assert counts == [2000]


async def test_a_pull_that_is_read_as_fast_as_it_can_makes_room_for_one_that_waits(database_url: str) -> None:
    async with opened(database_url, max_connections=2) as pool:  # one place
        space = uuid4()
        await many_records(pool, space, pushes=20, each=100, blob_bytes=2000)
        patience = Patience(portal_s=3600.0, portal_wanted_s=0.0, consumer_s=3600.0)
        pulls = PostgresPullStore(pool, patience=patience)
        other: asyncio.Task[int] | None = None
        count = 0
        async with pulls.pull(space, 0, reader="a") as pull:
            assert pull is not None
            async for batch in pull.batches():
                count += len(batch)
                if other is None:
                    other = asyncio.create_task(count_of(pulls, space, "b"))
            assert other is not None
            assert count == await asyncio.wait_for(other, 20) == 2000


async def count_of(pulls: PostgresPullStore, space: UUID, reader: str) -> int:
    async with pulls.pull(space, 0, reader=reader) as pull:
        assert pull is not None
        return sum([len(batch) async for batch in pull.batches()])


async def test_a_portal_is_given_back_before_its_last_batch_is_taken(pool: PostgresPool) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=6, each=100, blob_bytes=1)
    async with PostgresPullStore(pool, patience=FOR_EVER).pull(space, 0) as pull:
        assert pull is not None
        batches = pull.batches()
        count = len(await anext(batches))
        await until_no_transaction_is_open(pool)
        assert count < 600
        assert count + sum([len(batch) async for batch in batches]) == 600


async def test_pulls_leave_half_of_the_pool_to_others(pool: PostgresPool, lanes: PushLanes) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=20, each=100, blob_bytes=2000)
    pulls = PostgresPullStore(pool, patience=FOR_EVER)
    async with stalled(pulls, space, ["a", "b", "c", "d", "e"]) as counts:
        assert await transactions_open(pool) == 5
        assert await written(lanes, uuid4(), (uuid4(), 0, b"x")) == 1
    assert counts == [2000] * 5


async def test_who_finds_no_place_in_time_is_told_so(database_url: str) -> None:
    pool = await PostgresPool.open(database_url, max_connections=2, acquire_timeout_s=0.05)
    try:
        places = PullPlaces(pool)
        async with places.connection("a"):
            with pytest.raises(Unavailable, match=r"no place among pulls became free within 0.05 s"):
                async with places.connection("b"):
                    pass
        async with places.connection("b") as con:
            assert await con.fetchval("SELECT 1") == 1
    finally:
        await pool.aclose(5.0)
