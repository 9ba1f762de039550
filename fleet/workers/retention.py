"""What has happened is forgotten after a while, a thousand rows at a time; the audit trail never is."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from less_sync.fleet.database import execute
from less_sync.fleet.settings import FleetSettings
from less_sync.fleet.workers.runner import Worker, claimed

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

INTERVAL_S: Final = 600.0
BATCH_ROWS: Final = 1_000
TOKEN_DAYS: Final = 7
"""Enrolment tokens that are of no use any more stay so long, for whoever asks what became of one."""

KEPT: Final[Mapping[str, Callable[[FleetSettings], int]]] = {
    "forget_heartbeats": lambda settings: settings.retention.heartbeat_days,
    "forget_deliveries": lambda settings: settings.retention.delivery_days,
    "forget_events": lambda settings: settings.retention.delivery_days,
    "forget_alerts": lambda settings: settings.retention.event_days,
    "forget_sessions": lambda settings: settings.session_idle_minutes,
    "forget_enrolment_tokens": lambda _settings: TOKEN_DAYS,
}
"""Statements, each with how long its rows are kept. Events come behind the deliveries that refer to them."""

_log = structlog.get_logger(__name__)


class Retention:
    """Whoever claims a run does all of it; what a stop cuts short is left to the next run."""

    def __init__(self) -> None:
        self._left: deque[str] = deque()
        self._forgotten = 0

    async def step(self, plane: "Plane") -> bool:
        """One batch, a transaction of its own, so that nothing waits long for the locks.

        Returns:
            True while the run is not at its end.
        """
        if not self._left:
            async with plane.database.connection() as connection:
                if await claimed(connection, plane, "retention", INTERVAL_S) is None:
                    return False
            self._left.extend(KEPT)
        name = self._left[0]
        async with plane.database.connection() as connection:
            rows = await execute(connection, name, KEPT[name](plane.settings), BATCH_ROWS)
        self._forgotten += rows
        if rows < BATCH_ROWS:
            self._left.popleft()
        if not self._left and self._forgotten:
            _log.info("old rows forgotten", count=self._forgotten)
            self._forgotten = 0
        return bool(self._left)


def retention(_plane: "Plane") -> Worker:
    """The worker of an instance."""
    return Worker("retention", Retention().step, lambda _plane: INTERVAL_S)
