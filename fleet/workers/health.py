"""The health checker: who was silent for too long is stale, and after longer inactive (docs/fleet.md 6.1)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from less_sync.fleet.database import Row, row, rows, value
from less_sync.fleet.settings import HealthSettings
from less_sync.fleet.store import agents
from less_sync.fleet.store.alerts import TOLD, Alert, raise_alerts, resolve_alerts
from less_sync.fleet.store.events import write
from less_sync.fleet.workers.runner import Worker, claimed

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection
    from less_sync.fleet.plane import Plane

NAME: Final = "health"
BATCH: Final = 500
"""Agents whose status changes in one transaction."""
BLIND_INTERVALS: Final = 2
"""A run that comes so many intervals after the one before it: nobody listened meanwhile."""
MASS: Final = "cluster.mass_stale"
MASS_MIN: Final = 10
FLEET: Final = "fleet"
"""What an alert of the whole cluster is about."""
CALM_MAX: Final = 10_000
"""Alerts that end in one run because they were not seen again for an hour."""

_log = structlog.get_logger(__name__)


class HealthChecker:
    """Whoever claims a run does all of it, a batch a step; heartbeats bring agents back by themselves.

    Each batch is a transaction of its own under a lock that is tried, not waited for, the first together with
    the count that decides what is told; a row that a heartbeat holds is left out. So a crash leaves whole
    batches, and no instance tells what another has told.
    """

    def __init__(self) -> None:
        self._mass: bool | None = None
        """Of the run that is under way; None between two."""
        self._changed = 0

    async def step(self, plane: "Plane") -> bool:
        """The beginning of a run, if one is due, and one batch of it.

        Returns:
            True while the run is not at its end.
        """
        if self._mass is None and not await _claim(plane):
            return False
        if await self._batch(plane):
            return True
        await _calm(plane)
        if self._changed:
            _log.info("agents went silent", count=self._changed, mass=self._mass)
        self._mass, self._changed = None, 0
        return False

    async def _batch(self, plane: "Plane") -> bool:
        """Whether there may be more; False also when another instance is at it, which then does it all.

        And when nobody listened since the claim, or the batch before: the process was stopped, or the
        database away. That ends the run, and the next one blames nobody for it.
        """
        limits, mass, silent = plane.settings.health, self._mass, True
        async with plane.database.transaction() as connection:
            if not await value(connection, "go_on", float(BLIND_INTERVALS * limits.interval_s)):
                return False
            if mass is None:
                found = await row(connection, "count_silent", limits.stale_after, limits.inactive_after)
                assert found is not None  # it counts
                mass, silent = await _mass(connection, found), found["silent"] > 0
            count = await _sweep(connection, limits, tell=not mass) if silent else 0
        self._mass = mass
        self._changed += count
        plane.deliveries_due.set()
        return count == BATCH


def health(_plane: "Plane") -> Worker:
    """The health checker of one instance."""
    return Worker(NAME, HealthChecker().step, lambda plane: float(plane.settings.health.interval_s))


async def _claim(plane: "Plane") -> bool:
    """Whether a run is this instance's; one that comes late lets all silence until now count for nobody."""
    interval_s = plane.settings.health.interval_s
    async with plane.database.transaction() as connection:
        before = await claimed(connection, plane, NAME, interval_s)
        if before is not None:
            await value(connection, "set_blind", before, float(BLIND_INTERVALS * interval_s))
    return before is not None


async def _mass(connection: "Connection", found: Row) -> bool:
    """Whether so many are about to fall silent at once that the plane's own network is to blame.

    That is one alert, which ends when half of the fleet is active again.
    """
    leaving, active, living = found["leaving"], found["active"], found["living"]
    mass: bool = leaving >= MASS_MIN and leaving * 2 > active
    if mass:
        title = f"{leaving} of {active} active agents fell silent at once"
        detail = {"leaving": leaving, "active": active}
        await raise_alerts(connection, [Alert(MASS, "critical", "cluster", FLEET, title, detail)])
    elif (active - leaving) * 2 >= living:
        await resolve_alerts(connection, [MASS], "cluster", [FLEET])
    return mass


async def _sweep(connection: "Connection", limits: HealthSettings, *, tell: bool) -> int:
    """Change the status of one batch of agents, with alerts and events, and say how many there were."""
    silent = await rows(connection, "sweep", limits.stale_after, limits.inactive_after, BATCH)
    inactive = [str(agent["agent_id"]) for agent in silent if agent["new"] == "inactive"]
    if inactive:
        await resolve_alerts(connection, [agents.STALE], "agent", inactive)
    await raise_alerts(connection, [_alert(agent, told=tell) for agent in silent], tell=tell)
    if tell:
        await _tell(connection, silent)
    return len(silent)


async def _calm(plane: "Plane") -> None:
    """End the alerts that have no end of their own, when nothing has raised them again for an hour."""
    async with plane.database.transaction() as connection:
        calm = await rows(connection, "calm_agents", [agents.FLAPPING, agents.DUPLICATE], CALM_MAX)
        for kind in sorted({alert["kind"] for alert in calm}):
            subjects = [alert["subject_id"] for alert in calm if alert["kind"] == kind]
            await resolve_alerts(connection, [kind], "agent", subjects)
    plane.deliveries_due.set()


def _alert(agent: Row, *, told: bool) -> Alert:
    silent_s = round(agent["silent_s"])
    return Alert(
        agents.STALE if agent["new"] == "stale" else agents.INACTIVE,
        "warning" if agent["new"] == "stale" else "critical",
        "agent",
        str(agent["agent_id"]),
        f"{agent['name']}: no heartbeat for {silent_s} s",
        {"silent_seconds": silent_s, "last_heartbeat_at": agent["last_heartbeat_at"], TOLD: told},
    )


async def _tell(connection: "Connection", silent: Sequence[Row]) -> None:
    await write(
        connection,
        [
            agents.event(
                f"agent.{agent['new']}",
                agent,
                last_heartbeat_at=agent["last_heartbeat_at"],
                previous_status=agent["old"],
            )
            for agent in silent
        ],
    )
