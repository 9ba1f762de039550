"""Whether the database answers, asked about once a second at most, however many want to know."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

DEADLINE_S: Final = 2.0
REUSE_S: Final = 1.0
GIVE_UP_S: Final = 10.0


class DatabaseProbe:
    """Asks for all who want to know: one question at a time, and each answer counts for `REUSE_S`.

    Args:
        deadline_s: a question that takes longer counts as failed, for all who want to know meanwhile.
        give_up_s: then it is cancelled: a dead connection must not hide a database that is back.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[object]],
        *,
        deadline_s: float = DEADLINE_S,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._ping = ping
        self._deadline_s = deadline_s
        self._give_up_s = give_up_s
        self._asking: asyncio.Task[bool] | None = None
        self._asked_at_s = 0.0
        self._answered_at_s = 0.0

    async def healthy(self) -> bool:
        """True if the database answered within the deadline, counted from the question. Never raises."""
        now_s = asyncio.get_running_loop().time()
        asking = self._current(now_s)
        # Waited for, and not cancelled at the deadline: a database that hangs holds up a cancellation too.
        await asyncio.wait({asking}, timeout=max(0.0, self._asked_at_s + self._deadline_s - now_s))
        return asking.done() and not asking.cancelled() and asking.result()

    def _current(self, now_s: float) -> asyncio.Task[bool]:
        asking = self._asking
        if asking is not None and not asking.done():
            if now_s - self._asked_at_s < self._give_up_s:
                return asking
            asking.cancel()
        elif asking is not None and now_s - self._answered_at_s < REUSE_S:
            return asking
        self._asked_at_s = now_s
        self._asking = asyncio.create_task(self._ask())
        return self._asking

    async def _ask(self) -> bool:
        try:
            await self._ping()
        except Exception:  # whatever went wrong, the database is of no use now
            return False
        finally:
            self._answered_at_s = asyncio.get_running_loop().time()
        return True
