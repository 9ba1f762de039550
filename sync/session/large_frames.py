"""Large frames take turns, and everybody else gets half of the time meanwhile.

Decoding a frame of 4 MiB holds the event loop up for 50 ms, and nothing makes that shorter. Eight connections
that send one each would hold everybody up for half a second, again and again. So one large frame is handled
at a time, and the next has to wait for as long again as the last one took: who waits for the database gets
its answer in between. People take turns, whatever the number of their connections.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

LARGE_FRAME_BYTES: Final = 256 * 1024
"""Decoding a shorter frame takes a few milliseconds."""


class LargeFrames:
    """Whose turn it is to have a large frame decoded. For one event loop.

    Args:
        clock: monotonic seconds that go on while the loop is held up, which its own may not.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._taken = False
        self._began_s = 0.0
        self._waiting: dict[str, dict[Callable[[], None], None]] = {}
        """By person, who is next first. Of each person: whom to call, in the order they asked."""

    def take(self, person: str, go_on: Callable[[], None]) -> bool:
        """Begin a turn, which ends by itself with this turn of the loop and the rest that follows.

        Args:
            go_on: called when it is not the caller's turn now, but may be then: it asks again.

        Returns:
            False when the turn is another's, or a rest.
        """
        if self._taken:
            self._waiting.setdefault(person, {})[go_on] = None
            return False
        self._taken = True
        self._began_s = self._clock()
        asyncio.get_running_loop().call_soon(self._rest)
        return True

    def _rest(self) -> None:
        took_s = max(0.0, self._clock() - self._began_s)
        asyncio.get_running_loop().call_later(took_s, self._next)

    def _next(self) -> None:
        """Ask those who wait, one of each person in order, until one takes the turn."""
        self._taken = False
        while self._waiting and not self._taken:
            person = next(iter(self._waiting))
            theirs = self._waiting.pop(person)
            go_on = next(iter(theirs))
            del theirs[go_on]
            if theirs:
                self._waiting[person] = theirs  # behind everybody else
            try:
                go_on()
            except Exception:  # one that is broken must not take the turns behind it along
                _log.exception("a large frame failed")
