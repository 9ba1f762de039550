"""Blocking work of an asyncio command."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_stop: Final[ContextVar[threading.Event | None]] = ContextVar("stop", default=None)


class Stopped(Exception):
    """The command is being stopped, and the work under way may end here."""


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread and, when cancelled, wait for it to end before giving way.

    So a stopped command never leaves a half-done step behind. Long work calls `check_stop` now and then.
    """
    stop, context = threading.Event(), copy_context()
    context.run(_stop.set, stop)
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs), context=context)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen; being stopped matters more
        raise


def check_stop() -> None:
    """Give long work an end where it may be left: nothing but reading was done since the last call.

    Raises:
        Stopped: who waits for this work in `in_thread` was cancelled.
    """
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Stopped
