"""Registration: who a server is, and the token that it gets."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from less_sync.fleet.database import Row, row
from less_sync.fleet.errors import FieldProblem, Refused, invalid
from less_sync.fleet.identifiers import AGENT_TOKEN, new_token, token_hash
from less_sync.fleet.store import agents, audit
from less_sync.fleet.store.alerts import Alert, raise_alerts
from less_sync.fleet.store.events import write

if TYPE_CHECKING:
    from less_sync.fleet.api.agent_bodies import Registration
    from less_sync.fleet.api.call import Call
    from less_sync.fleet.database import Connection
    from less_sync.fleet.plane import Plane

LABELS_MAX: Final = 64
"""Labels of an agent, whoever gave them."""
_TRIES: Final = 3
"""An agent that is retired between two statements of a registration makes it begin again."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What came of a registration: `token` is None when the one that was shown stays."""

    agent: Row
    token: str | None
    new: bool


async def register(plane: "Plane", call: "Call", said: "Registration", *, rotate: bool) -> Registered:
    """Make an agent, or take over what a known one says of itself.

    One transaction: a use of an enrolment token is taken with the agent it makes, or not at all. The token's
    row is locked first, then the agent's; of two first registrations the unique index lets one make the
    agent, and the other finds it.

    Raises:
        Refused: 401, 403 or 409, when the credential is not for this agent or all its uses are taken; 400.
        StorageError: it may or may not have happened.
    """
    async with plane.database.transaction() as connection:
        if call.actor.agent_id is not None:
            done = await _own(plane, connection, call, said, rotate=rotate)
        else:
            done = await _other(plane, connection, call, said)
        if done.token is not None:
            detail = {"new": done.new, "version": said.version}
            await audit.record(connection, call, "agent.register", "agent", done.agent["agent_id"], detail)
    plane.deliveries_due.set()
    return done


async def _own(
    plane: "Plane", connection: "Connection", call: "Call", said: "Registration", *, rotate: bool
) -> Registered:
    known = await row(connection, "lock_agent", call.actor.agent_id)
    if known is None:
        raise Refused(401, "invalid credentials")
    if known["instance_id"] != said.instance_id:
        raise Refused(403, "forbidden")
    token = new_token(AGENT_TOKEN) if rotate else None
    if token is not None:
        # The token that was shown stays good, and not another that it may have replaced: should the answer be
        # lost, it is the one that the server has.
        await row(connection, "give_token", known["agent_id"], token_hash(token), call.actor.token_hash, None)
    return Registered(await _take_over(plane, connection, known, said, {}), token, new=False)


async def _other(plane: "Plane", connection: "Connection", call: "Call", said: "Registration") -> Registered:
    enrolment = None
    if call.actor.enrolment_id is not None:
        enrolment = await row(connection, "lock_enrolment_token", call.actor.enrolment_id)
        if enrolment is None:
            raise Refused(401, "invalid credentials")
    given: dict[str, str] = {} if enrolment is None else enrolment["labels"]
    token = new_token(AGENT_TOKEN)
    for _ in range(_TRIES):
        labels = _labels({}, said.labels, given)
        made = await _make(plane, connection, said, labels, token, call.actor.enrolment_id)
        if made is not None:
            await _use(connection, enrolment)
            await write(connection, [agents.event("agent.registered", made)])
            return Registered(made, token, new=True)
        known = await row(connection, "lock_instance", said.instance_id)
        if known is not None:
            return await _again(plane, connection, known, said, token, enrolment)
    raise Refused(409, "the agent is being retired")


async def _make(
    plane: "Plane",
    connection: "Connection",
    said: "Registration",
    labels: dict[str, str],
    token: str,
    enrolment_id: UUID | None,
) -> Row | None:
    return await row(
        connection,
        "add_agent",
        uuid4(),
        said.instance_id,
        said.name,
        said.kind,
        said.hostname,
        said.public_url,
        said.os,
        said.arch,
        said.version,
        said.region,
        labels,
        plane.settings.heartbeat_interval_s,
        token_hash(token),
        enrolment_id,
    )


async def _again(
    plane: "Plane",
    connection: "Connection",
    known: Row,
    said: "Registration",
    token: str,
    enrolment: Row | None,
) -> Registered:
    """A known agent without its own token: the answer was lost, its files were, or somebody has a copy."""
    agent_id, enrolment_id = known["agent_id"], None if enrolment is None else enrolment["id"]
    answer_lost = (
        enrolment_id is not None and known["enrolment_id"] == enrolment_id and known["boot_id"] is None
    )
    if not answer_lost:
        await _use(connection, enrolment)
    await row(connection, "give_token", agent_id, token_hash(token), known["token_hash"], enrolment_id)
    given: dict[str, str] = {} if enrolment is None else enrolment["labels"]
    agent = await _take_over(plane, connection, known, said, given)
    if not answer_lost:
        title = f"{agent['name']}: registered anew, without the token it had"
        alert = Alert("agent.reenrolled", "warning", "agent", str(agent_id), title)
        await raise_alerts(connection, [alert])
        await write(connection, [agents.event("agent.reenrolled", agent)])
    return Registered(agent, token, new=False)


async def _take_over(
    plane: "Plane", connection: "Connection", known: Row, said: "Registration", given: dict[str, str]
) -> Row:
    agent = await row(
        connection,
        "register_known",
        known["agent_id"],
        said.name,
        said.kind,
        said.hostname,
        said.public_url,
        said.os,
        said.arch,
        said.version,
        said.region,
        _labels(known["labels"], said.labels, given),
        plane.settings.heartbeat_interval_s,
    )
    assert agent is not None  # it is locked
    await agents.came_back(connection, known, agent)
    return agent


async def _use(connection: "Connection", enrolment: Row | None) -> None:
    if enrolment is not None and await row(connection, "use_enrolment_token", enrolment["id"]) is None:
        raise Refused(403, "enrolment token is used up")


def _labels(had: dict[str, Any], said: dict[str, str] | None, given: dict[str, str]) -> dict[str, Any]:
    """What operators gave stays: a server that registers again says its own anew and takes none away."""
    labels = {**had, **(said or {}), **given}
    if len(labels) > LABELS_MAX:
        problem = FieldProblem("labels", f"with those that it has, more than {LABELS_MAX}")
        raise invalid([problem])
    return labels
