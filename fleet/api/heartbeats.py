"""`POST /management/v1/agents/{agent_id}/heartbeat` (docs/fleet.md 4.3)."""

from typing import TYPE_CHECKING, Final

from less_sync.fleet.api.agent_bodies import read_heartbeat
from less_sync.fleet.api.call import Actor, Answer, Call
from less_sync.fleet.errors import Refused, not_found
from less_sync.fleet.store import heartbeats

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

BODY_BYTES_MAX: Final = 64 * 1024


async def heartbeat(plane: "Plane", call: Call) -> Answer:
    """Count a heartbeat, or say that it was counted before, and tell the agent what is wanted of it."""
    wait_s = plane.heartbeat_limit.wait_s(call.actor.token_hash, plane.settings.heartbeat_interval_s)
    if wait_s:
        raise Refused(429, "too many heartbeats", retry_after_s=wait_s)
    agent_id = call.uuid("agent_id", "agent")
    taken = await heartbeats.take(plane, call.actor.token_hash, agent_id, read_heartbeat(call))
    if taken is None:
        raise not_found("agent")
    call.actor = Actor(f"agent:{agent_id}", agent_id=agent_id)
    agent, counted = taken
    plane.metrics.heartbeats += counted
    return Answer(
        200,
        {
            "status": "ok" if counted else "duplicate",
            "agent_status": agent["status"],
            "heartbeat_interval_seconds": agent["heartbeat_interval_seconds"],
            "server_time": agent["at"],
            "desired": {"state": agent["desired_state"], "version": agent["desired_version"]},
            "config_revision": agent["config_revision"],
            "license": None,
            "commands": [{"type": "rotate_token"}] if agent["rotate_token"] else [],
        },
    )


async def refuse_stranger(plane: "Plane", call: Call) -> None:
    """Judge the token of a heartbeat that is refused for another reason, which must not be told to anybody.

    Raises:
        Refused: 401 the token is nobody's, 403 or 404 it is of another agent, 410 its agent is retired.
    """
    try:
        agent_id = call.uuid("agent_id", "agent")
    except Refused:
        agent_id = None
    standing = await plane.database.row("token_standing", call.actor.token_hash, agent_id)
    if standing is None or (standing["retired"] and not standing["own"]):
        raise Refused(401, "invalid credentials")
    if not standing["own"]:
        raise Refused(403, "forbidden") if standing["known"] else not_found("agent")
    if standing["retired"]:
        raise Refused(410, "agent retired")
