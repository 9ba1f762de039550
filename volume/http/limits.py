"""How many bytes of uploads and downloads may be under way at once (docs/volume.md, section 3.7)."""

import asyncio
from typing import Final

from less_sync.volume.http.request import Request

WAITERS_MAX: Final = 10_000
"""More requests than this do not wait for one limit; they are refused at once."""


class InFlight:
    """A sum of bytes with a limit, and the requests that wait until the sum is not above it.

    The limit is compared before a request's own bytes are added: one request of any size is admitted when
    nothing else runs. 0 is no limit; the sum is kept all the same.
    """

    __slots__ = ("_waiters", "bytes", "bytes_max", "wait_s_max")

    def __init__(self, bytes_max: int, wait_s_max: float) -> None:
        self.bytes = 0
        self.bytes_max: Final = bytes_max
        self.wait_s_max: Final = wait_s_max
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def is_over(self) -> bool:
        """Whether a request that comes now has to wait."""
        return 0 < self.bytes_max < self.bytes

    def add(self, count: int) -> None:
        """Bytes are under way; whoever adds them subtracts them exactly once."""
        self.bytes += count

    def subtract(self, count: int) -> None:
        """They are no longer; wakes all who wait if that brings the sum down to the limit."""
        self.bytes -= count
        if self._waiters and not self.is_over:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self, request: Request) -> int:
        """Wait until the sum is not above the limit.

        Returns:
            0 when it is; 429 when it was above for too long, or too many wait already; 499 when the client
            has closed its side.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.wait_s_max
        if len(self._waiters) >= WAITERS_MAX:
            return 429
        while self.is_over:
            if request.gone:
                return 499
            waiter = loop.create_future()
            timer = loop.call_at(deadline, _wake, waiter)
            self._waiters.add(waiter)
            request.on_gone = lambda waiter=waiter: _wake(waiter)
            try:
                await waiter
            finally:
                request.on_gone = None
                self._waiters.discard(waiter)
                timer.cancel()
            if self.is_over and loop.time() >= deadline:
                return 429
        return 499 if request.gone else 0


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Limits:
    """Both directions."""

    __slots__ = ("downloads", "uploads")

    def __init__(self, uploads: InFlight, downloads: InFlight) -> None:
        self.uploads: Final = uploads
        """The announced lengths of the POSTs and PUTs that run."""
        self.downloads: Final = downloads
        """The record sizes of what is being read or sent."""
