"""Work of reads that takes long: a few at once, and not endlessly many that wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from less_sync.volume.http.request import Request

AT_ONCE_MAX: Final = 2
WAITING_MAX: Final = 64
"""Requests beyond these are refused."""


class BusyError(Exception):
    """Too many wait already, or nobody waits for this work any more."""


class HeavyWork:
    """Work of one kind, `AT_ONCE_MAX` at once: the threads are there for others too."""

    def __init__(self) -> None:
        self._turns: Final = asyncio.Semaphore(AT_ONCE_MAX)
        self.waiting = 0
        """So many requests wait for their turn."""

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncIterator[None]:
        """Wait until it is the request's turn, which lasts as long as the block.

        Raises:
            BusyError: `WAITING_MAX` wait already, or the client has left while it waited.
        """
        if self.waiting >= WAITING_MAX:
            raise BusyError
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        try:
            if request.gone:
                raise BusyError
            yield
        finally:
            self._turns.release()
