"""The commands `fleet alerts`: what an operator should look at, and what was said of it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from less_sync.bins.commands.fleet_agents import found
from less_sync.bins.commands.fleet_client import EXIT_CODES, FleetClient, asks_plane, tell
from less_sync.bins.commands.fleet_shown import LISTED, Limit, ago, an_id, group, list_rows, told

_PATH: Final = "/management/v1/alerts"
_HEAD: Final = ("SEVERITY", "STATUS", "KIND", "WHAT", "TIMES", "RAISED", "ID")

AlertId = Annotated[str, typer.Argument(metavar="ID", help="Of the alert.", show_default=False)]


class Status(StrEnum):
    """Which alerts are listed."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    ALL = "all"


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


def add_alerts(fleet: typer.Typer) -> None:
    """Add the commands to the group `fleet`."""
    alerts = group(fleet, "alerts", "List alerts of the fleet.", own=list_alerts)
    alerts.command("ack", epilog=EXIT_CODES)(asks_plane(acknowledge))
    alerts.command("resolve", epilog=EXIT_CODES)(asks_plane(resolve))


def list_alerts(
    context: typer.Context,
    *,
    status: Annotated[Status | None, typer.Option(help="Only these; else all that are not resolved.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only these.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only these; agent.stale, say.")] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="AGENT", help="Only of this agent, by name or id.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only raised since; as 2026-01-31T12:00:00Z.")
    ] = None,
    limit: Limit = LISTED,
    plane: FleetClient,
    json: bool,
) -> None:
    """List alerts of the fleet, newest first."""
    filters = {"status": status, "severity": severity, "kind": kind, "since": since}
    query = {name: text for name, text in filters.items() if text is not None}
    if agent is not None:
        query |= {"subject_type": "agent", "subject_id": found(plane, agent)["agent_id"]}
    none = "no alert that fits" if query else "no alerts: all is well"
    list_rows(json, plane.rows(_PATH, "alerts", query, at_most=limit), _HEAD, _cells, none=none)


def acknowledge(
    alert: AlertId,
    *,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="What is being done about it.")] = None,
    plane: FleetClient,
    json: bool,
) -> None:
    """Say that somebody has taken notice of an alert."""
    body = {} if note is None else {"note": note}
    answer = plane.ask("PUT", f"{_PATH}/{_id(alert)}/acknowledge", body=body)
    row, by = told(answer, lambda one: (one["alert"], one["alert"]["acknowledged_by"]))
    tell(json, row, f"acknowledged by {by}: {told(row, _title)}")


def resolve(alert: AlertId, *, plane: FleetClient, json: bool) -> None:
    """Say that an alert is over; what still holds raises another."""
    row = told(plane.ask("POST", f"{_PATH}/{_id(alert)}/resolve"), lambda one: one["alert"])
    tell(json, row, f"resolved: {told(row, _title)}")


def _id(text: str) -> str:
    return an_id(text, "an alert", "less-sync fleet alerts")


def _title(alert: Mapping[str, Any]) -> str:
    return f"{alert['kind']}, {alert['title']}"


def _cells(alert: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        *(alert["severity"], alert["status"], alert["kind"], alert["title"]),
        *(f"{alert['occurrences']:,}", f"{ago(alert['raised_at'])} ago", alert["id"]),
    )
