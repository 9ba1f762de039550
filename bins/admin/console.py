"""What the operator's console is told while it is open: one event a second (docs/operations.md 18).

Nothing in it names a person: the figures of the metrics, ids of spaces, the log's own warnings. While nobody
looks nothing is gathered; however many look, it is gathered once a second.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any, Final

import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from less_sync.bins.admin.figures import figures
from less_sync.bins.admin.metrics import Exposition
from less_sync.bins.admin.readiness import Readiness
from less_sync.bins.logs import in_force
from less_sync.bins.supervisor import Supervisor
from less_sync.storage import PostgresSurveys, StorageError, Weight
from less_sync.sync.growth import Growth
from less_sync.sync.services import Services

EVERY_S: Final = 1.0
STREAMS_MAX: Final = 8
"""Consoles that are open at a time."""
SPACES_SHOWN: Final = 10
SURVEY_EVERY_S: Final = 60.0
"""The largest spaces are looked for in whole tables, or in samples of 128 MiB."""

_log = structlog.get_logger(__name__)


class _Events(StreamingResponse):
    """One console's events, which occupy one of the places while they are sent."""

    def __init__(self, console: "Console") -> None:
        super().__init__(console.events(), media_type="text/event-stream")
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._console.open():
            await super().__call__(scope, receive, send)


class Console:
    """Gathers what is shown, and hands it to every open console.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        services: Services,
        exposition: Exposition,
        readiness: Readiness,
        surveys: PostgresSurveys,
        vital: Supervisor,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._exposition = exposition
        self._readiness = readiness
        self._surveys = surveys
        self._vital = vital
        self._clock = clock
        self._version = version("less-sync")
        self._began_s = clock()
        self._open = 0
        self._closed = asyncio.Event()
        self._event = b""
        self._event_s = -EVERY_S
        self._gathering: asyncio.Task[None] | None = None
        self._survey: asyncio.Task[None] | None = None
        self._surveyed_s: float | None = None
        self._largest: Sequence[Weight] = ()
        self._survey_fault = ""

    def response(self) -> Response | None:
        """Server-sent events (WHATWG HTML 9.2) until the listener closes; None: `STREAMS_MAX` are open."""
        return None if self._open >= STREAMS_MAX else _Events(self)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Occupy a place. Pushes are counted by space from the first console to the last."""
        metrics = self._services.metrics
        if not self._open:
            metrics.growth = Growth()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                metrics.growth = None

    async def events(self) -> AsyncIterator[bytes]:
        """One at once, then one a second, until the listener closes."""
        while not self._closed.is_set():
            yield await self._current()
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._closed.wait()

    async def aclose(self) -> None:
        """End all streams, and what was being gathered for them."""
        self._closed.set()
        tasks = [task for task in (self._gathering, self._survey) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _current(self) -> bytes:
        """The event of this second, gathered by whoever comes first; the others wait for it."""
        if self._gathering is None and self._clock() - self._event_s >= 0.9 * EVERY_S:
            self._gathering = asyncio.create_task(self._gather())
        if (gathering := self._gathering) is not None:
            # Waited for and not awaited: a console that goes must not take the others' event with it.
            await asyncio.wait({gathering})
            if not gathering.cancelled():
                gathering.result()  # a fault ends the stream: what was told before must not pass for now
        return self._event

    async def _gather(self) -> None:
        try:
            self._look_for_the_largest()
            text = json.dumps(await self._told(), separators=(",", ":"), default=str)
            self._event, self._event_s = f"data: {text}\n\n".encode(), self._clock()
        finally:
            self._gathering = None

    async def _told(self) -> dict[str, Any]:
        report = await self._readiness.report()
        now_s = self._clock()  # after the wait, during which a survey or a chore may have ended
        growth = self._services.metrics.growth
        return {
            "at": time.time(),
            "version": self._version,
            "up_s": now_s - self._began_s,
            "ready": dict(report.body),
            "log_level": in_force.level,
            "warnings": list(in_force.warnings),
            "tasks": self._vital.running,
            "chores": [
                {"name": name, "runs": one.runs, "failures": one.failures, "ago_s": now_s - one.ended_s}
                for name, one in self._services.metrics.chores.items()
            ],
            "growing": [
                {"space": one.space, "records": one.records, "bytes": one.bytes}
                for one in (growth.top(SPACES_SHOWN) if growth is not None else ())
            ],
            "largest": [
                {"space": one.space, "records": one.records, "bytes": one.bytes} for one in self._largest
            ],
            "largest_ago_s": None if self._surveyed_s is None else now_s - self._surveyed_s,
            "largest_fault": self._survey_fault,
            "figures": figures(self._exposition.families()),
        }

    def _look_for_the_largest(self) -> None:
        """Begin a survey if the last one is old. One at a time: it occupies a connection of the pool."""
        old = self._surveyed_s is None or self._clock() - self._surveyed_s >= SURVEY_EVERY_S
        if self._survey is None and old:
            self._survey = asyncio.create_task(self._surveying())

    async def _surveying(self) -> None:
        try:
            self._largest = await self._surveys.heaviest(top=SPACES_SHOWN)
            self._survey_fault = ""
        except StorageError as error:
            self._survey_fault = "the database did not answer"
            _log.debug("the largest spaces are not known", error=str(error))
        finally:
            # Also after a failure: a database in trouble is not asked every second.
            self._surveyed_s = self._clock()
            self._survey = None
