"""What another thread may not do to a loop is refused, and what it may is done."""

import asyncio
from collections.abc import Callable

import pytest

from tests.loops import OwnThreadLoop

WRONG: dict[str, Callable[[asyncio.AbstractEventLoop, asyncio.Future[None]], object]] = {
    "call_soon": lambda loop, _: loop.call_soon(print),
    "call_later": lambda loop, _: loop.call_later(1, print),
    "call_at": lambda loop, _: loop.call_at(1, print),
    "a task": lambda loop, _: asyncio.Task(asyncio.Event().wait(), loop=loop),
    "a future that is waited for": lambda _, future: future.set_result(None),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore:coroutine 'Event.wait' was never awaited")
def test_what_another_thread_schedules_is_refused(name: str) -> None:
    async def work() -> None:
        loop, future = asyncio.get_running_loop(), asyncio.Future[None]()
        future.add_done_callback(lambda _: None)
        with pytest.raises(RuntimeError, match="another thread"):
            await asyncio.to_thread(WRONG[name], loop, future)

    with asyncio.Runner(loop_factory=OwnThreadLoop) as runner:
        runner.run(work())


def test_call_soon_threadsafe_is_for_other_threads() -> None:
    async def work() -> bool:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        await asyncio.to_thread(loop.call_soon_threadsafe, came.set)
        return await came.wait()

    with asyncio.Runner(loop_factory=OwnThreadLoop) as runner:
        assert runner.run(work())
