"""The long answers of one session, pulls and DEK listings: one by one beside all else (protocol G15)."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from less_sync.sync.call import Call
from less_sync.sync.protocol.frames import ws_frame
from less_sync.sync.rpc import dispatch
from less_sync.sync.rpc.dispatch import Method
from less_sync.sync.session.outbound import Outbound

log = structlog.get_logger(__name__)


class BackgroundRequests:
    """A bounded queue and the task that works it off, which exists only while there is something in it.

    Args:
        on_room: called when a place in the queue has become free.
    """

    __slots__ = ("_on_room", "_out", "_queue", "_task", "_waiting_max")

    def __init__(self, out: Outbound, *, waiting_max: int, on_room: Callable[[], None]) -> None:
        self._out = out
        self._waiting_max = waiting_max
        self._on_room = on_room
        self._queue: deque[tuple[Call, object, Method]] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """True while nothing is being answered."""
        return self._task is None

    def add(self, call: Call, params: object, row: Method) -> bool:
        """Queue one request; False when the queue is full."""
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= self._waiting_max:
            return False
        self._queue.append((call, params, row))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._task.add_done_callback(self._finished)
        return True

    async def _work(self) -> None:
        while self._queue:
            call, params, row = self._queue.popleft()
            self._on_room()
            payload = await dispatch.answer(call, params, row)
            await self._out.drained()
            self._out.send(ws_frame(payload))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background request failed", exc_info=error)
        self._on_room()

    def cancel(self) -> None:
        """The session has ended: stop what runs, which frees its database connection, and forget the rest."""
        if self._queue is not None:
            self._queue.clear()
        if self._task is not None:
            self._task.cancel()
