"""What the console shows of this process (docs/operations.md 18.2).

Nothing in it names a person: the figures of the metrics, ids of spaces, the log's own warnings.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Final

import structlog

from less_sync.bins.admin.figures import figures
from less_sync.bins.admin.metrics import Exposition
from less_sync.bins.admin.readiness import Readiness
from less_sync.bins.logs import in_force
from less_sync.bins.supervisor import Supervisor
from less_sync.storage import PostgresSurveys, StorageError, Weight
from less_sync.sync.growth import Growth
from less_sync.sync.services import Services

SPACES_SHOWN: Final = 10
SURVEY_EVERY_S: Final = 60.0
"""The largest spaces are looked for in whole tables, or in samples of 128 MiB."""
GLANCE_S: Final = 5.0
"""So long after it was asked once, what is written is counted by space."""

_log = structlog.get_logger(__name__)


class OwnState:
    """Gathers it. Implements `Shown`.

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
        self._looked_at = False
        self._glance: asyncio.TimerHandle | None = None
        self._survey: asyncio.Task[None] | None = None
        self._surveyed_s: float | None = None
        self._largest: Sequence[Weight] = ()
        self._survey_fault = ""

    def looked_at(self, looked_at: bool) -> None:
        """Pushes are counted by space while somebody looks."""
        self._looked_at = looked_at
        self._count()

    def glance(self) -> None:
        """Somebody looks who will ask again before `GLANCE_S` are over if he goes on looking."""
        if self._glance is not None:
            self._glance.cancel()
        self._glance = asyncio.get_running_loop().call_later(GLANCE_S, self._glance_over)
        self._count()

    async def told(self) -> dict[str, Any]:
        """As `Shown.told`."""
        self._look_for_the_largest()
        return {**await self.state(), **self.largest(), "figures": figures(self._exposition.families())}

    async def state(self) -> dict[str, Any]:
        """All but the figures and the largest spaces."""
        report = await self._readiness.report()
        now_s = self._clock()  # after the wait, during which a chore may have ended
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
        }

    def largest(self) -> dict[str, Any]:
        """The largest spaces as of the last survey. If that is old, another one is begun."""
        self._look_for_the_largest()
        ago_s = None if self._surveyed_s is None else self._clock() - self._surveyed_s
        return {
            "largest": [
                {"space": one.space, "records": one.records, "bytes": one.bytes} for one in self._largest
            ],
            "largest_ago_s": ago_s,
            "largest_fault": self._survey_fault,
        }

    async def aclose(self) -> None:
        """End the survey and the glance."""
        if self._glance is not None:
            self._glance.cancel()
            self._glance_over()
        if self._survey is not None:
            self._survey.cancel()
            await asyncio.gather(self._survey, return_exceptions=True)

    def _glance_over(self) -> None:
        self._glance = None
        self._count()

    def _count(self) -> None:
        metrics = self._services.metrics
        if not self._looked_at and self._glance is None:
            metrics.growth = None
        elif metrics.growth is None:
            metrics.growth = Growth()

    def _look_for_the_largest(self) -> None:
        """One survey at a time: it occupies a connection of the pool."""
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
