"""All sessions of the process: the cap on unauthenticated ones, and the orderly stop."""

import asyncio
from contextlib import suppress
from typing import Protocol

from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close


class Session(Protocol):
    """One connection, as far as closing it is concerned. Compared by identity."""

    def retire(self, close: Close, *, within_s: float) -> None:
        """Take nothing more on; close once what is under way is answered, or when the time is over."""


class Sessions:
    """The open sessions. Unauthenticated ones are counted apart: they are cheap to make and bounded.

    Kept in the order in which they were opened.
    """

    def __init__(self) -> None:
        self._open: dict[Session, None] = {}
        self._unauthenticated: dict[Session, None] = {}
        self._none_open = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unauthenticated(self) -> int:
        """How many have not presented a valid token yet."""
        return len(self._unauthenticated)

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

    async def shutdown(self, grace_s: float) -> None:
        """Close every session with 1001 `server shutting down`, spread evenly over a quarter of the grace.

        Each finishes the requests it is handling and flushes its queue first, for at most the rest of the
        grace (docs/operations.md 2.2). Returns when all close frames are sent.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        sessions = list(self._open)
        step_s = grace_s / 4 / max(1, len(sessions))
        for index, session in enumerate(sessions):
            if index:
                await asyncio.sleep(step_s)
            session.retire(codes.SHUTTING_DOWN, within_s=max(0.0, deadline - loop.time()))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self._open:
                    self._none_open.clear()
                    await self._none_open.wait()
        for session in list(self._open):
            session.retire(codes.SHUTTING_DOWN, within_s=0)
