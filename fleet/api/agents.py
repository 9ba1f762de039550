"""Registration, reading and changing agents (docs/fleet.md 4)."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from less_sync.fleet.api.agent_bodies import KINDS, REGION, read_registration
from less_sync.fleet.api.body import wrong
from less_sync.fleet.api.call import Answer, Call, Role, refuse_body
from less_sync.fleet.api.heartbeats import BODY_BYTES_MAX, heartbeat, refuse_stranger
from less_sync.fleet.api.paging import page, read_page
from less_sync.fleet.api.routing import Route
from less_sync.fleet.database import Row, row, value
from less_sync.fleet.errors import Refused, not_found
from less_sync.fleet.store import agents, alerts, audit
from less_sync.fleet.store.registration import register as store_registration

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection
    from less_sync.fleet.plane import Plane

STATUSES: Final = ("active", "stale", "inactive", "retired")
STATES: Final = ("serving", "draining")
LABEL_FILTERS_MAX: Final = 32
_HOURS: Final = {"24h": 24, "7d": 168, "none": 0}


async def register(plane: "Plane", call: Call) -> Answer:
    """201 a new agent, 200 a known one; the token when there is a new one."""
    query = call.query()
    rotate = query.optional_choice("rotate", ("0", "1")) == "1"
    query.finish()
    done = await store_registration(plane, call, read_registration(call), rotate=rotate)
    content = {
        "agent_id": done.agent["agent_id"],
        "token": done.token,
        "heartbeat_interval_seconds": done.agent["heartbeat_interval_seconds"],
        "server_time": done.agent["at"],
        "license": None,
    }
    return Answer(201 if done.new else 200, content)


async def list_agents(plane: "Plane", call: Call) -> Answer:
    """Agents in the order in which they were made, those that all filters let pass."""
    query = call.query()
    filters = (
        query.optional_choice("status", STATUSES),
        query.optional_choice("kind", KINDS),
        query.optional_text("version", at_most=64),
        query.matching("region", REGION, "must have 1 to 64 of a-z, 0-9, -"),
        query.optional_uuid("license_id"),
        query.custom("label", _label_filters),
        query.optional_text("q", at_most=253),
    )
    limit, after = read_page(query, tuple[datetime, UUID])
    query.finish()
    found = await plane.database.fetch("agents_page", *filters, *(after or (None, None)), limit + 1)
    return Answer(
        200, page("agents", found, limit, agents.shown, lambda row: (row["created_at"], row["agent_id"]))
    )


async def show_agent(plane: "Plane", call: Call) -> Answer:
    """One agent; for operators with its history and live alerts."""
    agent_id = call.uuid("agent_id", "agent")
    query = call.query()
    hours = _HOURS[query.choice("history", tuple(_HOURS), default="24h")]
    query.finish()
    reader = call.actor.role >= Role.VIEWER
    async with plane.database.connection() as connection:
        agent = await row(connection, "agent", agent_id)
        if agent is None:
            raise not_found("agent")
        history = await agents.history(connection, agent, hours) if reader and hours else []
        live = await agents.live_alerts(connection, agent) if reader else []
    content = {
        "agent": agents.shown(agent),
        "history": history,
        "alerts": [alerts.shown(one) for one in live],
    }
    return Answer(200, content)


async def change_agent(plane: "Plane", call: Call) -> Answer:
    """Name, labels, wanted version and wanted state."""
    agent_id = call.uuid("agent_id", "agent")
    fields = call.fields()
    name = fields.optional_text("name", at_most=128)
    labels = fields.labels("labels") if fields.has("labels") else None
    versioned = fields.has("desired_version")
    version = (
        fields.version("desired_version") if versioned and not fields.is_null("desired_version") else None
    )
    state = fields.optional_choice("desired_state", STATES)
    if not fields.problems and (name, labels, state, versioned) == (None, None, None, False):
        fields.problem("body", "must change something")
    fields.finish()
    async with plane.database.transaction() as connection:
        agent = await _locked(connection, agent_id)
        if version is not None and not await value(
            connection, "release_for", version, agent["os"], agent["arch"]
        ):
            platform = f"{agent['os']}/{agent['arch']}"
            fields.problem("desired_version", f"there is no published release {version} for {platform}")
            fields.finish()
        changed = await row(connection, "change_agent", agent_id, name, labels, state, versioned, version)
        assert changed is not None  # it is locked
        changes: dict[str, object] = {"name": name, "labels": labels, "desired_state": state}
        detail = {key: new for key, new in changes.items() if new is not None}
        if versioned:
            detail["desired_version"] = version
        await audit.record(connection, call, "agent.change", "agent", agent_id, detail)
    return Answer(200, {"message": "agent updated", "agent": agents.shown(changed)})


async def retire_agent(plane: "Plane", call: Call) -> Answer:
    """The agent is no more: its tokens are void at once, and its history stays."""
    refuse_body(call)
    agent_id = call.uuid("agent_id", "agent")
    async with plane.database.transaction() as connection:
        await agents.retire(connection, await _locked(connection, agent_id), call.actor.name)
        await audit.record(connection, call, "agent.retire", "agent", agent_id)
    plane.deliveries_due.set()
    return Answer(200, {"message": "agent retired"})


async def rotate_token(plane: "Plane", call: Call) -> Answer:
    """The agent is told to fetch another token, with each heartbeat until it has."""
    refuse_body(call)
    agent_id = call.uuid("agent_id", "agent")
    async with plane.database.transaction() as connection:
        await _locked(connection, agent_id)
        await row(connection, "ask_for_rotation", agent_id)
        await audit.record(connection, call, "agent.rotate_token", "agent", agent_id)
    return Answer(200, {"message": "token rotation requested"})


async def _locked(connection: "Connection", agent_id: UUID) -> Row:
    """An agent that can be changed; whoever else changes it waits for the end of the transaction."""
    agent = await row(connection, "lock_agent", agent_id)
    if agent is None:
        known = await row(connection, "agent", agent_id)
        raise not_found("agent") if known is None else Refused(410, "agent retired")
    return agent


def _label_filters(value: object) -> dict[str, Any]:
    """`label=key:value`, once or more; a key has no colon."""
    told = [str(one) for one in value] if isinstance(value, list) else [str(value)]
    if len(told) > LABEL_FILTERS_MAX:
        raise wrong(f"at most {LABEL_FILTERS_MAX}")
    labels: dict[str, Any] = {}
    for one in told:
        key, colon, text = one.partition(":")
        if not key or not colon or not one.isprintable():
            raise wrong("expected key:value")
        if labels.setdefault(key, text) != text:
            raise wrong("a label has one value")
    return labels


ROUTES: Final = (
    Route("POST", "/management/v1/agents/register", register),
    Route(
        "POST",
        "/management/v1/agents/{agent_id}/heartbeat",
        heartbeat,
        body_bytes_max=BODY_BYTES_MAX,
        quiet=True,
        credentials=refuse_stranger,
    ),
    Route("GET", "/management/v1/agents", list_agents),
    Route("GET", "/management/v1/agents/{agent_id}", show_agent),
    Route("PATCH", "/management/v1/agents/{agent_id}", change_agent),
    Route("DELETE", "/management/v1/agents/{agent_id}", retire_agent),
    Route("POST", "/management/v1/agents/{agent_id}/rotate-token", rotate_token),
)
