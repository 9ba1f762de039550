"""All sessions of the process: the cap on unauthenticated ones, and the orderly stop."""

import asyncio
from typing import Protocol

from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close


class Session(Protocol):
    """One connection, as far as closing it is concerned. Compared by identity."""

    draining: bool
    """Set to take no further request on."""

    @property
    def idle(self) -> bool:
        """True while no request is being handled and everything was handed to the transport."""

    def close(self, close: Close) -> None:
        """Send the close frame and end."""


class Sessions:
    """The open sessions. Unauthenticated ones are counted apart: they are cheap to make and bounded."""

    def __init__(self) -> None:
        self._open: set[Session] = set()
        self._unauthenticated: set[Session] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unauthenticated(self) -> int:
        """How many have not presented a valid token yet."""
        return len(self._unauthenticated)

    def opened(self, session: Session) -> None:
        """A connection was accepted."""
        self._open.add(session)
        self._unauthenticated.add(session)

    def authenticated(self, session: Session) -> None:
        """Its token was accepted."""
        self._unauthenticated.discard(session)

    def closed(self, session: Session) -> None:
        """It is closing or gone."""
        self._open.discard(session)
        self._unauthenticated.discard(session)

    async def shutdown(self, grace_s: float) -> None:
        """Close every session with 1001 `server shutting down`, spread evenly over a quarter of the grace.

        Each finishes the requests it is handling and flushes its queue first, for at most the rest of the
        grace (operations chapter 13). Returns when all close frames are sent.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        sessions = list(self._open)
        for session in sessions:
            session.draining = True
        step_s = grace_s / 4 / max(1, len(sessions))
        for index, session in enumerate(sessions):
            if index:
                await asyncio.sleep(step_s)
            if session.idle:
                session.close(codes.SHUTTING_DOWN)
        while self._open and loop.time() < deadline:
            for session in list(self._open):
                if session.idle:
                    session.close(codes.SHUTTING_DOWN)
            await asyncio.sleep(min(0.02, grace_s / 20))
        for session in list(self._open):
            session.close(codes.SHUTTING_DOWN)
