"""Work in threads that must come to its end even if whoever waits for it is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    """Wait until `work` is over, whatever happens to the waiter; a cancellation is raised then.

    A thread cannot be cancelled: if the waiter left at once, the turn would be free and the buffer reused
    while the thread still writes.
    """
    future = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    try:
        if cancelled is None:
            return future.result()
        if not future.cancelled():
            future.exception()  # Nobody else will look at it.
        raise cancelled
    finally:
        # An exception holds this frame, and these hold the exception: buffers of callers would stay with them
        # until the collector comes, and that is seldom.
        del work, future, cancelled
