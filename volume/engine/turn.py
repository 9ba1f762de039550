"""The exclusive right to change the files of a volume.

Nobody waits for it on the event loop's own time: who writes little checks `held` and, if nobody holds it,
writes at once and synchronously, so that nothing can come between. Whoever must leave the loop for a thread
while the files change (large writes, group commits, the commit of a vacuum, closing) holds it meanwhile.
Readers never need it.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Final

from less_sync.volume.engine.errors import VolumeBusy

WAITERS_MAX: Final = 4_096
"""Of one volume; the next one is refused."""


class Turn:
    """A lock that hands itself over in order and can be asked without waiting. For one event loop."""

    def __init__(self, waiters_max: int = WAITERS_MAX) -> None:
        self.held = False
        self._waiters_max: Final = waiters_max
        self._waiters: Final = deque[asyncio.Future[None]]()

    async def __aenter__(self) -> None:
        """Wait for the turn.

        Raises:
            VolumeBusy: `waiters_max` wait already.
        """
        if not self.held:
            self.held = True
            return
        if len(self._waiters) >= self._waiters_max:
            raise VolumeBusy(f"{self._waiters_max} writers wait already")
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._pass_on()  # The turn was ours already when the wait was cancelled.
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the turn to whoever waits longest. It stays held, so that nobody slips in between."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.held = False
