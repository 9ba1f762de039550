"""The long answers of one session, pulls and DEK listings: one by one beside all else.

See docs/protocol.md 4.2.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Protocol

import structlog

from less_sync.sync.session.outbound import Outbound

log = structlog.get_logger(__name__)


class Answer(Protocol):
    """A request that waits for its turn."""

    def answer(self) -> Coroutine[object, object, bytes]:
        """Run it to its encoded response."""


class LongAnswers:
    """A bounded queue and the task that works it off, which exists only while there is something in it.

    Args:
        waiting_max: how many requests may wait behind the one that runs.
        on_room: called when a place in the queue has become free, and when all is done.
    """

    __slots__ = ("_on_room", "_out", "_queue", "_task", "_telling", "_waiting_max")

    def __init__(self, out: Outbound, *, waiting_max: int, on_room: Callable[[], None]) -> None:
        self._out = out
        self._waiting_max = waiting_max
        self._on_room = on_room
        self._queue: deque[Answer] | None = None
        self._telling: Callable[[], Coroutine[object, object, None]] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """True while nothing is being answered."""
        return self._task is None

    def add(self, request: Answer) -> bool:
        """Queue one request; False when the queue is full."""
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= self._waiting_max:
            return False
        self._queue.append(request)
        self._begin()
        return True

    def tell(self, telling: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run `telling` between two requests; one that is waiting already is replaced."""
        self._telling = telling
        self._begin()

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="long answers")

    async def _work(self) -> None:
        try:
            while self._queue or self._telling is not None:
                try:
                    await self._next()
                except Exception:  # a broken handler must not take the requests behind it along
                    log.exception("long answer failed")
        finally:
            # Nothing is awaited between the last look at the queue and here, so whatever is added from now on
            # finds no task and begins one.
            self._task = None
            self._on_room()

    async def _next(self) -> None:
        telling, self._telling = self._telling, None
        if telling is not None:
            await telling()
        if self._queue:
            request = self._queue.popleft()
            self._on_room()
            payload = await request.answer()
            await self._out.drained()
            self._out.send(payload)

    def cancel(self) -> None:
        """The session has ended: stop what runs, which frees its database connection, and forget the rest."""
        self._telling = None
        if self._queue is not None:
            self._queue.clear()
        if self._task is not None:
            self._task.cancel()
