"""Whether the database answers, asked at most about once a second however many want to know."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

DEADLINE_S: Final = 2.0
REUSE_S: Final = 1.0
GIVE_UP_S: Final = 10.0


class HealthProbe:
    """Runs `ping` for all who ask: one at a time, each result good for `reuse_s` (docs/operations.md 5).

    A flood of health requests so holds one database connection at most. Must be used on one event loop.

    Args:
        deadline_s: a ping that takes longer counts as failed, for all who ask while it goes on.
        give_up_s: then it is cancelled: a dead connection must not hide a database that is back.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        *,
        deadline_s: float = DEADLINE_S,
        reuse_s: float = REUSE_S,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._ping = ping
        self._deadline_s = deadline_s
        self._reuse_s = reuse_s
        self._give_up_s = give_up_s
        self._probe: asyncio.Task[bool] | None = None
        self._started_at_s = 0.0
        self._answered_at_s = 0.0

    async def healthy(self) -> bool:
        """True if the database answered within the deadline, counted from when it was asked. Never raises."""
        loop = asyncio.get_running_loop()
        probe = self._current(loop.time())
        left_s = max(0.0, self._started_at_s + self._deadline_s - loop.time())
        # Not wait_for: it would await the cancellation, which a database that hangs can hold up as well.
        await asyncio.wait({probe}, timeout=left_s)
        return probe.done() and not probe.cancelled() and probe.result()

    def _current(self, now_s: float) -> asyncio.Task[bool]:
        probe = self._probe
        if probe is not None and not probe.done():
            if now_s - self._started_at_s < self._give_up_s:
                return probe
            probe.cancel()
        elif probe is not None and now_s - self._answered_at_s < self._reuse_s:
            return probe
        self._started_at_s = now_s
        self._probe = asyncio.create_task(self._ask())
        return self._probe

    async def _ask(self) -> bool:
        try:
            await self._ping()
        except Exception:  # whatever went wrong, the database is of no use now
            return False
        finally:
            self._answered_at_s = asyncio.get_running_loop().time()
        return True
