"""Whether this server should be sent clients, and why not (docs/operations.md 12.2)."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from less_sync.bins.admin.watchdog import Delivery
from less_sync.sync.http.health import HealthProbe
from less_sync.sync.live.measured import bus_connected
from less_sync.sync.services import Services
from less_sync.sync.session.open_sessions import Doors


class Status(Enum):
    """One word for all of it. Where several would do, the one that stands first."""

    STARTING = "starting"
    DRAINING = "draining"
    UNAVAILABLE = "unavailable"
    DEGRADED = "degraded"
    READY = "ready"


class Report(NamedTuple):
    """An answer to `/readyz`."""

    status: Status
    reason: str
    """In words; empty when it is ready."""
    body: Mapping[str, Any]
    """As JSON: all parts, whatever the word for them is."""


class Readiness:
    """Looks at everything when it is asked, and asks the database at most once a second.

    Args:
        delivery: what the watchdog has found out; it may go on finding out more.
    """

    def __init__(self, services: Services, delivery: Delivery) -> None:
        self._services: Final = services
        self._delivery: Final = delivery
        self._probe: Final = HealthProbe(lambda: services.spaces.ping())
        self.listening = False
        """Set once the public port is open."""

    async def report(self) -> Report:
        """Look now; takes 2 s at most."""
        database = await self._probe.healthy()
        delivery, doors = self._delivery, self._services.sessions.doors
        status, reason = self._status(database=database)
        body: dict[str, Any] = {
            "status": status.value,
            "database": "ok" if database else "unavailable",
            "delivery": {
                "status": delivery.status.value,
                "lag_s": _rounded(delivery.lag_s),
                "age_s": _rounded(delivery.age_s),
            },
            "draining": doors is not Doors.OPEN,
            "sessions": len(self._services.sessions),
        }
        # A bus that is away makes news later, by five seconds at most: no reason to send clients elsewhere.
        if (connected := bus_connected(self._services.metrics)) is not None:
            body["bus"] = {"connected": connected}
        if self._services.node_name is not None:
            body["node"] = self._services.node_name
        if reason:
            body["reason"] = reason
        return Report(status, reason, body)

    def _status(self, *, database: bool) -> tuple[Status, str]:
        doors = self._services.sessions.doors
        if doors is Doors.STOPPING:
            return Status.DRAINING, "the server is stopping"
        if not self.listening:
            return Status.STARTING, "the public port is not open yet"
        if doors is Doors.DRAINING:
            return Status.DRAINING, "an operator drains the server"
        if not database:
            return Status.UNAVAILABLE, "the database does not answer"
        if trouble := self._delivery.trouble:
            return Status.DEGRADED, trouble
        return Status.READY, ""


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
