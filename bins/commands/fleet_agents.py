"""The commands `fleet agents`: which servers report to a plane, and what is wanted of them."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from less_sync.bins.amounts import counted, shown_age, shown_bytes
from less_sync.bins.commands.fleet_client import EXIT_CODES, FleetClient, FleetProblem, asks_plane, tell
from less_sync.bins.commands.fleet_shown import (
    LISTED,
    Limit,
    Yes,
    ago,
    confirm,
    group,
    is_id,
    labels_of,
    list_rows,
    minute,
    print_figures,
    told,
)
from less_sync.client.folder.paths import shown

PATH: Final = "/management/v1/agents"
NAMESAKES_MAX: Final = 20
"""Agents of one name that are named when it is not clear which is meant."""
_HEAD: Final = ("NAME", "STATUS", "KIND", "VERSION", "REGION", "HEARD", "STATE", "ID")

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Its name or id.", show_default=False)]


class Status(StrEnum):
    """What can be told of agents."""

    ACTIVE = "active"
    STALE = "stale"
    INACTIVE = "inactive"
    RETIRED = "retired"


class Kind(StrEnum):
    """What an agent reports for."""

    SYNC = "sync"
    VOLUME = "volume"


def add_agents(fleet: typer.Typer) -> None:
    """Add the commands to the group `fleet`."""
    agents = group(fleet, "agents", "List the servers that report to the plane.", own=list_agents)
    for name, command in (
        ("show", show),
        ("drain", drain),
        ("resume", resume),
        ("rotate", rotate),
        ("retire", retire),
    ):
        agents.command(name, epilog=EXIT_CODES)(asks_plane(command))


def list_agents(
    context: typer.Context,
    *,
    status: Annotated[Status | None, typer.Option(help="Only these; retired ones are left out else.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only these.")] = None,
    version: Annotated[str | None, typer.Option(metavar="VERSION", help="Only of this version.")] = None,
    region: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this region.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this label; may be repeated.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="Only whose name or host name begins so.")
    ] = None,
    limit: Limit = LISTED,
    plane: FleetClient,
    json: bool,
) -> None:
    """List the servers that report to the plane."""
    filters = {"status": status, "kind": kind, "version": version, "region": region, "q": like}
    query: dict[str, str | Sequence[str]] = {name: text for name, text in filters.items() if text is not None}
    if label:
        query["label"] = [f"{key}:{text}" for key, text in labels_of(label).items()]
    none = (
        "no agent that fits" if query else "no agents yet: `less-sync fleet enrol` lets a server report here"
    )
    list_rows(json, plane.rows(PATH, "agents", query, at_most=limit), _HEAD, _cells, none=none)


def show(agent: Agent, *, plane: FleetClient, json: bool) -> None:
    """Show one server: what it reports, and its open alerts."""
    answer = plane.ask("GET", f"{PATH}/{found(plane, agent)['agent_id']}", query={"history": "24h"})
    if json:
        tell(True, answer, "")
    else:
        print_figures(answer, _told)


def drain(agent: Agent, *, plane: FleetClient, json: bool) -> None:
    """Have a server send its clients elsewhere, until it is resumed."""
    _want(plane, agent, "draining", "is told to drain with its next heartbeat", json)


def resume(agent: Agent, *, plane: FleetClient, json: bool) -> None:
    """Have a server that drains serve again."""
    _want(plane, agent, "serving", "is told to serve with its next heartbeat", json)


def rotate(agent: Agent, *, plane: FleetClient, json: bool) -> None:
    """Have a server fetch another token."""
    one = found(plane, agent)
    answer = plane.ask("POST", f"{PATH}/{one['agent_id']}/rotate-token")
    tell(
        json,
        {**answer, "agent_id": one["agent_id"]},
        f"{one['name']} fetches another token with its next heartbeat",
    )


def retire(agent: Agent, *, yes: Yes = False, plane: FleetClient, json: bool) -> None:
    """Take a server off the plane for good: its token is void at once.

    Asks first. The server serves on; its reporter stops, and needs another enrolment to come back.
    """
    one = found(plane, agent)
    confirm(f"Retire {shown(one['name'])}, {one['agent_id']}?", yes=yes)
    answer = plane.ask("DELETE", f"{PATH}/{one['agent_id']}")
    tell(json, {**answer, "agent_id": one["agent_id"]}, f"retired {one['name']}")


def found(plane: FleetClient, agent: str) -> dict[str, Any]:
    """The agent of a name or an id; of those of one name a retired one only if there is no other.

    Raises:
        FleetProblem: there is none, or the name does not tell which is meant.
    """
    if is_id(agent):
        return dict(told(plane.ask("GET", f"{PATH}/{agent.lower()}", query={"history": "none"}), _agent))
    query = {"q": agent}
    for filters in (query, {**query, "status": "retired"}):
        named = [
            one for one in plane.rows(PATH, "agents", filters, at_most=LISTED) if told(one, _name) == agent
        ]
        if len(named) == 1:
            return named[0]
        if named:
            which = ", ".join(f"{one['agent_id']} ({one['status']})" for one in named[:NAMESAKES_MAX])
            raise FleetProblem(f"{len(named)} agents are called {agent}; say which by its id: {which}")
    raise FleetProblem(f"there is no agent {agent}; `less-sync fleet agents` lists them")


def _want(plane: FleetClient, agent: str, state: str, words: str, as_json: bool) -> None:
    one = found(plane, agent)
    answer = plane.ask("PATCH", f"{PATH}/{one['agent_id']}", body={"desired_state": state})
    tell(as_json, told(answer, _agent), f"{one['name']} {words}")


def _agent(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    agent = answer["agent"]
    if not isinstance(agent["name"], str) or not is_id(agent["agent_id"]):
        raise ValueError("an agent without a name or id")
    return dict(agent)


def _name(agent: Mapping[str, Any]) -> str:
    return str(_agent({"agent": agent})["name"])


def _state(agent: Mapping[str, Any]) -> str:
    """What the server does, and what is wanted of it where that is something else."""
    draining = bool(agent["report"]["draining"])
    wanted = agent["desired_state"] == "draining"
    if draining == wanted:
        return "draining" if draining else "serving"
    return "to drain" if wanted else "to serve"


def _cells(agent: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        *(agent["name"], agent["status"], agent["kind"], agent["version"], agent["region"] or "-"),
        *(ago(agent["last_heartbeat_at"]), _state(agent), agent["agent_id"]),
    )


def _told(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each line of one agent."""
    agent = answer["agent"]
    labels = ", ".join(f"{key}={text}" for key, text in agent["labels"].items())
    uptime = agent["uptime_seconds"]
    rows = [
        ("name", agent["name"]),
        ("id", agent["agent_id"]),
        ("status", f"{agent['status']} since {minute(agent['status_changed_at'])} UTC"),
        ("heard", f"{ago(agent['last_heartbeat_at'])} ago; every {agent['heartbeat_interval_seconds']} s"),
        ("state", _state(agent)),
        ("kind", agent["kind"]),
        ("version", agent["version"] + (f", to be {one}" if (one := agent["desired_version"]) else "")),
        ("machine", f"{agent['hostname'] or '-'}, {agent['os']}/{agent['arch']}"),
        ("url", agent["public_url"] or "-"),
        ("region", agent["region"] or "-"),
        ("labels", labels or "-"),
        ("uptime", "-" if uptime is None else shown_age(uptime)),
        *_report(agent["report"]),
        ("history", f"{counted(len(answer['history']), 'point')} within 24 h (--json has them)"),
    ]
    alerts = [(one["severity"], f"{one['kind']}: {one['title']}") for one in answer["alerts"]]
    return [*rows, *(alerts or [("alerts", "none")])]


def _report(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that a server has, in the order in which it tells them."""

    def text(name: str, figure: Any) -> str:
        if isinstance(figure, list):
            return ", ".join(map(str, figure)) or "none"
        if isinstance(figure, bool):
            return "yes" if figure else "no"
        if name.endswith("_bytes"):
            return shown_bytes(figure)
        if name.endswith("_ratio"):
            return f"{100 * figure:.1f} %"
        if name.endswith("_seconds"):
            return shown_age(figure)
        return f"{figure:,}" if isinstance(figure, int | float) else str(figure)

    return [(_title(name), text(name, figure)) for name, figure in report.items() if figure is not None]


def _title(name: str) -> str:
    for unit in ("_bytes", "_ratio", "_seconds"):
        name = name.removesuffix(unit)
    return "file contents" if name == "file" else name.replace("_", " ")
