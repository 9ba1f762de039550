"""A request that comes between the last step of the background task and its callback is never started."""

import asyncio
from typing import Final

import structlog

from tests.simulation.parts import Parts
from tests.simulation.system import LongAnswers, Services, Session, SessionFactory, client_conduct

log = structlog.get_logger(__name__)


class BackgroundRequests(LongAnswers):
    """The state that says whether a task exists is reset by a callback, a turn after the task's last look."""

    __slots__ = ()

    def _begin(self) -> None:
        if self._tasks is None:
            task = asyncio.get_running_loop().create_task(self._work())
            task.add_done_callback(self._finished)
            self._tasks = {task: None}

    async def _work(self) -> None:
        while self._queue or self._telling is not None:
            await self._next()

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background request failed", exc_info=error)
        self._on_room()


def _sessions(services: Services) -> SessionFactory:
    conduct = client_conduct(services)
    return lambda wire: Session(services, wire, conduct, long_answers=BackgroundRequests)


PARTS: Final = Parts(sessions=_sessions)
