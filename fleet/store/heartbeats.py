"""Heartbeats: one statement for nearly all of them, a transaction for those that change more than figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from less_sync.fleet.conditions import KINDS, Beat, judge
from less_sync.fleet.database import Row, row, value
from less_sync.fleet.store import agents
from less_sync.fleet.store.alerts import Alert, raise_alerts, resolve_alerts

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection
    from less_sync.fleet.plane import Plane

_KINDS: Final = list(KINDS)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What an agent sends.

    Attributes:
        sequence: counts the heartbeats of one process from 1.
        boot_id: of the process.
        sent_at: by the agent's clock.
        config_revision: what it has applied; None: not told.
        report: the figures it told, of `reports.REPORT`, and its uptime.
    """

    sequence: int
    boot_id: UUID
    version: str
    sent_at: datetime
    config_revision: int | None
    report: Mapping[str, Any]


async def take(plane: "Plane", token_hash: bytes, agent_id: UUID, beat: Heartbeat) -> tuple[Row, bool] | None:
    """Write a heartbeat.

    Returns:
        the agent's row (without columns that no answer needs) and whether the heartbeat was counted, not a
        repeated one; None when the token is not of this agent, or the agent is retired.

    Raises:
        StorageError: it may or may not have been counted.
    """
    settings = plane.settings
    found = await plane.database.row(
        "beat",
        token_hash,
        agent_id,
        beat.boot_id,
        beat.sequence,
        beat.version,
        beat.report,
        settings.heartbeat_interval_s,
        beat.config_revision,
        settings.heartbeat_sample_s,
        _KINDS,
    )
    if found is None:
        return await _take_slowly(plane, token_hash, agent_id, beat)
    seen = Beat(found["name"], beat.report, (beat.sent_at - found["at"]).total_seconds())
    if judge(seen, found["live"] or {}) != ([], []):
        # The heartbeat stands already. Should this fail, the next one finds the same difference.
        async with plane.database.transaction() as connection:
            if await row(connection, "lock_agent", agent_id) is not None:
                await _settle(connection, agent_id, seen)
        plane.deliveries_due.set()
    return found, True


async def _take_slowly(
    plane: "Plane", token_hash: bytes, agent_id: UUID, beat: Heartbeat
) -> tuple[Row, bool] | None:
    """The lock on the agent's row makes it one step: the health checker leaves the row out, others wait."""
    settings = plane.settings
    async with plane.database.transaction() as connection:
        before = await row(connection, "lock_beating", token_hash, agent_id)
        if before is None:
            return None
        booted = before["boot_id"] != beat.boot_id
        if not booted and beat.sequence <= before["last_sequence"]:
            return before, False
        last = await value(connection, "last_of_boot", agent_id, beat.boot_id) if booted else None
        if last is not None and beat.sequence <= last:
            return before, False
        if booted and before["boot_id"] is not None:
            await _keep_last(connection, before)
        now = await row(
            connection,
            "write_beat",
            agent_id,
            beat.boot_id,
            beat.sequence,
            beat.version,
            beat.report,
            settings.heartbeat_interval_s,
            beat.config_revision,
        )
        assert now is not None  # it is locked
        if booted or await value(connection, "sample_due", agent_id, settings.heartbeat_sample_s):
            sample = (now["at"], beat.sequence, beat.boot_id, beat.version, beat.report)
            await value(connection, "keep_sample", agent_id, *sample)
        if last is not None and _alive(before, settings.health.stale_after):
            await _two_processes(connection, now, before["boot_id"], beat.boot_id)
        await agents.came_back(connection, before, now)
        seen = Beat(now["name"], beat.report, (beat.sent_at - now["at"]).total_seconds())
        await _settle(connection, agent_id, seen)
    plane.deliveries_due.set()
    return now, True


async def _settle(connection: "Connection", agent_id: UUID, seen: Beat) -> None:
    """Raise and end alerts of a locked agent: the second of two heartbeats sees what the first did."""
    live = await value(connection, "live_conditions", str(agent_id), _KINDS)
    raised, over = judge(seen, live or {})
    alerts = [
        Alert(found.kind, found.severity, "agent", str(agent_id), found.title, found.detail)
        for found in raised
    ]
    await raise_alerts(connection, alerts)
    if over:
        await resolve_alerts(connection, over, "agent", [str(agent_id)])


async def _keep_last(connection: "Connection", before: Row) -> None:
    """Remember how far the process came that is replaced: what it sent before counts no more."""
    sequence, boot_id, version = before["last_sequence"], before["boot_id"], before["version"]
    last = (before["last_heartbeat_at"], sequence, boot_id, version, before["report"])
    await value(connection, "keep_sample", before["agent_id"], *last)


def _alive(before: Row, stale_after: float) -> bool:
    silent: timedelta = before["at"] - before["last_heartbeat_at"]
    return silent.total_seconds() < stale_after * float(before["heartbeat_interval_seconds"])


async def _two_processes(connection: "Connection", agent: Row, replaced: UUID, back: UUID) -> None:
    title = f"{agent['name']}: two processes use its identity"
    detail = {"boot_ids": sorted([str(replaced), str(back)])}
    subject = str(agent["agent_id"])
    await raise_alerts(connection, [Alert(agents.DUPLICATE, "critical", "agent", subject, title, detail)])
