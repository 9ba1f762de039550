"""All sessions of the process: the cap on unauthenticated ones, draining, and the orderly stop.

Whether anybody is let in has three states. `drain` closes the doors and sends everybody away, a few at a
time, and `reopen` takes that back at any moment. `refuse` closes them for good: the server stops.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Final, Protocol

from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close

TURN_S: Final = 0.01
"""The shortest pause between two turns of closing; some loops round shorter ones down to none."""


class Session(Protocol):
    """One connection, as far as closing it is concerned. Compared by identity."""

    def retire(self, close: Close, *, within_s: float) -> None:
        """Take nothing more on; close once what is under way is answered, or when the time is over."""


class Doors(Enum):
    """Who is let in."""

    OPEN = "open"
    DRAINING = "draining"
    STOPPING = "stopping"


class Sessions:
    """The open sessions. Unauthenticated ones are counted apart: they are cheap to make and bounded.

    Kept in the order in which they were opened.
    """

    def __init__(self) -> None:
        self._open: dict[Session, None] = {}
        self._unauthenticated: dict[Session, None] = {}
        self._none_open = asyncio.Event()
        self._doors = Doors.OPEN
        self._farewell: _Farewell | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unauthenticated(self) -> int:
        """How many have not presented a valid token yet."""
        return len(self._unauthenticated)

    @property
    def doors(self) -> Doors:
        """Who is let in."""
        return self._doors

    def opened(self, session: Session) -> None:
        """A connection was accepted."""
        self._open[session] = None
        self._unauthenticated[session] = None

    def authenticated(self, session: Session) -> None:
        """Its token was accepted."""
        self._unauthenticated.pop(session, None)

    def closed(self, session: Session) -> None:
        """It is closing or gone."""
        self._open.pop(session, None)
        self._unauthenticated.pop(session, None)
        if not self._open:
            self._none_open.set()

    def drain(self, *, spread_s: float, within_s: float) -> None:
        """Let nobody in, and close every session with 1001 `server shutting down`, until `reopen`.

        Does nothing while that is under way already, or the server stops.

        Args:
            spread_s: the closes are spread evenly over it, so that not all clients come back at once.
            within_s: how long each may take, from its turn on, to answer what it has begun.
        """
        if self._doors is Doors.OPEN:
            self._doors = Doors.DRAINING
            self._farewell = _Farewell(self._open, over_s=spread_s, within_s=lambda: within_s)

    def reopen(self) -> bool:
        """Take `drain` back: let people in, and leave those open whose turn has not come.

        Returns:
            False when the server stops, which cannot be taken back.
        """
        if self._doors is Doors.STOPPING:
            return False
        self._doors = Doors.OPEN
        self._end_farewell()
        return True

    def refuse(self) -> None:
        """Let nobody in any more, for good. `shutdown` is to follow."""
        self._doors = Doors.STOPPING

    async def shutdown(self, grace_s: float) -> None:
        """Close every session with 1001 `server shutting down`, spread evenly over a quarter of the grace.

        Each finishes the requests it is handling and flushes its queue first, for at most the rest of the
        grace (docs/operations.md 2.2). Returns when all close frames are sent. It takes over from a `drain`
        that is under way.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        self.refuse()
        self._end_farewell()
        self._farewell = _Farewell(
            self._open, over_s=grace_s / 4, within_s=lambda: max(0.0, deadline - loop.time())
        )
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    while self._open:
                        self._none_open.clear()
                        await self._none_open.wait()
        finally:
            self._end_farewell()
        for session in list(self._open):
            session.retire(codes.SHUTTING_DOWN, within_s=0)

    def _end_farewell(self) -> None:
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None


class _Farewell:
    """Retires sessions one after another, evenly over a time; the first at once.

    A timer and no task: taking it back takes effect at once, and nothing of it can end unnoticed. Turns are
    counted from the beginning, so that rounding does not add up and a loop that was busy catches up.
    """

    def __init__(self, sessions: Iterable[Session], *, over_s: float, within_s: Callable[[], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = deque(sessions)
        self._step_s = over_s / max(1, len(self._left))
        self._next_s = self._loop.time()
        self._within_s = within_s
        self._timer: asyncio.TimerHandle | None = None
        self._turn()

    def cancel(self) -> None:
        """Leave the others open."""
        self._left.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        now_s = self._loop.time()
        try:
            while self._left and self._next_s <= now_s:
                self._next_s += self._step_s
                # One that is gone by now does nothing.
                self._left.popleft().retire(codes.SHUTTING_DOWN, within_s=self._within_s())
        finally:
            if self._left:
                self._timer = self._loop.call_at(max(self._next_s, now_s + TURN_S), self._turn)
