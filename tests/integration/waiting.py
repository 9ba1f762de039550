"""Waiting for what nothing announces: another process's state, asked for until it is as wanted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]], *, timeout_s: float = 30.0) -> T:
    """Ask until the answer is true and return it.

    Raises:
        TimeoutError: it never was.
    """
    async with asyncio.timeout(timeout_s):
        while not (answer := await ask()):  # noqa: ASYNC110  # nobody sets an event for us
            await asyncio.sleep(0.01)
    return answer
