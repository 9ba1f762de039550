"""Who may upgrade a path, where not everybody may: asked before the 101, and refused as plain HTTP.

A gate says at once, or after a wait. Somebody who waits is a stranger still: counted among the sessions that
are not authenticated, with a head and early bytes that are counted too, and gone when the peer hangs up or
the server stops.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from less_sync.auth import Identity, SignedRequest
from less_sync.sync.http.shared_bytes import SharedBytes
from less_sync.sync.http.upgrade import Refusal
from less_sync.sync.protocol.codes import Close
from less_sync.sync.session.open_sessions import Sessions

UNAVAILABLE: Final = Refusal(503)
FAULT: Final = Refusal(500)

Answer = Identity | Refusal
Later = Callable[[], Awaitable[Answer]]
"""Begins a wait of bounded length, which may be cancelled."""

_log = structlog.get_logger(__name__)


class Gate(Protocol):
    """Decides about requests to upgrade that pass all the checks every route has."""

    def admit(self, request: SignedRequest) -> Answer | Later:
        """Who asks, or the refusal; or how to find out. Returns at once and raises nothing."""


class GateWait:
    """One request whose gate has not answered yet.

    Args:
        early: what came behind the request, to be counted by `pipelined`, which had room for it.
        answered: called once, unless this is cancelled before.
    """

    __slots__ = ("_answered", "_early_bytes", "_over", "_pipelined", "_sessions", "_task")

    def __init__(
        self,
        later: Later,
        *,
        sessions: Sessions,
        pipelined: SharedBytes,
        early_bytes: int,
        answered: Callable[[Answer], None],
    ) -> None:
        self._sessions = sessions
        self._pipelined = pipelined
        self._early_bytes = early_bytes
        self._answered = answered
        self._over = False
        sessions.opened(self)
        self._task = asyncio.create_task(self._wait(later))

    async def _wait(self, later: Later) -> None:
        try:
            answer = await later()
        except Exception as error:  # the peer must not wait for ever for a fault of ours
            _log.error("gate failed", exc_info=error)
            answer = FAULT
        if self._end():
            self._answered(answer)

    def retire(self, close: Close, *, within_s: float) -> None:
        """The server stops: it says so at once."""
        if self._end():
            self._task.cancel()
            self._answered(UNAVAILABLE)

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        if self._end():
            self._task.cancel()

    def _end(self) -> bool:
        """Give back what this holds, once; says whether this was the time.

        Not left to the task: one that is cancelled before its first step runs no `finally`.
        """
        if self._over:
            return False
        self._over = True
        self._sessions.closed(self)
        self._pipelined.give_back(self._early_bytes)
        return True
