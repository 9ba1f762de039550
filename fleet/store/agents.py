"""Agents: rows, what is told of them, and what follows when one comes back, changes or is retired."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from less_sync.fleet import reports
from less_sync.fleet.database import Row, row, rows
from less_sync.fleet.store.alerts import TOLD, Alert, raise_alerts, resolve_alerts
from less_sync.fleet.store.events import Event, write

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection

STALE: Final = "agent.stale"
INACTIVE: Final = "agent.inactive"
FLAPPING: Final = "agent.flapping"
DUPLICATE: Final = "agent.duplicate"
FLAPPING_RECOVERIES: Final = 4
"""Within an hour, after which an agent is said to flap."""
ALERTS_MAX: Final = 100
"""Live alerts of one agent that are told; there is one per kind."""
HISTORY_POINTS_MAX: Final = 300
_PLAIN: Final = (
    *("agent_id", "instance_id", "name", "kind", "status", "hostname", "public_url", "os", "arch", "version"),
    *("region", "labels", "heartbeat_interval_seconds", "last_heartbeat_at", "status_changed_at"),
)
_LAST: Final = (
    *("desired_version", "desired_state", "license_id", "server_id", "created_at", "updated_at"),
    "retired_at",
)


def shown(agent: Row) -> dict[str, object]:
    """An agent as routes tell it."""
    report: Mapping[str, Any] = agent["report"]
    return {
        **{name: agent[name] for name in _PLAIN},
        "uptime_seconds": report.get(reports.UPTIME),
        "report": reports.shown(report),
        **{name: agent[name] for name in _LAST},
    }


def event(type_: str, agent: Row, **more: object) -> Event:
    """An event of an agent: what names it, and `more`."""
    named = {name: agent[name] for name in ("agent_id", "name", "kind", "version")}
    return Event(type_, named | more)


async def history(connection: "Connection", agent: Row, hours: int) -> list[dict[str, object]]:
    """The newest `HISTORY_POINTS_MAX` points within some hours, oldest first."""
    points = await rows(connection, "agent_history", agent["agent_id"], hours, HISTORY_POINTS_MAX)
    return [dict(point) | {"report": reports.shown(point["report"])} for point in reversed(points)]


async def live_alerts(connection: "Connection", agent: Row) -> Sequence[Row]:
    """Its alerts that are not resolved, newest first."""
    return await rows(connection, "alerts_of", "agent", str(agent["agent_id"]), ALERTS_MAX)


async def came_back(connection: "Connection", before: Row, now: Row) -> None:
    """Tell what a heartbeat or a registration has changed: that an agent is back, and its version.

    Both rows are of the transaction that holds the agent's lock, so nothing is told twice.
    """
    if before["status"] != "active":
        await _recovered(connection, before, now)
    if before["version"] != now["version"]:
        versions = {"from_version": before["version"], "to_version": now["version"]}
        await write(connection, [event("agent.updated", now, **versions)])


async def _recovered(connection: "Connection", before: Row, now: Row) -> None:
    subject = str(now["agent_id"])
    ended = await resolve_alerts(connection, [STALE, INACTIVE], "agent", [subject])
    if all(alert["detail"].get(TOLD, True) for alert in ended):
        down_s = max(0, round((now["at"] - before["last_heartbeat_at"]).total_seconds()))
        told = event(
            "agent.recovered",
            now,
            last_heartbeat_at=now["last_heartbeat_at"],
            previous_status=before["status"],
            down_seconds=down_s,
        )
        await write(connection, [told])
    recoveries = await row(connection, "recoveries", subject)
    assert recoveries is not None  # it counts
    if recoveries["times"] >= FLAPPING_RECOVERIES or recoveries["live"]:
        title = f"{now['name']}: silent and back again {recoveries['times']} times within an hour"
        flapping = Alert(FLAPPING, "warning", "agent", subject, title, {"recoveries": recoveries["times"]})
        await raise_alerts(connection, [flapping])


async def retire(connection: "Connection", agent: Row, by: str) -> Row:
    """End a locked agent: its tokens are void, its alerts over."""
    retired = await row(connection, "retire_agent", agent["agent_id"])
    assert retired is not None  # it is locked
    await resolve_alerts(connection, None, "agent", [str(agent["agent_id"])], by=by)
    await write(connection, [event("agent.retired", retired)])
    return retired
