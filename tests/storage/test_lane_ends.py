"""Lanes that cannot start, or end by themselves: nobody waits for them, nothing is left behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import structlog

from less_sync.storage import PostgresPool, PushLanes, StorageError, Unavailable
from tests.storage.gate import Broken, Connector
from tests.storage.support import Refused, locked, make_push, opened, started, submit, written


async def test_lanes_that_cannot_all_connect_leave_no_connection_open(database_url: str) -> None:
    connector = Connector()
    pool = await PostgresPool.open(database_url, max_connections=1, connect=connector)
    try:
        connector.attempts_max = connector.attempts + 2
        with pytest.raises(Unavailable):
            await PushLanes.start(pool, lanes=3)
        of_pool, *of_lanes = connector.opened
        assert len(of_lanes) == 2
        assert [con.is_closed() for con in of_lanes] == [True, True]
        assert not of_pool.is_closed()
    finally:
        await pool.aclose(5.0)


@asynccontextmanager
async def one_lane(url: str) -> AsyncIterator[tuple[PushLanes, Connector]]:
    """A lane whose connection is the last the connector opened."""
    connector = Connector()
    pool = await PostgresPool.open(url, max_connections=1, connect=connector)
    try:
        async with started(pool, lanes=1) as lanes:
            yield lanes, connector
    finally:
        await pool.aclose(5.0)


async def test_a_lane_that_ends_answers_everything_it_had_and_takes_no_more(database_url: str) -> None:
    with structlog.testing.capture_logs() as lines:
        async with one_lane(database_url) as (lanes, connector):
            watching = asyncio.ensure_future(lanes.watch())
            assert await written(lanes, uuid4(), (uuid4(), 0, b"x")) == 1
            assert not watching.done()
            connector.opened[-1].broken = True
            futures = [submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"), client="c")) for _ in range(40)]
            results = await asyncio.wait_for(asyncio.gather(*futures), 20)
            assert [type(result) for result in results] == [Unavailable] * 40
            with pytest.raises(StorageError, match="a push lane ended unexpectedly") as caught:
                await asyncio.wait_for(watching, 20)
            assert isinstance(caught.value.__cause__, Broken)
            assert isinstance(await submit(lanes, make_push(uuid4())), Refused)
            await lanes.uncongested("")
    [line] = lines
    assert (line["event"], line["log_level"]) == ("a push lane ended unexpectedly", "error")
    assert isinstance(line["exc_info"], Broken)


def lane_task(number: int) -> "asyncio.Task[None]":
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == f"push lane {number}"]
    return task


async def test_a_lane_cancelled_by_a_stranger_is_told_too(pool: PostgresPool) -> None:
    async with started(pool, lanes=2) as lanes:
        lane_task(1).cancel()
        with pytest.raises(StorageError, match="ended unexpectedly"):
            await asyncio.wait_for(lanes.watch(), 20)
        assert isinstance(await submit(lanes, make_push(uuid4())), Refused)


async def test_what_the_other_lanes_have_is_still_written_when_one_has_ended(database_url: str) -> None:
    space = uuid4()
    async with opened(database_url) as pool, started(pool, lanes=2) as lanes:
        assert await written(lanes, space, (uuid4(), 0, b"x")) == 1
        async with locked(pool, space):
            waiting = submit(
                lanes, make_push(space, (uuid4(), 0, b"x"))
            )  # takes the first of two empty lanes
            await asyncio.sleep(0)
            lane_task(2).cancel()
            with pytest.raises(StorageError, match="ended unexpectedly"):
                await asyncio.wait_for(lanes.watch(), 20)
        assert getattr(await asyncio.wait_for(waiting, 20), "cursor", None) == 2


async def test_a_push_that_comes_back_to_a_lane_that_has_ended_is_answered(database_url: str) -> None:
    """Its space waits for a lock beside the lane, while the lane ends."""
    space = uuid4()
    async with opened(database_url) as pool, started(pool, lanes=1) as lanes:
        assert await written(lanes, space, (uuid4(), 0, b"x")) == 1
        async with locked(pool, space):
            waiting = [submit(lanes, make_push(space, (uuid4(), 0, b"x"))) for _ in range(3)]
            await until_held()
            lane_task(1).cancel()
            with pytest.raises(StorageError, match="ended unexpectedly"):
                await asyncio.wait_for(lanes.watch(), 20)
        results = await asyncio.wait_for(asyncio.gather(*waiting), 20)
        assert [type(result) for result in results[1:]] == [Unavailable] * 2
        assert getattr(results[0], "cursor", None) == 2


async def until_held() -> None:
    """Return once the space waits for its lock beside the lane."""
    async with asyncio.timeout(20):
        while not any(task.get_name() == "push beside the lanes" for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_watching_ends_when_the_lanes_are_closed(pool: PostgresPool) -> None:
    async with started(pool) as lanes:
        watching = asyncio.ensure_future(lanes.watch())
        await asyncio.sleep(0)
        assert not watching.done()
    await asyncio.wait_for(watching, 20)


async def test_lanes_closed_before_their_first_step_answer_what_they_were_given(pool: PostgresPool) -> None:
    lanes = PushLanes(pool)
    await lanes.open()
    futures = [submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"), client="c")) for _ in range(3)]
    await lanes.aclose(0.0)
    results = await asyncio.wait_for(asyncio.gather(*futures), 20)
    assert [type(result) for result in results] == [Unavailable] * 3
