"""What an operator can ask of a server and do to it, of one process or several (docs/operations.md 12.2)."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import structlog

from less_sync.bins.admin.metrics import Exposition
from less_sync.bins.admin.readiness import Readiness, Report
from less_sync.sync.services import Services
from less_sync.sync.session.open_sessions import Doors

STATES: Final = {Doors.OPEN: "serving", Doors.DRAINING: "draining", Doors.STOPPING: "stopping"}

_log = structlog.get_logger(__name__)


class Told(NamedTuple):
    """An answer in JSON."""

    status: int
    body: Mapping[str, Any]


class Watched(Protocol):
    """Any process with an admin listener, as its operators see it."""

    async def metrics(self) -> bytes:
        """The text of `/metrics`."""

    async def ready(self) -> Report:
        """Whether it should be sent clients."""

    async def log_at(self, level: str) -> Told:
        """Log from now on what is at least as grave."""


class Operated(Watched, Protocol):
    """A server as its operators see it."""

    async def drain(self) -> Told:
        """Close all sessions, one after another, and let nobody in."""

    async def take_drain_back(self) -> Told:
        """Let everybody in again."""


def drain_sessions(services: Services) -> None:
    """Close all sessions, one after another, and let nobody in. Nothing happens while that is under way."""
    sessions, limits = services.sessions, services.limits
    if sessions.doors is Doors.OPEN:
        _log.warning("draining", sessions=len(sessions), spread_s=limits.drain_spread_s)
    sessions.drain(spread_s=limits.drain_spread_s, within_s=limits.drain_timeout_s)


def take_drain_back(services: Services) -> bool:
    """Let everybody in again; False when the server stops."""
    sessions = services.sessions
    drained = sessions.doors is Doors.DRAINING
    if not sessions.reopen():
        return False
    if drained:
        _log.warning("draining was taken back", sessions=len(sessions))
    return True


class OneServer:
    """The server of this process.

    Args:
        set_level: lets the log tell from now on what is at least as grave.
    """

    def __init__(
        self,
        services: Services,
        readiness: Readiness,
        exposition: Exposition,
        set_level: Callable[[str], None],
    ) -> None:
        self._services = services
        self._readiness = readiness
        self._exposition = exposition
        self._set_level = set_level

    async def metrics(self) -> bytes:
        """As `Operated.metrics`."""
        return self._exposition.text()

    async def ready(self) -> Report:
        """As `Operated.ready`."""
        return await self._readiness.report()

    async def drain(self) -> Told:
        """As `Operated.drain`."""
        drain_sessions(self._services)
        return self._state(202 if len(self._services.sessions) else 200)

    async def take_drain_back(self) -> Told:
        """As `Operated.take_drain_back`."""
        return self._state(200 if take_drain_back(self._services) else 409)

    async def log_at(self, level: str) -> Told:
        """As `Operated.log_at`."""
        self._set_level(level)
        _log.warning("the log level was changed by an operator", to=level)
        return Told(200, {"log_level": level})

    def _state(self, status: int) -> Told:
        sessions = self._services.sessions
        return Told(status, {"state": STATES[sessions.doors], "sessions": len(sessions)})
