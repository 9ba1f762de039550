"""Work in threads that must come to its end even if whoever waits for it is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` as a task and wait until it is over, whatever happens to the waiter.

    A thread cannot be cancelled: if the waiter left at once, the turn would be free and the buffer reused
    while the thread still writes. A cancellation is raised when the work is over.
    """
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # The waiter is gone; nobody else would look at it.
    raise cancelled
