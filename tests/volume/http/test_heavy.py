"""Turns of what takes long."""

import asyncio

import pytest

from less_sync.volume.http.heavy import AT_ONCE_MAX, WAITING_MAX, BusyError, HeavyWork
from less_sync.volume.http.request import Request


async def test_a_few_work_some_wait_and_the_others_are_refused() -> None:
    work, release, running = HeavyWork(), asyncio.Event(), list[int]()

    async def act() -> None:
        async with work.turn(Request("GET", b"", "/", "")):
            running.append(1)
            assert len(running) <= AT_ONCE_MAX
            await release.wait()
            running.pop()

    tasks = [asyncio.create_task(act()) for _ in range(AT_ONCE_MAX + WAITING_MAX + 1)]
    refused, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [type(task.exception()) for task in refused] == [BusyError]
    release.set()
    await asyncio.gather(*(task for task in tasks if task not in refused))
    async with work.turn(Request("GET", b"", "/", "")):
        pass


async def test_nobody_works_for_a_client_that_is_gone() -> None:
    work, gone = HeavyWork(), Request("GET", b"", "/", "")
    gone.gone = True
    for _ in range(AT_ONCE_MAX + 1):
        with pytest.raises(BusyError):
            async with work.turn(gone):
                raise AssertionError("it worked")
