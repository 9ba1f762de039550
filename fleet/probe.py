"""Whether the database answers, asked about once a second at most, however many want to know."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

DEADLINE_S: Final = 2.0
REUSE_S: Final = 1.0


class DatabaseProbe:
    """Asks for all who want to know: one question at a time, and each answer counts for `REUSE_S`."""

    def __init__(
        self, ping: Callable[[], Awaitable[object]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ping = ping
        self._now = now
        self._asking: asyncio.Task[bool] | None = None
        self._answered_at_s = 0.0

    async def healthy(self) -> bool:
        """True if the database answered within `DEADLINE_S`. Never raises."""
        asking = self._asking
        if asking is None or (asking.done() and self._now() - self._answered_at_s >= REUSE_S):
            asking = self._asking = asyncio.create_task(self._ask())
        # Whoever hangs up ends its own wait, not the question.
        return await asyncio.shield(asking)

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._ping()
        except Exception:  # whatever went wrong, the database is of no use now
            return False
        finally:
            self._answered_at_s = self._now()
        return True
