"""One answer for all who ask the same within a few seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Reused(Generic[T]):
    """Asks one question at a time; its answer counts for `for_s` seconds, a failure for those who wait."""

    def __init__(self, for_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._for_s = for_s
        self._now = now
        self._asking: asyncio.Task[T] | None = None
        self._asked_at_s = 0.0

    async def get(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer, of `ask` or of whoever asked before."""
        asking, now = self._asking, self._now()
        old = asking is not None and asking.done() and now - self._asked_at_s >= self._for_s
        if asking is None or old or (asking.done() and asking.exception() is not None):
            asking = self._asking = asyncio.ensure_future(_asked(ask))
            self._asked_at_s = now
        # Whoever hangs up ends its own wait, not the question.
        return await asyncio.shield(asking)


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
