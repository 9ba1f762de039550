"""Vital tasks: each way to end is noticed, none takes the others with it, and a stop is no fault."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog.testing

from less_sync.bins.supervisor import Ended, Supervisor

TIMEOUT_S = 10.0


async def for_ever() -> None:
    await asyncio.Event().wait()


async def returns() -> None:
    await asyncio.sleep(0)


async def raises() -> None:
    await asyncio.sleep(0)
    raise ValueError("what a client sent")


async def leaves_the_process() -> None:
    raise SystemExit(3)


async def is_cancelled_within() -> None:
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    lost.cancel()
    await lost


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        (returns, None),
        (raises, ValueError),
        (leaves_the_process, SystemExit),
        (is_cancelled_within, asyncio.CancelledError),
    ],
)
async def test_each_way_to_end_is_noticed_and_logged_while_the_others_go_on(
    work: Callable[[], Awaitable[None]], kind: type[BaseException] | None
) -> None:
    with structlog.testing.capture_logs() as lines:
        async with Supervisor() as vital:
            other = vital.start("other", for_ever())
            vital.start("work", work())  # type: ignore[arg-type]  # each is a coroutine function
            await asyncio.wait_for(vital.ended.wait(), TIMEOUT_S)
            assert not other.done()
    assert vital.first is not None
    assert vital.first.task == "work"
    assert (None if vital.first.fault is None else type(vital.first.fault)) is kind
    assert [(line["event"], line["task"], line["exc_info"]) for line in lines] == [
        ("a vital task has ended", "work", vital.first.fault)
    ]


async def test_a_task_that_somebody_else_cancels_has_ended_unexpectedly() -> None:
    async with Supervisor() as vital:
        task = vital.start("work", for_ever())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait_for(vital.ended.wait(), TIMEOUT_S)


async def test_the_first_to_end_is_the_one_that_is_named() -> None:
    async with Supervisor() as vital:
        vital.start("first", returns())
        await vital.ended.wait()
        await asyncio.wait({vital.start("second", raises())})
    assert vital.first == Ended("first", None)


async def test_what_is_stopped_on_purpose_is_no_fault() -> None:
    async with Supervisor() as vital:
        await vital.stop(vital.start("before it began", for_ever()))
        running = vital.start("running", for_ever())
        await asyncio.sleep(0)
        await vital.stop(running)
        assert running.cancelled()
        vital.start("until the end", for_ever())
        vital.start("until the end, before it began", for_ever())
    assert vital.first is None


async def test_in_a_stop_tasks_may_return() -> None:
    async with Supervisor() as vital:
        vital.expect_ends()
        await asyncio.wait({vital.start("closed", returns())})
    assert vital.first is None


async def test_in_a_stop_tasks_may_not_fail() -> None:
    async with Supervisor() as vital:
        vital.expect_ends()
        await asyncio.wait({vital.start("failed", raises())})
    assert vital.first is not None
    assert vital.first.task == "failed"


async def block_that_fails(vital: Supervisor, tasks: list[asyncio.Task[None]]) -> None:
    async with vital:
        tasks.append(vital.start("work", for_ever()))
        await asyncio.sleep(0)
        raise KeyError


async def test_the_error_of_the_block_is_raised_as_it_is_once_all_tasks_are_gone() -> None:
    vital, tasks = Supervisor(), list[asyncio.Task[None]]()
    with pytest.raises(KeyError):
        await block_that_fails(vital, tasks)
    assert [task.cancelled() for task in tasks] == [True]
    assert vital.first is None
