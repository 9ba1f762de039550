"""The long answers of one session, pulls and DEK listings, beside all else: a client's one by one.

See docs/protocol.md 4.2 and docs/federation.md 6.
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
    """A bounded queue and the tasks that work it off, which exist only while there is something in it.

    Args:
        waiting_max: how many requests may wait behind those that run.
        on_room: called when a place in the queue has become free, and when a task has no more to do.
        at_once: how many run beside one another. Requests begin in the order in which they came.
    """

    __slots__ = ("_at_once", "_on_room", "_out", "_queue", "_tasks", "_telling", "_waiting_max")

    def __init__(
        self, out: Outbound, *, waiting_max: int, on_room: Callable[[], None], at_once: int = 1
    ) -> None:
        self._out = out
        self._waiting_max = waiting_max
        self._on_room = on_room
        self._at_once = at_once
        self._queue: deque[Answer] | None = None
        self._telling: Callable[[], Coroutine[object, object, None]] | None = None
        self._tasks: dict[asyncio.Task[None], None] | None = None

    @property
    def idle(self) -> bool:
        """True while nothing is being answered."""
        return not self._tasks

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
        if self._tasks is None:
            self._tasks = {}
        if len(self._tasks) < self._at_once:
            self._tasks[asyncio.get_running_loop().create_task(self._work(), name="long answers")] = None

    async def _work(self) -> None:
        try:
            while self._queue or self._telling is not None:
                try:
                    await self._next()
                except Exception:  # a broken handler must not take the requests behind it along
                    log.exception("long answer failed")
        finally:
            # Nothing is awaited between the last look at the queue and here, so whatever is added from now on
            # finds this task gone and begins one.
            self._gone()
            self._on_room()

    def _gone(self) -> None:
        task = asyncio.current_task()
        if self._tasks is not None and task is not None:
            self._tasks.pop(task, None)
            if not self._tasks:
                self._tasks = None

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
        for task in self._tasks or ():
            task.cancel()
